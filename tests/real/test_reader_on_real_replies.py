"""One reader, told only the labels, on replies that judges really wrote."""

import os
import sys
from pathlib import Path

import pytest

from jurist.verdicts.read import Choices, read_choice, read_score_pair

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("JURIST_REAL_DATA") or ROOT.parent / "shared" / "data")
pytestmark = pytest.mark.skipif(
    not (DATA / "llmbar").is_dir(), reason=f"no recorded judgements at {DATA / 'llmbar'}"
)

sys.path.insert(0, str(ROOT / "experiments"))
from reader_on_real_replies import OUTPUTS, explained, llmbar, on_qlora, on_scores  # noqa: E402


def agreement(replies):
    """Shares of agreement, and what the others disagree about."""
    right = asked = 0
    classes = []
    for reply in replies:
        reading = read_choice(reply.text, OUTPUTS, reply.finish)
        asked += 1
        if reading.p_first == reply.recorded:
            right += 1
        else:
            classes.append(explained(reply, reading.p_first, reading.unread))
    return right / asked, asked, classes


@pytest.fixture(scope="module")
def replies():
    return list(llmbar(DATA / "llmbar"))


def test_a_tenth_of_the_llmbar_replies_agrees_with_the_record(replies):
    share, asked, _ = agreement(replies[::10])

    assert asked == 6_034
    assert share >= 0.985


def test_a_record_that_both_patterns_match_follows_their_order_and_not_the_reply(replies):
    both = [reply for reply in replies if reply.ambiguous]

    assert len(both) == 317
    assert {reply.recorded for reply in both} == {1.0}


@pytest.mark.slow
def test_all_llmbar_replies_agree_with_the_record_in_98_5_percent(replies):
    share, asked, classes = agreement(replies)

    assert asked == 60_338
    assert share >= 0.9945
    assert not [kind for kind in classes if kind.startswith("the reader")]


@pytest.mark.slow
def test_strict_prompts_agree_in_99_9_percent_where_the_reply_decides_the_record(replies):
    strict = [reply for reply in replies if reply.strict]
    share, asked, _ = agreement([reply for reply in strict if not reply.ambiguous])

    assert (len(strict), asked) == (40_976, 40_904)
    assert share >= 0.999
    assert agreement(strict)[0] >= 0.998


def test_qlora_pairs_agree_in_99_5_percent_and_give_the_published_order():
    found = on_qlora()

    assert found["n"] == 4_480
    assert found["share"] >= 0.995
    assert found["order_as_expected"]
    for name in ("first_share", "both_order_pairs", "consistent", "pure_position_flips"):
        assert found["from_our_readings"][name] == pytest.approx(found["expected"][name], rel=1e-3)


def test_reviews_with_two_scores_are_read_like_their_authors_read_them():
    found = on_scores()

    assert found["same"] >= 5_689
    assert "different" not in found
    assert found["recorded as failed, read by us"] == 60


def test_real_replies_read_the_same_from_the_other_seat(replies):
    turned = Choices(OUTPUTS.second, OUTPUTS.first)
    for reply in replies[::40]:
        one, other = (
            read_choice(reply.text, OUTPUTS, reply.finish),
            read_choice(reply.text, turned, reply.finish),
        )
        assert one.unread == other.unread
        assert one.p_first is None or one.p_first == 1 - other.p_first


def test_a_review_with_its_scores_far_from_the_start_is_read():
    text = (
        "The endpoints are (2, -2) and (10, 4).\n\nScores:\nAssistant 1: 10 (clear)\nAssistant 2: 2\n\nDone."
    )

    assert [score.score for score in read_score_pair(text)] == [10, 2]
