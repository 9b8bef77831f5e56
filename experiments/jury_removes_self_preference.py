"""Each judge favours its own family; what is left of that in the labels of a jury of several families?

From a formula, on 100,000 matchups a seed: three families write answers of equal quality, and three judges,
one of each family, each favour their own. Human labels are drawn from the truth. The gap is how much more
often the labels agree with humans where those prefer the first family's answer than where they do not: of the
labels of its own judge alone (the null), of the jury of all three, and of a jury of which nobody is related
to an answer. Then through the pipeline: planted judges of the small world label pairs of two policies, one of
which they know by how it begins; one judge is its kin, one is the other's, and one is neither's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from evidence import Interval, differences, interval, record
from jurist.audits.sheet import Sheet
from jurist.engines.engine import Ask
from jurist.preferences import PreferConfig
from jurist.records import Message
from jurist.tiny.answers import careful, kin
from jurist.tiny.judges import KIN
from jurist.tiny.world import prompts
from jurist.verdicts.settings import JudgeConfig
from small_world import label_pairs, preferences, request
from support.simulated import Simulated, World, simulate

SEEDS = (1, 2, 3, 4, 5)
MATCHUPS, PAIRS = 100_000, 4_000
POLICIES = ("gpt-small", "qwen-small", "llama-small")
OWN = 0.8
"""Log-odds for one's own: about the gaps that were found in judges of GPT-4's day."""
BIASED = tuple(Simulated(f"{name}-judge", own=OWN, kin=name, noise=1.0, soft=True) for name in POLICIES)
UNRELATED = tuple(Simulated(name, noise=1.0, soft=True) for name in ("claude", "mistral", "command"))
JUROR: dict[str, Any] = {"sharpness": 2.0, "noise": 1.0, "fooled": 0.0, "length": 0.0, "ignorant": []}
JURIES: dict[str, tuple[dict[str, float], ...]] = {
    "fair": ({},),
    "alone": ({"kinship": 0.8},),
    "every family": ({"kinship": 0.8}, {"kinship": -0.8}, {}),
    "unrelated": ({}, {}, {}),
}
"""Whoever likes the answers that begin like its own the less is kin of the other policy."""
LEFT = ("every family", "unrelated")
EACH_LABEL = PreferConfig(rule="all_pairs", ties="soft", near_duplicates=0.0)


def gaps(seed: int) -> dict[str, float]:
    """In points: of one judge, of the jury of all families, and of unrelated ones."""
    world = World(prompts=MATCHUPS, policies=POLICIES, people=1)
    juries = {"alone": BIASED[:1], "every family": BIASED, "unrelated": UNRELATED}
    return {name: round(100 * gap(simulate(jury, world, seed)[0]), 2) for name, jury in juries.items()}


def gap(sheet: Sheet) -> float:
    """Of the jury's mean, for the first family, against one human."""
    first, second = (
        sheet.answers.policy[side] == 0 for side in (sheet.matchups.first, sheet.matchups.second)
    )
    own, sign = first != second, np.where(first, 1, -1)
    label, human = (((p - 0.5) * sign)[own] > 0 for p in (sheet.mean_opinion, sheet.human_p))
    return float(label[human].mean() - (~label)[~human].mean())


def labelled(out: Path, jury: tuple[dict[str, float], ...]) -> dict[str, float]:
    """For each pair, p that the label gives to the answer of the family that is known by how it begins."""
    asked = [request(prompt) for prompt in prompts(PAIRS, 31)]
    asks = ((one, *(Ask((Message("user", one),), sample=sample) for sample in (1, 2))) for one in asked)
    judges = tuple(
        JudgeConfig(name=f"juror{at}", engine={"engine": "tiny:planted", "extra": {**JUROR, **extra}})
        for at, extra in enumerate(jury)
    )
    pairs = ((one, kin(first), careful(second)) for one, first, second in asks)
    run = label_pairs(out, pairs, judge=judges, prefer=EACH_LABEL)
    return {
        row.prompt.id: row.p if row.chosen.text.startswith(KIN) else 1 - row.p for row in preferences(run)
    }


def through_the_pipeline() -> dict[str, Interval]:
    """Points more for the kin's answers than with one judge who is nobody's kin."""
    with tempfile.TemporaryDirectory() as name:
        found = {jury: labelled(Path(name) / jury.replace(" ", "-"), some) for jury, some in JURIES.items()}
    fair = found.pop("fair")
    known = {jury: ps.keys() & fair.keys() for jury, ps in found.items()}
    more = {
        jury: differences((found[jury][x] for x in xs), (fair[x] for x in xs)) for jury, xs in known.items()
    }
    return {jury: interval([100 * one for one in some], 2) for jury, some in more.items()}


def main() -> None:
    seeds, pipeline = [gaps(seed) for seed in SEEDS], through_the_pipeline()
    planted = min(one["alone"] for one in seeds)
    left = max(abs(one[jury]) for one in seeds for jury in LEFT)
    piped = max(abs(end) for jury in LEFT for end in pipeline[jury])
    record(
        "jury_removes_self_preference",
        left,
        null={"a judge alone, at least": planted},
        bar="alone a judge favours its own by 10 points or more; of a jury of disjoint families less than 1 "
        "is left in every seed, and through the pipeline the interval too is within 1 point",
        holds=planted >= 10 and pipeline["alone"][1] >= 10 and left < 1 and piped < 1,
        unit="points of the equal-opportunity gap that are left, the worst of all seeds and juries",
        more={"seeds": seeds, "pipeline": pipeline, "matchups": MATCHUPS, "pairs": PAIRS},
    )


if __name__ == "__main__":
    main()
