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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from msgspec.structs import replace
from torch import Tensor

from ..errors import DataError, RunError
from ..policies.checkpoint import disable_dropout
from ..policies.policy import TokenStats, Want
from ..policies.tokens import Example
from ..policies.writer import Drawing, HFWriter, Rollout, RolloutWriter
from ..records import Completion, Prompt
from . import advantages as adv
from .checkpoint import reference_hash
from .processes import Processes
from .rewards import BatchSource, Rewards, RewardSource, Scored, open_rewards, refuse_too_many
from .rows import prompts_to_learn
from .settings import PPOConfig
from .trainer import OnProgress, Trainer, TrainingStep, trainable

CONSTANT: Final = 1e-7
"""Standard deviation of rewards that do not differ."""
PPO_LOSSES: Final = ("policy_loss", "value_loss", "clipped")


class Samples(NamedTuple):
    """The completions of a step in this process, a prompt's together: `B` of up to `T` tokens."""

    rows: list[Example]
    """Each prompt with one answer alone, which weighs its tokens."""
    completions: list[Completion]
    scored: list[Scored]
    group_B: Tensor
    """Which prompt of the step each answers."""
    mask_BT: Tensor
    logp_BT: Tensor
    """Of each token its log-prob under the policy that sampled it."""
    ref_BT: Tensor
    """Under the reference policy."""
    value_BT: Tensor
    """What the value head expected where it was sampled."""

    def only(self, kept: list[int]) -> Samples:
        columns: Any = (x[kept] if isinstance(x, Tensor) else [x[row] for row in kept] for x in self)
        return Samples(*columns)

    @property
    def with_score(self) -> Samples:
        return self.only([row for row, one in enumerate(self.scored) if one.score is not None])


def train_ppo(
    cfg: PPOConfig,
    prompts: Iterable[Prompt] | None = None,
    reward: RewardSource | BatchSource | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """The folder of the trained policy. Prompts and reward are those given, or what the settings name."""
    with Trainer(cfg, prompts, on_progress) as trainer:
        if trainer.finished:
            return trainer.finished
        policy, processes = trainer.load_base(), trainer.processes
        disable_dropout(policy.model)  # a LoRA's too: the policy that learns is the one that sampled
        groups: list[dict[str, Any]] = [{"params": trainable(policy)}]
        if cfg.advantage == "gae":
            policy.add_value_head()
            head: Any = policy.value_head
            groups.append({"params": trainable(head), "lr": cfg.value.lr, "peak": cfg.value.lr})
        asked, (rows, held_out, facts) = prompts_to_learn(cfg, policy, trainer.given)
        want: tuple[Want, ...] = ("logprobs", "value") if cfg.advantage == "gae" else ("logprobs",)
        trainer.begin(policy, rows, want, cfg.rollout.temperature, groups)
        trainer.numbers = {"beta": cfg.kl.beta}
        trainer.resume()
        with open_rewards(cfg, reward, processes) as rewards:
            facts |= {"reward": rewards.name, "reference_hash": reference_hash(cfg)}
            sampler = Sampler(trainer, asked, rewards)
            if trainer.done == 0:
                measure(sampler, TrainingStep(0, []), held_out)
            for step in trainer.steps(prompt_steps(len(rows), processes.world, cfg)):
                mine = processes.share(step.rows)
                keys = [f"{cfg.seed} {step.number} {row}" for row in mine]
                samples = sampler.draw([rows[row] for row in mine], keys)
                refuse_too_many(samples.scored, cfg.halt.failed, step.number)

                beta = trainer.numbers["beta"]
                metrics = sample_metrics(samples, processes)
                losses = clipped_updates(trainer, samples.with_score, beta, step)
                trainer.write(step, {**metrics, **losses, "beta": beta})
                if (
                    metrics["completions"] > 1
                    and metrics["reward_std"] < CONSTANT
                    and "constant" not in facts
                ):
                    facts["constant"] = step.number
                    warn_of_constant(step.number, metrics)
                trainer.numbers["beta"] = beta_after(beta, metrics, cfg)
                sampler.writer.sync(policy)
                if trainer.epoch_ends(step):
                    measure(sampler, step, held_out)
                    if why := halts(cfg, trainer.held_out, trainer.numbers):
                        print(f"jurist: training ends at step {step.number}: {why}", file=sys.stderr)
                        trainer.total, facts["halted"] = step.number, why
        return trainer.finish(**facts)


def warn_of_constant(step: int, metrics: Mapping[str, float]) -> None:
    print(
        f"jurist: all {metrics['completions']:.0f} completions of step {step} have the reward"
        f" {metrics['reward']:.4g}: from a constant nothing is learnt. Stop with Ctrl-C and check the reward",
        file=sys.stderr,
        flush=True,
    )


def prompt_steps(prompts: int, world: int, cfg: PPOConfig) -> Iterator[list[int]]:
    """The prompts in a new order each epoch, long and short mixed, in full steps."""
    most = cfg.rows_a_step(prompts)
    size = min(most, prompts)
    size -= size % world
    if not size:
        raise DataError(
            f"{prompts} prompts, at most {most} a step, are too few for {world} processes."
            f" Start with: --batch {world} and as many prompts, or fewer processes"
        )

    def shuffled(epoch: int) -> list[int]:
        order = list(range(prompts))
        random.Random(cfg.seed + 7919 * epoch).shuffle(order)
        return order

    rows = chain.from_iterable(map(shuffled, count()))
    while True:
        yield list(islice(rows, size))


class Sampler:
    """Draws completions and asks for their rewards, and what policy and reference make of them."""

    def __init__(self, trainer: Trainer[PPOConfig], prompts: Mapping[str, Prompt], rewards: Rewards) -> None:
        self.trainer, self.prompts, self.rewards = trainer, prompts, rewards
        cfg, policy = trainer.cfg, trainer.policy
        # Below an adapter on the very same weights it is switched off: that needs no second copy.
        self._below = bool(cfg.lora) and reference_hash(cfg) == policy.hash
        self._reference = trainer.module if self._below else trainer.load_reference(cfg.reference or cfg.base)
        self.writer: RolloutWriter = HFWriter(policy, wanted=self._tell_token)
        if cfg.rollout.writer == "vllm":
            from ..policies.vllm import open_vllm

            self.writer = open_vllm(policy, cfg.rollout.url)
        self.writer.sync(policy)

    def draw(self, rows: Sequence[Example], keys: Sequence[str]) -> Samples:
        """The reward of a prompt's completions is asked for as soon as they are whole."""
        cfg, policy, trainer = self.trainer.cfg, self.trainer.policy, self.trainer
        self._tokens, self._drawn = 0, len(rows) * cfg.samples
        ended: list[list[Rollout]] = [[] for _ in rows]
        texts: list[list[Completion]] = [[] for _ in rows]

        def text_of(prompt: Prompt, rollout: Rollout) -> Completion:
            text = policy.tokenizer.decode(rollout.ids, skip_special_tokens=True).strip()
            return Completion.of(prompt.id, text, finish=rollout.finish, tokens=len(rollout.ids))

        ids = [row.prompt_ids for row in rows]
        how = Drawing(cfg.max_tokens, policy.ends, cfg.rollout.temperature)
        try:
            with trainer.accelerator.autocast():
                for rollout in self.writer.write(ids, cfg.samples, how, keys):
                    at = rollout.prompt
                    ended[at] = sorted([*ended[at], rollout])
                    if len(ended[at]) == cfg.samples:
                        prompt = self.prompts[rows[at].id]
                        texts[at] = [text_of(prompt, one) for one in ended[at]]
                        self.rewards.start(at, prompt, texts[at])
        except torch.OutOfMemoryError:
            raise RunError(
                f"out of memory while sampling {cfg.samples} completions of one prompt."
                f" Set: --rollout.max_tokens {cfg.max_tokens // 2}"
            ) from None
        answers = [
            replace(row, answers=[one.ids], weight=float(len(one.ids)))
            for row, some in zip(rows, ended, strict=True)
            for one in some
        ]
        trainer.tell(f"{len(answers)} completions drawn, their rewards asked for")
        stats = trainer.read(trainer.module, answers)
        with policy.model.disable_adapter() if self._below else nullcontext():
            ref = trainer.read(self._reference, answers, ("logprobs",))
        return Samples(
            answers,
            [one for some in texts for one in some],
            [one for some in self.rewards.collect() for one in some],
            torch.arange(len(rows)).repeat_interleave(cfg.samples),
            stats.mask_AT.float(),
            stats.logprobs_AT,
            ref.logprobs_AT,
            torch.zeros_like(stats.logprobs_AT) if stats.value_AT is None else stats.value_AT,
        )

    def _tell_token(self) -> bool:
        self._tokens += 1
        many = self._tokens > self.trainer.cfg.max_tokens  # in several batches
        of = "" if many else f" of {self.trainer.cfg.max_tokens}"
        self.trainer.tell(f"{self._drawn} completions, token {self._tokens}{of}")
        return True


def clipped_updates(
    trainer: Trainer[PPOConfig], samples: Samples, beta: float, step: TrainingStep
) -> dict[str, float]:
    """A few updates on the completions of a step; means of the losses over its tokens."""
    cfg = trainer.cfg
    advantage_BT, return_BT = advantages_of(cfg, samples, beta, trainer.processes)
    order = list(range(len(samples.rows)))
    rng = random.Random(cfg.seed * 1_000_003 + step.number)
    noted = []
    for _ in range(cfg.optim.passes):
        rng.shuffle(order)
        for number in range(cfg.optim.minibatches):
            some = sorted(order[number :: cfg.optim.minibatches])  # those of one prompt share it
            values = partial(ppo_values, cfg, samples.only(some), advantage_BT[some], return_BT[some])
            rows = [samples.rows[row] for row in some]
            noted.append(trainer.update(step, rows, values))
    noted = [one for one in noted if one]
    means = {name: sum(one[name] for one in noted) / max(len(noted), 1) for name in PPO_LOSSES}
    norm = max((one["grad_norm"] for one in noted), default=0.0)
    return {**means, "grad_norm": norm, "lr": trainer.rate(step)}


def advantages_of(
    cfg: PPOConfig, samples: Samples, beta: float, processes: Processes
) -> tuple[Tensor, Tensor]:
    """How much better than expected each token was, the KL charged for; what the value head is to learn."""
    mask_BT, kl_BT = samples.mask_BT, adv.k1(samples.logp_BT, samples.ref_BT)
    score_B = penalised(cfg, samples, processes)
    if cfg.advantage == "gae":
        reward_BT = adv.shaped_rewards(score_B, kl_BT, mask_BT, beta)
        advantage_BT, return_BT = adv.gae(reward_BT, samples.value_BT, mask_BT, lam=cfg.value.lam)
        moments = processes.sum(adv.moments(advantage_BT, mask_BT))
        return adv.whiten(advantage_BT, mask_BT, moments), return_BT
    how = (cfg.advantage, score_B, kl_BT, mask_BT, samples.group_B, beta)
    return adv.group_advantages(*how), torch.zeros_like(kl_BT)


def penalised(cfg: PPOConfig, samples: Samples, processes: Processes) -> Tensor:
    """The score as it is learnt from: cut-off answers and length charged for, where asked."""
    score_B = torch.tensor([one.score or 0.0 for one in samples.scored])
    cut_off_B = torch.tensor([float(one.finish == "length") for one in samples.completions])
    score_B = score_B - cfg.penalty.unfinished * cut_off_B
    if cfg.penalty.length:
        # Lengths of all processes: each must subtract the same.
        tokens_B = samples.mask_BT.sum(-1)
        among_N = torch.tensor(processes.gather(tokens_B.tolist()))
        score_B = adv.length_penalised(score_B, tokens_B, cfg.penalty.length, among_N)
    return score_B


def ppo_values(
    cfg: PPOConfig,
    samples: Samples,
    advantage_BT: Tensor,
    return_BT: Tensor,
    stats: TokenStats,
    part: list[int],
) -> tuple[Tensor, dict[str, Tensor]]:
    """What is minimised for each completion of a part, a mean over its tokens, and what is written down."""
    logp_BT, clip = stats.logprobs_AT, cfg.optim.clip
    assert logp_BT is not None
    old_BT, old_value_BT, advantage_BT, return_BT, mask_BT = (
        x_BT[part, : logp_BT.shape[1]].to(logp_BT.device)
        for x_BT in (samples.logp_BT, samples.value_BT, advantage_BT, return_BT, samples.mask_BT)
    )
    tokens_B = mask_BT.sum(-1)
    policy_B = adv.clipped_policy(logp_BT, old_BT, advantage_BT, mask_BT, clip) / tokens_B
    value_B = torch.zeros_like(policy_B)
    if stats.value_AT is not None:
        value_B = adv.clipped_value(stats.value_AT, old_value_BT, return_BT, mask_BT, clip) / tokens_B
    clipped_B = adv.clip_fraction(logp_BT, old_BT, mask_BT, clip) / tokens_B
    noted = dict(zip(PPO_LOSSES, (policy_B, value_B, clipped_B), strict=True))
    return policy_B + cfg.value.weight * value_B, noted


def beta_after(beta: float, metrics: dict[str, float], cfg: PPOConfig) -> float:
    """What a nat of KL costs from the next step on."""
    if cfg.kl.target is None or not metrics["completions"]:
        return beta
    samples = int(metrics["completions"])
    return adv.next_beta(beta, metrics["kl_sequence"], cfg.kl.target, samples, cfg.kl.horizon)


def sample_metrics(samples: Samples | None, processes: Processes) -> dict[str, float]:
    """Means over the completions of all processes; of those with a score, where a score is meant.

    `kl_*` are k1 and `kl3_*` k3, of the policy that sampled the completions: before it learns from them.
    """
    mine: dict[str, float] = {}
    if samples is not None:
        kept = samples.with_score
        scores, mask_BT = [one.score or 0.0 for one in kept.scored], kept.mask_BT.double()
        mine = {
            "drawn": len(samples.rows),
            "cut": sum(one.finish == "length" for one in samples.completions),
            "scored": len(scores),
            "score": sum(scores),
            "squares": sum(score * score for score in scores),
            "tokens": float(mask_BT.sum()),
            "k1": float((adv.k1(kept.logp_BT, kept.ref_BT) * mask_BT).sum()),
            "k3": float((adv.k3(kept.logp_BT, kept.ref_BT) * mask_BT).sum()),
            "logp": float((kept.logp_BT * mask_BT).sum()),
        }
    whole = processes.sum(mine)
    rows, tokens = max(whole["scored"], 1.0), max(whole["tokens"], 1.0)
    mean = whole["score"] / rows
    return {
        "reward": mean,
        "reward_std": max(whole["squares"] / rows - mean**2, 0.0) ** 0.5,
        "kl_token": whole["k1"] / tokens,
        "kl_sequence": whole["k1"] / rows,
        "kl3_token": whole["k3"] / tokens,
        "kl3_sequence": whole["k3"] / rows,
        "entropy": -whole["logp"] / tokens,
        "tokens": tokens / rows,
        "unfinished": whole["cut"] / max(whole["drawn"], 1.0),
        "completions": whole["scored"],
        "failed": whole["drawn"] - whole["scored"],
    }


def measure(sampler: Sampler, step: TrainingStep, held_out: Sequence[Example]) -> None:
    """The same numbers on prompts that are not learnt from, always with the same random numbers."""
    trainer, processes = sampler.trainer, sampler.trainer.processes
    # Where weights are sharded each process has to take part: as many prompts each.
    rows = held_out[: len(held_out) - (len(held_out) % processes.world if trainer.sharded else 0)]
    if not rows:
        return
    keys = processes.share([f"{trainer.cfg.seed} held_out {row}" for row in range(len(rows))])
    samples = sampler.draw(processes.share(rows), keys) if keys else None
    trainer.write(step, sample_metrics(samples, processes), held_out=len(rows))


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
