"""Simulated runs whose faults are known, and how often an audit's intervals cover them.

What is planted comes from a formula of the simulation or from another library, never from an audit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest

from jurist.audits.finding import WRONG, Measure, find
from jurist.audits.findings import KINDS

LEAST, MOST = 0.93, 0.97


@dataclass(frozen=True)
class Scenario:
    """One kind of simulated run, made anew for each seed and audited."""

    audit: str
    """The first part of its measures' names."""
    about: str
    """What is planted, in a few words."""
    audited: Callable[[int], Iterable[Measure]]
    planted: Mapping[str, float]
    """What the intervals should cover, by the rest of the measure's name: `gap@gpt-large` where several have
    that name."""
    honest: bool = False
    """Whether nothing is wrong, so that an alarm or a warning is a false one."""
    sets: int = 1000


def covers(scenario: Scenario, sets: int | None = None) -> dict[str, Any]:
    """How many intervals of each measure cover what is planted, and whether that may be 93 to 97%."""
    n, called, covered = sets or scenario.sets, 0, dict.fromkeys(scenario.planted, 0)
    for seed in range(n):
        measures = list(scenario.audited(seed))
        called += any(one.grade in WRONG for one in find(measures, KINDS))
        for name, truth in scenario.planted.items():
            kind, _, about = f"{scenario.audit}.{name}".partition("@")
            own = (one.estimate for one in measures if one.name == kind and about in ("", one.about))
            estimate = next(own, None)
            covered[name] += int(estimate is not None and estimate.low <= truth <= estimate.high)
    shares = {
        name: (round(float(scenario.planted[name]), 4), k / n, may_hold(k, n)) for name, k in covered.items()
    }
    cases = {
        name: dict(zip(("planted", "covers", "holds"), one, strict=True)) for name, one in shares.items()
    }
    alarms = {("false_alarms" if scenario.honest else "called_faulty"): round(called / n, 4)}
    holds = all(case["holds"] for case in cases.values()) and not (scenario.honest and called > 0.05 * n)
    row = {"audit": scenario.audit, "planted": scenario.about, "sets": n, **alarms}
    return {**row, "holds": holds, "cases": cases}


def may_hold(covered: int, sets: int) -> bool:
    """Whether the exact 95% interval of the cover itself meets 93 to 97%."""
    low, high = binomtest(covered, sets).proportion_ci()
    return bool(low <= MOST and high >= LEAST)
