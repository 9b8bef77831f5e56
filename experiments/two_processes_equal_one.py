"""Do two processes train to the losses of one?

The same job through `jurist train` alone and through `torchrun --nproc-per-node 2` on the CPU, for
fine-tuning, reward model, DPO and PPO, at the same batch: the largest difference of a step's loss, for PPO of
its reward and KL too. The null is what another order of the rows makes of the same losses. (On a CPU
`accelerate launch --cpu --num_processes 2` starts one process, which is refused; `accelerate launch
--multi_gpu` starts what `torchrun` does.)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from evidence import record

# isort: split
from making import checkpoint
from rows_for_tests import pairs_file

SLOW = "about three minutes"
BAR = 1e-4
OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
JURIST = [str(Path(sys.executable).with_name("jurist"))]
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
JOB = ["--batch", "16", "--tokens", "512", "--epochs", "2", "--lr", "3e-3"]
MORE = {"ppo": ["--reward", "vowels:share", "--rollout.max_tokens", "6", "--rollout.samples", "2"]}
REWARD = """
def share(prompt, completions):
    return [sum(letter in "aeiou" for letter in one.text) / 10 for one in completions]
"""
WATCHED = ("loss", "reward", "kl_sequence", "policy_loss", "value_loss")


def losses(launcher: list[str], verb: str, folder: Path, out: str, seed: int = 0) -> list[float]:
    words = ["train", verb, folder / "pairs.jsonl", "--base", folder / "base", "--out", folder / out]
    command = map(str, [*launcher, *JURIST, *words, *JOB, "--seed", seed, *MORE.get(verb, [])])
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    here = {**os.environ, **OFFLINE, "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": path}
    subprocess.run([*command], env=here, capture_output=True, check=True, timeout=300)
    facts = json.loads((folder / out / "model" / "training.json").read_text())
    assert facts["processes"] == (2 if launcher else 1)
    steps = map(json.loads, (folder / out / "metrics.jsonl").read_text().splitlines())
    return [step[name] for step in steps for name in WATCHED if name in step]


def apart(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def main() -> None:
    found, null, steps = 0.0, 1.0, 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        checkpoint(folder / "base")
        (folder / "vowels.py").write_text(REWARD)
        pairs_file(folder / "pairs.jsonl", 170)
        for verb in ("sft", "reward", "dpo", "ppo"):
            one, two = losses([], verb, folder, f"{verb}-1"), losses(LAUNCH, verb, folder, f"{verb}-2")
            found = max(found, apart(one, two))
            null = min(null, apart(one, losses([], verb, folder, f"{verb}-other", seed=1)))
            steps += len((folder / f"{verb}-1" / "metrics.jsonl").read_text().splitlines())
    record(
        "two_processes_equal_one",
        float(f"{found:.2g}"),
        null={"one process with another order of the rows, where that makes least": float(f"{null:.2g}")},
        bar=f"no step's loss differs by more than {BAR}",
        holds=found <= BAR < null,
        steps=steps,
    )


if __name__ == "__main__":
    main()
