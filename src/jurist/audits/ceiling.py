"""Where the judges reach their end: agreement with people by domain and stakes, and what people must see.

A domain whose labels cannot be shown to agree with people as often as is wanted is to be quarantined: its
rows leave the export by name. What is shown is the lower end of the interval, so a domain with few labels
has to be better than one with many. Domains with hardly any labels are named, and left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

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
from .agreement.estimates import TOLERATED
from .finding import Chart, Finding, Grade, Point, Series
from .grade import below
from .humans import WANTED, AgainstHumans, HumanVotes, human_votes, run_against_humans
from .sheet import Array, Sheet
from .words import count, listed, measured, percent, silent, span

DOMAIN: Final = "ceiling.domain"
NONE: Final = "no domain"
FEWEST: Final = 10
"""Prompts that people labelled, below which a domain is not judged."""
UNSURE: Final = 0.1
"""A label this near to one half is little more than a coin; people are divided on many of those too."""
SHOWN: Final = 12
"""Domains that are told one by one, besides all that fall short."""
DRAW: Final = "jurist spotcheck RUN -n 200 --out spot.jsonl, then: jurist audit RUN --human spot.jsonl"


def ceiling(
    sheet: Sheet, *, wanted: float = WANTED, tolerated: float = TOLERATED, holds_back: bool = True
) -> list[Finding]:
    """Agreement by domain and by stakes, whether the batch may pass, and what must go to people. A run
    `holds_back` domains that fall short; of anybody's file that is left to whoever trains on it.
    """
    people = human_votes(sheet)
    ours = _ours(sheet, people)
    if not len(ours):
        says = "No matchup was read by a judge and labelled by a person: which domains it knows is not known."
        return [silent(DOMAIN, says, f"Draw some to label: {DRAW}"), *_to_people(sheet, (), holds_back)]
    found = _domains(sheet, people, ours, wanted, holds_back)
    return [
        *found,
        *_stakes(sheet, ours, wanted),
        _certified(ours, tolerated),
        *_to_people(sheet, quarantined(found), holds_back),
    ]


def quarantined(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The domains whose lower bound is under what was wanted of them."""
    short = {
        "" if one.about == NONE else one.about
        for one in findings
        if one.name == DOMAIN and one.low is not None and one.fair is not None and one.low < one.fair
    }
    return tuple(sorted(short))


def quarantine(findings: Iterable[Finding], human: str = "", before: Iterable[str] = ()) -> Quarantine | None:
    """The same as it is kept; None where no domain was measured. What was held `before`, and was not
    measured now, stays held: labels about other domains say nothing of it.
    """
    measured = [one for one in findings if one.name == DOMAIN and one.fair is not None]
    if not measured:
        return None
    held = {*quarantined(measured), *before}
    return Quarantine(tuple(sorted(held)), measured[0].fair or 0.0, human)


def measured_domains(sheet: Sheet) -> set[str]:
    """Those with labels enough, told one by one or not."""
    sizes = _labelled(sheet, _ours(sheet, human_votes(sheet)))
    return {sheet.domains[one] for one in np.flatnonzero(sizes >= FEWEST).tolist()}


def _ours(sheet: Sheet, people: HumanVotes) -> AgainstHumans:
    ours = run_against_humans(sheet, people)
    return ours.decided


def _labelled(sheet: Sheet, ours: AgainstHumans) -> Array:
    """Prompts that people labelled, of each domain."""
    prompts = np.unique(ours.prompt)
    n: Array = np.bincount(sheet.prompts.domain[prompts], minlength=len(sheet.domains))
    return n


def _domains(
    sheet: Sheet, people: HumanVotes, ours: AgainstHumans, wanted: float, holds_back: bool
) -> list[Finding]:
    if len(sheet.domains) < 2:
        says = "All prompts are of one domain, so there is none to tell from the others."
        return [silent(DOMAIN, says, "Name domains in the prompts: a column called domain")]
    domain = sheet.prompts.domain[ours.prompt]
    sizes = _labelled(sheet, ours)
    judged = {int(one): _share(ours, domain == one) for one in np.flatnonzero(sizes >= FEWEST)}
    order = sorted(judged, key=lambda one: (judged[one].low, sheet.domains[one]))
    told = [one for at, one in enumerate(order) if at < SHOWN or judged[one].low < wanted]
    chart = _chart([(_name(sheet, one), judged[one]) for one in order[:SHOWN]], wanted)
    of_people = sheet.prompts.domain[people.prompt]
    found = [
        _domain(
            _name(sheet, one),
            judged[one],
            people.subset(of_people == one).agreement,
            wanted,
            holds_back,
            chart if at == 0 else None,
        )
        for at, one in enumerate(told)
    ]
    few = [_name(sheet, int(one)) for one in np.flatnonzero(sizes < FEWEST)]
    if few:
        says = (
            f"Humans labelled fewer than {FEWEST} prompts of {count(len(few), 'domain')} "
            f"({listed(few[:5])}{', ...' if len(few) > 5 else ''}): how good labels are there is not known."
        )
        found.append(silent("ceiling.unread", says, f"Draw some to label: {DRAW}"))
    return found


def _domain(
    name: str, one: Estimate, alike: Estimate, wanted: float, holds_back: bool, chart: Chart | None
) -> Finding:
    ceiling = f"; two people agree with each other in {percent(alike.value)}" if alike.n else ""
    short = one.low < wanted
    says = (
        f"In {name} the labels agree with people in {percent(one.value)} of {count(one.n, 'prompt')} "
        f"({span(one)}){ceiling}."
    )
    advice = ""
    if short:
        says += (
            f" That it is {percent(wanted)} or more, as is wanted, is not shown"
            f"{': the domain is quarantined' if holds_back else ''}."
        )
        advice = f"Give {name} to people, or to a judge that knows it; or label more of it: {DRAW}. " + (
            "Its rows stay out of exports unless: jurist export RUN --prefer.quarantine ignore"
            if holds_back
            else "Until then leave its rows out of what you train on"
        )
        if alike.n and one.value >= alike.value and alike.value < wanted:
            advice = f"People do not agree there either: write down what counts as better. {advice}"
    grade = below(one.low, one.high, wanted)
    return measured(DOMAIN, name, says, grade, one, wanted, advice=advice, chart=chart)


def _stakes(sheet: Sheet, ours: AgainstHumans, wanted: float) -> list[Finding]:
    """High stakes beside normal ones, where there are both."""
    high = sheet.prompts.high[ours.prompt]
    if not high.any() or high.all():
        return []
    found = []
    for name, rows in (("high", high), ("normal", ~high)):
        one = _share(ours, rows)
        says = (
            f"Where the stakes are {name} the labels agree with people in {percent(one.value)} of "
            f"{count(one.n, 'prompt')} ({span(one)})."
        )
        grade = below(one.low, one.high, wanted)
        advice = (
            "" if grade == "fine" else f"Send prompts with {name} stakes to people, or label more: {DRAW}"
        )
        found.append(measured("ceiling.stakes", name, says, grade, one, wanted, advice=advice))
    return found


def _certified(ours: AgainstHumans, tolerated: float) -> Finding:
    """Acceptance sampling: the batch passes when surely no more than so many of its labels are wrong."""
    wrong = 1 - ours.right
    error, spread, n = weighted_mean(wrong, ours.prompt, ours.weight)
    error = min(1.0, max(0.0, error))
    worth = effective_n(error, spread, wrong, n, ours.weight)
    most = clopper_pearson(error * worth, worth, 0.9)[1]
    says = (
        f"Of {count(len(ours), 'label')} that people read {percent(error)} were wrong, so with 95% certainty"
        f" no more than {percent(most)} of all are (Clopper and Pearson's bound). "
    )
    if most <= tolerated:
        says += f"The batch passes: {percent(tolerated)} are tolerated."
    else:
        says += (
            f"The batch does not pass: {percent(tolerated)} are tolerated. So many labels could certify "
            f"{percent(smallest_certified(int(worth)))} at best."
        )
    advice = "" if most <= tolerated else f"Label more, or leave out the domains that are bad: {DRAW}"
    grade: Grade = "fine" if most <= tolerated else "alarm" if error - 2 * spread > tolerated else "note"
    one = Estimate(error, 0.0, most, n)
    return measured("ceiling.passes", "", says, grade, one, tolerated, advice=advice)


def _to_people(sheet: Sheet, held: tuple[str, ...], holds_back: bool) -> list[Finding]:
    """Which labels a person has to see: of high stakes, of a domain the judges do not know, or unsure."""
    labels = sheet.labels
    matchup, p = (labels.matchup, labels.p) if len(labels) else _read(sheet)
    if not len(matchup):
        return []
    prompt = sheet.matchups.prompt[matchup]
    codes = [at for at, name in enumerate(sheet.domains) if name in held]
    high = sheet.prompts.high[prompt]
    lost = np.isin(sheet.prompts.domain[prompt], codes)
    unsure = np.abs(p - 0.5) < UNSURE
    must = high | lost | unsure
    says = (
        f"{int(must.sum()):,} of {count(len(matchup), 'label')} ({percent(float(must.mean()))}) should be "
        f"seen by a person: {int(high.sum()):,} of high stakes, {int(lost.sum()):,} of "
        f"{'quarantined domains' if holds_back else 'domains that fall short'}, {int(unsure.sum()):,} nearer "
        f"to one half than {UNSURE:g}; some are of several kinds."
    )
    rank = np.argsort(-(4.0 * high + 2.0 * lost + (0.5 - np.abs(p - 0.5)))[must], kind="stable")
    examples = tuple(sheet.matchups.id[one] for one in matchup[must][rank[:10]].tolist())
    advice = f"Begin with a spot check, which has its share of them: {DRAW}" if must.any() else ""
    share = float(must.mean())
    return [
        Finding(
            "ceiling.to_people",
            "",
            says,
            "note" if must.any() else "fine",
            len(matchup),
            share,
            advice=advice,
            examples=examples,
        )
    ]


def _read(sheet: Sheet) -> tuple[Array, Array]:
    p = sheet.mean_opinion
    read = np.flatnonzero(~np.isnan(p))
    return read, p[read]


def _share(ours: AgainstHumans, rows: Array) -> Estimate:
    return clustered_share(ours.right[rows], ours.prompt[rows], weights=ours.weight[rows])


def _name(sheet: Sheet, domain: int) -> str:
    return sheet.domains[domain] or NONE


def _chart(domains: list[tuple[str, Estimate]], wanted: float) -> Chart:
    bars = tuple(Point(name, one.value, one.low, one.high, one.n) for name, one in domains)
    return Chart(
        "bars",
        "Agreement with people by domain",
        (Series("agreement", bars),),
        y="share of labels",
        mark=wanted,
        marked="wanted",
    )
