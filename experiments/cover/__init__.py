"""Simulated runs whose faults are known, and how often an audit's intervals cover them.

What is planted comes from a formula of the simulation or from another library, never from an audit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from jurist.audits.finding import WRONG, Measure, find
from jurist.audits.findings import KINDS

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
LEAST, MOST = 0.93, 0.97


@dataclass(frozen=True)
class Scenario:
    """One kind of simulated run, made anew for each seed and audited."""

    about: str
    """What is planted, in a few words."""
    audited: Callable[[int], Iterable[Measure]]
    planted: Mapping[str, float]
    """What the intervals should cover, by name of the measure; `self_preference.gap@gpt-large` where several
    have that name."""
    honest: bool = False
    """Whether nothing is wrong, so that an alarm or a warning is a false one."""
    sets: int = 500


def covers(scenario: Scenario, sets: int | None = None) -> dict[str, Any]:
    """How many intervals of each measure cover what is planted, and whether that may be 93 to 97%."""
    n = sets or scenario.sets
    covered, silent = (dict.fromkeys(scenario.planted, 0) for _ in range(2))
    called = 0
    for seed in range(n):
        measures = [one for one in scenario.audited(seed) if isinstance(one, Measure)]
        called += any(one.grade in WRONG for one in find(measures, KINDS))
        for name, truth in scenario.planted.items():
            kind, _, about = name.partition("@")
            estimates = [one.estimate for one in measures if one.name == kind and about in ("", one.about)]
            if estimates and estimates[0] is not None:
                covered[name] += estimates[0].low <= truth <= estimates[0].high
            else:
                silent[name] += 1
    cases = [
        {
            "measure": name,
            "planted": round(float(scenario.planted[name]), 4),
            "covers": covered[name] / n,
            "silent": silent[name],
            "holds": may_hold(covered[name], n),
        }
        for name in scenario.planted
    ]
    alarms = {("false_alarms" if scenario.honest else "called_faulty"): round(called / n, 4)}
    holds = all(case["holds"] for case in cases) and not (scenario.honest and called > 0.05 * n)
    return {"planted": scenario.about, "sets": n, **alarms, "holds": holds, "cases": cases}


def may_hold(covered: int, sets: int) -> bool:
    """Whether the exact 95% interval of the cover itself meets 93 to 97%."""
    low, high = binomtest(covered, sets).proportion_ci()
    return bool(low <= MOST and high >= LEAST)
