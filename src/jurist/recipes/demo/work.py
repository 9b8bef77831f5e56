"""The first thing a newcomer runs: all of RLAIF in a world small enough to know what is truly better.

A tiny assistant is made on the spot. It writes answers; an AI judge with a taste for the first position and
for length compares them in both orders; a reward model learns from its labels; and two policies learn from
the same start, one by PPO from the reward model, one by DPO from the labels themselves. Both are then set
against the start in the eyes of somebody who knows. It is a loop of one round, so a demo that was stopped
goes on.

    jurist demo
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from ...config import load_settings
from ..catalogue import shipped_file
from ..loop.folder import LoopRun, OnLoopProgress
from ..loop.labels import preferences_of
from ..loop.round import Round
from ..rlaif import RlaifConfig
from .outcome import LEARNERS, Demo, come_to
from .page import write_page


class Assistant(Struct, frozen=True):
    """The policy that both start from."""

    folder: str
    seconds: float = 0.0


def demo_settings(out: Path) -> RlaifConfig:
    return load_settings(RlaifConfig, shipped_file("rlaif"), out=str(out))


def demo(cfg: RlaifConfig, on_progress: OnLoopProgress | None = None) -> Demo:
    """One round, with two ways to learn from it."""
    with LoopRun(cfg, on_progress) as loop, one_thread():
        round = Round(loop, 1)
        start = tiny_start(loop)
        Round(loop, 0).compare(start, start)
        labelled = round.label(start, cfg.judge)
        pairs = preferences_of(labelled, cfg.stop.flips)
        reward = round.reward_model(cfg.reward_model, start, pairs)
        ppo = round.reinforce(cfg.ppo, start, start, reward, step="ppo")
        dpo = round.dpo(cfg.dpo, start, start, pairs, step="dpo")
        for name, made in zip(LEARNERS, (ppo, dpo), strict=True):
            round.compare(made.folder, start, f"-{name}")
        found = come_to(round)
        write_page(found, loop.path)
        loop.run.write_json("summary.json", found)
        return found


@contextmanager
def one_thread() -> Iterator[None]:
    """Models this small are quicker on one core than on several, and come out the same everywhere."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def tiny_start(loop: LoopRun) -> str:
    """The tiny assistant, made where the user's cache folder does not hold it yet."""
    loop.once(1, "assistant", Assistant, lambda: Assistant(loop.checkpoint()))
    return loop.checkpoint()
