"""New prompts like the round's own: few-shot self-instruct (Wang et al. 2022).

A model is shown six given prompts and two invented before, and writes one more. One that is too short, too
long, or too like a known prompt is dropped with a reason, and another is asked for, within three calls for
each prompt wanted. So is one too like a held-out prompt, which is never shown: policies would be compared on
what they had learnt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from ...engines.engine import EngineConfig
from ...records import Dropped, Prompt, Sampling
from ...run import read_records
from .round import Round

SHOWN, SHOWN_INVENTED, TRIES = 6, 2, 3
HOW = Sampling(temperature=0.6, top_p=0.9, max_tokens=256)
QUESTION = (
    "Below are requests that people sent to an assistant, one a line. Write one more that they might have"
    " sent, unlike these in what it is about. Write the request alone, on one line.\n\n{shown}"
)


class InventConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Prompts that a model makes up, beside those of the file."""

    prompts: Annotated[int, Meta(ge=0, description="New prompts per round.")] = 0
    engine: Annotated[
        str | EngineConfig, Meta(description="Who writes the prompts; empty: the initial policy.")
    ] = ""
    novelty: Annotated[
        float, Meta(gt=0, le=1, description="Prompts with this ROUGE-L to a known prompt are dropped.")
    ] = 0.7
    words: Annotated[tuple[int, int], Meta(description="Fewest and most words of a prompt.")] = (3, 150)


def invent(round: Round, cfg: InventConfig, initial: str, file: Path) -> Path:
    """The prompts of the round and, where some are wanted, new ones like them at their end."""
    if not cfg.prompts:
        return file
    known, held_out = [*read_records(file, Prompt)], round.loop.read_prompts("held_out")
    new: list[Prompt] = []
    dropped: list[Dropped] = []
    left, attempt = TRIES * cfg.prompts, 0
    while n := min(left, cfg.prompts - len(new)):
        left, attempt = left - n, attempt + 1
        draws = [random.Random(f"{round.seed} {attempt} {place}") for place in range(n)]
        asked = [Prompt.of(QUESTION.format(shown="\n".join(shown(known, new, draw)))) for draw in draws]
        for one in round.answers(f"invent-{attempt}", cfg.engine or initial, asked, sampling=HOW):
            lines = [
                line.strip() for answer in one.answers for line in answer.text.splitlines() if line.strip()
            ]
            text = lines[0].removeprefix("- ").strip() if lines else ""
            prompt = Prompt.of(text, meta={"invented": True})
            if reason := unfit(text, [_text(one) for one in (*known, *new, *held_out)], cfg):
                dropped.append(Dropped(prompt.id, "prompts", reason, text))
            else:
                new.append(prompt)
    round.write("invented-dropped", dropped)
    return round.write("invented", [*known, *new])


def shown(known: Sequence[Prompt], new: Sequence[Prompt], draw: random.Random) -> list[str]:
    """Six given prompts and two invented ones, in any order."""
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
