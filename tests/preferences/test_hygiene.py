import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurist.preferences.hygiene import is_refusal, near_duplicates


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I can’t do that.",
        "Sorry, no.",
        "I cannot assist with this request.",
        "I can't tell you how to do that, but here is a hotline.",
        "Unfortunately, I am not able to do so.",
        "As an AI language model, I cannot feel.",
        "I won't write that.",
        "  *I apologize*, but no.",
        "Thank you for asking. I'm unable to help.",
        "I must decline.",
    ],
)
def test_a_refusal_is_known_by_its_opening(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "Sure! I can help with that.",
        "The answer is 4.",
        "You asked whether I can't sleep; here is advice.",
        "Cannot be divided by zero.",
        "I can tell you more. I can't say it shorter.",
        "",
    ],
)
def test_an_answer_is_no_refusal(text):
    assert not is_refusal(text)


TEXT = "the quick brown fox jumps over the lazy dog and runs far away from the very old barn by the river"
WORDS = TEXT.split()


def test_near_duplicates_share_their_word_triples():
    base, other = " ".join(WORDS), " ".join([*WORDS[:-1], "lake"])

    assert near_duplicates(base, other, 0.8)
    assert not near_duplicates(base, other, 0.95)
    assert not near_duplicates(base, " ".join(WORDS[::-1]), 0.5)
    assert near_duplicates(base, base.upper() + "!", 1.0)


def test_another_number_is_another_answer():
    base = " ".join(WORDS)

    assert not near_duplicates(f"{base} 42", f"{base} 43", 0.5)
    assert not near_duplicates("3.14", "314", 1.0)
    assert not near_duplicates("-5", "5", 1.0)


@given(one=st.text(alphabet="ab .1", max_size=30), other=st.text(alphabet="ab .1", max_size=30))
def test_near_duplicates_have_no_order(one, other):
    for threshold in (0.5, 0.9, 1.0):
        assert near_duplicates(one, other, threshold) == near_duplicates(other, one, threshold)
    assert near_duplicates(one, one, 1.0)
