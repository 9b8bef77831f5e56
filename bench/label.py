"""What a judge call costs the processor: `jurist label`, a bare aiohttp loop, and the peers that
`make bench-peers` installed, all in one run; and how fast `jurist label` is where it finds out by itself how
many requests a server takes.

    python bench/label.py [--calls 10000] [--concurrency 256] [--rounds 5] [--no-peers]

Every client runs in a process of its own, on a core of its own where the system allows it; the server that
answers after 50 ms has the other, and its time is not counted. Clients take turns, so that other work on the
machine hits all alike; the medians of the rounds are reported. Written to bench/results/label.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from tables import bars
from work import LATENCY, cores, serving, write_pairs, write_questions

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "label.json"
PEERS = HERE.parent / ".venv-peers"
CLIENTS = ("pipeline", "bare_aiohttp", "by_default")
PEER_NAMES = {"openai": "openai", "curator": "bespokelabs-curator", "distilabel": "distilabel"}
PEER_CALLS = 2_000
PEER_ROUNDS = 2
Row = dict[str, Any]


class Bench:
    """The rows, the server, and measuring one client against them."""

    def __init__(self, folder: Path, url: str, core: int | None, calls: int) -> None:
        self.pairs, self.questions = folder / "pairs.jsonl", folder / "questions.jsonl"
        self.url, self.core, self.calls = url, core, calls
        write_pairs(self.pairs, calls // 2)
        self.request_bytes = write_questions(self.pairs, self.questions)

    def ours(self, client: str, concurrency: int) -> Row:
        command = [sys.executable, HERE / "clients.py", client, self.url, self.pairs, self.questions]
        options = [f"--calls={self.calls}", f"--concurrency={concurrency}"]
        options += [] if self.core is None else [f"--core={self.core}"]
        done = subprocess.run([*command, *options], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{client} at {concurrency} failed: {done.stderr.strip()[-600:]}")
        got = json.loads(done.stdout)
        row = {"cpu_ms": got["cpu_s"] / self.calls * 1e3, "rows_per_s": self.calls / got["wall_s"]}
        if "decide_cpu_s" in got:
            row["decide_ms"] = got["decide_cpu_s"] / self.calls * 1e3
        return {**row, "peak_mb": got["peak_mb"]}

    def peer(self, name: str, concurrency: int) -> Row | str:
        """What a row more costs, from two runs of which one is four times the other; or why there is none."""
        runs = []
        for calls in (PEER_CALLS // 4, PEER_CALLS):
            run = self._whole_process(name, calls, concurrency)
            if isinstance(run, str):
                return run
            runs.append(run)
        few, many = runs
        more = PEER_CALLS - PEER_CALLS // 4
        cpu = (many["cpu_s"] - few["cpu_s"]) / more
        return {
            "cpu_ms": cpu * 1e3,
            "rows_per_s": more / max(1e-9, many["wall_s"] - few["wall_s"]),
            "start_cpu_s": max(0.0, few["cpu_s"] - cpu * PEER_CALLS / 4),
            "peak_mb": many["peak_mb"],
        }

    def _whole_process(self, name: str, calls: int, concurrency: int) -> Row | str:
        """CPU of the process and of those it started and waited for."""
        command = [str(PEERS / name / "bin" / "python"), str(HERE / "peers" / f"{name}_client.py")]
        command += [self.url, str(self.questions), str(calls), str(concurrency)]
        affinity = () if self.core is None else ("taskset", "-c", str(self.core))
        began = time.perf_counter()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryDirectory() as folder:
            process = subprocess.Popen([*affinity, *command], stdout=out, stderr=out, cwd=folder)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            said = out.read().decode(errors="replace").strip().splitlines() or [""]
        answered = json.loads(said[-1])["answered"] if said[-1].startswith('{"answered"') else 0
        if process.returncode or answered != calls:
            return f"{answered} of {calls} answered; {said[-1][:200]}"
        return {
            "cpu_s": used.ru_utime + used.ru_stime,
            "wall_s": time.perf_counter() - began,
            "peak_mb": used.ru_maxrss / 1024,
        }


@contextmanager
def bench(calls: int) -> Iterator[Bench]:
    server_core, client_core = cores()
    with tempfile.TemporaryDirectory(prefix="jurist-bench-") as folder, serving(server_core) as url:
        yield Bench(Path(folder), url, client_core, calls)


def take_turns(
    bench: Bench,
    clients: Sequence[str],
    concurrency: int,
    rounds: int,
    peers: Sequence[str] = (),
    skipped: dict[str, str] | None = None,
) -> list[Row]:
    """Each client once a round, in turn and back again, the peers in the first rounds only; a row a client.

    Ratios are taken round by round: neighbours in time saw the same machine.
    """
    measured: dict[str, list[Row]] = {name: [] for name in clients}
    for number in range(rounds):
        for name in clients if number % 2 == 0 else reversed(clients):
            measured[name].append(bench.ours(name, concurrency))
        for name in peers if number < PEER_ROUNDS else ():
            run = bench.peer(name, concurrency)
            if isinstance(run, str):
                (skipped if skipped is not None else {})[name] = f"failed at {concurrency}: {run}"
            else:
                measured.setdefault(name, []).append(run)
    rows = [summed(name, concurrency, runs) for name, runs in measured.items()]
    ours, bare = measured["pipeline"], measured["bare_aiohttp"]
    for row in rows:
        runs = measured[row["client"]]
        row["against_bare"] = _ratio(runs, bare, "cpu_ms")
        row["against_ours"] = _ratio(runs, ours, "cpu_ms")
        row["rate_against_ours"] = _ratio(runs, ours, "rows_per_s")
    return rows


def _ratio(runs: Sequence[Row], others: Sequence[Row], what: str) -> float:
    pairs = zip(runs, others, strict=False)
    return round(median(one[what] / other[what] for one, other in pairs), 3)


def summed(name: str, concurrency: int, runs: Sequence[Row]) -> Row:
    figures = {key: _rounded(median(run[key] for run in runs)) for key in runs[0]}
    spread = [round(run["cpu_ms"], 4) for run in runs]
    return {"client": name, "concurrency": concurrency, **figures, "cpu_ms_each": spread}


def _rounded(value: float) -> float:
    return round(value, 4) if value < 100 else round(value)


def installed(skipped: dict[str, str]) -> list[str]:
    """The peers that are there; the others go by name."""
    there = [name for name in PEER_NAMES if (PEERS / name / "bin" / "python").exists()]
    missing = dict.fromkeys(PEER_NAMES.keys() - there, "not installed; install it with: make bench-peers")
    skipped.update(missing)
    return there


def machine() -> Row:
    load = os.getloadavg() if hasattr(os, "getloadavg") else (0.0, 0.0, 0.0)
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "system": platform.system(),
        "load_before": round(load[0], 2),
    }


def versions() -> dict[str, str]:
    ours = {name: version(name) for name in ("jurist", "aiohttp", "uvloop", "msgspec")}
    return {"python": platform.python_version(), **ours, **_peer_versions()}


def _peer_versions() -> dict[str, str]:
    found = {}
    for folder, package in PEER_NAMES.items():
        python = PEERS / folder / "bin" / "python"
        code = f"from importlib.metadata import version; print(version('{package}'))"
        if python.exists():
            done = subprocess.run([python, "-c", code], capture_output=True, text=True)
            found[package] = done.stdout.strip() or "unknown"
    return found


def show(rows: Sequence[Row]) -> None:
    for row in rows:
        print(
            f"{row['concurrency']:5d}  {row['client']:18s} {row['cpu_ms']:8.4f} ms a call"
            f" {row['rows_per_s']:8,.0f} rows/s  {row['peak_mb']:5.0f} MB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[256])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true")
    args = parser.parse_args()
    where, rows, skipped = machine(), [], dict[str, str]()
    peers = [] if args.no_peers else installed(skipped)
    with bench(args.calls) as one:
        for concurrency in args.concurrency:
            some = take_turns(one, CLIENTS, concurrency, args.rounds, peers, skipped)
            show(some)
            rows += some
        size = one.request_bytes
    for name, reason in skipped.items():
        print(f"without {name}: {reason}")
    where["load_after"] = round(os.getloadavg()[0], 2)
    job = {"calls": args.calls, "rounds": args.rounds, "request_bytes": size, "latency_s": LATENCY}
    results = {
        "date": datetime.date.today().isoformat(),
        "command": "make bench-label",
        "machine": where,
        "versions": versions(),
        "job": job,
        "rows": rows,
        "skipped": skipped,
    }
    results["bars"] = bars(rows)
    for bar in results["bars"]:
        print(f"{'holds' if bar['holds'] else 'FALLS SHORT'}: {bar['bar']}: {bar['value']}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
