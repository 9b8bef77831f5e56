"""How often a judge goes with people, how often they go with each other, and what costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from ...stats.agreement import ac1, alpha_of, alpha_parts, jackknifed, kappa
from ...stats.intervals import Estimate, clustered_mean, clustered_share, human_accuracy
from ..finding import Finding, Grade
from ..grade import below
from ..humans import WANTED, AgainstHumans, HumanVotes, agreeing_votes, sides
from ..sheet import Array, Sheet
from ..words import count, measured, percent, points, silent, span

BEHIND: Final = 0.1
"""How far a judge may stay behind one person: what the alternative annotator test gives away to experts is
twice that (Calderon et al. 2025).
"""
FEWEST: Final = 30
"""Labels from which not beating the longer answer is more than bad luck."""
FREE: Final = {"longest": "always takes the longer answer", "first": "always takes the first answer given"}
DRAW: Final = "Label some more: jurist spotcheck RUN -n 200 --out spot.jsonl"


def of_people(people: HumanVotes) -> list[Finding]:
    """How often two people say the same: more than that no judge can be asked."""
    alike = people.agreement
    if not alike.n:
        says = (
            f"Nobody labelled what another had labelled ({count(len(people), 'matchup')}), "
            "so how well people agree with each other is not known."
        )
        return [silent("agreement.people", says, "Let a second person label a hundred of the same matchups")]
    says = (
        f"Two people who saw the same two answers said the same in {percent(alike.value)} of the cases "
        f"({span(alike)}, {count(alike.n, 'prompt')}; a tie against a side counts half)."
    )
    # People who err independently agree half the time or more, however bad they are.
    if alike.value >= 0.5:
        says += (
            f" If they err independently each is right about {percent(human_accuracy(alike.value))} of the "
            "time, and a perfect judge would agree with one of them no more often than that."
        )
    divided = alike.high < WANTED
    advice = "Write down what counts as better, and let them label again" if divided else ""
    items = people.item
    parts = alpha_parts(items, people.side.astype(float), "nominal")
    one = jackknifed(parts, people.prompt, alpha_of, alike.n)
    beyond = (
        f"Krippendorff's alpha among people is {one.value:.3f} ({_between(one)}): 1 is perfect agreement, "
        "0 is what chance would give."
    )
    return [
        measured("agreement.people", "", says, "warning" if divided else "note", alike, advice=advice),
        measured("agreement.people_alpha", "", beyond, "note", one, unit="number"),
    ]


def of_judge(sheet: Sheet, people: HumanVotes, one: AgainstHumans) -> list[Finding]:
    decided = one.decided
    if not len(decided):
        says = f"{one.name} said nothing that could be read about a matchup on which people took a side."
        return [silent("agreement.accuracy", says, DRAW, one.name)]
    return [
        _accuracy(one, decided),
        *_with_a_person(people, one),
        *_baselines(sheet, decided),
        *_beyond_chance(people, one),
    ]


def _accuracy(one: AgainstHumans, decided: AgainstHumans) -> Finding:
    share = clustered_share(decided.right, decided.prompt, weights=decided.weight)
    ties = int((decided.p == 0.5).sum())
    asides = []
    if ties:
        asides.append(f"{count(ties, 'tie')} of the judge counted half")
    if len(one) > len(decided):
        asides.append(f"{count(len(one) - len(decided), 'matchup')} on which people were divided left out")
    says = (
        f"{one.name} agrees with people in {percent(share.value)} of {count(len(decided), 'matchup')} "
        f"({span(share)}){'; ' if asides else ''}{', '.join(asides)}."
    )
    grade = below(share.low, share.high, WANTED)
    advice = ""
    if grade == "alarm":
        advice = (
            "Do not train on its labels: take another judge, or a jury weighed by people with --labels FILE"
        )
    elif grade == "warning":
        advice = DRAW
    return measured("agreement.accuracy", one.name, says, grade, share, advice=advice)


def _with_a_person(people: HumanVotes, one: AgainstHumans) -> list[Finding]:
    """The judge in the place of one of two people: the number to hold next to theirs."""
    votes = people.counts[one.item]
    n = votes.sum(axis=1)
    alike = agreeing_votes(votes)[np.arange(len(votes)), sides(one.p)] / n
    share = clustered_share(alike, one.prompt, weights=n * one.weight)
    ceiling = people.agreement
    if not ceiling.n:
        return []
    says = (
        f"{one.name} says the same as one person in {percent(share.value)} of the cases ({span(share)}); "
        f"two people say the same as each other in {percent(ceiling.value)}."
    )
    grade: Grade = "fine"
    if share.high < ceiling.low:
        grade = "warning" if share.high < ceiling.low - BEHIND else "note"
    advice = "" if grade != "warning" else "A person's label is worth more: weigh judges with --labels FILE"
    fair = ceiling.value
    return [measured("agreement.with_a_person", one.name, says, grade, share, fair, advice=advice)]


def _baselines(sheet: Sheet, decided: AgainstHumans) -> list[Finding]:
    """What it is ahead of a judge that reads nothing; the same matchups, so the difference is paired."""
    longer = np.sign(sheet.longer_by[decided.humans.matchup[decided.item]])
    free = {"longest": (1 + longer) / 2, "first": np.ones(len(decided))}
    found = []
    for name, p in free.items():
        other = AgainstHumans(name, decided.item, p, decided.humans)
        ahead = clustered_mean(decided.right - other.right, decided.prompt, weights=decided.weight)
        share = float(np.average(other.right, weights=decided.weight))
        says = (
            f"A judge that {FREE[name]} agrees with people in {percent(share)} of the same matchups: "
            f"{decided.name} is {points(abs(ahead.value))} {'ahead of' if ahead.value > 0 else 'behind'} it "
            f"(95% interval {points(ahead.low)} to {points(ahead.high)})."
        )
        found.append(_graded(f"agreement.over_{name}", decided.name, says, ahead))
    return found


def _graded(name: str, about: str, says: str, ahead: Estimate) -> Finding:
    """Whoever does not beat it should not be paid: an alarm from enough labels on."""
    grade: Grade = "fine" if ahead.low > 0 else "warning"
    if ahead.value <= 0 and ahead.n >= FEWEST:
        grade = "alarm"
    if ahead.n < 2:
        return silent(
            name, "One labelled matchup is not enough to compare a judge with anything.", DRAW, about
        )
    advice = {"fine": "", "warning": DRAW}.get(
        grade, "Take another judge: this one's labels can be had for nothing"
    )
    return measured(name, about, says, grade, ahead, advice=advice)


def _beyond_chance(people: HumanVotes, one: AgainstHumans) -> list[Finding]:
    """Kappa, AC1 and alpha: three ways of taking away what chance would give."""
    ours, theirs = sides(one.p), sides(one.mean)
    used = np.union1d(np.unique(ours), np.unique(theirs))
    if len(used) < 2:
        return []
    parts = np.zeros((len(one), 3, 3))
    parts[np.arange(len(one)), ours, theirs] = one.weight
    parts = parts[:, used[:, None], used[None, :]]
    n = len(np.unique(one.prompt))
    told: dict[str, tuple[Callable[[Array], Array], str]] = {
        "kappa": (
            kappa,
            "Cohen's kappa between {0} and people is {1}: agreement beyond what habit would give.",
        ),
        "ac1": (
            ac1,
            "Gwet's AC1 between {0} and people is {1}: unlike kappa it holds where nearly all say the same.",
        ),
    }
    found: list[Finding] = []
    for name, (statistic, says) in told.items():
        found += _number(f"agreement.{name}", one.name, says, jackknifed(parts, one.prompt, statistic, n))
    items = np.concatenate([people.item, one.item])
    rated = np.concatenate([people.side, ours]).astype(float)
    known = np.isin(items, one.item)
    parts = alpha_parts(items[known], rated[known], "nominal")
    shared = np.unique(items[known])
    both = jackknifed(parts, people.prompt[shared], alpha_of, n)
    says = (
        "Krippendorff's alpha of people with {0} as one more rater is {1}; raters may have skipped matchups."
    )
    return found + _number("agreement.alpha", one.name, says, both)


def _number(name: str, about: str, says: str, one: Estimate) -> list[Finding]:
    if np.isnan(one.value):
        return []
    says = says.format(about, f"{one.value:.3f} ({_between(one)})")
    return [measured(name, about, says, "note", one, unit="number")]


def _between(one: Estimate) -> str:
    return f"95% interval {one.low:.3f} to {one.high:.3f}"
