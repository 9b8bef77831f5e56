"""Run folders whose every number is known, in a line each."""

from jurist.records import Completion, Dropped, Matchup, Preference, Prompt, Verdict, content_id
from jurist.run import Run
from jurist.verdicts.cases import NOUNS, Case, write_case

JUDGE = "openai:gpt-5-mini"


def pair(number, first="short", second="rather longer"):
    prompt = Prompt.of(f"JudgePrompt {number}?", domain="odd" if number % 2 else "even")
    answers = [Completion.of(prompt.id, text, name) for text, name in ((first, "one"), (second, "other"))]
    return Matchup.of(prompt, *answers)


def verdict(matchup, p, order="given", judge=JUDGE, **more):
    """`p` is what the judge says of the answer it sees first; None where it could not be read."""
    shown = matchup if order == "given" else matchup.swapped()
    return Verdict(
        content_id(judge, matchup.id, order, more),
        judge,
        matchup.id,
        shown.first.id,
        shown.second.id,
        order,
        p,
        unread="no_verdict" if p is None else "",
        cost=0.25,
        seconds=2.0,
        **more,
    )


def label(matchup, p_first):
    sides = (matchup.first, matchup.second) if p_first >= 0.5 else (matchup.second, matchup.first)
    return Preference(content_id(matchup.id), matchup.prompt, *sides, p=max(p_first, 1 - p_first))


def write_run(folder, said, labels=(), dropped=(), **summary):
    """`said` is a list of (matchup, verdicts)."""
    with Run(folder) as run:
        with run.writing(*NOUNS, "preferences", "dropped") as files:
            for matchup, verdicts in said:
                answers = (matchup.first, matchup.second)
                write_case(Case(matchup.prompt, answers, (matchup,), tuple(verdicts)), files)
            for row in labels:
                files["preferences"].add(row)
            for reason in dropped:
                files["dropped"].add(Dropped("some", "preferences", reason))
        run.write_json("summary.json", {"run": str(folder), "state": "done", "usd": 0.0, **summary})
    return folder


def always(p, n=30, **more):
    """n matchups, asked in both orders of a judge that says the same of every first position."""
    pairs = [pair(number) for number in range(n)]
    return [(one, [verdict(one, p, order, **more) for order in ("given", "swapped")]) for one in pairs]
