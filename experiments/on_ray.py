"""Does a job on a Ray cluster make what one process makes, as often and as dear, however many nodes die?

`ray_equals_single`: pairs with a server that goes wrong, prompts with a policy and two judges, and sampling
alone, on two nodes and in one process; lines are compared without the clock. `ray_linear`: a judge that takes
.4 s and 12 calls at once for each node, 300 pairs a node, on 1, 2 and 4 nodes of this machine, and in one
process; from the first call to the last. `ray_million`: matchups through the scripted engine (1,000,000, or
as many as are named) on two nodes; memory and processor time are sampled as it goes. `ray_chaos`: jobs whose
node, actor, driver or ledger is killed at a random moment (20 each, or as many as are named), on a server
that turns calls away, with a budget of three fifths of the cost; the same command with more money ends them.

    python experiments/on_ray.py [CLAIM [NUMBER]]
"""

import json
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

from evidence import ROOT, record, run_claims, write_rows
from million_rows import pairs as million_pairs
from support.cli import spawn
from support.cluster import actors, cluster, kill
from support.job import pairs, read, right, write
from support.replies import preferring, text_of
from support.server import serving

SLOW = "an hour"
NUMBER = int(sys.argv[2]) if len(sys.argv) > 2 else 0
FILES = ("prompts", "completions", "matchups", "verdicts", "preferences", "dropped")
PRICE = 1.0, 2.0
PRICED = f"--judge.engine.price.input {PRICE[0]} --judge.engine.price.output {PRICE[1]}"
FAULTS = {"429": 0.02, "500": 0.02, "truncate": 0.01, "drop": 0.01}


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jurist-ray-") as name, chdir(name):
        yield Path(name)


def run(words: str, out: str | Path, *more: object) -> dict[str, Any]:
    """A job up to its end: its summary."""
    said = spawn(*words.split(), "--out", out, *more).communicate(timeout=3600)
    assert (Path(out) / "summary.json").exists(), said
    found: dict[str, Any] = json.loads((Path(out) / "summary.json").read_text())
    return found


def lines(out: str) -> list[Any]:
    """The records of a run's files, without what depends on the clock."""
    files = [file for name in FILES if (file := Path(out) / f"{name}.jsonl").exists()]
    return [(file.name, {**row, "seconds": 0}) for file in files for row in read(file)]


def differ(one: str, other: str) -> int:
    """Lines that are not the same."""
    return sum(a != b for a, b in zip_longest(lines(one), lines(other)))


SAMPLED = "--prompts prompts.jsonl --k 3 --policy {0} --sampling.seed 3"
JOBS = {
    "pairs": "label --pairs pairs.jsonl --on_error drop --judge {0}",
    "jury": f"label {SAMPLED} --judge {{0}} --judge shorter",
    "sampling": f"sample {SAMPLED}",
}
WAYS = {"one": (), "ray": ("--on", "ray", "--on.block", 60), "seed": ("--seed", 1)}


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
        for name, words in JOBS.items():
            for way, more in WAYS.items():
                with serving(model, latency=0.02, faults=FAULTS) as server:
                    run(words.format(f"vllm:judge@{server.url}"), f"{name}-{way}", *more)
            counted["lines"] += len(lines(f"{name}-one"))
            counted["differ"] += differ(f"{name}-one", f"{name}-ray")
            counted["seed"] += differ(f"{name}-one", f"{name}-seed")
    record(
        "ray_equals_single",
        counted["differ"],
        null={"lines that differ with another seed": counted["seed"]},
        bar=f"0 of {counted['lines']} lines of three jobs differ from those of one process",
        holds=0 == counted["differ"] < counted["seed"],
    )


NODES, EACH, AT_ONCE, LATENCY = (1, 2, 4), 300, 12, 0.4


def ray_linear() -> None:
    found: dict[str, dict[str, float]] = {}
    for nodes in (0, *NODES):
        with folder(), serving(preferring(right), latency=LATENCY) as server, cluster(nodes or 1):
            write("pairs.jsonl", pairs(EACH * max(1, nodes)))
            words = f"label --pairs pairs.jsonl --judge vllm:judge@{server.url} --judge.engine.concurrency"
            began, at_once = time.perf_counter(), AT_ONCE * max(1, nodes)
            run(f"{words} {at_once}", "run", *(("--on", "ray", "--on.block", EACH // 2) if nodes else ()))
            wall, first = time.perf_counter() - began, min(one.arrived for one in server.log)
            seconds = max(one.arrived + one.seconds for one in server.log) - first
            one = {"rows_per_s": len(server.log) / 2 / seconds, "wall": wall, "before": first - began}
            found[str(nodes)] = {name: round(value, 3) for name, value in one.items()} | {"seconds": seconds}
            print(nodes, found[str(nodes)], flush=True)
    rate = {nodes: found[str(nodes)]["rows_per_s"] for nodes in (0, *NODES)}
    shares = {nodes: round(rate[nodes] / nodes / rate[1], 4) for nodes in NODES}
    record(
        "ray_linear",
        min(shares.values()),
        null={"nodes that add nothing": round(1 / max(NODES), 2)},
        bar="throughput of 2 and 4 nodes at least 90% of 2 and 4 times that of one",
        holds=min(shares.values()) >= 0.9,
        more={
            "rows_a_node": EACH,
            "by_nodes": found,
            "share_of_linear": shares,
            "of_one_process": rate[1] / rate[0],
        },
    )


def ray_million() -> None:
    rows, samples = NUMBER or 1_000_000, list[dict[str, tuple[float, float]]]()
    with folder() as here, cluster(2), chdir(ROOT / "experiments"):
        source, out = write_rows(here / "pairs.jsonl", million_pairs(rows)), here / "run"
        words = f"label --pairs {source} --judge.engine million_rows:judge"
        began = time.perf_counter()
        job = spawn(*words.split(), "--out", out, "--on", "ray", "--on.block", 5000)
        drain = threading.Thread(target=job.communicate)
        drain.start()
        whole = 0.0
        while job.poll() is None:
            time.sleep(1.0)
            whole = used(job.pid)[1] or whole
            there = {"driver": job.pid, **dict(zip(("ledger",), actors("Ledger"), strict=False))}
            there |= {f"actor {n}": pid for n, pid in enumerate(actors("Worker"))}
            if len(one := {who: used(pid) for who, pid in there.items()}) == 4:
                samples.append(one)
        drain.join()
        seconds, summary = time.perf_counter() - began, json.loads((out / "summary.json").read_text())
        mb = {file.name: round(file.stat().st_size / 1e6, 1) for file in out.iterdir() if file.is_file()}
        alone = rows / run(words, here / "single")["seconds"] if rows <= 100_000 else None
    # The first quarter is where caches fill.
    n, peak, grown = max(4, len(samples)), {}, {}
    for who in ("driver", "actor 0", "actor 1"):
        first, last = ([one[who][0] for one in samples[a:b]] for a, b in ((n // 4, n // 2), (n // 2, n)))
        peak[who], grown[who] = round(max(last)), max(last) / max(first)
    spent = {who: samples[-1][who][1] for who in samples[-1]} | {"driver in all": whole}
    cpu = {who: round(1e6 * seconds / rows, 1) for who, seconds in spent.items()}
    record(
        "ray_million",
        round(max(grown.values()), 3),
        null={"rows": rows, "what is written, MB": round(sum(mb.values()))},
        bar="memory of driver and actors in the last half at most 1.2 times that of the second quarter; every"
        " row labelled or dropped",
        holds=max(grown.values()) <= 1.2 and summary["matchups"] == rows == summary["calls"] / 2,
        more={"rows_per_s": rows / seconds, "of_one_process": alone, "seconds_in_all": seconds},
        peak_mb=peak,
        cpu_us_per_row=cpu,
        files_mb=mb,
    )


def used(pid: int) -> tuple[float, float]:
    """What a process holds for itself, in MB, and its processor time so far."""
    try:
        held = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    except OSError:
        return 0.0, 0.0
    return int(held[1]) / 1024 if held else 0.0, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


KINDS = ("actor", "node", "driver", "ledger")
JOB = 250


def ray_chaos() -> None:
    dice, moments, wrong = random.Random(1), NUMBER or 20, []
    counted: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    with folder(), cluster(2) as found:
        write("pairs.jsonl", pairs(JOB))
        with serving(preferring(right), price=PRICE) as server:
            run(f"label --pairs pairs.jsonl --judge vllm:judge@{server.url} {PRICED}", "one")
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
        bar=f"0 of {moments} moments each of {', '.join(KINDS)} with a row amiss, a dollar above the budget,"
        " or more calls asked again than were under way by the books",
        holds=not wrong and resent < answered,
        more={"by_kind": counted, "resent": resent, "wrong": wrong},
    )


def one_moment(found: Any, kind: str, out: str, cost: float, dice: random.Random) -> dict[str, Any]:
    """One job, killed once: what was asked again, and whether all is there in the end."""
    cap, how = round(0.6 * cost, 4), {"price": PRICE, "latency": 0.05, "faults": FAULTS}
    with serving(preferring(right), seed=dice.randrange(999), **how) as server:
        words = f"label --pairs pairs.jsonl --judge vllm:judge@{server.url} {PRICED} --on ray --on.block 40"
        job = spawn(*words.split(), "--out", out, "--budget", cap)
        at = dice.randint(10, JOB)
        while job.poll() is None and len(server.log) < at:
            time.sleep(0.002)
        answered = server.answered
        kill(found, kind, job)
        job.communicate(timeout=120)
        if kind == "driver":
            run(words, out, "--budget", cap)
        within = server.dollars <= cap * (1 + 1e-9)
        summary = run(words, out, "--budget", 100 * cost)
        spent = summary["usd"] + summary["uncertain_usd"]
        asked = Counter(json.dumps(one.body) for one in server.log if one.answered)
        gone = [one for one in server.log if one.fault is None and not one.answered]
        # What the books say was under way at the kill, without the replies that the server itself lost.
        lost = summary["uncertain_calls"] - sum(one.fault in ("drop", "truncate") for one in server.log)
        return {
            "same": differ("one", out) == 0,
            "within": within and server.dollars <= spent * (1 + 1e-9),
            "answered": answered,
            "resent": sum(asked.values()) - len(asked) + len(gone),
            "may_resend": lost,
        }


if __name__ == "__main__":
    run_claims(ray_equals_single, ray_linear, ray_million, ray_chaos)
