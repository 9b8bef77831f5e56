from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurist.errors import DataError
from jurist.records import Completion, Matchup, Prompt, Verdict, content_id
from jurist.verdicts.settle import settle, settle_scores

PROMPT = Prompt.of("Say hello.")
MATCHUP = Matchup.of(PROMPT, Completion.of(PROMPT.id, "Hello!"), Completion.of(PROMPT.id, "Hi."))


def said(p: float | None, turned: bool = False, sample: int = 0, unread: str = "") -> Verdict:
    """What a judge said, p being that of the seat it was shown first."""
    seen = MATCHUP.swapped() if turned else MATCHUP
    return Verdict(
        id=content_id(turned, sample),
        judge="j",
        matchup_id=MATCHUP.id,
        first_id=seen.first.id,
        second_id=seen.second.id,
        order="swapped" if turned else "given",
        p_first=p,
        unread=unread if p is None else "",
        sample=sample,
    )


def scored(completion: Completion, score: float | None, sample: int = 0) -> Verdict:
    return Verdict(
        id=content_id(completion.id, sample),
        judge="j",
        first_id=completion.id,
        score=score,
        unread="" if score is not None else "cut_off",
        sample=sample,
    )


def test_two_orders_by_hand():
    opinion = settle([said(0.9), said(0.3, turned=True)], MATCHUP)

    assert opinion.p_first == pytest.approx((0.9 + 0.7) / 2)
    assert opinion.position_gap == pytest.approx(0.9 - 0.7)
    assert not opinion.flipped
    assert (opinion.first_id, opinion.second_id) == (MATCHUP.first.id, MATCHUP.second.id)


def test_a_judge_that_always_picks_the_first_seat_is_worth_nothing():
    opinion = settle([said(1.0), said(1.0, turned=True)], MATCHUP)

    assert opinion.p_first == 0.5
    assert opinion.flipped


PS = st.one_of(st.none(), st.floats(0, 1))


@given(st.lists(st.tuples(PS, st.booleans()), min_size=1, max_size=6))
def test_turning_everything_turns_the_result(rows):
    verdicts = [said(p, turned, sample, "no_verdict") for sample, (p, turned) in enumerate(rows)]
    opinion, other = settle(verdicts, MATCHUP), settle(verdicts, MATCHUP.swapped())
    retold = settle([one.swapped() for one in verdicts], MATCHUP)

    back = other.swapped()
    assert (opinion.p_first is None) == (back.p_first is None) == (retold.p_first is None)
    if opinion.p_first is not None:
        assert back.p_first == pytest.approx(opinion.p_first, abs=1e-12)
        assert retold.p_first == pytest.approx(opinion.p_first, abs=1e-12)
        assert other.position_gap == opinion.position_gap or other.position_gap == pytest.approx(
            opinion.position_gap
        )
    else:
        assert back.unread == opinion.unread == retold.unread


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=6), st.randoms())
def test_the_place_of_a_verdict_in_the_list_says_nothing(rows, random):
    verdicts = [said(p, turned, sample) for sample, (p, turned) in enumerate(rows)]
    shuffled = random.sample(verdicts, len(verdicts))

    assert settle(shuffled, MATCHUP).p_first == settle(verdicts, MATCHUP).p_first


def test_samples_are_averaged_within_an_order_and_orders_count_the_same():
    verdicts = [said(1.0), said(1.0, sample=1), said(0.4, sample=2), said(0.5, turned=True)]

    assert settle(verdicts, MATCHUP).p_first == pytest.approx((0.8 + 0.5) / 2)


def test_an_unread_sample_is_left_out_and_is_not_a_tie():
    verdicts = [said(1.0), said(None, sample=1, unread="cut_off"), said(0.0, turned=True)]

    assert settle(verdicts, MATCHUP).p_first == 1.0
    assert len(settle(verdicts, MATCHUP).verdict_ids) == 3


@pytest.mark.parametrize("turned", [False, True])
def test_half_an_average_is_no_opinion(turned):
    opinion = settle([said(0.9, turned), said(None, not turned, unread="refused")], MATCHUP)

    assert opinion.p_first is None
    assert opinion.unread == "refused"


def test_nobody_asked_is_no_opinion():
    assert settle([], MATCHUP).unread == "not_asked"


def test_one_order_alone_is_told_from_the_given_seats():
    assert settle([said(0.9)], MATCHUP).p_first == 0.9
    assert settle([said(0.9, turned=True)], MATCHUP).p_first == pytest.approx(0.1)
    assert settle([said(0.9)], MATCHUP).position_gap is None


def test_the_slot_bias_is_taken_from_the_seat_as_shown():
    assert settle([said(0.9)], MATCHUP, debias=lambda p: p - 0.2).p_first == pytest.approx(0.7)


def test_asked_in_both_orders_nothing_is_corrected():
    assert settle(
        [said(0.8), said(0.4, turned=True)], MATCHUP, debias=lambda p: 0.0
    ).p_first == pytest.approx(0.7)


def test_the_clamp_holds_every_probability_before_it_is_averaged():
    verdicts = [said(1.0), said(0.0, turned=True), said(0.5, turned=True, sample=1)]

    assert settle([said(0.97)], MATCHUP, clamp=(0.4, 0.6)).p_first == 0.6
    assert settle([said(0.5)], MATCHUP, clamp=(0.4, 0.6)).p_first == 0.5
    assert settle(verdicts, MATCHUP, clamp=(0.4, 0.6)).p_first == pytest.approx((0.6 + 1 - 0.45) / 2)


def test_a_verdict_about_another_matchup_is_refused():
    other = Matchup.of(PROMPT, MATCHUP.first, Completion.of(PROMPT.id, "Hey"))

    with pytest.raises(DataError, match=f"not about matchup {other.id}. See: jurist show"):
        settle([said(0.9)], other)


def test_two_equal_completions_end_even_with_a_judge_that_likes_one_seat():
    same = Matchup.of(PROMPT, MATCHUP.first, MATCHUP.first)
    shown = (same.id, same.first.id, same.first.id)
    verdicts = [Verdict("1", "j", *shown, p_first=1.0), Verdict("2", "j", *shown, "swapped", p_first=1.0)]

    assert settle(verdicts, same).p_first == 0.5


def test_scores_by_hand():
    verdicts = [scored(MATCHUP.second, 5), scored(MATCHUP.first, 7), scored(MATCHUP.first, 8, sample=1)]
    opinion = settle_scores(verdicts, MATCHUP, (1, 9))

    assert opinion.scores == (7.5, 5)
    assert opinion.p_first == pytest.approx(1 / (1 + math.exp(-2.5)))
    assert settle_scores(verdicts, MATCHUP.swapped(), (1, 9)).p_first == pytest.approx(1 - opinion.p_first)


@pytest.mark.parametrize(
    ("first", "second", "scale", "p"),
    [
        *((60 / unit, 55 / unit, (0, 100 / unit), 1 / (1 + math.exp(-0.4))) for unit in (1, 10, 100)),
        (3, 3, (1, 9), 0.5),
        (7, 7, (7, 7), 0.5),
        (2, 0, "logits", 1 / (1 + math.exp(-2))),
        (1, 0, "certain", 1.0),
        (0, 1, "certain", 0.0),
        (1, 1, "certain", 0.5),
    ],
)
def test_p_of_two_scores_does_not_depend_on_the_unit_of_their_scale(first, second, scale, p):
    said = [scored(MATCHUP.first, first), scored(MATCHUP.second, second)]
    assert settle_scores(said, MATCHUP, scale).p_first == pytest.approx(p)


def test_a_completion_without_a_score_has_no_opinion_and_keeps_the_reason():
    opinion = settle_scores([scored(MATCHUP.first, 7), scored(MATCHUP.second, None)], MATCHUP, (1, 9))

    assert (opinion.p_first, opinion.unread, opinion.scores) == (None, "cut_off", None)
    assert settle_scores([scored(MATCHUP.first, 7)], MATCHUP, (1, 9)).unread == "not_asked"


def test_scores_of_other_completions_are_left_alone():
    other = Completion.of(PROMPT.id, "Hey")
    verdicts = [scored(other, 1), scored(MATCHUP.first, 7), scored(MATCHUP.second, 7)]

    assert len(settle_scores(verdicts, MATCHUP, (1, 9)).verdict_ids) == 2
