"""How long do a million to a billion comparisons take on 1 to 256 nodes, and what is full first?

A simulation of the driver that reads, hands out blocks and takes them in, one after another, and of actors
that label them, some slower than others and some lost with their node. What a row costs the driver and an
actor, and what it writes, are the figures of `ray_million`; starting and the rate of an actor those of
`ray_linear` with one node. It is checked against the jobs on 2 and 4 nodes, which it has not seen.

    python experiments/scale_model.py
"""

import json
import random
import time
from heapq import heappop, heappush
from typing import Any, NamedTuple

import ray

from evidence import FOLDER, record
from jurist.cluster.ledger import Ledger, Tally

SIZES, NODES = (10**6, 10**7, 10**8, 10**9), (1, 4, 16, 64, 256)
ACTORS, LATENCY, AT_ONCE = 16, 1.0, 64
"""Of a node; seconds that a judge takes; calls that an actor may have under way."""
CALLS = 2
"""A comparison, one in each order."""
SLOWER = 0.25
"""Standard deviation of the logarithm of a block's time."""
MTBF, RESTART = 30 * 86_400.0, 60.0
"""Seconds between two losses of a node, and until others have its blocks again."""
SHOWN = ("comparisons", "nodes", "hours", "rows/s", "driver busy", "actors busy", "lost blocks", "limited by")


class Costs(NamedTuple):
    """What was measured, in seconds a row; `rate`: rows a second of an actor that waits for the judge."""

    start: float
    driver: float
    after: float
    actor: float
    rate: float
    end: float = 0.0


class Outcome(NamedTuple):
    seconds: float
    driver: float
    actors: float
    lost: int


def simulate(rows: int, nodes: int, each: int, costs: Costs, block: int, calm: bool = False) -> Outcome:
    """The driver serves one at a time: a block asked for is read, one that is through is taken in."""
    dice, actors = random.Random(rows + nodes), nodes * each
    rate = min(costs.rate, 1 / costs.actor)
    left, free, busy, working, lost = rows, costs.start, 0.0, 0.0, 0
    events: list[tuple[float, int, int]] = []
    for n in range(actors):
        heappush(events, (costs.start, n, 0))
    ended = costs.start
    while events:
        now, actor, through = heappop(events)
        if through:
            free = max(free, now) + through * costs.driver / 2
            busy += through * costs.driver / 2
            ended = max(ended, free)
        if not left:
            continue
        size = min(block, left)
        left -= size
        free = max(free, now) + size * costs.driver / 2
        busy += size * costs.driver / 2
        seconds = size / rate * (1.0 if calm else dice.lognormvariate(0.0, SLOWER))
        working += seconds
        if not calm and dice.random() < seconds / MTBF:  # what was answered is in the block's journal
            seconds, lost = seconds + RESTART, lost + 1
        heappush(events, (free + seconds, actor, size))
    whole = ended + rows * costs.after + costs.end
    return Outcome(whole, (busy + rows * costs.after) / whole, working / (ended - costs.start) / actors, lost)


def table(costs: Costs) -> list[list[Any]]:
    found = []
    for rows in SIZES:
        for nodes in NODES:
            block = max(1_000, min(100_000, rows // (20 * nodes * ACTORS)))
            out = simulate(rows, nodes, ACTORS, costs, block)
            limited = "driver" if out.driver > 0.9 else "judge" if costs.rate < 1 / costs.actor else "actors"
            limited = "tail" if limited != "driver" and out.actors < 0.7 else limited
            hours, speed = round(out.seconds / 3600, 2), round(rows / out.seconds)
            shares = [f"{out.driver:.0%}", f"{out.actors:.0%}"]
            found.append([f"{rows:,}", nodes, hours, f"{speed:,}", *shares, out.lost, limited])
    return found


def messages_a_second() -> float:
    """What one ledger answers, on a node of its own."""
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    ledger: Any = ray.remote(num_cpus=0)(Ledger)
    ledger = ledger.remote("nowhere", None, 0.0)
    ray.get(ledger.report.remote("a", 0, Tally()))
    began = time.perf_counter()
    ray.get([ledger.report.remote("a", 0, Tally()) for _ in range(2_000)])
    return 2_000 / (time.perf_counter() - began)


def main() -> None:
    linear, million = (
        json.loads((FOLDER / f"{name}.json").read_text()) for name in ("ray_linear", "ray_million")
    )
    of, us = linear["by_nodes"], million["cpu_us_per_row"]
    one, rows = of["1"], linear["rows_a_node"]
    end = one["wall"] - one["before"] - one["seconds"]
    driver, actor = us["driver"] / 1e6, (us["actor 0"] + us["actor 1"]) / 1e6
    seen = Costs(
        one["before"], driver, (us["driver in all"] - us["driver"]) / 1e6, actor, rows / one["seconds"], end
    )
    errors, alone = {}, {}
    for nodes in (2, 4):
        wall = of[str(nodes)]["wall"]
        out = simulate(rows * nodes, nodes, 1, seen, rows // 2, calm=True)
        errors[nodes], alone[nodes] = abs(out.seconds / wall - 1), abs(of["0"]["wall"] / wall - 1)
    there = seen._replace(rate=AT_ONCE / LATENCY / CALLS, end=0.0)
    mb = {name: size for name, size in million["files_mb"].items() if size}
    record(
        "scale_model",
        round(max(errors.values()), 4),
        null={"error of one process, divided among the nodes": round(max(alone.values()), 4)},
        bar="error of the time on 2 and 4 nodes at most 10%, and less than half of the null's",
        holds=max(errors.values()) <= min(0.1, max(alone.values()) / 2),
        more={"errors": errors, "columns": SHOWN, "table": table(there), "costs": seen._asdict()},
        assumed={
            "actors a node": ACTORS,
            "latency": LATENCY,
            "calls an actor": AT_ONCE,
            "node lost, days": 30,
        },
        mb_per_million={name: round(size * 1e6 / million["null"]["rows"]) for name, size in mb.items()},
        ledger_messages_a_second=round(messages_a_second()),
    )


if __name__ == "__main__":
    main()
