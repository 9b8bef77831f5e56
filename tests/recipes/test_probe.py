"""`jurist probe` from its command to what it advises."""

import json
import re
import shlex
from pathlib import Path

import pytest

from support.cli import run
from support.gullible import decent_answers

JUDGES = """
from math import log
from jurist.engines.engine import Reply, Token
from support.gullible import Gullible

fooled = Gullible(tastes={"Choose it": 12.0})


def unsure(ask):
    text = fooled(ask)
    tokens = (Token(text, log(0.9), ((text, log(0.9)), ("AB".replace(text, ""), log(0.1)))),)
    return Reply(text, tokens=tokens if ask.top_logprobs else ())
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with eight prompts and their decent answers."""
    monkeypatch.chdir(tmp_path)
    few = list(decent_answers().items())[::3]
    rows = [json.dumps({"prompt": prompt, "completion": text}) for prompt, text in few]
    Path("decent.jsonl").write_text("\n".join(rows))
    Path("my_judges.py").write_text(JUDGES)


def probed(*words):
    done = run("probe", *words, "--prompts", "decent.jsonl", "--json")
    return done.code, {one["name"]: one for one in done.json["findings"]}


def grades(found):
    return {name: (one.get("grade"), one.get("value")) for name, one in found.items()}


def test_a_probe_takes_the_judge_as_an_argument_or_as_an_option():
    code, found = probed("tiny:longer", "--out", "one")
    assert (code, found["probe.padding"]["grade"]) == (1, "alarm")
    other_code, other = probed("--judge", "tiny:longer", "--out", "other")
    assert (other_code, grades(other)) == (code, grades(found))


def test_what_a_probe_advises_can_be_typed():
    _, found = probed("tiny:longer", "--out", "my probe")
    commands = re.findall("`(jurist [^`]*)`", " ".join(one.get("advice", "") for one in found.values()))
    assert commands
    Path("rubric.txt").write_text("Does it answer the prompt?")
    for number, command in enumerate(dict.fromkeys(commands)):
        words = shlex.split(command.replace(" NEW", f" new{number}"))
        assert run(*words[1:]).code == 1, command  # probed again, and fooled again


@pytest.mark.parametrize(("judge", "gives"), [("fooled", False), ("unsure", True)])
def test_log_probs_are_advised_only_to_a_judge_that_gave_none(judge, gives):
    _, found = probed("--judge.engine", f"my_judges:{judge}")
    attack = found["probe.instruction"]
    assert attack["grade"] == "alarm"
    assert ("--judge.logprobs true" in attack["advice"]) != gives
    assert ("from log-probs" in attack["advice"]) != gives
    assert gives or f"`jurist probe --judge.engine my_judges:{judge} " in attack["advice"]
    assert "probe another judge" in attack["advice"]


def test_unread_replies_are_shown_by_a_command_with_the_real_folder():
    _, found = probed("tiny:garbage", "--out", "my probe")
    assert "`jurist show 'my probe' --unread`" in found["probe.unread"]["advice"]
    assert run("show", "my probe", "--unread").code == 0
