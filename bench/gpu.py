"""DPO, reward model and GRPO on one GPU: Jurist and TRL on the same work, in one run of 12 minutes.

    bash bench/gpu.sh [--dry-run] [--out FILE]

Random Llamas in bfloat16: 1 B, all weights trained, and 7 B, a LoRA adapter. Each side of a row is a process
with a time limit, which saves nothing. A row that fails, memory included, is measured once more with care:
without vLLM and flash attention, and with activations computed twice.

Work is 2 F N tokens: N the weights that a token is multiplied with (the language head for answers only; no
embedding, no attention, no adapter), F 3 where they learn, 2 below an adapter, 1 for a pass without gradient.
Tokens are real ones, no padding, and a prompt that Jurist shares counts once.
"""

import argparse
import datetime
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import torch

import train_sides as sides
from jurist.engines.checkpoints import weights_hash
from jurist.models import dpo, ppo
from jurist.policies.writer import Rollout
from tables import gpu_table

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "vllm", "flash_attn")
ALL_S, SIDE_S, ROOM_GB = 690.0, 240.0, 35  # models are kept in memory where there is room, else in TMPDIR
PEAK = {"H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200": 989, "B200": 2250, "A100": 312}
"""Dense bfloat16 TFLOP/s, by a part of the card's name."""
APART = {"float32": 0.01, "bfloat16": 0.1}
"""How far losses may be from each other, as a part of how far they move."""
GIVEN = 2
"""So many first steps of GRPO learn from the same completions on both sides; gradient norms are compared."""
CAREFUL = {"attention": "sdpa", "vllm": False, "checkpointing": True}
Row = dict[str, Any]


def rows(dry: bool) -> dict[str, Row]:
    """The jobs by name. All steps of DPO and reward model are on the same rows, so that the loss moves."""
    found: dict[str, Row] = {}
    shapes = [(40, 0.4, 80), (20, 0.4, 40)] if dry else [(256, 0.4, 512)] * 2
    flash, vllm = (not dry and find_spec(name) is not None for name in ("flash_attn", "vllm"))
    for method, size in product(("dpo", "reward", "grpo"), ("1B", "7B")):
        whole, grpo = size == "1B", method == "grpo"
        job: Row = {"model": size, "method": method, "precision": "bfloat16", "sampling": "sequential"}
        job |= {"lora": None, "lr": 1e-5} if whole else {"lora": {"r": 16, "alpha": 32.0}, "lr": 1e-4}
        job |= {"attention": "flash_attention_2" if flash else "sdpa", "vllm": grpo and vllm}
        job |= {"batch": 16, "epochs": GIVEN + 2} if grpo else {"batch": 32, "epochs": 6}
        job |= {"samples": 8 if grpo else 2, "max_tokens": 256, "checkpointing": False, "gpu": not dry}
        # Tokens of a pass: GRPO has vLLM and a reference beside it. TRL's is as large with the longest rows.
        job["tokens"] = 4096 if not whole else 8192 if grpo else 16_384
        job["micro"] = job["tokens"] // (512 if grpo else 2048)
        if dry:
            job |= {"model": f"tiny {size}", "batch": 8, "epochs": 4, "micro": 4, "max_tokens": 16}
            job |= {"precision": "float32" if whole else "bfloat16"}
        found[f"{method} {size}"] = {**job, "lengths": sides.skewed(job["batch"], *shapes)}
    return found


class Failed(Exception):
    """A side did not finish."""


class Processes:
    """Runs jobs one by one, each in a process that loaded the libraries during the one before."""

    def __init__(self, folder: Path, until: float) -> None:
        self.folder, self.until, self.number = folder, until, 0
        self.next = self.start()

    def start(self) -> Any:
        self.number += 1
        paths = os.pathsep.join([str(HERE), str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")])
        how: Row = {"env": {**os.environ, "PYTHONPATH": paths, "JURIST_CACHE": f"{self.folder}/cache"}}
        # No file as main module: vLLM's own process would import it, and all that it imports.
        command = [sys.executable, "-c", "import gpu; gpu.side()"]
        with open(f"{self.folder}/{self.number}.log", "w") as log:
            how |= {"stdin": subprocess.PIPE, "stdout": log, "stderr": log, "start_new_session": True}
            return subprocess.Popen(command, text=True, **how)

    def run(self, job: Row) -> Row:
        process, place = self.next, f"{self.folder}/{self.number}"
        self.next, seconds = self.start(), min(job.get("limit", SIDE_S), self.until - time.monotonic())
        why = f"not done in {seconds:.0f} s"
        try:
            process.communicate(json.dumps({**job, "out": f"{place}.out", "result": place}), seconds)
            said = Path(f"{place}.log").read_text(errors="replace")
            errors = re.findall(r"^(?:\[rank0]: )?\w\S*(?:Error|Exception): .*", said, re.MULTILINE)
            why = f"exit {process.returncode}: {(errors or ['it does not say why'])[-1][:300]}"
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.end(process)
        shutil.rmtree(f"{place}.out", ignore_errors=True)
        if not Path(place).exists():
            raise Failed(why)
        return dict(json.loads(Path(place).read_text()))

    def end(self, process: Any) -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # vLLM's processes, too, which clean up
            for _ in range(100):
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def measure(job: Row, processes: Processes) -> Row:
    """Both sides, and how far their losses are apart."""
    row: Row = {"with": {name: job[name] for name in CAREFUL}}
    for by in ("ours", "trl"):
        try:
            row[by] = summary(job, by, processes.run({**job, "by": by}))
        except Failed as why:
            row["failed"] = f"{by}: {why}"
            if job["checkpointing"] or ("not done" in str(why) and not job["vllm"]):
                return row
            return {**measure({**job, **CAREFUL}, processes), "failed_before": row}
    pairs = list(zip(row["ours"]["losses"], row["trl"]["losses"], strict=False))
    apart, moved = [abs(one - other) for one, other in pairs], max(pairs)[0] - min(pairs)[0]
    if job["method"] == "grpo":  # norms move as far as those of each side's own completions are apart
        apart, moved = apart[:GIVEN], max(apart[GIVEN:])
    row |= {"apart": max(apart), "moved": moved, "equal": max(apart) <= APART[job["precision"]] * moved}
    return {**row, "ratio": row["ours"]["tokens_per_s"] / row["trl"]["tokens_per_s"]}


def summary(job: Row, by: str, side: Row) -> Row:
    """Tokens a second of all, and of training: without rollouts and the pass of DPO's reference."""
    ours, grpo, each = by == "ours", job["method"] == "grpo", max(1, len(side["losses"]) // job["epochs"])
    steps = side["steps"][GIVEN if grpo else 1 :]
    s, rollout_s, sampled = (sum(step.get(of, 0.0) for step in steps) for of in ("s", "rollout_s", "sampled"))
    prompts = len(steps) * sum(prompt for prompt, *_ in job["lengths"])
    answers = sampled if grpo else len(steps) * sum(sum(pair) for _, *pair in job["lengths"])
    tokens, passed = answers + job["samples"] * prompts, answers + prompts * (1 if ours else job["samples"])
    width, inner, layers, vocabulary = sides.SIZES[job["model"]]
    once = 2 * passed * layers * width * (4 * width + 3 * inner)
    once += 0 if job["method"] == "reward" else 2 * answers * width * vocabulary
    # GRPO: a pass of the reference; Jurist's policy has one, too, since its KL is a part of the reward.
    work = once * ((2 if job["lora"] else 3) + (1 + ours if grpo else 0))
    reference_s = len(steps) * sum(step.get("reference_s", 0.0) for step in side["steps"])
    side |= {"losses": [fmean(side["losses"][at : at + each]) for at in range(0, len(side["losses"]), each)]}
    side |= {"tokens_per_s": tokens / (s + reference_s), "training_tokens_per_s": tokens / (s - rollout_s)}
    side |= {"tflops": work / (s - rollout_s) / 1e12, "sampled_per_s": rollout_s and sampled / rollout_s}
    peaks = [peak for name, peak in PEAK.items() if name in side["device"]]
    return {**side, **({"mfu": side["tflops"] / peaks[0]} if peaks else {})}


class Meter:
    """What a side does, step by step: its seconds, its rollouts and its losses."""

    def __init__(self, job: Row) -> None:
        self.job, self.steps, self.seen, self.began = job, list[Row](), Row(), clock()

    def timed(self, what: str, call: Any, *args: Any) -> Any:
        began = clock()
        found = call(*args)
        self.seen[what] = self.seen.get(what, 0.0) + clock() - began
        return found

    def rollouts(self, prompts: Any, sample: Any, of: Any) -> Any:
        """One for each prompt; in the first steps the same for both sides, in the form that `of` makes."""
        if len(self.steps) >= GIVEN:
            return self.timed("rollout_s", sample)
        words = range(len(sides.SPECIAL), sides.SIZES[self.job["model"]][-1])
        draws = (random.Random(f"{[*one]} {at % self.job['samples']}") for at, one in enumerate(prompts))
        return of([draw.choices(words, k=self.job["max_tokens"]) for draw in draws])

    def gate(self, losses: list[float]) -> None:
        self.steps.append({"s": clock() - self.began, **self.seen})
        if len(self.steps) == self.job["epochs"]:
            found: Row = {"steps": self.steps, "losses": losses, "device": "CPU"}
            found["memory_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            if torch.cuda.is_available():
                free, whole = torch.cuda.mem_get_info()
                found |= {"device": torch.cuda.get_device_name(), "card_gb": (whole - free) / 1e9}
                found["memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
            leave(self.job, found)
        self.seen, self.began = {}, clock()


def clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def leave(job: Row, found: Row) -> None:
    Path(job["result"]).write_text(json.dumps(found))
    os._exit(0)  # nothing is saved, and vLLM takes long to end


def ours(job: Row, meter: Meter) -> None:
    reference, opened = dpo.with_reference, ppo.Sampler.__init__

    def sampler(self: Any, *args: Any) -> None:
        opened(self, *args)
        write, sync = self.writer.write, self.writer.sync

        def timed(prompts: Any, n: int, *how: Any) -> list[Rollout]:
            places = [*product(range(len(prompts)), range(n))]
            found: list[Rollout] = meter.rollouts(
                [prompts[prompt] for prompt, _ in places],
                lambda: [*write(prompts, n, *how)],
                lambda given: [Rollout(*at, ids, "length") for at, ids in zip(places, given, strict=True)],
            )
            meter.seen["sampled"] = sum(len(one.ids) for one in found)
            return found

        self.writer.write, self.writer.sync = timed, lambda policy: meter.timed("rollout_s", sync, policy)

    timed = patch.object(dpo, "with_reference", lambda *rows: meter.timed("reference_s", reference, *rows))
    with timed, patch.object(ppo.Sampler, "__init__", sampler):
        sides.ours(job, meter.gate)


def theirs(job: Row, meter: Meter) -> None:
    class Timed:
        def _precompute_ref_logps(self, *args: Any) -> Any:
            return meter.timed("reference_s", super()._precompute_ref_logps, *args)  # type: ignore[misc]

        def _generate_single_turn(self, prompts: Any, *rest: Any, **how: Any) -> Any:
            sample = super()._generate_single_turn  # type: ignore[misc]
            found = meter.rollouts(
                prompts, lambda: sample(prompts, *rest, **how), lambda given: (given, None)
            )
            meter.seen["sampled"] = sum(map(len, found[0]))
            return found

    # TRL names the file of the reference's log-probs by a hash of all weights, which would take longer still.
    with patch("trl.trainer.dpo_trainer.hash_module", lambda _: job["base"], create=True):
        sides.trl(job, meter.gate, Timed)


def side() -> None:
    """What a process does: wait for a job, with all loaded that it may need, and do it."""
    with suppress(Exception):  # where vLLM cannot be loaded, only the rows that need it fail
        _ = sides.peer.GRPOTrainer
    job: Row = json.loads(sys.stdin.read() or "{}")
    if job.get("by") == "nobody":  # the model for both, and its hash
        sides.checkpoint(base := Path(job["base"]), job["model"], "causal", "")
        for file in base.iterdir():
            os.utime(file, (0, time.time() - 10))  # hashes of files younger than some seconds are not kept
        weights_hash(base)
        leave(job, {})
    elif job:
        {"ours": ours, "trl": theirs}[job["by"]](job, Meter(job))


def run_rows(jobs: dict[str, Row], folder: Path, out: Path, results: Row, seconds: float = ALL_S) -> None:
    """One row after another, each written at once; rows for which no time is left are named as skipped."""
    began, made = time.monotonic(), set[str]()
    processes = Processes(folder, began + seconds)
    for name, job in jobs.items():
        job = {**job, "base": str(folder / job["model"])}
        try:
            if time.monotonic() > began + seconds:
                raise Failed(f"skipped, since the {seconds:.0f} s were over")
            if job["base"] not in made:
                processes.run({**job, "by": "nobody"})
                made.add(job["base"])
            row = measure(job, processes)
        except Failed as why:
            row = {"failed": str(why)}
        results["rows"][name], results["seconds"] = row, round(time.monotonic() - began)
        out.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{results['seconds']} s, {name}: {row.get('failed') or row['ratio']}", flush=True)
    processes.end(processes.next)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="tiny models on a CPU")
    parser.add_argument("--out", type=Path, help="bench/results/gpu.json; of a dry run a file in /tmp")
    args = parser.parse_args()
    out = args.out or (Path(tempfile.gettempdir(), "gpu.json") if args.dry_run else HERE / "results/gpu.json")
    room = Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > ROOM_GB * 1e9
    results: Row = {"date": datetime.date.today().isoformat(), "dry_run": args.dry_run, "rows": {}}
    results["versions"] = {name: version(name) for name in PACKAGES if find_spec(name)}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if room else None) as place:
        run_rows(rows(args.dry_run), Path(place), out, results)
    print(f"\n{gpu_table(results)}\n\n{out}")
    sys.exit(any("failed" in row for row in results["rows"].values()))


if __name__ == "__main__":
    main()
