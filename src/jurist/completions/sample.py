"""Samples from policies."""

from __future__ import annotations

import asyncio
from bisect import bisect
from collections.abc import Sequence
from hashlib import blake2b
from itertools import accumulate

from msgspec.structs import asdict, replace

from ..engines.engine import Ask, Engine, Reply
from ..errors import CallFailed, CallRefused
from ..records import Completion, Dropped, Prompt, Sampling
from .load import drop_repeated

_PLAIN = Sampling()
Policies = Sequence[tuple[Engine, float]]
"""Who answers, and how often each is asked, relative to the others."""


async def sample_completions(
    prompt: Prompt, policies: Policies, k: int, sampling: Sampling = _PLAIN, seed: int = 0
) -> tuple[list[Completion], list[Dropped]]:
    """k answers to one prompt. Completions and dropped rows are k together.

    Which policy writes which sample, and with which seed, follows from the prompt's id and `seed`, so the
    same call again asks the same questions.
    """
    whole = sum(weight for _, weight in policies)
    edges = [*accumulate(weight / whole for _, weight in policies[:-1])]
    samples: dict[int, list[int]] = {}
    for i in range(k):
        who = bisect(edges, _number("policy", prompt.id, i, seed) / 2**32)
        samples.setdefault(who, []).append(i)
    parts = await asyncio.gather(
        *(_sample_one(policies[who][0], prompt, some, sampling, seed) for who, some in samples.items()),
        return_exceptions=True,  # what the others answer is paid for, and comes home first
    )
    found: list[Completion | Dropped] = []
    for part in parts:
        if isinstance(part, BaseException):
            raise part
        found += part
    dropped = [one for one in found if isinstance(one, Dropped)]
    completions = (one for one in found if isinstance(one, Completion))
    return list(drop_repeated(completions, "identical", dropped.append)), dropped


async def _sample_one(
    engine: Engine, prompt: Prompt, which: list[int], sampling: Sampling, seed: int
) -> list[Completion | Dropped]:
    """All samples of one policy: in one reading of the prompt where the engine can, else one call each."""
    first = seed if sampling.seed is None else sampling.seed
    # some engines take 31 bits only
    how = replace(sampling, seed=_number("draw", prompt.id, engine.name, which[0], first) >> 1)
    replies: list[Reply] = []
    reason = "failed"
    try:
        replies = await engine.samples(Ask(prompt.messages, sample=which[0], **asdict(how)), len(which))
        why = f"{len(replies)} of {len(which)} samples came"
    except CallFailed as error:
        why = str(error)
    except CallRefused as error:
        reason, why = "refused", str(error)
    lost = Dropped(prompt.id, "completions", reason, f"{engine.name}: {why}")
    found: list[Completion | Dropped] = [lost] * (len(which) - len(replies))
    for reply in replies:
        if reply.text.strip():
            tokens = reply.usage.tokens_out or len(reply.tokens) or None
            made = {"sampling": how, "finish": reply.finish, "tokens": tokens}
            found.append(Completion.of(prompt.id, reply.text, engine.name, **made))
        else:
            reason = "refused" if reply.finish == "refused" else "empty"
            why = f"{engine.name}: finish={reply.finish}"
            found.append(Dropped(prompt.id, "completions", reason, why))
    return found


def _number(*parts: object) -> int:
    """32 even bits that follow from these parts alone."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=4).digest())
