"""Drawing completions from a policy, or from a weighted mixture of policies and checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

from msgspec import Struct
from msgspec.structs import replace

from ..engines.engine import Ask, DrawsMany, Engine, Reply
from ..errors import CallFailed, CallRefused, SettingError
from ..records import Completion, Dropped, Prompt, Sampling
from .load import drop_repeated

PLAIN = Sampling()


class Policies(Struct, frozen=True):
    """Who answers, and how often each is drawn. The shares add up to 1."""

    engines: tuple[Engine, ...]
    shares: tuple[float, ...]


def mixture(engines: Sequence[tuple[Engine, float]]) -> Policies:
    """Policies drawn in proportion to their weights."""
    if not engines:
        raise SettingError("no policy to sample from. Name one, e.g. policy: openai:gpt-5-mini")
    for engine, weight in engines:
        if not 0 < weight < float("inf"):
            raise SettingError(f"the weight of {engine.name} is {weight}; write a number above 0, e.g. 1")
    whole = sum(weight for _, weight in engines)
    return Policies(tuple(e for e, _ in engines), tuple(weight / whole for _, weight in engines))


async def sample(
    prompt: Prompt, policies: Policies, k: int, sampling: Sampling = PLAIN, seed: int = 0
) -> tuple[list[Completion], list[Dropped]]:
    """k answers to one prompt. Completions and dropped rows are k together.

    Which policy draws, and with which seed, follows from the prompt's id and `seed`, so the same call again
    asks the same questions. A draw that gave nothing leaves by name and the others go on.
    """
    draws: dict[int, list[int]] = {}
    for i in range(k):
        draws.setdefault(_drawn(prompt.id, policies.shares, i, seed), []).append(i)
    parts = await asyncio.gather(
        *(_by_one(policies.engines[who], prompt, which, sampling, seed) for who, which in draws.items()),
        return_exceptions=True,
    )
    completions: list[Completion] = []
    dropped: list[Dropped] = []
    for part in parts:
        if isinstance(part, BaseException):
            raise part
        completions += part[0]
        dropped += part[1]
    kept, again = drop_repeated(completions)
    return list(kept), dropped + again


async def _by_one(
    engine: Engine, prompt: Prompt, which: list[int], sampling: Sampling, seed: int
) -> tuple[list[Completion], list[Dropped]]:
    """All draws of one policy: in one reading of the prompt where the engine can, else one call each."""
    sent: list[tuple[Sampling, Reply | BaseException]] = []
    if sampling.seed is not None:
        seed = sampling.seed
    if isinstance(engine, DrawsMany) and getattr(engine, "draws_many", True):
        how = replace(sampling, seed=_seed(prompt.id, engine.name, which[0], seed))
        try:
            replies = await engine.answer_many(_ask(prompt, how, which[0]), len(which))
        except (CallFailed, CallRefused) as error:
            sent = [(how, error)] * len(which)
        else:
            sent = [(how, reply) for reply in replies[: len(which)]]
            sent += [(how, CallFailed(f"{len(replies)} of {len(which)} samples came"))] * (
                len(which) - len(sent)
            )
    else:
        hows = [replace(sampling, seed=_seed(prompt.id, engine.name, i, seed)) for i in which]
        asks = [_ask(prompt, how, i) for how, i in zip(hows, which, strict=True)]
        answers = await asyncio.gather(*(engine.answer(ask) for ask in asks), return_exceptions=True)
        sent = list(zip(hows, answers, strict=True))
    completions: list[Completion] = []
    dropped: list[Dropped] = []
    for how, reply in sent:
        read = _read(prompt, engine.name, how, reply)
        if isinstance(read, Completion):
            completions.append(read)
        else:
            dropped.append(read)
    return completions, dropped


def _read(prompt: Prompt, policy: str, how: Sampling, reply: Reply | BaseException) -> Completion | Dropped:
    """One reply as a completion, or by name as the reason why there is none."""
    if isinstance(reply, BaseException):
        if isinstance(reply, CallFailed | CallRefused):
            reason = "failed" if isinstance(reply, CallFailed) else "refused"
            return Dropped(prompt.id, "completions", reason, f"{policy}: {reply}")
        raise reply
    if not reply.text or reply.text.isspace():
        reason = "refused" if reply.finish == "refused" else "empty"
        return Dropped(prompt.id, "completions", reason, f"{policy}: finish={reply.finish}")
    tokens = reply.usage.tokens_out or len(reply.tokens) or None
    return Completion.of(prompt.id, reply.text, policy, sampling=how, finish=reply.finish, tokens=tokens)


def _ask(prompt: Prompt, how: Sampling, i: int) -> Ask:
    return Ask(
        prompt.messages,
        temperature=how.temperature,
        top_p=how.top_p,
        max_tokens=how.max_tokens,
        seed=how.seed,
        sample=i,
    )


def _number(*parts: object) -> int:
    """32 even bits that follow from these parts alone."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=4).digest())


def _seed(prompt_id: str, policy: str, i: int, seed: int) -> int:
    return _number("draw", prompt_id, policy, i, seed) >> 1  # some engines take 31 bits only


def _drawn(prompt_id: str, shares: tuple[float, ...], i: int, seed: int) -> int:
    """Which policy makes draw i."""
    point = _number("policy", prompt_id, i, seed) / 2**32
    return next((who for who, edge in enumerate(accumulate(shares)) if point < edge), len(shares) - 1)
