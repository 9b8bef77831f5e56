"""Does every row end as a label or dropped with a reason, whatever the server does? Does a dead one stop it?

2,500 pairs are judged in both orders by a server that answers 2.5 % of the tries with 429, 2.5 % with 500,
drops 2.5 % of the connections, sends half a reply or a web page for 1 % each, and nothing for 1 %; 1 % of the
questions are refused with 400 however often they are asked. The labels must be those of a server without
faults (null: chosen and rejected in the other's place). Then four dead servers: nobody listens, it dies in
the middle, it never answers, it answers nothing but 500. Each has to stop the run once nothing came for
`give_up_after` (60 s) and one try more, with exit code 2 and what to type in the last line; after the one
that died, the same command asks a server that lives only what is missing.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections import Counter
from typing import Any

from evidence import record
from support.cli import spawn
from support.job import pairs, read, right, write
from support.replies import preferring, question
from support.server import serving

SLOW = "two minutes"
ROWS, DEAD_ROWS = 2_500, 1_000
FAULTS = {"429": 0.025, "500": 0.025, "drop": 0.025, "truncate": 0.01, "html": 0.01, "stall": 0.01}
PATIENCE, TRY = 60.0, 10.0


def judge(request: dict[str, Any]) -> Any:
    """Refuses one question in a hundred, whoever asks."""
    refused = int(question(request).split()[2]) % 100 == 7
    return {"status": 400, "text": "not this one"} if refused else preferring(right)(request)


def label(url: str, rows: int, out: str, **engine: Any) -> dict[str, Any]:
    """One job in a process of its own, and how it ended."""
    write("pairs.jsonl", pairs(rows))
    words = [word for name, value in engine.items() for word in (f"--judge.engine.{name}", str(value))]
    started = time.perf_counter()
    job = spawn("label", "--pairs", "pairs.jsonl", "--judge", f"vllm:judge@{url}", *words, "--out", out)
    said = job.communicate(timeout=400)[1].splitlines()
    seconds = round(time.perf_counter() - started, 1)
    return {"code": job.returncode, "seconds": seconds, "said": said[-1] if said else ""}


def preferred(out: str, side: str = "chosen") -> dict[str, str]:
    return {row["id"]: row[side]["id"] for row in read(f"{out}/preferences.jsonl")}


def faulty() -> dict[str, Any]:
    """The same rows over a sound server and over a bad one."""
    with serving(preferring(right), latency=0.02) as sound:
        label(sound.url, ROWS, "sound")
    with serving(judge, latency=0.02, faults=FAULTS) as server:
        ended = label(server.url, ROWS, "faulty", timeout=1.0)
    matchups = {one["matchups"][0][0] for one in read("faulty/matchups.jsonl")}
    lost = [row for row in read("faulty/dropped.jsonl") if row["subject_id"] in matchups]
    answered = Counter(json.dumps(one.body, sort_keys=True) for one in server.log if one.answered)
    labels, expected, null = preferred("faulty"), preferred("sound"), preferred("faulty", "rejected")
    return {
        **ended,
        "labels": len(labels),
        "dropped": dict(Counter(row["reason"] for row in lost)),
        "lost": ROWS - len(labels) - len(lost),
        "labels_that_differ": sum(expected.get(id) != one for id, one in labels.items()),
        "null_labels_that_differ": sum(expected.get(id) != one for id, one in null.items()),
        "faults": dict(Counter(one.fault for one in server.log if one.fault)),
        "answered_twice": answered.total() - len(answered),
    }


def died_and_revived() -> tuple[dict[str, Any], dict[str, int]]:
    """A server that answers nothing but 500 after 300 calls, and the same job on one that lives."""

    def dead(*_: Any) -> str | None:
        return "500" if server.answered >= 300 else None

    with serving(preferring(right), latency=0.02, faults=dead) as server:
        stopped = label(server.url, DEAD_ROWS, "died", give_up_after=10)
    with serving(preferring(right)) as revived:
        finished = label(revived.url, DEAD_ROWS, "died")
    asked = {"answered_before": server.answered, "asked_again": len(revived.log)}
    return stopped, {**asked, "labels": len(preferred("died")), "code": finished["code"]}


def main() -> None:
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # of connections that are gone
    with tempfile.TemporaryDirectory(prefix="jurist-faults-") as name:
        os.chdir(name)
        rows = faulty()
        stopped, revived = died_and_revived()
        dead, stall = {"died in the middle": stopped}, ({"stall": 1.0}, {"timeout": TRY})
        for how, (faults, engine) in {"never answers": stall, "only 500": ({"500": 1.0}, {})}.items():
            with serving("A", faults=faults) as server:
                dead[how] = label(server.url, DEAD_ROWS, how.replace(" ", "-"), **engine)
        dead["nobody listens"] = label(f"http://127.0.0.1:{server.port}/v1", DEAD_ROWS, "nobody")
    told = ("curl http", "Run the same command again")
    stops = [one["code"] == 2 and one["said"].startswith("jurist: ") for one in dead.values()]
    stops += [one["seconds"] < PATIENCE + TRY + 5 for one in dead.values()]
    stops += [any(what in one["said"] for what in told) for one in dead.values()]
    revived_well = revived["asked_again"] == 2 * DEAD_ROWS - revived["answered_before"]
    amiss = rows["lost"] + rows["labels_that_differ"] + rows["answered_twice"]
    record(
        "faults_accounted",
        amiss,
        null={
            "labels that differ with chosen and rejected changed about": rows.pop("null_labels_that_differ")
        },
        bar="no row unaccounted for, no label another than without faults, no answered call asked again;"
        " four dead servers each stop the run, and one that is revived is asked only what is missing",
        holds=not amiss and all(stops) and revived_well and revived["labels"] == DEAD_ROWS,
        more={"rows": rows, "dead_servers": dead, "revived": revived},
    )


if __name__ == "__main__":
    main()
