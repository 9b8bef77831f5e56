"""New prompts in the manner of the round's own: few-shot self-instruct (Wang et al. 2022).

A model is shown six prompts of the user's and two of those it invented before, and writes one more. One that
is too short, too long, or too like a prompt that is there already leaves by name. So does one too like a
held-out prompt, which is never shown: policies would be compared on what they had learnt.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from ...engines.budget import Budget
from ...engines.engine import Ask
from ...engines.journaled import Engines, JournaledEngine
from ...errors import CallFailed, CallRefused
from ...records import Dropped, Message, Prompt
from ...run import read_records
from ..stream import run_async
from .labelling import engine_of
from .rounds import Round

SHOWN, SHOWN_INVENTED = 6, 2
TOGETHER = 16
"""Asked for at once; the next ones see what came of them."""
TRIES = 3
"""Times the prompts wanted, at most."""
ASKED = (
    "Below are requests that people sent to an assistant, one a line. Write one more that they might have"
    " sent, unlike these in what it is about. Write the request alone, on one line.\n\n{shown}"
)


class InventConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Prompts that a model makes up, beside those of the file."""

    prompts: Annotated[int, Meta(ge=0, description="New prompts per round.")] = 0
    engine: Annotated[
        str | dict[str, Any], Meta(description="Who writes the prompts; empty: the initial policy.")
    ] = ""
    novelty: Annotated[
        float, Meta(gt=0, le=1, description="Prompts with this ROUGE-L to a known prompt are dropped.")
    ] = 0.7
    words: Annotated[tuple[int, int], Meta(description="Fewest and most words of a prompt.")] = (3, 150)


class Invented(Struct, frozen=True):
    """A file with the prompts of the round, invented ones at its end."""

    file: str
    new: int
    usd: float = 0.0
    seconds: float = 0.0


def invented(round: Round, cfg: InventConfig, start: str, file: Path) -> Path:
    """The prompts of the round and, where some are wanted, new ones in their manner."""
    if not cfg.prompts:
        return file
    loop = round.loop

    def work() -> Invented:
        known, unseen = list(read_records(file, Prompt)), loop.read_prompts("held_out")
        with round.opened("invent") as run:
            money = Budget(loop.left(), run.journal)
            engines = Engines(run.journal, money)
            new, dropped = run_async(
                _invent(engines, cfg, cfg.engine or engine_of(start), known, unseen, round.seed), money
            )
            with run.writing("prompts", "dropped") as files:
                for prompt in (*known, *new):
                    files["prompts"].add(prompt)
                for row in dropped:
                    files["dropped"].add(row)
            return Invented(str(run.file("prompts")), len(new), money.spent)

    return Path(loop.once(round.number, "invent", Invented, work).file)


async def _invent(
    engines: Engines,
    cfg: InventConfig,
    engine: str | dict[str, Any],
    known: Sequence[Prompt],
    unseen: Sequence[Prompt],
    seed: int,
) -> tuple[list[Prompt], list[Dropped]]:
    new: list[Prompt] = []
    dropped: list[Dropped] = []
    try:
        asked = engines(engine)
        await engines.prepare()
        for first in range(0, TRIES * cfg.prompts, TOGETHER):
            draws = [
                random.Random(f"{seed} {number}")
                for number in range(first, min(first + TOGETHER, TRIES * cfg.prompts))
            ]
            calls = (_one(asked, shown(known, new, draw), draw) for draw in draws)
            # What is under way may be paid for: all of it comes home before an error travels on.
            for text in await asyncio.gather(*calls, return_exceptions=True):
                if isinstance(text, BaseException):
                    raise text
                prompt = Prompt.of(text, meta={"invented": True})
                if len(new) < cfg.prompts:
                    reason = unfit(text, [_text(one) for one in (*known, *new, *unseen)], cfg)
                    if reason:
                        dropped.append(Dropped(prompt.id, "prompts", reason, text))
                    else:
                        new.append(prompt)
            if len(new) >= cfg.prompts:
                break
    finally:
        await engines.close()
    return new, dropped


async def _one(asked: JournaledEngine, examples: Sequence[str], draw: random.Random) -> str:
    """A new request in one line; nothing where the call gave nothing."""
    question = ASKED.format(shown="\n".join(examples))
    try:
        reply = await asked.answer(
            Ask((Message("user", question),), 0.6, 0.9, max_tokens=256, seed=draw.randrange(1 << 31))
        )
    except (CallFailed, CallRefused):
        return ""
    lines = [line.strip() for line in reply.text.splitlines() if line.strip()]
    return lines[0].removeprefix("- ").strip() if lines else ""


def shown(known: Sequence[Prompt], new: Sequence[Prompt], draw: random.Random) -> list[str]:
    """Six of the user's and two invented ones, in any order."""
    picked = draw.sample(list(known), min(SHOWN, len(known)))
    picked += draw.sample(list(new), min(SHOWN_INVENTED, len(new)))
    draw.shuffle(picked)
    return [" ".join(_text(one).split()) for one in picked]


def unfit(text: str, known: Sequence[str], cfg: InventConfig) -> str:
    """Why a new prompt is no good; empty when it is."""
    words = len(text.split())
    if not words:
        return "empty"
    if not cfg.words[0] <= words <= cfg.words[1]:
        return "too_short" if words < cfg.words[0] else "too_long"
    return "not_new" if any(rouge_l(text, other) >= cfg.novelty for other in known) else ""


def rouge_l(one: str, other: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004)."""
    ours, theirs = one.casefold().split(), other.casefold().split()
    row = [0] * (len(theirs) + 1)
    for word in ours:
        before = 0
        for place, match in enumerate(theirs, 1):
            before, row[place] = row[place], before + 1 if word == match else max(row[place], row[place - 1])
    return 2 * row[-1] / (len(ours) + len(theirs)) if ours or theirs else 0.0


def _text(prompt: Prompt) -> str:
    return prompt.messages[-1].content
