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
from ..loop.folder import Loop, Watch, nobody
from ..loop.lessons import lessons
from ..loop.rounds import Round
from ..loop.start import checkpoint
from ..rlaif import RlaifConfig
from .outcome import LEARNERS, START, Demo, come_to
from .page import write_page


class Assistant(Struct, frozen=True):
    """The policy that both start from."""

    folder: str
    seconds: float = 0.0


def demo_settings(out: Path) -> RlaifConfig:
    return load_settings(RlaifConfig, shipped_file("rlaif"), out=str(out))


def demo(cfg: RlaifConfig, watch: Watch = nobody) -> Demo:
    """One round, with two ways to learn from it."""
    with Loop(cfg, watch) as loop, one_thread():
        round = Round(loop, 1)
        start = brought_up(loop)
        labelled = round.label(start, cfg.judge)
        pairs = lessons(labelled, cfg.stop)
        reward = round.reward_model(cfg.reward_model, start, pairs)
        ppo = round.reinforce(cfg.ppo, start, start, reward.folder, step="ppo")
        dpo = round.dpo(cfg.dpo, start, start, pairs, step="dpo")
        for name, folder in zip((START, *LEARNERS), (start, ppo.folder, dpo.folder), strict=True):
            round.look(folder, start, step=f"look-{name}")
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


def brought_up(loop: Loop) -> str:
    """The tiny assistant, made where the user's cache folder does not hold it yet."""

    def work() -> Assistant:
        return Assistant(checkpoint(loop.cfg.policy, lambda now: loop.tell(1, "assistant", now)))

    loop.once(1, "assistant", Assistant, work)
    return checkpoint(loop.cfg.policy)
