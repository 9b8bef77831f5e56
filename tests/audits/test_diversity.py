"""A loop that contracts is found at equal amounts, one that does not is left alone."""

import math
import random
from collections import Counter

import numpy as np
import pytest
from finding import findings

from jurist.audits.diversity import (
    Generation,
    Things,
    bleu,
    cut_alike,
    diversity,
    encoder,
    match,
    unique,
    word_pairs,
)
from jurist.errors import MissingExtra
from jurist.tiny.answers import GOOD, MEDIOCRE, compose
from jurist.tiny.world import prompts

ASKED = list(prompts(60, 5))
LOSSES = {"distinct_2", "unique", "self_bleu", "compression"}


def generation(name, habits, seed, again=0.0, k=4):
    """Answers of an assistant with these habits, some of them the same to everything."""
    draw = random.Random(seed)

    def answer(prompt):
        same = draw.random() < again
        return "I'm sorry, ask again." if same else compose(prompt.messages[-1].content, habits, draw)

    return Generation(name, {one.id: [answer(one) for _ in range(k)] for one in ASKED})


def cut_short(one, words=15):
    cut = {name: [" ".join(text.split()[:words]) for text in texts] for name, texts in one.answers.items()}
    return Generation("round 1", cut)


def without(one, name, *fewer):
    """A generation some of whose calls failed."""
    draw = random.Random(9)
    return Generation(name, {at: draw.sample(texts, draw.choice(fewer)) for at, texts in one.answers.items()})


def of_words(name, seed, n=60):
    """A writer with 25 words, of which an answer uses few."""
    draw = random.Random(seed)
    some = {
        str(at): [f"w{draw.randrange(5 * k + 5)}" for _ in range(n)] for at in range(40) for k in (at % 5,)
    }
    return Generation(name, {at: [" ".join(words), " ".join(words[::-1])] for at, words in some.items()})


def audited(*generations, **how):
    return {one.name.partition(".")[2]: one for one in findings(diversity(generations, **how))}


START = generation("start", MEDIOCRE, 1)


def test_a_generation_that_says_the_same_to_everything_is_an_alarm():
    found = audited(START, generation("round 1", GOOD, 2, again=0.6))

    assert {name for name, one in found.items() if one.grade == "alarm"} == LOSSES | {"refusals"}
    assert found["unique"].low > 0.1
    assert "fell from" in found["unique"].says
    assert "--real.share" in found["unique"].advice
    (chart,) = [one.chart for one in found.values() if one.chart]
    assert {line.name for line in chart.series} == LOSSES
    assert all(len(line.name) <= 18 for line in chart.series)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (START, generation("round 1", MEDIOCRE, 2)),
        (START, cut_short(START)),
        (cut_short(START), Generation("round 1", START.answers)),
        (START, without(START, "round 1", 2, 3, 4)),
        (of_words("start", 1), cut_short(of_words("start", 1))),
        (of_words("start", 1), cut_short(of_words("start", 2))),
    ],
)
def test_at_equal_amounts_neither_length_nor_a_failed_call_is_diversity(first, last):
    found = audited(first, last)

    assert all(one.grade not in ("alarm", "warning") for one in found.values())
    assert all(one.low <= 0 <= one.high for name, one in found.items() if name != "unique")


def test_each_two_answers_are_cut_to_as_many_words():
    assert cut_alike(["one two, three", "a"], ["x y z", ""]) == (["", "one two,"], ["", "x y z"])
    matched = match(START, cut_short(START, 7))
    assert len(word_pairs(matched.cut[0])) == len(word_pairs(matched.cut[1]))
    assert len(word_pairs(matched.whole[0])) > len(word_pairs(matched.whole[1]))


def test_what_it_learnt_from_is_told_from_the_second_round_on():
    def fed(number, share):
        return Generation(f"round {number}", START.answers, number, share)

    assert audited(START, fed(3, 1.0))["synthetic"].grade == "warning"
    assert audited(START, fed(3, 0.5))["synthetic"].grade == "fine"
    assert "synthetic" not in audited(START, fed(1, 1.0))


@pytest.mark.parametrize(
    "generations",
    [
        [],
        [START],
        [Generation("start", {}), Generation("round 1", {})],
        [Generation("start", {"a": ["x"] * 4}), Generation("round 1", {"b": ["y"] * 4})],
    ],
)
def test_without_answers_to_compare_nothing_is_said(generations):
    (found,) = audited(*generations).values()

    assert (found.grade, found.n, found.value) == ("silent", 0, None)
    assert found.advice


def test_empty_answers_and_single_ones_give_the_numbers_that_they_can():
    empty = {str(at): ["", ""] for at in range(20)}
    found = audited(Generation("start", empty), Generation("round 1", empty))
    assert found.keys() == {"unique", "self_bleu", "refusals"}
    assert {one.value for one in found.values()} == {0.0}
    single = generation("start", MEDIOCRE, 1, k=1), generation("round 1", MEDIOCRE, 2, k=1)
    assert audited(*single).keys() == {"distinct_2", "compression", "refusals"}


def test_measures_by_hand():
    pairs, every = word_pairs([["a b c", "a b d"]]), np.array([True])
    assert pairs.distinct(every, 4) == pytest.approx(3 / 4)
    # Two of four sampled: the same pair twice in one of six samples.
    assert pairs.distinct(every, 2) == pytest.approx((2 - 1 / 6) / 2)
    assert math.isnan(Things([[]]).distinct(every, 2))
    assert unique([["a b", "a  b", "c"]])[0] == pytest.approx(2 / 3)

    def counts(words):
        return [
            Counter(" ".join(words[at : at + n]) for at in range(len(words) - n + 1)) for n in range(1, 5)
        ]

    want = (4 / 5 * (3 + 1) / (4 + 1) * (2 + 1) / (3 + 1) * (1 + 1) / (2 + 1)) ** 0.25
    assert bleu(counts("abcde"), [counts("abcdf")]) == pytest.approx(want)
    assert bleu(counts("abcde"), [counts("abcdf" + "xxxxx")]) == pytest.approx(want * math.exp(-1))


def test_recall_takes_an_encoder_and_falls_where_meanings_are_lost():
    def letters(texts):
        return np.array([[text.count(letter) for letter in "abcdefgh"] for text in texts]) + 1e-9

    def said(name, letters, seed):
        draw = random.Random(seed)
        return Generation(name, {str(at): [draw.choice(letters) for _ in range(4)] for at in range(60)})

    start = said("start", "abcdefgh", 1)
    assert audited(start, said("round 1", "abcd", 2), encode=letters)["recall"].value == pytest.approx(
        0.5, abs=0.1
    )
    assert audited(start, said("round 1", "abcdefgh", 2), encode=letters)["recall"].grade == "fine"
    assert "recall" not in audited(start, start)
    with pytest.raises(MissingExtra, match=r"jurist\[diversity\]"):
        encoder("any")
