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
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from train_sides import order_of, take_part
from train_tables import train_bars
from train_work import MODELS, SHAPES, checkpoint, equal_lengths, skewed_lengths

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
RESULTS = Path(__file__).resolve().parent / "results" / "train.json"
PACKAGES = ("jurist", "torch", "transformers", "trl", "accelerate", "datasets")
BATCH, STEPS = 4, 4
EPOCH_ROWS, EPOCH_BATCH = 96, 8
FORMS = ("concat", "mask", "cache", "repeat")
FORM_SHAPES = (
    (32, 32, 2),
    (64, 64, 2),
    (128, 256, 2),
    (512, 64, 2),
    (2000, 64, 2),
    (512, 64, 8),
    (128, 256, 8),
)
Job = dict[str, Any]
Row = dict[str, Any]


class Bench:
    """Checkpoints made once, and a server of fresh processes that have the libraries loaded already."""

    def __init__(self, root: Path) -> None:
        self.root, self._made = root, dict[tuple[str, str], str]()
        self._cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["train_preload"])

    def base(self, model: str, kind: str) -> str:
        if (model, kind) not in self._made:
            folder = self.root / f"{model}-{kind}"
            process = self._processes.Process(target=checkpoint, args=(folder, model, kind))
            process.start()
            process.join()
            self._made[model, kind] = str(folder)
        return self._made[model, kind]

    def take_turns(self, jobs: Sequence[Job]) -> list[Row]:
        """Run the sides step by step in turn; what each said, with its times and its peak memory."""
        talks = []
        for number, job in enumerate(jobs):
            here, there = self._processes.Pipe()
            whole = {**job, "out": str(self.root / f"out-{number}"), "cores": self._cores}
            process = self._processes.Process(target=take_part, args=(there, whole))
            process.start()
            there.close()
            talks.append((process, here))
        said: list[Row | None] = [None] * len(jobs)
        while None in said:
            for number, (process, here) in enumerate(talks):
                if said[number] is None:
                    here.send("go")
                    try:
                        told = here.recv()
                    except EOFError:
                        process.join()
                        log = (self.root / f"out-{number}.log").read_text()
                        raise SystemExit(f"{jobs[number]['side']} failed:\n{log[-3000:]}") from None
                    said[number] = None if told == "step" else told
        for process, _ in talks:
            process.join()
        return [one for one in said if one is not None]


def train_job(bench: Bench, side: str, method: str, model: str, lengths: Any, **more: Any) -> Job:
    base = bench.base(model, "reward" if method == "reward" else "causal")
    return {"side": side, "method": method, "model": model, "base": base, "lengths": lengths, **more}


def steps(bench: Bench, model: str, method: str, shape: tuple[int, int], number: int) -> Row:
    """Steps of equal lengths: the same rows in the same order, so that the losses can be compared."""
    lengths = equal_lengths(BATCH * (1 + number), *shape)
    both = {"batch": BATCH, "sampling": "sequential"}
    ours, theirs = bench.take_turns(
        [
            train_job(bench, "ours", method, model, lengths, **both),
            train_job(bench, "trl", method, model, lengths, order=order_of(lengths, BATCH), **both),
        ]
    )
    row = {
        "model": model,
        "method": method,
        "prompt": shape[0],
        "answer": shape[1],
        **_compared(ours, theirs),
    }
    pairs = zip(ours["losses"], theirs["losses"], strict=True)
    row["loss_apart"] = max(abs(one - other) for one, other in pairs)
    row["losses"] = [round(loss, 6) for loss in ours["losses"]]
    if method == "dpo":
        row["anchor_ratio"] = theirs["anchor_s"] / ours["anchor_s"]
        row["ours_anchor_s"], row["theirs_anchor_s"] = ours["anchor_s"], theirs["anchor_s"]
    return _rounded(row)


def _compared(ours: Row, theirs: Row) -> Row:
    """Medians without the first step, the ratio as the median of neighbours' ratios, and the memory."""
    pairs = list(zip(ours["steps_s"], theirs["steps_s"], strict=True))[1:]
    ratios = [other / one for one, other in pairs]
    return {
        "ours_s": median(one for one, _ in pairs),
        "theirs_s": median(other for _, other in pairs),
        "ratio": median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        **_memory(ours, theirs),
    }


def _memory(ours: Row, theirs: Row) -> Row:
    return {
        "ours_mb": ours["peak_mb"] - ours["before_mb"],
        "theirs_mb": theirs["peak_mb"] - theirs["before_mb"],
        "libraries_mb": ours["before_mb"],
    }


def epoch(bench: Bench, model: str, method: str, rows: int) -> list[Row]:
    """A whole job on skewed lengths, from the rows to the saved model; TRL also with its rows sorted."""
    lengths = skewed_lengths(rows)
    both = {"batch": EPOCH_BATCH, "order": None}
    ways = ("random", "group_by_length")
    ours, *others = bench.take_turns(
        [
            train_job(bench, "ours", method, model, lengths, **both),
            *(train_job(bench, "trl", method, model, lengths, sampling=way, **both) for way in ways),
        ]
    )
    mine = sum(ours["steps_s"]) + ours["end_s"]
    found = []
    for way, theirs in zip(ways, others, strict=True):
        whole = sum(theirs["steps_s"]) + theirs["end_s"]
        mean = [sum(one["losses"]) / len(one["losses"]) for one in (ours, theirs)]
        row = {"model": model, "method": method, "trl_sampling": way, "rows": rows}
        row |= {"ours_s": mine, "theirs_s": whole, "ratio": whole / mine, **_memory(ours, theirs)}
        found.append(_rounded({**row, "ours_mean_loss": mean[0], "theirs_mean_loss": mean[1]}))
    return found


def group(bench: Bench, model: str, shape: tuple[int, int, int], number: int) -> Row:
    """Forward and backward of answers to one prompt that share it, against a row for each."""
    job = {"side": "one_pass", "model": model, "base": bench.base(model, "causal"), "shape": shape, "rows": 1}
    ways = [{**job, "how": how, "steps": 1 + number} for how in ("auto", "concat")]
    ours, theirs = bench.take_turns(ways)
    row = {"model": model, "prompt": shape[0], "answer": shape[1], "answers": shape[2], "form": ours["form"]}
    apart = max(abs(a - b) / abs(b) for a, b in zip(ours["losses"], theirs["losses"], strict=True))
    return _rounded({**row, **_compared(ours, theirs), "loss_apart": apart})


def drawn(bench: Bench, model: str, shape: tuple[int, int, int], rows: int, number: int) -> Row:
    """Samples of prompts that are read once, against prompts read for every sample."""
    job = {
        "side": "drawing",
        "model": model,
        "base": bench.base(model, "causal"),
        "shape": shape,
        "rows": rows,
    }
    ways = [{**job, "once": once, "steps": 1 + number} for once in (True, False)]
    ours, theirs = bench.take_turns(ways)
    row = {"model": model, "prompt": shape[0], "tokens": shape[1], "samples": shape[2], "prompts": rows}
    return _rounded({**row, **_compared(ours, theirs)})


def all_forms(bench: Bench, model: str, number: int) -> list[Row]:
    """What the forms of the forward pass cost, and how far from the quickest the one is that is taken."""
    job = {"side": "forms", "model": model, "base": bench.base(model, "causal"), "rows": 1, "steps": number}
    (said,) = bench.take_turns([{**job, "shapes": FORM_SHAPES}])
    found = []
    for row in said["rows"]:
        prompt, answer, answers = row.pop("shape")
        quickest = min(row[form] for form in FORMS)
        shape = {"model": model, "prompt": prompt, "answer": answer, "answers": answers}
        found.append(_rounded({**shape, **row, "over_the_quickest": row[row["chosen"]] / quickest}))
    return found


def _rounded(row: Row) -> Row:
    def short(value: Any) -> Any:
        if not isinstance(value, float):
            return value
        return round(value) if value >= 100 else float(f"{value:.4g}")

    return {key: short(value) for key, value in row.items()}


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


def on_a_gpu(bench: Bench, peak_tflops: float) -> list[Row]:
    """The 1 B model in bfloat16: seconds by the clock, tokens a second, and the share of the peak in use.

    Tokens are counted as separate rows have them, for both sides; the share counts what each really computes.
    """
    found = []
    parameters = _parameters(**MODELS["1B"])
    for method in ("reward", "dpo"):
        for prompt, answer in SHAPES:
            more = {"batch": BATCH, "sampling": "sequential", "precision": "bfloat16", "gpu": True}
            lengths = equal_lengths(BATCH * (1 + STEPS), prompt, answer)
            order = order_of(lengths, BATCH)
            ours, theirs = bench.take_turns(
                [
                    train_job(bench, side, method, "1B", lengths, order=order, **more)
                    for side in ("ours", "trl")
                ]
            )
            row = {"model": "1B", "method": method, "prompt": prompt, "answer": answer}
            row |= _compared(ours, theirs)
            pairs = zip(ours["losses"], theirs["losses"], strict=True)
            row["loss_apart"] = max(abs(one - other) for one, other in pairs)
            for side, computed in (("ours", prompt + 2 * answer), ("theirs", 2 * (prompt + answer))):
                row[f"{side}_tokens_per_s"] = BATCH * 2 * (prompt + answer) / row[f"{side}_s"]
                flops = 6 * parameters * BATCH * computed
                row[f"{side}_mfu"] = flops / row[f"{side}_s"] / (peak_tflops * 1e12)
            found.append(_rounded(row))
            show("gpu", found[-1])
    return found


def _parameters(hidden_size: int, intermediate_size: int, num_hidden_layers: int, vocab_size: int) -> int:
    """Weights that are multiplied with: the embedding is only looked up."""
    layer = 4 * hidden_size**2 + 3 * hidden_size * intermediate_size
    return num_hidden_layers * layer + vocab_size * hidden_size


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
