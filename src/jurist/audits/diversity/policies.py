"""The policies of one run: how many different answers each gives to one prompt, and each beside people."""

from __future__ import annotations

from typing import Final

from ...records import Finding, Grade
from ...stats.clusters import clustered_share
from ..sheet import Sheet
from . import words
from .findings import diversity
from .generation import Generation, even, of_sheet
from .measures import FEWEST

WANTED: Final = 0.5
"""Different answers among those to one prompt: of fewer, most that is drawn and judged is paid for twice."""
MOST: Final = 6
"""Policies that are looked at, those with the most prompts."""


def of_policies(sheet: Sheet) -> list[Finding]:
    """People are those whose name says so: `human`, `human:ann`."""
    known = sorted(of_sheet(sheet), key=lambda one: -len(one.answers))
    people = [one for one in known if one.name.partition(":")[0] == "human"]
    models = [one for one in known if one not in people][:MOST]
    found = [finding for one in models for finding in _unique(one)]
    for one in models if people else ():
        # People and models answer differently in more than variety: that is worth knowing, and no failure.
        told = (each for each in diversity([people[0], one]) if each.grade != "silent" and each.value)
        found += [_noted(each) for each in told if each.name != "diversity.unique"]
    return found


def _unique(one: Generation) -> list[Finding]:
    shape = even([one])
    if shape.k < 2 or shape.prompts < FEWEST:
        return []
    import numpy as np

    value, low, high, n = clustered_share(words.unique(shape.texts[0]), np.arange(shape.prompts))
    grade: Grade = "alarm" if high < WANTED else "warning" if value < WANTED else "fine"
    says = (
        f"Of {shape.k} answers by {one.name} to one prompt, {value:.0%} are different ones ({low:.0%} to"
        f" {high:.0%}, {n} prompts)."
    )
    advice = "draw warmer: --sampling.temperature 1.0, or fewer: -k 2" if grade != "fine" else ""
    return [Finding("diversity.unique", one.name, says, grade, n, value, low, high, advice=advice)]


def _noted(one: Finding) -> Finding:
    from msgspec.structs import replace

    return replace(one, grade="note" if one.grade in ("alarm", "warning") else one.grade, advice="")
