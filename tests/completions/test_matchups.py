from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurist.completions import load_groups, matchups, same_words
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
    shuffled = group(*"fbdace")

    assert met(six, "random:4", 1) == met(shuffled, "random:4", 1)
    assert len({frozenset(met(six, "random:4", seed)) for seed in range(20)}) > 10


@pytest.mark.parametrize("scheme", ["round", "random:", "random:0", "random:x", "chain:2"])
def test_an_unknown_scheme_is_refused(scheme):
    with pytest.raises(SettingError, match="there is all, chain, random:3, star"):
        matchups(group("a", "b"), scheme)


def test_equal_texts_never_meet_and_leave_by_name():
    found, left = matchups(group("a  b", "a b\n", "c"))

    assert len(found) == 2
    assert [row.reason for row in left] == ["identical"]


def test_one_completion_alone_leaves_by_name():
    found, left = matchups(group("a"))

    assert found == []
    assert [(row.subject_id, row.reason) for row in left] == [(PROMPT.id, "too_few")]


def test_a_file_with_the_better_one_first_leaks_nothing_into_the_seats():
    rows = [{"prompt": f"{i}?", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(2000)]
    first = [m.first.text.startswith("good") for g in load_groups(rows) for m in matchups(g)[0]]
    other = [m.first.text.startswith("good") for g in load_groups(rows) for m in matchups(g, seed=1)[0]]

    assert abs(sum(first) / len(first) - 0.5) < 0.05
    assert abs(sum(a == b for a, b in zip(first, other, strict=True)) / len(first) - 0.5) < 0.05


def test_seats_do_not_depend_on_the_order_in_the_file():
    for i in range(50):
        one, other = f"one {i}", f"other {i}"
        (here,), _ = matchups(group(one, other))
        (there,), _ = matchups(group(other, one))
        assert here == there


@given(
    texts=st.lists(st.text(max_size=4), min_size=2, max_size=6),
    scheme=st.sampled_from(["all", "chain", "star"]),
)
def test_every_intended_pair_is_a_matchup_or_has_a_reason(texts, scheme):
    found, left = matchups(group(*texts), scheme)
    k = len(texts)

    assert len(found) + len(left) == (k * (k - 1) // 2 if scheme == "all" else k - 1)
    assert not any(same_words(m.first.text, m.second.text) for m in found)
    assert len({m.id for m in found}) == len(found)


def test_texts_that_part_late_are_not_the_same():
    assert not same_words(
        "the first eight words of both are the same", "the first eight words of both are the other"
    )


@given(one=st.text(alphabet="ab \n\t", max_size=40), other=st.text(alphabet="ab \n\t", max_size=40))
def test_same_words_is_equality_but_for_white_space(one, other):
    assert same_words(one, other) == (one.split() == other.split())
    assert all(same_words(a, b) == same_words(b, a) for a, b in combinations((one, other), 2))
