"""Honest judges raise hardly an alarm in the audits of bias; planted biases are found."""

from dataclasses import replace

import numpy as np
import pytest
from finding import findings

from jurist.audits.finding import WRONG, Measure
from jurist.audits.length import length
from jurist.audits.position import position
from jurist.audits.self_preference import self_preference
from support.simulated import Simulated, World, simulate

pytestmark = pytest.mark.slow

POLICIES = ("gpt-small", "qwen-small", "llama-small")
JUDGE, UNRELATED = Simulated("gpt-large"), Simulated("claude-large")
WORLD = World(prompts=400, policies=POLICIES[:2])


AUDITS = (position, length, self_preference)


def audited(judges, world, seed, audits=AUDITS):
    sheet = simulate(judges, world, seed)[0]
    return findings([one for audit in audits for one in audit(sheet) if isinstance(one, Measure)])


def honest(seed):
    """Judges without a bias, who differ in how well they see quality, of 100 to 1,000 matchups."""
    dice = np.random.default_rng(seed)
    names = dice.permutation(["gpt-large", "qwen-large", "claude-large"])[: dice.integers(1, 4)]
    judges = tuple(
        Simulated(
            str(name), sharpness=dice.uniform(1, 3), noise=dice.choice([0, 0.5]), soft=dice.random() < 0.5
        )
        for name in names
    )
    pairs = int(dice.choice([1, 1, 2, 4]))
    world = World(
        prompts=round(10 ** dice.uniform(2, 3) / pairs),
        pairs=pairs,
        domains=("sums", "talk", "doses")[: dice.integers(1, 4)],
        policies=POLICIES,
        orders=str(dice.choice(["both", "both", "given"])),
        samples=int(dice.choice([1, 1, 2])),
        people=int(dice.choice([0, 1, 3])),
        person=dice.uniform(1, 3),
        labelled=dice.choice([0.3, 1.0]),
        long=dice.choice([0, 0.3, 0.6]),
        lead=dice.choice([0, 0, 0.5]),
    )
    return judges, world


def test_of_200_honest_files_at_most_5_percent_raise_an_alarm():
    alarmed = [
        seed for seed in range(200) if any(one.grade == "alarm" for one in audited(*honest(seed), seed))
    ]

    assert len(alarmed) <= 10, alarmed


@pytest.mark.parametrize(
    ("name", "judges", "world", "size"),
    [
        ("position.first_position", [replace(JUDGE, slot=0.5)], WORLD, 0.56),
        ("length.excess", [replace(JUDGE, length=1.45)], replace(WORLD, long=0.3), 0.15),
        ("self_preference.gap", [replace(JUDGE, own=1.3, kin=POLICIES[0])], WORLD, 0.29),
        (
            "self_preference.excess",
            [replace(JUDGE, own=1.3, kin=POLICIES[0]), UNRELATED],
            replace(WORLD, people=0),
            0.15,
        ),
    ],
)
def test_a_planted_bias_is_found_in_9_of_10_files_of_400_matchups(name, judges, world, size):
    audits = [audit for audit in AUDITS if audit.__name__ == name.partition(".")[0]]
    files = [audited(judges, world, seed, audits) for seed in range(100)]
    found = [next(one for one in file if (one.name, one.about) == (name, JUDGE.name)) for file in files]

    assert np.mean([one.value for one in found]) == pytest.approx(size, abs=0.02)
    assert sum(one.grade in WRONG for one in found) >= 90
