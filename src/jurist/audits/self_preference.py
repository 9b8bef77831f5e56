"""Self-preference: does a judge favour answers of its own family?

Where humans labelled the same pairs, by the equal-opportunity gap of Wataoka et al. (2024): how much more
often the judge agrees with humans when they prefer its relative than when they prefer the other. Where nobody
did, by how much more often its relatives win with it than with judges of other families. Where there is
neither, that it judged relatives is itself worth a warning.

A model's family follows from its name by a table, `families.yaml`; a file of the user's own goes before it. A
model that no pattern knows is a family of its own, under its name: the same engine as policy and as judge is
found even so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from msgspec import Meta

from ..errors import SettingError
from ..stats.intervals import Estimate, clustered_mean
from .finding import Measure
from .sheet import Array, Sheet, mean_by

FEWEST: Final = 10
"""Matchups of each kind, humans for its own and humans for the other, below which no gap is measured."""
HUMANS: Final = "humans"
UNKNOWN: Final = -1
_HUMAN = re.compile(r"^(human|person|people)\b", re.IGNORECASE)
_ADDRESS = re.compile(r"@https?://.*$")
_EXAMPLE: Final = "Write a line like: acme: ['acme-', 'coyote']"
Pattern = Annotated[str, Meta(min_length=1)]
PatternList = Annotated[list[Pattern], Meta(min_length=1)]


class Families:
    """Patterns in the order in which they are tried."""

    def __init__(self, text: str, where: str, others: Families | None = None) -> None:
        import yaml

        try:
            tree = msgspec.convert(yaml.safe_load(text), dict[str, Pattern | PatternList])
            self._table = {family: _either(some) for family, some in tree.items()}
        except (yaml.YAMLError, msgspec.ValidationError, re.error) as why:
            words = " ".join(str(why).split())
            raise SettingError(f"{where} is no table of families: {words}. {_EXAMPLE}") from None
        theirs = others._table if others else {}
        self._table |= {family: some for family, some in theirs.items() if family not in self._table}

    def of_policy(self, name: str) -> str:
        """Of who wrote an answer; empty where nobody is named."""
        if not name or _HUMAN.match(name):
            return HUMANS if name else ""
        return self._of(name)

    def of_judge(self, name: str) -> str:
        """Of a judge, whose name is how it asks, its engine, and a code for its settings."""
        how, _, engine = name.partition(":")
        return self._of(engine.rpartition("#")[0] or engine or how)

    def _of(self, engine: str) -> str:
        model = _ADDRESS.sub("", engine)
        return next((name for name, known in self._table.items() if known.search(model)), model.lower())


def _either(patterns: str | list[str]) -> re.Pattern[str]:
    every = [patterns] if isinstance(patterns, str) else patterns
    return re.compile("|".join(f"(?:{one})" for one in every), re.IGNORECASE)


@cache
def our_families() -> Families:
    return Families(files(__package__).joinpath("families.yaml").read_text(encoding="utf-8"), "families.yaml")


def load_families(path: str | Path | None) -> Families:
    """Ours; with the user's own before them where there is a file."""
    if path is None:
        return our_families()
    file = Path(path)
    if not file.is_file():
        raise SettingError(f"there is no file of families at {path}. Look with: ls {quote(str(file.parent))}")
    return Families(file.read_text(encoding="utf-8"), str(path), our_families())


def self_preference(sheet: Sheet, families: Families | None = None) -> list[Measure]:
    """For each judge that saw answers of its own family beside others."""
    table, policy = families or our_families(), sheet.answers.policy
    policies = [table.of_policy(name) for name in sheet.policies]
    judges = [table.of_judge(name) for name in sheet.judges]
    if not len(sheet.opinions):
        return [Measure("self_preference.gap", missing="no_judge")]
    if not any(policies):
        return [Measure("self_preference.gap", missing="unnamed")]
    number = {family: row for row, family in enumerate({*policies, *judges} - {""})} | {"": UNKNOWN}
    of_policy, of_judge = (np.array([number[family] for family in of]) for of in (policies, judges))
    wrote = np.stack([of_policy[policy[side]] for side in (sheet.matchups.first, sheet.matchups.second)])
    measures = [
        one for row, family in enumerate(judges) for one in _of_judge(sheet, row, family, of_judge, wrote)
    ]
    if measures:
        return measures
    none = Estimate(0.0, math.nan, math.nan, len(np.unique(sheet.matchups.prompt[sheet.opinions.matchup])))
    return [Measure("self_preference.kin", "", none, {"nobody": True})]


def _of_judge(sheet: Sheet, judge: int, family: str, of_judge: Array, wrote: Array) -> Iterator[Measure]:
    """`of_judge` are the judges' families, and `wrote` those of the two answers of each matchup."""
    opinions, name, same = sheet.opinions, sheet.judges[judge], wrote == of_judge[judge]
    own = np.flatnonzero((opinions.judge == judge) & ~np.isnan(opinions.p))
    mixed = (same[0] != same[1]) & (wrote != UNKNOWN).all(axis=0)
    kin = own[mixed[opinions.matchup[own]]]
    if not len(kin):
        return
    matchup = opinions.matchup[kin]
    prompt, own_first = sheet.matchups.prompt[matchup], same[0, matchup]
    p, human = (np.where(own_first, x, 1 - x) for x in (opinions.p[kin], sheet.human_p[matchup]))
    decided = ~np.isnan(human) & (human != 0.5)
    if min((human[decided] > 0.5).sum(), (human[decided] < 0.5).sum()) >= FEWEST:
        won = (1 + np.sign(np.round(p[decided] - 0.5, 9))) / 2
        gap, figures = _gap(won, human[decided] > 0.5, prompt[decided])
        wrong = matchup[decided][(won == 1) & (human[decided] < 0.5)][:5]
        examples = tuple(sheet.matchups.id[row] for row in wrong.tolist())
        yield Measure("self_preference.gap", name, gap, {"family": family, **figures}, examples)
        return
    others = _unrelated(sheet, of_judge, wrote)[matchup]
    both = ~np.isnan(others)
    if both.sum() < 2 * FEWEST:
        share = Estimate(len(kin) / len(own), math.nan, math.nan, len(np.unique(prompt)))
        yield Measure("self_preference.kin", name, share, {"family": family, "of": len(kin)})
        return
    theirs = np.where(own_first, others, 1 - others)[both]
    excess = clustered_mean(p[both] - theirs, prompt[both], most=1.0)
    figures = {"family": family, "of": int(both.sum())}
    figures |= {"own": float(p[both].mean()), "other": float(theirs.mean())}
    yield Measure("self_preference.excess", name, excess, figures)


def _gap(won: Array, human: Array, prompt: Array) -> tuple[Estimate, dict[str, Any]]:
    """P(its own wins | humans prefer its own) - P(the other wins | humans prefer the other)."""
    right_own, right_other = float(won[human].mean()), float(1 - won[~human].mean())
    n, k = len(won), int(human.sum())
    # What each row adds to the difference of the two shares.
    each = np.where(human, n / k * (won - right_own), -n / (n - k) * (1 - won - right_other))
    gap = clustered_mean(each + right_own - right_other, prompt)
    # A better family also agrees more often where it wins; then it wins as often with humans.
    more = clustered_mean(won - human, prompt, most=1.0)
    return gap, {"own": right_own, "other": right_other, "more": more, "wins": more.value}


def _unrelated(sheet: Sheet, of_judge: Array, wrote: Array) -> Array:
    """For each matchup the mean p of its first by judges related to neither answer; nan where none was."""
    opinions = sheet.opinions
    unrelated = (wrote[:, opinions.matchup] != of_judge[opinions.judge]).all(axis=0)
    return mean_by(opinions.matchup[unrelated], opinions.p[unrelated], len(sheet.matchups))
