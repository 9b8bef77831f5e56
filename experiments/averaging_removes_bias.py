"""What is left of a judge's bias in labels that are averaged: over both orders, or over families?

First from a formula, on so many matchups that chance is far below a point; then through the pipeline, where
planted judges of the small world label pairs, and each label is compared with that of the same judge without
the bias. `swap_removes_position_bias`: pairs are shown in one order (the null), in both, or in both for a
fifth, from which the bias is learnt that is taken out of the rest. `jury_removes_self_preference`: how much
more often labels agree with humans where those prefer the first family's answer than where they do not, with
its own judge alone (the null), a jury of all three families, and a jury that is related to no answer.

    python experiments/averaging_removes_bias.py [CLAIM ...]
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from evidence import Interval, interval, record, run_claims
from jurist import JudgeConfig, PreferConfig
from jurist.engines.engine import Ask
from jurist.records import Message, Verdict
from jurist.run import read_records
from jurist.selftest import make_rows
from jurist.tiny.answers import careful, kin
from jurist.tiny.judges import KIN
from jurist.tiny.world import prompts
from jurist.verdicts.calibrate import debias, fit_columns
from small_world import label_pairs, preferences, request
from support.simulated import Simulated, World, simulate

SEEDS = (1, 2, 3, 4, 5)
PLANTED: dict[str, Any] = {"sharpness": 2.0, "noise": 1.0, "fooled": 0.0, "length": 0.0}
EACH_LABEL = PreferConfig(rule="all_pairs", ties="soft", near_duplicates=0.0)


def points_more(labels: dict[str, float], fair: dict[str, float]) -> Interval:
    """Points more than the same judge without the bias gives."""
    return interval([100 * (labels[name] - fair[name]) for name in labels.keys() & fair.keys()], 3)


MATCHUPS, SWAPPED, PAIRS, POSITION = 200_000, 0.2, 5_000, 1.6
JUDGES = {"sampled": Simulated(slot=1.735), "probabilities": Simulated(slot=1.735, soft=True)}
"""About 70 of 100 to the first position, whether it samples its verdicts or gives its probability."""
WAYS = ("never", "always", "fraction:0.2")


def swap_removes_position_bias() -> None:
    found = {name: [from_formula(judge, seed) for seed in SEEDS] for name, judge in JUDGES.items()}
    rows = [row for some in found.values() for row in some]
    with tempfile.TemporaryDirectory() as folder:
        fair = labelled_in_orders(Path(folder), "always", 0.0)
        labels = {way: labelled_in_orders(Path(folder), way, POSITION) for way in WAYS}
    pipeline = {way: points_more(some, fair) for way, some in labels.items()}
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
    """Points by which labels favour the answer that was shown first, which is drawn at random."""
    opinions = simulate((judge,), World(prompts=MATCHUPS, policies=("one",), people=0), seed)[0].opinions
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
"""Log-odds for one's own: about the gaps that were found in judges of GPT-4's generation."""
BIASED = tuple(Simulated(f"{name}-judge", own=OWN, kin=name, noise=1.0, soft=True) for name in POLICIES)
UNRELATED = tuple(Simulated(name, noise=1.0, soft=True) for name in ("claude", "mistral", "command"))
JURIES = {"fair": (0.0,), "alone": (OWN,), "every family": (OWN, -OWN, 0.0), "unrelated": (0.0, 0.0, 0.0)}
"""How much each judge likes answers that begin like its own; below 0 where it is kin of the other policy."""
LEFT = ("every family", "unrelated")


def jury_removes_self_preference() -> None:
    juries = {"alone": BIASED[:1], "every family": BIASED, "unrelated": UNRELATED}
    seeds = [{name: gap(jury, seed) for name, jury in juries.items()} for seed in SEEDS]
    with tempfile.TemporaryDirectory() as folder:
        labels = {
            name: labelled_by(Path(folder) / name.replace(" ", "-"), one) for name, one in JURIES.items()
        }
    fair = labels.pop("fair")
    pipeline = {name: points_more(some, fair) for name, some in labels.items()}
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


def gap(jury: tuple[Simulated, ...], seed: int) -> float:
    """In points: of the jury's mean, for the first family, against one human."""
    sheet = simulate(jury, World(prompts=100_000, policies=POLICIES, people=1), seed)[0]
    policies = sheet.answers.policy
    first, second = policies[sheet.matchups.first] == 0, policies[sheet.matchups.second] == 0
    own, sign = first != second, np.where(first, 1, -1)
    label, human = (((p - 0.5) * sign)[own] > 0 for p in (sheet.mean_opinion, sheet.human_p))
    return round(100 * float(label[human].mean() - (~label)[~human].mean()), 2)


def labelled_by(out: Path, jury: tuple[float, ...]) -> dict[str, float]:
    """For each pair, p that the label gives to the answer of the family that is known by how it begins."""
    pairs, judges = [], []
    for asked in map(request, prompts(4_000, 31)):
        first, second = (Ask((Message("user", asked),), sample=sample) for sample in (1, 2))
        pairs.append((asked, kin(first), careful(second)))
    for at, kinship in enumerate(jury):
        engine = {"engine": "tiny:planted", "extra": {**PLANTED, "ignorant": [], "kinship": kinship}}
        judges.append(JudgeConfig(name=f"juror{at}", engine=engine))
    labels = preferences(label_pairs(out, pairs, judge=tuple(judges), prefer=EACH_LABEL))
    return {row.prompt.id: row.p if row.chosen.text.startswith(KIN) else 1 - row.p for row in labels}


if __name__ == "__main__":
    run_claims(swap_removes_position_bias, jury_removes_self_preference)
