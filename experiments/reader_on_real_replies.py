"""The readers on replies that judges really wrote: LLMBar (Zeng et al. 2024), QLoRA (Dettmers et al. 2023).

Own form: as a reply to a prompt of Jurist's own. Named: in the form that the study asked for. The record is
what each study's patterns took from the text. The null takes the label that is mentioned last.
"""

from __future__ import annotations

from typing import Any

from evidence import record, share
from support import on_record

BARS = dict.fromkeys(("llmbar_named", "qlora_named"), ("same", 0.999, 0.0003))
BARS |= {"llmbar_own_form": ("read", 0.7, 0.0), "qlora_own_form": ("read", 0.995, 0.0)}
"""Of which share at least how much, and how much wrong at most."""


def figures() -> dict[str, dict[str, Any]]:
    pairwise = on_record.rows_of(on_record.REAL_DATA / "qlora_vicuna" / "gpt4_pairwise.jsonl.gz")
    reviews = [
        on_record.Recorded(row["text"], "stop", on_record.P_OF[str(row["score"])], "vicuna")
        for row in pairwise
    ]
    bar = list(on_record.llmbar(on_record.REAL_DATA / "llmbar"))
    plain = [reply for reply in bar if not reply.both]
    return {
        "llmbar_own_form": on_record.compare(plain, on_record.own_form),
        "llmbar_named": on_record.compare(bar, on_record.named),
        "qlora_own_form": on_record.compare(reviews, on_record.own_form),
        "qlora_named": on_record.compare(reviews, on_record.named),
        "null_label_mentioned_last": on_record.compare(plain, on_record.last_mentioned),
        "qlora_score_pairs": on_record.on_score_pairs(on_record.REAL_DATA / "qlora_vicuna"),
    }


def holds(found: dict[str, dict[str, Any]]) -> bool:
    bars = BARS.items()
    within = all(found[n][what] >= least and found[n]["wrong"] <= most for n, (what, least, most) in bars)
    return within and found["qlora_score_pairs"]["different"] == 0


def main() -> None:
    found = figures()
    print(*(f"{name:28} {one}" for name, one in found.items()), sep="\n")
    part, n = found["llmbar_own_form"]["read"], found["llmbar_own_form"]["n"]
    bar = "; ".join(f"{n}: {what} >= {least}, wrong <= {most}" for n, (what, least, most) in BARS.items())
    null = {"wrong, by the label mentioned last": found["null_label_mentioned_last"]["wrong"]}
    record(
        "reader_on_real_replies", share((round(part * n), n)), null=null, bar=bar, holds=holds(found), **found
    )


if __name__ == "__main__":
    main()
