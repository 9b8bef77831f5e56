"""What does a million rows need: memory to label them, time and memory to audit them?

`label_memory`: pairs made on the fly, a judge that is a function and answers in one letter, asked in both
orders, every call journaled on disk, decided and exported; each size in a process of its own, whose peak
memory counts. `audit_at_a_million`: a run folder written by the writers that `jurist label` uses, 125,000
prompts with three answers, two matchups each, asked of two judges in both orders, one of a hundred replies
unread; labels, and human labels of 2,000 matchups; `jurist audit` in a process of its own.

    python experiments/million_rows.py [CLAIM ...]
"""

import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evidence import record, run_claims, write_rows
from jurist import JudgeConfig, LabelConfig, label
from jurist.engines.engine import Ask
from jurist.records import Completion, Matchup, Preference, Prompt, Usage, Verdict, content_id
from jurist.run import Run
from jurist.verdicts.cases import NOUNS, Case, write_case
from work import peak_mb, run_measured

SLOW = "a quarter of an hour, and 5 GB of disk"
SIZES, BAR = (10_000, 100_000, 1_000_000), 1.3


def label_memory() -> None:
    runs = []
    for rows in SIZES:
        with tempfile.TemporaryDirectory(prefix="jurist-memory-") as folder:
            command = [sys.executable, __file__, "--one", str(rows), folder]
            done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{rows:,} rows failed: {done.stderr[-800:]}")
        runs.append(json.loads(done.stdout))
        print("  ".join(f"{key} {value:,}" for key, value in runs[-1].items()), flush=True)
    whole = all(one["labels"] == one["rows"] and one["calls"] == 2 * one["rows"] for one in runs)
    growth = round(max(one["peak_mb"] for one in runs[1:]) / runs[0]["peak_mb"], 3)
    record(
        "label_memory",
        growth,
        null={"memory in step with the rows": SIZES[-1] / SIZES[0]},
        bar=f"peak memory of {SIZES[-1]:,} rows at most {BAR} x that of {SIZES[0]:,}",
        holds=growth <= BAR and whole,
        runs=runs,
    )


def labelled(rows: int, folder: Path) -> dict[str, Any]:
    file = write_rows(folder / "pairs.jsonl", pairs(rows))
    began, cpu = time.perf_counter(), time.process_time()
    judging = JudgeConfig(engine="million_rows:judge")
    summary = label(LabelConfig(pairs=file, out=str(folder / "run"), judge=judging))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    found = {"rows": rows, "labels": summary.labels, "calls": summary.calls, "peak_mb": round(peak_mb(), 1)}
    found |= {"rows_per_s": round(rows / seconds), "seconds": round(seconds, 1)}
    found |= {"cpu_us_per_row": round(cpu / rows * 1e6, 1)}
    return {**found, "journal_mb": round((folder / "run" / "journal.sqlite").stat().st_size / 1e6, 1)}


def judge(ask: Ask) -> str:
    """The position whose text has the mark of the better one."""
    shown = ask.messages[-1].content
    return "A" if "better" in shown[: shown.find("Response B:")] else "B"


def pairs(rows: int) -> Any:
    draw = random.Random(0)
    for number in range(rows):
        texts = [" ".join(draw.choices(WORDS, k=12)) for _ in range(2)]
        texts[number % 2] += f" better {number}"
        yield {"prompt": f"{number} {texts[0][:40]}", "first": texts[0], "second": texts[1]}


BAR_SECONDS, BAR_MB = 60.0, 600.0
JUDGES = (("openai:gpt-5-mini/both", 0.6, 0.5, 0.0004), ("vllm:Qwen/Qwen3-8B/both", 0.0, 0.0, 0.00005))
"""Name, log-odds for the first position, log-odds for each standard deviation of length, price of a call."""
DOMAINS = ("writing", "code", "maths", "facts", "chat")
POLICIES = ("vllm:Qwen/Qwen3-8B", "vllm:meta-llama/Llama-3.1-8B")
TEXT = (
    "the answer depends on what you would like to know about it because every part of a plan has a price and"
    " nobody can say before the end which of them was worth more than another so begin with a small one"
)
WORDS = TEXT.split()
VERDICTS, LABELLED = 1_000_000, 2_000


def audit_at_a_million() -> None:
    with tempfile.TemporaryDirectory(prefix="jurist-audit-") as name:
        folder = Path(name)
        write_run(folder, VERDICTS)
        files_mb = round(sum(file.stat().st_size for file in folder.glob("*.jsonl")) / 2**20)
        command = [Path(sys.executable).with_name("jurist"), "audit", folder, "--json"]
        used, code, said = run_measured(*command, "--human", folder / "labels.jsonl")
    if code:
        sys.exit(said[-2000:])
    cpu_s, seconds, most_mb = (round(used[what], 1) for what in ("cpu_s", "wall_s", "peak_mb"))
    audit = json.loads(said)
    found = {"peak_mb": most_mb, "cpu_seconds": cpu_s, "findings": len(audit["findings"])}
    found["verdicts"] = audit["counts"]["verdicts"]
    print(seconds, found)
    record(
        "audit_at_a_million",
        seconds,
        null={"MB of the files it reads": files_mb},
        bar=f"under {BAR_SECONDS:g} s and {BAR_MB:g} MB, and less than its files hold",
        holds=seconds < BAR_SECONDS and most_mb < min(BAR_MB, files_mb),
        more=found,
    )


def cases(prompts: int, dice: random.Random) -> Iterator[tuple[Case, list[Preference], list[float]]]:
    """Each with its labels, and with how much better the first of each matchup truly is."""
    for number in range(prompts):
        asked = f"Question {number}: {' '.join(dice.choices(WORDS, k=20))}?"
        prompt = Prompt.of(asked, domain=DOMAINS[number % 5])
        words, quality = [dice.randint(40, 110) for _ in range(3)], [dice.gauss(0, 1) for _ in range(3)]
        texts = [" ".join(dice.choices(WORDS, k=n)) for n in words]
        answers = [
            Completion.of(prompt.id, text, POLICIES[at % 2], tokens=words[at])
            for at, text in enumerate(texts)
        ]
        pairs = [(one, one + 1) if dice.random() < 0.5 else (one + 1, one) for one in (0, 1)]
        met = [Matchup.of(prompt, answers[one], answers[other]) for one, other in pairs]
        truth = [quality[one] - quality[other] for one, other in pairs]
        longer = [(words[one] - words[other]) / 20 for one, other in pairs]
        verdicts = [
            [verdict for judge in JUDGES for verdict in judged_twice(matchup, judge, ahead, by, dice)]
            for matchup, ahead, by in zip(met, truth, longer, strict=True)
        ]
        case = Case(prompt, tuple(answers), tuple(met), tuple(one for some in verdicts for one in some))
        yield case, [decided(*one) for one in zip(met, verdicts, strict=True)], truth


def judged_twice(
    matchup: Matchup, judge: tuple[str, float, float, float], ahead: float, longer: float, dice: random.Random
) -> Iterator[Verdict]:
    name, position, length, price = judge
    for order, shown, sign in (("given", matchup, 1), ("swapped", matchup.swapped(), -1)):
        p = 1 / (1 + math.exp(-(sign * (1.5 * ahead + length * longer) + position)))
        unread = "no_verdict" if dice.random() < 0.01 else ""
        ids = content_id(name, matchup.id, order), name, matchup.id, shown.first.id, shown.second.id, order
        raw = "Neither can be told from the other." if unread else "A" if p > 0.5 else "B"
        how = {"rationale": " ".join(dice.choices(WORDS, k=25)), "raw": raw, "usage": Usage(420, 300, 60, 0)}
        how |= {"call": content_id("call", name, matchup.id, order), "cost": price, "unread": unread}
        yield Verdict(*ids, None if unread else round(p, 4), seconds=round(0.4 + dice.random(), 3), **how)


def decided(matchup: Matchup, verdicts: list[Verdict]) -> Preference:
    ps = [one.p_first if one.order == "given" else 1 - one.p_first for one in verdicts if one.p_first]
    p = sum(ps) / len(ps) if ps else 0.5
    sides = (matchup.first, matchup.second) if p >= 0.5 else (matchup.second, matchup.first)
    ids, name = tuple(one.id for one in verdicts), content_id("preference", matchup.id)
    sure = max(p, 1 - p), abs(2 * p - 1), 1.0
    return Preference(name, matchup.prompt, *sides, *sure, "all_pairs:jury", ids)


def write_run(folder: Path, verdicts: int) -> None:
    """The run, and `labels.jsonl` beside its files."""
    dice, labels = random.Random(0), list[dict[str, str]]()
    with Run(folder) as run:
        with run.writing(*NOUNS, "preferences", "dropped") as files:
            for case, preferences, truth in cases(verdicts // 8, dice):
                write_case(case, files)
                for row in preferences:
                    files["preferences"].add(row)
                for one, ahead in zip(case.matchups, truth, strict=True):
                    p = 1 / (1 + math.exp(-2 * ahead))
                    for who in ("ada", "grace", "emmy") if len(labels) < 3 * LABELLED else ():
                        says = "first" if dice.random() < p else "second"
                        labels.append({"matchup_id": one.id, "label": says, "who": who})
        run.write_json("summary.json", {"run": str(folder), "state": "done", "usd": verdicts / 2 * 0.00045})
    write_rows(folder / "labels.jsonl", labels)


if __name__ == "__main__":
    if "--one" in sys.argv:
        print(json.dumps(labelled(int(sys.argv[2]), Path(sys.argv[3]))))
    else:
        run_claims(label_memory, audit_at_a_million)
