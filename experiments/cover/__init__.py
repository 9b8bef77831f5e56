"""Simulated data whose faults are known, to mark the audits with: one file here for each audit.

A file of this folder has a function `cases()`; `audits_cover.py` finds it and runs every case on many
simulated data sets. What is planted is known from a formula, or from one data set so large that chance is
no longer seen in it (`large`).
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jurist.audits.finding import Finding
from jurist.audits.grade import WRONG, rank
from jurist.audits.sheet import Sheet

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from support.simulated import Simulated, World, simulate

MANY = 200_000
"""Prompts in a large data set: a share is then known within two tenths of a point."""


@dataclass(frozen=True)
class Case:
    """One finding of one audit, on data drawn anew for each seed."""

    audit: str
    finding: str
    simulate: Callable[[int], Finding]
    planted: float | None
    """What the interval should cover; None where only false alarms are counted."""
    fair: bool = False
    """Whether the judge is without this fault, so that an alarm or a warning would be false."""
    about: str = ""
    """What is planted, in a few words."""
    sets: int = 1000


@dataclass(frozen=True)
class Told:
    """What a case came to."""

    case: Case
    covered: int
    called: int
    """Data sets on which the judge was called faulty."""
    silent: int

    @property
    def coverage(self) -> float:
        return self.covered / self.case.sets

    @property
    def alarms(self) -> float:
        return self.called / self.case.sets

    @property
    def holds(self) -> bool:
        """Covers the planted value 93 to 97 times in 100, and calls a fair judge faulty at most 5 times."""
        covers = self.case.planted is None or 0.93 <= self.coverage <= 0.97
        return covers and not (self.case.fair and self.alarms > 0.05)


def marked(case: Case, first_seed: int) -> Told:
    """How often the interval covers what is planted, and how often the judge is called faulty."""
    covered = called = silent = 0
    for seed in range(first_seed, first_seed + case.sets):
        found = case.simulate(seed)
        if found.grade == "silent":
            silent += 1
        elif case.planted is not None and found.low is not None and found.high is not None:
            covered += found.low <= case.planted <= found.high
        called += found.grade in WRONG
    return Told(case, covered, called, silent)


def finding(found: Sequence[Finding], name: str, about: str | None = None) -> Finding:
    """The one of this name, and about this where several have it."""
    return next(one for one in found if one.name == name and about in (None, one.about))


def worst(found: Sequence[Finding]) -> Finding:
    """The worst of all findings: a fair judge should pass an audit as a whole."""
    return min(found, key=rank)


def large(judges: tuple[Simulated, ...], world: World, prompts: int = MANY) -> Sheet:
    """The same judges and world with so many prompts that what is measured is what is planted."""
    return simulate(judges, replace(world, prompts=prompts), 987_654_321)[0]


def audits() -> list[str]:
    return sorted(one.name for one in pkgutil.iter_modules(__path__))


def cases(audit: str) -> list[Case]:
    found: list[Case] = importlib.import_module(f"{__name__}.{audit}").cases()
    return found
