"""Does every row end as a label or dropped by name, whatever the server does? Does a dead one stop the run?

2,500 pairs are judged in both orders by a server that answers 2.5 % of the tries with 429, 2.5 % with 500,
drops 2.5 % of the connections and leaves 2.5 % of the tries without any answer; 1 % of the questions are
refused with 400 and 1 % answered with half a body, however often they are asked. The labels that remain must
be those of a server without faults. Then four dead servers: nobody listens, it dies in the middle, it takes
questions and never answers, and it answers nothing but 500. Each has to stop the run within a minute with
exit code 2 and one line; the one that died is revived, and the same command must finish the job without
asking again what was answered.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from jurist.engines.faults import Faults
from msgspec import to_builtins

from evidence import record
from jurist.selftest import make_rows, write_rows
from jurist.serve import serving
from jurist.tiny import judges

SLOW = "about a minute"
ROWS, DEAD_ROWS = 2_500, 1_000
FAULTS = Faults.parse("429=.025,500=.025,drop=.025,stall=.025,400=.01,malformed=.01")
MINUTE = 60.0


class Ended:
    """A job that came to its end, and how."""

    def __init__(self, folder: Path, out: str, url: str, **engine: Any) -> None:
        recipe, self.run = folder / f"{out}.yaml", folder / out
        judge = {"engine": {"engine": f"vllm:oracle@{url}", "concurrency": 64, **engine}}
        pairs = folder / ("pairs.jsonl" if "dead" not in out else "few.jsonl")
        recipe.write_text(
            json.dumps({"pairs": str(pairs), "out": str(self.run), "judge": judge})
        )  # JSON is YAML
        started = time.perf_counter()
        code = "from jurist.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, "label", "--recipe", str(recipe)],
            capture_output=True,
            text=True,
            timeout=400,
        )
        self.seconds = round(time.perf_counter() - started, 1)
        self.code = done.returncode
        self.said = [line for line in done.stderr.splitlines() if " rows" not in line[:40]]
        self.summary: dict[str, Any] = {}
        if (self.run / "summary.json").exists():
            self.summary = json.loads((self.run / "summary.json").read_text())

    def lines(self, noun: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.run / f"{noun}.jsonl").read_text().splitlines()]

    def labels(self) -> dict[str, str]:
        return {row["id"]: row["chosen"]["id"] for row in self.lines("preferences")}

    @property
    def stopped_well(self) -> bool:
        one_line = len(self.said) == 1 and self.said[0].startswith("jurist: ")
        return self.code == 2 and self.seconds < MINUTE and one_line


def faulty(folder: Path) -> dict[str, Any]:
    """The same rows over a sound server and over a bad one."""
    with serving(judges.oracle, latency=0.02) as sound:
        expected = Ended(folder, "sound", sound.url)
    with serving(judges.oracle, latency=0.02, faults=FAULTS) as served:
        got = Ended(folder, "faulty", served.url, timeout=1.0)
        stats = served.stats.summary()
    matchups = {one["matchups"][0][0] for one in got.lines("matchups")}
    lost = [row for row in got.lines("dropped") if row["subject_id"] in matchups]
    labels, expected_labels = got.labels(), expected.labels()
    named = Counter(row["reason"] + (f" ({row['detail']})" if row.get("detail") else "") for row in lost)
    return {
        "rows": len(matchups),
        "labels": len(labels),
        "dropped": dict(named.most_common(12)),
        "unread": got.summary["unread"],
        "lost": ROWS - len(labels) - len(lost),
        "labels_that_differ": sum(expected_labels.get(id) != chosen for id, chosen in labels.items()),
        "arrived": stats,
        "seconds": got.seconds,
        "seconds_without_faults": expected.seconds,
        "exit_code": got.code,
    }


def nobody_listens(folder: Path) -> Ended:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return Ended(folder, "dead_from_the_start", f"http://127.0.0.1:{port}/v1")


def never_answers(folder: Path) -> Ended:
    with serving(judges.oracle, faults=Faults(stall=1.0)) as served:
        return Ended(folder, "dead_silent", served.url, timeout=10.0)


def only_errors(folder: Path) -> Ended:
    with serving(judges.oracle, faults=Faults(error=1.0)) as served:
        return Ended(folder, "dead_500", served.url)


def dies_and_comes_back(folder: Path) -> tuple[Ended, Ended, dict[str, int]]:
    with ThreadPoolExecutor(1) as pool:
        with serving(judges.oracle, latency=0.05) as served:
            url, port, first = served.url, int(served.url.split(":")[2].split("/")[0]), served.stats
            job = pool.submit(Ended, folder, "dead_in_the_middle", url)
            while first.calls < DEAD_ROWS:
                time.sleep(0.005)
        stopped = job.result()
        with serving(judges.oracle, latency=0.05, port=port) as served:
            finished = Ended(folder, "dead_in_the_middle", url)
    again = len(first.answered.keys() & served.stats.answered.keys())
    return stopped, finished, {"asked_again": again, "most_in_flight": first.most_in_flight}


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="jurist-faults-") as name:
        folder = Path(name)
        rows = make_rows(ROWS)
        write_rows(rows, folder / "pairs.jsonl")
        write_rows(rows[:DEAD_ROWS], folder / "few.jsonl")
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(one, folder) for one in (nobody_listens, never_answers, only_errors)]
            stopped, finished, kept = pool.submit(dies_and_comes_back, folder).result()
            dead = [one.result() for one in waiting] + [stopped]
        counted = faulty(folder)
    revived = finished.code == 0 and finished.summary["labels"] == DEAD_ROWS
    few = kept["asked_again"] <= kept["most_in_flight"]
    sound = counted["exit_code"] == 0 and not counted["labels_that_differ"] and counted["rows"] == ROWS
    record(
        "faults_accounted",
        value=counted["lost"],
        bar="0 rows that are neither a label nor dropped by name; dead servers stop the run within 60 s",
        holds=counted["lost"] == 0 and sound and revived and few and all(one.stopped_well for one in dead),
        faults=to_builtins(FAULTS),
        accounted=counted,
        dead_servers={
            one.run.name: {"seconds": one.seconds, "exit_code": one.code, "said": one.said} for one in dead
        },
        revived={**kept, "labels": finished.summary["labels"], "calls": finished.summary["calls"]},
    )


if __name__ == "__main__":
    main()
