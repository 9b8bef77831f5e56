"""A loop on disk: one folder a round, and each step done once.

    runs/loop/
        recipe.yaml       the settings as resolved
        loop.json         what every number hangs on: another loop is not taken up in this folder
        journal.sqlite    every call of every round
        prompts/          train.jsonl, held_out.jsonl
        round-1/          label/ (a run like any other), models/, steps/
        rounds.jsonl      a line a round: which policy, what it came to
        summary.json

A step's outcome is written when it is whole. A loop that was killed starts again from its first unfinished
step: inside that, labelling goes on from the journal and training from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from ...config import dump_yaml
from ...engines.budget import parse_money
from ...engines.checkpoints import weights_named
from ...errors import BudgetSpent, DataError, RunError
from ...prompts.load import split_of
from ...records import Prompt, content_id
from ...run import Run, read_json, read_records
from ..settings import versions
from .ancestry import FIRST, Model
from .prompts import prompts_called
from .settings import LoopConfig, check_loop, deciding
from .several import Onlooker, is_first, wait_until
from .stopping import Facts

S = TypeVar("S", bound=Struct)


class Moment(Struct, frozen=True):
    """Where a loop has got to; told whenever the step under way tells."""

    round: int
    rounds: int
    step: str
    inner: object = None
    """What the step itself tells: a labelling tally, or a trainer's progress."""


class Along(NamedTuple):
    """How far a step is that answers prompts."""

    done: int
    total: int


Watch = Callable[[Moment], None]


def nobody(_: Moment) -> None:
    """Watches nothing."""


class Began(Struct, frozen=True):
    """What a loop was begun with."""

    fingerprint: str
    versions: dict[str, str]


class Loop:
    """Use it as `with Loop(cfg) as loop:`; one start at a time, of one process or several, see `several`."""

    def __init__(self, cfg: LoopConfig, watch: Watch = nobody) -> None:
        check_loop(cfg)
        self.cfg = cfg
        self._first = is_first()
        self._watch = watch if self._first else nobody
        self.run = Run(cfg.out) if self._first else Onlooker(cfg.out)
        self.path = self.run.path
        self.usd = 0.0
        """Spent by the steps that are done."""
        self.seconds = 0.0
        """Taken by them, in whichever start they were done."""
        self.warning = ""
        """What this loop cannot tell, and how it could."""
        self.models: dict[str, Model] = {}
        """Those made so far, by the beginning of their weights' hash."""

    def __enter__(self) -> Loop:
        try:
            self._begin()
        except BaseException:
            self.run.close()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.run.close()

    def _begin(self) -> None:
        train, held = self._split()
        asked = [one.id for one in (*train, *held)]
        mark = content_id(type(self.cfg).__name__, deciding(self.cfg), asked, self._contents())
        kept = self.path / "loop.json"
        if not self._first:
            wait_until(lambda: kept.exists() and read_json(kept, Began).fingerprint == mark)
            return
        begun = any(self.path.glob("round-*/steps/*.json"))
        if begun and kept.exists() and read_json(kept, Began).fingerprint != mark:
            raise RunError(
                f"{self.path} holds a loop with other settings or prompts, which this one cannot go on from."
                f" Choose another --out, or throw it away with: rm -r {self.path}"
            )
        self.run.write_text("recipe.yaml", dump_yaml(self.cfg))
        for name, rows in (("train", train), ("held_out", held)):
            self.prompts(name).parent.mkdir(exist_ok=True)
            self.run.write_text(f"prompts/{name}.jsonl", "".join(map(_line, rows)))
        self.run.write_json("loop.json", Began(mark, versions()))

    def _contents(self) -> list[str]:
        """What the files and checkpoints hold that the settings name: a path alone says little."""
        cfg: Any = self.cfg
        named = [cfg.policy, getattr(cfg, "base", ""), getattr(cfg, "constitution", ""), cfg.real.file]
        people = cfg.rl.calibrate if hasattr(cfg, "rl") else ""
        return [weights_named(one) or hash_of(one) for one in (*named, people)]

    def _split(self) -> tuple[list[Prompt], list[Prompt]]:
        train: list[Prompt] = []
        held: list[Prompt] = []
        for prompt in prompts_called(self.cfg.prompts):
            aside = split_of(prompt.id, self.cfg.compare.held_out) == "test"
            (held if aside else train).append(prompt)
        if not train:
            raise DataError(
                f"{self.cfg.prompts} has {len(held)} prompts, and none is left to train on."
                " Give more prompts, or set: --compare.held_out 0"
            )
        if not held:
            self.warning = (
                f"nothing is held out (compare.held_out is {self.cfg.compare.held_out:g} of {len(train)}"
                " prompts), so no win rate can be shown and no loss of diversity be noticed."
                " Give more prompts, or set: --compare.held_out 0.3"
            )
        return train, held[: self.cfg.compare.most]

    def prompts(self, side: str) -> Path:
        return self.path / "prompts" / f"{side}.jsonl"

    def read_prompts(self, side: str) -> list[Prompt]:
        return list(read_records(self.prompts(side), Prompt))

    def folder(self, number: int) -> Path:
        return self.path / f"round-{number}"

    def once(
        self, number: int, step: str, kind: type[S], work: Callable[[], S], *, together: bool = False
    ) -> S:
        """The outcome of a step: as it was written, or from doing it now, in the first process or in all."""
        kept = self.folder(number) / "steps" / f"{step}.json"
        if not kept.exists() and (together or self._first):
            self.tell(number, step)
            began = time.monotonic()
            done = work()
            if "seconds" in kind.__struct_fields__:
                done = msgspec.structs.replace(done, seconds=round(time.monotonic() - began, 2))
            if self._first:
                kept.parent.mkdir(parents=True, exist_ok=True)
            self.run.write_json(str(kept.relative_to(self.path)), done)
        wait_until(kept.exists)
        done = read_json(kept, kind)
        self.usd += getattr(done, "usd", 0.0)
        self.seconds += getattr(done, "seconds", 0.0)
        return done

    def tell(self, number: int, step: str, inner: object = None) -> None:
        self._watch(Moment(number, self.cfg.rounds, step, inner))

    def left(self) -> float | None:
        """What the budget leaves to the steps to come."""
        cap = parse_money(self.cfg.budget)
        if cap is None:
            return None
        if self.usd >= cap:
            raise BudgetSpent(
                f"the budget of ${cap:g} is reached: ${self.usd:.4f} spent. Everything paid for is kept."
                " To go on, run again with a higher --budget"
            )
        return cap - self.usd

    def after_reward(self, base_hash: str) -> Model:
        """A model that learnt from the reward of its own answers, from the one with these weights on."""
        before = self.models.get(base_hash[:12], FIRST)
        return Model(before.generation + 1, 1.0)

    def write_rounds(self, facts: list[Facts]) -> None:
        self.run.write_text("rounds.jsonl", "".join(map(_line, facts)))


def hash_of(file: str) -> str:
    """Of what is in a file; nothing where it is none."""
    return blake2b(Path(file).read_bytes(), digest_size=16).hexdigest() if Path(file).is_file() else ""


def _line(record: Struct) -> str:
    return msgspec.json.encode(record).decode() + "\n"
