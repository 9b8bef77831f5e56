"""Is every paid call kept, every row accounted for, and no budget exceeded, whatever servers do?

`answered_calls_kept`, `resume_after_kill`: a job of 2,000 calls ends at 20 random moments each by Ctrl-C,
SIGTERM, a second Ctrl-C, kill -9, a small disk that fills up, and a server that drops what comes in and then
goes away. By the server's books every call answered is kept (except those in flight at a kill -9, or answered
within one commit window before; and as many as the message of a second Ctrl-C says), and every dollar billed
is spent or maybe billed. Then the same command finishes: nothing kept is asked again, and the files equal
those of an undisturbed run. `faults_accounted`: 2,500 pairs and a server that answers some tries with 429,
500, half a reply, a web page or nothing, drops some, and refuses 1 % of the questions for good. Then four
dead servers: each has to stop the run once nothing came for `give_up_after` (60 s) and one try more, with
exit code 2 and what to type in the last line. `budget_never_exceeded`: 500 random jobs by the books of a
server that bills what it worked on, seen or not, and 50 on one that bills more than `max_tokens` allows.

    python experiments/paid_calls.py [CLAIM ...]
"""

import json
import logging
import math
import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from statistics import fmean
from typing import Any

from evidence import record, run_claims
from jurist import LabelConfig, label
from jurist.config import settings_from
from jurist.errors import BudgetSpent
from jurist.journal import WINDOW_SECONDS
from support.cli import spawn
from support.job import pairs, read, right, write
from support.replies import label_reply, preferring, question
from support.server import Server, serving

SLOW = "half an hour"
MOMENTS, JOB_ROWS, CALLS = 20, 1_000, 2_000
PRICE = 1.0, 2.0
PRICED = {"price.input": PRICE[0], "price.output": PRICE[1], "give_up_after": 2.0, "timeout": 20.0}
COMMIT = 0.03  # seconds that a commit may take on a busy disk, beside the window it waits for
FILES = ("prompts", "completions", "matchups", "verdicts", "preferences", "dropped", "export/trl/train")
SIGNALS = {"ctrl_c": signal.SIGINT, "sigterm": signal.SIGTERM, "second_ctrl_c": signal.SIGINT}
SIGNALS["kill_9"] = signal.SIGKILL
ENDINGS = (*SIGNALS, "full_disk", "server_gone")
COUNTED = ("arrived", "answered", "in_journal", "may_lose")
CHECKS = ("kept", "on_the_books", "finished", "same_files")


def answered_calls_kept() -> None:
    with tempfile.TemporaryDirectory(prefix="jurist-kept-") as name:
        folder = Path(name)
        write(folder / "pairs.jsonl", pairs(JOB_ROWS))
        with serving(preferring(right), price=PRICE) as server:
            start(folder / "pairs.jsonl", folder / "undisturbed", server.url, PRICED).communicate()
        files = lines(folder / "undisturbed")
        ended = {how: [one_moment(folder, how, n, files) for n in range(MOMENTS)] for how in ENDINGS}
    every = [one for some in ended.values() for one in some]
    wrong = [one for one in every if not all(one[what] for what in CHECKS)]
    by_ending = {
        how: {name: sum(one[name] for one in some) for name in COUNTED} for how, some in ended.items()
    }
    record(
        "answered_calls_kept",
        len(wrong),
        null={"answered before the end": round(fmean(one["answered"] for one in every) / CALLS, 2)},
        bar=f"0 of {MOMENTS} moments each of {', '.join(ENDINGS)} with a call, a dollar or a row amiss",
        holds=not wrong,
        more={"by_ending": by_ending, "wrong": wrong},
    )
    kills, killed = ended["kill_9"], by_ending["kill_9"]
    again, bound = killed["arrived"] - killed["in_journal"], killed["may_lose"]
    record(
        "resume_after_kill",
        again,
        null={"all that had arrived, without a journal": killed["arrived"]},
        bar=f"at most {bound}: in flight at {len(kills)} kills, or answered within one commit window before",
        holds=again <= bound < killed["arrived"] and all(one[what] for one in kills for what in CHECKS),
        kills=kills,
    )


def start(rows: Path, run: Path, url: str, engine: dict[str, float]) -> subprocess.Popen[str]:
    words = [word for name, value in engine.items() for word in (f"--judge.engine.{name}", value)]
    budget = ("--budget", "100usd") if engine is PRICED else ()
    return spawn("label", "--pairs", rows, "--judge", f"vllm:judge@{url}", *words, *budget, "--out", run)


def lines(run: Path) -> dict[str, list[Any]]:
    """The records of a run's files, without what depends on the clock."""
    return {name: [{**row, "seconds": 0} for row in read(run / f"{name}.jsonl")] for name in FILES}


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
    job = folder / "pairs.jsonl", disk / "run"
    disk.mkdir(parents=True)
    if how == "full_disk":
        size = f"size={dice.randint(400, 12_000)}k"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", disk], check=True)
    try:
        latency = lambda request: random.Random(str(request["messages"])).uniform(0.02, 0.08)  # noqa: E731
        gone = lambda *_: "drop" if how == "server_gone" and len(server.log) > at else None  # noqa: E731
        with serving(preferring(right), latency=latency, price=PRICE, faults=gone) as server:
            ending = start(*job, server.url, PRICED)
            may_lose = end(how, ending, server, at, dice)
        ending.communicate(timeout=120)
        with closing(sqlite3.connect(disk / "run" / "journal.sqlite")) as journal:
            (kept,) = journal.execute("SELECT count(*) FROM calls").fetchone()
            (dollars,) = journal.execute("SELECT usd + uncertain_usd + open_usd FROM spent").fetchone()
        if how == "full_disk":
            subprocess.run(["mount", "-o", "remount,size=200m", disk], check=True)
        with serving(preferring(right), port=server.port) as again:
            finish = start(*job, again.url, PRICED)
            finish.communicate(timeout=120)
        same = lines(disk / "run") == undisturbed
    finally:
        if how == "full_disk":
            subprocess.run(["umount", disk], check=True)
    found = {"how": how, "arrived": len(server.log), "answered": server.answered, "in_journal": kept}
    found |= {"may_lose": may_lose, "kept": 0 <= server.answered - kept <= may_lose, "same_files": same}
    found["on_the_books"] = server.dollars <= dollars * (1 + 1e-9)
    return found | {"finished": finish.returncode == 0 and len(again.log) == CALLS - kept}


ROWS, DEAD_ROWS = 2_500, 1_000
FAULTS = {"429": 0.025, "500": 0.025, "drop": 0.025, "truncate": 0.01, "html": 0.01, "stall": 0.01}
PATIENCE, TRY = 60.0, 10.0


def faults_accounted() -> None:
    with tempfile.TemporaryDirectory(prefix="jurist-faults-") as name:
        os.chdir(name)
        rows = faulty()
        stopped, revived = died_and_revived()
        dead, stall = {"died in the middle": stopped}, ({"stall": 1.0}, {"timeout": TRY})
        for how, (faults, engine) in {"never answers": stall, "only 500": ({"500": 1.0}, {})}.items():
            with serving("A", faults=faults) as server:
                dead[how] = label_with(server.url, DEAD_ROWS, how.replace(" ", "-"), **engine)
        dead["nobody listens"] = label_with(f"http://127.0.0.1:{server.port}/v1", DEAD_ROWS, "nobody")
    told = ("curl http", "Run the same command again")
    stops = [one["code"] == 2 and one["said"].startswith("jurist: ") for one in dead.values()]
    stops += [one["seconds"] < PATIENCE + TRY + 5 for one in dead.values()]
    stops += [any(what in one["said"] for what in told) for one in dead.values()]
    revived_well = revived["asked_again"] == 2 * DEAD_ROWS - revived["answered_before"]
    amiss = rows["lost"] + rows["labels_that_differ"] + rows["answered_twice"]
    record(
        "faults_accounted",
        amiss,
        null={"labels that differ with chosen and rejected swapped": rows.pop("null_labels_that_differ")},
        bar="no row unaccounted for, no label another than without faults, no answered call asked again;"
        " four dead servers each stop the run, and one that is revived is asked only what is missing",
        holds=not amiss and all(stops) and revived_well and revived["labels"] == DEAD_ROWS,
        more={"rows": rows, "dead_servers": dead, "revived": revived},
    )


def label_with(url: str, rows: int, out: str, **engine: float) -> dict[str, Any]:
    """One job in a process of its own, and how it ended."""
    write("pairs.jsonl", pairs(rows))
    started, job = time.perf_counter(), start(Path("pairs.jsonl"), Path(out), url, engine)
    said = job.communicate(timeout=400)[1].splitlines() or [""]
    return {"code": job.returncode, "seconds": round(time.perf_counter() - started, 1), "said": said[-1]}


def preferred(out: str, side: str = "chosen") -> dict[str, str]:
    return {row["id"]: row[side]["id"] for row in read(f"{out}/preferences.jsonl")}


def faulty() -> dict[str, Any]:
    """The same rows over a sound server, and over a bad one that refuses one question in a hundred."""

    def judge(request: dict[str, Any]) -> Any:
        refused = int(question(request).split()[2]) % 100 == 7
        return {"status": 400, "text": "not this one"} if refused else preferring(right)(request)

    with serving(preferring(right), latency=0.02) as sound:
        label_with(sound.url, ROWS, "sound")
    with serving(judge, latency=0.02, faults=FAULTS) as server:
        ended = label_with(server.url, ROWS, "faulty", timeout=1.0)
    matchups = {one["matchups"][0][0] for one in read("faulty/matchups.jsonl")}
    lost = [row for row in read("faulty/dropped.jsonl") if row["subject_id"] in matchups]
    answered = Counter(json.dumps(one.body, sort_keys=True) for one in server.log if one.answered)
    labels, expected = preferred("faulty"), preferred("sound")
    found = {**ended, "labels": len(labels), "dropped": dict(Counter(row["reason"] for row in lost))}
    for name, given in (("", labels), ("null_", preferred("faulty", "rejected"))):
        found[f"{name}labels_that_differ"] = sum(expected.get(id) != one for id, one in given.items())
    found |= {"lost": ROWS - len(labels) - len(lost), "answered_twice": answered.total() - len(answered)}
    return {**found, "faults": dict(Counter(one.fault for one in server.log if one.fault))}


def died_and_revived() -> tuple[dict[str, Any], dict[str, int]]:
    """A server that answers only 500 after 300 calls, and the same job on one that lives."""
    dead = lambda *_: "500" if server.answered >= 300 else None  # noqa: E731
    with serving(preferring(right), latency=0.02, faults=dead) as server:
        stopped = label_with(server.url, DEAD_ROWS, "died", give_up_after=10)
    with serving(preferring(right)) as revived:
        finished = label_with(revived.url, DEAD_ROWS, "died")
    asked = {"answered_before": server.answered, "asked_again": len(revived.log)}
    return stopped, {**asked, "labels": len(preferred("died")), "code": finished["code"]}


HONEST, OVERBILLED = 500, 50
HITCHES = {"429": 0.05, "500": 0.05, "drop": 0.03, "truncate": 0.03, "stall": 0.01}


def budget_never_exceeded() -> None:
    honest = [one_run(seed, False) for seed in range(HONEST)]
    overbilled = [one_run(10_000 + seed, True) for seed in range(OVERBILLED)]
    used = [one["used"] for one in honest if one["used"] is not None]
    exceeded = sum(one["over"] > 1e-9 for one in honest)
    above = sum(one["over_by_more_than_excess"] for one in overbilled)
    record(
        "budget_never_exceeded",
        exceeded,
        null={"least without a budget": round(min(one["null"] for one in honest), 2)},
        bar=f"0 of {HONEST} runs above their budget; 0 of {OVERBILLED} over-billed by more than the excess"
        " under way; >= 90 % used where no call may cost above 5 % of the budget",
        holds=not exceeded and not above and min(used) >= 0.9 and len(used) >= 30,
        most_of_the_budget=round(1 + max(one["over"] for one in honest), 6),
        stopped_by_the_budget=sum(one["stopped"] for one in honest),
        over_billed_and_above=sum(one["over"] > 0 for one in overbilled),
        calls=sum(one["calls"] for one in honest + overbilled),
        over_billed_and_above_the_excess=above,
        used={"least": round(min(used), 4), "runs": len(used)},
    )


def log_uniform(dice: random.Random, low: float, high: float) -> float:
    return math.exp(dice.uniform(math.log(low), math.log(high)))


def answer(request: dict[str, Any]) -> Any:
    """A label where one is asked for, else a text of any length, which the server cuts at max_tokens."""
    dice = random.Random(json.dumps(request, sort_keys=True))
    if request.get("logprobs"):
        return label_reply(dice.choice("AB"), 0.8)
    text = "because " * int(log_uniform(dice, 1, 400))
    return [text + str(i) for i in range(request.get("n") or 1)]


def random_job(dice: random.Random, file: Path, server: Server, price: tuple[float, float]) -> dict[str, Any]:
    """A random job without its budget; its texts have any lengths, perhaps the longest last."""
    sampled = dice.random() < 0.4
    names = ("prompt",) if sampled else ("prompt", "first", "second")
    longest, count = dice.choice([4, 40, 800]), dice.randint(8, 100)
    texts = [["word " * int(log_uniform(dice, 2, longest)) for _ in names] for _ in range(count)]
    rows = [json.dumps(dict(zip(names, some, strict=True)) | {"n": n}) for n, some in enumerate(texts)]
    file.write_text("\n".join(sorted(rows, key=len) if dice.random() < 0.4 else rows))
    engine = {"concurrency": dice.choice([1, 4, 32, 256]), "price": {"input": price[0], "output": price[1]}}
    engine |= {"timeout": 0.5, "max_tries": 4, "give_up_after": 5.0}
    kinds = dice.sample(["vllm", "groq", "openai"], 3)
    judges: list[dict[str, Any]] = [
        {"engine": {"engine": f"{kinds[n]}:m@{server.url}", **engine}, "name": f"judge-{n}"}
        | ({"reason": True, "max_tokens": dice.randint(20, 300)} if dice.random() < 0.4 else {})
        for n in range(dice.randint(1, 3))
    ]
    if not sampled:
        return {"pairs": str(file), "judge": judges}
    policy = {"engine": {"engine": f"{dice.choice(['vllm', 'groq'])}:p@{server.url}", **engine}}
    sampling = {"max_tokens": dice.randint(10, 300)}
    given = {"prompts": str(file), "policy": [policy], "k": dice.randint(2, 6)}
    return {**given, "sampling": sampling, "judge": judges}


def most_it_costs(body: dict[str, Any], price: tuple[float, float]) -> float:
    """What a request costs at most, by its length and max_tokens."""
    written = (body.get("n") or 1) * (body.get("max_tokens") or body["max_completion_tokens"])
    return (len(json.dumps(body, ensure_ascii=False).encode()) * price[0] + written * price[1]) / 1e6


def one_run(seed: int, overbill: bool) -> dict[str, Any]:
    """A job twice: without a budget, to learn what it costs, and with a part of that as its budget."""
    dice = random.Random(seed)
    price = log_uniform(dice, 0.1, 100), log_uniform(dice, 0.1, 100)
    bad = {"latency": dice.choice([0.0, 0.002, 0.02]), "faults": HITCHES if dice.random() < 0.5 else {}}
    bad["overbill"] = log_uniform(dice, 2, 2000) if overbill else 1.0
    with tempfile.TemporaryDirectory(prefix="jurist-budget-") as name:
        folder = Path(name)
        with serving(answer, price=price) as free:
            settings = random_job(dice, folder / "rows.jsonl", free, price)
            label(settings_from(LabelConfig, {**settings, "out": str(folder / "free")}))
        cap = free.dollars * dice.uniform(0.05, 0.9)
        settings |= {"out": str(folder / "run"), "budget": cap}
        with serving(answer, price=price, seed=seed, port=free.port, **bad) as server:
            for _ in range(dice.choice([1, 1, 1, 2])):
                try:
                    stopped = label(settings_from(LabelConfig, settings)).ended_by == "budget"
                except BudgetSpent:  # before there was anything to decide
                    stopped = True
    last = max((one.arrived for one in server.log), default=0.0)
    # A reply that was written just now may not have arrived.
    under_way = [one for one in server.log if one.arrived + one.seconds >= last - 0.05]
    excess = sum(max(0.0, one.dollars - most_it_costs(one.body, price)) for one in under_way)
    worst = max((most_it_costs(one.body, price) for one in free.log), default=0.0)
    lost = any(one.dollars and not one.answered for one in server.log)
    above = server.dollars > (cap + excess) * (1 + 1e-9)
    used = server.dollars / cap if stopped and not lost and worst <= 0.05 * cap else None
    found = {"over": server.dollars / cap - 1, "over_by_more_than_excess": above, "used": used}
    return found | {"calls": len(server.log), "null": free.dollars / cap, "stopped": stopped}


if __name__ == "__main__":
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # it reports every connection that was cut
    run_claims(answered_calls_kept, faults_accounted, budget_never_exceeded)
