"""Learn from a reward: PPO with a value head, or without one (RLOO, GRPO).

Each step: draw completions and ask for their rewards as they end; read the log-probs of policy and anchor
meanwhile; leave out what got no score; charge the KL to the anchor; take a few clipped updates. The three
methods share everything but the lines in `experience.py` that turn rewards into advantages.

Ziegler et al. 2019 for the KL and its controller, Schulman et al. 2017 for the clipping, Ahmadian et al. 2024
and Shao et al. 2024 for doing without a critic. Left out: a critic network of its own (the head shares the
policy's trunk), an entropy bonus, and completions older than a step.

    jurist train ppo prompts.jsonl --base sft/ --reward reward/ --kl-target 4
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..engines.checkpoints import weights_named
from ..errors import DataError
from ..prompts import load_prompts
from ..prompts.rows import Drop, ignore
from ..records import Prompt
from ..run import read_records
from .actor import Actor
from .anchor import open_anchor
from .batch import Example, tokenise
from .checkpoint import save_checkpoint
from .experience import experience
from .forward import AnswersModel
from .kl import next_beta
from .learn import groups, learn
from .live import rewards_of
from .loop import Loop, Progress, Step, Watch, nobody
from .plan import learns_in, start_from
from .policy import Policy, still
from .ppo_metrics import observed
from .ppo_settings import RLAIF_MOST, PPOConfig
from .rewards import Reward, ScoresMany, refuse_too_many
from .rollout import think, write
from .rows import counting, is_held_out
from .settings import check
from .together import Together


def train_ppo(
    cfg: PPOConfig,
    prompts: Iterable[Prompt] | None = None,
    reward: Reward | ScoresMany | None = None,
    watch: Watch = nobody,
) -> Path:
    """The folder of the policy that has learnt; a run that was killed goes on from its last checkpoint.

    Prompts and reward are those that are given, or else what `cfg.data` and `cfg.reward` name.
    """
    if prompts is None:
        check(cfg, "rloo" if cfg.advantage == "rloo" else "ppo")
    policy = start_from(cfg)
    anchor = open_anchor(cfg.anchor or cfg.base, policy, learns_in(cfg))
    dropped: Counter[str] = Counter()
    given = load(cfg, counting(dropped)) if prompts is None else prompts
    asked, heads = that_fit(given, policy, cfg, dropped)
    actor = Actor(policy.model, with_value=cfg.advantage == "gae", beta=cfg.beta)
    still(actor)  # a LoRA's dropout too
    loop = Loop(
        cfg,
        policy,
        heads,
        [1.0] * len(heads),
        watch,
        actor,
        beside=f"{anchor.hash} {weights_named(cfg.reward)}",
        groups=groups(actor, cfg),
    )
    together = Together(loop.accelerator)
    anchor.to(together.device)
    with rewards_of(cfg, reward, together.rank, together.world) as rewards, loop:
        first, began = loop.done, time.monotonic()
        for step in steps(len(heads), loop, cfg):
            rows = together.share(step.rows)
            with loop.accelerator.autocast():
                written = write(
                    policy,
                    [asked[row] for row in rows],
                    [heads[row] for row in rows],
                    rewards,
                    keys=[f"{cfg.seed} {step.number} {row}" for row in rows],
                    **sampling(cfg, policy),
                )
                thought = think(actor, written, cfg.tokens, cfg.temperature)
                anchor_BT = anchor.logp(written, cfg.tokens, cfg.temperature)
            scored = rewards.collect()
            refuse_too_many(scored, cfg.max_failed, step.number)

            beta = actor.beta.item()
            lived = experience(written, scored, thought, anchor_BT, cfg, beta, together)
            losses = learn(loop, lived, written, step, cfg, together)
            metrics = {**observed(lived, written, scored, together), **losses, "beta": beta}
            actor.beta.fill_(beta_after(beta, metrics, cfg))
            finish_step(loop, step, metrics, (time.monotonic() - began) / (step.number - first))
        loop.model = AnswersModel(policy.model)  # the value head has served
        facts = {"anchor": str(anchor.path), "anchor_hash": anchor.hash, "reward": rewards.name}
        return loop.finish(rows=len(asked), dropped=dict(dropped), **facts)


def load(cfg: PPOConfig, leave: Drop = ignore) -> Iterator[Prompt]:
    """The prompts of a run, or of a file with a column for them; what is left out is told by name."""
    for kept in ("prompts.jsonl", "prompts/train.jsonl"):  # of a run, and of a loop
        if (Path(cfg.data) / kept).exists():
            return read_records(Path(cfg.data) / kept, Prompt)
    return load_prompts(cfg.data, dropped=leave, columns=cfg.columns, on_error=cfg.on_error)


def that_fit(
    prompts: Iterable[Prompt], policy: Policy, cfg: PPOConfig, dropped: Counter[str]
) -> tuple[list[Prompt], list[Example]]:
    """The prompts that leave room for an answer, and their tokens; the others are counted."""
    longest = min(cfg.max_length, policy.longest)
    room = longest - cfg.max_tokens
    both = []
    for prompt in prompts:
        if is_held_out(prompt, cfg.held_out):
            dropped["held_out"] += 1
        else:
            both.append((prompt, tokenise(prompt, (), policy.tokenizer, id=prompt.id)))
    fitting = [(prompt, head) for prompt, head in both if len(head.prompt_ids) <= room]
    if not fitting:
        shortest = min((len(head.prompt_ids) for _, head in both), default=0)
        raise DataError(
            f"of {len(both)} prompts in {cfg.data or 'what was given'} none leaves room for"
            f" {cfg.max_tokens} tokens within {longest}; the shortest has {shortest}."
            f" {way_out(shortest, policy, cfg) if both else f'Look with: head {cfg.data}'}"
        )
    if len(fitting) < len(both):
        dropped["too_long"] += len(both) - len(fitting)
    return [prompt for prompt, _ in fitting], [head for _, head in fitting]


def way_out(shortest: int, policy: Policy, cfg: PPOConfig) -> str:
    """What would leave room after the shortest prompt."""
    if shortest + cfg.max_tokens <= policy.longest:
        return f"Set: --max_length {shortest + cfg.max_tokens}"
    if shortest < policy.longest:
        return f"The base takes {policy.longest}. Set: --max_tokens {policy.longest - shortest}"
    return f"The base takes {policy.longest}. Name one that takes more: --base MODEL"


def sampling(cfg: PPOConfig, policy: Policy) -> dict[str, Any]:
    return {
        "samples": cfg.per_prompt,
        "max_tokens": cfg.max_tokens,
        "temperature": cfg.temperature,
        "rows_at_once": max(1, 8 * cfg.tokens // min(cfg.max_length, policy.longest)),
        "end_ids": policy.ends,
    }


def steps(prompts: int, loop: Loop, cfg: PPOConfig) -> Iterator[Step]:
    """What is left to do: the prompts in a new order each epoch, long and short mixed, in full steps."""
    size = min(cfg.batch, prompts)
    size -= size % loop.world
    if not size:
        raise DataError(
            f"{prompts} prompts, at most {cfg.batch} a step, are too few for {loop.world} processes."
            f" Start with: --batch {loop.world} and as many prompts, or fewer processes"
        )
    order: list[int] = []
    epoch = 0
    for number in range(1, loop.total + 1):
        while len(order) < size:
            again = list(range(prompts))
            random.Random(cfg.seed + 7919 * epoch).shuffle(again)
            order, epoch = order + again, epoch + 1
        rows, order = order[:size], order[size:]
        if number > loop.done:
            yield Step(number, rows)


def beta_after(beta: float, metrics: dict[str, float], cfg: PPOConfig) -> float:
    """What a nat of KL costs from the next step on."""
    if cfg.kl_target is None or not metrics["completions"]:
        return beta
    samples = int(metrics["completions"])
    beta = next_beta(beta, metrics["kl_sequence"], cfg.kl_target, samples, cfg.horizon)
    return min(beta, RLAIF_MOST) if cfg.rlaif else beta


def finish_step(loop: Loop, step: Step, metrics: dict[str, float], seconds: float) -> None:
    """Write it down, keep a checkpoint when it is time, tell whoever watches."""
    loop.done, loop.metrics = step.number, metrics
    loop.write(step.number, metrics)
    due = loop.cfg.save_every and step.number % loop.cfg.save_every == 0
    if due and step.number < loop.total:
        folder = loop.out / "checkpoints"
        save_checkpoint(folder, step.number, loop.fingerprint, loop.model, loop.optimizer, loop.main)
        loop.accelerator.wait_for_everyone()
    if loop.main:
        loop.watch(Progress(step.number, loop.total, seconds * (loop.total - step.number), metrics))
