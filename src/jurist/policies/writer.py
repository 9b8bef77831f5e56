"""Completions drawn from a policy, as token ids: each prompt is computed once for all its samples.

A `RolloutWriter` has two back ends: this one, and vLLM (`vllm.py`). Every completion has random numbers of
its own, made from its prompt's key and its number: the same completions come out however prompts are spread
over batches, processes and resumptions. (Rounding may differ: in float32 another batch moves a log-prob by
about 1e-6, which decides where two tokens are equally likely or a random number falls between them.)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
import torch.nn.functional as F
from msgspec import Struct
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ..records import content_id
from .forward import causal_of, is_sharded
from .policy import Policy, load_policy
from .tokens import Ids, by_length, padded

COMPACT_AT: Final = 0.9
"""When this share of the rows is left, the finished ones are taken out of the cache."""
CACHE_SLOTS: Final = 131_072
"""Tokens in the cache of one batch: prompts and completions together."""
WEIGHTS_AT_ONCE: Final = 2**18
"""Weights of tokens worked on together on a CPU: 1 MB."""
BLOCK: Final = 512
"""Tokens of a vocabulary that are summed up before one of them is drawn."""
NUCLEUS: Final = 256
"""Of the likeliest tokens so many are looked at first."""


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
        with quick_attention(policy.model):
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
    few = max(1, WEIGHTS_AT_ONCE // logits_BV.shape[1]) if logits_BV.device.type == "cpu" else len(rows)
    for part in (going[at : at + few] for at in range(0, len(going), few)):
        warm = [row for row in part if rows[row].how.temperature > 0]
        whole = [row for row in warm if rows[row].how.top_p >= 1]
        cut = [row for row in warm if rows[row].how.top_p < 1]
        cold = [row for row in part if rows[row].how.temperature <= 0]
        for some, choose in ((cold, _likeliest), (whole, _drawn), (cut, _drawn_from_nucleus)):
            if some:
                some_BV = logits_BV if len(some) == len(logits_BV) else logits_BV[some]
                chosen_B = choose(some_BV.float(), [rows[row] for row in some])
                for row, token in zip(some, chosen_B.tolist(), strict=True):
                    tokens[row] = token
    return tokens


def _likeliest(logits_BV: Tensor, _: Sequence[Draw]) -> Tensor:
    return logits_BV.argmax(-1)


def _drawn(logits_BV: Tensor, draws: Sequence[Draw]) -> Tensor:
    weights_BV, uniform_B1 = _weights(logits_BV, draws), _uniform(draws, logits_BV)
    if weights_BV.shape[1] <= BLOCK:
        return _under(weights_BV, uniform_B1)[0][:, 0]
    # First the block, then the token in it: in double all tokens of all rows would take ten times as long.
    blocks_BNK = F.pad(weights_BV, (0, -weights_BV.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))
    block_B1, uniform_B1 = _under(blocks_BNK.sum(-1), uniform_B1)
    inside_BK = blocks_BNK.take_along_dim(block_B1[..., None], 1)[:, 0]
    return (block_B1 * BLOCK + _under(inside_BK, uniform_B1)[0])[:, 0]


def _drawn_from_nucleus(logits_BV: Tensor, draws: Sequence[Draw]) -> Tensor:
    weights_BV, uniform_B1 = _weights(logits_BV, draws), _uniform(draws, logits_BV)
    top_p_B1 = torch.tensor([[draw.how.top_p] for draw in draws], dtype=torch.float64).to(uniform_B1.device)
    ids_BK, weights_BK = nucleus(weights_BV, top_p_B1)
    return ids_BK.gather(1, _under(weights_BK, uniform_B1)[0])[:, 0]


def nucleus(weights_BV: Tensor, top_p_B1: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row the likeliest tokens that together reach its `top_p`, by id; others among them weigh 0."""
    reach_B1, size = top_p_B1 * weights_BV.sum(-1, keepdim=True, dtype=torch.float64), weights_BV.shape[1]
    count = NUCLEUS
    while True:  # few tokens are most of what is likely, and to sort all takes twenty times as long
        found_BK, ids_BK = weights_BV.topk(min(count, size))
        cdf_BK = found_BK.cumsum(-1, dtype=torch.float64)
        if count >= size or bool((cdf_BK[:, -1:] >= reach_B1).all()):
            break
        count *= 8
    found_BK = found_BK.masked_fill_(cdf_BK - found_BK >= reach_B1, 0.0)
    ids_BK, by_id_BK = ids_BK.sort(-1)
    return ids_BK, found_BK.gather(1, by_id_BK)


def _weights(logits_BV: Tensor, draws: Sequence[Draw]) -> Tensor:
    """What tokens weigh, the likeliest 1: probabilities but for a factor."""
    weights_BV = logits_BV - logits_BV.amax(-1, keepdim=True)
    if any(draw.how.temperature != 1 for draw in draws):
        weights_BV /= torch.tensor([[draw.how.temperature] for draw in draws], device=logits_BV.device)
    return weights_BV.exp_()


def _uniform(draws: Sequence[Draw], like: Tensor) -> Tensor:
    return torch.tensor([[next(draw.uniforms)] for draw in draws], dtype=torch.float64).to(like.device)


def _under(weights_BN: Tensor, uniform_B1: Tensor) -> tuple[Tensor, Tensor]:
    """Where a random number falls, and how far in there, again from 0 to 1. Where nothing weighs, none falls.

    In double: over many tokens float32 would round some tokens' share of the sum to nothing.
    """
    cdf_BN = weights_BN.cumsum(-1, dtype=torch.float64)
    whole_B1 = cdf_BN[:, -1:]
    point_B1 = (uniform_B1 * whole_B1).minimum(whole_B1.nextafter(torch.zeros_like(whole_B1)))
    at_B1 = torch.searchsorted(cdf_BN, point_B1, right=True)
    weight_B1 = weights_BN.gather(1, at_B1).double()
    return at_B1, ((point_B1 - cdf_BN.gather(1, at_B1)) / weight_B1 + 1).clamp(0, 1)


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


ONE_QUERY: Final = "jurist_one_query"


def one_query(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **how: Any
) -> tuple[Tensor, None]:
    """`sdpa` for a token a row, whose query heads read their keys where they lie, in one product.

    On a CPU in bfloat16 torch's own kernel takes eight times as long. Anything else is left to that.
    """
    (rows, heads, count, width), shared = query.shape, key.shape[1]
    known = {"scaling", "dropout", "sliding_window", "position_ids", "is_causal", "use_cache"}
    plain = all(how[name] is None for name in how.keys() - known) and not how.get("dropout")
    mask = attention_mask
    if count != 1 or not plain or (mask is not None and (mask.shape[1] != 1 or mask.dtype != torch.bool)):
        return sdpa_attention_forward(module, query, key, value, mask, **how)
    scale = width**-0.5 if how.get("scaling") is None else how["scaling"]
    scores = (query * scale).view(rows, shared, heads // shared, width) @ key.mT
    if mask is not None:
        scores = scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
    out = scores.softmax(-1, dtype=torch.float32).to(value.dtype) @ value
    return out.reshape(rows, 1, heads, value.shape[-1]), None


AttentionInterface.register(ONE_QUERY, one_query)
AttentionMaskInterface.register(ONE_QUERY, sdpa_mask)


@contextmanager
def quick_attention(model: Any) -> Iterator[None]:
    """Lets a model on a CPU that attends by `sdpa` do so by `one_query`, for a pass."""
    config = causal_of(model).config
    if causal_of(model).device.type != "cpu" or config._attn_implementation != "sdpa":
        yield
        return
    config._attn_implementation = ONE_QUERY
    try:
        yield
    finally:
        config._attn_implementation = "sdpa"
