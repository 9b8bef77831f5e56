"""Can a run of a million verdicts be audited in a minute and a gigabyte?

A run folder is written by the writers that `jurist label` uses: 125,000 prompts with three answers of some
400 characters, two matchups each, asked of two judges in both orders, one of a hundred replies unread;
labels, and people's words on 2,000 matchups. One judge leans to the first seat and to long answers. Then
`jurist audit` runs on it in a process of its own.

    python experiments/audit_at_a_million.py [--verdicts 1000000] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from evidence import record
from jurist.records import Completion, Matchup, Preference, Prompt, Usage, Verdict, content_id
from jurist.run import Run
from jurist.verdicts.cases import NOUNS, Case, write_case

SLOW = "some two minutes and 2 GB of disk"
BAR_SECONDS, BAR_MB = 60.0, 1000.0
JUDGES = (("openai:gpt-5-mini/both", 0.6, 0.5, 0.0004), ("vllm:Qwen/Qwen3-8B/both", 0.0, 0.0, 0.00005))
"""Name, log-odds for the first seat, log-odds for each standard deviation of length, price of a call."""
DOMAINS = ("writing", "code", "maths", "facts", "chat")
POLICIES = ("vllm:Qwen/Qwen3-8B", "vllm:meta-llama/Llama-3.1-8B")
TEXT = (
    "the answer depends on what you would like to know about it because every part of a plan has a price and"
    " nobody can say before the end which of them was worth more than another so begin with a small one"
)
WORDS = TEXT.split()
LABELLED = 2_000


def cases(prompts: int, dice: random.Random) -> Iterator[tuple[Case, list[Preference], list[float]]]:
    """Each with its labels, and with what the first of each matchup is truly ahead by."""
    for number in range(prompts):
        ask = f"JudgePrompt {number}: {' '.join(dice.choices(WORDS, k=20))}?"
        prompt = Prompt.of(ask, domain=DOMAINS[number % 5])
        words = [dice.randint(40, 110) for _ in range(3)]
        texts = [" ".join(dice.choices(WORDS, k=n)) for n in words]
        answers = [
            Completion.of(prompt.id, text, POLICIES[place % 2], tokens=len(text) // 4)
            for place, text in enumerate(texts)
        ]
        quality = [dice.gauss(0, 1) for _ in texts]
        met, verdicts, labels, truth = [], [], [], []
        for one, other in ((0, 1), (1, 2)):
            if dice.random() < 0.5:
                one, other = other, one
            matchup = Matchup.of(prompt, answers[one], answers[other])
            met.append(matchup)
            truth.append(quality[one] - quality[other])
            longer = (words[one] - words[other]) / 20
            heard = [said for judge in JUDGES for said in asked(matchup, judge, truth[-1], longer, dice)]
            verdicts += heard
            labels.append(label(matchup, heard))
        yield Case(prompt, tuple(answers), tuple(met), tuple(verdicts)), labels, truth


def asked(
    matchup: Matchup, judge: tuple[str, float, float, float], ahead: float, longer: float, dice: random.Random
) -> Iterator[Verdict]:
    name, seat, length, price = judge
    for order, shown in (("given", matchup), ("swapped", matchup.swapped())):
        sign = 1 if order == "given" else -1
        p = 1 / (1 + math.exp(-(sign * (1.5 * ahead + length * longer) + seat)))
        unread = "no_verdict" if dice.random() < 0.01 else ""
        yield Verdict(
            content_id(name, matchup.id, order),
            name,
            matchup.id,
            shown.first.id,
            shown.second.id,
            order,
            None if unread else round(p, 4),
            unread=unread,
            rationale=" ".join(dice.choices(WORDS, k=25)),
            raw="Neither can be told from the other." if unread else "A" if p > 0.5 else "B",
            call=content_id("call", name, matchup.id, order),
            usage=Usage(420, 300, 60, 0),
            cost=price,
            seconds=round(0.4 + dice.random(), 3),
        )


def label(matchup: Matchup, heard: list[Verdict]) -> Preference:
    ps = [one.p_first if one.order == "given" else 1 - one.p_first for one in heard if one.p_first]
    p = sum(ps) / len(ps) if ps else 0.5
    chosen, rejected = (matchup.first, matchup.second) if p >= 0.5 else (matchup.second, matchup.first)
    ids = tuple(one.id for one in heard)
    return Preference(
        content_id("preference", matchup.id),
        matchup.prompt,
        chosen,
        rejected,
        max(p, 1 - p),
        abs(2 * p - 1),
        1.0,
        "all_pairs:jury",
        ids,
    )


def write_run(folder: Path, verdicts: int, seed: int = 0) -> None:
    """The run, and `labels.jsonl` beside its files."""
    dice = random.Random(seed)
    people = []
    with Run(folder) as run:
        with run.writing(*NOUNS, "preferences", "dropped") as files:
            for case, labels, truth in cases(verdicts // 8, dice):
                write_case(case, files)
                for row in labels:
                    files["preferences"].add(row)
                if len(people) < 3 * LABELLED:
                    people += [
                        {"matchup_id": one.id, "label": said(ahead, dice), "who": who}
                        for one, ahead in zip(case.matchups, truth, strict=True)
                        for who in ("ada", "grace", "emmy")
                    ]
        run.write_json("summary.json", {"run": str(folder), "state": "done", "usd": verdicts / 2 * 0.00045})
    lines = [json.dumps(row) for row in people]
    (folder / "labels.jsonl").write_text("\n".join(lines) + "\n")


def said(ahead: float, dice: random.Random) -> str:
    return "first" if dice.random() < 1 / (1 + math.exp(-2 * ahead)) else "second"


def audited(folder: Path) -> dict[str, float]:
    """One audit in a process of its own."""
    jurist, people = Path(sys.executable).with_name("jurist"), folder / "labels.jsonl"
    command = [jurist, "audit", folder, "--human", people, "--json"]
    began = time.perf_counter()
    with (folder / "out.json").open("wb") as out, (folder / "err.txt").open("wb") as err:
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit((folder / "err.txt").read_text()[-2000:])
    found = json.loads((folder / "out.json").read_text())
    assert found["counts"]["verdicts"] >= 1
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss / 1024, 1),
        "verdicts": found["counts"]["verdicts"],
        "findings": len(found["findings"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path)
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp(prefix="jurist-audit-"))
    try:
        if not (folder / "summary.json").exists():
            write_run(folder, args.verdicts)
        size = sum(file.stat().st_size for file in folder.glob("*.jsonl"))
        got = audited(folder)
    finally:
        if args.keep is None:
            shutil.rmtree(folder)
    print(got)
    if got["verdicts"] == 1_000_000:
        record(
            "audit_at_a_million",
            value=got["seconds"],
            bar=f"under {BAR_SECONDS:g} s and {BAR_MB:g} MB",
            holds=got["seconds"] < BAR_SECONDS and got["peak_mb"] < BAR_MB,
            packages=("jurist", "msgspec", "numpy"),
            cores=os.cpu_count(),
            gigabytes_read=round(size / 1e9, 2),
            **{name: value for name, value in got.items() if name != "seconds"},
        )


if __name__ == "__main__":
    main()
