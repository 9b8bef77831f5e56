"""The first thing a newcomer runs: the shipped prompts, two scripted policies, a judge with a taste for the
first seat and for length. No key, no network; the small world knows what is truly better, so the labels can
be marked.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ..records import Preference, Sampling
from ..run import read_records
from ..tiny.world import true_score
from ..verdicts.settings import JudgeConfig
from .settings import LabelConfig


def demo_settings(out: Path) -> LabelConfig:
    return LabelConfig(
        out=str(out),
        prompts=str(files("jurist.examples").joinpath("prompts.jsonl")),
        policies=("tiny:careful", "tiny:sloppy", "tiny:wordy"),
        k=3,
        sampling=Sampling(seed=0),
        judge=JudgeConfig(engine="tiny:leaning"),
    )


def true_accuracy(run: Path) -> float:
    """Share of the labels whose chosen answer is truly no worse."""
    right = [
        true_score(row.prompt.messages[-1].content, row.chosen.text)
        >= true_score(row.prompt.messages[-1].content, row.rejected.text)
        for row in read_records(run / "preferences.jsonl", Preference)
    ]
    return sum(right) / len(right) if right else 0.0
