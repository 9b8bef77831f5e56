"""Are our losses TRL's, on the same checkpoint and the same rows, whole forward pass and all?

Runs the parity tests and writes down the largest relative difference of a loss. What TRL lacks (soft
targets, R-DPO) is checked against hand calculations in `tests/models/test_losses.py`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import torch

from evidence import record
from jurist.models.dpo import DPO_LOSSES, PairLogprobs
from jurist.models.settings import DpoConfig

SLOW = "about a minute"
ROOT = Path(__file__).resolve().parent.parent
BAR = 1e-5


def wrong_beta() -> float:
    """The relative difference that a beta one percent too large makes: what the bar would notice."""
    torch.manual_seed(0)
    pair = PairLogprobs(-torch.rand(64), -3 - torch.rand(64), 3 * torch.ones(64), 5 * torch.ones(64))
    right, wrong = (
        DPO_LOSSES["dpo"](pair, torch.ones(64), beta, DpoConfig()).mean().item() for beta in (0.1, 0.101)
    )
    return abs(wrong - right) / right


def main() -> None:
    tests = [str(ROOT / "tests" / "models" / name) for name in ("test_losses.py", "test_losses_trl.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", "-rP", *tests]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    apart = [float(found) for found in re.findall(r"relative difference (\S+)", done.stdout)]
    passed = int((re.findall(r"(\d+) passed", done.stdout) or ["0"])[-1])
    record(
        "losses_match",
        value=max(apart, default=1.0),
        null={"a beta one percent too large": float(f"{wrong_beta():.2g}")},
        bar=f"largest relative difference from TRL's losses at most {BAR}",
        holds=done.returncode == 0 and bool(apart) and max(apart) <= BAR < wrong_beta(),
        packages=("jurist", "torch", "transformers", "trl"),
        compared=len(apart),
        tests_passed=passed,
    )


if __name__ == "__main__":
    main()
