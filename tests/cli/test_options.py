"""Words become settings, the same way for every verb; each is on a help page and can be completed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import inspect

from jurist.cli.app import VERBS, _settings
from jurist.cli.options import Common, help_rows, known_settings, parse
from jurist.config import items_of
from jurist.errors import SettingError
from jurist.recipes.rejection import RejectionConfig
from jurist.recipes.settings import LabelConfig, label_settings
from support.cli import run

WORDS = {
    "--seed 3": {"seed": 3},
    "--seed=3": {"seed": 3},
    "--seed 010": {"seed": 10},
    "--seed 1 --seed 2": {"seed": 2},
    "--limit -1": {"limit": -1},
    "--limit null": {"limit": None},
    "--held-out .5": {"held_out": 0.5},
    "--held_out 1e-3": {"held_out": 0.001},
    "-k3 -o run": {"k": 3, "out": "run"},
    "-k 3": {"k": 3},
    "--judge.reason --seed 1": {"judge.reason": True, "seed": 1},
    "--judge.reason false": {"judge.reason": False},
    "--judge.reason null": {"judge.reason": None},
    "--judge.against-length yes": {"judge.against_length": True},
    "--judge.name 010": {"judge.name": "010"},
    "--judge.rubric=x=y": {"judge.rubric": "x=y"},
    "--judge.rubric null": {"judge.rubric": "null"},
    "--labels null": {"labels": None},
    "--judge.scale [1,5]": {"judge.scale": [1, 5]},
    "--judge.scale 1 --judge.scale 5": {"judge.scale": [1, 5]},
    "--judge A": {"judge": "A"},
    "--judge [A,B] --judge C": {"judge": ["A", "B", "C"]},
    "--judge.0.samples 2": {"judge.0.samples": 2},
    "--policy A --policy B --policy.1.weight 2": {"policy": ["A", "B"], "policy.1.weight": 2},
    "--export trl": {"export": ["trl"]},
    "--export.0 kto": {"export.0": "kto"},
    "--columns.prompt 7": {"columns.prompt": "7"},
    "--label-values.0.5 tie": {"label_values.0.5": "tie"},
    "--judge.engine.extra.effort-1 low": {"judge.engine.extra.effort-1": "low"},
    "--judge.engine.extra.n 1": {"judge.engine.extra.n": 1},
}
LABEL = known_settings(LabelConfig, Common)


def test_words_become_settings():
    assert {words: parse(words.split(), LABEL)[0] for words in WORDS} == WORDS
    assert parse(["a", "--judge.reason", "b", "-k", "2", "c"], LABEL)[1] == ["a", "b", "c"]


def test_a_setting_of_text_takes_its_word_as_it_is():
    for text in ("Be brief. Criterion #1: truth", "{a: b}", "- x", "null", " "):
        given, _ = parse(["--judge.rubric", text], LABEL)
        assert label_settings(None, {"judge.engine": "tiny:fair", **given}).judge.rubric == text


def test_an_option_without_its_value_is_refused():
    for words in ("--out", "--out --seed 1", "--out=", "--seed", "--judge --json"):
        with pytest.raises(SettingError, match=r"[Ww]rite: --\w+ VALUE"):
            parse(words.split(), LABEL)


SETTINGS = {name: _settings(name, []) for name in VERBS}
SETTINGS["rejection"] = RejectionConfig, known_settings(RejectionConfig)


@pytest.mark.parametrize("verb", SETTINGS)
def test_every_documented_option_is_described_and_can_be_typed(verb):
    cls, known = SETTINGS[verb]
    for one in known_settings(cls).values():
        assert one.description, one.name
        example = _example(one.kinds)
        if example is not None and verb != "run":
            kind, word = example
            given, free = parse([f"--{one.name.replace('_', '-')}", *word], known)
            assert (list(given), free) == ([one.name], [])
            assert isinstance(given[one.name], kind), one.name
    rows = help_rows(known, VERBS[verb].argument if verb in VERBS else "")
    assert sum(map(len, rows.values())) >= len([one for one in known.values() if _example(one.kinds)])


def _example(kinds):
    """What a word for a setting of these kinds is read as, and the word; None: its parts are settings."""
    if any(isinstance(one, inspect.StrType) for one in kinds):
        return str, ["010"]
    for kind in kinds:
        match kind:
            case inspect.BoolType():
                return bool, []
            case inspect.IntType() | inspect.FloatType():
                return (int, float), ["0.5"]
            case inspect.LiteralType():
                return type(kind.values[0]), ["1"]
            case inspect.VarTupleType() | inspect.TupleType() if _example(items_of(kind)):
                return list, _example(items_of(kind))[1]
    return None


def test_a_recipe_in_rounds_shows_and_reads_its_own_settings():
    Path("mine.yaml").write_text("recipe: rejection\nprompts: p\npolicy: tiny\n")
    told = run("run", "mine.yaml", "--help").out
    assert "--prompts_each VALUE" in told
    assert "--sft.lr VALUE" in told
    assert "--sft.lr" not in run("run", "--help").out


def test_help_is_a_page_of_groups_with_defaults_and_fits_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = run("label", "-h")
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80
    for part in (
        "Usage: jurist label [OPTIONS]\n",
        "\n  -o, --out VALUE            The run folder. [run]\n",
        "\n  -k, --k VALUE              Completions per prompt. [2]\n",
        "\nsampling:\n",
        "\n  --judge.engine.price.input VALUE ",
        "--prefer.ties drop|soft",
    ):
        assert part in done.out
    assert "\nArgument:\n  RUN  The run folder.\n" in run("show", "--help").out


def test_the_first_page_lists_the_verbs_in_the_order_of_the_work(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = run("--help").out
    listed = [line.split()[0] for line in text.split("Verbs:\n")[1].split("\n\n")[0].splitlines()]
    work = "estimate label show audit export train run"
    assert listed == f"{work} probe plan spotcheck serve sample init selftest demo".split()
    assert [run(*words).code for words in ((), ("train",), ("train", "-h"))] == [2, 2, 0]
    assert "train rloo" in run("train", "--help").out


HEAVY = {"torch", "numpy", "yaml", "aiohttp", "rich", "jinja2", "transformers", "typer", "click"}


def test_a_page_of_help_is_quick_and_loads_little():
    code = (
        "import sys, time\nfrom jurist.cli.app import run_command\n"
        "for words in ['--help'], ['train', 'ppo', '-h'], ['label', '-h']:\n    run_command(words)\n"
        f"print(time.process_time(), *({HEAVY} & sys.modules.keys()), file=sys.stderr)"
    )

    def seconds():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        took, *loaded = done.stderr.split()
        assert loaded == []
        return float(took)

    assert any(seconds() <= 0.3 for _ in range(5))


LINES = {
    "jurist ": "estimate",
    "jurist la": "label",
    "jurist --ver": "--version",
    "jurist train ": "rloo",
    "jurist train dpo --be": "--beta",
    "jurist label --judge.eng": "--judge.engine.price.input",
    "jurist label --prefer.ties ": "soft",
    "jurist audit x --on-error ": "drop",
    "jurist label pairs": None,
    "jurist nothing --": None,
}


def test_the_shell_is_told_how_a_line_goes_on():
    for line, word in LINES.items():
        done = run(env={"COMP_LINE": line + " and more", "COMP_POINT": str(len(line))})
        found = done.out.split()
        assert done.code == 0
        assert word in found if word else not found
        assert all(one.startswith(line.split(" ")[-1]) for one in found)


def test_bash_completes_with_what_install_completion_installs(here):
    for _ in range(2):
        done = run("--install-completion", "bash", env={"HOME": str(here)})
        assert (done.code, done.err) == (0, "")
    assert Path(".bashrc").read_text() == "complete -o default -C jurist jurist\n"
    code = "from jurist.cli import main; main()"
    Path("jurist").write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}' \"$@\"\n")
    Path("jurist").chmod(0o755)
    script = ". ./.bashrc; complete -p jurist; COMP_LINE='jurist sp' COMP_POINT=9 jurist"
    env = {**os.environ, "PATH": f"{here}:{os.environ['PATH']}"}
    shown = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True).stdout
    assert shown == "complete -o default -C 'jurist' jurist\nspotcheck\n"
