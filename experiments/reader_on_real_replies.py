"""The reader on replies that judges really wrote: LLMBar (Zeng et al. 2024), QLoRA (Dettmers et al. 2023).

One reader for all of them, told nothing but the labels that were offered. Agreement is with the verdict on
record, which each study's own patterns took from the same text; every disagreement falls into a named class.

python experiments/reader_on_real_replies.py
"""

from __future__ import annotations

import gzip
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evidence import REAL_DATA, record
from jurist.stats.fits import bradley_terry
from jurist.stats.intervals import wilson
from jurist.verdicts.read import NO_VERDICT, REFUSED, UNREAD, Menu, read_choice, read_score_pair

OUTPUTS, ASSISTANTS = Menu("Output (a)", "Output (b)"), Menu("1", "2", "3")
STRICT = ("Vanilla", "Metrics", "Reference")
P_OF = {"1": 1.0, "2": 0.0, "3": 0.5, "-1": None, "None": None}

AMBIGUOUS = "both of the record's patterns match the reply; the record kept the one tried first, always (a)"
OWN_WORDS = "the record has none, the reply gives its verdict in other words than asked for"
NOT_A_VERDICT = "the record's pattern matched a mention; the reply prefers neither"
HALF_SAID = "the record's pattern matched words that the reply takes back, or a beginning that says otherwise"
MISREAD = "the reader is at fault, or the case can be argued"


class Reply(NamedTuple):
    """One recorded reply with the verdict on record, as seen from the seats shown to the judge."""

    judge: str
    prompting: str
    text: str
    finish: str
    recorded: float | None
    ambiguous: bool
    """Both of the record's patterns match: the record does not depend on what the reply says."""

    @property
    def strict(self) -> bool:
        return self.prompting.startswith(STRICT)


def llmbar(folder: Path) -> Iterator[Reply]:
    patterns = {
        judge: [step["parsing"] for step in steps]
        for judge, steps in json.loads((folder / "evaluator_parsing.json").read_text()).items()
    }
    for path in sorted(folder.glob("verdicts_*.jsonl.gz")):
        for row in _rows(path):
            judge, prompting = row["evaluator"].rsplit("/", 1)
            for step, results in zip(patterns[row["evaluator"]], row["results"], strict=False):
                for order, asked in results.items() if step else ():
                    text, finish = asked["completion"]
                    text, p = text or "", P_OF[str(asked["winner"])]
                    if order == "swap = True" and p is not None:
                        p = 1.0 - p  # stored from the seats as given, not as shown
                    both = all(re.search(pattern, text) for pattern in step.values())
                    finish = REFUSED if "content" in finish else finish
                    yield Reply(judge, prompting, text, finish, p, both)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt") as lines:
        yield from map(json.loads, lines)


def explained(reply: Reply, read: float | None, reason: str) -> str:
    """The class a disagreement belongs to."""
    if reply.ambiguous:
        return AMBIGUOUS
    if reply.recorded is None:
        return OWN_WORDS
    if read is None:
        return NOT_A_VERDICT if reason != NO_VERDICT or _takes_no_side(reply.text) else MISREAD
    return HALF_SAID


def _takes_no_side(text: str) -> bool:
    """Nothing in the reply after its last `is better` but conditions, or no such claim at all."""
    return re.search(r"is better\W*$", text) is None


def on_llmbar() -> dict[str, Any]:
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    classes: Counter[str] = Counter()
    examples: dict[str, dict[str, str]] = {}
    seconds = 0.0
    for reply in llmbar(REAL_DATA / "llmbar"):
        started = time.process_time()
        reading = read_choice(reply.text, OUTPUTS, reply.finish)
        seconds += time.process_time() - started
        agrees = reading.p_first == reply.recorded
        for name in (
            "all",
            f"strict {reply.strict}",
            f"{'plain' if not reply.ambiguous else 'both'} {reply.strict}",
        ):
            asked[name] += 1
            right[name] += agrees
        if not agrees:
            kind = explained(reply, reading.p_first, reading.unread)
            classes[kind] += 1
            examples.setdefault(
                kind,
                {
                    "judge": f"{reply.judge}/{reply.prompting}",
                    "recorded": _told(reply.recorded),
                    "read": _told(reading.p_first) if reading.p_first is not None else UNREAD[reading.unread],
                    "reply": _ends(reply.text),
                },
            )
    return {
        "all": _share(right["all"], asked["all"]),
        "strict_as_recorded": _share(right["strict True"], asked["strict True"]),
        "strict_decided_by_the_reply": _share(right["plain True"], asked["plain True"]),
        "all_decided_by_the_reply": _share(
            right["plain True"] + right["plain False"], asked["plain True"] + asked["plain False"]
        ),
        "ambiguous_records": asked["both True"] + asked["both False"],
        "ambiguous_strict_records": asked["both True"],
        "disagreements": dict(classes.most_common()),
        "examples": examples,
        "microseconds_a_reply": round(1e6 * seconds / asked["all"], 1),
    }


def _share(right: int, n: int) -> dict[str, float]:
    low, high = wilson(right, n)
    return {
        "right": right,
        "n": n,
        "share": round(right / n, 5),
        "low": round(low, 5),
        "high": round(high, 5),
    }


def _told(p: float | None) -> str:
    return "none" if p is None else {1.0: "(a)", 0.0: "(b)"}.get(p, "tie")


def _ends(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:150]} [...] {text[-150:]}"


def on_qlora() -> dict[str, Any]:
    rows = list(_rows(REAL_DATA / "qlora_vicuna" / "gpt4_pairwise.jsonl.gz"))
    readings = [read_choice(row["text"], ASSISTANTS) for row in rows]
    wrong = [
        {
            "recorded": row["score"],
            "read": r.p_first if r.p_first is not None else r.unread,
            "reply": _ends(row["text"]),
        }
        for row, r in zip(rows, readings, strict=True)
        if r.p_first != P_OF[str(row["score"])]
    ]
    decisive = [r.p_first for r in readings if r.p_first in (0.0, 1.0)]
    ours = {
        "first_share": round(sum(decisive) / len(decisive), 4),
        **_both_orders(rows, [r.p_first for r in readings]),
        "bt": _ratings(rows, [r.p_first for r in readings]),
    }
    expected = json.loads((REAL_DATA / "EXPECTED.json").read_text())["qlora_vicuna"]
    return {
        **_share(len(rows) - len(wrong), len(rows)),
        "disagreements": wrong,
        "from_our_readings": ours,
        "expected": {name: expected[name] for name in ours},
        "order_as_expected": list(ours["bt"]) == list(expected["bt"]),
    }


def _both_orders(rows: list[dict[str, Any]], ps: list[float | None]) -> dict[str, int]:
    """Of the pairs read in both orders: how many gave one verdict, how many followed the seat."""
    asked: dict[tuple[str, ...], list[float | None]] = {}
    for row, p in zip(rows, ps, strict=True):
        ids = (row["answer1_id"], row["answer2_id"])
        turned = ids != tuple(sorted(ids))
        asked.setdefault(tuple(sorted(ids)), []).append(1.0 - p if p is not None and turned else p)
    pairs = [(one, other) for one, other in asked.values() if one is not None and other is not None]
    return {
        "both_order_pairs": len(pairs),
        "consistent": sum(one == other for one, other in pairs),
        "pure_position_flips": sum(abs(one - other) == 1.0 for one, other in pairs),
    }


def _ratings(rows: list[dict[str, Any]], ps: list[float | None]) -> dict[str, float]:
    """Bradley-Terry on the Elo scale, ties as half a win to each."""
    seen: dict[str, Counter[str]] = {}
    for row in rows:
        # An answer is by the system that is named in every file it is in; the file's own order is no guide.
        pair = row["file"].removesuffix("-gpt-4-reviewer-threeclass.jsonl").split("-vs-")
        for answer in (row["answer1_id"], row["answer2_id"]):
            seen.setdefault(answer, Counter()).update(
                name.removeprefix("answer-").removesuffix("-vicuna-generations-topp0.9-temp0.7")
                for name in pair
            )
    wrote = {answer: count.most_common(1)[0][0] for answer, count in seen.items()}
    wins = []
    for row, p in zip(rows, ps, strict=True):
        if p is not None:
            first, second = wrote[row["answer1_id"]], wrote[row["answer2_id"]]
            wins += [(first, second, p), (second, first, 1.0 - p)]
    ratings = {name: 1000 + 400 / math.log(10) * one for name, one in bradley_terry(wins).items()}
    return {name: round(ratings[name], 1) for name in sorted(ratings, key=ratings.__getitem__, reverse=True)}


def on_scores() -> dict[str, Any]:
    """The reviews that give both scores in one reply."""
    counts: Counter[str] = Counter()
    for row in _rows(REAL_DATA / "qlora_vicuna" / "gpt4_relative-gpt-3.5.jsonl.gz"):
        first, second = read_score_pair(row["text"], 1, 10)
        unrecorded = -1 in row["score"]
        if unrecorded:
            counts["recorded as failed, read by us" if first.score is not None else "recorded as failed"] += 1
        elif [first.score, second.score] == row["score"]:
            counts["same"] += 1
        elif first.score is None and min(row["score"]) < 1:
            counts["a 0 on a scale that starts at 1: off the menu"] += 1
        else:
            counts["different"] += 1
    return dict(counts)


def main() -> None:
    bar, pairs, scores = on_llmbar(), on_qlora(), on_scores()
    table = [
        ("LLMBar, all replies", bar["all"], 0.985),
        ("LLMBar, strict prompts, as recorded", bar["strict_as_recorded"], 0.999),
        ("LLMBar, strict prompts, record decided by the reply", bar["strict_decided_by_the_reply"], 0.999),
        ("QLoRA pairwise", pairs, 0.995),
    ]
    for name, share, least in table:
        print(f"{name:55} {share['right']:6} of {share['n']:6} = {share['share']:.5f}  (bar {least})")
    for kind, n in bar["disagreements"].items():
        print(f"{n:5}  {kind}")
    print(f"{bar['microseconds_a_reply']} microseconds a reply")
    for name in ("first_share", "both_order_pairs", "consistent", "pure_position_flips", "bt"):
        print(f"{name}: {pairs['from_our_readings'][name]}, expected {pairs['expected'][name]}")
    print("two scores in one reply:", scores)
    record(
        "reader_on_real_replies",
        value=bar["strict_as_recorded"]["share"],
        low=bar["strict_as_recorded"]["low"],
        high=bar["strict_as_recorded"]["high"],
        bar="agreement with the record: strict prompts >= 0.999, all LLMBar >= 0.985, QLoRA pairs >= 0.995",
        holds=bar["strict_as_recorded"]["share"] >= 0.999
        and bar["all"]["share"] >= 0.985
        and pairs["share"] >= 0.995
        and pairs["order_as_expected"],
        why="The strict bar cannot be met by reading rightly: most disagreements are records of (a) for"
        " replies that begin 'Output (b) is better.', because both of the record's patterns match and (a) was"
        " tried first. Where the reply decides its record, agreement is strict_decided_by_the_reply.",
        llmbar=bar,
        qlora_pairs=pairs,
        qlora_scores=scores,
    )


if __name__ == "__main__":
    main()
