"""Which completions meet, and which of the two stands first."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.completions import load_groups, matchups
from jurist.completions.load import same_words
from jurist.errors import SettingError
from jurist.records import Completion, Group, Prompt

PROMPT = Prompt.of("Why?")


def group(*texts, pairs=()):
    return Group(PROMPT, tuple(Completion.of(PROMPT.id, text) for text in texts), pairs)


def met(group, scheme="all", seed=0):
    found, _ = matchups(group, scheme, seed)
    return {frozenset((m.first.text, m.second.text)) for m in found}


def pairs(*names):
    return {frozenset(name) for name in names}


def test_each_scheme_brings_its_pairs_together():
    four = group("a", "b", "c", "d")

    assert met(four) == pairs("ab", "ac", "ad", "bc", "bd", "cd")
    assert met(four, "chain") == pairs("ab", "bc", "cd")
    assert met(four, "star") == pairs("ab", "ac", "ad")
    assert len(met(four, "random:3")) == 3
    assert met(four, "random:99") == met(four)
    assert met(group("a", "b", "c", pairs=((0, 2),))) == pairs("ac")


def test_random_pairs_are_drawn_by_content_and_seed():
    six = group(*"abcdef")

    assert met(six, "random:4", 1) == met(group(*"fbdace"), "random:4", 1)
    assert len({frozenset(met(six, "random:4", seed)) for seed in range(9)}) > 4


@pytest.mark.parametrize("scheme", ["round", "random:0", "random:x", "chain:2"])
def test_an_unknown_scheme_is_refused(scheme):
    with pytest.raises(SettingError, match="there is all, chain, random:3, star"):
        matchups(group("a", "b"), scheme)


def test_equal_texts_never_meet_and_one_alone_meets_nobody():
    found, left = matchups(group("a  b", "a b\n", "c"))
    assert len(found) == 2
    assert [row.reason for row in left] == ["identical"]

    found, left = matchups(group("a"))
    assert found == []
    assert [(row.subject_id, row.reason) for row in left] == [(PROMPT.id, "too_few")]


def test_a_file_with_the_better_one_first_leaks_nothing_into_the_positions():
    rows = [{"prompt": f"{i}?", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(300)]
    groups = list(load_groups(rows))
    first, other = ([matchups(g, seed=s)[0][0].first.text.startswith("good") for g in groups] for s in (0, 1))
    turned = [Group(g.prompt, g.completions[::-1], g.pairs) for g in groups]

    assert 120 < sum(first) < 180
    assert 120 < sum(a == b for a, b in zip(first, other, strict=True)) < 180
    assert [matchups(g) for g in turned] == [matchups(g) for g in groups]


TEXT = st.text(alphabet="ab \n\t", max_size=12)


@settings(max_examples=20, deadline=None)
@given(one=TEXT, other=TEXT, same=st.sampled_from(["", "the first eight words of both are the same "]))
def test_same_words_is_equality_but_for_white_space(one, other, same):
    assert same_words(same + one, same + other) == (one.split() == other.split())
    assert all(same_words(a, b) == same_words(b, a) for a, b in combinations((one, other), 2))
