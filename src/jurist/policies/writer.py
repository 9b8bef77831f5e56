"""Completions drawn from a policy, as token ids: each prompt is computed once for all its samples.

A `RolloutWriter` has two back ends: this one, and vLLM (`vllm.py`). Every completion has random numbers of
its own, made from its prompt's key and its number: the same completions come out however prompts are spread
over batches, processes and resumptions. (Rounding may differ: in float32 another batch moves a log-prob by
about 1e-6, which decides where two tokens are equally likely or a random number falls between them.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
import torch.nn.functional as F
from msgspec import Struct
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from ..records import content_id
from .forward import is_sharded
from .policy import Policy, load_policy
from .tokens import Ids, by_length, padded

COMPACT_AT: Final = 0.75
"""When this share of the rows is left, the finished ones are taken out of the cache."""
CACHE_SLOTS: Final = 131_072
"""Tokens in the cache of one batch: prompts and completions together."""


class Drawing(Struct, frozen=True):
    """How completions are drawn."""

    max_tokens: int
    ends: Sequence[int]
    """Tokens that end a completion."""
    temperature: float = 1.0
    top_p: float = 1.0


class Rollout(Struct, frozen=True, order=True):
    """One completion, in tokens; the end token is among them when the policy wrote it."""

    prompt: int
    """Index among the prompts that were given."""
    sample: int
    ids: list[int]
    finish: str
    """`stop`, or `length` when it was cut off."""
    version: int = 0
    """Of the weights that wrote it: how many times they had been synced."""
    logprobs: tuple[float, ...] | None = None
    """Of its tokens, where the back end computes them."""


class RolloutWriter(Protocol):
    """Draws from the policy's weights as they were at the last `sync`."""

    def write(self, prompts: Sequence[Ids], n: int, how: Drawing, keys: Sequence[str]) -> Iterator[Rollout]:
        """`n` completions of each prompt, each as soon as it is whole. Equal keys, equal draws."""
        ...

    def sync(self, policy: Policy) -> int:
        """Take over the policy's weights; the version that the next rollouts carry."""
        ...


class HFWriter:
    """Draws with the policy's own weights, in this process."""

    def __init__(self, policy: Policy, slots: int = CACHE_SLOTS) -> None:
        self._policy, self._slots, self._version = policy, slots, 0

    def sync(self, policy: Policy) -> int:
        """Nothing to do where the weights are the policy's; sharded ones are gathered into a copy."""
        self._version += 1
        if not is_sharded(policy):
            self._policy = policy
            return self._version
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        if self._policy is policy:
            copy = load_policy(policy.path, dtype="auto")
            if hasattr(policy.model, "peft_config"):
                import peft

                copy.model = peft.get_peft_model(copy.model, policy.model.peft_config["default"])
            self._policy = copy.to(policy.device).eval()
        state = get_model_state_dict(policy, options=StateDictOptions(full_state_dict=True))
        self._policy.load_state_dict({name: state[name] for name in self._policy.state_dict()})
        return self._version

    @torch.no_grad()
    def write(self, prompts: Sequence[Ids], n: int, how: Drawing, keys: Sequence[str]) -> Iterator[Rollout]:
        policy, was_training = self._policy, self._policy.training
        policy.eval()
        try:
            # Prompts of like length together: the shorter ones are padded to the longest.
            for batch in by_length([n * (len(one) + how.max_tokens) for one in prompts], self._slots):
                places = {
                    Draw(how, _uniforms(keys[row], sample, how.max_tokens)): (row, sample)
                    for row in batch
                    for sample in range(n)
                }
                draws = [[*places][at : at + n] for at in range(0, len(places), n)]
                for draw in generate(policy, [prompts[row] for row in batch], draws):
                    yield Rollout(*places[draw], draw.ids, draw.finish, self._version)
        finally:
            policy.train(was_training)


def _uniforms(key: str, sample: int, count: int) -> Iterator[float]:
    """A completion's own random numbers, one a token."""
    seed = int(content_id("draw", key, sample)[:15], 16)
    generator = torch.Generator().manual_seed(seed)
    return iter(torch.rand(count, dtype=torch.float64, generator=generator).tolist())


@dataclass(eq=False)
class Draw:
    """One completion being drawn."""

    how: Drawing
    uniforms: Iterator[float]
    """Its random numbers, one a token."""
    ids: list[int] = field(default_factory=list)
    finish: str = ""
    """Empty as long as it goes on."""

    def take(self, token: int, logits_V: Tensor) -> None:
        """One more token."""
        self.ids.append(token)
        if token in self.how.ends:
            self.finish = "stop"
        elif len(self.ids) >= self.how.max_tokens:
            self.finish = "length"


def generate(
    policy: Policy,
    prompts: Sequence[Ids],
    draws: Sequence[Sequence[Draw]],
    wanted: Callable[[], bool] = lambda: True,
) -> Iterator[Draw]:
    """All draws of all prompts, a token of each at a time, each given when it has ended.

    Every prompt is computed once. `wanted` is asked at each token whether anybody still waits.
    """
    device, rows = policy.device, [draw for some in draws for draw in some]
    # Padded on the left, so that what comes next stands at the end of every row, windows included.
    ids_BT, mask_BT = (one.to(device) for one in padded(prompts, left=True))
    mask_BT = mask_BT.long()
    how: dict[str, Any] = {"use_cache": True, "logits_to_keep": 1, "cache": None}
    while wanted():
        at_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
        out = policy.model(input_ids=ids_BT, attention_mask=mask_BT, position_ids=at_BT, **how)
        logits_BV, kept = out.logits[:, -1], out.cache
        if how["cache"] is None:  # prompts have been read; from here on there is a row a draw
            how["cache"] = kept
            if len(rows) > len(draws):
                owner = torch.tensor([at for at, some in enumerate(draws) for _ in some], device=device)
                kept.reorder_cache(owner)
                mask_BT, logits_BV = mask_BT[owner], logits_BV[owner]
            for at, layer in enumerate(kept.layers):
                if type(layer) is DynamicLayer and layer.is_initialized:
                    kept.layers[at] = GrowingLayer(layer)
        tokens = next_tokens(logits_BV.float(), rows)
        for row, (draw, token) in enumerate(zip(rows, tokens, strict=True)):
            if not draw.finish:  # a finished one keeps its row until the rows are closed up
                draw.take(token, logits_BV[row])
                if draw.finish:
                    yield draw
        going = [row for row, draw in enumerate(rows) if not draw.finish]
        if not going:
            return
        if len(going) <= COMPACT_AT * len(rows):
            which = torch.tensor(going, device=device)
            kept.reorder_cache(which)
            mask_BT = mask_BT[which]
            rows, tokens = [rows[row] for row in going], [tokens[row] for row in going]
        ids_BT = torch.tensor(tokens, device=device)[:, None]
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(rows), 1)], 1)


def next_tokens(logits_BV: Tensor, rows: Sequence[Draw]) -> list[int]:
    """Each row's likeliest token at temperature 0, else the one under which its random number falls."""
    best_B = logits_BV.argmax(-1)
    warm = [row for row, draw in enumerate(rows) if draw.how.temperature > 0 and not draw.finish]
    if not warm:
        return list(best_B.tolist())
    some = [rows[row] for row in warm]

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=logits_BV.device)[:, None]

    # In double: over a vocabulary of 150,000 float32 would round some tokens' share of the sum to nothing.
    warm_BV = logits_BV if len(warm) == len(rows) else logits_BV[warm]
    probs_BV = (warm_BV / column([draw.how.temperature for draw in some]).float()).softmax(-1).double()
    top_p = [draw.how.top_p for draw in some]
    if min(top_p) < 1:
        probs_BV = nucleus(probs_BV, column(top_p))
    cdf_BV = probs_BV.cumsum(-1)
    points_B1 = column([next(draw.uniforms) for draw in some]) * cdf_BV[:, -1:]
    # Right of the point: a token without probability is never drawn.
    drawn_B = torch.searchsorted(cdf_BV, points_B1, right=True).clamp(max=cdf_BV.shape[1] - 1)[:, 0]
    best_B[warm] = drawn_B
    return list(best_B.tolist())


def nucleus(probs_BV: Tensor, top_p_B1: Tensor) -> Tensor:
    """Of each row the likeliest tokens that together reach its `top_p`; the others get nothing."""
    ordered_BV, which_BV = probs_BV.sort(-1, descending=True)
    kept_BV = torch.where((ordered_BV.cumsum(-1) - ordered_BV < top_p_B1) | (top_p_B1 >= 1), ordered_BV, 0.0)
    return torch.zeros_like(probs_BV).scatter(-1, which_BV, kept_BV)


class GrowingLayer(DynamicLayer):
    """Keys and values with room behind them: a plain layer copies all of them for every token."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self._whole = [layer.keys, layer.values]
        self._show(layer.keys.shape[-2])

    def _show(self, length: int) -> None:
        self.keys, self.values = (one[:, :, :length] for one in self._whole)

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        before = self.keys.shape[-2]
        after = before + keys.shape[-2]
        if after > self._whole[0].shape[-2]:
            room = keys.shape[-2] + max(64, before // 2)
            self._whole = [F.pad(one[:, :, :before], (0, 0, 0, room)) for one in self._whole]
        for whole, new in zip(self._whole, (keys, values), strict=True):
            whole[:, :, before:after] = new
        self._show(after)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        length = self.keys.shape[-2]
        self._whole = [one.index_select(0, beam_idx) for one in self._whole]
        self._show(length)
