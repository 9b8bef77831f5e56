"""Are our losses TRL's, on the same checkpoint and the same rows, whole forward pass and all?

Runs the parity tests and writes down the largest relative difference of a loss. What TRL lacks (soft targets,
R-DPO) is checked against hand calculations in `tests/models/test_losses.py`.
"""

from __future__ import annotations

import re
import subprocess
import sys

import torch

from evidence import ROOT, record
from jurist.models.dpo import DPO_LOSSES, PairLogprobs
from jurist.models.settings import DpoConfig

SLOW = "about a minute"
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
    tests = [f"tests/models/{name}.py" for name in ("test_losses", "test_losses_trl")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", "-rP", *tests]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    apart = [float(found) for found in re.findall(r"relative difference (\S+)", done.stdout)]
    record(
        "losses_match",
        max(apart, default=1.0),
        null={"a beta one percent too large": float(f"{wrong_beta():.2g}")},
        bar=f"largest relative difference from TRL's losses at most {BAR}",
        holds=done.returncode == 0 and bool(apart) and max(apart) <= BAR < wrong_beta(),
        compared=len(apart),
        tests_passed=int((re.findall(r"(\d+) passed", done.stdout) or ["0"])[-1]),
    )


if __name__ == "__main__":
    main()
