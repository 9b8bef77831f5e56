"""A judge gives the first seat twenty points; what is left of that in the labels?

First from a formula, on 200,000 matchups a seed, so that chance is far below a point: what the first seat
gets in labels asked in one order, in both (averaged), and in both for a fifth of the matchups, with the seat
learnt from those and taken out of the rest. Then through the pipeline: a planted judge labels 5,000 pairs of
the small world with `judge.swap` at never, always and fraction:0.2, and each label is held against that of
the same judge without the leaning.

    python experiments/swap_removes_slot_bias.py
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
from jurist.preferences import PreferConfig
from jurist.recipes.label import label
from jurist.recipes.settings import LabelConfig
from jurist.records import Preference, Verdict
from jurist.run import read_records
from jurist.selftest import make_rows
from jurist.verdicts.calibrate import debias, fit_columns
from jurist.verdicts.settings import JudgeConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support.simulated import Simulated, World, simulate

SEEDS = (1, 2, 3, 4, 5)
MATCHUPS, SWAPPED, PAIRS = 200_000, 0.2, 5_000
JUDGES = {"drawn": Simulated(slot=1.735), "told": Simulated(slot=1.735, soft=True)}
"""About 70 of 100 to the first seat, whether it draws its verdicts or tells its probability."""
POSITION = 1.6
"""The same for the planted judge of the small world."""


def from_formula(judge: Simulated, seed: int) -> dict[str, float]:
    """Points by which labels favour the seat that was shown first, which was drawn."""
    world = World(prompts=MATCHUPS, policies=("one",), people=0)
    opinions = simulate((judge,), world, seed)[0].opinions
    dice = np.random.default_rng(seed)
    turned, both = dice.random(MATCHUPS) < 0.5, dice.random(MATCHUPS) < SWAPPED
    one, other = opinions.p_given, 1 - opinions.p_swapped
    shown = np.where(turned, other, one)
    again = 1 - np.where(turned, one, other)
    fit = fit_columns(
        np.concatenate([np.arange(MATCHUPS), np.flatnonzero(both)]),
        np.concatenate([turned, ~turned[both]]),
        np.concatenate([shown, 1 - again[both]]),
    )
    levels, place = np.unique(shown, return_inverse=True)
    mended = np.array([debias(p, fit) for p in levels.tolist()])[place]
    averaged = (shown + again) / 2
    return {
        "one order": points(shown),
        "both orders": points(averaged),
        "a fifth in both": points(np.where(both, averaged, mended)),
    }


def points(p: Any) -> float:
    return round(100 * (float(np.mean(p)) - 0.5), 3)


def labelled(folder: Path, swap: str, position: float) -> dict[str, float]:
    """For each matchup, p that the label gives to the answer seated first when it was asked as given."""
    file = folder / "pairs.jsonl"
    if not file.exists():
        rows = [{"prompt": row.prompt, "first": row.better, "second": row.worse} for row in make_rows(PAIRS)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = folder / f"{swap.replace(':', '-')}-{position}"
    judge = {"position": position, "sharpness": 2.0, "noise": 1.0, "fooled": 0.0, "length": 0.0}
    engine = {"engine": "tiny:planted", "extra": judge}
    label(
        LabelConfig(
            out=str(out),
            pairs=str(file),
            judge=JudgeConfig(engine=engine, swap=swap),
            prefer=PreferConfig(rule="all_pairs", ties="soft", near_duplicates=0.0),
            export=(),
        )
    )
    first = {
        one.matchup_id: one.first_id if one.order == "given" else one.second_id
        for one in read_records(out / "verdicts.jsonl", Verdict)
    }
    by_verdict = {one.id: one.matchup_id for one in read_records(out / "verdicts.jsonl", Verdict)}
    found = {}
    for row in read_records(out / "preferences.jsonl", Preference):
        matchup = by_verdict[row.verdict_ids[0]]
        found[matchup] = row.p if first[matchup] == row.chosen.id else 1 - row.p
    return found


def through_the_pipeline() -> dict[str, list[float]]:
    """Points more than the same judge without a leaning gives, with the 95 % interval."""
    with tempfile.TemporaryDirectory() as name:
        fair = labelled(Path(name), "always", 0.0)
        found = {}
        for swap in ("never", "always", "fraction:0.2"):
            leaning = labelled(Path(name), swap, POSITION)
            more = [100 * (leaning[one] - fair[one]) for one in leaning.keys() & fair.keys()]
            reach = 1.96 * statistics.stdev(more) / len(more) ** 0.5
            middle = statistics.fmean(more)
            found[swap] = [round(one, 3) for one in (middle, middle - reach, middle + reach)]
            found[swap].append(len(more))
    return found


def main() -> None:
    told = {name: [from_formula(judge, seed) for seed in SEEDS] for name, judge in JUDGES.items()}
    fair = {
        name: [from_formula(replace(judge, slot=0.0), seed) for seed in SEEDS[:1]]
        for name, judge in JUDGES.items()
    }
    pipeline = through_the_pipeline()
    planted = [one["one order"] for some in told.values() for one in some]
    left = [one[how] for some in told.values() for one in some for how in ("both orders", "a fifth in both")]
    piped = [end for swap in ("always", "fraction:0.2") for end in pipeline[swap][1:3]]
    record(
        "swap_removes_slot_bias",
        value=max(map(abs, left)),
        bar="of 20 points for the first seat less than 1 is left, by swapping all and by swapping a fifth "
        "with the slot fit, in every seed; through the pipeline the interval too is within 1 point",
        holds=min(planted) > 19 and max(map(abs, left)) < 1 and max(map(abs, piped)) < 1,
        unit="points that the first seat keeps, the worst of all seeds and judges",
        planted=[min(planted), max(planted)],
        from_formula=told,
        a_fair_judge=fair,
        pipeline=pipeline,
        matchups=MATCHUPS,
        pairs=PAIRS,
    )


if __name__ == "__main__":
    main()
