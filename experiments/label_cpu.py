"""What does the whole pipeline cost beside the bare loop of HTTP calls that one would write by hand?

`jurist label` and a bare aiohttp loop make the same 20,000 calls in turn, 256 at once, to a server that takes
50 ms; the median of the ratios of processor time counts. Null: the bare loop against itself a round later,
which says how far the machine's other work moves such a ratio. Then the same job with defaults, which start
at 4 requests at once: its rate against that of a fixed 256.
"""

from __future__ import annotations

from itertools import pairwise

from evidence import record
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
    each = bare["cpu_ms_each"]
    ratios = sorted(round(one / other, 3) for one, other in zip(ours["cpu_ms_each"], each, strict=True))
    null = sorted(round(one / other, 3) for one, other in pairwise(each))
    record(
        "label_cpu",
        (ours["against_bare"], ratios[1], ratios[-2]),
        null={"bare against itself": null},
        bar=f"CPU of a call, all included, at most {AT_MOST_BARE} x that of a bare aiohttp loop; by default"
        f" at least {RATE_AT_LEAST:.0%} of the rate at a fixed {CONCURRENCY}",
        holds=ours["against_bare"] <= AT_MOST_BARE and by_default["rate_against_ours"] >= RATE_AT_LEAST,
        more={"rate_by_default": by_default["rate_against_ours"], "machine": where, "runs": rows},
    )


if __name__ == "__main__":
    main()
