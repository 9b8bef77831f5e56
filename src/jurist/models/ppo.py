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
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from msgspec.structs import replace
from torch import Tensor, nn

from ..errors import DataError, RunError
from ..policies.checkpoint import disable_dropout
from ..policies.forward import row_slots
from ..policies.policy import Policy
from ..policies.tokens import Example, by_length, tokenise_many
from ..policies.writer import Drawing, HFWriter, Rollout, Writer
from ..prompts import load_prompts
from ..prompts.rows import Drop, ignore
from ..records import Completion, Prompt
from ..run import read_records
from . import advantages as adv
from .processes import Processes
from .rewards import BatchSource, Rewards, RewardSource, Scored, failures, open_rewards, refuse_too_many
from .rows import counting, is_held_out
from .settings import RLAIF_MOST, PPOConfig, check
from .trainer import OnProgress, Step, Trainer, no_progress, trainable

Asked = tuple[Prompt, Example]
"""A prompt and its tokens."""


def train_ppo(
    cfg: PPOConfig,
    prompts: Iterable[Prompt] | None = None,
    reward: RewardSource | BatchSource | None = None,
    on_progress: OnProgress = no_progress,
) -> Path:
    """The folder of the trained policy. Prompts and reward are those given, or what the settings name."""
    if prompts is None:
        check(cfg, "rloo" if cfg.advantage == "rloo" else "ppo")
    given = None if prompts is None else list(prompts)
    with Trainer(cfg, given, on_progress) as trainer:
        if trainer.finished:
            return trainer.finished
        policy = trainer.load_base()
        disable_dropout(policy.model)  # a LoRA's too: the policy that learns is the one that sampled
        if cfg.advantage == "gae":
            policy.add_value_head()
        ref_hash = policy.open_reference(cfg.reference or cfg.base, **trainer.loading)
        dropped: Counter[str] = Counter()
        asked, held_out = prompts_to_ask(cfg, policy, given, dropped)
        trainer.begin(policy, [row for _, row in asked], [1.0] * len(asked), groups(policy, cfg))
        reference = trainer.module if policy.reference_copy is None else trainer.place(policy.reference_copy)
        trainer.numbers = {"beta": cfg.kl.beta}
        trainer.resume()
        writer = writer_for(cfg, policy)
        writer.sync(policy)
        processes, facts = trainer.processes, {"reference_hash": ref_hash, "rows": len(asked)}
        with open_rewards(cfg, reward, processes) as rewards:
            facts["reward"] = rewards.name
            if trainer.done == 0:
                measure(trainer, Step(0, []), writer, rewards, reference, held_out)
            for step in trainer.steps(prompt_steps(len(asked), processes.world, cfg)):
                mine = processes.share(step.rows)
                keys = [f"{cfg.seed} {step.number} {row}" for row in mine]
                drawn = sample(trainer, writer, rewards, [asked[row] for row in mine], keys)
                stats = score_tokens(trainer, reference, drawn)
                scored = [one for some in rewards.collect() for one in some]
                refuse_too_many(scored, cfg.halt.failed, step.number)

                beta = trainer.numbers["beta"]
                batch = make_batch(cfg, drawn, scored, stats, beta, processes)
                losses = update(trainer, batch, step)
                metrics = {**batch_metrics(batch, drawn, scored, processes), **losses, "beta": beta}
                trainer.numbers["beta"] = beta_after(beta, metrics, cfg)
                trainer.write(step, metrics)
                writer.sync(policy)
                if trainer.epoch_ends(step):
                    measure(trainer, step, writer, rewards, reference, held_out)
                    if why := halts(cfg, trainer.held_out, trainer.numbers):
                        print(f"jurist: training ends at step {step.number}: {why}", file=sys.stderr)
                        trainer.total, facts["halted"] = step.number, why
        policy.value_head = None  # it has served
        return trainer.finish(dropped=dict(dropped), **facts)


def load(cfg: PPOConfig, dropped: Drop = ignore) -> Iterator[Prompt]:
    """The prompts of a run, or of a file with a column for them; what is left out is counted."""
    for kept in ("prompts.jsonl", "prompts/train.jsonl"):  # of a run, and of a loop
        if (Path(cfg.data) / kept).exists():
            return read_records(Path(cfg.data) / kept, Prompt)
    return load_prompts(cfg.data, dropped=dropped, columns=cfg.columns, on_error=cfg.on_error)


def prompts_to_ask(
    cfg: PPOConfig, policy: Policy, prompts: Iterable[Prompt] | None, dropped: Counter[str]
) -> tuple[list[Asked], list[Asked]]:
    """The prompts that leave room for an answer, with their tokens: those learnt from, and those held out."""
    read = list(load(cfg, counting(dropped)) if prompts is None else prompts)
    tokens = tokenise_many(((one, (), {"id": one.id}) for one in read), policy.tokenizer)
    longest = min(cfg.max_length, policy.max_positions)
    most = cfg.rollout.max_tokens
    both = list(zip(read, tokens, strict=True))
    fitting = [one for one in both if len(one[1].prompt_ids) + most <= longest]
    asked = [one for one in fitting if not is_held_out(one[0], cfg.held_out)]
    if not asked:
        shortest = min((len(row.prompt_ids) for _, row in both), default=0)
        if shortest + most <= policy.max_positions:
            way_out = f"Set: --max_length {shortest + most}"
        elif shortest < policy.max_positions:
            left = policy.max_positions - shortest
            way_out = f"The base takes {policy.max_positions}. Set: --rollout.max_tokens {left}"
        else:
            way_out = f"The base takes {policy.max_positions}. Name one that takes more: --base MODEL"
        if fitting:
            way_out = f"Hold fewer out: --held_out {cfg.held_out / 4:.2g}"
        raise DataError(
            f"of {len(both)} prompts in {cfg.data or 'what was given'} none leaves room for {most} tokens"
            f" within {longest}; the shortest has {shortest}."
            f" {way_out if both else f'Look with: head {cfg.data}'}"
        )
    dropped["too_long"] += len(both) - len(fitting)
    dropped["held_out"] += len(fitting) - len(asked)
    dropped += Counter()  # without those that are 0
    return asked, [one for one in fitting if is_held_out(one[0], cfg.held_out)]


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
        from ..policies.vllm import VLLMWriter

        url = cfg.rollout.url
        writer: Writer = VLLMWriter(url) if url else VLLMWriter(model=policy.path)
        return writer
    return HFWriter(policy)


@dataclass
class Drawn:
    """The completions of a step in this process: a prompt's samples stand together."""

    rows: list[Example]
    """Each prompt with one answer alone."""
    prompts: list[int]
    """Which prompt of the step each answers."""
    completions: list[Completion]

    def only(self, kept: Sequence[int]) -> Drawn:
        return Drawn(*([one[row] for row in kept] for one in (self.rows, self.prompts, self.completions)))

    def grouped(self, rows: Sequence[int]) -> list[Example]:
        """Neighbours that answer the same prompt as one row with several answers."""
        parts = [list(part) for _, part in groupby(rows, key=self.prompts.__getitem__)]
        return [
            replace(self.rows[part[0]], answers=[self.rows[row].answers[0] for row in part]) for part in parts
        ]

    @property
    def tokens_B(self) -> Tensor:
        return torch.tensor([len(row.answers[0]) for row in self.rows], dtype=torch.long)


def sample(
    trainer: Trainer, writer: Writer, rewards: Rewards, asked: Sequence[Asked], keys: Sequence[str]
) -> Drawn:
    """Draw completions; the reward of a prompt's is asked for as soon as they are whole."""
    cfg, policy = trainer.cfg, trainer.policy
    assert isinstance(cfg, PPOConfig)
    whole: dict[int, list[Completion]] = {}
    some: dict[int, list[Rollout]] = {}

    def on_end(rollout: Rollout) -> None:
        ended = some.setdefault(rollout.prompt, [])
        ended.append(rollout)
        if len(ended) == cfg.samples and rollout.prompt not in whole:
            prompt = asked[rollout.prompt][0]
            whole[rollout.prompt] = [
                Completion.of(
                    prompt.id,
                    policy.tokenizer.decode(one.ids, skip_special_tokens=True).strip(),
                    finish=one.finish,
                    tokens=len(one.ids),
                )
                for one in sorted(ended, key=lambda one: one.sample)
            ]
            rewards.start(rollout.prompt, prompt, whole[rollout.prompt])

    how = Drawing(cfg.rollout.max_tokens, policy.ends, cfg.rollout.temperature)
    try:
        with trainer.accelerator.autocast():
            ids = [row.prompt_ids for _, row in asked]
            rollouts = writer.write(ids, cfg.samples, how, keys=keys, on_end=on_end)
    except torch.OutOfMemoryError:
        raise RunError(
            f"out of memory while sampling {len(asked)} x {cfg.samples} completions, at step {trainer.done + 1}."
            f" Set: --batch {max(1, cfg.batch // 2)}, or a smaller --rollout.max_tokens"
        ) from None
    flat = [one for some in rollouts for one in some]
    return Drawn(
        [replace(asked[one.prompt][1], answers=[one.ids]) for one in flat],
        [one.prompt for one in flat],
        [one for prompt in range(len(asked)) for one in whole[prompt]],
    )


class Scores(NamedTuple):
    """Of each sampled token its log-prob under policy and reference, and the value of where it was
    sampled."""

    logp_BT: Tensor
    ref_BT: Tensor
    value_BT: Tensor


@torch.no_grad()
def score_tokens(trainer: Trainer, reference: nn.Module, drawn: Drawn) -> Scores:
    """Pass by pass, padded to the longest, on the CPU; before the policy learns from them."""
    cfg = trainer.cfg
    assert isinstance(cfg, PPOConfig)
    shape = (len(drawn.rows), int(drawn.tokens_B.max()))

    def read(module: nn.Module, want: Sequence[str]) -> tuple[Tensor, Tensor]:
        module.eval()

        def attempt(tokens: int) -> tuple[Tensor, Tensor]:
            logp_BT, value_BT = torch.zeros(shape), torch.zeros(shape)
            for part in passes(trainer, drawn, range(shape[0]), tokens):
                with trainer.accelerator.autocast():
                    stats = module(drawn.grouped(part or [0]), want, cfg.rollout.temperature)
                width = stats.logprobs_AT.shape[1]
                if part:
                    logp_BT[part, :width] = stats.logprobs_AT.float().cpu()
                if part and stats.value_AT is not None:
                    value_BT[part, :width] = stats.value_AT.float().cpu()
            return logp_BT, value_BT

        return trainer.within_memory(attempt)

    logp_BT, value_BT = read(trainer.module, wanted(cfg))
    with trainer.policy.reference():
        ref_BT, _ = read(reference, ("logprobs",))
    trainer.module.train()
    return Scores(logp_BT, ref_BT, value_BT)


def wanted(cfg: PPOConfig) -> tuple[str, ...]:
    return ("logprobs", "value") if cfg.advantage == "gae" else ("logprobs",)


def passes(trainer: Trainer, drawn: Drawn, rows: Iterable[int], tokens: int) -> list[list[int]]:
    """These rows in parts of like length, the completions of one prompt together so that they share it."""
    model = trainer.policy.model
    groups: list[list[int]] = []
    for row in sorted(rows, key=drawn.prompts.__getitem__):
        # A prompt's samples that are too many for one pass: it is then computed as often.
        same = groups and drawn.prompts[groups[-1][-1]] == drawn.prompts[row]
        if same and row_slots(model, *drawn.grouped([*groups[-1], row])) <= tokens:
            groups[-1].append(row)
        else:
            groups.append([row])
    sizes = [row_slots(model, *drawn.grouped(group)) for group in groups]
    parts = [[row for place in part for row in groups[place]] for part in by_length(sizes, tokens)]
    return trainer.same_number(parts)


@dataclass
class Batch:
    """The completions of this process that have a score, `B` of them, padded to the longest of `T` tokens."""

    drawn: Drawn
    spare: Example
    """A row to pass where this process has none."""
    raw_B: Tensor
    """What the source gave."""
    logp_BT: Tensor
    value_BT: Tensor
    mask_BT: Tensor
    kl_BT: Tensor
    """k1 at each token, of the policy that sampled them."""
    k3_BT: Tensor
    advantage_BT: Tensor
    return_BT: Tensor


def make_batch(
    cfg: PPOConfig, drawn: Drawn, scored: Sequence[Scored], stats: Scores, beta: float, processes: Processes
) -> Batch:
    """Leave out what has no score; charge the KL to the reference; how much better than expected was it?"""
    kept = [row for row, one in enumerate(scored) if one.score is not None]
    raw_B = torch.tensor([scored[row].score or 0.0 for row in kept])
    logp_BT, ref_BT, value_BT = (whole_BT[kept] for whole_BT in stats)
    spare, drawn = drawn.rows[0], drawn.only(kept)
    mask_BT = (torch.arange(logp_BT.shape[1])[None] < drawn.tokens_B[:, None]).float()
    score_B = penalised(cfg, raw_B, drawn, processes)
    kl_BT = adv.k1(logp_BT, ref_BT) * mask_BT
    share = 1.0 - beta if cfg.kl.rlaif else 1.0
    if cfg.advantage == "gae":
        reward_BT = adv.shaped_rewards(score_B, kl_BT, mask_BT, beta, share)
        advantage_BT, return_BT = adv.gae(reward_BT, value_BT, mask_BT, lam=cfg.value.lam)
        moments_3 = processes.sum(adv.moments(advantage_BT, mask_BT))
        advantage_BT = adv.whiten(advantage_BT, mask_BT, moments_3)
    else:
        group_B = torch.tensor(drawn.prompts)
        advantage_BT = adv.group_advantages(cfg.advantage, score_B, kl_BT, mask_BT, group_B, beta, share)
        return_BT = torch.zeros_like(advantage_BT)
    k3_BT = adv.k3(logp_BT, ref_BT) * mask_BT
    return Batch(drawn, spare, raw_B, logp_BT, value_BT, mask_BT, kl_BT, k3_BT, advantage_BT, return_BT)


def penalised(cfg: PPOConfig, raw_B: Tensor, drawn: Drawn, processes: Processes) -> Tensor:
    """The score as it is learnt from: normalised, cut-off answers and length charged for, where asked."""
    score_B = raw_B
    if cfg.penalty.whiten:
        ones_B = torch.ones_like(score_B)
        score_B = adv.whiten(score_B, ones_B, processes.sum(adv.moments(score_B, ones_B)))
    if cfg.penalty.unfinished:
        cut_off_B = torch.tensor([one.finish == "length" for one in drawn.completions], dtype=torch.float)
        score_B = score_B - cfg.penalty.unfinished * cut_off_B
    if cfg.penalty.length:
        # Lengths of all processes: each must subtract the same.
        among_N = torch.tensor(processes.gather(drawn.tokens_B.tolist()), dtype=torch.float)
        score_B = adv.length_penalised(score_B, drawn.tokens_B.float(), cfg.penalty.length, among_N)
    return score_B


def update(trainer: Trainer, batch: Batch, step: Step) -> dict[str, float]:
    """The clipped updates of a step; means of the losses over its tokens."""
    cfg, processes = trainer.cfg, trainer.processes
    assert isinstance(cfg, PPOConfig)
    noted: list[dict[str, float]] = []
    order = list(range(len(batch.drawn.rows)))
    rng = random.Random(cfg.seed * 1_000_003 + step.number)
    for _ in range(cfg.optim.passes):
        rng.shuffle(order)
        for number in range(cfg.optim.minibatches):
            rows = order[number :: cfg.optim.minibatches]
            tokens = processes.sum(batch.mask_BT[rows].sum()).item()
            if tokens == 0:
                continue
            sums_3 = torch.zeros(3)

            def parts(limit: int, rows: list[int] = rows, sums_3: Tensor = sums_3) -> list[list[int]]:
                sums_3.zero_()
                return passes(trainer, batch.drawn, rows, limit)

            def loss_of(part: list[int], tokens: float = tokens, sums_3: Tensor = sums_3) -> Tensor:
                loss, some_3 = clipped_losses(trainer, batch, part)
                sums_3.add_(some_3)
                return loss / tokens

            trainer.gradient(parts, loss_of)
            means = (processes.sum(sums_3) / tokens).tolist()
            losses = dict(zip(("policy_loss", "value_loss", "clipped"), means, strict=True))
            noted.append({**losses, "grad_norm": trainer.update(step, losses)})
    count = max(len(noted), 1)
    found = {
        name: sum(one[name] for one in noted) / count for name in ("policy_loss", "value_loss", "clipped")
    }
    norm = max((one["grad_norm"] for one in noted), default=0.0)
    return {**found, "grad_norm": norm, "lr": trainer.rate(step)}


def clipped_losses(trainer: Trainer, batch: Batch, part: list[int]) -> tuple[Tensor, Tensor]:
    """The loss of these rows, summed over their tokens, and the sums of policy loss, value loss and
    clipping."""
    cfg = trainer.cfg
    assert isinstance(cfg, PPOConfig)
    rows = batch.drawn.grouped(part) if part else [batch.spare]
    stats = trainer.module(rows, wanted(cfg), cfg.rollout.temperature)
    logp_BT, value_BT = stats.logprobs_AT, stats.value_AT
    if not part:
        return 0.0 * (logp_BT.sum() + (0.0 if value_BT is None else value_BT.sum())), torch.zeros(3)
    width, clip = logp_BT.shape[1], cfg.optim.clip
    old_BT, old_value_BT, advantage_BT, return_BT, mask_BT = (
        whole_BT[part, :width].to(logp_BT.device)
        for whole_BT in (batch.logp_BT, batch.value_BT, batch.advantage_BT, batch.return_BT, batch.mask_BT)
    )
    policy = adv.clipped_policy(logp_BT, old_BT, advantage_BT, mask_BT, clip)
    value = torch.zeros_like(policy)
    if value_BT is not None:
        value = adv.clipped_value(value_BT, old_value_BT, return_BT, mask_BT, clip)
    clipped = adv.clip_fraction(logp_BT.detach(), old_BT, mask_BT, clip)
    sums_3 = torch.stack([policy.detach(), value.detach(), clipped]).float().cpu()
    return policy + cfg.value.weight * value, sums_3


def beta_after(beta: float, metrics: dict[str, float], cfg: PPOConfig) -> float:
    """What a nat of KL costs from the next step on."""
    if cfg.kl.target is None or not metrics["completions"]:
        return beta
    samples = int(metrics["completions"])
    beta = adv.next_beta(beta, metrics["kl_sequence"], cfg.kl.target, samples, cfg.kl.horizon)
    return min(beta, RLAIF_MOST) if cfg.kl.rlaif else beta


def batch_metrics(
    batch: Batch, drawn: Drawn, scored: Sequence[Scored], processes: Processes
) -> dict[str, float]:
    """Means over the step's completions in all processes.

    `kl_*` are k1 and `kl3_*` k3, of the policy that sampled the completions: before it learns from them.
    """
    mask_BT = batch.mask_BT
    sums = torch.stack(
        [
            torch.tensor(float(len(batch.drawn.rows))),
            mask_BT.sum(),
            batch.raw_B.sum(),
            batch.raw_B.square().sum(),
            batch.kl_BT.sum(),
            batch.k3_BT.sum(),
            (batch.logp_BT * mask_BT).sum(),
            torch.tensor(float(sum(one.finish == "length" for one in drawn.completions))),
            torch.tensor(float(len(drawn.rows))),
            torch.tensor(float(failures(scored).total())),
            ((batch.return_BT - batch.value_BT).square() * mask_BT).sum(),
        ]
    ).double()
    kept, tokens, total, squares, k1, k3, logp, unfinished, all_drawn, failed, missed = processes.sum(
        sums
    ).tolist()
    rows, slots = max(kept, 1.0), max(tokens, 1.0)
    mean = total / rows
    return {
        "reward": mean,
        "reward_std": max(squares / rows - mean * mean, 0.0) ** 0.5,
        "kl_token": k1 / slots,
        "kl_sequence": k1 / rows,
        "kl3_token": k3 / slots,
        "kl3_sequence": k3 / rows,
        "entropy": -logp / slots,
        "tokens": tokens / rows,
        "unfinished": unfinished / max(all_drawn, 1.0),
        "completions": kept,
        "failed": failed,
        "value_error": (missed / slots) ** 0.5,
    }


def measure(
    trainer: Trainer,
    step: Step,
    writer: Writer,
    rewards: Rewards,
    reference: nn.Module,
    held_out: Sequence[Asked],
) -> None:
    """Reward, KL and length on prompts that are not learnt from, always with the same random numbers."""
    cfg, processes = trainer.cfg, trainer.processes
    assert isinstance(cfg, PPOConfig)
    # Where weights are sharded each process has to take part: as many prompts each.
    rows = list(range(len(held_out) - (len(held_out) % processes.world if trainer.sharded else 0)))
    mine = processes.share(rows)
    if not rows:
        return
    sums = torch.zeros(7, dtype=torch.float64)
    if mine:
        keys = [f"{cfg.seed} held_out {row}" for row in mine]
        drawn = sample(trainer, writer, rewards, [held_out[row] for row in mine], keys)
        stats = score_tokens(trainer, reference, drawn)
        scored = [one for some in rewards.collect() for one in some]
        scores = torch.tensor([one.score for one in scored if one.score is not None], dtype=torch.float64)
        cut_off = sum(one.finish == "length" for one in drawn.completions)
        kl = float((stats.logp_BT - stats.ref_BT).sum())
        lengths = float(drawn.tokens_B.sum())
        sums = torch.tensor(
            [len(scored), len(scores), scores.sum(), scores.square().sum(), kl, lengths, cut_off],
            dtype=torch.float64,
        )
    drawn_, kept, total, squares, kl, lengths, cut_off = processes.sum(sums).tolist()
    mean = total / max(kept, 1)
    variance = max(squares / max(kept, 1) - mean * mean, 0.0)
    found = {
        "reward": mean,
        "reward_error": (variance / max(kept, 1)) ** 0.5,
        "kl_sequence": kl / drawn_,
        "tokens": lengths / drawn_,
        "unfinished": cut_off / drawn_,
        "failed": 1 - kept / drawn_,
    }
    trainer.write_held_out(step, len(rows), found)


def halts(cfg: PPOConfig, held_out: dict[str, float], numbers: dict[str, float]) -> str:
    """Why training ends before its last step, by what is measured on held-out prompts; `numbers` has the
    best."""
    if not held_out:
        return ""
    reward, error = held_out["reward"], held_out["reward_error"]
    if cfg.halt.kl is not None and held_out["kl_sequence"] > cfg.halt.kl:
        return f"the KL on held-out prompts is {held_out['kl_sequence']:.3g}, above halt.kl {cfg.halt.kl:g}"
    best, best_error = numbers.get("best", reward), numbers.get("best_error", error)
    if cfg.halt.worse and best - reward > 1.96 * (error**2 + best_error**2) ** 0.5:
        return f"the held-out reward fell significantly, from {best:.3g} to {reward:.3g}"
    if reward >= best:
        numbers.update(best=reward, best_error=error)
    return ""
