"""What the server answered is in the journal, however a run ends; started again, it comes to the same files.

A job of 2,000 calls ends at 20 random moments each by Ctrl-C, SIGTERM, a second Ctrl-C, kill -9, a small disk
that fills up, and a server that drops what comes in and then goes away. By the server's books every call
answered is kept (but for kill -9: those in flight, or back for less than one commit window; and a second
Ctrl-C: as many as its message says), and every dollar billed is spent or maybe billed. Then the same command
finishes: nothing kept is asked again, and the files equal an undisturbed run's.
"""

from __future__ import annotations

import json
import logging
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from evidence import record
from jurist.journal import WINDOW_SECONDS
from support.cli import spawn
from support.job import pairs, right, write
from support.replies import preferring
from support.server import Server, serving

SLOW = "a quarter of an hour"
MOMENTS, ROWS, CALLS = 20, 1_000, 2_000
PRICE = 1.0, 2.0
COMMIT = 0.03  # seconds that a commit may take on a busy disk, beside the window it waits for
FILES = ("prompts", "completions", "matchups", "verdicts", "preferences", "dropped", "export/trl/train")
SIGNALS = {"ctrl_c": signal.SIGINT, "sigterm": signal.SIGTERM, "second_ctrl_c": signal.SIGINT}
SIGNALS["kill_9"] = signal.SIGKILL
ENDINGS = (*SIGNALS, "full_disk", "server_gone")
COUNTED = ("arrived", "answered", "in_journal", "may_lose")
CHECKS = ("kept", "on_the_books", "finished", "same_files")


def start(folder: Path, run: Path, server: Server) -> subprocess.Popen[str]:
    engine = {"price.input": PRICE[0], "price.output": PRICE[1], "give_up_after": 2.0, "timeout": 20.0}
    words = [word for name, value in engine.items() for word in (f"--judge.engine.{name}", str(value))]
    judge = ("--judge", f"vllm:judge@{server.url}", *words, "--budget", "100usd")
    return spawn("label", "--pairs", folder / "pairs.jsonl", *judge, "--out", run)


def lines(run: Path) -> dict[str, list[Any]]:
    """The records of a run's files, without what depends on the clock."""
    read = {name: (run / f"{name}.jsonl").read_text().splitlines() for name in FILES}
    return {name: [{**json.loads(line), "seconds": 0} for line in some] for name, some in read.items()}


def end(how: str, job: subprocess.Popen[str], server: Server, at: int, dice: random.Random) -> int:
    """Bring the job to its end; how many of the calls answered by then may be lost."""
    while how != "full_disk" and job.poll() is None and len(server.log) < at:
        time.sleep(0.001)
    flying, now = server.in_flight, time.perf_counter()
    if how in SIGNALS:
        job.send_signal(SIGNALS[how])
    if how == "second_ctrl_c":
        time.sleep(dice.uniform(0.0, 0.06))
        job.send_signal(signal.SIGINT)
    if how == "server_gone":
        return 0
    said = job.communicate(timeout=120)[1]
    if how == "second_ctrl_c" and "are lost" in said:
        return int(said.partition(" calls that were sent are lost")[0].split()[-1])
    late = sum(now - WINDOW_SECONDS - COMMIT < one.arrived + one.seconds <= now for one in server.log)
    return flying + late if how == "kill_9" else 0


def one_moment(folder: Path, how: str, number: int, undisturbed: dict[str, list[Any]]) -> dict[str, Any]:
    """End a job in this way, look at the books, and let it finish."""
    dice = random.Random(f"{how} {number}")
    disk, at = folder / how / str(number), dice.randint(20, CALLS - 20)
    disk.mkdir(parents=True)
    if how == "full_disk":
        size = f"size={dice.randint(400, 12_000)}k"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", disk], check=True)
    try:
        latency = lambda request: random.Random(str(request["messages"])).uniform(0.02, 0.08)  # noqa: E731
        gone = lambda *_: "drop" if how == "server_gone" and len(server.log) > at else None  # noqa: E731
        with serving(preferring(right), latency=latency, price=PRICE, faults=gone) as server:
            job = start(folder, disk / "run", server)
            may_lose = end(how, job, server, at, dice)
        job.communicate(timeout=120)
        with closing(sqlite3.connect(disk / "run" / "journal.sqlite")) as journal:
            (kept,) = journal.execute("SELECT count(*) FROM calls").fetchone()
            (dollars,) = journal.execute("SELECT usd + uncertain_usd + open_usd FROM spent").fetchone()
        if how == "full_disk":
            subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        with serving(preferring(right), port=server.port) as again:
            finish = start(folder, disk / "run", again)
            finish.communicate(timeout=120)
        same = lines(disk / "run") == undisturbed
    finally:
        if how == "full_disk":
            subprocess.run(["umount", disk], check=True)
    found = {"how": how, "arrived": len(server.log), "answered": server.answered, "in_journal": kept}
    found |= {"may_lose": may_lose, "kept": 0 <= server.answered - kept <= may_lose, "same_files": same}
    found["on_the_books"] = server.dollars <= dollars * (1 + 1e-9)
    return found | {"finished": finish.returncode == 0 and len(again.log) == CALLS - kept}


def main() -> None:
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # of connections that are gone
    with tempfile.TemporaryDirectory(prefix="jurist-kept-") as name:
        folder = Path(name)
        write(folder / "pairs.jsonl", pairs(ROWS))
        with serving(preferring(right), price=PRICE) as server:
            start(folder, folder / "undisturbed", server).communicate()
        files = lines(folder / "undisturbed")
        ended = [one_moment(folder, how, number, files) for how in ENDINGS for number in range(MOMENTS)]
    wrong = [one for one in ended if not all(one[what] for what in CHECKS)]
    by_ending = {
        how: {name: sum(one[name] for one in ended if one["how"] == how) for name in COUNTED}
        for how in ENDINGS
    }
    answered = sum(one["answered"] for one in by_ending.values())
    record(
        "answered_calls_kept",
        len(wrong),
        null={"answered before the end": round(answered / CALLS / len(ended), 2)},
        bar=f"0 of {MOMENTS} moments each of {', '.join(ENDINGS)} with a call, a dollar or a row amiss",
        holds=not wrong,
        more={"by_ending": by_ending, "wrong": wrong},
    )
    kills, killed = [one for one in ended if one["how"] == "kill_9"], by_ending["kill_9"]
    again, bound = killed["arrived"] - killed["in_journal"], killed["may_lose"]
    record(
        "resume_after_kill",
        again,
        null={"all that had arrived, without a journal": killed["arrived"]},
        bar=f"at most {bound}: in flight at {len(kills)} kills, or answered within one commit window before",
        holds=again <= bound < killed["arrived"] and all(one[what] for one in kills for what in CHECKS),
        kills=kills,
    )


if __name__ == "__main__":
    main()
