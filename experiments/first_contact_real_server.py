"""Does a first job on a small real model end by itself, with nothing set and nothing hidden?

Twelve prompts; a base model of 270 M weights, which has not learnt to answer questions, behind llama.cpp's
server with four slots on two cores; it is policy and judge, and every setting is the default. The job has to
say that this model does not answer the question asked, and what to do. Then labels are forced out of it. What
they are worth is told by how often the two orders name different answers: a judge that guesses, the null,
does so half the time.
"""

import os
import tempfile
from collections import Counter
from statistics import median

from evidence import record
from support.cli import timed
from support.job import records, summary, write
from support.llama import PROMPTS, llama_server

SLOW = "five minutes, and the packages of `make real`"
MINUTES = 5


def main() -> None:
    with llama_server() as server, tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write("prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])
        model = f"llamacpp:gemma@{server.url}"
        job = ("label", "--prompts", "prompts.jsonl", "--policy", model, "--judge", model)
        others = server.others()
        ended, seconds = timed(*job)
        others, found, verdicts = server.others() - others, summary(), records("verdicts")
        again = ("--judge.forced", "allow", "--out", "forced", "--journal", "run/journal.sqlite")
        seconds_forced = timed(*job, *again)[1]
        forced, flips = records("verdicts", "forced"), summary("forced")["flip_rate"]
    said = (ended.err.splitlines() or [""])[-1]
    unread = Counter(row.get("unread", "") for row in verdicts)
    masses = [row["label_mass"] for row in verdicts if row.get("label_mass") is not None]
    read = [row for row in forced if not row.get("unread")]
    marked = sum(bool(row.get("forced")) for row in read)
    failed = found["retries"] + found["uncertain_calls"] + unread["call_failed"]
    says = "does not answer the question asked" in said and "--judge.forced allow" in said
    done = found["state"] == "done" and seconds <= 60 * MINUTES and not failed
    all_read = len(read) >= 0.95 * len(forced) and marked >= 0.95 * len(read)
    record(
        "first_contact_real_server",
        seconds,
        null={"forced_flip_rate of a judge that guesses": 0.5},
        bar=f"ends by itself within {60 * MINUTES} s, no call failed, says what is wrong and what to do;"
        " forced: >= 95 % of the verdicts read, each of them marked",
        holds=done and len(verdicts) == 2 * len(PROMPTS) and says and all_read,
        verdicts=len(verdicts),
        unread={reason: n for reason, n in unread.items() if reason},
        median_label_mass=round(median(masses), 4) if masses else None,
        said=said.replace(server.url, "SERVER"),
        forced_read=f"{len(read)} of {len(forced)}",
        processors_others_used=round(others / seconds, 2),
        seconds_forced=seconds_forced,
        more={"forced_flip_rate": flips, "calls": found["calls"], "failed": failed, "forced_marked": marked},
    )


if __name__ == "__main__":
    main()
