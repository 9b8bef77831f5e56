"""From log-probs to probabilities, by hand."""

import json
from math import inf, log, nan

import pytest

from jurist.engines.dialects import ChatCompletions, Takes
from jurist.engines.engine import Reply, Token
from jurist.engines.journaled import label_tokens
from jurist.verdicts.read import Choices, Scale, read

AB, ABC, NINE, TEN = Choices(), Choices(("A", "B", "C")), Scale(1, 9), Scale(1, 10)


def tokens_of(*places):
    """Tokens from dicts of alternatives with their chances: the first of each is the one that was written."""
    tokens, at = [], 0
    for place in places:
        top = place if isinstance(place, dict) else {place: 1.0}
        text = next(iter(top))
        tokens.append(Token(text, log(top[text]), tuple((one, log(p)) for one, p in top.items()), at))
        at += len(text)
    return tuple(tokens)


def weighed(*places, form=AB, label_only=True, keep=None, finish="stop", text="", **how):
    tokens = tokens_of(*places)
    text = text or "".join(one.text for one in tokens)
    kept = tuple(one for i, one in enumerate(tokens) if keep is None or i in keep)
    return read(Reply(text, finish, kept), form, label_only=label_only, **how)


VALUES = [
    ([{"A": 0.6, "B": 0.2, "The": 0.1}], AB, 0.75, 0.8),
    ([{"A": 0.2, " A": 0.1, "▁A": 0.1, "ĠA": 0.1, "(A": 0.1, "B": 0.1, ' "B': 0.1}], AB, 0.75, 0.8),
    # a label that is not listed is no likelier than the least that is, nor than what these leave
    ([{"A": 0.9, "The": 0.05, "Both": 0.02}], AB, 0.9 / 0.92, 0.9), ([{"A": 0.9}], AB, 0.9, 0.9),
    # a tie counts half to either side
    ([{"C": 0.5, "A": 0.45, "B": 0.05}], ABC, 0.7, 1.0),
    # where the label stands, and not where the reply begins
    (["Response", {" A": 0.7, " B": 0.3}], AB, 0.7, 1.0), (["**", {"A": 0.7, "B": 0.3}, "**"], AB, 0.7, 1.0),
    (["\n", {" B": 0.7, " A": 0.3}, "\n"], AB, 0.3, 1.0),
    (["<think>", "A", "</think>", {"B": 0.7, "A": 0.3}], AB, 0.3, 1.0),
    (['{"', "verdict", '":', ' "', {"B": 0.7, "A": 0.3}, '"}'], AB, 0.3, 1.0),
    # what was written is no label, but the labels hold most
    ([{"The": 0.2, "A": 0.6, "B": 0.2}], AB, 0.75, 0.8),
    ([{"7": 0.5, "8": 0.3, " 9": 0.2}], NINE, 7.7, 1.0), ([{"8": 0.6, "7": 0.4}, ".", "5"], NINE, 8.5, 1.0),
    # 10 as two tokens: the next one tells how likely the 0 was; in the branch not taken nobody knows
    ([{"1": 0.6, "9": 0.4}, {"0": 0.75, "\n": 0.25}], TEN, 0.45 * 10 + 0.15 * 1 + 0.4 * 9, 1.0),
    (["Score: ", {"1": 0.6, "9": 0.4}, {"0": 0.9, "\n": 0.1}, "/", "1", "0"], TEN, 9.06, 1.0),
    ([{"1": 0.6, "2": 0.4}], TEN, 1.4, 1.0), ([{"9": 0.6, "1": 0.3, "8": 0.1}], TEN, 6.2 / 0.7, 1.0),
    ([{"10": 0.5, "1": 0.5}], TEN, 5.5, 1.0),
    # scores of several digits are read as they are written
    ([{"8": 0.6, "7": 0.3, "I": 0.1}, {"5": 0.9, "0": 0.1}], Scale(0, 100), 85, 0.9),
    ([{"-": 0.6, "2": 0.3, "I": 0.1}, {"3": 0.9, "1": 0.1}], Scale(-5, 5), -3, 0.9),
    ([{"15": 0.6, "7": 0.3, "I": 0.1}], Scale(1, 20), 15, 0.9),
]  # fmt: skip


def test_the_value_is_what_the_labels_hold():
    for places, form, value, mass in VALUES:
        got = weighed(*places, form=form)
        assert (got.value, got.label_mass) == (pytest.approx(value), pytest.approx(mass)), places


UNREAD = [
    ([{"A": 0.3, "B": 0.1, "The": 0.6}], AB, "low_mass", 0.4),
    ([{"<turn": 0.95, "A": 0.04, "B": 0.01}, "-", "user"], AB, "low_mass", 0.05),
    ([{"7": 0.3, "The": 0.7}], NINE, "low_mass", 0.3),
    ([{"I": 0.9, "5": 0.1}], Scale(0, 100), "low_mass", 0.1),
    # a sentence, a list or a heading begins with what could be a label
    (["A", " is", " worse"], AB, "no_verdict", 1.0),
    ([" A", ":", " It"], AB, "no_verdict", 1.0),
    (["1", ".", " Clarity"], NINE, "no_verdict", 1.0),
    (["1", ".", " **"], NINE, "no_verdict", 1.0),
    (["Response", " A", " is"], AB, "low_mass", 0.0),
    ([{"C": 0.4, "A": 0.3, "B": 0.3}], AB, "off_menu", 0.6),
]  # fmt: skip


def test_without_half_of_the_mass_or_the_line_for_itself_a_label_is_unread():
    for places, form, reason, mass in UNREAD:
        got = weighed(*places, form=form, finish="length")
        assert (got.value, got.unread, got.label_mass) == (None, reason, pytest.approx(mass)), places


def test_behind_a_constraint_the_label_counts_whatever_the_mass_but_only_a_label():
    top = {"A": 0.04, "B": 0.01, "<turn": 0.95}
    assert weighed(top, forced=True).value == pytest.approx(0.8)
    assert weighed({"<turn": 0.95, "A": 0.04, "B": 0.01}, "-", forced=True).unread == "no_verdict"
    assert weighed('{"', "verdict", '":"', top, '"}', forced=True).value == pytest.approx(0.8)


def test_unsound_log_probs_never_raise_and_not_reported_is_not_nothing():
    for odd in (nan, inf, -inf, 5.0, -800.0):
        for tokens in ((Token("A", odd),), (Token("A", log(0.9), (("A", log(0.9)), ("B", odd))),)):
            got = read(Reply("A", tokens=tokens), AB, label_only=True)
            assert got.unread or 0.0 <= got.value <= 1.0
        seven = Reply("7", tokens=(Token("7", odd, (("8", odd),)),))
        assert read(seven, NINE).value in (7.0, 8.0, 7.5, None)
    top = (("A", log(0.6)), ("The", log(0.3)), ("B", -inf))
    assert read(Reply("A", tokens=(Token("A", log(0.6), top),)), AB).value == pytest.approx(0.6 / 0.7)


def test_a_verdict_after_a_rationale_is_weighed_at_its_own_token_if_that_was_kept():
    said = ["A", " fits", ".\n", "Verdict", ":", {" B": 0.8, " A": 0.2}, "."]
    assert weighed(*said, label_only=False).value == pytest.approx(0.2)
    assert weighed(*said, label_only=False, keep=[5]).value == pytest.approx(0.2)
    assert weighed(*said, label_only=False, keep=[0, 1]).value == 0.0
    assert weighed("Well", ",", {" So": 0.2, " B": 0.8}, keep=[2]).unread == "no_verdict"
    # tokens that turn out to stand elsewhere are none
    for beginning in ("That fits", "s"):
        assert weighed(*said, label_only=False, text=f"{beginning}.\nVerdict: B.").value == 0.0
    # without the token after the 1, the score is what is written
    ten = ["Score: ", {"1": 0.6, "9": 0.4}, {"0": 0.9, "\n": 0.1}, "/", "1", "0"]
    assert weighed(*ten, form=TEN, keep=[0, 1, 3, 4, 5]).value == 10.0


def test_the_journal_keeps_the_tokens_that_are_read():
    said = ["I", " see", "."] * 50 + ["\n", "Verdict", ":", " **", {" B": 0.8, " A": 0.2}, "**", "!"]
    tokens = tokens_of(*said)
    text = "".join(one.text for one in tokens)
    kept = label_tokens(Reply(text, tokens=tokens), AB.labels)
    assert len(kept) < 10
    assert read(Reply(text, tokens=kept), AB) == read(Reply(text, tokens=tokens), AB)


PIECES = [["Ġ\U0001f600", "Ċ"], ["\\xf0\\x9f", "\\x98\\x80", "\n"], ["\ufffd", "\ufffd", "\n"]]


def test_tokens_that_do_not_join_to_the_text_are_aligned_at_its_end():
    top = [{"token": " A", "logprob": log(0.8)}, {"token": " B", "logprob": log(0.2)}]
    for pieces in PIECES:
        content = [{"token": one, "logprob": 0.0} for one in ("Nice", *pieces, "Verdict", ":")]
        content.append({**top[0], "top_logprobs": top})
        choice = {"message": {"content": "Nice \U0001f600\nVerdict: A"}, "logprobs": {"content": content}}
        (reply,) = ChatCompletions("m", Takes(), {}).read(json.dumps({"choices": [choice]}).encode())
        assert read(reply, AB).value == pytest.approx(0.8)
