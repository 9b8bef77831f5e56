"""What a judge call costs the processor: `jurist label`, a bare aiohttp loop, and the peers that
`make bench-peers` installed, all in one run; and how fast `jurist label` is where it finds out by itself how
many requests a server takes.

    python bench/label.py [--calls 10000] [--rounds 5] [--no-peers]

Every client is a process, on a core of its own where the system allows it; the server that answers after
50 ms has the other, and its time is not counted. Clients take turns, so that other work on the machine slows
all of them; the medians of the rounds are written to bench/results/label.json.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "experiments"))

from evidence import record
from tables import AT_MOST_BARE, LABEL, RATE_AT_LEAST, bars
from work import LATENCY, cores, run_measured, serving, write_pairs, write_questions

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / ".venv-peers"
CLIENTS = ("pipeline", "bare_aiohttp", "by_default")
PEER_NAMES = {"openai": "openai", "curator": "bespokelabs-curator", "distilabel": "distilabel"}
PEER_CALLS, PEER_ROUNDS = 2_000, 2
Row = dict[str, Any]


class Bench:
    """Measures one client against the server."""

    def __init__(self, folder: Path, url: str, core: int | None, calls: int) -> None:
        self.pairs, self.questions = folder / "pairs.jsonl", folder / "questions.jsonl"
        self.url, self.calls = url, calls
        self._affinity = () if core is None else ("taskset", "-c", str(core))
        write_pairs(self.pairs, calls // 2)
        self.request_bytes = write_questions(self.pairs, self.questions)

    def ours(self, client: str, concurrency: int) -> Row:
        given = (self.url, self.pairs, self.questions, self.calls, concurrency)
        _, code, said = run_measured(*self._affinity, sys.executable, HERE / "work.py", client, *given)
        if code:
            sys.exit(f"{client} at {concurrency} failed: {said[-2000:]}")
        found = json.loads(said)
        row = {"cpu_ms": found["cpu_s"] / self.calls * 1e3, "rows_per_s": self.calls / found["wall_s"]}
        decide = {"decide_ms": found["decide_cpu_s"] / self.calls * 1e3} if "decide_cpu_s" in found else {}
        return {**row, **decide, "peak_mb": found["peak_mb"]}

    def peer(self, name: str, concurrency: int) -> Row | str:
        """What one more row costs, from two runs of which one is four times as long; or why it failed."""
        runs, few = [], PEER_CALLS // 4
        for calls in (few, PEER_CALLS):
            python, client = PEERS / name / "bin" / "python", HERE / "peers" / "client.py"
            given = (name, self.url, self.questions, calls, concurrency)
            run, _, said = run_measured(*self._affinity, python, client, *given)
            last = (said.splitlines() or [""])[-1]
            if last != json.dumps({"answered": calls}):
                return f"{last[:200]} of {calls}"
            runs.append(run)
        cpu, wall = ((runs[1][what] - runs[0][what]) / (PEER_CALLS - few) for what in ("cpu_s", "wall_s"))
        row = {"cpu_ms": cpu * 1e3, "rows_per_s": 1 / max(1e-12, wall)}
        return {**row, "start_cpu_s": max(0.0, runs[0]["cpu_s"] - cpu * few), "peak_mb": runs[1]["peak_mb"]}


def take_turns(
    bench: Bench, concurrency: int, rounds: int, peers: Sequence[str], skipped: dict[str, str]
) -> list[Row]:
    """Each client once a round, in alternating order, the peers in the first rounds only; a row a client.
    Ratios are taken round by round, since neighbours in time saw the same machine.
    """
    measured: dict[str, list[Row]] = {name: [] for name in CLIENTS}
    for number in range(rounds):
        for name in CLIENTS if number % 2 == 0 else reversed(CLIENTS):
            measured[name].append(bench.ours(name, concurrency))
        for name in peers if number < PEER_ROUNDS else ():
            run = bench.peer(name, concurrency)
            if isinstance(run, str):
                skipped[name] = f"failed: {run}"
            else:
                measured.setdefault(name, []).append(run)
    rows = []
    for name, runs in measured.items():
        medians = {key: median(run[key] for run in runs) for key in runs[0]}
        figures = {key: round(value, 4) if value < 100 else round(value) for key, value in medians.items()}
        row = {"client": name, "concurrency": concurrency, **figures}
        row["cpu_ms_each"] = [round(run["cpu_ms"], 4) for run in runs]
        row["against_bare"] = _ratio(runs, measured["bare_aiohttp"], "cpu_ms")
        row["against_ours"] = _ratio(runs, measured["pipeline"], "cpu_ms")
        rows.append({**row, "rate_against_ours": _ratio(runs, measured["pipeline"], "rows_per_s")})
    return rows


def _ratio(runs: Sequence[Row], others: Sequence[Row], what: str) -> float:
    return round(median(one[what] / two[what] for one, two in zip(runs, others, strict=False)), 3)


def versions(peers: Sequence[str]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    found |= {name: version(name) for name in ("jurist", "aiohttp", "uvloop", "msgspec")}
    for folder in peers:
        code = f"from importlib.metadata import version; print(version('{PEER_NAMES[folder]}'))"
        done = subprocess.run([PEERS / folder / "bin/python", "-c", code], capture_output=True, text=True)
        found[PEER_NAMES[folder]] = done.stdout.strip() or "unknown"
    return found


def label_cpu(rows: Sequence[Row]) -> None:
    """Null: the bare loop against itself a round later, which is how far other work moves such a ratio."""
    ours, bare, by_default = (next(row for row in rows if row["client"] == name) for name in CLIENTS)
    rounds = zip(ours["cpu_ms_each"], bare["cpu_ms_each"], strict=True)
    ratios = sorted(round(one / other, 3) for one, other in rounds)
    record(
        "label_cpu",
        (ours["against_bare"], ratios[1], ratios[-2]),
        null={"bare against itself": sorted(round(a / b, 3) for a, b in pairwise(bare["cpu_ms_each"]))},
        bar=f"CPU of a call, all included, at most {AT_MOST_BARE} x that of a bare aiohttp loop; by default"
        f" at least {RATE_AT_LEAST:.0%} of the rate at a fixed {ours['concurrency']}",
        holds=ours["against_bare"] <= AT_MOST_BARE and by_default["rate_against_ours"] >= RATE_AT_LEAST,
        more={"rate_by_default": by_default["rate_against_ours"], "command": "make bench-label"},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args()
    where = {"cores": os.cpu_count(), "processor": platform.machine(), "system": platform.system()}
    where["load_before"] = round(os.getloadavg()[0], 2)
    there = [name for name in PEER_NAMES if (PEERS / name / "bin" / "python").exists()]
    peers = [] if args.no_peers else there
    missing = () if args.no_peers else PEER_NAMES.keys() - there
    skipped = dict.fromkeys(missing, "not installed; install it with: make bench-peers")
    server_core, client_core = cores()
    with tempfile.TemporaryDirectory(prefix="jurist-bench-") as folder, serving(server_core) as url:
        bench = Bench(Path(folder), url, client_core, args.calls)
        rows = take_turns(bench, args.concurrency, args.rounds, peers, skipped)
    for row in rows:
        figures = f"{row['cpu_ms']:8.4f} ms a call {row['rows_per_s']:8,.0f} rows/s  {row['peak_mb']:5.0f} MB"
        print(f"{row['concurrency']:5d}  {row['client']:18s} {figures}", flush=True)
    for name, reason in skipped.items():
        print(f"without {name}: {reason}")
    if args.rounds >= 5:
        label_cpu(rows)
    where["load_after"] = round(os.getloadavg()[0], 2)
    job = {"calls": args.calls, "rounds": args.rounds}
    job |= {"request_bytes": bench.request_bytes, "latency_s": LATENCY}
    results = {"date": datetime.date.today().isoformat(), "command": "make bench-label", "machine": where}
    results |= {"versions": versions(there), "job": job, "rows": rows, "skipped": skipped, "bars": bars(rows)}
    for bar in results["bars"]:
        print(f"{'holds' if bar['holds'] else 'FALLS SHORT'}: {bar['bar']}: {bar['value']}")
    LABEL.parent.mkdir(exist_ok=True)
    LABEL.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
