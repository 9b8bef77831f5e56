"""The readers on replies that judges really wrote: LLMBar (Zeng et al. 2024), QLoRA (Dettmers et al. 2023).

Own form: as a reply to a prompt of Jurist's own. Named: in the form that the study asked for. The record is
what each study's patterns took from the text. The null takes the label that is mentioned last.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evidence import REAL_DATA, record, rows_of, share
from jurist.engines.engine import Reply
from jurist.verdicts.read import Choices, read
from jurist.verdicts.recorded import READERS

OUTPUTS, ASSISTANTS = Choices(("Output (a)", "Output (b)")), Choices(("1", "2", "3"))
BARS = dict.fromkeys(("llmbar_named", "qlora_named"), ("same", 0.999, 0.0003))
BARS |= {"llmbar_own_form": ("read", 0.7, 0.0), "qlora_own_form": ("read", 0.995, 0.0)}
"""Of which share at least how much, and how much wrong at most."""
P_OF = {"1": 1.0, "2": 0.0, "3": 0.5, "-1": None, "None": None}


class Recorded(NamedTuple):
    text: str
    finish: str
    p: float | None
    """What its study took it for, in the order it was shown in."""
    reader: str
    both: bool = False
    """Both of the study's patterns match: (a) is on record whatever the reply says."""


def llmbar(folder: Path) -> Iterator[Recorded]:
    parsing = json.loads((folder / "evaluator_parsing.json").read_text())
    for row in (row for path in sorted(folder.glob("verdicts_*.jsonl.gz")) for row in rows_of(path)):
        for step, results in zip(parsing[row["evaluator"]], row["results"], strict=False):
            patterns = step["parsing"]
            for order, asked in results.items() if patterns else ():
                text, finish = asked["completion"]
                text, p = text or "", P_OF[str(asked["winner"])]
                p = 1.0 - p if order == "swap = True" and p is not None else p  # stored as given
                finish = "refused" if "content" in finish else finish
                reader = "llmbar_cot" if "better" in patterns["1"] else "llmbar"
                both = all(re.search(pattern, text) for pattern in patterns.values())
                yield Recorded(text, finish, p, reader, both)


def own_form(reply: Recorded) -> float | None:
    return read(Reply(reply.text, reply.finish), ASSISTANTS if reply.reader == "vicuna" else OUTPUTS).value


def named(reply: Recorded) -> float | None:
    return READERS[reply.reader](reply.text)[0]


def last_mentioned(reply: Recorded) -> float | None:
    at = [reply.text.rfind(label) for label in OUTPUTS.labels]
    return None if max(at) < 0 else float(at[0] > at[1])


def compare(replies: Iterable[Recorded], reader: Callable[[Recorded], float | None]) -> dict[str, Any]:
    count: Counter[str] = Counter()
    for reply in replies:
        p = reader(reply)
        count.update(n=1, read=p is not None, same=p == reply.p, wrong=p is not None and p != reply.p)
    n = count.pop("n")
    return {"n": n, **{name: round(number / n, 6) for name, number in count.items()}}


def on_score_pairs(folder: Path) -> dict[str, int]:
    """Against a parser of the first line; where it found none, 156 of the scores were put in by hand."""
    count: Counter[str] = Counter()
    for row in rows_of(folder / "gpt4_relative-gpt-3.5.jsonl.gz"):
        one, other = row["score"]
        parsed = re.match(r"\s*[\d.]+[ ,]+[\d.]+\s*(\n|$)", row["text"]) is not None
        p = READERS["score_pair"](row["text"])[0]
        count.update(n=1, read=p is not None, parsed=parsed, by_hand=not parsed and one != -1)
        count["different"] += p != ((one > other) + 0.5 * (one == other) if parsed else None)
    return dict(count)


def figures() -> dict[str, dict[str, Any]]:
    pairwise = rows_of(REAL_DATA / "qlora_vicuna" / "gpt4_pairwise.jsonl.gz")
    reviews = [Recorded(row["text"], "stop", P_OF[str(row["score"])], "vicuna") for row in pairwise]
    bar = list(llmbar(REAL_DATA / "llmbar"))
    plain = [reply for reply in bar if not reply.both]
    return {
        "llmbar_own_form": compare(plain, own_form),
        "llmbar_named": compare(bar, named),
        "qlora_own_form": compare(reviews, own_form),
        "qlora_named": compare(reviews, named),
        "null_label_mentioned_last": compare(plain, last_mentioned),
        "qlora_score_pairs": on_score_pairs(REAL_DATA / "qlora_vicuna"),
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
