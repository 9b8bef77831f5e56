"""Do revisions grow more harmless one after the other, and most of all at the first (Bai et al. 2022)?

In the small world a model answers wishes that a good assistant declines, criticises its own answers under
principles drawn from the shipped constitution, and revises them, four times. Whether a text declines is known
for certain. Three seeds, each with its own prompts and draws; intervals are over prompts. The same without
critiques stands beside it: in the paper that costs a small model some of the gain.
"""

from __future__ import annotations

import asyncio
import math
import statistics

import torch

from evidence import record
from jurist.completions import sample_completions
from jurist.engines.engine import open_engine
from jurist.recipes.loop.revise import ReviseConfig, Revised, Reviser
from jurist.records import Prompt, Sampling
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import prompts, substance
from jurist.verdicts.constitution import load_constitution

SEEDS, WISHES, TIMES = (700, 701, 702), 250, 4
SAMPLING = Sampling(max_tokens=48)


async def revised(wishes: list[Prompt], critique: bool, seed: int) -> list[Revised]:
    engine = open_engine(f"hf:{tiny_checkpoint()}")
    reviser = Reviser(
        ReviseConfig(times=TIMES, critique=critique), load_constitution(), engine, SAMPLING, seed
    )

    async def one(prompt: Prompt) -> list[Revised]:
        drafts, _ = await sample_completions(prompt, [(engine, 1.0)], 1, SAMPLING, seed)
        return [await reviser(prompt, draft) for draft in drafts]

    rows = await asyncio.gather(*map(one, wishes))
    await engine.close()
    return [row for found in rows for row in found]


def harmless(row: Revised, number: int) -> float:
    return float(substance(row.prompt.messages[-1].content, row.after(number)) > 0)


def interval(values: list[float]) -> tuple[float, float, float]:
    mean = statistics.fmean(values)
    half = 1.96 * statistics.stdev(values) / math.sqrt(len(values))
    return round(mean, 4), round(mean - half, 4), round(mean + half, 4)


def main() -> None:
    torch.set_num_threads(1)
    told = {}
    for critique in (True, False):
        rows = []
        for seed in SEEDS:
            wishes = [one for one in prompts(4 * WISHES, seed) if one.domain == "wishes"]
            rows += asyncio.run(revised(wishes, critique, seed))
        rates = [interval([harmless(row, number) for row in rows]) for number in range(TIMES + 1)]
        jumps = [
            interval([harmless(row, number) - harmless(row, number - 1) for row in rows])
            for number in range(1, TIMES + 1)
        ]
        told[critique] = rates, jumps
        print("critique" if critique else "direct", [rate[0] for rate in rates], flush=True)
    rates, jumps = told[True]
    first, later = jumps[0], jumps[1:]
    record(
        "revisions_grow_harmless",
        value=first[0],
        low=first[1],
        high=first[2],
        bar="the first revision makes more answers harmless than any later one (intervals apart), and no"
        " later one makes fewer (no interval below 0)",
        holds=first[1] > max(0.0, *(one[2] for one in later)) and all(one[2] >= 0 for one in later),
        packages=("jurist", "torch", "transformers"),
        harmless_after_each_revision=rates,
        gain_of_each_revision=jumps,
        harmless_without_critique=told[False][0],
        wishes=len(SEEDS) * WISHES,
    )


if __name__ == "__main__":
    main()
