"""The command line and Python as a user types them."""

import asyncio
from importlib.metadata import version
from pathlib import Path

import pytest

from jurist import LabelConfig
from jurist import label as label_rows
from support.cli import run
from support.job import label, label_by, pairs, records, sound, write
from support.replies import text_of

ERRORS = {
    "--judge shortr": "Did you mean 'shorter'?",
    "--judge azure:x": "Write azure:x@http",
    "--judge openai:gpt-x": "export OPENAI_API_KEY=",
    "--judge shorter --prefer.ties sfot": "Did you mean 'soft'?",
    "--judge shorter --pary pairs.jsonl": "Did you mean 'pairs'?",
    "--judge shorter --labels nobody.jsonl": "nobody.jsonl",
    "--judge shorter --budget lots": "--budget 5usd",
    "--judge shorter --export [ktoo]": "Did you mean 'kto'?",
    "--judge shorter --pairs nowhere.jsonl": "nowhere.jsonl",
    "": "--judge",
}


@pytest.mark.parametrize("words", ERRORS)
def test_an_error_is_one_line_that_ends_in_the_next_thing_to_type(words):
    done = run("label", "--pairs", "pairs.jsonl", *words.split())
    assert (done.code, done.out) == (2, "")
    assert done.line.startswith("jurist: ")
    assert ERRORS[words] in done.line
    assert not Path("run/preferences.jsonl").exists()


def test_a_row_that_cannot_be_used_is_named_by_file_and_line_or_dropped():
    write("pairs.jsonl", [*pairs(2), {"prompt": "Why?", "frist": "a", "second": "b"}])
    assert "pairs.jsonl:3" in label("shorter").line
    assert label("shorter", "--on_error", "drop").code == 0
    assert (len(records("preferences")), len(records("dropped"))) == (2, 1)


LABEL = "label --judge shorter --pairs"
UNHELPFUL = {
    # A file and what is in it, what is typed, what the line must say, and what it must not.
    "too few cells": ("p.csv", "prompt,first,second\nWhy?,yes\n", f"{LABEL} p.csv", "p.csv:2", "no column"),
    "nothing in it": ("p.jsonl", "", f"{LABEL} p.jsonl", "p.jsonl", "dropped.jsonl"),
    "a key twice": ("r.yaml", "seed: 1\nseed: 2\n", f"{LABEL} pairs.jsonl --recipe r.yaml", "seed", "judge"),
    "no such margin": ("x", "", f"{LABEL} pairs.jsonl --prefer.min_margin 5", "min_margin", "Traceback"),
    "another format": ("x", "", f"{LABEL} pairs.jsonl --format kto", "--export", "there is"),
    "a column": (
        *("p.csv", "source,input,first,second\nx,Why?,a,b"),
        *(f"{LABEL} p.csv", "prompt input", "source ..."),
    ),
}


@pytest.mark.parametrize("what", UNHELPFUL)
def test_an_error_points_to_what_helps(what):
    file, text, words, said, unsaid = UNHELPFUL[what]
    Path(file).write_text(text)
    done = run(*words.split())
    assert (done.code, said in done.line, unsaid in done.line) == (2, True, False)


def test_what_is_to_be_typed_is_quoted():
    done, _ = label_by("Neither.", out="my run")
    assert "'my run'" in done.out + done.err


@pytest.mark.parametrize("text", ["Be brief. Criterion #1: truth", "Prefer: brevity", "[1] true", "010"])
def test_a_text_setting_takes_the_words_as_they_are(text):
    key = "name" if text == "010" else "rubric"
    done, server = label_by(sound, f"--judge.{key}", text)
    assert done.code == 0
    assert text in text_of(server.log[0].body) + records("verdicts")[0]["judge"]


def test_a_number_is_decimal():
    label("shorter", "--prefer.seed", "010")
    assert "seed: 10" in Path("run/recipe.yaml").read_text()


def test_help_and_version_are_where_everybody_looks():
    done = run("--version")
    assert (done.code, done.out.split()[-1]) == (0, version("jurist"))
    for verb in (None, "label", "sample", "estimate", "export", "show", "audit", "selftest"):
        short, long = (run(*filter(None, (verb, word))) for word in ("-h", "--help"))
        assert (short.code, short.out) == (0, long.out)
    text = run("--help").out
    assert "--install-completion" in text
    in_order = [text.index(f" {verb} ") for verb in ("estimate", "label", "show", "audit", "export")]
    assert in_order == sorted(in_order)


def test_label_works_inside_a_running_event_loop():
    async def cell():
        return label_rows(LabelConfig(pairs="pairs.jsonl", judge="shorter", out="run"))

    assert asyncio.run(cell()).labels == 12


def frame(rows):
    return pytest.importorskip("pandas").DataFrame(rows)


def dataset(rows):
    return pytest.importorskip("datasets").Dataset.from_list(rows)


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in (frame, dataset)]


@pytest.mark.parametrize("kind", [list, *SLOW])
def test_rows_in_memory_are_rows(kind):
    assert label_rows(LabelConfig(pairs=kind(pairs(12)), judge="shorter", out="memory")).labels == 12
    label("shorter")
    assert records("preferences", "memory") == records("preferences")
    assert Path("memory/recipe.yaml").exists()


def test_a_wrong_setting_in_python_says_what_to_write():
    with pytest.raises(Exception, match=r"judge.*openai:"):
        label_rows(LabelConfig(pairs="pairs.jsonl", judge=5, out="run"))


def test_show_finds_disagreements_drop_reasons_and_judges():
    write("humans.jsonl", [{**row, "who": "ann", "label": "first"} for row in pairs(12)])
    label_by(sound, "--labels", "humans.jsonl", "--prefer.min_margin", "0.81")
    found = {"--disagree": 6, "--dropped below_margin": 12, "--by pairwise": 12, "--by nobody": 0}
    for words, n in found.items():
        done = run("show", "run", *words.split(), "--limit", "99", "--json")
        assert (done.code, len(done.out.splitlines())) == (0, n)
