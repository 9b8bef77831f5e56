"""What does the whole pipeline cost beside the bare loop of HTTP calls that one would write by hand?

`jurist label` and a bare aiohttp loop make the same 20,000 calls in turn, 256 at once, to a server that
takes 50 ms; the median of the ratios of processor time counts. Null: the bare loop against itself a round
later, which says how far the machine's other work moves such a ratio. Then the same job with defaults, which
start at 4 requests at once: its rate against that of a fixed 256.

    python experiments/label_cpu.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from evidence import record

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))
from label import CLIENTS, bench, machine, show, take_turns
from tables import AT_MOST_BARE, RATE_AT_LEAST

SLOW = "three minutes"
CALLS, ROUNDS, CONCURRENCY = 20_000, 5, 256


def main() -> None:
    where = machine()
    with bench(CALLS) as one:
        rows = take_turns(one, CLIENTS, CONCURRENCY, ROUNDS)
    show(rows)
    ours, bare, by_default = rows
    pairs = zip(ours["cpu_ms_each"], bare["cpu_ms_each"], strict=True)
    ratios = sorted(round(one / other, 3) for one, other in pairs)
    steps = zip(bare["cpu_ms_each"], bare["cpu_ms_each"][1:], strict=False)
    record(
        "label_cpu",
        value=ours["against_bare"],
        low=ratios[1],
        high=ratios[-2],
        bar=f"CPU of a call, all included, at most {AT_MOST_BARE} x that of a bare aiohttp loop; by default"
        f" at least {RATE_AT_LEAST:.0%} of the rate at a fixed {CONCURRENCY}",
        holds=ours["against_bare"] <= AT_MOST_BARE and by_default["rate_against_ours"] >= RATE_AT_LEAST,
        packages=("jurist", "aiohttp", "uvloop", "msgspec"),
        rate_by_default=by_default["rate_against_ours"],
        null={"bare_against_itself": sorted(round(one / other, 3) for one, other in steps)},
        machine=where,
        runs=rows,
    )


if __name__ == "__main__":
    main()
