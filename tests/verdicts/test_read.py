"""Which replies count as a verdict: those that declare one in the form that was asked for, and no others."""

import json
import random
import re
import time
from math import inf, log, nan
from pathlib import Path

import pytest

from jurist.engines.dialects import ChatCompletions, Takes
from jurist.engines.engine import Reply, Token
from jurist.engines.journaled import label_tokens
from jurist.verdicts.read import UNREAD, Choices, Reading, Scale, rationale_of, read, thinking_end

SENTENCES = Path(__file__).parents[1] / "contract" / "hostile.jsonl"
HOSTILE = [json.loads(line) for line in SENTENCES.read_text().splitlines()]
"""Replies that a careless reader takes for the wrong side; `better` is empty where no verdict is declared."""
AB, ABC, NINE = Choices(), Choices(("A", "B", "C")), Scale(1, 9)
SIDES = {None: "", 1.0: "A", 0.5: "=", 0.0: "B"}
TEN = Scale(1, 10)


def tokens_of(*places):
    """Tokens from dicts of alternatives with their chances: the first of each is the one that was written."""
    tokens, at = [], 0
    for place in places:
        top = place if isinstance(place, dict) else {place: 1.0}
        text = next(iter(top))
        tokens.append(Token(text, log(top[text]), tuple((one, log(p)) for one, p in top.items()), at))
        at += len(text)
    return tuple(tokens)


def sure(pieces):
    """Places that are nearly certain of what they say."""
    return [{one: 0.97} for one in pieces]


def reading(text, form=AB, finish="stop", **how) -> Reading:
    return read(Reply(text, finish), form, **how)


FORMS = [
    "{}", " {}\n", "**{}**", "[[{}]]", '"{}".', "({})", "Response {}", "Option ({})", "Verdict: {}",
    "verdict: {}", "**Verdict:** {}", "**Final verdict**: **{}**", "My verdict is {}.",
    "The overall judgment is: [[{}]]", "Decision = {}", "> Verdict: {}", "## Verdict: {}", "Verdict:\n{}",
    "Both are fine.\nVerdict: {}", "Both are fine.\r\nVerdict: {}\r\n", "Both are fine.\n\n[[{}]]",
    "A covers more.\nB is short.\n\n{}", "Verdict: {0}\nThat is all.\nVerdict: {0}", "I choose:\n\n{}",
    "### Final verdict\n\n**{}**", '{{"verdict": "{}"}}', '```json\n{{"reason": "?", "verdict": "{}"}}\n```',
    '{{\n  "verdict": "{}"\n}}', '{{"reason": "either {{x}} or \\"verdict\\"", "verdict": "Response {}"}}',
    'So I say.\n{{"verdict": "{}"}}', "## Response A\nGood.\n## Response B\nBad.\n\nVerdict: {}",
    "- It is short\n\n---\n\nVerdict: {}", "## Final verdict\nVerdict: {}", "It is a close one\nVerdict: {}",
    "The verdict is a close one.\n\nVerdict: {}",
]  # fmt: skip
SCORES = {
    "7": 7, "Score: 7": 7, "**Score:** 7/9": 7, "7 out of 9": 7, "Rating = 7.5": 7.5, "- 7": 7,
    '{"score": 4}': 4, "Accuracy: 9\nClarity: 8\n\nScore: 5": 5, "Score: 3\nBecause.\nFinal score: 3": 3,
    '{"verdict": "4"}': 4, '{"score": 4.5, "why": "{7}"}': 4.5,
}  # fmt: skip
DECLARED = [
    *((form.format(label), AB, p) for label, p in (("A", 1.0), ("B", 0.0)) for form in FORMS),
    *((text, ABC, 0.5) for text in ("C", "Verdict: C", "Alike.\n[[C]] for a tie", "**C** (a tie)")),
    ('{"verdict": "C"}', ABC, 0.5), ("2", Choices(("1", "2", "3")), 0.0),
    ("Output (a)", Choices(("Output (a)", "Output (b)")), 1.0),
    *((text, NINE, score) for text, score in SCORES.items()),
    ("Score: 85", Scale(0, 100), 85), ("-3", Scale(-5, 5), -3), ("Score: -3", Scale(-5, 5), -3),
    ("10", Scale(1, 10), 10), ("10/10", Scale(1, 10), 10),
]  # fmt: skip


def test_a_declared_verdict_is_read():
    for text, form, value in DECLARED:
        got = reading(text, form)
        assert (got.value, got.unread) == (value, ""), text
        label = f"{value:g}" if form.word == NINE.word else form.labels[[1.0, 0.0, 0.5].index(value)]
        assert text.startswith(label, got.at), text


PAIRS = {
    "no_verdict": [
        "A is better.", "Verdict: A or B", "Verdict: A?", "Verdict != A", "Verdict: not A",
        "Verdict: A would be wrong.", "Answer: A", "The answer is A", "Winner: A", "A\nbecause it is longer",
        "A > B", "A-", "Verdict A", "Verdict: A\n\nCorrection: I meant B.", "Better: B\nWorse:\nA",
        "The worse one is:\n\nA", "### Worse response\nA", "**Rejected**\n\nA", "Least preferred\nA",
        "I choose B. The one I reject is:\nA", "1. A\n2. B", "## Worse response\nVerdict: A",
        "Worse one:\nVerdict: A", "Which is worse?\nVerdict: A", "The worse response is therefore\nA",
        "The worse response is therefore\n\nA", "**Worse**\n\n---\n\nVerdict: A", '{"verdict": null}',
        '{"verdict": {"verdict": "A"}}', '{"winner": "A"}', 'Both return {"verdict": "A"}',
        '{"A": 3, "B": 8}', '{"score_A": 3, "verdict_A": "A"}',
    ],
    "off_menu": [
        "C", "Verdict: C", "[[C]]", "tie", "Verdict: Neither", "Response D", "A tie", "Verdict: A tie", "a",
        "(A) for a tie", '{"verdict": "tie"}', '{"verdict": true}', '{"verdict": "A or B"}',
    ],
    "contradictory": [
        "Verdict: A\nVerdict: B", "Verdict: A\nVerdict: tie", "Verdict: B\n\nI meant:\n\nVerdict: A",
        "Verdict: A\n\nB", "[A]\n[B]", "B\n\nIt is short.\n\nA", "A\nB", "- A\n- B", "B\n\nVerdict: A",
        "Final answer: B\nA", "Final answer: B\n\nVerdict: A", "Verdict: B, since A lies.\n\nA",
        "Response B\n\nVerdict: A", '{"verdict": "A", "verdict": "B"}',
    ],
    "empty": ["", " \n\t", "<think>so</think>\n"],
}  # fmt: skip
POINTS = {
    "no_verdict": [
        "Score: 5/10", "5 or 6", "Scores: 4, 5, 6", "3 + 4 = 7", "Score: 3 (a perfect one is a 9)", "5 tie",
        "Final score: 4\nMaximum score: 9", "1. Accuracy: fine", "Points lost:\n4", "Score != 5",
    ],
    "off_menu": ["Score: 10", "Score: -5", "-5", "0", '{"score": "high"}'],
    "contradictory": ["5/9\n\n6", "Score: 5\nRating: 6", "Score: 12\nScore: 5"],
}  # fmt: skip
UNDECLARED = [("A tie", ABC, "off_menu"), ("CA tie", ABC, "no_verdict")]
UNDECLARED += [(text, AB, reason) for reason, texts in PAIRS.items() for text in texts]
UNDECLARED += [(text, NINE, reason) for reason, texts in POINTS.items() for text in texts]


def test_what_is_not_declared_is_unread_with_a_reason():
    for text, form, reason in UNDECLARED:
        got = reading(text, form)
        assert (got.value, got.unread) == (None, reason), text
        assert reason in UNREAD


def test_a_hostile_sentence_and_its_beginning_are_never_read_for_the_wrong_side():
    assert len(HOSTILE) >= 167
    for one in HOSTILE:
        pieces = re.findall(r"\s?\w+|\W", one["text"])[:3]
        cut_off = Reply("".join(pieces), "length", tokens_of(*sure(pieces)))
        for reply, label_only in ((Reply(one["text"]), False), (Reply(one["text"]), True), (cut_off, True)):
            assert SIDES[read(reply, AB, label_only=label_only).value] in ("", one["better"]), one
    # With a declared last line it is read as that line or not at all.
    for line in ("Verdict: {}", "**Final verdict:** {}", "Verdict: Response {}", "[[{}]]", "{}"):
        lines = [(label, f"{one['text']}\n\n{line.format(label)}") for one in HOSTILE for label in "AB"]
        sides = [(label, SIDES[reading(text).value]) for label, text in lines]
        assert {pair for pair in sides if pair[1] not in ("", pair[0])} == set()
        assert sum(side == label for label, side in sides) >= 0.9 * len(sides)


TAGS = [
    ("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<THOUGHT depth=2>", "</thought>"),
    ("<seed:think>", "</seed:think>"), ("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]  # fmt: skip


def test_thinking_is_left_out_and_thinking_without_an_end_is_cut_off():
    for opens, closes in TAGS:
        assert reading(f"{opens}Verdict: B\nA{closes}\n\nA", label_only=True).value == 1.0
        assert reading(f"Hm.{closes}\nFine.\nVerdict: A").value == 1.0
        assert reading(f"{opens}one{closes}{opens}Verdict: A").unread == "cut_off"
        assert thinking_end(f"{opens}x{closes}A") == (len(opens) + 1 + len(closes), False)


def test_a_reply_that_was_cut_off_or_refused_is_read_only_where_a_label_alone_was_asked_for():
    assert reading("A", finish="refused", label_only=True, forced=True).unread == "refused"
    for text in ("A", "**A**", "(A)", "A.", "A\n\nThe"):
        assert reading(text, finish="length", label_only=True).value == 1.0
        assert reading(text, finish="length").unread == "cut_off"
    for text in ("Response A", "**Response A", "### A", "- A", '{"A', "A: it", "A is", "A. **", "Verdict: A"):
        assert reading(text, finish="length", label_only=True).unread == "no_verdict", text
    assert reading("1. **", NINE, "length", label_only=True).unread == "no_verdict"
    assert reading("Both help.\nVerdict: A", finish="length").unread == "cut_off"
    assert reading("", finish="length").unread == "cut_off"
    assert reading('{"verdict": "A"}   ', finish="length").value == 1.0


def test_the_rationale_is_what_stands_before_the_line_of_the_verdict():
    text = "A is kind.\nB is not.\n\n**Verdict:** A"
    assert rationale_of(text, reading(text)) == "A is kind.\nB is not."
    assert rationale_of("A", reading("A")) == rationale_of("no", reading("no")) == ""


LONG = [
    *"* [({<\"'`#-.:A1\n\t\\", "A ", "- ", "A\n", " \n", "```\n", "```json\n \n", "**", ": ", "<think>",
    "<think ", "Verdict", "Verdict: ", "verdict is ", "my final ", "5 ", "5 out of ", "1/", '{"a":',
    '{"verdict":', "I choose ",
]  # fmt: skip


def test_a_long_reply_is_read_quickly():
    for piece in LONG:
        long = (piece * (50_000 // len(piece) + 1))[:50_000]
        for text in (long, f"Verdict:{long}B", f"x\n{long}\nScore: 5"):
            for form, finish in ((ABC, "stop"), (NINE, "length")):
                started = time.process_time()
                reading(text, form, finish, label_only=finish == "length")
                assert time.process_time() - started < 0.2, text[:20]


FRAGMENTS = [
    "A", "B", "C", "a", "A", "B", " A", "Response ", "Response A", "Option (B)", "Verdict: ", "Verdict: A",
    "verdict: ", "**Verdict:** ", "My final verdict is ", "The decision is: ", "Verdict", ":", ": ", "[[A]]",
    "[[", "]]", "**", "(", ")", '"', "- ", "### ", "> ", "1. ", " is better", " is worse", " not ", "?", ".",
    "!", ", ", " or ", " tie", " for a tie", '{"verdict": "', '"}', '{"verdict": "A"}', '{"winner": "',
    "```json\n", "\n```", "<think>", "</think>", "Worse:", "I choose:", "Therefore ", "\n", "\n", "\n\n",
    " ", "\r\n", "é", "\u2028", "\x1c",
]  # fmt: skip
NOUNS = {"response", "answer", "assistant", "output", "option", "completion", "candidate"}


def recognised(line: str) -> str:
    """The label that a line declares, if it is nothing but that."""
    words = re.findall(r"\w+", line)
    if set(re.sub(r"\w", "", line)) - set(" \n\t\r\x1c\u2028*_\"'`()[]{}<>#-.!:="):
        return ""
    for optional in ({"the", "my"}, {"final", "overall"}, {"verdict", "decision", "judgment"}, {"is"}, NOUNS):
        words = words[1:] if words and words[0].lower() in optional else words
    behind = " ".join(words[1:]).lower()
    tie = words[:1] == ["C"] and behind in ("tie", "a tie", "for tie", "for a tie")
    return words[0] if words and words[0] in ("A", "B", "C") and (tie or not behind) else ""


def may_be(text: str, first_line: bool) -> str:
    """The only label that a reply may be read as; found by hand, not by the reader's patterns."""
    text = text.rpartition("</think>")[2]
    try:
        return recognised(json.loads(text.strip().strip("`").removeprefix("json"))["verdict"])
    except (ValueError, TypeError, KeyError):
        lines = [line for line in text.split("\n") if re.search(r"\w", line)]
    label = recognised(lines[0]) if first_line else recognised(lines[-1]) or recognised(text)
    others = [one for one in "ABC" if {one, f"Verdict: {one}"} & {*map(str.strip, lines)} and one != label]
    return label if first_line or not others else ""


def fuzz(count: int, seed: int) -> int:
    """How many of these replies were read; each of them has to declare what it was read as."""
    rng, values, read_ = random.Random(seed), {"A": 1.0, "B": 0.0, "C": 0.5}, 0
    for _ in range(count):
        pieces = rng.choices(FRAGMENTS, k=rng.randint(1, 6))
        if rng.random() < 0.4:
            pieces += ["\n", *rng.choices(FRAGMENTS, k=rng.randint(1, 2))]
        tokens = tokens_of(*sure(pieces)) if rng.random() < 0.25 else ()
        reply = Reply("".join(pieces), "length" if rng.random() < 0.2 else "stop", tokens)
        got = read(reply, ABC, label_only=rng.random() < 0.3, forced=rng.random() < 0.1)
        assert (got.value is None) == (got.unread in UNREAD), reply.text
        if got.value is not None:
            read_ += 1
            declared = may_be(reply.text, reply.finish == "length")
            assert declared, f"invented: {reply.text!r}"
            assert abs(got.value - values[declared]) < 0.1, reply.text
    return read_


def test_no_verdict_is_invented_from_fragments_of_labels_and_forms():
    assert fuzz(8_000, seed=1) >= 400


@pytest.mark.slow
def test_no_verdict_is_invented_in_200_000_replies():
    assert fuzz(200_000, seed=2) >= 10_000


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


UNWEIGHED = [
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
    for places, form, reason, mass in UNWEIGHED:
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
