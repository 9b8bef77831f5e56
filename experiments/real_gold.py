"""A real model's answers, and what a model of human labels says of them; for `real_policies.py`.

The gold model is the reward model of `real_rewards.py` that learnt from 1,600 human labels of HH-RLHF. It
marks answers to dialogues of the same data: those that it learnt from, and those that neither it nor
anything else here did. Everything is kept in `~/.cache/jurist/real`, under names that say what it was made
from, and is not made twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace

from jurist.engines.checkpoints import weights_hash
from jurist.models.rewards import JudgedRow
from jurist.models.settings import ModelConfig
from jurist.policies.checkpoint import Lora, reward_head, save_model
from jurist.policies.policy import load_policy, load_to_read, token_stats
from jurist.policies.tokens import tokenise_many
from jurist.policies.writer import Drawing, HFWriter
from jurist.prompts.load import split_of
from jurist.records import Completion, Prompt, content_id
from real_assistant import assistant, tokens_to_read
from real_pairs import hh, human_rewards
from support import gemma, recorded

REAL = gemma.CACHE / "real"
WRITTEN, SHORT = 40, 64
"""Tokens that a policy writes, and of a dialogue that it answers."""
HALF = 0.5
"""Share of the prompts that trainers hold out, by content."""
PRECISION, ADAPTER = ModelConfig(precision="bfloat16"), Lora(r=16)


def gold() -> Path:
    return human_rewards(1600)


def initial() -> Path:
    """The assistant: what policies start from, and whose states proxies read."""
    return in_bfloat16(assistant())


def base() -> Path:
    return in_bfloat16(gemma.english())


def in_bfloat16(folder: Path) -> Path:
    place = REAL / f"initial-{weights_hash(folder)[:12]}"
    if not place.exists():
        policy = load_policy(folder, dtype="bfloat16")
        save_model(policy.model, policy.tokenizer, place, "bfloat16")
    return place


@cache
def asked(held_out: bool, both: bool = True) -> list[Prompt]:
    """Short dialogues, on this side of the recorded data's split; with `both`, of the trainers' split too."""
    prompts = {one.prompt.id: one.prompt for one in hh().matchups}
    short = [one for _, one in sorted(prompts.items()) if tokens_to_read(one) <= SHORT]
    found = [one for one in short if recorded.held_out(one.messages[0].content) == held_out]
    return [one for one in found if not both or (split_of(one.id, HALF) == "test") == held_out]


class Answers:
    """Of one policy, `k` to each prompt, on disk."""

    def __init__(self, policy: Path, prompts: Sequence[Prompt], k: int, name: str) -> None:
        self.prompts, self.k = list(prompts), k
        key = content_id(weights_hash(policy), [one.id for one in prompts], k, WRITTEN)[:12]
        self.file = REAL / f"{name}-{key}.jsonl"
        if not self.file.exists():
            self._draw(policy)
        self.texts = [
            [Completion.of(prompt.id, text, finish=finish, tokens=n) for text, finish, n in row]
            for prompt, row in zip(prompts, map(json.loads, self.file.open()), strict=True)
        ]
        self.rows = [(one, text) for one, some in zip(prompts, self.texts, strict=True) for text in some]

    def _draw(self, folder: Path) -> None:
        policy = load_to_read(folder, dtype="bfloat16")
        ids = [one.prompt_ids for one in tokenise_many(((p, (), {}) for p in self.prompts), policy.tokenizer)]
        names, how = [one.id for one in self.prompts], Drawing(WRITTEN, policy.ends)
        rows: list[list[Any]] = [[None] * self.k for _ in names]
        # At 128 rows at once weights are read seldom enough, and caches are small.
        for one in HFWriter(policy, 128 * (WRITTEN + SHORT)).write(ids, self.k, how, names):
            text = policy.tokenizer.decode(one.ids, skip_special_tokens=True).strip()
            rows[one.prompt][one.sample] = (text, one.finish, len(one.ids))
        self.file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def states(self, reader: Reader) -> Any:
        """A row for each prompt, a column for each answer."""
        file = self.file.with_name(f"{self.file.stem}-{reader.name}.npy")
        if not file.exists():
            np.save(file, reader.states(self.rows).numpy())
        return torch.from_numpy(np.load(file)).view(len(self.prompts), self.k, -1)


class Reader:
    """A reward model, or a model that is to be one, in bfloat16: the states that a head reads."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, weights_hash(folder)[:8]

    @cached_property
    def policy(self) -> Any:
        return load_to_read(self.folder, dtype="bfloat16", kind="reward")

    @cached_property
    def head(self) -> Any:
        return reward_head(self.policy.model).weight.detach().float()[0]

    def states(self, rows: Sequence[JudgedRow]) -> Any:
        """Those to one prompt that stand together share it; an answer of no words has states of 0."""
        groups = groupby(rows, key=lambda row: row[0])
        texts = [(prompt, [one for _, one in group], {}) for prompt, group in groups]
        examples = [*tokenise_many(texts, self.policy.tokenizer)]
        kept = [replace(one, answers=[ids for ids in one.answers if len(ids)]) for one in examples]
        found: Any = token_stats(
            self.policy, [one for one in kept if one.answers], 4096, ("states",)
        ).state_AD
        there = torch.tensor([len(ids) > 0 for one in examples for ids in one.answers])
        return torch.zeros(len(there), found.shape[1]).masked_scatter(there[:, None], found)
