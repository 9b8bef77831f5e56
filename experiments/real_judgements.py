"""What people judged, as it was recorded: LLMBar (Zeng et al. 2024) and QLoRA (Dettmers et al. 2023).

`anchored_votes`: what a few human labels do for a jury that is wrong in chorus. Five judges (four on the
last three sets), both orders, on sets made in part to mislead judges; compared on items that gave no label,
over 100 random choices of the labelled ones: every call alike and the best judge (the nulls), the mean,
Dawid-Skene, and weights learnt from 10 to 50 labels. `reader_on_real_replies`: replies read as if to a
prompt of Jurist's own ("own form") and in the form that the study asked for ("named"), beside what the
study's patterns took from them.

    python experiments/real_judgements.py [CLAIM ...]
"""

from __future__ import annotations

import json
import random
import statistics
from typing import Any

from evidence import record, run_claims, share
from jurist.verdicts.settings import JuryConfig
from support import on_record
from support.recorded import DATA, lines_of

LABELLED, SPLITS = (10, 20, 30, 50), 100
FEWEST = 15  # items to be right or wrong on, once the labelled ones are taken out


def anchored_votes() -> None:
    folder = DATA / "llmbar"
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


BARS = dict.fromkeys(("llmbar_named", "qlora_named"), ("same", 0.999, 0.0003))
BARS |= {"llmbar_own_form": ("read", 0.7, 0.0), "qlora_own_form": ("read", 0.995, 0.0)}
"""Of which share at least how much, and how much wrong at most."""


def reader_on_real_replies() -> None:
    found = figures()
    print(*(f"{name:28} {one}" for name, one in found.items()), sep="\n")
    part, n = found["llmbar_own_form"]["read"], found["llmbar_own_form"]["n"]
    bar = "; ".join(f"{n}: {what} >= {least}, wrong <= {most}" for n, (what, least, most) in BARS.items())
    null = {"wrong, by the label mentioned last": found["null_label_mentioned_last"]["wrong"]}
    record(
        "reader_on_real_replies", share((round(part * n), n)), null=null, bar=bar, holds=holds(found), **found
    )


def figures() -> dict[str, dict[str, Any]]:
    pairwise = lines_of(DATA / "qlora_vicuna" / "gpt4_pairwise.jsonl.gz")
    reviews = [
        on_record.Recorded(row["text"], "stop", on_record.P_OF[str(row["score"])], "vicuna")
        for row in pairwise
    ]
    bar = list(on_record.llmbar(DATA / "llmbar"))
    plain = [reply for reply in bar if not reply.both]
    return {
        "llmbar_own_form": on_record.compare(plain, on_record.own_form),
        "llmbar_named": on_record.compare(bar, on_record.named),
        "qlora_own_form": on_record.compare(reviews, on_record.own_form),
        "qlora_named": on_record.compare(reviews, on_record.named),
        "null_label_mentioned_last": on_record.compare(plain, on_record.last_mentioned),
        "qlora_score_pairs": on_record.on_score_pairs(DATA / "qlora_vicuna"),
    }


def holds(found: dict[str, dict[str, Any]]) -> bool:
    bars = BARS.items()
    within = all(found[n][what] >= least and found[n]["wrong"] <= most for n, (what, least, most) in bars)
    return within and found["qlora_score_pairs"]["different"] == 0


if __name__ == "__main__":
    run_claims(anchored_votes, reader_on_real_replies)
