"""The first thing a newcomer runs: all of RLAIF in a world small enough to know what is truly better.

A tiny assistant writes answers; an AI judge with faults compares them in both orders; from its labels one
policy learns by PPO with a reward model, another by DPO. Both are compared with the assistant by the truth,
beside policies that learnt nothing. It is a loop of one round, so a demo that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from ...audits.report import drawing
from ...audits.report.page import templates
from ...config import load_settings
from ...run import write_whole
from ..catalogue import shipped_file
from ..loop.folder import LoopRun, OnLoopProgress
from ..loop.labels import preferences_of
from ..loop.rounds import Round
from ..rlaif import RlaifConfig
from .outcome import LEARNERS, MEASURES, NAMES, Demo, outcome_of


class Assistant(Struct, frozen=True):
    """The policy that both learn from."""

    folder: str
    seconds: float = 0.0


def demo_settings(out: Path) -> RlaifConfig:
    return load_settings(RlaifConfig, shipped_file("rlaif"), out=str(out))


def demo(cfg: RlaifConfig, on_progress: OnLoopProgress | None = None) -> Demo:
    """One round, with two ways to learn from it."""
    with LoopRun(cfg, on_progress) as loop, one_thread():
        round = Round(loop, 1)
        initial = make_assistant(loop)
        Round(loop, 0).compare(initial, initial)
        labelled = round.label(initial, cfg.judge)
        pairs = preferences_of(labelled, cfg.stop.flips)
        reward = round.train(cfg.reward_model, initial, pairs, "reward_model")
        ppo = round.reinforce(cfg, initial, initial, reward, step="ppo")
        dpo = round.train(cfg.dpo, initial, pairs, "dpo", reference=initial)
        for name, made in zip(LEARNERS, (ppo, dpo), strict=True):
            round.compare(made.folder, initial, f"-{name}")
        found = outcome_of(round)
        write_whole(loop.path / "report.html", page(found).encode())
        loop.run.write_json("summary.json", found)
        return found


def page(found: Demo) -> str:
    """A file that needs nothing beside it, for any width, in the dark, and on paper. Texts are escaped."""
    room = templates(Path(__file__).parent)
    room.filters |= {
        "percent": lambda value: f"{value:.1%}",
        "width": lambda share: f"{share.low:.1%} to {share.high:.1%}",
        "clock": lambda value: f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min",
    }
    return room.get_template("report.html.jinja").render(
        found=found, draw=drawing, names=NAMES, measures=MEASURES, label=f"{found.run}/round-1/label"
    )


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


def make_assistant(loop: LoopRun) -> str:
    """The tiny assistant, made where the user's cache folder does not hold it yet."""
    loop.once(1, "assistant", Assistant, lambda: Assistant(loop.checkpoint()))
    return loop.checkpoint()
