"""The errors of judges that others recorded, and what a jury of them and 30 human labels are worth.

Fills in the tables of `docs/evidence/real-judges.md`: `jurist audit` of each set of verdicts, and juries on
sets with human labels, over 100 choices of the labels that are learnt from, on other prompts. Run it with
`JURIST_REAL_DATA=FOLDER python experiments/real_judges.py`.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from evidence import ROOT, record, run_claims
from jurist.audits.finding import between, figures, written
from jurist.stats.agreement import correlation
from jurist.stats.intervals import Estimate, clustered_mean
from support import on_record
from support.on_record import ALL, EVERY, JURIES, NATURAL, ONES, OTHERS, STUDIES, audited, jury_of, over
from support.recorded import DATA, PLAIN, cje
from tables import MARKED

PAGE = ROOT / "docs" / "evidence" / "real-judges.md"
LABELS, FEWEST = (10, 20, 30, 50), 15  # learnt from; held out, at least
LABELLED, SCORED = ("PandaLM", NATURAL, STUDIES, ALL), ("LLM-Rubric", "WildBench", "CJE")
ERRORS = {
    "first position wins": "position.first_position",
    "flips with the order": "position.flip_rate",
    "prefers the longer": "length.prefers_longer",
    "excess over humans": "length.excess",
}
AGREEMENT = {
    "agrees with humans": "agreement.accuracy",
    "Cohen's kappa": "agreement.kappa",
    "over always the longer": "agreement.over_longest",
    "over a second human": "agreement.with_a_human",
    "over-confident": "calibration.over",
}


def told(found: on_record.Found, name: str, judge: str = "") -> str:
    one = found.get((name, judge))
    return figures(one) if one is not None and one.value is not None else ""


def number(one: Estimate) -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in (heads, ["---"] * len(heads), *rows))


def by_judge(columns: Mapping[str, str], names: Iterable[str]) -> str:
    """One row a judge: what the audits found."""
    rows = []
    for name in names:
        found = audited(name)
        for judge in sorted(judge for kind, judge in found if kind == "reading.unread"):
            cells = [told(found, kind, judge) for kind in columns.values()]
            n = next(one.n for kind in columns.values() if (one := found.get((kind, judge))) and one.n)
            if columns is ERRORS and not cells[1]:  # asked in one order, or scored alone
                cells[0] = ""
            if name == "QLoRA, scores":  # its texts are not on record
                cells[2] = ""
            rows.append((name, judge, f"{n:,}", *cells))
    return table(["data", "judge", "prompts", *columns], rows)


def prompts() -> str:
    """Each model under the prompt of the other tables, and under its best prompt in hindsight."""
    hard, easy = map(audited, EVERY)
    tried, rows = defaultdict[str, list[str]](list), []
    for judge in sorted(judge for kind, judge in hard if kind == "agreement.accuracy"):
        tried[judge.partition("/")[0]].append(judge)
    for model, judges in tried.items():
        best = max(judges, key=lambda judge: hard["agreement.accuracy", judge].value or 0.0)
        for judge in dict.fromkeys((f"{model}/{PLAIN}", best)):
            cells = [told(hard, kind, judge) for kind in ("agreement.accuracy", *list(ERRORS.values())[:2])]
            natural = told(easy, "agreement.accuracy", judge)
            rows.append((model, judge.partition("/")[2], len(judges), *cells, natural))
    heads = ["model", "prompt", "prompts tried", "agrees, adversarial", *list(ERRORS)[:2], "agrees, natural"]
    return table(heads, rows)


def win_rates() -> str:
    rows = []
    for name in ("QLoRA, pairs", "WildBench", "CJE"):
        found = audited(name)
        chart = next(one.chart for one in found.values() if one.name == "length.controlled" and one.chart)
        raw, level = ({str(one.x): one for one in line.points} for line in chart.series)
        for policy in raw:
            rates = [f"{written(r.y)} ({between(r.low, r.high)})" for r in (raw[policy], level[policy])]
            against = chart.title.removeprefix("Win rate against ")
            rows.append((name, policy, against, *rates, told(found, "length.controlled", policy)))
    return table(("data", "policy", "against", "as judged", "at equal length", "length accounts for"), rows)


def percent(one: on_record.Jury, labels: int, **rule: Any) -> str:
    if len(one.asked) - labels < FEWEST:
        return ""
    each = 100 * one.learnt(labels, **rule).by_choice
    return f"{each.mean():.1f} ± {each.std():.1f}"


def juries(names: Iterable[str] = JURIES) -> str:
    rows = []
    for name, one in ((name, jury_of(name)) for name in names):
        best, *rules = (f"{100 * right.mean():.1f}" for right in one.right.values())
        rules = [f"{one.best} {best}", *rules, percent(one, 30, rule="dawid_skene"), percent(one, 30)]
        worth = told(audited(name), "agreement.independent_judges")
        rows.append((name, len(one.asked), len(one.judges), worth, *rules))
    heads = ["matchups", "judges", "worth independent ones", "best judge", "majority of calls", "mean"]
    return table(["data", *heads, "Dawid-Skene, no labels", "Dawid-Skene, 30", "anchored, 30"], rows)


def labels(names: Iterable[str] = JURIES) -> str:
    rows = []
    for name, one in ((name, jury_of(name)) for name in names):
        learnt = one.learnt(30)
        best = np.nanmean(learnt.right * 0 + one.right["best"], axis=1)
        leads = (over([name], null) for null in ("best", "same", "majority"))
        gains = [f"{written(x.value, 'points')} ({between(x.low, x.high, 'points')})" for x in leads]
        shares = [percent(one, n) for n in LABELS]
        rows.append((name, *shares, *gains, f"{int((learnt.by_choice > best).sum())} of {len(best)}"))
    nulls = ("best judge", "best judge by the same labels", "majority")
    heads = [*(f"{n} labels" for n in LABELS), *(f"30 over the {null}" for null in nulls)]
    return table(["data", *heads, "choices ahead of the best judge"], rows)


def weights() -> str:
    rows = []
    for name, one in ((name, jury_of(name)) for name in LABELLED):
        learnt = [{juror.judge: juror.weight for juror in w.jurors} for w in one.learnt(30).weights]
        for judge, right in one.judges.items():
            each = np.array([w[judge] for w in learnt])
            cells = f"{100 * np.mean(right):.1f}", f"{each.mean():+.2f} ± {each.std():.2f}"
            rows.append((name, judge, *cells, f"{(each < 0).sum()} of {len(each)}"))
    return table(("data", "judge", "% of calls right", "weight", "choices in which it is negative"), rows)


def scores() -> str:
    """Whether two judges use the scale alike, and as humans or a stronger model do."""
    one, other = map(on_record.scores_of, on_record.SCORED_BY)
    both = sorted(one.keys() & other.keys())
    apart, asked = np.array([one[key] - other[key] for key in both]), np.array([key[0] for key in both])
    alpha = audited("WildBench")["agreement.among_judges", ""]
    rows = [("WildBench", "gpt-4-turbo over gpt-4o, of 10", number(clustered_mean(apart, asked)), len(both))]
    rows += [("WildBench", "the same score for the same answer", f"{(apart == 0).mean():.1%}", len(both))]
    rows += [("WildBench", "alpha among the winners of two answers", figures(alpha), alpha.n)]
    truth, *ratings = np.array(on_record.ratings_beside_humans()).T
    for how, rating in zip(("likeliest", "expected"), ratings, strict=True):
        cell = f"{math.sqrt(np.mean((rating - truth) ** 2)):.4f}, r = {correlation(rating, truth):.4f}"
        rows.append(("LLM-Rubric", f"error (root mean square) of the {how} rating, of 4", cell, len(truth)))
    base = [row for row in cje("base").values() if "oracle_label" in row]
    judge, oracle = (np.array([row[of] for row in base], float) for of in ("judge_score", "oracle_label"))
    over_it = clustered_mean(judge - oracle, np.arange(len(judge)))
    cell = f"{number(over_it)}, r = {correlation(judge, oracle):.4f}"
    rows.append(("CJE", "over the stronger model, of 1", cell, len(judge)))
    return table(("data", "what", "value", "n"), rows)


TABLES = {
    "position": lambda: by_judge(ERRORS, ("QLoRA, pairs", "QLoRA, scores", *LABELLED, *SCORED)),
    "agreement": lambda: by_judge(AGREEMENT, (*LABELLED, "LLM-Rubric")),
    **{one.__name__: one for one in (prompts, win_rates, scores, juries, labels, weights)},
}


def real_judges() -> None:
    if not DATA.is_dir():
        raise SystemExit(f"no recorded judgements at {DATA}. Name their folder: JURIST_REAL_DATA=FOLDER")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(MARKED.sub(lambda part: part[1] + TABLES[part[2]]() + part[4], page), encoding="utf-8")
    others = [label for label, names in ONES.items() if names[0] in OTHERS]
    hard, easy = ({null: over(names, null) for null in ("best", "majority")} for names in ([ALL], others))
    same, of = on_record.as_recorded()
    rounded = lambda one: [round(value, 5) for value in one]  # noqa: E731
    record(
        "real_judges",
        rounded(hard["best"][:3]),
        null={f"share right, {null}": round(float(jury_of(ALL).right[null].mean()), 4) for null in hard},
        bar="30 labels on a jury of five: on the adversarial sets more often right than the best judge in"
        " hindsight and than the majority (intervals above 0), on the four others at most 3 points behind"
        " either (intervals); the figures recorded beside the data come out exactly",
        holds=min(x.low for x in hard.values()) > 0
        and min(x.low for x in easy.values()) > -0.03
        and same == of,
        unit="share right over the best judge: mean over 100 choices of the labels, by held-out prompt",
        others={null: rounded(one) for null, one in easy.items()},
        over_majority=rounded(hard["majority"]),
        more={"n": hard["best"].n, "figures_reproduced": [same, of]},
    )


if __name__ == "__main__":
    run_claims(real_judges)
