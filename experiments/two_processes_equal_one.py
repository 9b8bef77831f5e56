"""Do two processes train to the losses of one?

The same job of 22 steps through `jurist train` alone and through `torchrun --nproc-per-node 2` on the CPU,
for fine-tuning, reward model and DPO, at the same batch: the largest difference of a step's loss. (On a CPU,
`accelerate launch` starts several processes only through MPI; on GPUs it is the usual way.)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from evidence import record

SLOW = "about a minute and a half"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "models"))
import making  # noqa: E402
from rows_for_tests import pairs_file  # noqa: E402

BAR = 1e-4
ENV = {
    **os.environ,
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "ACCELERATE_USE_CPU": "true",
    "TOKENIZERS_PARALLELISM": "false",
}
JURIST = [str(Path(sys.executable).with_name("jurist"))]
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]


def losses(launcher: list[str], verb: str, folder: Path, out: str) -> list[float]:
    words = ["train", verb, str(folder / "pairs.jsonl"), "--base", str(folder / "base"), "--out"]
    words += [str(folder / out), "--batch", "16", "--tokens", "512", "--epochs", "2", "--lr", "3e-3"]
    subprocess.run([*launcher, *JURIST, *words], env=ENV, capture_output=True, check=True, timeout=300)
    facts = json.loads((folder / out / "model" / "training.json").read_text())
    assert facts["processes"] == (2 if launcher else 1)
    lines = (folder / out / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def main() -> None:
    apart, steps = 0.0, 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        making.checkpoint(folder / "base")
        pairs_file(folder / "pairs.jsonl", 170)
        for verb in ("sft", "reward", "dpo"):
            one, two = losses([], verb, folder, f"{verb}-1"), losses(LAUNCH, verb, folder, f"{verb}-2")
            apart = max(apart, *(abs(a - b) for a, b in zip(one, two, strict=True)))
            steps = len(one)
    record(
        "two_processes_equal_one",
        value=float(f"{apart:.2g}"),
        bar=f"no step's loss differs by more than {BAR}",
        holds=apart <= BAR,
        packages=("jurist", "torch", "transformers", "accelerate"),
        steps=steps,
    )


if __name__ == "__main__":
    main()
