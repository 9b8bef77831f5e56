"""The comparisons of the training benchmark: which sides run, and what is made of their times."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from train_sides import order_of, take_part
from train_work import MODELS, SHAPES, checkpoint, equal_lengths, skewed_lengths

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
            out = self.root / f"out-{number}"
            shutil.rmtree(out, ignore_errors=True)  # a finished training would not be done again
            whole = {**job, "out": str(out), "cores": self._cores}
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
    return found


def _parameters(hidden_size: int, intermediate_size: int, num_hidden_layers: int, vocab_size: int) -> int:
    """Weights that are multiplied with: the embedding is only looked up."""
    layer = 4 * hidden_size**2 + 3 * hidden_size * intermediate_size
    return num_hidden_layers * layer + vocab_size * hidden_size
