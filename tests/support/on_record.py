"""Judgements on record, as tests and experiments read them: of LLMBar (Zeng et al. 2024) and QLoRA
(Dettmers et al. 2023), in a folder beside the repository.
"""

import json
import math
import re
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import combinations, groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from jurist.audits.all import audit_sheet
from jurist.audits.collect import Collector
from jurist.audits.finding import Finding
from jurist.audits.sheet import Sheet
from jurist.engines.engine import Reply, Token
from jurist.recipes.audit import audit
from jurist.records import Completion, Matchup, Prompt, Verdict, content_id
from jurist.stats.fits import Array
from jurist.stats.intervals import Estimate, clustered_mean
from jurist.verdicts.cases import Case
from jurist.verdicts.jury import LabelTable, Weights, combine, fit_jury
from jurist.verdicts.read import Choices, Scale, read
from jurist.verdicts.recorded import READERS
from jurist.verdicts.settings import Combine, JuryConfig
from jurist.verdicts.settle import Opinion, settle

from .recorded import (
    DATA,
    against_chatgpt,
    cje_pairs,
    eight_systems,
    lines_of,
    llmbar_judged,
    llmbar_winners,
    pandalm_judged,
    rubric,
    rubric_pairs,
)

ADVERSARIAL = [f"LLMBar/Adversarial/{name}" for name in ("Neighbor", "GPTInst", "GPTOut", "Manual")]
OTHERS = ["LLMBar/Natural", "Processed/FairEval", "Processed/LLMEval^2", "Processed/MT-Bench"]
SETS = [*ADVERSARIAL, *OTHERS]
Asked = tuple[Matchup, list[Verdict]]
Opinions = list[list[Opinion]]
OUTPUTS, ASSISTANTS = Choices(("Output (a)", "Output (b)")), Choices(("1", "2", "3"))
P_OF = {"1": 1.0, "2": 0.0, "3": 0.5, "-1": None, "None": None}


# Judges as a jury.


def read_set(*names: str, every_prompt: bool = False) -> tuple[list[Asked], dict[str, float]]:
    """Each matchup of these sets of LLMBar with what was said about it; and the human labels."""
    humans: dict[str, float] = {}
    asked: dict[tuple[str, int], Asked] = {}
    for row in lines_of("llmbar/instances.jsonl.gz"):
        if row["dataset"] in names:
            matchup = matchup_of(row["input"], row["output_1"], row["output_2"])
            humans[matchup.id] = 1.0 if row["label"] == 1 else 0.0
            asked[row["dataset"], int(row["i"])] = matchup, []
    for name in names:
        for judge, i, winners in llmbar_winners(name, every_prompt):
            matchup, verdicts = asked[name, i]
            # The recorded winner is told from the positions as given, whatever order was shown.
            given, swapped = ({"1": 1.0, "2": 0.0, "3": 0.5}.get(winner) for winner in winners)
            verdicts += said(judge, matchup, given), said(judge, matchup, swapped, "swapped").swapped()
    return list(asked.values()), humans


def read_pandalm() -> tuple[list[Asked], dict[str, float]]:
    """PandaLM's two judges, asked once; and what the majority of three humans says, without ties."""
    votes, asked = defaultdict[str, list[float]](list), dict[str, Asked]()
    for row in pandalm_judged():
        matchup = matchup_of(row["prompt"], row["response_a"], row["response_b"])
        asked.setdefault(matchup.id, (matchup, []))
        p_of = {"a": 1.0, "b": 0.0, "tie": 0.5}
        votes[matchup.id] += [p_of[row[name]] for name in row if name.startswith("annotator")]
        if "judge" in row:
            asked[matchup.id][1].append(said(row["judge"], matchup, p_of.get(row["winner"])))
    mean = {name: statistics.fmean(some) for name, some in votes.items()}
    humans = {name: round(p) * 1.0 for name, p in mean.items() if p != 0.5}
    return [one for name, one in asked.items() if name in humans], humans


def matchup_of(prompt: str, first: str, second: str) -> Matchup:
    asked = Prompt.of(prompt)
    sides = (Completion.of(asked.id, text, policy=side) for text, side in ((first, "one"), (second, "other")))
    return Matchup.of(asked, *sides)


def said(judge: str, matchup: Matchup, p: float | None, order: str = "given") -> Verdict:
    ids = content_id(judge, order, matchup.id), judge, matchup.id, matchup.first.id, matchup.second.id
    return Verdict(*ids, p_first=p, unread="" if p is not None else "no verdict")


def call_by_call(asked: list[Asked]) -> Opinions:
    """A jury in which every call is a member of its own."""
    return [
        [replace(settle([one], matchup), judge=f"{one.judge}, {one.order}") for one in verdicts]
        for matchup, verdicts in asked
    ]


def judge_by_judge(asked: list[Asked]) -> Opinions:
    """A jury of the judges, each with both its orders settled into one opinion."""
    by_judge = attrgetter("judge")
    return [
        [settle(list(own), matchup) for _, own in groupby(sorted(verdicts, key=by_judge), by_judge)]
        for matchup, verdicts in asked
    ]


def fitted(jury: Opinions, labels: dict[str, float], cfg: JuryConfig) -> Weights:
    """The weights of a jury, from these labels of its matchups."""
    table = LabelTable(count_patterns=cfg.combine == "dawid_skene")
    for row in jury:
        name, first, second = row[0].matchup_id, row[0].first_id, row[0].second_id
        label = Verdict(name, "human:gold", name, first, second, p_first=labels.get(name))
        table.add(name, row, [(label, True)])
    return fit_jury(table.labelled(), cfg, table.patterns)[0]


def hits(
    jury: Iterable[Sequence[Opinion]], humans: dict[str, float], weights: Weights | None, cfg: JuryConfig
) -> list[float]:
    """1 where it meets the human label; a tie counts half, unread is a miss."""
    found = []
    for row in jury:
        p = combine(row, weights, cfg).p_first
        # An even vote may miss a half by rounding.
        even = p is not None and abs(p - 0.5) < 1e-9
        found.append(0.5 if even else float(p is not None and (p > 0.5) == (humans[row[0].matchup_id] > 0.5)))
    return found


def accuracy(
    jury: Iterable[Sequence[Opinion]], humans: dict[str, float], weights: Weights | None, cfg: JuryConfig
) -> float:
    """Per cent of human labels met."""
    return 100 * statistics.fmean(hits(jury, humans, weights, cfg))


def alone(asked: list[Asked], humans: dict[str, float]) -> dict[str, list[float]]:
    """Of each judge, the share of its calls about each matchup that are right; a tie counts half."""
    right = defaultdict[str, list[float]](list)
    for row in call_by_call(asked):
        calls = defaultdict[str, list[float]](list)
        for one in row:
            met = one.p_first is not None and 1 - abs(one.p_first - humans[one.matchup_id])
            calls[one.judge.partition(",")[0]].append(float(met))
        for judge, own in calls.items():
            right[judge].append(statistics.fmean(own))
    return right


def best_single(asked: list[Asked], humans: dict[str, float]) -> tuple[str, list[float]]:
    """The judge with most calls right, all labels known, and its share of each matchup."""
    return max(alone(asked, humans).items(), key=lambda one: (sum(one[1]), one[0]))


VOTE = JuryConfig("vote", quorum=0)


def jury_figures(asked: list[Asked], humans: dict[str, float]) -> dict[str, Any]:
    """What `EXPECTED.json` records of a set."""
    calls, (judge, right) = call_by_call(asked), best_single(asked, humans)
    votes = [combine(row, None, VOTE).p_first for row in calls]
    # A matchup on which every call is silent is recorded as even; for us it is unread, and a miss.
    majority = accuracy(calls, humans, None, VOTE) + 50 * votes.count(None) / len(votes)
    tied = sum(p is None or abs(p - 0.5) < 1e-9 for p in votes)
    best = [round(100 * statistics.fmean(right), 2), judge]
    figures = {"n": len(asked), "majority_of_all_calls_acc": round(majority, 2)}
    return figures | {"tied_items": tied, "best_single": best}


class Learnt(NamedTuple):
    """What a jury came to that learnt from some labels; columns are matchups, rows are choices of the labels.
    nan where labels of the same prompt were learnt from.
    """

    right: Array
    best: Array
    """The same of the judge that is best on the same labels."""
    weights: list[Weights]

    @property
    def by_choice(self) -> Array:
        return np.asarray(np.nanmean(self.right, axis=1))

    def gain(self, null: Array) -> Array:
        """By how much it is right more often, a mean over choices; nan where never held out."""
        known = ~np.isnan(self.right)
        gain = np.where(known, self.right - null, 0.0).sum(axis=0)
        return np.asarray(gain / np.where(known.any(axis=0), known.sum(axis=0), np.nan))


def learn(
    asked: list[Asked], humans: dict[str, float], cfg: JuryConfig, labels: int, splits: int = 100
) -> Learnt:
    """Which labels are learnt from follows from hashes of the matchups and the number of the split."""
    jury, prompts = judge_by_judge(asked), [matchup.prompt.id for matchup, _ in asked]
    single, weights = np.array([*alone(asked, humans).values()]), []
    right, best = np.full((2, splits, len(asked)), np.nan)
    for split in range(splits):
        order = sorted(range(len(asked)), key=lambda i: content_id(split, asked[i][0].id))
        learnt, seen = order[:labels], {prompts[i] for i in order[:labels]}
        weights.append(fitted(jury, {asked[i][0].id: humans[asked[i][0].id] for i in learnt}, cfg))
        rest = [i for i in order if prompts[i] not in seen]
        right[split, rest] = hits([jury[i] for i in rest], humans, weights[-1], cfg)
        best[split, rest] = single[single[:, learnt].mean(axis=1).argmax(), rest]
    return Learnt(right, best, weights)


class Jury:
    """Judges of a set with human labels, and what they come to without having learnt any: for each matchup 1
    where that is right, a half for a tie.
    """

    def __init__(self, asked: list[Asked], humans: dict[str, float]) -> None:
        self.asked, self.humans = asked, humans
        self.prompts = np.array([matchup.prompt.id for matchup, _ in asked])
        self.judges = alone(asked, humans)
        self.best, best = best_single(asked, humans)
        calls, judges = call_by_call(asked), judge_by_judge(asked)
        blind = JuryConfig("dawid_skene")
        self.right = {
            "best": np.array(best),
            "majority": np.array(hits(calls, humans, None, VOTE)),
            "mean": np.array(hits(judges, humans, None, JuryConfig("mean"))),
            "Dawid-Skene": np.array(hits(calls, humans, fitted(calls, {}, blind), blind)),
        }

    @cache  # noqa: B019
    def learnt(self, labels: int, rule: Combine = "anchored") -> Learnt:
        return learn(self.asked, self.humans, JuryConfig(rule), labels)


# Scores and ratings.


def wildbench(judges: Collection[str], models: Collection[str]) -> Sheet:
    """Judges' scores from 1 to 10 of models' answers, each two on a prompt compared (WildBench, Lin et al.
    2024). The answers are not on record, only how long they are: full stops stand in for them.
    """
    cases: dict[str, dict[str, Completion]] = defaultdict(dict)
    scored = defaultdict[str, list[Verdict]](list)
    for judge in judges:
        for row in lines_of(f"wildbench_scores/{judge}.jsonl.gz"):
            asked, model = row["session_id"], row["model"]
            if model in models:
                text = model[: row["len_output"]].ljust(row["len_output"], ".")
                answer = cases[asked].setdefault(
                    model, Completion.of(Prompt.of(asked).id, text, policy=model)
                )
                name = content_id(judge, answer.id)
                scored[asked].append(Verdict(name, judge, first_id=answer.id, score=float(row["score"])))
    collector = Collector()
    for asked, answers in cases.items():
        pairs = tuple(Matchup.of(Prompt.of(asked), *two) for two in combinations(answers.values(), 2))
        collector.add_case(Case(Prompt.of(asked), tuple(answers.values()), pairs, tuple(scored[asked])))
    return collector.sheet()


def scores_of(judge: str) -> dict[tuple[str, str], float]:
    """Of WildBench, by conversation and model."""
    rows = lines_of(f"wildbench_scores/{judge}.jsonl.gz")
    return {(row["session_id"], row["model"]): float(row["score"]) for row in rows}


def ratings_beside_humans() -> list[tuple[float, float, float]]:
    """LLM-Rubric's first question: a human's rating, the judge's likeliest and its expected one."""
    said = rubric_ratings("gpt-3.5-turbo-16k_real_evaluations_FIXED.tsv", "Q0")
    human = rubric("human_judges_real_convs_FIXED_ANON.tsv")
    return [(float(row["Q0"]), *said[row["text_id"]]) for row in human]


def rubric_ratings(name: str, question: str) -> dict[str, tuple[float, float]]:
    """By text: the likeliest rating, and the expected one, as a judge's log-probs are read."""
    found = {}
    for row in rubric(name):
        if row["criterion"] == question:
            p = {n: float(row[f"answer{n}_prob"]) for n in (1, 2, 3, 4)}
            top = tuple((str(n), math.log(x)) for n, x in p.items() if x > 0)
            token = Token(str(max(p, key=p.__getitem__)), math.log(max(p.values())), top)
            expected = Scale(1, 4).weigh([token], 0)[0]
            assert expected is not None
            found[row["text_id"]] = float(max(p, key=p.__getitem__)), expected
    return found


# What is on record, by name: as a file that a user might have, and as juries.

SCORED_BY = ("gpt-4-turbo-2024-04-09", "gpt-4o-2024-05-13")
SCORED = ("Phi-3-mini-128k-instruct", "Qwen1.5-72B-Chat-greedy", "gemma-2b-it", "gemma-7b-it")
SCORED += ("gpt-3.5-turbo-0125", "reka-flash-20240226")  # the models that both scored
POLICIES = ("base", "clone", "parallel_universe_prompt", "unhelpful")
ALL, NATURAL, STUDIES = "LLMBar adversarial", "LLMBar Natural", "FairEval, LLMEval^2, MT-Bench"
ONES = {name.replace("/", " ").removeprefix("Processed "): [name] for name in SETS}
GROUPS = {ALL: ADVERSARIAL, **ONES, STUDIES: OTHERS[1:]}
EVERY = {f"{ALL}, every prompt": ADVERSARIAL, f"{NATURAL}, every prompt": OTHERS[:1]}
FILES = {
    "QLoRA, pairs": eight_systems,
    "QLoRA, scores": against_chatgpt,
    "PandaLM": pandalm_judged,
    "LLM-Rubric": rubric_pairs,
    "CJE": lambda: [row for two in combinations(POLICIES, 2) for row in cje_pairs(*two)],
    **{label: partial(llmbar_judged, *names) for label, names in GROUPS.items()},
    **{label: partial(llmbar_judged, *names, every_prompt=True) for label, names in EVERY.items()},
}
JURIES = {
    "PandaLM": read_pandalm,
    **{label: partial(read_set, *names) for label, names in GROUPS.items()},
    **{label: partial(read_set, *names, every_prompt=True) for label, names in EVERY.items()},
}
Found = dict[tuple[str, str], Finding]


@cache
def audited(name: str) -> Found:
    """By `jurist audit FILE`; WildBench's answers are not on record, so there are scores and lengths only."""
    if name == "WildBench":
        findings = audit_sheet(wildbench(SCORED_BY, SCORED))
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "pairs.jsonl"
            file.write_text("\n".join(map(json.dumps, FILES[name]())), encoding="utf-8")
            findings = [*audit(file, on_error="drop").findings]
    return {(one.name, one.about): one for one in findings}


@cache
def jury_of(name: str) -> Jury:
    return Jury(*JURIES[name]())


def over(names: Iterable[str], null: str) -> Estimate:
    """How much more often than a null 30 labels are right; each set has its own, the unit is the prompt."""
    all_ = [(one.learnt(30), one) for one in map(jury_of, names)]
    gain = np.concatenate([some.gain(some.best if null == "same" else one.right[null]) for some, one in all_])
    known = ~np.isnan(gain)
    return clustered_mean(gain[known], np.concatenate([one.prompts for _, one in all_])[known], most=1.0)


def as_recorded() -> tuple[int, int]:
    """How many figures of `EXPECTED.json` come out to the last digit, and of how many."""
    want = json.loads((DATA / "EXPECTED.json").read_text())
    qlora, audit_ = want["qlora_vicuna"], audited("QLoRA, pairs")
    both = f"{qlora['consistent']:,} of {qlora['both_order_pairs']:,} matchups"
    same = [f"{both}; for {qlora['pure_position_flips']:,} " in audit_["position.flip_rate", "gpt-4"].says]
    same.append(round(audit_["position.first_position", "gpt-4"].value or 0, 4) == qlora["first_share"])
    for model, mean in want["wildbench_v2.0625_gpt4o"]["example"].items():
        scores = [score for (_, who), score in scores_of(SCORED_BY[1]).items() if who == model]
        same.append(round(statistics.fmean(scores), 4) == mean)
    for label, (name, *_) in ONES.items():
        recorded = want["llmbar"]["jury_vanilla_norules"][name]
        same += [recorded[key] == value for key, value in jury_figures(*JURIES[label]()).items()]
    return sum(same), len(same)


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
