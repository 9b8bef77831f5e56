"""Are training's numbers those of other code, of separate rows and of one process?

`losses_match`: the parity tests with TRL, on the same checkpoint and rows. `shared_prefix_equal`,
`windows_share_prompt`: a prompt computed once for all its answers beside separate rows, on small random
models that see everything (Llama, Qwen2, GPT-2) or have windows shorter than their prompts, in all layers (as
Mistral) or every other one (as Gemma 3 and gpt-oss); each form, log-probs and states, with and without a
LoRA. `two_processes_equal_one`: `jurist train` alone and through `torchrun --nproc-per-node 2` on the CPU,
step by step.

    python experiments/same_numbers.py [CLAIM ...]
"""

import json
import os
import random
import re
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from evidence import ROOT, record, run_claims
from jurist.models.dpo import DPO_LOSSES, PairLogprobs
from jurist.models.settings import DpoConfig
from jurist.policies import forward
from jurist.policies.tokens import Example

# isort: split
from making import KINDS, WINDOWED, adapted, checkpoint, loss_and_gradient
from making import model as made
from rows_for_tests import pairs_file

SLOW = "five minutes"
EXACT, TOGETHER = 1e-5, 1e-4
ROUNDS = 5


def rounded(value: float) -> float:
    return float(f"{value:.2g}")


def losses_match() -> None:
    """What TRL lacks (soft targets, R-DPO) is checked against hand calculations in `test_losses.py`."""
    tests = [f"tests/models/{name}.py" for name in ("test_losses", "test_losses_trl")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "slow or not slow", "-rP", *tests]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    apart = [float(found) for found in re.findall(r"relative difference (\S+)", done.stdout)]
    torch.manual_seed(0)
    ones = torch.ones(64)
    pair = PairLogprobs(-torch.rand(64), -3 - torch.rand(64), 3 * ones, 5 * ones)
    right, wrong = (DPO_LOSSES["dpo"](pair, ones, beta, DpoConfig()).mean().item() for beta in (0.1, 0.101))
    null = abs(wrong - right) / right
    record(
        "losses_match",
        max(apart, default=1.0),
        null={"a beta one percent too large": rounded(null)},
        bar=f"largest relative difference from TRL's losses at most {EXACT}",
        holds=done.returncode == 0 and bool(apart) and max(apart) <= EXACT < null,
        tests_passed=int((re.findall(r"(\d+) passed", done.stdout) or ["0"])[-1]),
        more={"compared": len(apart)},
    )


def shared_prefix_equal() -> None:
    masks = forward._masks

    def unhidden(model: Any, part: Any, *rest: Any, **how: Any) -> Any:
        return masks(model, part.clamp(max=0), *rest, **how)

    sharing("shared_prefix_equal", KINDS, "masks that let answers see each other", _masks=unhidden)


def windows_share_prompt() -> None:
    kinds, wrong = forward.layer_kinds, "masks without windows"
    sharing("windows_share_prompt", WINDOWED, wrong, layer_kinds=lambda config: (kinds(config)[0], 1 << 30))


def sharing(claim: str, kinds: tuple[str, ...], wrong: str, **instead: Any) -> None:
    shared = all({"masked", "prefilled"} <= {*forward.shared_forms(made(kind))} for kind in kinds)
    in_loss, in_gradient, cases = differences(kinds)
    with patch.multiple(forward, **instead):
        null = min(max(differences((kind,))[:2]) for kind in kinds)
    worst = max(in_loss, in_gradient)
    record(
        claim,
        rounded(worst),
        null={f"{wrong}: off by at least": rounded(null)},
        bar=f"losses and gradients within {EXACT} of the concatenated pass, in float32",
        holds=worst <= EXACT and shared and null > 100 * EXACT,
        in_gradient=rounded(in_gradient),
        more={"in_loss": rounded(in_loss), "cases": cases, "models": kinds},
    )


def differences(kinds: tuple[str, ...]) -> tuple[float, float, int]:
    """The largest of losses and, relative to the largest one, of gradients; and in how many cases. Prompts
    are uneven, with one to four uneven answers.
    """
    draw, in_loss, in_gradient, cases = random.Random(0), 0.0, 0.0, 0

    def ids(least: int, most: int) -> list[int]:
        return [draw.randint(5, 300) for _ in range(draw.randint(least, most))]

    models = [model for kind in kinds for model in (made(kind), adapted(kind))]
    for model, _ in product(models, range(ROUNDS)):
        packed = ("packed",) if model.config._attn_implementation == "sdpa" else ()
        rows = [Example(ids(1, 40), [ids(1, 12) for _ in range(draw.randint(1, 4))]) for _ in range(6)]
        for want in ("logprobs", "states"):
            loss_1, gradient_1 = loss_and_gradient(model, rows, "concat", want)
            for form in (*packed, "masked", "prefilled", "auto"):
                loss, gradient = loss_and_gradient(model, rows, form, want)
                in_loss = max(in_loss, float(abs(loss - loss_1)) / max(1.0, float(abs(loss_1))))
                apart = float((gradient - gradient_1).abs().max() / gradient_1.abs().max())
                in_gradient, cases = max(in_gradient, apart), cases + 1
    return in_loss, in_gradient, cases


JURIST = Path(sys.executable).with_name("jurist")
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
JOB = ["--batch", "16", "--tokens", "512", "--epochs", "2", "--lr", "3e-3"]
MORE = {"ppo": ["--reward", "vowels:share", "--rollout.max_tokens", "6", "--rollout.samples", "2"]}
REWARD = """
def share(prompt, completions):
    return [sum(letter in "aeiou" for letter in one.text) / 10 for one in completions]
"""
WATCHED = ("loss", "reward", "kl_sequence", "policy_loss", "value_loss")


def two_processes_equal_one() -> None:
    """On a CPU `accelerate launch --multi_gpu` starts what `torchrun` does; with `--cpu` it starts one."""
    found, null, steps = 0.0, 1.0, 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        checkpoint(folder / "base")
        (folder / "vowels.py").write_text(REWARD)
        pairs_file(folder / "pairs.jsonl", 170)
        for verb in ("sft", "reward", "dpo", "ppo"):
            one, two = trained([], verb, folder, f"{verb}-1"), trained(LAUNCH, verb, folder, f"{verb}-2")
            found = max(found, apart(one, two))
            null = min(null, apart(one, trained([], verb, folder, f"{verb}-other", seed=1)))
            steps += len((folder / f"{verb}-1" / "metrics.jsonl").read_text().splitlines())
    record(
        "two_processes_equal_one",
        rounded(found),
        null={"one process with another order of the rows, where that makes least": rounded(null)},
        bar=f"no step's loss differs by more than {TOGETHER}",
        holds=found <= TOGETHER < null,
        more={"steps": steps},
    )


def trained(launcher: list[str], verb: str, folder: Path, out: str, seed: int = 0) -> list[float]:
    """The losses of each step; of PPO its reward and KL too."""
    words = ["train", verb, folder / "pairs.jsonl", "--base", folder / "base", "--out", folder / out]
    command = map(str, [*launcher, JURIST, *words, *JOB, "--seed", seed, *MORE.get(verb, [])])
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    env |= {"ACCELERATE_USE_CPU": "true", "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run([*command], env=env, capture_output=True, check=True, timeout=300)
    facts = json.loads((folder / out / "model" / "training.json").read_text())
    assert facts["processes"] == (2 if launcher else 1)
    steps = map(json.loads, (folder / out / "metrics.jsonl").read_text().splitlines())
    return [step[name] for step in steps for name in WATCHED if name in step]


def apart(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_claims(losses_match, shared_prefix_equal, windows_share_prompt, two_processes_equal_one)
