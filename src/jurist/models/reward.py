"""A reward model from preferences: one number for an answer, such that the better one's is higher.

Ouyang et al. 2022, with what a judge knows beyond which of the two it preferred: its probability is the
target of the loss, not its sign; margins and weights count row by row; and rewards are pulled towards a mean
of 0. Prompt and both answers go through the model in one row. What comes out is an ordinary checkpoint for
sequence classification with one label, and a judge: `--judge reward:FOLDER`.

    jurist train reward runs/mine --base FOLDER --out runs/mine/models/reward
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..records import Preference
from . import losses
from .batch import Example, by_length
from .forms import causal_of
from .forward import answers_forward, counter
from .loop import Loop, Watch, nobody
from .plan import start_from
from .policy import reward_head
from .rows import pairs_to_learn
from .settings import RewardConfig, check


class Scorer(nn.Module):
    """A checkpoint for sequence classification, scoring answers that share their prompts."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, examples: Sequence[Example]) -> Tensor:
        """The reward of each answer: the head over the state of its last token."""
        hidden_AD = answers_forward(self.model, examples, head="hidden").hidden_AD
        assert hidden_AD is not None
        head = reward_head(causal_of(self.model))
        # A sum over the one label, not a view of it: sharded models do not give views away.
        return head(hidden_AD).float().sum(-1)


def train_reward(
    cfg: RewardConfig, preferences: Iterable[Preference] | None = None, watch: Watch = nobody
) -> Path:
    """Train on the preferences given, or on those in `cfg.data`; the folder of the reward model."""
    check(cfg, "reward")
    policy = start_from(cfg, "reward")
    learnt, held, facts = pairs_to_learn(cfg, policy, preferences, soft=cfg.soft)
    scorer = Scorer(policy.model)
    with Loop(cfg, policy, learnt, [one.weight for one in learnt], watch, scorer) as loop:
        for step in loop.steps():
            for part in loop.parts(step):
                reward_B2 = loop.model(part.examples).view(-1, 2)
                chosen_B, rejected_B = reward_B2.unbind(-1)
                p_B, margin_B = labels(part.examples, reward_B2)
                loss_B = losses.bradley_terry(chosen_B, rejected_B, p_B, cfg.margin * margin_B)
                whole_B = loss_B + cfg.centre * losses.centring(chosen_B, rejected_B)
                loop.backward((part.weight_B * whole_B).sum())
                right_B = losses.agreement(chosen_B - rejected_B, p_B)
                above_B = loss_B - losses.entropy(p_B)
                loop.note(part, loss=loss_B, above_entropy=above_B, right=right_B, reward=reward_B2.mean(-1))
            loop.update(step)
            if held and loop.epoch_ends(step):
                loop.measured(step, len(held), measure(loop.model, held, cfg.tokens))
        return loop.finish(**facts)


def labels(examples: Sequence[Example], like: Tensor) -> tuple[Tensor, Tensor]:
    """p and margin of each row."""
    return like.new_tensor([one.p for one in examples]), like.new_tensor([one.margin for one in examples])


@torch.no_grad()
def score(scorer: Any, examples: Sequence[Example], tokens: int) -> list[list[float]]:
    """The rewards of each row's answers, in the rows' order."""
    was_training = scorer.training
    scorer.eval()
    found: list[list[float]] = [[] for _ in examples]
    for rows in by_length([*map(counter(scorer), examples)], tokens):
        rewards = iter(scorer([examples[row] for row in rows]).tolist())
        for row in rows:
            found[row] = [next(rewards) for _ in examples[row].answers]
    scorer.train(was_training)
    return found


def measure(scorer: Any, examples: Sequence[Example], tokens: int) -> dict[str, float]:
    """Loss, without margins, and accuracy on rows that were not learnt."""
    chosen_B, rejected_B = torch.tensor(score(scorer, examples, tokens)).unbind(-1)
    p_B, _ = labels(examples, chosen_B)
    loss_B = losses.bradley_terry(chosen_B, rejected_B, p_B)
    right_B = losses.agreement(chosen_B - rejected_B, p_B)
    above_B = loss_B - losses.entropy(p_B)
    weight_B = p_B.new_tensor([one.weight for one in examples])
    return {
        name: float((weight_B * x_B).sum() / weight_B.sum())
        for name, x_B in (("loss", loss_B), ("above_entropy", above_B), ("right", right_B))
    }
