"""Learn from a reward: PPO with a value head, or without one (RLOO, GRPO).

Each step: sample completions, and ask for their rewards as each prompt's are whole; compute the log-probs of
policy and reference meanwhile; leave out what got no score; charge the KL to the reference; take a few
clipped updates. The three methods share everything but the lines that turn rewards into advantages.

Ziegler et al. 2019 for the KL and its controller, Schulman et al. 2017 for the clipping, Ahmadian et al. 2024
and Shao et al. 2024 for doing without a critic. Left out: a critic network of its own (the head shares the
policy's trunk), an entropy bonus, and completions older than a step.

    jurist train ppo prompts.jsonl --base sft/ --reward reward/ --kl.target 4
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from ..errors import DataError, RunError
from ..policies.checkpoint import disable_dropout
from ..policies.forward import row_slots
from ..policies.policy import Policy
from ..policies.tokens import Example, by_length
from ..policies.writer import Drawing, HFWriter, Rollout, Writer
from ..records import Completion, Prompt
from . import advantages as adv
from .identity import reference_hash
from .processes import Processes
from .rewards import BatchSource, Rewards, RewardSource, Scored, failures, open_rewards, refuse_too_many
from .rows import PromptTokens, prompts_to_learn
from .settings import RLAIF_MOST, PPOConfig, check_training
from .trainer import OnProgress, Trainer, TrainingStep, no_progress, trainable

PPO_LOSSES: Final = ("policy_loss", "value_loss", "clipped")


def train_ppo(
    cfg: PPOConfig,
    prompts: Iterable[Prompt] | None = None,
    reward: RewardSource | BatchSource | None = None,
    on_progress: OnProgress = no_progress,
) -> Path:
    """The folder of the trained policy. Prompts and reward are those given, or what the settings name."""
    if prompts is None:
        check_training(cfg, "rloo" if cfg.advantage == "rloo" else "ppo")
    given = None if prompts is None else list(prompts)
    with Trainer(cfg, given, on_progress) as trainer:
        if trainer.finished:
            return trainer.finished
        policy, processes = trainer.load_base(), trainer.processes
        disable_dropout(policy.model)  # a LoRA's too: the policy that learns is the one that sampled
        if cfg.advantage == "gae":
            policy.add_value_head()
        asked, held_out, dropped = prompts_to_learn(cfg, policy, given)
        trainer.begin(policy, [row for _, row in asked], [1.0] * len(asked), groups(policy, cfg))
        trainer.numbers = {"beta": cfg.kl.beta}
        trainer.resume()
        facts: dict[str, Any] = {"reference_hash": reference_hash(cfg), "rows": len(asked)}
        with open_rewards(cfg, reward, processes) as rewards:
            facts["reward"] = rewards.name
            sampler = Sampler(trainer, writer_for(cfg, policy), rewards)
            if trainer.done == 0:
                measure(sampler, TrainingStep(0, []), held_out)
            for step in trainer.steps(prompt_steps(len(asked), processes.world, cfg)):
                mine = processes.share(step.rows)
                keys = [f"{cfg.seed} {step.number} {row}" for row in mine]
                sample = sampler.draw([asked[row] for row in mine], keys)
                refuse_too_many(sample.scored, cfg.halt.failed, step.number)

                beta = trainer.numbers["beta"]
                batch = make_batch(cfg, sample, beta, processes)
                losses = update(trainer, batch, step)
                metrics = {**sample_metrics(sample, processes), **losses, "beta": beta}
                trainer.numbers["beta"] = beta_after(beta, metrics, cfg)
                trainer.write(step, metrics)
                sampler.writer.sync(policy)
                if trainer.epoch_ends(step):
                    measure(sampler, step, held_out)
                    if why := halts(cfg, trainer.held_out, trainer.numbers):
                        print(f"jurist: training ends at step {step.number}: {why}", file=sys.stderr)
                        trainer.total, facts["halted"] = step.number, why
        return trainer.finish(dropped=dropped, **facts)


def groups(policy: Policy, cfg: PPOConfig) -> list[dict[str, Any]]:
    """The weights that are trained: the value head at a rate of its own."""
    found: list[dict[str, Any]] = [{"params": trainable(policy.model)}]
    if policy.value_head is not None:
        rate = cfg.value.lr
        found.append({"params": trainable(policy.value_head), "lr": rate, "peak": rate})
    return found


def prompt_steps(prompts: int, world: int, cfg: PPOConfig) -> Iterator[list[int]]:
    """The prompts in a new order each epoch, long and short mixed, in full steps."""
    size = min(cfg.batch, prompts)
    size -= size % world
    if not size:
        raise DataError(
            f"{prompts} prompts, at most {cfg.batch} a step, are too few for {world} processes."
            f" Start with: --batch {world} and as many prompts, or fewer processes"
        )
    order: list[int] = []
    epoch = 0
    while True:
        while len(order) < size:
            again = list(range(prompts))
            random.Random(cfg.seed + 7919 * epoch).shuffle(again)
            order, epoch = order + again, epoch + 1
        yield order[:size]
        order = order[size:]


def writer_for(cfg: PPOConfig, policy: Policy) -> Writer:
    """Who samples from the policy."""
    if cfg.rollout.writer == "vllm":
        from ..policies.vllm import open_vllm

        return open_vllm(policy, cfg.rollout.url)
    return HFWriter(policy)


@dataclass
class Sample:
    """The completions of a step in this process: a prompt's samples stand together. `B` of up to `T`
    tokens."""

    rows: list[Example]
    """Each prompt with one answer alone."""
    prompts: list[int]
    """Which prompt of the step each answers."""
    completions: list[Completion]
    scored: list[Scored]
    logp_BT: Tensor
    """Of each token its log-prob under the policy that sampled it."""
    ref_BT: Tensor
    """Under the reference policy."""
    value_BT: Tensor
    """What the value head expected where it was sampled."""

    def only(self, kept: Sequence[int]) -> Sample:
        lists: Any = (self.rows, self.prompts, self.completions, self.scored)
        tensors = (self.logp_BT, self.ref_BT, self.value_BT)
        return Sample(*([one[row] for row in kept] for one in lists), *(one[kept] for one in tensors))

    def grouped(self, rows: Sequence[int]) -> list[Example]:
        """Neighbours that answer the same prompt as one row with several answers."""
        parts = [list(part) for _, part in groupby(rows, key=self.prompts.__getitem__)]
        return [
            replace(self.rows[part[0]], answers=[self.rows[row].answers[0] for row in part]) for part in parts
        ]

    @property
    def tokens_B(self) -> Tensor:
        return torch.tensor([len(row.answers[0]) for row in self.rows])

    @property
    def mask_BT(self) -> Tensor:
        return (torch.arange(self.logp_BT.shape[1])[None] < self.tokens_B[:, None]).float()

    @property
    def kl_BT(self) -> Tensor:
        return adv.k1(self.logp_BT, self.ref_BT) * self.mask_BT


class Sampler:
    """Draws completions and asks for their rewards, and what policy and reference make of them."""

    def __init__(self, trainer: Trainer[PPOConfig], writer: Writer, rewards: Rewards) -> None:
        self.trainer, self.writer, self.rewards = trainer, writer, rewards
        cfg, policy = trainer.cfg, trainer.policy
        # Below an adapter on the very same weights it is switched off: that needs no second copy.
        self._below = bool(cfg.lora) and reference_hash(cfg) == policy.hash
        self._reference = trainer.module if self._below else trainer.load_reference(cfg.reference or cfg.base)
        writer.sync(policy)

    def draw(self, asked: Sequence[PromptTokens], keys: Sequence[str]) -> Sample:
        """The reward of a prompt's completions is asked for as soon as they are whole."""
        cfg, policy = self.trainer.cfg, self.trainer.policy
        ended: dict[int, list[Rollout]] = {}
        texts: dict[int, list[Completion]] = {}
        how = Drawing(cfg.rollout.max_tokens, policy.ends, cfg.rollout.temperature)
        try:
            with self.trainer.accelerator.autocast():
                ids = [row.prompt_ids for _, row in asked]
                for rollout in self.writer.write(ids, cfg.samples, how, keys):
                    some = ended.setdefault(rollout.prompt, [])
                    some.append(rollout)
                    if len(some) == cfg.samples:
                        prompt = asked[rollout.prompt][0]
                        some.sort(key=lambda one: one.sample)
                        texts[rollout.prompt] = [completion_of(prompt, one, policy.tokenizer) for one in some]
                        self.rewards.start(rollout.prompt, prompt, texts[rollout.prompt])
        except torch.OutOfMemoryError:
            raise RunError(
                f"out of memory while sampling {len(asked)} x {cfg.samples} completions."
                f" Set: --batch {max(1, cfg.batch // 2)}, or a smaller --rollout.max_tokens"
            ) from None
        order = range(len(asked))
        rows = [replace(asked[at][1], answers=[one.ids]) for at in order for one in ended[at]]
        prompts = [at for at in order for _ in ended[at]]
        nothing_BT = torch.zeros(len(rows), max(len(row.answers[0]) for row in rows))
        flat = [text for at in order for text in texts[at]]
        sample = Sample(rows, prompts, flat, [], nothing_BT, nothing_BT, nothing_BT)
        sample.logp_BT, sample.value_BT = self._read(self.trainer.module, sample, wanted(cfg))
        with policy.model.disable_adapter() if self._below else nullcontext():
            sample.ref_BT, _ = self._read(self._reference, sample, ("logprobs",))
        sample.scored = [one for some in self.rewards.collect() for one in some]
        return sample

    @torch.no_grad()
    def _read(self, module: nn.Module, sample: Sample, want: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Log-probs and values of the tokens, pass by pass."""
        was_training = module.training
        module.eval()

        def attempt(tokens: int) -> tuple[Tensor, Tensor]:
            logp_BT, value_BT = torch.zeros_like(sample.logp_BT), torch.zeros_like(sample.logp_BT)
            for part in passes(self.trainer, sample, range(len(sample.rows)), tokens):
                with self.trainer.accelerator.autocast():
                    stats = module(sample.grouped(part or [0]), want, self.trainer.cfg.rollout.temperature)
                width = stats.logprobs_AT.shape[1]
                if part:
                    logp_BT[part, :width] = stats.logprobs_AT.float().cpu()
                if part and stats.value_AT is not None:
                    value_BT[part, :width] = stats.value_AT.float().cpu()
            return logp_BT, value_BT

        found = self.trainer.within_memory(attempt)
        module.train(was_training)
        return found


def completion_of(prompt: Prompt, rollout: Rollout, tokenizer: Any) -> Completion:
    text = tokenizer.decode(rollout.ids, skip_special_tokens=True).strip()
    return Completion.of(prompt.id, text, finish=rollout.finish, tokens=len(rollout.ids))


def wanted(cfg: PPOConfig) -> tuple[str, ...]:
    """What of a pass over the policy."""
    return ("logprobs", "value") if cfg.advantage == "gae" else ("logprobs",)


def passes(trainer: Trainer[PPOConfig], sample: Sample, rows: Iterable[int], tokens: int) -> list[list[int]]:
    """These rows in parts of like length, the completions of one prompt together so that they share it."""
    model = trainer.policy.model
    groups: list[list[int]] = []
    for row in sorted(rows, key=sample.prompts.__getitem__):
        # A prompt's samples that are too many for one pass: it is then computed as often.
        same = groups and sample.prompts[groups[-1][-1]] == sample.prompts[row]
        if same and row_slots(model, *sample.grouped([*groups[-1], row])) <= tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    sizes = [row_slots(model, *sample.grouped(group)) for group in groups]
    parts = [[row for place in part for row in groups[place]] for part in by_length(sizes, tokens)]
    return trainer.same_number(parts)


@dataclass
class Batch:
    """What the policy is updated on: the completions that have a score."""

    sample: Sample
    advantage_BT: Tensor
    return_BT: Tensor
    spare: list[Example]
    """A row to pass where this process has none."""


def make_batch(cfg: PPOConfig, sample: Sample, beta: float, processes: Processes) -> Batch:
    """Leave out what has no score; charge the KL to the reference; how much better than expected was it?"""
    spare = sample.rows[:1]
    sample = sample.only([row for row, one in enumerate(sample.scored) if one.score is not None])
    kl_BT, mask_BT = sample.kl_BT, sample.mask_BT
    score_B = penalised(cfg, sample, processes)
    share = 1.0 - beta if cfg.kl.rlaif else 1.0
    if cfg.advantage == "gae":
        reward_BT = adv.shaped_rewards(score_B, kl_BT, mask_BT, beta, share)
        advantage_BT, return_BT = adv.gae(reward_BT, sample.value_BT, mask_BT, lam=cfg.value.lam)
        moments_3 = processes.sum(adv.moments(advantage_BT, mask_BT))
        return Batch(sample, adv.whiten(advantage_BT, mask_BT, moments_3), return_BT, spare)
    group_B = torch.tensor(sample.prompts)
    advantage_BT = adv.group_advantages(cfg.advantage, score_B, kl_BT, mask_BT, group_B, beta, share)
    return Batch(sample, advantage_BT, torch.zeros_like(advantage_BT), spare)


def penalised(cfg: PPOConfig, sample: Sample, processes: Processes) -> Tensor:
    """The score as it is learnt from: normalised, cut-off answers and length charged for, where asked."""
    score_B = torch.tensor([one.score or 0.0 for one in sample.scored])
    if cfg.penalty.whiten:
        ones_B = torch.ones_like(score_B)
        score_B = adv.whiten(score_B, ones_B, processes.sum(adv.moments(score_B, ones_B)))
    if cfg.penalty.unfinished:
        cut_off_B = torch.tensor([float(one.finish == "length") for one in sample.completions])
        score_B = score_B - cfg.penalty.unfinished * cut_off_B
    if cfg.penalty.length:
        # Lengths of all processes: each must subtract the same.
        among_N = torch.tensor(processes.gather(sample.tokens_B.tolist()), dtype=torch.float)
        score_B = adv.length_penalised(score_B, sample.tokens_B.float(), cfg.penalty.length, among_N)
    return score_B


def update(trainer: Trainer[PPOConfig], batch: Batch, step: TrainingStep) -> dict[str, float]:
    """The clipped updates of a step; means of the losses over its tokens."""
    optim = trainer.cfg.optim
    order = list(range(len(batch.sample.rows)))
    rng = random.Random(trainer.cfg.seed * 1_000_003 + step.number)
    noted: list[dict[str, float]] = []
    for _ in range(optim.passes):
        rng.shuffle(order)
        for number in range(optim.minibatches):
            noted += clipped_update(trainer, batch, order[number :: optim.minibatches], step)
    means = {name: sum(one[name] for one in noted) / max(len(noted), 1) for name in PPO_LOSSES}
    norm = max((one["grad_norm"] for one in noted), default=0.0)
    return {**means, "grad_norm": norm, "lr": trainer.rate(step)}


def clipped_update(
    trainer: Trainer[PPOConfig], batch: Batch, rows: Sequence[int], step: TrainingStep
) -> list[dict[str, float]]:
    """One update on these rows, and what is noted of it; none where no process has a token."""
    cfg, processes, sample = trainer.cfg, trainer.processes, batch.sample
    clip, mask_BT = cfg.optim.clip, sample.mask_BT
    weight = cfg.value.weight if cfg.advantage == "gae" else 0.0
    tokens = processes.sum(mask_BT[rows].sum()).item()
    if tokens == 0:
        return []
    sums_3 = torch.zeros(3)

    def parts(limit: int) -> list[list[int]]:
        sums_3.zero_()
        return passes(trainer, sample, rows, limit)

    def loss_of(part: list[int]) -> Tensor:
        some = sample.grouped(part) if part else batch.spare
        stats = trainer.module(some, wanted(cfg), cfg.rollout.temperature)
        logp_BT = stats.logprobs_AT
        value_BT = torch.zeros_like(logp_BT) if stats.value_AT is None else stats.value_AT
        if not part:  # a process with nothing left takes part all the same: the others would wait for it
            return 0.0 * (logp_BT.sum() + value_BT.sum())
        old_BT, old_value_BT, advantage_BT, return_BT, here_BT = (
            whole_BT[part, : logp_BT.shape[1]].to(logp_BT.device)
            for whole_BT in (sample.logp_BT, sample.value_BT, batch.advantage_BT, batch.return_BT, mask_BT)
        )
        policy = adv.clipped_policy(logp_BT, old_BT, advantage_BT, here_BT, clip)
        value = adv.clipped_value(value_BT, old_value_BT, return_BT, here_BT, clip)
        clipped = adv.clip_fraction(logp_BT.detach(), old_BT, here_BT, clip)
        sums_3.add_(torch.stack([policy.detach(), value.detach(), clipped]).float().cpu())
        return (policy + weight * value) / tokens

    trainer.gradient(parts, loss_of)
    losses = dict(zip(PPO_LOSSES, (processes.sum(sums_3) / tokens).tolist(), strict=True))
    return [{**losses, "grad_norm": trainer.update(step, losses)}]


def beta_after(beta: float, metrics: dict[str, float], cfg: PPOConfig) -> float:
    """What a nat of KL costs from the next step on."""
    if cfg.kl.target is None or not metrics["completions"]:
        return beta
    samples = int(metrics["completions"])
    beta = adv.next_beta(beta, metrics["kl_sequence"], cfg.kl.target, samples, cfg.kl.horizon)
    return min(beta, RLAIF_MOST) if cfg.kl.rlaif else beta


def sample_metrics(sample: Sample | None, processes: Processes) -> dict[str, float]:
    """Means over the completions of all processes; of those with a score, where a score is meant.

    `kl_*` are k1 and `kl3_*` k3, of the policy that sampled the completions: before it learns from them.
    """
    sums = torch.zeros(10, dtype=torch.float64)
    if sample is not None:
        kept = sample.only([row for row, one in enumerate(sample.scored) if one.score is not None])
        score_B = torch.tensor([one.score or 0.0 for one in kept.scored], dtype=torch.float64)
        mask_BT = kept.mask_BT
        cut_off = sum(one.finish == "length" for one in sample.completions)
        sums = torch.stack(
            [
                torch.tensor(float(len(sample.rows))),
                torch.tensor(float(len(kept.rows))),
                torch.tensor(float(cut_off)),
                score_B.sum(),
                score_B.square().sum(),
                mask_BT.sum(),
                kept.kl_BT.sum(),
                (adv.k3(kept.logp_BT, kept.ref_BT) * mask_BT).sum(),
                (kept.logp_BT * mask_BT).sum(),
                torch.tensor(float(failures(sample.scored).total())),
            ]
        ).double()
    drawn, rows, cut, total, squares, tokens, k1, k3, logp, failed = processes.sum(sums).tolist()
    completions, rows, tokens = rows, max(rows, 1.0), max(tokens, 1.0)
    return {
        "reward": total / rows,
        "reward_std": max(squares / rows - (total / rows) ** 2, 0.0) ** 0.5,
        "kl_token": k1 / tokens,
        "kl_sequence": k1 / rows,
        "kl3_token": k3 / tokens,
        "kl3_sequence": k3 / rows,
        "entropy": -logp / tokens,
        "tokens": tokens / rows,
        "unfinished": cut / max(drawn, 1.0),
        "completions": completions,
        "failed": failed,
    }


def measure(sampler: Sampler, step: TrainingStep, held_out: Sequence[PromptTokens]) -> None:
    """The same numbers on prompts that are not learnt from, always with the same random numbers."""
    trainer, processes = sampler.trainer, sampler.trainer.processes
    # Where weights are sharded each process has to take part: as many prompts each.
    fewer = len(held_out) % processes.world if trainer.sharded else 0
    rows = range(len(held_out) - fewer)
    if not rows:
        return
    mine = processes.share(rows)
    keys = [f"{trainer.cfg.seed} held_out {row}" for row in mine]
    sample = sampler.draw([held_out[row] for row in mine], keys) if mine else None
    trainer.write_held_out(step, len(rows), sample_metrics(sample, processes))


def halts(cfg: PPOConfig, held_out: dict[str, float], numbers: dict[str, float]) -> str:
    """Why training ends early, by what is measured on held-out prompts; `numbers` keeps the best."""
    if not held_out:
        return ""
    reward, error = held_out["reward"], held_out["reward_std"] / max(held_out["completions"], 1.0) ** 0.5
    if cfg.halt.kl is not None and held_out["kl_sequence"] > cfg.halt.kl:
        return f"the KL on held-out prompts is {held_out['kl_sequence']:.3g}, above halt.kl {cfg.halt.kl:g}"
    best, best_error = numbers.get("best", reward), numbers.get("best_error", error)
    if cfg.halt.worse and best - reward > 1.96 * (error**2 + best_error**2) ** 0.5:
        return f"the held-out reward fell significantly, from {best:.3g} to {reward:.3g}"
    if reward >= best:
        numbers.update(best=reward, best_error=error)
    return ""
