"""What is left of a judge's bias in labels that are averaged: over both orders, or over families?

First from a formula, on so many matchups that chance is far below a point; then through the pipeline, where
planted judges of the small world label pairs, and each label is held against that of the same judge without
the bias. `swap_removes_position_bias`: in one order (the null), in both, and in both for a fifth of the
matchups, with the bias learnt from those and taken out of the rest. `jury_removes_self_preference`: how much
more often labels agree with humans where those prefer the first family's answer than where they do not, of
its own judge alone (the null), of a jury of all three families, and of a jury of which nobody is related to
an answer.

    python experiments/averaging_removes_bias.py [CLAIM ...]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from evidence import Interval, differences, interval, record, run_claims
from jurist.audits.sheet import Sheet
from jurist.engines.engine import Ask
from jurist.preferences import PreferConfig
from jurist.records import Message, Verdict
from jurist.run import read_records
from jurist.selftest import make_rows
from jurist.tiny.answers import careful, kin
from jurist.tiny.judges import KIN
from jurist.tiny.world import prompts
from jurist.verdicts.calibrate import debias, fit_columns
from jurist.verdicts.settings import JudgeConfig
from small_world import label_pairs, preferences, request
from support.simulated import Simulated, World, simulate

SEEDS = (1, 2, 3, 4, 5)
PLANTED: dict[str, Any] = {"sharpness": 2.0, "noise": 1.0, "fooled": 0.0, "length": 0.0}
KNOWING = {**PLANTED, "ignorant": []}
EACH_LABEL = PreferConfig(rule="all_pairs", ties="soft", near_duplicates=0.0)


def points_more(labels: dict[str, float], fair: dict[str, float]) -> Interval:
    """Points more than the same judge without the bias gives."""
    known = labels.keys() & fair.keys()
    return interval([100 * one for one in differences(map(labels.get, known), map(fair.get, known))], 3)  # type: ignore[arg-type]


MATCHUPS, SWAPPED, PAIRS, POSITION = 200_000, 0.2, 5_000, 1.6
JUDGES = {"sampled": Simulated(slot=1.735), "probabilities": Simulated(slot=1.735, soft=True)}
"""About 70 of 100 to the first position, whether it samples its verdicts or gives its probability."""
WAYS = ("never", "always", "fraction:0.2")


def swap_removes_position_bias() -> None:
    found = {name: [from_formula(judge, seed) for seed in SEEDS] for name, judge in JUDGES.items()}
    rows: list[dict[str, Any]] = [row for some in found.values() for row in some]
    pipeline = swapped_in_the_pipeline()
    planted = [row["one order"] for row in rows]
    left = max(abs(row[way]) for row in rows for way in ("both orders", "a fifth in both"))
    piped = max(abs(end) for swap in WAYS[1:] for end in pipeline[swap])
    record(
        "swap_removes_position_bias",
        left,
        null={"asked in one order": [min(planted), max(planted)]},
        bar="of 20 points for the first position less than 1 is left, by swapping all and by swapping a fifth"
        " with the bias fitted, in every seed; through the pipeline the interval too is within 1 point",
        holds=min(planted) > 19 and left < 1 and piped < 1 < pipeline["never"][1],
        unit="points that the first position keeps, the worst of all seeds and judges",
        more={"from_formula": found, "pipeline": pipeline, "matchups": MATCHUPS, "pairs": PAIRS},
    )


def from_formula(judge: Simulated, seed: int) -> dict[str, float]:
    """Points by which labels favour the position that was shown first, which was drawn."""
    world = World(prompts=MATCHUPS, policies=("one",), people=0)
    opinions = simulate((judge,), world, seed)[0].opinions
    dice, matchup = np.random.default_rng(seed), np.arange(MATCHUPS)
    swapped, both = dice.random(MATCHUPS) < 0.5, dice.random(MATCHUPS) < SWAPPED
    # The probability of the answer that was shown first, in that order and in the other.
    shown = np.where(swapped, 1 - opinions.p_swapped, opinions.p_given)
    again = np.where(swapped, 1 - opinions.p_given, opinions.p_swapped)
    columns = ([matchup, matchup[both]], [swapped, ~swapped[both]], [shown, 1 - again[both]])
    fit = fit_columns(*map(np.concatenate, columns))
    levels, place = np.unique(shown, return_inverse=True)
    mended = np.array([debias(p, fit) for p in levels.tolist()])[place]
    averaged = (shown + again) / 2
    ways = {"one order": shown, "both orders": averaged, "a fifth in both": np.where(both, averaged, mended)}
    return {way: round(100 * (float(p.mean()) - 0.5), 3) for way, p in ways.items()}


def swapped_in_the_pipeline() -> dict[str, Interval]:
    with tempfile.TemporaryDirectory() as name:
        fair = labelled_in_orders(Path(name), "always", 0.0)
        return {way: points_more(labelled_in_orders(Path(name), way, POSITION), fair) for way in WAYS}


def labelled_in_orders(folder: Path, swap: str, position: float) -> dict[str, float]:
    """For each matchup, p that the label gives to its first answer as given."""
    pairs = ((row.prompt, row.better, row.worse) for row in make_rows(PAIRS))
    planted = {**PLANTED, "position": position}
    judge = JudgeConfig(engine={"engine": "tiny:planted", "extra": planted}, swap=swap)
    out = label_pairs(folder / f"{swap.replace(':', '-')}-{position}", pairs, judge=judge, prefer=EACH_LABEL)
    verdicts = {one.id: one for one in read_records(out / "verdicts.jsonl", Verdict)}
    found = {}
    for row in preferences(out):
        one = verdicts[row.verdict_ids[0]]
        first = one.first_id if one.order == "given" else one.second_id
        found[one.matchup_id] = row.p if first == row.chosen.id else 1 - row.p
    return found


POLICIES = ("gpt-small", "qwen-small", "llama-small")
OWN = 0.8
"""Log-odds for one's own: about the gaps that were found in judges of GPT-4's day."""
BIASED = tuple(Simulated(f"{name}-judge", own=OWN, kin=name, noise=1.0, soft=True) for name in POLICIES)
UNRELATED = tuple(Simulated(name, noise=1.0, soft=True) for name in ("claude", "mistral", "command"))
JURIES: dict[str, tuple[dict[str, float], ...]] = {
    "fair": ({},),
    "alone": ({"kinship": 0.8},),
    "every family": ({"kinship": 0.8}, {"kinship": -0.8}, {}),
    "unrelated": ({}, {}, {}),
}
"""Whoever likes the answers that begin like its own the less is kin of the other policy."""
LEFT = ("every family", "unrelated")


def jury_removes_self_preference() -> None:
    seeds, pipeline = [gaps(seed) for seed in SEEDS], juries_in_the_pipeline()
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
        more={"seeds": seeds, "pipeline": pipeline, "matchups": 100_000, "pairs": 4_000},
    )


def gaps(seed: int) -> dict[str, float]:
    """In points: of one judge, of the jury of all families, and of unrelated ones."""
    world = World(prompts=100_000, policies=POLICIES, people=1)
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


def labelled_by(out: Path, jury: tuple[dict[str, float], ...]) -> dict[str, float]:
    """For each pair, p that the label gives to the answer of the family that is known by how it begins."""
    asked = [request(prompt) for prompt in prompts(4_000, 31)]
    asks = ((one, *(Ask((Message("user", one),), sample=sample) for sample in (1, 2))) for one in asked)
    judges = tuple(
        JudgeConfig(
            name=f"juror{at}",
            engine={"engine": "tiny:planted", "extra": {**PLANTED, "ignorant": [], **extra}},
        )
        for at, extra in enumerate(jury)
    )
    pairs = ((one, kin(first), careful(second)) for one, first, second in asks)
    run = label_pairs(out, pairs, judge=judges, prefer=EACH_LABEL)
    return {
        row.prompt.id: row.p if row.chosen.text.startswith(KIN) else 1 - row.p for row in preferences(run)
    }


def juries_in_the_pipeline() -> dict[str, Interval]:
    with tempfile.TemporaryDirectory() as name:
        found = {
            jury: labelled_by(Path(name) / jury.replace(" ", "-"), some) for jury, some in JURIES.items()
        }
    fair = found.pop("fair")
    return {jury: points_more(labels, fair) for jury, labels in found.items()}


if __name__ == "__main__":
    run_claims(swap_removes_position_bias, jury_removes_self_preference)
