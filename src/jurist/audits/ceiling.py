"""Capability ceiling: agreement with humans by domain and stakes, and which labels humans must see.

A domain whose labels are not shown to agree with humans as often as is wanted is quarantined: its rows leave
the export by name. What has to reach it is the lower end of the interval, so that a domain with few labels
has to be better than one with many. Domains with hardly any labels are named, and left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from ..preferences.export import Quarantine
from ..stats.intervals import (
    Estimate,
    clopper_pearson,
    clustered_share,
    effective_n,
    smallest_certified,
    weighted_mean,
)
from .finding import Measure, listed
from .humans import WANTED, AgainstHumans, HumanVotes, human_votes, run_against_humans
from .sheet import Array, Sheet

NO_DOMAIN: Final = "no domain"
FEWEST: Final = 10
"""Prompts with a human label, below which a domain is not judged."""
UNSURE: Final = 0.1
"""A label this near to one half is little more than a coin; humans are divided on many of those too."""
SHOWN: Final = 12  # domains with a measure of their own, besides all that fall short
EXAMPLES: Final = 10


def ceiling(
    sheet: Sheet, *, wanted: float | None = None, tolerated: float | None = None, holds_back: bool = True
) -> list[Measure]:
    """Agreement by domain and by stakes, whether the batch may pass, and what must go to humans. `wanted` and
    `tolerated` are what was asked for. A run `holds_back` domains that fall short; of anybody's file that is
    left to whoever trains on it.
    """
    humans = human_votes(sheet)
    ours = run_against_humans(sheet, humans).decided
    asked = {} if wanted is None else {"wanted": wanted}
    if not len(ours):
        return [Measure("ceiling.domain", missing="no_humans"), *_to_humans(sheet, ())]
    limit = WANTED if wanted is None else wanted
    domains = _by_domain(sheet, ours)
    short = {name for name, one in domains.items() if one.low < limit}
    return [
        *_domains(sheet, humans, ours, domains, limit, {**asked, "advice_for": 0 if holds_back else 1}),
        *_stakes(sheet, ours, asked),
        *_certified(ours, len(sheet.domains) < 2, {} if tolerated is None else {"tolerated": tolerated}),
        *_to_humans(sheet, short),
    ]


def quarantine(
    sheet: Sheet, wanted: float | None = None, human: str = "", before: Iterable[str] = ()
) -> Quarantine | None:
    """The domains that fall short; None where no domain was measured. What was held `before` and was not
    measured now stays held: labels about other domains say nothing of it.
    """
    limit = WANTED if wanted is None else wanted
    domains = _by_domain(sheet, run_against_humans(sheet, human_votes(sheet)).decided)
    if not domains:
        return None
    short = {name for name, one in domains.items() if one.low < limit}
    return Quarantine(tuple(sorted(short | (set(before) - set(domains)))), limit, human)


def _by_domain(sheet: Sheet, ours: AgainstHumans) -> dict[str, Estimate]:
    """Agreement in every domain with labels enough, the lowest bound first; nothing of a single domain."""
    if len(sheet.domains) < 2:
        return {}
    domain = sheet.prompts.domain
    enough = np.flatnonzero(np.bincount(domain[np.unique(ours.prompt)]) >= FEWEST).tolist()
    found = {sheet.domains[one]: _share(ours, domain[ours.prompt] == one) for one in enough}
    return dict(sorted(found.items(), key=lambda pair: (pair[1].low, pair[0])))


def _domains(
    sheet: Sheet,
    humans: HumanVotes,
    ours: AgainstHumans,
    domains: Mapping[str, Estimate],
    limit: float,
    asked: dict[str, Any],
) -> Iterator[Measure]:
    if len(sheet.domains) < 2:
        yield Measure("ceiling.domain", missing="one_domain")
        return
    domain_of = sheet.prompts.domain[humans.prompt]
    for at, (name, one) in enumerate(domains.items()):
        if at >= SHOWN and one.low >= limit:
            continue
        alike = humans.subset(domain_of == sheet.domains.index(name)).agreement
        figures = {
            **asked,
            "mark": limit,
            "quarantined": one.low < limit and not asked["advice_for"],
            "human_share": alike.value if alike.n else None,
            "divided": bool(alike.n and one.value >= alike.value and alike.value < limit),
        }
        yield Measure("ceiling.domain", name or NO_DOMAIN, one, figures)
    few = [name or NO_DOMAIN for name in sheet.domains if name not in domains]
    if few:
        figures = {"domains": len(few), "names": listed([*few[:5], *(["others"] if len(few) > 5 else [])])}
        yield Measure("ceiling.domain", figures={**figures, "fewest": FEWEST}, missing="few")


def _stakes(sheet: Sheet, ours: AgainstHumans, asked: dict[str, float]) -> Iterator[Measure]:
    """High stakes beside normal ones, where there are both."""
    high = sheet.prompts.high[ours.prompt]
    if high.any() and not high.all():
        for name, rows in (("high", high), ("normal", ~high)):
            yield Measure("ceiling.stakes", name, _share(ours, rows), asked)


def _certified(ours: AgainstHumans, one_domain: bool, asked: dict[str, float]) -> Iterator[Measure]:
    """Acceptance sampling: the share of wrong labels between bounds that are each 95% certain."""
    wrong = 1 - ours.right
    error, spread, n = weighted_mean(wrong, ours.prompt, ours.weight)
    if n < FEWEST:
        return  # `agreement.label_error` says so
    error = min(1.0, max(0.0, error))
    size = effective_n(error, spread, wrong, n, ours.weight)
    low, high = clopper_pearson(error * size, size, 0.9)
    figures = {**asked, "labels": len(ours), "most": high, "smallest": smallest_certified(int(size))}
    figures["one_domain"] = one_domain
    yield Measure("ceiling.certified", "", Estimate(error, low, high, n), figures)


def _to_humans(sheet: Sheet, short: Collection[str]) -> Iterator[Measure]:
    """Which labels a human has to see: of high stakes, of a domain that falls short, or unsure."""
    labels, mean = sheet.labels, sheet.mean_opinion
    matchup = labels.matchup if len(labels) else np.flatnonzero(~np.isnan(mean))
    p = labels.p if len(labels) else mean[matchup]
    if not len(matchup):
        return
    prompt = sheet.matchups.prompt[matchup]
    high = sheet.prompts.high[prompt]
    codes = [at for at, name in enumerate(sheet.domains) if name in short]
    lost = np.isin(sheet.prompts.domain[prompt], codes)
    unsure = np.abs(p - 0.5) < UNSURE
    must = high | lost | unsure
    kinds = {"must": must, "high": high, "lost": lost, "unsure": unsure}
    figures: dict[str, Any] = {name: int(rows.sum()) for name, rows in kinds.items()}
    figures |= {"labels": len(matchup), "near": UNSURE}
    order = np.argsort(-(4.0 * high + 2.0 * lost + (0.5 - np.abs(p - 0.5)))[must], kind="stable")
    examples = tuple(sheet.matchups.id[one] for one in matchup[must][order[:EXAMPLES]].tolist())
    share = Estimate(float(must.mean()), np.nan, np.nan, len(matchup))
    yield Measure("ceiling.to_humans", "", share, figures, examples)


def _share(ours: AgainstHumans, rows: Array) -> Estimate:
    return clustered_share(ours.right[rows], ours.prompt[rows], weights=ours.weight[rows])
