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
from support import on_record

LABELLED, SPLITS = (10, 20, 30, 50), 100
FEWEST = 15  # items to be right or wrong on, once the labelled ones are taken out


def over_splits(
    jury: on_record.Jury, humans: dict[str, float], rule: str, labelled: int
) -> tuple[float, float] | None:
    """Mean and standard deviation of the accuracy on the items whose labels were not used."""
    if len(jury) - labelled < FEWEST:
        return None
    cfg, found = JuryConfig(rule), []
    for split in range(SPLITS):
        chosen = set(random.Random(split).sample(range(len(jury)), labelled))
        labels = {jury[i][0].matchup_id: humans[jury[i][0].matchup_id] for i in chosen}
        held_out = [row for i, row in enumerate(jury) if i not in chosen]
        found.append(on_record.accuracy(held_out, humans, on_record.fitted(jury, labels, cfg), cfg))
    return round(statistics.mean(found), 1), round(statistics.pstdev(found), 1)


def row_of(asked: list[on_record.Asked], humans: dict[str, float]) -> dict[str, object]:
    calls, jury = on_record.call_by_call(asked), on_record.judge_by_judge(asked)
    vote, mean, blind = JuryConfig("vote", quorum=0), JuryConfig("mean"), JuryConfig("dawid_skene")
    share, name = on_record.best_single(calls, humans)
    return {
        "n": len(calls),
        "majority of all calls": round(on_record.accuracy(calls, humans, None, vote), 2),
        "mean of the judges": round(on_record.accuracy(jury, humans, None, mean), 2),
        "best judge": [round(share, 2), name],
        "Dawid-Skene, no labels": round(
            on_record.accuracy(calls, humans, on_record.fitted(calls, {}, blind), blind), 1
        ),
        "Dawid-Skene, 30 labels": over_splits(jury, humans, "dawid_skene", 30),
        **{f"anchored, {n} labels": over_splits(jury, humans, "anchored", n) for n in LABELLED},
    }


def main() -> None:
    folder = on_record.REAL_DATA / "llmbar"
    if not folder.is_dir():
        sys.exit(f"no recorded verdicts at {folder}; set JURIST_REAL_DATA to the folder that holds llmbar/")
    table = {name: row_of(*on_record.read_set(folder, name)) for name in on_record.SETS}
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
