"""Does a first job on a small real model end by itself, with nothing set and nothing hidden?

Twelve prompts; a base model of 270 M weights, which has not learnt to answer questions, behind llama.cpp's
server with four slots on two cores; it is policy and judge, and every setting is the default. The job has to
end within five minutes without a failed call, every verdict read or unread for a reason, and say that this
model does not answer the question asked and what to do. Then labels are forced out of it: at least 95 % are
read and marked as forced. What they are worth is told by how often the two orders name different answers: a
judge that guesses does so half the time.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from evidence import record

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support.cli import spawn
from support.job import records, summary, write
from support.llama import PROMPTS, llama_server

SLOW = "five minutes, and the packages of `make real`"
MINUTES = 5


def job(*words: str) -> dict[str, Any]:
    started = time.perf_counter()
    process = spawn("label", "--prompts", "prompts.jsonl", *words)
    said = process.communicate()[1].splitlines()
    return {
        "code": process.returncode,
        "said": said[-1] if said else "",
        "seconds": time.perf_counter() - started,
    }


def main() -> None:
    with llama_server() as server, tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write("prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])
        model = f"llamacpp:gemma@{server.url}"
        words = ("--policy", model, "--judge", model)
        others, first = server.others(), job(*words)
        others, found, verdicts = server.others() - others, summary(), records("verdicts")
        second = job(*words, "--judge.forced", "allow", "--out", "forced", "--journal", "run/journal.sqlite")
        forced, flips = records("verdicts", "forced"), summary("forced")["flip_rate"]
    unread = Counter(row.get("unread", "") for row in verdicts)
    masses = [row["label_mass"] for row in verdicts if row.get("label_mass") is not None]
    read = [row for row in forced if not row.get("unread")]
    marked = sum(bool(row.get("forced")) for row in read)
    failed = found["retries"] + found["uncertain_calls"] + unread["call_failed"]
    says = "does not answer the question asked" in first["said"] and "--judge.forced allow" in first["said"]
    record(
        "first_contact_real_server",
        value=round(first["seconds"], 1),
        bar=f"ends by itself within {60 * MINUTES} s, no call failed, says what is wrong and what to do;"
        " forced: >= 95 % of the verdicts read, each of them marked",
        holds=found["state"] == "done"
        and first["seconds"] <= 60 * MINUTES
        and not failed
        and len(verdicts) == 2 * len(PROMPTS)
        and says
        and len(read) >= 0.95 * len(forced)
        and marked >= 0.95 * len(read),
        packages=("jurist", "xllamacpp"),
        calls=found["calls"],
        failed=failed,
        verdicts=len(verdicts),
        unread={reason: n for reason, n in unread.items() if reason},
        median_label_mass=round(median(masses), 4) if masses else None,
        said=first["said"].replace(server.url, "SERVER"),
        forced_read=f"{len(read)} of {len(forced)}",
        forced_marked=marked,
        forced_flip_rate=flips,
        processors_others_used=round(others / first["seconds"], 2),
        seconds_forced=round(second["seconds"], 1),
    )


if __name__ == "__main__":
    main()
