"""What an audit measures on many simulated matchups is what the simulation's formula says.

`experiments/audits_cover.py` marks the intervals, on many small data sets.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jurist.audits.agreement import agreement
from jurist.audits.calibration import calibration
from jurist.audits.length import length
from jurist.audits.position import position
from jurist.audits.self_preference import self_preference
from support import formulas
from support.simulated import Simulated, World, simulate

WORLD = World(prompts=6_000, policies=("one",))
BIASED, SOFT = Simulated(slot=1.0), Simulated(soft=True)
POLICIES = ("gpt-4o", "qwen-small", "llama-small")
PLANTED = {
    "bare winners, both orders": (position, BIASED, WORLD, "first_position flip_rate cost between_equals"),
    "three samples": (position, BIASED, replace(WORLD, samples=3), "repeats flips_beyond_repeats flip_rate"),
    "probabilities": (position, replace(BIASED, soft=True), WORLD, "first_position flip_rate"),
    "a taste for length": (
        length,
        Simulated(length=0.7),
        replace(WORLD, long=0.4),
        "prefers_longer human_prefers_longer excess",
    ),
    "its own family": (
        self_preference,
        Simulated("gpt", own=0.8, kin="gpt-4o"),
        replace(WORLD, policies=POLICIES),
        "gap",
    ),
    "a good judge": (
        agreement,
        SOFT,
        replace(WORLD, hard=0.3),
        "accuracy kappa alpha humans with_a_human",
    ),
    "a dim judge": (agreement, Simulated(sharpness=0.4), WORLD, "accuracy kappa alpha over_longest"),
    "too sure": (
        calibration,
        replace(SOFT, sharpness=4.0, noise=3.0),
        replace(WORLD, people=1),
        "over brier auroc",
    ),
}


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_measured_is_what_was_planted(case):
    audit, judge, world, names = PLANTED[case]
    truth = getattr(formulas, audit.__name__)(judge, world)
    measured = {one.name: one.estimate for one in audit(simulate((judge,), world, 5)[0])}
    for name in names.split():
        estimate = measured[f"{audit.__name__}.{name}"]
        # Three times as wide as a 95% interval: of what is right, one in a hundred million is outside.
        assert abs(estimate.value - truth[name]) < 1.5 * (estimate.high - estimate.low), name


def test_errors_planted_by_the_evidence_still_have_their_place(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).resolve().parents[2] / "experiments"), *sys.path])
    from audits_cover import PACKAGE, mutants

    places = [(PACKAGE / file).read_text().count(right) for _, _, file, right, _ in mutants().values()]
    assert places == [1] * 10
