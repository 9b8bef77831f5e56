"""All verdicts of one judge about one matchup become one opinion."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.errors import DataError
from jurist.records import Completion, Matchup, Prompt, Verdict, content_id
from jurist.verdicts.settle import settle, settle_scores

PROMPT = Prompt.of("Say hello.")
MATCHUP = Matchup.of(PROMPT, Completion.of(PROMPT.id, "Hello!"), Completion.of(PROMPT.id, "Hi."))
FIRST, SECOND = MATCHUP.first, MATCHUP.second


def said(p: float | None, turned: bool = False, sample: int = 0, unread: str = "cut_off") -> Verdict:
    """What a judge said, p being that of the position it was shown first."""
    seen = MATCHUP.swapped() if turned else MATCHUP
    ids = {"matchup_id": MATCHUP.id, "first_id": seen.first.id, "second_id": seen.second.id}
    order = "swapped" if turned else "given"
    unread = "" if p is not None else unread
    return Verdict(
        content_id(turned, sample), "j", **ids, order=order, p_first=p, unread=unread, sample=sample
    )


def scored(completion: Completion, score: float | None, sample: int = 0) -> Verdict:
    unread = "" if score is not None else "cut_off"
    name = content_id(completion.id, sample)
    return Verdict(name, "j", first_id=completion.id, score=score, unread=unread, sample=sample)


SETTLED = {
    "two orders": ([said(0.9), said(0.3, True)], {}, 0.8, 0.2, False),
    "always the first position": ([said(1.0), said(1.0, True)], {}, 0.5, 1.0, True),
    "one order": ([said(0.9)], {}, 0.9, None, False),
    "the other order": ([said(0.9, True)], {}, 0.1, None, False),
    "samples count within their order": (
        [said(1.0), said(1.0, sample=1), said(0.4, sample=2), said(0.5, True)], {}, 0.65, 0.3, False),
    "an unread sample is no tie": (
        [said(1.0), said(None, sample=1), said(0.0, True)], {}, 1.0, 0.0, False),
    "an order unread": ([said(0.9), said(None, True, unread="refused")], {}, "refused", None, False),
    "the other unread": ([said(0.9, True), said(None, unread="refused")], {}, "refused", None, False),
    "nobody asked": ([], {}, "not_asked", None, False),
    "a bias is taken from the position shown": ([said(0.9)], {"debias": lambda p: p - 0.2}, 0.7, None, False),
    "of a swapped question too": ([said(0.9, True)], {"debias": lambda p: p - 0.2}, 0.3, None, False),
    "asked twice it cancels": (
        [said(0.8), said(0.4, True)], {"debias": lambda p: 0.0}, 0.7, 0.2, False),
    "clamped": ([said(0.97)], {"clamp": (0.4, 0.6)}, 0.6, None, False),
    "clamped before the mean": (
        [said(1.0), said(0.0, True), said(0.5, True, 1)], {"clamp": (0.4, 0.6)}, 0.575, 0.05, False),
}  # fmt: skip


@pytest.mark.parametrize(("verdicts", "how", "p", "gap", "flipped"), SETTLED.values(), ids=SETTLED)
def test_verdicts_become_an_opinion(verdicts, how, p, gap, flipped):
    found = settle(verdicts, MATCHUP, **how)
    assert found.unread or found.p_first == (p if found.unread else pytest.approx(p))
    assert (found.p_first is None) == (found.unread == p)
    assert found.position_gap == (gap if gap is None else pytest.approx(gap))
    assert (found.flipped, len(found.verdict_ids)) == (flipped, len(verdicts))
    assert (found.first_id, found.second_id) == (FIRST.id, SECOND.id)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.one_of(st.none(), st.floats(0, 1)), st.booleans()), min_size=1, max_size=6),
    st.randoms(),
)
def test_neither_the_sides_nor_the_places_in_the_list_say_anything(rows, random):
    verdicts = [said(p, turned, sample, "no_verdict") for sample, (p, turned) in enumerate(rows)]
    one = settle(verdicts, MATCHUP)
    other_side = settle(verdicts, MATCHUP.swapped())
    retold = settle([verdict.swapped() for verdict in verdicts], MATCHUP)
    shuffled = settle(random.sample(verdicts, len(verdicts)), MATCHUP)
    assert (shuffled.p_first, shuffled.unread) == (one.p_first, one.unread)
    for other in (other_side.swapped(), retold):
        assert other.unread == one.unread
        assert other.p_first == pytest.approx(one.p_first, abs=1e-12)
    assert other_side.position_gap == pytest.approx(one.position_gap, abs=1e-12)


def test_a_verdict_about_another_matchup_is_refused_and_of_two_equal_completions_the_order_tells():
    other = Matchup.of(PROMPT, FIRST, Completion.of(PROMPT.id, "Hey"))
    with pytest.raises(DataError, match=f"not about matchup {other.id}. See: jurist show"):
        settle([said(0.9)], other)
    same = Matchup.of(PROMPT, FIRST, FIRST)
    shown = (same.id, FIRST.id, FIRST.id)
    verdicts = [Verdict("1", "j", *shown, p_first=1.0), Verdict("2", "j", *shown, "swapped", p_first=1.0)]
    assert settle(verdicts, same).p_first == 0.5


def test_scores_by_hand():
    strange = scored(Completion.of(PROMPT.id, "Hey"), 1)
    verdicts = [scored(SECOND, 5), strange, scored(FIRST, 7), scored(FIRST, 8, sample=1)]
    found = settle_scores(verdicts, MATCHUP, (1, 9))
    assert (found.scores, len(found.verdict_ids)) == ((7.5, 5), 3)
    assert found.p_first == pytest.approx(1 / (1 + math.exp(-2.5)))
    assert settle_scores(verdicts, MATCHUP.swapped(), (1, 9)).p_first == pytest.approx(1 - found.p_first)
    unread = settle_scores([scored(FIRST, 7), scored(SECOND, None)], MATCHUP, (1, 9))
    assert (unread.p_first, unread.unread, unread.scores) == (None, "cut_off", None)
    assert settle_scores([scored(FIRST, 7)], MATCHUP, (1, 9)).unread == "not_asked"


SCORES = [
    *((60 / unit, 55 / unit, (0, 100 / unit), 1 / (1 + math.exp(-0.4))) for unit in (1, 10, 100)),
    (3, 3, (1, 9), 0.5), (7, 7, (7, 7), 0.5), (2, 0, "logits", 1 / (1 + math.exp(-2))),
    (1, 0, "certain", 1.0), (0, 1, "certain", 0.0), (1, 1, "certain", 0.5),
]  # fmt: skip


def test_p_of_two_scores_does_not_depend_on_the_unit_of_their_scale():
    for first, second, scale, p in SCORES:
        found = settle_scores([scored(FIRST, first), scored(SECOND, second)], MATCHUP, scale)
        assert found.p_first == pytest.approx(p), scale
