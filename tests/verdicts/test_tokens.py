"""From log-probs to probabilities, by hand."""

from math import inf, isclose, log, nan

import pytest

from jurist.engines.engine import Token
from jurist.verdicts.read import LOW_MASS, NO_VERDICT, Menu, read_choice, read_score


def at(text, *alternatives):
    """A token with its alternatives, as (text, probability)."""
    top = tuple((name, log(chance)) for name, chance in alternatives)
    return Token(text, dict(top).get(text, log(0.01)), top)


def plain(*texts):
    return tuple(Token(text, 0.0, ((text, 0.0),)) for text in texts)


def test_p_is_the_share_of_the_first_label():
    reading = read_choice("A", tokens=[at("A", ("A", 0.6), ("B", 0.2), ("The", 0.1))])

    assert isclose(reading.p_first, 0.75)
    assert reading.source == "tokens"


def test_all_ways_to_write_a_label_are_summed():
    spelt = at("A", ("A", 0.2), (" A", 0.1), ("▁A", 0.1), ("ĠA", 0.1), ("(A", 0.1), ("B", 0.1), (" B", 0.1))

    assert isclose(read_choice("A", tokens=[spelt]).p_first, 0.75)


def test_case_is_one_label_unless_the_menu_tells_labels_apart_by_it():
    small = at("m", ("m", 0.6), ("M", 0.2))

    assert isclose(read_choice("m", Menu("m", "M"), tokens=[small]).p_first, 0.75)
    assert isclose(
        read_choice("m", Menu("m", "n"), tokens=[at("m", ("m", 0.5), ("M", 0.1), ("n", 0.2))]).p_first, 0.75
    )


def test_a_label_that_is_not_among_the_alternatives_is_bounded_by_the_least_of_them():
    reading = read_choice("A", tokens=[at("A", ("A", 0.9), ("The", 0.05), ("Both", 0.02))])

    assert isclose(reading.p_first, 0.9 / 0.92)


def test_the_bound_is_never_more_than_what_the_alternatives_leave():
    assert isclose(read_choice("A", tokens=[at("A", ("A", 0.9))]).p_first, 0.9)
    assert isclose(read_choice("A", tokens=[Token("A", log(0.9))]).p_first, 0.9)


def test_labels_with_less_than_half_of_the_mass_are_unread():
    reading = read_choice("A", tokens=[at("A", ("A", 0.3), ("B", 0.1), ("The", 0.6))])

    assert (reading.p_first, reading.unread) == (None, LOW_MASS)


def test_a_tie_counts_half_to_either_side():
    three = at("C", ("A", 0.5), ("B", 0.1), ("C", 0.4))

    assert isclose(read_choice("C", Menu("A", "B", "C"), tokens=[three]).p_first, 0.7)


def test_p_is_taken_where_the_deciding_label_stands():
    words = plain("B", " is", " longer", ".", " Verdict", ":", " [[")
    tokens = (*words, at("A", ("A", 0.8), ("B", 0.2)), *plain("]]"))
    reading = read_choice("B is longer. Verdict: [[A]]", tokens=tokens)

    assert isclose(reading.p_first, 0.8)


def test_what_the_labels_share_is_not_the_deciding_token():
    tokens = (*plain("Output", " ("), at("b", ("a", 0.3), ("b", 0.7)), *plain(")"))

    assert isclose(read_choice("Output (b)", Menu("Output (a)", "Output (b)"), tokens=tokens).p_first, 0.3)


def test_the_beginning_of_a_longer_label_stands_for_it():
    tokens = (at("sec", ("sec", 0.6), ("fir", 0.2)), *plain("ond"))

    assert isclose(read_choice("second", Menu("first", "second"), tokens=tokens).p_first, 0.25)


def test_tokens_with_byte_marks_and_stripped_ends_are_aligned():
    tokens = (*plain("ĠVerdict", ":", "Ċ"), at("ĠB", ("ĠA", 0.25), ("ĠB", 0.75)), *plain("<|end|>"))

    assert isclose(read_choice("Verdict:\n B", tokens=tokens).p_first, 0.25)


def test_tokens_that_do_not_fit_the_text_leave_the_verdict_as_read():
    reading = read_choice("Verdict: A", tokens=plain("something", " else"))

    assert (reading.p_first, reading.source) == (1.0, "text")


def test_a_single_token_that_is_no_label_is_weighed_by_its_alternatives():
    assert isclose(read_choice("The", tokens=[at("The", ("A", 0.6), ("B", 0.2), ("The", 0.1))]).p_first, 0.75)
    assert read_choice("The", tokens=[at("The", ("The", 0.9), ("A", 0.05))]).unread == LOW_MASS
    assert read_choice("The", tokens=[at("The", ("The", 0.9), ("It", 0.05))]).unread == NO_VERDICT


@pytest.mark.parametrize("odd", [nan, inf, -inf, 5.0])
def test_unsound_log_probs_never_raise(odd):
    for tokens in (
        [Token("A", odd)],
        [Token("A", 0.0, (("A", odd), ("B", odd)))],
        [Token("", odd, (("", odd),))],
    ):
        reading = read_choice("A", tokens=tokens)
        assert reading.unread or 0.0 <= reading.p_first <= 1.0
        assert read_score("7", tokens=tokens).score == 7


def test_a_score_is_the_expectation_over_score_tokens():
    reading = read_score(
        "Score: 7", tokens=(*plain("Score", ":"), at(" 7", (" 7", 0.5), (" 8", 0.3), ("9", 0.1)))
    )

    assert isclose(reading.score, (3.5 + 2.4 + 0.9) / 0.9)
    assert reading.source == "tokens"


def test_a_ten_in_two_tokens_is_not_a_one():
    ten = (at("1", ("1", 0.6), ("9", 0.4)), at("0", ("0", 0.75), ("\n", 0.25)))

    assert isclose(read_score("10", tokens=ten).score, 0.45 * 10 + 0.15 * 1 + 0.4 * 9)


def test_a_one_that_may_have_become_a_ten_is_left_out():
    assert isclose(
        read_score("9", tokens=[at("9", ("9", 0.6), ("1", 0.3), ("8", 0.1))]).score, (5.4 + 0.8) / 0.7
    )
    assert read_score("9", tokens=[at("9", ("9", 0.3), ("1", 0.7))]).unread == LOW_MASS


def test_a_tokenizer_with_a_token_for_ten_needs_no_such_care():
    assert isclose(read_score("10", tokens=[at("10", ("10", 0.5), ("1", 0.5))]).score, 5.5)


def test_scores_with_little_mass_are_unread():
    assert read_score("7", tokens=[at("7", ("7", 0.3), ("The", 0.7))]).unread == LOW_MASS


def test_a_decimal_score_stays_as_it_was_said():
    assert read_score("8.5", tokens=(at("8", ("8", 0.5), ("7", 0.5)), *plain(".", "5"))).score == 8.5
