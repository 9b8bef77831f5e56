"""Promises that hold for any text at all: no exception, no invented verdict, no runaway."""

import random
import re
import time
from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.engines.engine import Token
from jurist.verdicts.read import (
    UNREAD,
    Menu,
    rationale_of,
    read_choice,
    read_score,
    read_score_pair,
)
from jurist.verdicts.read.labels import labels_of
from jurist.verdicts.read.thinking import hide_thinking

MENUS = [
    Menu(),
    Menu("A", "B", "C"),
    Menu("1", "2", "3"),
    Menu("Output (a)", "Output (b)"),
    Menu("Response A", "Response B", "tie"),
    Menu("m", "M"),
    Menu("first", "second"),
    Menu("左", "右"),
]
PIECES = [
    "A", "B", "a", "b", "1", "2", "3", "C", "m", "M", "Output (a)", "Output (b)", "Response A",
    "Response B", "[[A]]",
    "[[B]]", "[[A>>B]]", "Answer:", "Verdict: ", "final verdict is", " is better", " is not better", " than ",
    "Therefore, ", "Although ", "while", ", ", ". ", "\n", "\n\n", " ", "**", "(", ")", '"', "{", "}",
    '{"winner": "A"}',
    '{"score": 7}', "7/10", "Score: 8", "8 7", "I prefer ", "I cannot ", "neither", "nor ", " or ",
    " and ", "it's a tie",
    "equally good", "<think>", "</think>", "答案：", "更好", "<answer>", "</answer>", "\\boxed{", "first",
    "second", "if ",
    "the better response is ", "e\u0301", "\u202e", "İ", "ß", "\x00", "😀", "if", "?", "not ", "[THINK]",
    "左", "右",
]  # fmt: skip
replies = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
menus = st.one_of(st.sampled_from(MENUS), st.builds(Menu, st.text(), st.text(), st.none() | st.text()))
finishes = st.sampled_from(["stop", "length", "refused", "", "content_filter"])
token_lists = st.lists(
    st.builds(
        Token,
        st.text(max_size=4) | st.sampled_from(PIECES),
        st.floats(),
        st.lists(st.tuples(st.sampled_from(PIECES) | st.text(max_size=3), st.floats()), max_size=4).map(
            tuple
        ),
    ),
    max_size=5,
)


@given(replies, menus, finishes, token_lists)
@settings(max_examples=80, deadline=None)
def test_any_text_gives_a_verdict_or_a_reason_and_never_an_exception(text, menu, finish, tokens):
    for one in (read_choice(text, menu, finish, tokens), read_choice(text, menu, finish)):
        assert (one.p_first is None) != (one.unread == "")
        assert one.score is None
        assert one.unread == "" or one.unread in UNREAD
        assert one.p_first is None or 0.0 <= one.p_first <= 1.0
        assert one.unread or 0 <= one.at < len(text) or (one.at, one.source) == (-1, "tokens")
        assert isinstance(rationale_of(text, one), str)
    assert len(hide_thinking(text)[0]) == len(text)


@given(replies, st.sampled_from([(1, 10), (0, 5), (1, 5), (0, 100), (0, 1)]), finishes, token_lists)
@settings(max_examples=100, deadline=None)
def test_any_text_gives_a_score_on_the_scale_or_a_reason(text, scale, finish, tokens):
    for one in (read_score(text, *scale, finish, tokens), *read_score_pair(text, *scale, finish)):
        assert (one.score is None) != (one.unread == "")
        assert one.p_first is None
        assert one.score is None or (isfinite(one.score) and scale[0] <= one.score <= scale[1])
        assert one.unread == "" or one.unread in UNREAD


@given(st.lists(st.sampled_from(PIECES), max_size=20).map("".join), st.sampled_from(MENUS), finishes)
@settings(max_examples=100, deadline=None)
def test_exchanging_the_labels_of_the_menu_turns_the_verdict(text, menu, finish):
    one, other = (
        read_choice(text, menu, finish),
        read_choice(text, Menu(menu.second, menu.first, menu.tie), finish),
    )

    assert one.unread == other.unread
    assert one.at == other.at
    assert one.p_first is None or one.p_first == 1.0 - other.p_first


@given(replies, st.sampled_from(MENUS), finishes, st.text(" \n\t\r", max_size=5))
@settings(max_examples=150, deadline=None)
def test_white_space_at_the_end_changes_nothing(text, menu, finish, space):
    assert read_choice(text + space, menu, finish) == read_choice(text, menu, finish)
    assert read_score(text + space, finish=finish) == read_score(text, finish=finish)


HOSTILE = [
    "A ",
    "A B ",
    "A or B ",
    "a" * 50 + " ",
    "A is better, ",
    "A, which ",
    "Answer: ",
    "Answer:      ",
    "[[",
    "[[A",
    "**",
    "(" * 7,
    '"a":',
    '"a": "',
    "{",
    "{'winner': {",
    "<think>",
    "</think>",
    "<think></think>",
    "neither ",
    "neither one nor ",
    "is the the the ",
    "A is clearly clearly ",
    "the better response ",
    "Score: ",
    "Score: 7",
    "1 ",
    "1 2\n",
    "1/",
    "8 7 ",
    "A\n",
    " \n",
    "\t",
    "not ",
    "I cannot ",
    "\\",
    "\\boxed{",
    "Output (",
    "Output (a)",
    "答案",
    "更好",
    "assistant 1 ",
    "give a a a a a ",
    "- - - ",
    "0" * 9,
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_long_hostile_reply_is_read_in_linear_time(piece):
    text = (piece * (200_000 // len(piece) + 1))[:200_000]
    started = time.process_time()
    for menu in (Menu(), Menu("Output (a)", "Output (b)", "tie")):
        read_choice("well, " + text + "!", menu)
    read_score("well, " + text + "!")
    read_score_pair("well, " + text + "!")

    assert time.process_time() - started < 1.0


SHAPES = [
    "{}", "[[{}]]", "Answer: {}", "**Final verdict:** {}", "The better response is {}.",
    "Therefore, {} is better.",
    "{} is better than {}.", "I prefer {} over {}.", "Although {} is kind, {} is better.",
    '{{"winner": "{}"}}',
    "<answer>{}</answer>", "<think>{} is better</think>{}", "\\boxed{{{}}}", "Neither {} nor {} is better.",
    "答案：{}", "La réponse {} est meilleure.", "{}\n\n{} is more precise.", "Score: {}", "{}/10",
    "Clarity: {}\nTruth: {}",
]  # fmt: skip


def shuffled(rng: random.Random, labels: list[str]) -> str:
    """A reply that looks real, then damaged: pieces cut out, doubled, exchanged, strange characters put
    in."""
    text = " ".join(
        shape.format(
            *(rng.choice(labels if rng.random() < 0.7 else PIECES) for _ in range(shape.count("{}")))
        )
        for shape in rng.choices(SHAPES, k=rng.randint(1, 4))
    )
    for _ in range(rng.randint(0, 6)):
        at, to = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        middle = rng.choice(
            [
                "",
                text[at:to] * 2,
                text[at:to][::-1],
                rng.choice(PIECES),
                chr(rng.randrange(1, 0x2FFF)),
                text[at:to].swapcase(),
            ]
        )
        text = text[:at] + middle + text[to:]
    return text


def random_text(rng: random.Random) -> str:
    alphabet = rng.choice(
        [(32, 127), (0, 256), (0x370, 0x600), (0x2000, 0x3100), (0x4E00, 0x4F00), (0, 0xD7FF)]
    )
    return "".join(chr(rng.randrange(*alphabet)) for _ in range(rng.randint(0, 60)))


def occurs(text: str, menu: Menu) -> bool:
    """Whether any label, or what tells it apart, stands in the text as a word; underscores and CJK do not
    bind."""
    low = text.lower()
    letter = r"[^\W\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\u0e00-\u0e7f]"
    return any(
        re.search(rf"(?<!{letter}){re.escape(core.lower())}(?!{letter})", low)
        for core in labels_of(menu).cores
    )


def fuzz(count: int, seed: int) -> tuple[int, int]:
    rng = random.Random(seed)
    verdicts = invented = 0
    for i in range(count):
        menu, named = rng.choice(MENUS), rng.choice(MENUS)
        text = shuffled(rng, [named.first, named.second]) if i % 3 else random_text(rng)
        reading = read_choice(text, menu, rng.choice(["stop", "stop", "length"]))
        assert (reading.p_first is None) != (reading.unread == "")
        score = read_score(text)
        assert (score.score is None) != (score.unread == "")
        assert score.unread or re.search(r"\d", text)
        if reading.p_first is not None and (menu.tie is None or reading.p_first != 0.5):
            verdicts += 1
            invented += not occurs(text, menu)
    return verdicts, invented


def test_no_verdict_is_invented_where_no_label_stands():
    verdicts, invented = fuzz(4_000, seed=1)

    assert verdicts > 300
    assert invented == 0


@pytest.mark.slow
def test_200_000_damaged_replies_neither_crash_the_reader_nor_make_it_invent():
    verdicts, invented = fuzz(200_000, seed=2)

    assert verdicts > 15_000
    assert invented == 0
