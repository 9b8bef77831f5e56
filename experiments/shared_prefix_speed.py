"""Is a training step cheaper than TRL's, with the same losses?

The small model of `make bench-train` with fewer steps: reward model and DPO against TRL's trainers at three
shapes, and eight answers to one prompt against separate rows. The value is the smallest ratio of processor
times at 512/64, where there is a long prompt to share.

    python experiments/shared_prefix_speed.py
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from evidence import record

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))
from train_runs import Bench, group, steps
from train_tables import AT_LEAST, GROUP, LONG, LOSS_APART
from train_work import SHAPES

SLOW = "about three minutes"
MODEL, STEPS = "5M", 3


def main() -> None:
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
    with tempfile.TemporaryDirectory(prefix="jurist-bench-") as folder:
        bench = Bench(Path(folder))
        runs = [steps(bench, MODEL, method, shape, STEPS) for method in ("reward", "dpo") for shape in SHAPES]
        groups = group(bench, MODEL, (512, 64, 8), STEPS)
    at_512 = {row["method"]: row["ratio"] for row in runs if (row["prompt"], row["answer"]) == LONG}
    elsewhere = min(row["ratio"] for row in runs if (row["prompt"], row["answer"]) != LONG)
    apart = max(row["loss_apart"] for row in runs)
    worst = min(at_512.values())
    bar = AT_LEAST[MODEL]
    record(
        "shared_prefix_speed",
        value=worst,
        bar=f"{bar} x TRL's speed at 512/64 for reward and DPO, 1 x elsewhere, {GROUP:g} x for 8 answers;"
        " equal losses",
        holds=worst >= bar and elsewhere >= 1 and groups["ratio"] >= GROUP and apart <= LOSS_APART,
        packages=("jurist", "torch", "transformers", "trl"),
        at_512=at_512,
        elsewhere=elsewhere,
        eight_answers=groups["ratio"],
        losses_apart=apart,
        runs=runs,
    )


if __name__ == "__main__":
    main()
