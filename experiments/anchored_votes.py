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

from evidence import record
from jurist.verdicts.settings import JuryConfig
from support.on_record import (
    REAL_DATA,
    SETS,
    Asked,
    Jury,
    accuracy,
    best_single,
    call_by_call,
    fitted,
    judge_by_judge,
    read_set,
)

LABELLED, SPLITS = (10, 20, 30, 50), 100
FEWEST = 15  # items to be right or wrong on, once the labelled ones are taken out


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
