"""Judgements on record, as tests and experiments read them: of LLMBar (Zeng et al. 2024) and QLoRA
(Dettmers et al. 2023), in a folder beside the repository.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from jurist.engines.engine import Reply
from jurist.records import Completion, Matchup, Prompt, Verdict, content_id
from jurist.verdicts.jury import LabelTable, Weights, combine, fit_jury
from jurist.verdicts.read import Choices, read
from jurist.verdicts.recorded import READERS
from jurist.verdicts.settings import JuryConfig
from jurist.verdicts.settle import Opinion, settle

from .recorded import lines_of

ADVERSARIAL = [f"LLMBar/Adversarial/{name}" for name in ("Neighbor", "GPTInst", "GPTOut", "Manual")]
SETS = dict.fromkeys(("LLMBar/Natural", *ADVERSARIAL), 5)
SETS |= dict.fromkeys(("Processed/FairEval", "Processed/LLMEval^2", "Processed/MT-Bench"), 4)
JUDGES = ("GPT-4", "ChatGPT", "LLaMA2", "PaLM2", "Falcon")
ORDERS = ("swap = False", "swap = True")
Asked = tuple[Matchup, list[Verdict]]
Jury = list[list[Opinion]]
OUTPUTS, ASSISTANTS = Choices(("Output (a)", "Output (b)")), Choices(("1", "2", "3"))
P_OF = {"1": 1.0, "2": 0.0, "3": 0.5, "-1": None, "None": None}


# LLMBar's judges as a jury.


def read_set(folder: Path, name: str) -> tuple[list[Asked], dict[str, float]]:
    """Each matchup with what was said about it; and the human labels."""
    humans: dict[str, float] = {}
    asked: list[Asked] = []
    for row in lines_of(folder / "instances.jsonl.gz"):
        if row["dataset"] == name:
            prompt = Prompt.of(row["input"])
            sides = (Completion.of(prompt.id, row[side], policy=side) for side in ("output_1", "output_2"))
            matchup = Matchup.of(prompt, *sides)
            humans[matchup.id] = 1.0 if row["label"] == 1 else 0.0
            asked.append((matchup, []))
    for row in lines_of(folder / f"verdicts_{name.replace('/', '_').replace('^', '')}.jsonl.gz"):
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


# Replies, and what their study took them for.


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
    for row in (row for path in sorted(folder.glob("verdicts_*.jsonl.gz")) for row in lines_of(path)):
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
    for row in lines_of(folder / "gpt4_relative-gpt-3.5.jsonl.gz"):
        one, other = row["score"]
        parsed = re.match(r"\s*[\d.]+[ ,]+[\d.]+\s*(\n|$)", row["text"]) is not None
        p = READERS["score_pair"](row["text"])[0]
        count.update(n=1, read=p is not None, parsed=parsed, by_hand=not parsed and one != -1)
        count["different"] += p != ((one > other) + 0.5 * (one == other) if parsed else None)
    return dict(count)
