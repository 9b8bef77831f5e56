"""`jurist run`, `jurist init` and `jurist demo`: recipes that go round, from a file to the last line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

from ..config import load_settings, read_recipe
from ..errors import SettingError
from ..recipes.catalogue import RECIPES, need_trainers, recipe_called
from ..recipes.settings import full_form

if TYPE_CHECKING:
    from ..recipes.demo.outcome import Demo
    from ..recipes.loop.finish import Outcome
    from ..recipes.loop.stopping import Facts
    from ..recipes.summary import Share


def run_recipe(file: Path, words: list[str], out: str | None, as_json: bool) -> None:
    """The recipe that the file names, with its settings and those of the command line."""
    from ..recipes.loop.several import is_first
    from .progress import progress
    from .summary import report

    name = read_recipe(file).get("recipe")
    if not name:
        raise SettingError(
            f"{file} does not say which recipe it is for. Write one of these at its top:"
            f" recipe: {' | '.join(RECIPES)}"
        )
    settings, recipe = recipe_called(str(name))
    cfg = load_settings(settings, file, words, full_form, see=f"jurist init {name}", out=out)
    need_trainers(f"the recipe {name}")
    if not is_first():  # of several processes only the first speaks from here on
        print(f"process {os.environ['RANK']} takes part in the trainings of {cfg.out}", file=sys.stderr)
    with progress(("json" if as_json else None) if is_first() else "none") as watch:
        outcome = recipe(cfg, watch)
    if is_first():
        report(outcome, as_json, lambda: print_outcome(outcome, cfg.out))


def print_outcome(outcome: Outcome, out: str) -> None:
    """A row a round, and where the last policy lies."""
    columns = zip(*(_HEADS, *map(_row, outcome.rounds)), strict=True)
    known = [column for column in columns if any(cell != "-" for cell in column[1:])]
    print_table(list(zip(*known, strict=True)))
    if outcome.stopped:
        print(f"stopped before its last round: {outcome.stopped}")
    if outcome.warning:
        print(f"beware   {outcome.warning}")
    print(f"cost     ${outcome.usd:.4f}")
    print(f"policy   {outcome.policy}")
    print(f"answers  {out}/round-*/held_out.jsonl")


def print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


_HEADS = (
    "round",
    "better than the start",
    "judges rightly",
    "reward",
    "KL",
    "words",
    "distinct",
    "different",
    "cost",
    "time",
)


def _row(facts: Facts) -> tuple[str, ...]:
    against = facts.against_start
    won = words = "-"
    if against is not None:
        won = f"{against.win_rate:.1%} ({against.low:.1%} to {against.high:.1%}, n = {against.n})"
        if against.at_equal_length is not None:
            won += f", {against.at_equal_length:.1%} at equal length"
        words = f"{against.words_before:.1f} to {against.words:.1f}"
    return (
        str(facts.round),
        won,
        f"{facts.judging.value:.1%} (n = {facts.judging.n})" if facts.judging else "-",
        _number(facts.reward, "+.3f"),
        _number(facts.kl, ".2f"),
        words,
        _number(facts.distinct, ".3f"),
        _number(facts.unique, ".3f"),
        f"${facts.usd:.4f}",
        f"{facts.seconds:.1f} s" if facts.seconds else "-",
    )


def _number(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)


def write_recipe(name: str, file: Path) -> None:
    """A recipe to start from; nothing that is there is written over."""
    from ..recipes.commented import commented

    recipe_called(name)
    if file.exists():
        raise SettingError(
            f"{file} is there already. Choose another: jurist init {name} --out my-{name}.yaml"
        )
    text = commented(name, str(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("x", encoding="utf-8") as new:
        new.write(text)
    print(f"wrote {file}: {name}, with every setting explained. Run it with: jurist run {file}")


def run_demo(out: Path, as_json: bool) -> None:
    """All of it in the tiny world, and a page."""
    from ..recipes.demo.work import demo, demo_settings
    from .progress import progress
    from .summary import report

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingError("the demo is for one process. Start it with: jurist demo")
    need_trainers("the demo")
    with progress("json" if as_json else None) as watch:
        found = demo(demo_settings(out), watch)
    report(found, as_json, lambda: print_demo(found))


def print_demo(found: Demo) -> None:
    from ..recipes.demo.outcome import NAMES

    judge = found.judge
    print(
        f"judge    {judge.matchups:,} pairs asked in both orders: {_share(judge.flip_rate)} follow the seat,"
    )
    print(f"         {_share(judge.first_share)} of the verdicts are for the first seat")
    print(f"labels   {judge.labels:,}, of which {_share(judge.right)} are truly right")
    print()
    heads = ("policy", "truly better than the start", "true score", "KL", "words", "different")
    rows = [
        (
            NAMES[name],
            f"{_share(one.true_win)}, n = {one.true_win.n}",
            f"{one.true_score:.2f}",
            f"{one.kl:.2f}",
            f"{one.words:.1f}",
            f"{one.unique:.1%}",
        )
        for name, one in found.policies.items()
    ]
    print_table([heads, *rows])
    for example in found.examples:
        print(f"\n{example.prompt}")
        for name, text in example.answers.items():
            print(f"  {NAMES[name]:<6} {shorten(text, 64, placeholder=' ...')}")
    spent = ", ".join(f"{stage} {took:.1f} s" for stage, took in found.seconds.items())
    print(f"\ntime     {spent}; in all {sum(found.seconds.values()):.1f} s")
    print(f"cost     {found.calls:,} calls, ${found.usd:.2f}")
    print(f"report   {found.report}")
    print("next     jurist init rlaif && jurist run rlaif.yaml")


def _share(found: Share) -> str:
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"
