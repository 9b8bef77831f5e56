"""What the server answered is in the journal, however a run ends; started again, it comes to the same files.

A job of 2,000 calls (1,000 pairs in both orders) runs as `jurist label` against a server with books of its
own, and ends at 20 random moments each by: Ctrl-C, SIGTERM, a second Ctrl-C, kill -9, a disk (a small tmpfs)
that fills up, and a server that goes away. Every call the server answered has to be kept, but for kill -9
(what was in flight, and what came back within one commit window) and a second Ctrl-C (which says how many
calls may be lost). What the server billed has to be on the books, as spent or as uncertain. Then the same
command finishes the job: nothing kept is asked again, and its files equal those of a run nobody disturbed.
Null: the share of the calls that the interrupted runs had answered, all of which a run without a journal
would ask again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from evidence import record
from jurist.journal import WINDOW_SECONDS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support.cli import spawn
from support.job import pairs, right, write
from support.replies import preferring
from support.server import Server, serving

SLOW = "about fifteen minutes"
MOMENTS, ROWS, CALLS = 20, 1_000, 2_000
PRICE = 1.0, 2.0
FILES = ("prompts", "completions", "matchups", "verdicts", "preferences", "dropped", "export/trl/train")
ENDINGS = ("ctrl_c", "sigterm", "second_ctrl_c", "kill_9", "full_disk", "server_gone")


def start(folder: Path, run: Path, server: Server) -> subprocess.Popen[str]:
    engine = {"price": {"input": PRICE[0], "output": PRICE[1]}, "give_up_after": 2.0, "timeout": 20.0}
    words = [word for name, value in engine.items() for word in (f"--judge.engine.{name}", json.dumps(value))]
    judge = ("--judge", f"vllm:judge@{server.url}", *words, "--budget", "100usd")
    return spawn("label", "--pairs", folder / "pairs.jsonl", *judge, "--out", run)


def books(run: Path) -> dict[str, float]:
    """Calls kept, and dollars that are spent or may be."""
    with closing(sqlite3.connect(run / "journal.sqlite")) as journal:
        kept = journal.execute("SELECT count(*) FROM calls").fetchone()[0]
        usd, uncertain, opened = journal.execute("SELECT usd, uncertain_usd, open_usd FROM spent").fetchone()
    return {"kept": kept, "usd": usd, "may_be_billed": usd + uncertain + opened}


def wait(job: subprocess.Popen[str], until: Callable[[], bool]) -> None:
    while job.poll() is None and not until():
        time.sleep(0.0005)


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def latency(request: dict[str, Any]) -> float:
    return random.Random(str(request["messages"])).uniform(0.02, 0.08)


def one_moment(folder: Path, how: str, number: int) -> dict[str, Any]:
    """End a job in this way, look at the books, and let it finish."""
    dice = random.Random(f"{how} {number}")
    run, at = folder / how / str(number) / "run", dice.randint(20, CALLS - 20)
    disk = small_disk(run.parent, dice.randint(400, 12_000)) if how == "full_disk" else nullcontext()
    with disk:
        with serving(preferring(right), latency=latency, price=PRICE) as server:
            job = start(folder, run, server)
            if how != "full_disk":
                wait(job, lambda: server.answered >= at)
            if how in ("kill_9", "sigterm", "ctrl_c", "second_ctrl_c"):
                flying, now = server.in_flight, time.perf_counter()
                job.send_signal({"kill_9": signal.SIGKILL, "sigterm": signal.SIGTERM}.get(how, signal.SIGINT))
            if how == "second_ctrl_c":
                time.sleep(dice.uniform(0.0, 0.06))
                job.send_signal(signal.SIGINT)
            if how != "server_gone":
                said = job.communicate(timeout=120)[1]
        if how == "server_gone":
            said = job.communicate(timeout=120)[1]
        before = books(run)
        may_lose = 0
        if how == "kill_9":
            window = WINDOW_SECONDS + 2 * 0.03
            recent = (one for one in server.log if one.answered and one.arrived + one.seconds > now - window)
            may_lose = flying + sum(1 for _ in recent)
        elif how == "second_ctrl_c" and "are lost" in said:
            may_lose = int(said.splitlines()[-1].split(" calls that were sent are lost")[0].split()[-1])
        if how == "full_disk":
            subprocess.run(["mount", "-o", "remount,size=200m", run.parent], check=True)
        with serving(preferring(right), latency=lambda _: 0.001, port=server.port) as again:
            finish = start(folder, run, again)
            finish.communicate(timeout=120)
        files = {name: lines(run / f"{name}.jsonl") for name in FILES}
    return {
        "how": how,
        "code": job.returncode,
        "arrived": len(server.log),
        "answered": server.answered,
        "kept": before["kept"],
        "may_lose": may_lose,
        "kept_well": 0 <= server.answered - before["kept"] <= may_lose,
        "on_the_books": server.dollars <= before["may_be_billed"] * (1 + 1e-9),
        "finished": finish.returncode == 0 and len(again.log) == CALLS - before["kept"],
        "same": files == UNDISTURBED,
    }


UNDISTURBED: dict[str, list[Any]] = {}


def lines(path: Path) -> list[Any]:
    """The records of a file, without what depends on the clock."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in one.items() if name != "seconds"} for one in found]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="jurist-kept-") as name:
        folder = Path(name)
        write(folder / "pairs.jsonl", pairs(ROWS))
        with serving(preferring(right), price=PRICE) as server:
            start(folder, folder / "undisturbed", server).communicate()
        UNDISTURBED.update({name: lines(folder / "undisturbed" / f"{name}.jsonl") for name in FILES})
        endings = [how for how in ENDINGS if how != "full_disk" or os.geteuid() == 0]
        ended = [one_moment(folder, how, number) for how in endings for number in range(MOMENTS)]
    wrong = [
        one
        for one in ended
        if not all(one[what] for what in ("kept_well", "on_the_books", "finished", "same"))
    ]
    kills = [one for one in ended if one["how"] == "kill_9"]
    record(
        "answered_calls_kept",
        value=len(wrong),
        bar=f"0 of {MOMENTS} moments each of {', '.join(endings)}",
        holds=not wrong and endings == list(ENDINGS),
        packages=("jurist", "uvloop"),
        calls=CALLS,
        by_ending={
            how: {
                what: sum(one[what] for one in ended if one["how"] == how)
                for what in ("arrived", "answered", "kept", "may_lose")
            }
            for how in endings
        },
        null={
            "answered_before_the_end": round(sum(one["answered"] for one in ended) / CALLS / len(ended), 2)
        },
        wrong=wrong,
    )
    again = sum(one["arrived"] - one["kept"] for one in kills)
    bound = sum(one["may_lose"] for one in kills)
    record(
        "resume_after_kill",
        value=again,
        bar=f"at most {bound}: in flight at {len(kills)} kills, and answered within one commit window before them",
        holds=again <= bound and all(one["same"] and one["finished"] for one in kills),
        packages=("jurist", "uvloop"),
        kills=kills,
    )


if __name__ == "__main__":
    main()
