"""Replies that other pipelines recorded, each read in its own form."""

import sys
import time
import types

import pytest

from jurist.errors import DataError, SettingError
from jurist.verdicts.recorded import READERS, open_reader

READ = [
    ("llmbar", "Output (b) is better.", 0.0), ("llmbar", "Let me see.\n Output (a)", 1.0),
    ("llmbar", "I like Output (a)", None), ("llmbar", "Output (b) is short.\nOutput (a) is long.", 1.0),
    ("llmbar_cot", "Output (a) is long. Therefore, Output (b) is better.", 0.0),
    ("llmbar_cot", "Output (a)", None), ("mt_bench", "A is fine.\nMy final verdict is: [[B]]", 0.0),
    ("mt_bench", "[[C]] for a tie", 0.5), ("mt_bench", "[[A]] or rather [[B]]", None),
    ("mt_bench", "[A]", None), ("vicuna", "Both help.\n\n 1 \n", 1.0), ("vicuna", "2", 0.0),
    ("vicuna", "3", 0.5), ("vicuna", "I choose 1", None), ("vicuna", "", None),
    ("score_pair", "8 9\nThe second is a little better.", 0.0), ("score_pair", "(8.5, 7)\n2 3", 1.0),
    ("score_pair", " 7\t, 7", 0.5), ("score_pair", "Scores: 8 9", None), ("score_pair", "8 9 10", None),
    ("score_pair", "So <a>8</a> and <b> 9 </b>", 0.0),
    ("score_pair", "<score>9</score> <score>8</score>", 1.0), ("score_pair", "<b>9</b><a>8</a>", None),
    ("score_pair", "<a>8</a>", None), ("score_pair", "<a>8</a><b>9</b><c>7</c>", None),
    ("alpaca_eval", "[{'model': 'model_1', 'rank': 2}, {'model': 'model_2', 'rank': 1}]", 0.0),
    ("alpaca_eval", 'Ranks: [{"model": "m", "rank": "1"}, {"model": "M", "rank": "2"}].', 1.0),
    ("alpaca_eval", "[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 1}]", 0.5),
    ("alpaca_eval", "[{'model': 'model_1', 'rank': 1}]", None),
    ("alpaca_eval", "[{'model': 'model_1'}, 3]", None), ("alpaca_eval", "]oops[", None),
    ("My pick: (A|B)", "Better overall?\nMy pick: B", 0.0),
    ("My pick: (A|B)", "My pick: A\nNo. My pick: B", 0.0), (r"^(\w+)$", "well, then\nTie", 0.5),
    (r"^(\w+)$", "Neither", None), ("winner=(A)?", "winner=", None),
]  # fmt: skip


def test_a_recorded_reply_is_read_in_its_own_form():
    for reader, reply, p in READ:
        got, unread = open_reader(reader)(reply)
        assert (got, got is None) == (p, unread in ("no_verdict", "off_menu", "contradictory")), reply


def test_a_users_function_reads_as_a_users_judge_judges(monkeypatch):
    mine = types.ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", mine)
    for said, read in {"first": (1.0, ""), 0.7: (0.7, ""), None: (None, "no_verdict")}.items():
        mine.read = lambda reply, said=said: said
        assert open_reader("mine:read")("?") == read
    mine.read = lambda reply: "A"
    with pytest.raises(DataError, match="Return a probability from 0 to 1"):
        open_reader("mine:read")("?")
    mine.read = lambda reply: reply.verdict
    with pytest.raises(DataError, match=r"mine:read failed: AttributeError: .*test_recorded.py:\d+\)"):
        open_reader("mine:read")("?")


REFUSED = {
    "lmbar": "Did you mean .llmbar.",
    "(A": "no regular expression",
    "(A)(B)": "with one group",
    "mine_is_nowhere:read": "module:function",
}


def test_a_reader_that_makes_no_sense_is_refused_with_what_to_write():
    for spec, said in REFUSED.items():
        with pytest.raises(SettingError, match=said):
            open_reader(spec)


def test_a_long_reply_is_read_quickly():
    for name, read in READERS.items():
        for piece in (" ", "8 ", "8", "<a>", "<a>8", "[", "[[A", "Output (", "\n", "'"):
            spent = time.process_time()
            read("8" + piece * (100_000 // len(piece)) + "x")
            assert time.process_time() - spent < 0.2, name
