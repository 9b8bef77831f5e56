"""Does a job on a Ray cluster make what one process makes, as often and as dear, however many nodes die?

`ray_equals_single`: pairs with a server that goes wrong, prompts with a policy and two judges, and sampling
alone, on two nodes and in one process; rows are compared without the clock. `ray_linear`: a judge that takes
.4 s and 12 calls at once for each node, 300 pairs a node, on 1, 2 and 4 nodes of this machine, and in one
process; from the first call to the last. `ray_million`: matchups through the scripted engine (1,000,000, or as
many as are named) on two nodes; memory is sampled as it goes. `ray_chaos`: jobs whose node, actor, driver or
ledger is killed at a random moment (20 each, or as many as are named), on a server that turns calls away, with
a budget of three fifths of the cost; the same command with more money ends them.

    python experiments/on_ray.py [CLAIM [NUMBER]]
"""

import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from evidence import ROOT, record, run_claims, write_rows
from jurist.journal import WINDOW_SECONDS
from million_rows import pairs as million_pairs
from support.cli import spawn
from support.cluster import actors, add_node, cluster, kill_actor
from support.job import pairs, read, right, write
from support.replies import preferring, text_of
from support.server import serving

SLOW = "an hour"
NUMBER = int(sys.argv[2]) if len(sys.argv) > 2 else 0
FILES = ("prompts", "completions", "matchups", "verdicts", "preferences", "dropped")
PRICE = 1.0, 2.0
PRICED = ("--judge.engine.price.input", PRICE[0], "--judge.engine.price.output", PRICE[1])
FAULTS = {"429": 0.02, "500": 0.02, "truncate": 0.01, "drop": 0.01}
LATE = WINDOW_SECONDS + 0.05
"""A reply that came home so shortly before a kill may not have been committed."""


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jurist-ray-") as name, chdir(name):
        yield Path(name)


def run(verb: str, *words: object) -> tuple[dict[str, Any], subprocess.Popen[str]]:
    """A job up to its end: its summary, and the process."""
    job = spawn(verb, *words)
    said = job.communicate(timeout=3600)
    out = Path(str(words[words.index("--out") + 1]))
    assert (out / "summary.json").exists(), said
    return json.loads((out / "summary.json").read_text()), job


def lines(out: str | Path) -> dict[str, list[Any]]:
    """The records of a run's files, without what depends on the clock."""
    there = [name for name in FILES if (Path(out) / f"{name}.jsonl").exists()]
    return {name: [{**row, "seconds": 0} for row in read(Path(out) / f"{name}.jsonl")] for name in there}


def differ(one: str, other: str) -> int:
    """Lines that are not the same."""
    left, right_ = lines(one), lines(other)
    whole = sum(abs(len(left[name]) - len(right_.get(name, []))) for name in left)
    return whole + sum(
        a != b for name in left for a, b in zip(left[name], right_.get(name, []), strict=False)
    )


SAMPLED = ("--prompts", "prompts.jsonl", "--k", "3", "--policy", "{}", "--sampling.seed", "3")


def model(asked: Any) -> Any:
    """A judge, and a policy whose answers follow from the question and the seed."""
    if "<response-A" in text_of(asked):
        return preferring(right)(asked)
    dice = random.Random(text_of(asked) + str(asked.get("seed")))
    return [f"{dice.choice(('It makes', 'Maybe'))} {dice.random()}" for _ in range(asked.get("n") or 1)]


def ray_equals_single() -> None:
    counted: Counter[str] = Counter()
    with folder(), cluster(2):
        rows = pairs(400)
        write("pairs.jsonl", [*rows, rows[0], {"prompt": "", "first": "a", "second": "b"}])
        write("prompts.jsonl", [{"prompt": row["prompt"]} for row in pairs(150)])
        jobs: dict[str, tuple[str, ...]] = {
            "pairs": ("label", "--pairs", "pairs.jsonl", "--on_error", "drop", "--judge", "{}"),
            "jury": ("label", *SAMPLED, "--judge", "{}", "--judge", "shorter"),
            "sampling": ("sample", *SAMPLED),
        }
        for name, (verb, *words) in jobs.items():
            for out, more in (
                ("one", ()),
                ("ray", ("--on", "ray", "--on.block", 60)),
                ("seed", ("--seed", 1)),
            ):
                with serving(model, latency=0.02, faults=FAULTS) as server:
                    filled = [word.format(f"vllm:judge@{server.url}") for word in words]
                    run(verb, *filled, "--out", f"{name}-{out}", *more)
            counted["rows"] += sum(map(len, lines(f"{name}-one").values()))
            counted["differ"] += differ(f"{name}-one", f"{name}-ray")
            counted["seed"] += differ(f"{name}-one", f"{name}-seed")
    record(
        "ray_equals_single",
        counted["differ"],
        null={"lines that differ with another seed": counted["seed"]},
        bar=f"0 of {counted['rows']} lines of three jobs differ from those of one process",
        holds=0 == counted["differ"] < counted["seed"],
        more={"lines": counted["rows"]},
    )


NODES, EACH, AT_ONCE, LATENCY = (1, 2, 4), 300, 12, 0.4


def ray_linear() -> None:
    found: dict[str, dict[str, float]] = {}
    for nodes in (0, *NODES):
        with folder(), serving(preferring(right), latency=LATENCY) as server, cluster(nodes or 1):
            write("pairs.jsonl", pairs(EACH * max(1, nodes)))
            judge = ("--judge", f"vllm:judge@{server.url}", "--judge.engine.concurrency")
            on = ("--on", "ray", "--on.block", EACH // 2) if nodes else ()
            began = time.perf_counter()
            at_once = AT_ONCE * max(1, nodes)
            run("label", "--pairs", "pairs.jsonl", *judge, at_once, "--out", "run", *on)
            wall = time.perf_counter() - began
            calls = [one.arrived for one in server.log], [one.arrived + one.seconds for one in server.log]
            seconds = max(calls[1]) - min(calls[0])
            rate = len(server.log) / 2 / seconds
            found[str(nodes)] = {
                "rows_per_s": round(rate, 2),
                "seconds": round(seconds, 2),
                "wall": round(wall, 2),
                "before": round(min(calls[0]) - began, 2),
            }
            print(nodes, found[str(nodes)], flush=True)
    one = found["1"]["rows_per_s"]
    shares = {nodes: round(found[str(nodes)]["rows_per_s"] / nodes / one, 4) for nodes in NODES}
    record(
        "ray_linear",
        min(shares.values()),
        null={"nodes that add nothing": round(1 / max(NODES), 2)},
        bar="throughput of 2 and 4 nodes at least 90% of 2 and 4 times that of one",
        holds=min(shares.values()) >= 0.9,
        more={"by_nodes": found, "share_of_linear": shares, "of_one_process": one / found["0"]["rows_per_s"]},
    )


def ray_million() -> None:
    rows = NUMBER or 1_000_000
    seen: dict[str, list[float]] = {"driver": [], "actors": []}
    with folder() as here, cluster(2), chdir(ROOT / "experiments"):
        source, out = write_rows(here / "pairs.jsonl", million_pairs(rows)), here / "run"
        judge = ("--judge.engine", "million_rows:judge")
        began = time.perf_counter()
        job = spawn("label", "--pairs", source, *judge, "--out", out, "--on", "ray", "--on.block", 5000)
        drain = threading.Thread(target=job.communicate)
        drain.start()
        while job.poll() is None:
            time.sleep(1.0)
            there = [megabytes(pid) for pid in actors("Worker")]
            if len(there) == 2 and min(there) > 0:
                seen["driver"].append(megabytes(job.pid))
                seen["actors"].append(max(there))
        drain.join()
        seconds, summary = time.perf_counter() - began, json.loads((out / "summary.json").read_text())
        journal = (out / "journal.sqlite").stat().st_size / 1e6
        files = sum(file.stat().st_size for file in out.glob("*.jsonl")) / 1e6
        single = None
        if rows <= 100_000:
            began = time.perf_counter()
            run("label", "--pairs", source, *judge, "--out", here / "single")
            single = round(rows / (time.perf_counter() - began), 1)
    # The first quarter is where caches fill.
    grown = {who: max(last) / max(first) for who, (first, last) in ((w, halves(m)) for w, m in seen.items())}
    done = summary["matchups"] == summary["labels"] + sum(summary["dropped"].values()) == rows
    record(
        "ray_million",
        round(max(grown.values()), 3),
        null={"rows": rows, "what is written, MB": round(files + journal)},
        bar="memory of driver and actors in the last half at most 1.2 times that of the second quarter; every row"
        " labelled or dropped",
        holds=max(grown.values()) <= 1.2 and done,
        more={
            "rows_per_s": round(rows / seconds, 1),
            "rows_per_s_of_one_process": single,
            "seconds": round(seconds, 1),
            "peak_mb": {who: round(max(many)) for who, many in seen.items()},
            "journal_mb": round(journal, 1),
            "files_mb": round(files, 1),
        },
    )


def halves(values: list[float]) -> tuple[list[float], list[float]]:
    """The second quarter and the last half."""
    n = max(4, len(values))
    return values[n // 4 : n // 2] or values[:1], values[n // 2 :] or values[-1:]


def megabytes(pid: int) -> float:
    """What a process holds for itself."""
    try:
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


KINDS = ("actor", "node", "driver", "ledger")
JOB = 250


def ray_chaos() -> None:
    dice, moments, wrong = random.Random(1), NUMBER or 20, []
    counted: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    with folder(), cluster(2) as found:
        write("pairs.jsonl", pairs(JOB))
        with serving(preferring(right), price=PRICE) as server:
            run(
                "label",
                "--pairs",
                "pairs.jsonl",
                "--judge",
                f"vllm:judge@{server.url}",
                *PRICED,
                "--out",
                "one",
            )
            cost = server.dollars
        for kind in KINDS:
            for number in range(moments):
                one = one_moment(found, kind, f"{kind}-{number}", cost, dice)
                counted[kind].update({name: int(value) for name, value in one.items()})
                print(kind, number, one, flush=True)
                if not (one["same"] and one["within"] and one["resent"] <= one["may_resend"]):
                    wrong.append({"kind": kind, "number": number, **one})
    resent, answered = (sum(one[what] for one in counted.values()) for what in ("resent", "answered"))
    record(
        "ray_chaos",
        len(wrong),
        null={"calls answered before the kills, all asked again without a journal": answered},
        bar=f"0 of {moments} moments each of {', '.join(KINDS)} with a row amiss, a dollar above the budget, or"
        " more calls asked again than were in flight",
        holds=not wrong and resent < answered,
        more={"by_kind": counted, "resent": resent, "wrong": wrong},
    )


def one_moment(found: Any, kind: str, out: str, cost: float, dice: random.Random) -> dict[str, Any]:
    """One job, killed once: what was asked again, and whether all is there in the end."""
    cap = round(0.6 * cost, 4)
    with serving(
        preferring(right), price=PRICE, latency=0.05, faults=FAULTS, seed=dice.randrange(999)
    ) as server:
        judge = ("--judge", f"vllm:judge@{server.url}", *PRICED, "--judge.engine.give_up_after", 10)
        words = ("--pairs", "pairs.jsonl", *judge, "--out", out, "--on", "ray", "--on.block", 40)
        job = spawn("label", *words, "--budget", cap)
        at = dice.randint(10, JOB)
        while job.poll() is None and len(server.log) < at:
            time.sleep(0.002)
        answered, ended = server.answered, kill(found, kind, job)
        job.communicate(timeout=120)
        if kind == "driver":
            run("label", *words, "--budget", cap)
        within = server.dollars <= cap * (1 + 1e-9)
        summary, _ = run("label", *words, "--budget", 100 * cost)
        spent = summary["usd"] + summary["uncertain_usd"]
        asked = Counter(json.dumps(one.body) for one in server.log if one.answered)
        late = [one for one in server.log if ended - LATE < one.arrived + one.seconds <= ended + LATE]
        gone = [one for one in server.log if one.fault is None and not one.answered]
        return {
            "same": differ("one", out) == 0,
            "within": within and server.dollars <= spent * (1 + 1e-9),
            "answered": answered,
            "resent": sum(asked.values()) - len(asked) + len(gone),
            "may_resend": len(late) + len(gone),
        }


def kill(found: Any, kind: str, job: Any) -> float:
    """Kill it, and when the last process that made calls because of it had ended."""
    before = set(actors("Worker"))
    if kind in ("actor", "ledger"):
        kill_actor({"actor": "Worker", "ledger": "Ledger"}[kind])
    elif kind == "driver":
        job.kill()
    else:
        found.remove_node(found.worker_nodes.copy().pop(), allow_graceful=False)
    until = time.perf_counter() + 5.0
    while time.perf_counter() < until and kind != "ledger":
        there = set(actors("Worker"))
        if (kind == "driver" and not before & there) or (kind != "driver" and before - there):
            break
        time.sleep(0.002)
    ended = time.perf_counter()
    if kind == "node":
        add_node(found)
    return ended


if __name__ == "__main__":
    run_claims(ray_equals_single, ray_linear, ray_million, ray_chaos)
