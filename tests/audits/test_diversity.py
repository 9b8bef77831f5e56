"""A loop that contracts is found, one that does not is left alone, and each figure is what its name says."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest

from jurist.audits.collect import Collector
from jurist.audits.diversity import Generation, diversity, meaning, of_policies, words
from jurist.audits.diversity.halves import halves, on_split_halves, split_half_estimate
from jurist.errors import MissingExtra
from jurist.records import Completion, Prompt
from jurist.tiny.answers import GOOD, MEDIOCRE, compose
from jurist.tiny.world import prompts
from jurist.verdicts.cases import Case

ASKED = list(prompts(60, 5))
EVERY = np.array([True])


def generation(name, habits, seed, again=0.0, k=4):
    """Answers of an assistant with these habits, some of them the same to everything."""
    draw = random.Random(seed)
    said = {
        one.id: [
            "I would rather not say. Ask again."
            if draw.random() < again
            else compose(one.messages[-1].content, habits, draw)
            for _ in range(k)
        ]
        for one in ASKED
    }
    return Generation(name, said)


def called(found):
    return {one.name.partition(".")[2]: one.grade for one in found if one.grade in ("alarm", "warning")}


def by_name(found):
    return {one.name.partition(".")[2]: one for one in found}


def test_a_generation_that_says_the_same_to_everything_is_found():
    found = diversity([generation("start", MEDIOCRE, 1), generation("round 1", GOOD, 2, again=0.6)])

    assert called(found).keys() >= {"distinct_2", "distinct_3", "unique", "self_bleu", "boilerplate"}
    assert by_name(found)["unique"].low > 0.1
    assert "--real.share" in by_name(found)["unique"].advice


def test_a_generation_like_the_one_before_is_left_alone():
    assert not called(diversity([generation("start", MEDIOCRE, 1), generation("round 1", MEDIOCRE, 2)]))


def test_saying_more_in_the_same_words_is_no_loss():
    short = generation("start", MEDIOCRE, 1, k=2)
    long = generation("other", MEDIOCRE, 2, k=4).answers
    twice = {
        name: [f"{a} {b}" for a, b in zip(some[:2], some[2:], strict=True)] for name, some in long.items()
    }

    assert not {"distinct_1", "distinct_2"} & called(diversity([short, Generation("round 1", twice)])).keys()


def test_what_it_learnt_from_is_told():
    first, last = generation("start", MEDIOCRE, 1), generation("round 3", MEDIOCRE, 2)
    fed = Generation("round 3", last.answers, generation=3, synthetic=1.0)

    assert by_name(diversity([first, fed]))["synthetic"].grade == "warning"
    assert "synthetic" not in by_name(diversity([first, last]))


@pytest.mark.parametrize(
    "generations",
    [
        [],
        [Generation("start", {})],
        [Generation("start", {}), Generation("round 1", {})],
        [Generation("start", {"a": ["x"]}), Generation("round 1", {"a": ["y"]})],
        [Generation("start", {"a": ["x"] * 4}), Generation("round 1", {"b": ["y"] * 4})],
    ],
)
def test_without_answers_to_compare_nothing_is_said(generations):
    (found,) = diversity(generations)

    assert (found.grade, found.n, found.value) == ("silent", 0, None)
    assert found.advice


def test_answers_without_a_word_give_no_number():
    empty = {str(at): ["", ""] for at in range(20)}
    found = diversity([Generation("start", empty), Generation("round 1", empty)])

    assert all(one.value is None or math.isfinite(one.value) for one in found)


def test_one_answer_to_a_prompt_is_enough_for_what_is_said_of_all():
    found = by_name(
        diversity([generation("start", MEDIOCRE, 1, k=1), generation("round 1", MEDIOCRE, 2, k=1)])
    )

    assert "distinct_2" in found
    assert not {"unique", "self_bleu", "recall"} & found.keys()


def test_different_pairs_among_as_many_by_hand():
    pairs = words.grams([["a b c", "a b d"]], 2)

    assert pairs.distinct(EVERY, 4) == pytest.approx(3 / 4)
    # Two of four drawn: the same pair twice in one of six draws.
    assert pairs.distinct(EVERY, 2) == pytest.approx((2 - 1 / 6) / 2)


def test_bleu_by_hand():
    counts = [Counter(words.ngrams(list("abcde"), n)) for n in range(1, 5)]
    other = [Counter(words.ngrams(list("abcdf"), n)) for n in range(1, 5)]
    want = (4 / 5 * (3 + 1) / (4 + 1) * (2 + 1) / (3 + 1) * (1 + 1) / (2 + 1)) ** 0.25

    assert words.bleu(counts, [other], 5, 5) == pytest.approx(want)
    assert words.bleu(counts, [counts], 5, 5) == pytest.approx(1.0)
    assert words.bleu(counts, [other], 5, 10) == pytest.approx(want * math.exp(-1))


def test_recall_is_the_share_of_what_was_that_lies_near_what_is():
    across = np.array([[0.1, 0.9], [0.8, 0.7], [0.9, 0.9], [0.8, 0.8]])

    assert meaning.covered(across, np.array([0.2, 0.3])) == 0.25


def test_as_many_quite_different_answers_are_so_many_kinds():
    assert meaning.kinds(np.eye(4)) == pytest.approx(4)
    assert meaning.kinds(np.ones((8, 8))) == pytest.approx(1)
    assert meaning.apart(np.eye(4)) == pytest.approx(1)
    assert meaning.apart(np.ones((8, 8))) == pytest.approx(0)


def test_an_encoder_that_is_not_installed_is_named_with_its_extra():
    with pytest.raises(MissingExtra, match=r"jurist\[diversity\]"):
        meaning.encoder("any")


def test_halves_know_how_sure_a_mean_is():
    values = np.random.default_rng(3).normal(size=400)
    found = split_half_estimate(on_split_halves(lambda kept: float(values[kept].mean()), halves(400)), 400)

    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.25)


def test_a_policy_of_a_run_is_set_beside_people_and_nothing_is_called_a_failure():
    collector = Collector()
    for at in range(60):
        prompt = Prompt.of(f"question {at}")
        said = [
            Completion.of(prompt.id, f"never twice {at} the {at + 1} same {at + 2}", "human:ann"),
            Completion.of(prompt.id, "always the same to everybody", "dull"),
        ]
        collector.add_case(Case(prompt, tuple(said), (), ()))
    found = by_name(of_policies(collector.sheet()))

    assert found["distinct_2"].about == "dull"
    assert found["distinct_2"].low > 0.5
    assert found["distinct_2"].grade == "note"
    assert of_policies(Collector().sheet()) == []
