"""Samples from a policy, or from a weighted mixture of policies and checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

from msgspec import Struct
from msgspec.structs import asdict, replace

from ..engines.engine import Ask, Engine, Reply
from ..errors import CallFailed, CallRefused, SettingError
from ..records import Completion, Dropped, Prompt, Sampling
from .load import drop_repeated

PLAIN = Sampling()


class Policies(Struct, frozen=True):
    """Who answers, and how often each is asked. The shares add up to 1."""

    engines: tuple[Engine, ...]
    shares: tuple[float, ...]


def mixture(engines: Sequence[tuple[Engine, float]]) -> Policies:
    """Policies asked in proportion to their weights."""
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

    Which policy writes which sample, and with which seed, follows from the prompt's id and `seed`, so the
    same call again asks the same questions. A sample that gave nothing is dropped and the others go on.
    """
    edges = list(accumulate(policies.shares))
    samples: dict[int, list[int]] = {}
    for i in range(k):
        point = _number("policy", prompt.id, i, seed) / 2**32
        who = next((who for who, edge in enumerate(edges) if point < edge), len(edges) - 1)
        samples.setdefault(who, []).append(i)
    parts = await asyncio.gather(
        *(_sample_one(policies.engines[who], prompt, some, sampling, seed) for who, some in samples.items()),
        return_exceptions=True,
    )
    completions: list[Completion] = []
    dropped: list[Dropped] = []
    for part in parts:
        if isinstance(part, BaseException):
            raise part
        completions += (one for one in part if isinstance(one, Completion))
        dropped += (one for one in part if isinstance(one, Dropped))
    return list(drop_repeated(completions, "identical", dropped.append)), dropped


async def _sample_one(
    engine: Engine, prompt: Prompt, which: list[int], sampling: Sampling, seed: int
) -> list[Completion | Dropped]:
    """All samples of one policy: in one reading of the prompt where the engine can, else one call each."""
    first = seed if sampling.seed is None else sampling.seed
    # some engines take 31 bits only
    how = replace(sampling, seed=_number("draw", prompt.id, engine.name, which[0], first) >> 1)
    ask = Ask(prompt.messages, sample=which[0], **asdict(how))
    replies: list[Reply | BaseException] = []
    lost: CallFailed | CallRefused
    try:
        replies += await engine.samples(ask, len(which))
        lost = CallFailed(f"{len(replies)} of {len(which)} samples came")
    except (CallFailed, CallRefused) as error:
        lost = error
    replies += [lost] * (len(which) - len(replies))
    return [_read(prompt, engine.name, how, reply) for reply in replies]


def _read(prompt: Prompt, policy: str, how: Sampling, reply: Reply | BaseException) -> Completion | Dropped:
    """One reply as a completion, or the reason why there is none."""
    if isinstance(reply, CallFailed | CallRefused):
        reason = "failed" if isinstance(reply, CallFailed) else "refused"
        return Dropped(prompt.id, "completions", reason, f"{policy}: {reply}")
    if isinstance(reply, BaseException):
        raise reply
    if not reply.text or reply.text.isspace():
        reason = "refused" if reply.finish == "refused" else "empty"
        return Dropped(prompt.id, "completions", reason, f"{policy}: finish={reply.finish}")
    tokens = reply.usage.tokens_out or len(reply.tokens) or None
    return Completion.of(prompt.id, reply.text, policy, sampling=how, finish=reply.finish, tokens=tokens)


def _number(*parts: object) -> int:
    """32 even bits that follow from these parts alone."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=4).digest())
