"""Each judge favours its own family; what is left of that in the labels of a jury of several families?

From a formula, on 100,000 matchups a seed: three families write answers of equal quality, and three judges,
one of each family, each favour their own. People's labels are drawn from the truth. The gap is how much more
often the labels agree with people where people prefer the family's own answer than where they do not: of the
labels of the judge alone, of the jury of all three, and of a jury of which nobody is related to an answer.
Then through the pipeline: planted judges of the small world label pairs of two policies, one of which they
know by how it begins; one judge is its kin, one is the other's, and one is neither's.

    python experiments/jury_removes_self_preference.py
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evidence import record
from jurist.audits.self_preference import self_preference
from jurist.audits.sheet import Sheet
from jurist.engines.engine import Ask
from jurist.preferences import PreferConfig
from jurist.recipes.label import label
from jurist.recipes.settings import LabelConfig
from jurist.records import Message, Preference
from jurist.run import read_records
from jurist.tiny.answers import careful, kin
from jurist.tiny.judges import KIN
from jurist.tiny.world import prompts
from jurist.verdicts.settings import JudgeConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support.simulated import Simulated, World, simulate

SEEDS = (1, 2, 3, 4, 5)
MATCHUPS, PAIRS = 100_000, 4_000
POLICIES = ("gpt-small", "qwen-small", "llama-small")
JUROR: dict[str, Any] = {"sharpness": 2.0, "noise": 1.0, "fooled": 0.0, "length": 0.0, "ignorant": []}
JURIES: dict[str, tuple[dict[str, float], ...]] = {
    "fair": ({},),
    "alone": ({"kinship": 0.8},),
    "every family": ({"kinship": 0.8}, {"kinship": -0.8}, {}),
    "unrelated": ({}, {}, {}),
}
"""Whoever likes the answers that begin like its own the less is kin of the other policy."""
OWN = 0.8
"""Log-odds for one's own: about the gaps that were found in judges of GPT-4's day."""
VAIN = tuple(
    Simulated(name.replace("small", "large"), own=OWN, kin=name, noise=1.0, soft=True) for name in POLICIES
)
UNRELATED = tuple(
    Simulated(f"{name}-large", noise=1.0, soft=True) for name in ("claude", "mistral", "command")
)


def gaps(seed: int) -> dict[str, list[float]]:
    """In points, with the interval: of one judge, of the jury of all families, and of unrelated ones."""
    world = World(prompts=MATCHUPS, policies=POLICIES, people=1)
    juries = {"alone": VAIN[:1], "every family": VAIN, "unrelated": UNRELATED}
    return {name: gap(simulate(jury, world, seed)[0]) for name, jury in juries.items()}


def gap(sheet: Sheet) -> list[float]:
    """Of the jury's mean, as if it were one judge of the first family, by our own audit."""
    n = len(sheet.matchups)
    rows, none = np.arange(n), np.zeros(n, dtype=int)
    mean = np.bincount(sheet.opinions.matchup, sheet.opinions.p, minlength=n) / len(sheet.judges)
    one = replace(sheet.verdicts, judge=none, matchup=rows, swapped=none > 0, p=mean)
    (found,) = self_preference(replace(sheet, verdicts=one, judges=(VAIN[0].name,)))
    return [round(100 * end, 2) for end in found.estimate[:3]]


def labelled(folder: Path, name: str, jury: tuple[dict[str, float], ...]) -> dict[str, float]:
    """For each pair, p that the label gives to the answer of the family that is known by how it begins."""
    file = folder / "pairs.jsonl"
    if not file.exists():
        rows = []
        for prompt in prompts(PAIRS, 31):
            asked = prompt.messages[-1].content
            one, other = (Ask((Message("user", asked),), sample=sample) for sample in (1, 2))
            rows.append({"prompt": asked, "first": kin(one), "second": careful(other)})
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = folder / name.replace(" ", "-")
    label(
        LabelConfig(
            out=str(out),
            pairs=str(file),
            judge=tuple(
                JudgeConfig(name=f"juror{at}", engine={"engine": "tiny:planted", "extra": {**JUROR, **extra}})
                for at, extra in enumerate(jury)
            ),
            prefer=PreferConfig(rule="all_pairs", ties="soft", near_duplicates=0.0),
            export=(),
        )
    )
    return {
        row.prompt.id: row.p if row.chosen.text.startswith(KIN) else 1 - row.p
        for row in read_records(out / "preferences.jsonl", Preference)
    }


def through_the_pipeline() -> dict[str, list[float]]:
    """Points more for the kin's answers than with one judge who is nobody's kin, with the interval."""
    with tempfile.TemporaryDirectory() as name:
        told = {jury: labelled(Path(name), jury, some) for jury, some in JURIES.items()}
    fair = told.pop("fair")
    found = {}
    for jury, ps in told.items():
        more = [100 * (ps[one] - fair[one]) for one in ps.keys() & fair.keys()]
        middle, reach = statistics.fmean(more), 1.96 * statistics.stdev(more) / len(more) ** 0.5
        found[jury] = [round(one, 2) for one in (middle, middle - reach, middle + reach)]
    return found


def main() -> None:
    told = [gaps(seed) for seed in SEEDS]
    pipeline = through_the_pipeline()
    planted = min(one["alone"][0] for one in told)
    left = [abs(one[jury][0]) for one in told for jury in ("every family", "unrelated")]
    piped = [abs(end) for jury in ("every family", "unrelated") for end in pipeline[jury]]
    record(
        "jury_removes_self_preference",
        value=max(left),
        bar="alone a judge favours its own by 10 points or more; of a jury of disjoint families less than 1 "
        "is left in every seed, and through the pipeline the interval too is within 1 point",
        holds=planted >= 10 and pipeline["alone"][1] >= 10 and max(left) < 1 and max(piped) < 1,
        unit="points of the equal-opportunity gap that are left, the worst of all seeds and juries",
        alone=planted,
        seeds=told,
        pipeline=pipeline,
        matchups=MATCHUPS,
        pairs=PAIRS,
    )


if __name__ == "__main__":
    main()
