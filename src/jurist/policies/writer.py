"""Completions drawn from a policy, as token ids: each prompt is computed once for all its samples.

A `RolloutWriter` has two back ends: this one, and vLLM (`vllm.py`). Every completion has random numbers of
its own, made from its prompt's key and its number: the same completions come out however prompts are spread
over batches, processes and resumptions. (Rounding may differ: in float32 another batch moves a log-prob by
about 1e-6, which decides where two tokens are equally likely or a random number falls between them.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
import torch.nn.functional as F
from msgspec import Struct
from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from ..records import content_id
from .forward import is_sharded
from .policy import Policy, load_policy
from .tokens import Ids, by_length, padded

COMPACT_AT: Final = 0.9
"""When this share of the rows is left, the finished ones are taken out of the cache."""
CACHE_SLOTS: Final = 131_072
"""Tokens in the cache of one batch: prompts and completions together."""
PROBS_AT_ONCE: Final = 2**18
"""Probabilities worked on together on a CPU: 1 MB."""
SMALL: Final = 4096
"""Up to so many tokens the plain ways are the quicker ones."""
BLOCK: Final = 512
"""Tokens of a vocabulary that are summed up before one of them is drawn."""
NUCLEUS: Final = (1e-5, 1e-7)
"""Only tokens likelier than this are sorted, if they suffice: all would take twenty times as long."""


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

    def __init__(
        self, policy: Policy, slots: int = CACHE_SLOTS, wanted: Callable[[], bool] = lambda: True
    ) -> None:
        self._policy, self._slots, self._version = policy, slots, 0
        self._wanted = wanted

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
        left, full = {row: [*range(n)] for row in range(len(prompts))}, False
        policy.eval()
        try:
            while left:
                # Prompts of like length together: the shorter ones are padded to the longest.
                sizes = {row: len(some) * (len(prompts[row]) + how.max_tokens) for row, some in left.items()}
                rows = [*left]
                batch = [rows[at] for at in by_length([*sizes.values()], self._slots)[0]]
                places: dict[Draw, tuple[int, int]] = {}
                draws: list[list[Draw]] = []
                for row in batch:
                    draws.append([Draw(how, _uniforms(keys[row], one, how.max_tokens)) for one in left[row]])
                    places |= {draw: (row, one) for draw, one in zip(draws[-1], left[row], strict=True)}
                try:
                    for draw in generate(policy, [prompts[row] for row in batch], draws, self._wanted):
                        row, sample = places[draw]
                        left[row].remove(sample)
                        yield Rollout(row, sample, draw.ids, draw.finish, self._version)
                except torch.OutOfMemoryError:
                    if len(batch) == 1:
                        raise
                    full = True
                if full:  # what is whole stays, the others are drawn again, half as many at a time
                    self._slots, full = len(batch) * max(sizes[row] for row in batch) // 2, False
                    torch.cuda.empty_cache()
                left = {row: some for row, some in left.items() if some}
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
                if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) and layer.is_initialized:
                    kept.layers[at] = GrowingLayer(layer)
        tokens = next_tokens(logits_BV, rows)
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
    """Each row's likeliest token at temperature 0, else the one under which its random number falls.

    A finished row gets token 0. On a CPU a few rows at a time, which its cache holds.
    """
    tokens = [0] * len(rows)
    going = [row for row, draw in enumerate(rows) if not draw.finish]
    few = max(1, PROBS_AT_ONCE // logits_BV.shape[1]) if logits_BV.device.type == "cpu" else len(rows)
    for part in (going[at : at + few] for at in range(0, len(going), few)):
        kinds: dict[Callable[[Tensor, Sequence[Draw]], Tensor], list[int]] = {}
        for row in part:
            how = rows[row].how
            kind = _likeliest if how.temperature <= 0 else _drawn if how.top_p >= 1 else _drawn_from_nucleus
            kinds.setdefault(kind, []).append(row)
        for choose, some in kinds.items():
            some_BV = logits_BV.index_select(0, torch.tensor(some, device=logits_BV.device))
            chosen_B = choose(some_BV, [rows[row] for row in some])
            for row, token in zip(some, chosen_B.tolist(), strict=True):
                tokens[row] = token
    return tokens


def _likeliest(logits_BV: Tensor, _: Sequence[Draw]) -> Tensor:
    return logits_BV.argmax(-1)


def _drawn(logits_BV: Tensor, draws: Sequence[Draw]) -> Tensor:
    probs_BV, uniform_B1 = _probs(logits_BV, draws), _uniform(draws, logits_BV)
    if probs_BV.shape[1] <= SMALL:
        return _under(probs_BV, uniform_B1)[0][:, 0]
    # First the block, then the token in it: in double all tokens of all rows would take ten times as long.
    blocks_BNK = F.pad(probs_BV, (0, -probs_BV.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))
    block_B1, uniform_B1 = _under(blocks_BNK.sum(-1), uniform_B1)
    inside_BK = blocks_BNK.take_along_dim(block_B1[..., None], 1)[:, 0]
    return (block_B1 * BLOCK + _under(inside_BK, uniform_B1)[0])[:, 0]


def _drawn_from_nucleus(logits_BV: Tensor, draws: Sequence[Draw]) -> Tensor:
    probs_BV, uniform_B1 = _probs(logits_BV, draws), _uniform(draws, logits_BV)
    ids_K, kept_BK = nucleus(probs_BV, _column([draw.how.top_p for draw in draws], logits_BV))
    return ids_K[_under(kept_BK, uniform_B1)[0][:, 0]]


def nucleus(probs_BV: Tensor, top_p_B1: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row the likeliest tokens that together reach its `top_p`; others that were looked at get 0."""
    reach_B1 = top_p_B1 * probs_BV.sum(-1, keepdim=True, dtype=torch.float64)
    ids_K, probs_BK = torch.arange(probs_BV.shape[1], device=probs_BV.device), probs_BV
    for least in NUCLEUS if len(ids_K) > SMALL else ():
        likely_K = (probs_BV > least).any(0).nonzero()[:, 0]
        likely_BK = probs_BV.index_select(1, likely_K)
        likely_BK = likely_BK.masked_fill_(likely_BK <= least, 0.0)  # in this row it is not
        if bool((likely_BK.sum(-1, keepdim=True, dtype=torch.float64) >= reach_B1).all()):
            ids_K, probs_BK = likely_K, likely_BK
            break
    ordered_BK, which_BK = probs_BK.sort(-1, descending=True)
    before_BK = ordered_BK.cumsum(-1, dtype=torch.float64) - ordered_BK
    kept_BK = ordered_BK.masked_fill(before_BK >= reach_B1, 0.0)
    return ids_K, torch.zeros_like(kept_BK).scatter(1, which_BK, kept_BK)


def _probs(logits_BV: Tensor, draws: Sequence[Draw]) -> Tensor:
    if any(draw.how.temperature != 1 for draw in draws):
        logits_BV = logits_BV.float() / _column([draw.how.temperature for draw in draws], logits_BV).float()
    return logits_BV.softmax(-1, dtype=torch.float32)


def _uniform(draws: Sequence[Draw], like: Tensor) -> Tensor:
    return _column([next(draw.uniforms) for draw in draws], like)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=like.device)[:, None]


def _under(probs_BN: Tensor, uniform_B1: Tensor) -> tuple[Tensor, Tensor]:
    """Where a random number falls, and how far in there, again from 0 to 1; never where there is nothing.

    In double: over many tokens float32 would round some tokens' share of the sum to nothing.
    """
    cdf_BN = probs_BN.cumsum(-1, dtype=torch.float64)
    whole_B1 = cdf_BN[:, -1:]
    point_B1 = (uniform_B1 * whole_B1).minimum(whole_B1.nextafter(torch.zeros_like(whole_B1)))
    at_B1 = torch.searchsorted(cdf_BN, point_B1, right=True)
    share_B1 = probs_BN.gather(1, at_B1).double()
    return at_B1, ((point_B1 - cdf_BN.gather(1, at_B1)) / share_B1 + 1).clamp(0, 1)


class GrowingLayer(DynamicLayer):
    """Keys and values with room behind them: a plain layer copies all of them for every token."""

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.is_sliding = layer.is_sliding
        self._window = layer.sliding_window if layer.is_sliding else sys.maxsize
        self._whole, self._seen = [layer.keys, layer.values], layer.get_seq_length()
        self._show(0, layer.keys.shape[-2])

    def _show(self, start: int, end: int) -> None:
        """What the next token looks at; in a window, one token less than there is room for."""
        self._start, self._end = max(start, end - self._window + 1), end
        self.keys, self.values = (one[:, :, self._start : end] for one in self._whole)

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        new = keys.shape[-2]
        if self._end + new > self._whole[0].shape[-2]:
            kept = self._end - self._start
            room = new + max(64, kept // 2)
            self._whole = [F.pad(one, (0, 0, 0, room)) for one in (self.keys, self.values)]
            self._start, self._end = 0, kept
        start, end = self._start, self._end + new
        for whole, one in zip(self._whole, (keys, values), strict=True):
            whole[:, :, self._end : end] = one
        self._seen += new
        self._show(start, end)
        return self._whole[0][:, :, start:end], self._whole[1][:, :, start:end]

    def get_seq_length(self) -> int:
        return self._seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        kept = self._end - self._start
        return kept + query_length, self._seen - kept

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._whole = [one[:, :, : self._end].index_select(0, beam_idx) for one in self._whole]
        self._show(self._start, self._end)
