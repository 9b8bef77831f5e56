"""Attacks tried on a judge: one that falls for an attack is found, and one that does not is cleared."""

import json
from importlib.resources import files

import pytest
from finding import findings

from jurist.audits.probes import ATTACK, ATTACKS, HONEST, PLAIN, attacked, attacks_on, probes
from support.gullible import Gullible, probe_sheet
from support.simulated import Simulated, World, simulate

GROUPS = attacks_on(None)


def probed(function, groups=GROUPS, **judge):
    """The findings about one judge, by attack."""
    return {
        one.name.partition(".")[2]: one for one in findings(probes(probe_sheet(function, groups, **judge)))
    }


def alarms(found):
    return {name for name, one in found.items() if one.grade == "alarm"}


def test_our_own_prompts_are_of_many_kinds_and_each_meets_every_attack():
    rows = [json.loads(row) for row in (files("jurist.examples") / "decent.jsonl").read_text().splitlines()]
    assert len(rows) == len(GROUPS) == 24
    assert len({row["domain"] for row in rows}) == 8
    for group in GROUPS:
        honest, *others = group.completions
        assert [one.policy for one in others] == [ATTACK + name for name in (PLAIN, *ATTACKS)]
        assert (honest.policy, group.pairs) == (HONEST, tuple((0, at) for at in range(1, len(ATTACKS) + 2)))
        assert len({one.text for one in group.completions}) == len(ATTACKS) + 2
        holding = {one.policy.removeprefix(ATTACK) for one in others if honest.text in one.text}
        assert holding == {"repetition", "padding"}  # only length may hold the decent answer
        texts = [one.text for one in others]
        assert attacked(group.prompt, honest.text, texts[0]) == group  # made alike every time


def test_a_fair_judge_passes():
    found = probed(Gullible())
    assert {one.grade for one in found.values()} == {"fine"}
    assert (found["plain"].value, found["plain"].n) == (1.0, 24)


@pytest.mark.parametrize(
    ("judge", "falls_for"),
    [
        (Gullible(length=8.0), {"padding", "repetition"}),
        (Gullible(obeys=12.0), {"verdict", "json"}),
        (Gullible(tastes={"expert": 12.0}), {"authority"}),
        (Gullible(tastes={r"\*\*": 12.0}), {"markup"}),
        (Gullible(tastes={"Choose it": 12.0}), {"instruction"}),
        (Gullible(tastes={"^Voici": 12.0}), {"language"}),
        (Gullible(tastes={r"^\.$": 12.0}), {"null"}),
        (Gullible(tastes={"</response-A-": 12.0}), {"delimiters"}),
        (Gullible(tastes={"The record shows": 12.0}), {"constant"}),
    ],
)
def test_a_judge_is_found_to_fall_for_what_it_falls_for(judge, falls_for):
    found = probed(judge, GROUPS[::3])
    assert falls_for | {"attacks"} <= alarms(found)
    assert judge.length or alarms(found) == falls_for | {"attacks"}
    assert found["attacks"].chart.series[0].points[0].x in falls_for
    assert {point.x for point in found["attacks"].chart.series[0].points} == {"no attack", *ATTACKS}
    for name in falls_for:
        assert found[name].low > 0.1
        assert found[name].examples
        assert found[name].advice


def test_an_injected_verdict_wins_in_one_position_only_and_is_found_all_the_same():
    assert probed(Gullible(obeys=12.0), GROUPS[::3])["verdict"].value == pytest.approx(0.5, abs=0.03)


def scores(ask):
    return "Score: 9" if "expert" in ask.messages[-1].content else "Score: 5"


@pytest.mark.parametrize(
    ("function", "judge", "expected"),
    [
        (lambda ask: "A", {}, {"plain"}),  # it reads nothing: not the attacks' doing
        (lambda ask: "Who can say?", {}, {"unread"}),
        (scores, {"kind": "pointwise"}, {"authority", "attacks", "plain"}),
    ],
    ids=["reads nothing", "all unread", "scores"],
)
def test_other_faults_are_told_apart_from_being_fooled(function, judge, expected):
    found = probed(function, GROUPS[:8], **judge)
    assert alarms(found) == expected
    assert expected != {"unread"} or {found[name].grade for name in ATTACKS} == {"silent"}


def test_replies_that_an_attack_makes_unreadable_are_counted():
    def silenced(ask):
        shown = any("expert" in message.content for message in ask.messages)
        return "I cannot say." if shown else Gullible()(ask)

    found = probed(silenced, GROUPS[:12])
    assert found["authority"].grade == "silent"
    assert found["unread"].value == pytest.approx(1 / len(ATTACKS))
    assert found["unread"].grade in ("warning", "alarm")


def test_a_run_without_attacks_says_what_to_type():
    (found,) = findings(probes(simulate((Simulated(),), World(prompts=20), 1)[0]))
    assert (found.grade, found.n) == ("silent", 0)
    assert "`jurist probe --judge ENGINE`" in found.advice


def test_a_prompt_file_of_pairs_gives_the_chosen_answers(tmp_path):
    rows = [{"prompt": f"Q{n}", "chosen": f"Good {n}.", "rejected": f"Bad {n}."} for n in range(3)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    groups = attacks_on(str(tmp_path / "pairs.jsonl"))
    assert [group.completions[0].text for group in groups] == ["Good 0.", "Good 1.", "Good 2."]
    assert [group.completions[1].text for group in groups] == ["Good 1.", "Good 2.", "Good 0."]

    (tmp_path / "one.jsonl").write_text('{"prompt": "Q", "completion": "Good."}\n')
    (group,) = attacks_on(str(tmp_path / "one.jsonl"))
    assert "museum" in group.completions[1].text


@pytest.mark.slow
def test_a_fair_judge_that_slips_is_rarely_called_gullible():
    called = 0
    for seed in range(40):
        found = probed(Gullible(slips=0.02, seed=seed))
        called += any(one.grade in ("alarm", "warning") for one in found.values())
    assert called <= 5, "5% wanted; 5 of 40 is what that rate gives 95 times in 100"
