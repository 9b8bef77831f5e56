"""A loop on disk: one folder a round, and each step done once.

    runs/loop/
        recipe.yaml       the settings as resolved
        loop.json         what every number depends on: another loop is refused in this folder
        journal.sqlite    every call of every round
        prompts/          train.jsonl, held_out.jsonl
        round-1/          label/ (a run like any other), models, steps/
        rounds.jsonl      a line a round: which policy, what it came to
        summary.json

A step's outcome is written when it is whole. A loop that was killed starts again from its first unfinished
step: inside that, labelling goes on from the journal and training from its last checkpoint.

In several processes (`torchrun --nproc-per-node 2 $(which jurist) run recipe.yaml`) the first asks, pays
and writes. The others go through the same rounds: they wait for the outcome of a step, and take part in
trainings. So nothing is asked twice, and no file has two writers.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ...config import dump_yaml
from ...engines.budget import Budget, parse_money
from ...engines.checkpoints import TINY, find_checkpoint, weights_named
from ...engines.journaled import Engines
from ...errors import BudgetSpent, DataError, RunError, SettingError
from ...prompts import load_prompts
from ...prompts.load import split_of
from ...records import Prompt, content_id
from ...run import Run, read_json, read_records
from ...verdicts.judge import judge_config, open_judge
from ..settings import versions
from .settings import LoopConfig, check_loop, deciding

S = TypeVar("S", bound=Struct)
POLL_SECONDS = 0.1


class LoopProgress(NamedTuple):
    """Where a loop is."""

    round: int
    rounds: int
    step: str
    inner: Any = None
    """What the step itself reports: a labelling's `RunProgress`, a trainer's `Progress`."""
    done: int | None = None
    total: int = 0
    """How far a step is that only counts."""


OnLoopProgress = Callable[[LoopProgress], None]


class LoopRun:
    """Use it as `with LoopRun(cfg) as loop:`; one start at a time, of one process or several."""

    def __init__(self, cfg: LoopConfig, on_progress: OnLoopProgress | None = None) -> None:
        check_loop(cfg)
        check_models(cfg)
        self.cfg, self.path = cfg, Path(cfg.out)
        self._split = split_prompts(cfg)
        self.run: Any = Run(cfg.out) if is_first() else None
        """What is written to; only the first process has it."""
        self._on_progress = on_progress
        self.usd = self.seconds = 0.0
        """What the steps took that are done, in whichever start they were done."""
        self.warning = ""

    def __enter__(self) -> LoopRun:
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.run:
            self.run.close()

    def _begin(self) -> None:
        train, held_out = self._split
        held_out = held_out[: self.cfg.compare.most]
        if not held_out:
            self.warning = (
                f"nothing is held out (compare.held_out is {self.cfg.compare.held_out:g} of {len(train)}"
                " prompts), so no win rate can be shown and no loss of diversity be noticed."
                " Give more prompts, or set: --compare.held_out 0.3"
            )
        asked = [one.id for one in (*train, *held_out)]
        mark = content_id(type(self.cfg).__name__, deciding(self.cfg), asked, self._contents())
        kept = self.path / "loop.json"

        def is_ours() -> bool:
            return kept.exists() and read_json(kept, dict[str, Any])["fingerprint"] == mark

        if not self.run:
            wait_until(is_ours)
            return
        if any(self.path.glob("round-*/steps/*.json")) and not is_ours():
            if any(self.path.glob("round-*/*/metrics.jsonl")):
                raise RunError(
                    f"{self.path} holds a loop with other settings or prompts, which this one cannot go on"
                    f" from. Choose another --out, or throw it away with: rm -r {self.path}"
                )
            for round in self.path.glob("round-*"):  # nothing was trained yet: the journal has it all
                shutil.rmtree(round)
        self.run.write_text("recipe.yaml", dump_yaml(self.cfg))
        self.write("prompts/train", train)
        self.write("prompts/held_out", held_out)
        self.write_json("loop.json", {"fingerprint": mark, "versions": versions()})

    def _contents(self) -> list[str]:
        """What the files and checkpoints hold that the settings name: a path alone says little."""
        cfg: Any = self.cfg
        names = [cfg.policy, getattr(cfg, "base", ""), getattr(cfg, "constitution", ""), cfg.real.file]
        names += [cfg.rl.calibrate] if hasattr(cfg, "rl") else []
        return [weights_named(one) or _hash_of(one) for one in names]

    def checkpoint(self) -> str:
        """The folder of the initial policy; the tiny assistant is made on the spot."""
        if self.cfg.policy != TINY:
            return str(find_checkpoint(self.cfg.policy))
        from ...tiny.model import tiny_checkpoint

        def count(done: int, total: int) -> None:
            self.report(1, "assistant", done=done, total=total)

        return str(tiny_checkpoint(on_step=count))

    def prompts(self, side: str) -> Path:
        return self.path / "prompts" / f"{side}.jsonl"

    def read_prompts(self, side: str) -> list[Prompt]:
        return list(read_records(self.prompts(side), Prompt))

    def folder(self, number: int) -> Path:
        return self.path / f"round-{number}"

    def once(
        self, number: int, step: str, kind: type[S], work: Callable[[], S], *, together: bool = False
    ) -> S:
        """The outcome of a step, with its `seconds`: as it was written, or from doing it now, in the first
        process or in all of them together."""
        name = f"round-{number}/steps/{step}.json"
        if not (self.path / name).exists() and (together or self.run):
            self.report(number, step)
            began = time.monotonic()
            done = work()
            self.write_json(name, replace(done, seconds=round(time.monotonic() - began, 2)))
        wait_until((self.path / name).exists)
        done = read_json(self.path / name, kind)
        self.usd += getattr(done, "usd", 0.0)
        self.seconds += getattr(done, "seconds", 0.0)
        return done

    def report(self, number: int, step: str, **now: Any) -> None:
        if self._on_progress and self.run:
            self._on_progress(LoopProgress(number, self.cfg.rounds, step, **now))

    def budget_left(self) -> float | None:
        """What the budget leaves to the steps to come."""
        cap = parse_money(self.cfg.budget)
        if cap is not None and self.usd >= cap:
            raise BudgetSpent(
                f"the budget of ${cap:g} is reached: ${self.usd:.4f} spent. Everything paid for is kept."
                " To go on, run again with a higher --budget"
            )
        return None if cap is None else cap - self.usd

    def write(self, noun: str, records: Iterable[Struct]) -> Path:
        """`noun.jsonl`, whole or not at all, written by the first process."""
        file = self.path / f"{noun}.jsonl"
        if self.run:
            file.parent.mkdir(parents=True, exist_ok=True)
            with self.run.writing(noun) as files:
                for record in records:
                    files[noun].add(record)
        return file

    def write_json(self, name: str, value: Any) -> None:
        if self.run:
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            self.run.write_json(name, value)


def check_models(cfg: LoopConfig) -> None:
    """What would be missed only after the answers have been sampled: a checkpoint, an engine, a key."""
    if cfg.policy != TINY and ":" not in cfg.policy:
        find_checkpoint(cfg.policy)
    settings: Any = cfg
    asked = [getattr(cfg, "judge", ()), cfg.compare.judge]
    asked += [getattr(settings, part).judge for part in ("rl", "safe") if hasattr(cfg, part)]
    engines: Any = Engines(None, Budget(parse_money(cfg.budget)))  # type: ignore[arg-type]  # nothing is asked
    for one in asked:
        for judge in one if isinstance(one, tuple) else (one,):
            if judge and judge_config(judge).engine is not None:
                open_judge(judge, engines, cfg.seed)
    engines.check()


def split_prompts(cfg: LoopConfig) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts to train on and those held out: of a file by their content; of `tiny:160` so many of both
    sides of the tiny world, drawn with the loop's seed."""
    world, _, n = cfg.prompts.partition(":")
    share = cfg.compare.held_out
    if world == "tiny":
        from ...tiny.world import prompts

        if not n.isdigit():
            raise SettingError(
                f"the tiny world has as many prompts as you like, got '{cfg.prompts}'. Write: tiny:160"
            )
        aside = round(share * int(n))
        train, held_out = [*prompts(int(n) - aside, cfg.seed)], [*prompts(aside, cfg.seed, "held_out")]
    else:
        train, held_out = [], []
        for one in load_prompts(cfg.prompts, limit=cfg.limit):
            (held_out if split_of(one.id, share) == "test" else train).append(one)
    if not train:
        raise DataError(
            f"{cfg.prompts} has {len(held_out)} prompts, and none is left to train on."
            " Give more prompts, or set: --compare.held_out 0"
        )
    return train, held_out


def _hash_of(file: str) -> str:
    """Of what is in a file; nothing where it is none."""
    return blake2b(Path(file).read_bytes(), digest_size=16).hexdigest() if Path(file).is_file() else ""


def is_first() -> bool:
    """Of several processes, the one that reports and writes."""
    return os.environ.get("RANK", "0") == "0"


def wait_until(there: Callable[[], bool]) -> None:
    """It may take hours. Should the first process fail, the launcher ends all."""
    while not there():
        time.sleep(POLL_SECONDS)
