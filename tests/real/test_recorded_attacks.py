"""Attacks, looked for in recorded judgements: honest data raise no alarm; a policy told to mislead."""

import json
from itertools import combinations

import numpy as np
import pytest

from jurist.audits.all import audit_sheet
from jurist.audits.attacks import attacks, wins_of
from jurist.audits.finding import find
from jurist.audits.findings import KINDS
from jurist.audits.read_file import read_source
from support.recorded import DATA, cje, cje_pairs, eight_systems, hh_rlhf, llmbar, pandalm

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded judgements at {DATA}")


def sheet_of(rows, folder):
    file = folder / "pairs.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return read_source(file, on_error="drop").sheet


@pytest.mark.parametrize(
    ("rows", "matchups"),
    [
        (eight_systems, 2227),
        (pandalm, 999),
        (llmbar, 1193),
        (hh_rlhf, 2300),
        (lambda: cje_pairs("base", "parallel_universe_prompt"), 1000),
    ],
    ids=["qlora_vicuna", "pandalm", "llmbar", "hh_rlhf", "cje_arena"],
)
def test_honest_data_raise_no_alarm_of_attacks(rows, matchups, tmp_path):
    sheet = sheet_of(rows(), tmp_path)
    assert len(sheet.matchups) == pytest.approx(matchups, rel=0.02)
    found = {one.name: one for one in find(attacks(sheet), KINDS)}
    assert {one.grade for one in found.values()} <= {"note", "fine"}
    assert found["attacks.injection"].value < 0.001
    assert found["attacks.copied_prompt"].value < 0.003
    # What repeats in honest data takes up to 5% of the wins (sums in base 10), and wins half of its matchups.
    assert found["attacks.constant"].value <= 0.05


POLICIES = ("base", "clone", "parallel_universe_prompt", "unhelpful")


def test_the_unhelpful_policy_wins_nothing_by_an_attack_and_is_named_by_its_win_rate(tmp_path):
    """CJE's authors call it adversarial: it is told to mislead. Here its judge is hardly misled, and what it
    writes is no attack that repeats: it is made up anew for each prompt.
    """
    pairs = [pair for one, other in combinations(POLICIES, 2) for pair in cje_pairs(one, other)]
    sheet = sheet_of(pairs, tmp_path)
    found = audit_sheet(sheet)
    assert not [one for one in found if one.name.startswith("attacks.") and one.grade in ("alarm", "warning")]
    naming = {one.name for one in found if one.about == "unhelpful" or "unhelpful" in one.says}
    assert naming == {"length.controlled"}
    wins, whose = wins_of(sheet), sheet.answers.policy == sheet.policies.index("unhelpful")
    met = whose[wins.first] != whose[wins.second]
    assert whose[wins.winner][met].mean() == pytest.approx(0.023, abs=0.003)


def test_where_the_judge_is_misled_by_it_the_scores_are_ties():
    """Of the 1,000 prompts it beats the base on 20 and ties on 98; on 70 of these both have the judge's usual
    score, 0.85. No oracle scored its answers, so how many of them deserve it is not in this data.
    """
    rows = cje("base"), cje("unhelpful")
    base, unhelpful = ({key: row["judge_score"] for key, row in one.items()} for one in rows)
    ahead = {key: unhelpful[key] - base[key] for key in base}
    tied = [key for key in base if ahead[key] == 0]
    assert (sum(one > 0 for one in ahead.values()), len(tied)) == (20, 98)
    assert sum(base[key] == 0.85 for key in tied) == 70
    assert sum(one >= 0.7 for one in unhelpful.values()) == 136
    assert np.mean([*unhelpful.values()]) == pytest.approx(0.2454)
    assert np.mean([*base.values()]) == pytest.approx(0.8413)
    # "How much wood would a woodchuck chuck", answered with the airspeed of a swallow.
    assert (base["arena_471"], unhelpful["arena_471"]) == (0.85, 0.85)
    assert not any("oracle_label" in row for row in rows[1].values())
