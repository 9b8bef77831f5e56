"""What a few human labels do for a jury that is wrong in chorus.

Recorded verdicts of five judges (four on the last three sets), both orders, on the sets of LLMBar (Zeng et
al. 2024), whose adversarial parts are made to mislead judges. Compared on items that gave no label: every
call counted alike (the null), the best judge, the mean, Dawid-Skene, and weights learnt from 10 to 50 labels,
over 100 random choices of the labelled items.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace

from evidence import REAL_DATA, record, rows_of
from jurist.records import Completion, Matchup, Prompt, Verdict, content_id
from jurist.verdicts.jury import LabelTable, Weights, combine, fit_jury
from jurist.verdicts.settings import JuryConfig
from jurist.verdicts.settle import Opinion, settle

ADVERSARIAL = [f"LLMBar/Adversarial/{name}" for name in ("Neighbor", "GPTInst", "GPTOut", "Manual")]
SETS = dict.fromkeys(("LLMBar/Natural", *ADVERSARIAL), 5)
SETS |= dict.fromkeys(("Processed/FairEval", "Processed/LLMEval^2", "Processed/MT-Bench"), 4)
JUDGES = ("GPT-4", "ChatGPT", "LLaMA2", "PaLM2", "Falcon")
ORDERS = ("swap = False", "swap = True")
LABELLED, SPLITS = (10, 20, 30, 50), 100
FEWEST = 15  # items to be right or wrong on, once the labelled ones are taken out
Asked = tuple[Matchup, list[Verdict]]
Jury = list[list[Opinion]]


def read_set(folder: Path, name: str) -> tuple[list[Asked], dict[str, float]]:
    """Each matchup with what was said about it; and the human labels."""
    humans: dict[str, float] = {}
    asked: list[Asked] = []
    for row in rows_of(folder / "instances.jsonl.gz"):
        if row["dataset"] == name:
            prompt = Prompt.of(row["input"])
            sides = (Completion.of(prompt.id, row[side], policy=side) for side in ("output_1", "output_2"))
            matchup = Matchup.of(prompt, *sides)
            humans[matchup.id] = 1.0 if row["label"] == 1 else 0.0
            asked.append((matchup, []))
    for row in rows_of(folder / f"verdicts_{name.replace('/', '_').replace('^', '')}.jsonl.gz"):
        judge, _, prompting = row["evaluator"].rpartition("/")
        if prompting == "Vanilla_NoRules" and judge in JUDGES[: SETS[name]]:
            matchup, verdicts = asked[row["i"]]
            for order in ORDERS:
                # The recorded winner is told from the positions as given, whatever order was shown.
                p = {"1": 1.0, "2": 0.0}.get(row["results"][0][order]["winner"])
                ids = (
                    content_id(judge, order, matchup.id),
                    judge,
                    matchup.id,
                    matchup.first.id,
                    matchup.second.id,
                )
                verdict = Verdict(*ids, p_first=p, unread="" if p is not None else "no verdict")
                verdicts.append(verdict if order == ORDERS[0] else verdict.swapped())
    return asked, humans


def call_by_call(asked: list[Asked]) -> Jury:
    """A jury in which every call is a member of its own."""
    return [
        [replace(settle([one], matchup), judge=f"{one.judge}, {one.order}") for one in verdicts]
        for matchup, verdicts in asked
    ]


def judge_by_judge(asked: list[Asked]) -> Jury:
    """A jury of the judges, each with both its orders settled into one opinion."""
    return [[settle(some[i : i + 2], matchup) for i in range(0, len(some), 2)] for matchup, some in asked]


def fitted(jury: Jury, labels: dict[str, float], cfg: JuryConfig) -> Weights:
    """The weights of a jury, from these labels of its matchups."""
    table = LabelTable(count_patterns=cfg.combine == "dawid_skene")
    for row in jury:
        name, first, second = row[0].matchup_id, row[0].first_id, row[0].second_id
        label = Verdict(name, "human:gold", name, first, second, p_first=labels.get(name))
        table.add(name, row, [(label, True)])
    return fit_jury(table.labelled(), cfg, table.patterns)[0]


def accuracy(
    jury: Iterable[Sequence[Opinion]], humans: dict[str, float], weights: Weights | None, cfg: JuryConfig
) -> float:
    """Per cent of human labels met; a tie counts half, unread is a miss."""
    hits, n = 0.0, 0
    for row in jury:
        one, n = combine(row, weights, cfg), n + 1
        if one.p_first is not None:
            # An even vote may miss a half by rounding.
            even = abs(one.p_first - 0.5) < 1e-9
            hits += 0.5 if even else (one.p_first > 0.5) == (humans[one.matchup_id] > 0.5)
    return 100 * hits / n


def best_single(calls: Jury, humans: dict[str, float]) -> tuple[float, str]:
    """The judge with most calls right, both orders together."""
    right: Counter[str] = Counter()
    for one in (one for row in calls for one in row):
        right[one.judge.partition(",")[0]] += one.p_first == humans[one.matchup_id]
    (name, n) = right.most_common(1)[0]
    return 100 * n / (2 * len(calls)), name


def over_splits(jury: Jury, humans: dict[str, float], rule: str, labelled: int) -> tuple[float, float] | None:
    """Mean and standard deviation of the accuracy on the items whose labels were not used."""
    if len(jury) - labelled < FEWEST:
        return None
    cfg, found = JuryConfig(rule), []
    for split in range(SPLITS):
        chosen = set(random.Random(split).sample(range(len(jury)), labelled))
        labels = {jury[i][0].matchup_id: humans[jury[i][0].matchup_id] for i in chosen}
        held_out = [row for i, row in enumerate(jury) if i not in chosen]
        found.append(accuracy(held_out, humans, fitted(jury, labels, cfg), cfg))
    return round(statistics.mean(found), 1), round(statistics.pstdev(found), 1)


def row_of(asked: list[Asked], humans: dict[str, float]) -> dict[str, object]:
    calls, jury = call_by_call(asked), judge_by_judge(asked)
    vote, mean, blind = JuryConfig("vote", quorum=0), JuryConfig("mean"), JuryConfig("dawid_skene")
    share, name = best_single(calls, humans)
    return {
        "n": len(calls),
        "majority of all calls": round(accuracy(calls, humans, None, vote), 2),
        "mean of the judges": round(accuracy(jury, humans, None, mean), 2),
        "best judge": [round(share, 2), name],
        "Dawid-Skene, no labels": round(accuracy(calls, humans, fitted(calls, {}, blind), blind), 1),
        "Dawid-Skene, 30 labels": over_splits(jury, humans, "dawid_skene", 30),
        **{f"anchored, {n} labels": over_splits(jury, humans, "anchored", n) for n in LABELLED},
    }


def main() -> None:
    folder = REAL_DATA / "llmbar"
    if not folder.is_dir():
        sys.exit(f"no recorded verdicts at {folder}; set JURIST_REAL_DATA to the folder that holds llmbar/")
    table = {name: row_of(*read_set(folder, name)) for name in SETS}
    print(json.dumps(table, indent=1))
    neighbor = table["LLMBar/Adversarial/Neighbor"]
    mean, deviation = neighbor["anchored, 30 labels"]  # type: ignore[misc]
    majority, (best, _) = neighbor["majority of all calls"], neighbor["best judge"]  # type: ignore[misc]
    record(
        "anchored_votes",
        (mean, round(mean - 2 * deviation, 1), round(mean + 2 * deviation, 1)),
        null={"majority of all calls": majority, "best judge": best},
        bar="at least 80 % on LLMBar/Adversarial/Neighbor from 30 labels, where the majority has 34 %",
        holds=mean >= 80 > best and majority == 34.33,
        unit="% of the labels not used; mean and two standard deviations over 100 choices of the 30",
        table=table,
    )


if __name__ == "__main__":
    main()
