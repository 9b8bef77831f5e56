"""Readers on replies that judges really wrote: LLMBar (Zeng et al. 2024) and QLoRA (Dettmers et al. 2023).

`reader_on_real_replies`: replies read as if to a prompt of Jurist's own ("own form") and in the form that the
study asked for ("named"), beside what the study's patterns took from them.

    python experiments/real_judgements.py
"""

from __future__ import annotations

from typing import Any

from evidence import record, run_claims, share
from support import on_record
from support.recorded import DATA, lines_of

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
    run_claims(reader_on_real_replies)
