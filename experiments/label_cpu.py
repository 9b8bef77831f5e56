"""Does the whole pipeline cost more than the bare loop of HTTP calls that one would write by hand?

`jurist label` and a bare aiohttp loop make the same 20,000 calls in turn, at 64, 256 and 1,024 at once; the
worst of the three ratios of processor time counts. The same as `make bench-label`, with fewer rounds and
clients.

    python experiments/label_cpu.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from evidence import record

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))
from label import bench, machine, show, take_turns
from tables import AT_MOST_BARE

CALLS, ROUNDS = 20_000, 3
CONCURRENCIES = (64, 256, 1024)


def main() -> None:
    where, rows = machine(), []
    with bench(CALLS) as one:
        for concurrency in CONCURRENCIES:
            rows += take_turns(one, ("pipeline", "bare_aiohttp"), concurrency, ROUNDS)
            show(rows[-2:])
    ours = [row for row in rows if row["client"] == "pipeline"]
    worst = max(row["against_bare"] for row in ours)
    record(
        "label_cpu",
        value=worst,
        low=min(row["against_bare"] for row in ours),
        high=worst,
        bar=f"CPU of a call, all included, at most {AT_MOST_BARE} x that of a bare aiohttp loop",
        holds=worst <= AT_MOST_BARE,
        packages=("jurist", "aiohttp", "uvloop", "httptools", "msgspec"),
        machine=where,
        runs=rows,
    )


if __name__ == "__main__":
    main()
