"""Is nothing lost, and next to nothing paid twice, when a job is killed again and again?

A job of 5,000 calls (2,500 pairs in both orders) runs as `jurist label` against a server in this process,
which counts every question that arrives. The job is killed with SIGKILL at 20 moments drawn over its whole
life, two of them while it starts and three after the last reply, while it decides and exports; then it runs
to its end. Its files must equal those of a run that nobody disturbed. What may be sent twice is what was in
flight at the kills, and what had come back within one commit window. Then the reader is changed, a second
judge is added and ten rows are appended: only what is new may arrive.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evidence import record
from jurist.journal import WINDOW_SECONDS, Journal
from jurist.selftest import Row, make_rows, write_rows
from jurist.serve import Served, serving
from jurist.tiny import judges

SLOW = "about a minute"
ROWS, MORE, CALLS = 2_500, 10, 5_000
LATENCY = 0.05, 0.15
CONCURRENCY = 64
KILLS_BY_CALLS, KILLS_AT_START, KILLS_AT_THE_END = 15, 2, 3
SRC = Path(__file__).resolve().parent.parent / "src"
FILES = ("prompts", "completions", "matchups", "verdicts", "preferences", "dropped")
ANOTHER_READER = """
_before = read_choice


def read_choice(text, menu, finish="stop", tokens=()):
    reading = _before(text, menu, finish, tokens)
    if reading.p_first is None:
        return reading
    return replace(reading, p_first=0.05 + 0.9 * reading.p_first)


from msgspec.structs import replace  # noqa: E402
"""


@dataclass
class Kill:
    """One kill, as the server saw it."""

    when: str
    arrived: int
    """Different questions so far."""
    in_flight: int
    in_window: int
    """Answered so shortly before that they may not have been committed."""


@dataclass
class Clock:
    """How long each answer takes, drawn so that they do not come in step, and when it is given."""

    draw: random.Random
    given: list[float] = field(default_factory=list)

    def __call__(self, _: int) -> float:
        seconds = self.draw.uniform(*LATENCY)
        self.given.append(time.perf_counter() + seconds)
        return seconds

    def between(self, start: float, end: float) -> int:
        return sum(start < at <= end for at in self.given)


def settings(folder: Path, out: str, url: str, *more: str) -> list[str]:
    engines = [{"engine": {"engine": f"vllm:{name}@{url}", "concurrency": CONCURRENCY}} for name in more]
    judge = {"engine": {"engine": f"vllm:stumbling@{url}", "concurrency": CONCURRENCY}}
    recipe = folder / f"{out}.yaml"
    recipe.write_text(  # JSON is YAML
        json.dumps(
            {"pairs": str(folder / "pairs.jsonl"), "out": str(folder / out), "judge": [judge, *engines]}
        )
    )
    return ["label", "--recipe", str(recipe), "--json"]


def start(words: list[str], source: Path) -> subprocess.Popen[bytes]:
    code = f"import sys; sys.path.insert(0, {str(source)!r}); from jurist.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(words: list[str], source: Path) -> dict[str, Any]:
    job = start(words, source)
    out, err = job.communicate(timeout=300)
    if job.returncode:
        raise SystemExit(f"the job ended with {job.returncode}: {err.decode()}")
    summary: dict[str, Any] = json.loads(out)
    return summary


def commit_seconds(folder: Path) -> float:
    """The slowest of thirty commits of a full window's rows on this disk."""

    async def slowest() -> float:
        journal, worst = Journal(folder / "trial.sqlite"), 0.0
        for group in range(30):
            started = time.perf_counter()
            rows = [journal.put(f"{group} {n}".encode(), bytes(300)) for n in range(CONCURRENCY)]
            await asyncio.gather(*rows)
            worst = max(worst, time.perf_counter() - started - WINDOW_SECONDS)
        journal.close()
        return worst

    return asyncio.run(slowest())


@dataclass
class Killer:
    """Starts the job and kills it, again and again."""

    words: list[str]
    source: Path
    served: Served
    clock: Clock
    window: float
    kills: list[Kill] = field(default_factory=list)

    def once(self, when: str, due: Callable[[], bool]) -> None:
        """Kill the job as soon as it is due; a job that was through before that does not count."""
        job = start(self.words, self.source)
        while not due():
            if job.poll() is not None:
                job.communicate()
                return
            time.sleep(0.001)
        stats, now = self.served.stats, time.perf_counter()
        in_flight, arrived = stats.in_flight, len(stats.seen)
        job.send_signal(signal.SIGKILL)
        job.communicate()
        answered = self.clock.between(now - self.window, now)
        self.kills.append(Kill(when, arrived, in_flight, answered))

    def all_over(self, draw: random.Random) -> list[Kill]:
        for _ in range(KILLS_AT_START):
            self.once("starting", after(draw.uniform(0.05, 0.6)))
        for calls in sorted(draw.sample(range(20, CALLS - 20), KILLS_BY_CALLS)):
            self.once("asking", lambda calls=calls: len(self.served.stats.seen) >= calls)
        wanted = len(self.kills) + KILLS_AT_THE_END
        while len(self.kills) < wanted:
            self.once("ending", self._after_the_last(draw.uniform(0.3, 1.1)))
        return self.kills

    def _after_the_last(self, seconds: float) -> Callable[[], bool]:
        """So long after the start, and never before the last answer."""
        due = after(seconds)
        return lambda: len(self.served.stats.seen) == CALLS and not self.served.stats.in_flight and due()


def after(seconds: float) -> Callable[[], bool]:
    started = time.perf_counter()
    return lambda: time.perf_counter() - started >= seconds


def main() -> None:
    rows, draw = make_rows(ROWS + MORE), random.Random(7)
    with tempfile.TemporaryDirectory(prefix="jurist-kills-") as name:
        folder = Path(name)
        shutil.copytree(
            SRC, folder / "src"
        )  # whoever edits the code meanwhile does not change the experiment
        # A group waits for its time, then perhaps for the group before it, then for the disk.
        window = WINDOW_SECONDS + 2 * commit_seconds(folder)
        write_rows(rows[:ROWS], folder / "pairs.jsonl")
        with serving(judges.stumbling, latency=Clock(random.Random(1))) as quiet:
            undisturbed = finish(settings(folder, "undisturbed", quiet.url), folder / "src")
        clock = Clock(random.Random(2))
        answers = {"stumbling": judges.stumbling, "longer": judges.longer}
        with serving(answers, latency=clock) as served:
            words = settings(folder, "killed", served.url)
            kills = Killer(words, folder / "src", served, clock, window).all_over(draw)
            finished = finish(words, folder / "src")
            again = served.stats.calls - len(served.stats.seen)
            same = {
                noun: lines(folder / "killed", noun) == lines(folder / "undisturbed", noun) for noun in FILES
            }
            same["export"] = exported(folder / "killed") == exported(folder / "undisturbed")
            later = afterwards(folder, served, rows)
    bound = sum(kill.in_flight + kill.in_window for kill in kills)
    accounted = finished["labels"] + sum(finished["dropped"].values()) == ROWS
    only_new = later == {"another_reader": 0, "second_judge": CALLS, "ten_more_rows": 4 * MORE}
    record(
        "resume_after_kill",
        value=again,
        bar=f"at most {bound}: in flight at the kills, and answered within one commit window before them",
        holds=again <= bound and all(same.values()) and accounted and only_new and len(kills) >= 20,
        packages=("jurist", "uvloop"),
        kills=[vars(kill) for kill in kills],
        calls=CALLS,
        in_flight_at_kills=sum(kill.in_flight for kill in kills),
        in_commit_windows=sum(kill.in_window for kill in kills),
        commit_window_ms=round(1000 * window, 1),
        files_equal_an_undisturbed_run=same,
        rows={"in": ROWS, "labels": finished["labels"], "dropped": finished["dropped"]},
        undisturbed_seconds=undisturbed["seconds"],
        calls_that_arrived_later=later,
    )


def afterwards(folder: Path, served: Served, rows: list[Row]) -> dict[str, int]:
    """How many questions arrive when only the reader, then the jury, then the file has changed."""
    arrived: dict[str, int] = {}

    def run(change: str, words: list[str], source: Path) -> None:
        before = served.stats.calls
        finish(words, source)
        arrived[change] = served.stats.calls - before

    source, other = folder / "src", folder / "changed"
    shutil.copytree(source, other)
    with (other / "jurist/verdicts/read/choice.py").open("a") as reader:
        reader.write(ANOTHER_READER)
    before = lines(folder / "killed", "verdicts")
    run("another_reader", settings(folder, "killed", served.url), other)
    if lines(folder / "killed", "verdicts") == before:
        raise SystemExit("the changed reader read the same: this experiment shows nothing")
    run("second_judge", settings(folder, "killed", served.url, "longer"), source)
    write_rows(rows, folder / "pairs.jsonl")
    run("ten_more_rows", settings(folder, "killed", served.url, "longer"), source)
    return arrived


def lines(run: Path, noun: str) -> list[Any]:
    """The records of a file, without what depends on the clock."""
    records = [json.loads(line) for line in (run / f"{noun}.jsonl").read_text().splitlines()]
    for one in records:
        one.pop("seconds", None)
    return records


def exported(run: Path) -> list[str]:
    return [path.read_text() for path in sorted((run / "export").rglob("*.jsonl"))]


if __name__ == "__main__":
    main()
