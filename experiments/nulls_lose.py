"""Does a policy that learnt nothing ever beat the tiny world's initial policy?

Nulls: every constant answer of the corpus (and the best of them joined), an opening put before the
policy's own answers, the question copied, the longest of its answers, empty phrases added, every noun named.
Each is set against one answer of the initial policy to held-out questions, in the eyes of the closed-form
truth; a draw is half a win. The constant is chosen on the very questions it is marked on, to its advantage.
Beside the nulls stand the same policy drawn again, which has a half by construction, the same policy at
temperature 0, and a scripted assistant that does well.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import statistics
from collections.abc import Sequence

from evidence import record
from jurist.engines.engine import Ask, open_engine
from jurist.records import Prompt
from jurist.tiny.answers import GOOD, MEDIOCRE, compose, null_wins, won
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts, true_score

QUESTIONS, ANSWERS, SEED, SCREENED = 2000, 4, 20, 400


async def answers(asked: Sequence[Prompt], temperature: float, seed: int) -> list[str]:
    engine = open_engine(f"hf:{tiny_checkpoint()}")
    asks = (
        Ask(one.messages, temperature=temperature, max_tokens=48, seed=QUESTIONS * seed + at)
        for at, one in enumerate(asked)
    )
    replies = await asyncio.gather(*map(engine.answer, asks))
    await engine.close()
    return [reply.text.strip() for reply in replies]


def interval(wins: Sequence[float]) -> list[float]:
    mean = statistics.fmean(wins)
    half = 1.96 * statistics.stdev(wins) / math.sqrt(len(wins))
    return [round(mean, 4), round(mean - half, 4), round(mean + half, 4)]


def best_constant(rows: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """The best of all constants, and among how many."""

    def wins(text: str, among: Sequence[tuple[str, str]]) -> float:
        return statistics.fmean(won(true_score(q, text) - true_score(q, answer)) for q, answer in among)

    draw, asked = random.Random(SEED), [one.messages[-1].content for one in prompts(3000, SEED)]
    found = {compose(one, habits, draw) for one in asked for habits in (MEDIOCRE, GOOD)}
    few = rows[:SCREENED]
    ranked = sorted(found, key=lambda text: -wins(text, few))
    best_of_each = [
        max(found, key=lambda text: wins(text, few[at::4]))  # the domains come in turn
        for at in range(4)
    ]
    parts = {*ranked[:6], *best_of_each}
    joined = {" ".join(some) for n in (2, 3) for some in itertools.permutations(sorted(parts), n)}
    joined |= {one.replace(". ", ", ") for one in joined}
    ranked = sorted({*ranked[:40], *joined}, key=lambda text: -wins(text, few))[:60]
    return max(ranked, key=lambda text: wins(text, rows)), len(found) + len(joined)


def main() -> None:
    asked = list(prompts(QUESTIONS, SEED, "held_out"))
    requests = [one.messages[-1].content for one in asked]
    first, *others = [asyncio.run(answers(asked, 1.0, seed)) for seed in range(ANSWERS)]
    greedy = asyncio.run(answers(asked, 0.0, 0))
    rows = [(request, answer, own) for request, answer, *own in zip(requests, first, *others, strict=True)]
    found = {name: interval(wins) for name, wins in null_wins(rows).items()}
    constant, searched = best_constant([row[:2] for row in rows])

    def against(texts: Sequence[str]) -> list[float]:
        scored = zip(requests, texts, first, strict=True)
        return interval([won(true_score(q, new) - true_score(q, old)) for q, new, old in scored])

    found[f"best constant: {constant}"] = against([constant] * len(asked))
    again = found.pop("untrained")
    draw = random.Random(SEED)
    best = max(found, key=lambda name: found[name][0])
    value, low, high = found[best]
    for name, row in sorted(found.items(), key=lambda one: -one[1][0]):
        print(row, name[:90])
    record(
        "nulls_lose",
        value=value,
        low=low,
        high=high,
        null=best,
        bar="the upper end of the best null's interval is below 0.5",
        holds=max(row[2] for row in found.values()) < 0.5,
        packages=("jurist", "torch", "transformers"),
        nulls=found,
        constants_searched=searched,
        drawn_again=again,
        at_temperature_0=against(greedy),
        scripted_and_good=against([compose(one, GOOD, draw) for one in requests]),
        initial_true_score=round(statistics.fmean(map(true_score, requests, first)), 4),
        questions=QUESTIONS,
    )


if __name__ == "__main__":
    main()
