"""The policies of one run beside what people wrote to the same prompts."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ..finding import Finding
from ..grade import WRONG
from ..sheet import Sheet
from .findings import diversity
from .generation import of_sheet

MOST: Final = 6
"""Policies that are looked at, those with the most prompts."""
COLLAPSED: Final = ("diversity.unique", "diversity.self_bleu")
"""A run keeps each of a policy's answers to a prompt once, so how alike those are is no longer in it."""


def of_policies(sheet: Sheet) -> list[Finding]:
    """Nothing where people wrote no answers; people are those whose name says so: `human`, `human:ann`."""
    known = sorted(of_sheet(sheet), key=lambda one: -len(one.answers))
    people = next((one for one in known if one.name.partition(":")[0] == "human"), None)
    if people is None:
        return []
    models = [one for one in known if one.name.partition(":")[0] != "human"][:MOST]
    found = (each for one in models for each in diversity([people, one]) if each.name not in COLLAPSED)
    # Models answer otherwise than people in more than variety: worth knowing, and no failure of a run.
    return [_noted(one) for one in found if one.grade != "silent"]


def _noted(one: Finding) -> Finding:
    return replace(one, grade="note", advice="") if one.grade in WRONG else one
