"""Advice of every kind can be typed, about every source, and never tells a run to do what it does."""

import re
import shlex
import shutil
from pathlib import Path
from string import Formatter

import pytest

from jurist.audits.advice import About, SettingsOf, about_of
from jurist.audits.collect import Collector
from jurist.audits.finding import fill
from jurist.audits.findings import KINDS
from jurist.audits.read_run import AuditInput
from jurist.cli.app import VERBS, _settings
from jurist.cli.options import Typed, parse
from jurist.cli.verbs import loop_config
from jurist.config import dump_yaml
from jurist.recipes.audit import audit, recipe_of
from jurist.recipes.label import label
from jurist.recipes.settings import LabelConfig, label_settings
from jurist.verdicts.settings import JudgeConfig

ROOT = Path(__file__).parents[2]
COLUMNS = {"first": "the left one", "winner": "won"}
LOOPS = ("rlaif", "constitutional", "rejection", "self_rewarding")
RUNS = {
    "one judge": {"judge": "openai:gpt-5-mini"},
    "jury": {
        "judge": [{"engine": "openai:gpt-5-mini"}, {"engine": "vllm:some/model", "swap": "never"}, "shorter"]
    },
    "scores": {"judge": {"kind": "pointwise", "engine": "openai:gpt-5-mini"}},
    "imported": {"read": "prometheus"},
}


@pytest.fixture(params=["file", *RUNS, *LOOPS])
def about(request, tmp_path):
    """About a source of this kind, whose path has a space in it."""
    folder = tmp_path / "my labels"
    if request.param == "file":
        folder.write_text("")
        return about_of(
            read_of(folder, "file"),
            str(folder),
            None,
            COLUMNS,
            label_values={0: "second", 1: "first"},
            on_error="drop",
        )
    folder.mkdir()
    if request.param in LOOPS:
        shutil.copy(ROOT / "recipes" / f"{request.param}.yaml", folder / "recipe.yaml")
        return about_of(
            read_of(folder / "round-2" / "label", "loop"), str(folder), recipe_of(folder, "loop"), {}
        )
    cfg = label_settings(None, {"pairs": "pairs.jsonl", **RUNS[request.param]})
    (folder / "recipe.yaml").write_text(dump_yaml(cfg))
    return about_of(read_of(folder, "run"), str(folder), recipe_of(folder, "run"), {})


def read_of(path, kind):
    return AuditInput(Collector().sheet(), str(path), kind)


def steps(about):
    """Each step of the table, as it is given about all judges and about each."""
    for name, kind in KINDS.items():
        if about.kind != "loop" and name.partition(".")[0] in ("diversity", "overoptimisation"):
            continue
        for step in [*kind.advice, *(words.advice for words in kind.missing.values())]:
            text = step if isinstance(step, str) else step.text
            fields = {field for _, field, _, _ in Formatter().parse(text) if field}
            filled = fill(text, {**dict.fromkeys(fields, "3"), **about.commands})
            yield from ((text, about.step(filled, judge)) for judge in ("", *about.judges))


def typed(command):
    """The settings that a command comes to, as the command line reads it."""
    command = command.replace("ENGINE", "openai:gpt-5").replace("NEW", "new")
    words = shlex.split(command)
    assert words.pop(0) == "jurist"
    verb = words.pop(0) if words[0] != "train" else f"train {words.pop(0)} {words.pop(0)}"
    cls, known = _settings(verb, words)
    given, free = parse(words, known)
    if free:
        given[VERBS[verb].argument] = free.pop(0)
    assert not free, command
    recipe = given.pop("recipe", None) if VERBS[verb].recipe else None
    return Typed(verb, loop_config(words) if verb == "run" else cls, given, recipe, False)


def commands(about, start="jurist "):
    """Each command that begins so, once, with a step that gives it."""
    return {
        command: text
        for text, step in steps(about)
        for command in re.findall(rf"`({re.escape(start)}[^`]+)`", step)
    }


def test_every_command_in_advice_can_be_typed(about):
    for text, step in steps(about):
        assert "{" not in step, text
    for command in commands(about):
        job = typed(command)
        job.load(job.cls if isinstance(job.cls, type) else job.cls([]))


def test_no_advice_tells_a_run_to_do_what_it_does(about):
    for command, text in commands(about, "jurist label --recipe ").items():
        job = typed(command)
        job.given.pop("out", None)
        if job.given:
            assert job.load(job.cls) != Typed("label", job.cls, {}, job.recipe, False).load(job.cls), text


def test_advice_about_one_judge_of_a_jury_changes_that_judge(tmp_path):
    rows = [{"prompt": f"{n}?", "first": f"one {n}", "second": f"other {n}"} for n in range(40)]
    judges = (JudgeConfig(kind="longer"), JudgeConfig(kind="first", swap="never"))
    label(LabelConfig(pairs=rows, judge=judges, out=str(tmp_path / "run")))

    advice = {one.name: one.advice for one in audit(tmp_path / "run").findings if "first" in one.says}

    again = f"jurist label --recipe {tmp_path / 'run'}/recipe.yaml --out NEW"
    assert f"`{again} --judge.1.swap always`" in advice["position.flip_rate"]
    assert "--judge.0" not in "".join(advice.values())


def test_advice_leaves_out_what_the_judge_does_already_and_exports_that_are_refused():
    judge = SettingsOf("judge", JudgeConfig(engine="openai:gpt-5-mini", reason=True))
    about = About("run", judges={"judge": judge}, again="jurist probe --judge ENGINE --out NEW", refused=True)

    assert about.step(f"let it reason first: `{about.again} --judge.reason true`", "") == ""
    assert about.step("leave them out: `jurist export run --prefer.consistent_only true`", "") == ""
