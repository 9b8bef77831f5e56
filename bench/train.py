"""What a training step costs the processor: our reward model and DPO, and TRL's, in one run.

    python bench/train.py [--quick] [--only steps epochs groups drawing forms]
    python bench/train.py --gpu [--peak-tflops 989]

Each side runs in a process of its own, with one thread, on the same checkpoint, rows, order and batches. The
two take turns step by step, so that other work on the machine hits both alike; what is compared is processor
time, and the medians over steps count. The first step, with loading, is left out except in whole epochs.
Written to bench/results/train.json; `--gpu` writes bench/results/train_gpu.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from train_runs import (
    BATCH,
    EPOCH_BATCH,
    EPOCH_ROWS,
    STEPS,
    Bench,
    Row,
    all_forms,
    drawn,
    epoch,
    group,
    on_a_gpu,
    steps,
)
from train_tables import train_bars
from train_work import SHAPES

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
RESULTS = Path(__file__).resolve().parent / "results" / "train.json"
PACKAGES = ("jurist", "torch", "transformers", "trl", "accelerate", "datasets")


def machine() -> Row:
    facts = {"cores": os.cpu_count(), "processor": platform.machine(), "system": platform.system()}
    return {**facts, "threads": 1, "load_before": round(os.getloadavg()[0], 2)}


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def show(part: str, row: Row) -> None:
    said = " ".join(f"{key}={value}" for key, value in row.items() if key not in ("losses", "libraries_mb"))
    print(f"{part}: {said}", flush=True)


def measure(bench: Bench, parts: Sequence[str], quick: bool) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {part: [] for part in parts}

    def keep(part: str, row: Row) -> None:
        found[part].append(row)
        show(part, row)

    models = ("5M",) if quick else ("5M", "40M")
    number = 2 if quick else STEPS
    if "steps" in parts:
        for model in models:
            for method in ("reward", "dpo"):
                for shape in SHAPES:
                    keep("steps", steps(bench, model, method, shape, number))
    if "epochs" in parts:
        for method in ("reward", "dpo"):
            for row in epoch(bench, "5M", method, 32 if quick else EPOCH_ROWS):
                keep("epochs", row)
    for model in models:
        if "groups" in parts:
            keep("groups", group(bench, model, (512, 64, 8), number))
        if "drawing" in parts:
            keep("drawing", drawn(bench, model, (512, 32, 8), 2, number))
    if "forms" in parts:
        for row in all_forms(bench, "5M", number):
            keep("forms", row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    every = ("steps", "epochs", "groups", "drawing", "forms")
    parser.add_argument("--only", nargs="+", choices=every, default=every)
    parser.add_argument("--quick", action="store_true", help="the small model, two steps; written nowhere")
    parser.add_argument("--gpu", action="store_true", help="a model of 1 B in bfloat16 instead")
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="of the GPU, in bfloat16")
    args = parser.parse_args()
    where, began = machine(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="jurist-bench-") as folder:
        bench = Bench(Path(folder))
        if args.gpu:
            found = {"gpu": on_a_gpu(bench, args.peak_tflops)}
        else:
            found = measure(bench, args.only, args.quick)
    where["load_after"] = round(os.getloadavg()[0], 2)
    if not args.gpu and (args.quick or set(args.only) != set(every)):
        return
    results = {
        "date": datetime.date.today().isoformat(),
        "command": "python bench/train.py --gpu" if args.gpu else "make bench-train",
        "seconds": round(time.perf_counter() - began),
        "machine": where,
        "versions": versions(),
        "job": {"batch": BATCH, "steps": STEPS, "epoch_rows": EPOCH_ROWS, "epoch_batch": EPOCH_BATCH},
        **found,
    }
    if not args.gpu:
        results["gpu"] = "not run: there was none; python bench/train.py --gpu"
        results["bars"] = train_bars(results)
        for bar in results["bars"]:
            print(f"{'holds' if bar['holds'] else 'FALLS SHORT'}: {bar['bar']}: {bar['value']}")
    file = RESULTS.with_name("train_gpu.json") if args.gpu else RESULTS
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
