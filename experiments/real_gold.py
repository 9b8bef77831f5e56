"""A real model's answers, and what a model of human labels says of them; for `real_policies.py`.

The gold model is a reward model with LoRA on the 270 M base, learnt from all human labels of `shared/data`
that are short enough: PandaLM's majorities, LLMBar, HH-RLHF. It reads the first `SEEN` tokens of an answer,
about as many as policies write here. Everything is kept in `~/.cache/jurist/real`, under names that say
what it was made from, and is not made twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import cache, cached_property
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace
from safetensors.torch import load_file

from jurist.engines.checkpoints import weights_hash
from jurist.models.reward import train_reward
from jurist.models.rewards import JudgedRow
from jurist.models.settings import ModelConfig, RewardConfig
from jurist.models.trainer import Progress
from jurist.policies.checkpoint import Lora, reward_head, save_model
from jurist.policies.policy import load_policy, load_to_read, token_stats
from jurist.policies.tokens import tokenise_many
from jurist.policies.writer import Drawing, HFWriter
from jurist.prompts.load import split_of
from jurist.records import Completion, Preference, Prompt, content_id
from real_assistant import HUMANS, assistant, tokens_of, words
from support import gemma, recorded

REAL = gemma.CACHE / "real"
SEEN, LONGEST = 32, 96
"""Tokens of an answer and of a prompt that the gold model learns from."""
WRITTEN, SHORT = 24, 40
"""Tokens that a policy writes, and of a prompt that it answers."""
HALF = 0.5
"""Share of the prompts that trainers hold out, by content."""
LEARNT = 1280
"""Pairs that the gold model has seen: more would have taken longer than there was."""
PRECISION, ADAPTER = ModelConfig(precision="bfloat16"), Lora(r=16)


def shown(now: Progress) -> None:
    told = {name: round(value, 3) for name, value in now.metrics.items()}
    print(f"{now.step} of {now.steps}, {now.seconds_left:.0f} s left", told, flush=True)


@cache
def human_rows() -> tuple[list[Preference], list[Preference]]:
    """To learn, and held out by prompt."""

    def begun(prompt: Prompt, text: str) -> Completion:
        ids = words()(text, add_special_tokens=False).input_ids
        if len(ids) < SEEN:
            return Completion.of(prompt.id, text)
        return Completion.of(prompt.id, words().decode(ids[:SEEN]).strip(), finish="length")

    found: dict[str, Preference] = {}
    for prompt, *both in chain.from_iterable(pairs() for pairs in HUMANS.values()):
        better, worse = (begun(prompt, one.text.strip()) for one in both)
        name = content_id(prompt.id, *sorted((better.text, worse.text)))
        asked = sum(tokens_of(one.content) for one in prompt.messages)
        if better.text and worse.text and better.text != worse.text and asked <= LONGEST:
            found.setdefault(name, Preference(name, prompt, better, worse, 1.0))
    rows: tuple[list[Preference], list[Preference]] = ([], [])
    for one in found.values():
        rows[recorded.held_out(one.prompt.messages[0].content)].append(one)
    return rows


class Enough(Exception):
    """The gold model has learnt from as many pairs as there was time for."""


def gold() -> Path:
    """Stopped at the checkpoint after `LEARNT` pairs, the first of an epoch in random order."""
    cfg = RewardConfig(base=str(gemma.english()), out=str(REAL / "gold"), lora=ADAPTER, lr=3e-4)
    cfg = replace(cfg, batch=16, model=PRECISION, save_every=20)
    place, last = (
        REAL / f"gold-{LEARNT}",
        Path(cfg.out) / f"checkpoints/step-{LEARNT // cfg.batch:08}.safetensors",
    )

    def seen(now: Progress) -> None:
        shown(now)
        if now.step * cfg.batch >= LEARNT:
            raise Enough

    if not place.exists():
        with suppress(Enough):
            if not last.exists():
                train_reward(cfg, human_rows()[0], seen)
        policy = load_policy(cfg.base, lora=ADAPTER, kind="reward")
        kept = {name: x for name, x in load_file(last).items() if name.startswith("weight/")}
        policy.load_state_dict({name[len("weight/") :]: x for name, x in kept.items()}, strict=False)
        policy.save(place)
    return place


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
    """Short questions of people to chat models (CJE's, of Chatbot Arena), on this side of the recorded data's
    split; with `both`, of the trainers' split too."""
    texts = sorted({row["prompt"].strip() for row in recorded.cje("base").values()})
    short = [one for one in texts if one.isascii() and 0 < tokens_of(one) <= SHORT]
    found = [Prompt.of(one) for one in short if recorded.held_out(one) == held_out]
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
