"""The alternative annotator test against its published definition, written out with scipy."""

import numpy as np
import pytest
from finding import findings

from jurist.audits.agreement import agreement
from jurist.audits.alt_test import alternative_annotator_test, power
from support.published import alternative_annotator_test_as_published as as_published
from support.simulated import Simulated, World, simulate

LABELS = {"two-way": (2, False), "three-way": (3, False), "categories": (6, False), "scores": (10, True)}


@pytest.mark.parametrize(("k", "numbers"), LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("epsilon", [0.2, 0.15, 0.1, 0.0])
def test_it_is_as_published_for_any_labels_and_for_numbers(k, numbers, epsilon):
    """Humans who skip items, each another number of them, so pooling over cases would give another mean."""
    rng = np.random.default_rng(k)
    truth, rows = rng.integers(0, k, 240), []
    for who, seen in enumerate((0.9, 0.7, 0.5, 0.4, 0.2, 0.1)):
        for item in np.flatnonzero(rng.random(240) < seen).tolist():
            off = rng.integers(-2, 3) if numbers else rng.integers(0, k) - truth[item]
            rows.append((who, item, float(truth[item] + off * (rng.random() < 0.1 + 0.12 * who))))
    judge = np.where(rng.random(240) < 0.7, truth, rng.integers(0, k, 240)) + (0.25 if numbers else 0.0)
    judge[rng.random(240) < 0.1] = np.nan
    who, item, value = (np.array(column) for column in zip(*rows, strict=True))
    humans = {}
    for name, at, said in rows:
        humans.setdefault(name, {})[at] = said
    rate, advantage, p_values = as_published(
        humans, {i: x for i, x in enumerate(judge.tolist()) if x == x}, epsilon, numbers
    )
    found = alternative_annotator_test(who, item, value, judge, epsilon, numbers=numbers)

    assert found.winning_rate == pytest.approx(rate, abs=1e-6)
    assert found.advantage.value == pytest.approx(advantage, abs=1e-6)
    assert found.p_values == pytest.approx(p_values, abs=1e-6)
    assert len(p_values) == 5  # the sixth has fewer than 30 items


def test_a_human_with_few_items_counts_as_much_as_one_with_many():
    """Two humans agree on everything and the third on nothing; the judge is with the two."""
    who = np.repeat([0, 1, 2], [300, 300, 30])
    item = np.concatenate([np.arange(300), np.arange(300), np.arange(30)])
    value = np.repeat([1.0, 1.0, 0.0], [300, 300, 30])
    found = alternative_annotator_test(who, item, value, np.r_[np.ones(150), np.zeros(150)], 0.2)

    # Left out, the first two win where the judge is with the third or with nobody; mean of the humans' means.
    assert found.advantage.value == pytest.approx((0.5 + 0.5 + 1) / 3)


def test_items_of_one_prompt_are_one_observation():
    rng = np.random.default_rng(1)
    truth = np.repeat(rng.random(40) < 0.5, 5).astype(float)
    noise = [np.repeat(rng.random(40) < 0.2, 5) for _ in range(4)]
    value = np.concatenate([np.abs(truth - one) for one in noise[:3]])
    who, item = np.repeat(np.arange(3), 200), np.tile(np.arange(200), 3)
    judge = np.abs(truth - noise[3])
    alone, together = (
        alternative_annotator_test(who, item, value, judge, 0.2, prompt=prompt)
        for prompt in (None, np.repeat(np.arange(40), 5))
    )

    assert max(alone.p_values) < min(together.p_values)


@pytest.mark.parametrize(
    ("judge", "epsilon", "recorded"),
    [
        (0.85, 0.2, {30: 0.68, 50: 0.86, 100: 0.99}),
        (0.85, 0.1, {30: 0.21, 50: 0.33, 100: 0.60, 200: 0.90}),
        (0.80, 0.1, {100: 0.24, 400: 0.79}),
        (0.75, 0.2, {100: 0.73}),
    ],
)
def test_its_power_is_as_recorded(judge, epsilon, recorded):
    """Three humans who are right 85 times in 100; the last shows what epsilon .2 lets through."""
    for n, passes in recorded.items():
        assert power(0.85, judge, 3, n, epsilon) == pytest.approx(passes, abs=0.05)


def test_the_audit_says_what_the_test_would_also_pass():
    sheet = simulate((Simulated("good", soft=True),), World(prompts=200), 0)[0]
    for annotators in ("experts", 0.2):
        found = findings(agreement(sheet, annotators=annotators))
        test = next(one for one in found if one.name == "agreement.alt_test")
        assert (test.value, test.grade) == (1.0, "fine")
        assert "no more than 0.2 behind 3 of 3 humans" in test.says
        assert "10 points worse" in test.says


@pytest.mark.parametrize("world", [World(prompts=200, people=2), World(prompts=29)])
def test_too_few_humans_or_items_are_not_tested(world):
    found = findings(agreement(simulate((Simulated("good"),), world, 0)[0]))
    (test,) = (one for one in found if one.name == "agreement.alt_test")

    assert test.grade == "silent"
    assert "3 humans with 30 matchups each" in test.says
