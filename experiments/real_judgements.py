"""Replies that judges really wrote, in LLMBar (Zeng et al. 2024) and QLoRA (Dettmers et al. 2023), as readers
read them: as if to a prompt of Jurist's own ("own form") and in the form that the study asked for ("named"),
beside what the study's patterns took from them. Run it with `python experiments/real_judgements.py`.
"""

from typing import Any

from evidence import record, run_claims, share
from support.on_record import P_OF, Recorded, compare, last_mentioned, llmbar, named, on_score_pairs, own_form
from support.recorded import DATA, lines_of

BARS = dict.fromkeys(("llmbar_named", "qlora_named"), ("same", 0.999, 0.0003))
BARS |= {"llmbar_own_form": ("read", 0.7, 0.0), "qlora_own_form": ("read", 0.995, 0.0)}
"""The share that has to reach a bar, the bar, and the most that may be read for the wrong side."""


def reader_on_real_replies() -> None:
    found = figures()
    print(*(f"{name:28} {one}" for name, one in found.items()), sep="\n")
    part, n = found["llmbar_own_form"]["read"], found["llmbar_own_form"]["n"]
    bar = "; ".join(f"{n}: {what} >= {least}, wrong <= {most}" for n, (what, least, most) in BARS.items())
    null = {"wrong, by the label mentioned last": found["null_label_mentioned_last"]["wrong"]}
    value = share((round(part * n), n))
    record("reader_on_real_replies", value, null=null, bar=bar, holds=holds(found), more=found)


def figures() -> dict[str, dict[str, Any]]:
    pairwise = (
        (row["text"], P_OF[str(row["score"])]) for row in lines_of("qlora_vicuna/gpt4_pairwise.jsonl.gz")
    )
    reviews = [Recorded(text, "stop", p, "vicuna") for text, p in pairwise]
    bar = list(llmbar(DATA / "llmbar"))
    plain = [reply for reply in bar if not reply.both]
    return {
        "llmbar_own_form": compare(plain, own_form),
        "llmbar_named": compare(bar, named),
        "qlora_own_form": compare(reviews, own_form),
        "qlora_named": compare(reviews, named),
        "null_label_mentioned_last": compare(plain, last_mentioned),
        "qlora_score_pairs": on_score_pairs(DATA / "qlora_vicuna"),
    }


def holds(found: dict[str, dict[str, Any]]) -> bool:
    bars = BARS.items()
    within = all(found[n][what] >= least and found[n]["wrong"] <= most for n, (what, least, most) in bars)
    return within and found["qlora_score_pairs"]["different"] == 0


if __name__ == "__main__":
    run_claims(reader_on_real_replies)
