"""What a run came to, counted by judge, and the card that says so."""

import yaml

from jurist.preferences.decide import Counts, JudgeCounts
from jurist.preferences.export import card
from jurist.records import Completion, Dropped, Matchup, Preference, Prompt, Verdict
from jurist.verdicts.cases import Case
from jurist.verdicts.jury import Agreement
from jurist.verdicts.settle import Opinion

PROMPT = Prompt.of("Why?")
LONG, SHORT = Completion.of(PROMPT.id, "a long answer"), Completion.of(PROMPT.id, "short")
MET = Matchup.of(PROMPT, LONG, SHORT)
MADE = {"name": 'it\'s "mine"', "splits": ["train"], "recipe": "judge: x", "versions": {"jurist": "0.1"}}


def verdict(judge, order="given", p=None, **fields):
    unread = {"unread": "refused"} if p is None else {}
    return Verdict("v", judge, MET.id, LONG.id, SHORT.id, order=order, p_first=p, **unread, **fields)


def counted(**fields):
    counts = Counts(**fields)
    verdicts = (
        verdict("j|1", p=0.9, cost=0.25, forced=True),
        verdict("j|1", "swapped", cost=0.25),
        verdict("k", p=0.9),
        verdict("k", "swapped", p=0.8),
        verdict("once", p=0.5),
        Verdict("s", "scorer", first_id=LONG.id, score=3.0),
        verdict("file", p=1.0),
        verdict("human:ann", p=1.0),
    )
    opinions = [
        Opinion(MET.id, LONG.id, SHORT.id, "j|1", unread="refused"),
        Opinion(MET.id, LONG.id, SHORT.id, "k", 0.55, position_gap=0.7, flipped=True),
        Opinion(MET.id, LONG.id, SHORT.id, "once", 0.5),
    ]
    counts.add(Case(PROMPT, (LONG, SHORT), (MET,), verdicts), [(MET, opinions)])
    counts.preference(Preference("p", PROMPT, LONG, SHORT, 0.9, flags=("length_gap",)))
    counts.preference(Preference("q", PROMPT, SHORT, LONG, 1.0))
    counts.drop(Dropped("m", "preferences", "tie"))
    return counts


def test_what_was_asked_and_what_was_read_are_counted_by_judge_and_labels_apart():
    counts = counted()

    assert counts.judges == {
        "j|1": JudgeCounts(2, {"refused": 1}, 1, decided=1, first_position=1, asked_both=1, usd=0.5),
        "k": JudgeCounts(2, decided=2, first_position=2, asked_both=1, read_both=1, flipped=1),
        "once": JudgeCounts(1),
        "scorer": JudgeCounts(1),
    }
    assert counts.labels == {"file": 1, "human:ann": 1}
    total = JudgeCounts(6, {"refused": 1}, 1, 3, 3, asked_both=2, read_both=1, flipped=1, usd=0.5)
    assert counts.total() == total


def test_agreement_with_labels_is_the_first_thing_on_the_card_and_every_count_follows():
    agreement = {"human": {"j|1": Agreement(0.75, 0.7, 0.8, 1200)}, "file": {"j|1": Agreement(0.5, 0, 1, 2)}}
    text = card(counted(agreement=agreement), **MADE, left_out={"tie": 4})
    first, second, *others = text.split("\n## ")[1:]
    lines = (
        "| verdicts | 6 |",
        "Judge `j|1`",
        "| unread: refused | 1 (50.0%) |",
        "| label forced by a constraint | 1 (50.0%) |",
        "| matchups asked in both orders | 1 |",
        "| read in both | 0 (0.0%) |",
        "| flipped: both orders favoured the same position | 1 (100.0%) |",
        "| for the first position | 2 (100.0%) |",
        "| human:ann | 1 |",
        "| preferences | 2 |",
        "| cost of the verdicts | $0.50 |",
        "| chosen is longer | 1 (50.0%) |",
        "| length_gap | 1 |",
        "| preferences: tie | 1 |",
        "| tie | 4 |",
        "```yaml\njudge: x\n",
        "| jurist | 0.1 |",
    )

    assert first.startswith("Agreement with human labels\n")
    assert "| j\\|1 | 75.0% (70.0% to 80.0%, n = 1,200) |" in first
    assert second.startswith("Agreement with the file's labels\n")
    assert [line for line in lines if line not in "\n".join(others)] == []


def test_the_header_says_where_the_splits_are_and_leaves_the_licence_to_the_user():
    text = card(Counts(), **MADE, left_out={})
    header = yaml.safe_load(text.split("---\n")[1])

    assert header["pretty_name"] == MADE["name"]
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "train*"}]
    assert "license" not in header
    assert "# license:" in text
    assert "| unknown | no human labels |" in text
