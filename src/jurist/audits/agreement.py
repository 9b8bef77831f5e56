"""Do judges and labels say what humans say? Beside it: how often humans agree with each other, what always
taking the longer answer would come to, and whether judges agree among themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from ..stats.agreement import (
    alpha_of,
    alpha_parts,
    error_correlation,
    independent_judges,
    jackknifed,
    kappa,
    powered_share,
)
from ..stats.intervals import Estimate, clustered_mean, clustered_share, human_accuracy, mcnemar
from .alt_test import Annotators, alt_test
from .finding import Measure
from .humans import (
    AgainstHumans,
    HumanVotes,
    agreeing_votes,
    human_votes,
    judge_against_humans,
    labels_against_humans,
    sides,
)
from .sheet import Array, Sheet

FEW: Final = 10
"""Prompts that humans labelled, below which there is no more to say than how many agree."""
FEWEST: Final = 30
"""Prompts below which judges that disagree among themselves are worth a note only."""
OTHERS: Final = 5
"""Judges that the best is compared with."""
EXAMPLES: Final = 5


def agreement(
    sheet: Sheet, *, annotators: Annotators | float = "skilled", tolerated: float | None = None
) -> list[Measure]:
    """Labels and judges against humans, humans and judges among themselves. `tolerated` is the share of wrong
    labels that was asked for.
    """
    humans = human_votes(sheet)
    if not len(humans):
        return [Measure("agreement.accuracy", missing="no_humans"), *among_judges(sheet)]
    labels = labels_against_humans(sheet, humans)
    judges = [judge_against_humans(sheet, humans, one) for one in np.unique(sheet.opinions.judge).tolist()]
    trained_on = [labels] if len(sheet.labels) else []
    graded = [*trained_on, *judges]
    found = [_accuracy(sheet, one) for one in graded]
    found += _among_humans(humans)
    # Baselines are for what decides; where only labels are known, for those.
    for one in filter(_enough, judges or trained_on):
        found += [*_baselines(sheet, one.decided), *_with_a_human(one), *_beyond_chance(one)]
    found += alt_test(humans, judges or trained_on, annotators)
    found += [*better_judge(judges), *independent(judges)]
    return [*found, *label_error(sheet, labels, tolerated), *among_judges(sheet)]


def _enough(one: AgainstHumans) -> bool:
    return len(np.unique(one.decided.prompt)) >= FEW


def _accuracy(sheet: Sheet, one: AgainstHumans) -> Measure:
    """How often it is with the majority of humans; a tie of its own counts half."""
    decided = one.decided
    if not len(decided):
        return Measure("agreement.accuracy", one.name, missing="undecided")
    share = clustered_share(decided.right, decided.prompt, weights=decided.weight)
    figures = {
        "matchups": len(decided),
        "ties": int((decided.p == 0.5).sum()) or None,
        "divided": len(one) - len(decided) or None,
    }
    surest = np.argsort(np.where(decided.right == 0, -np.abs(decided.p - 0.5), 1.0), kind="stable")
    wrong = surest[: min(EXAMPLES, int((decided.right == 0).sum()))]
    ids = tuple(sheet.matchups.id[row] for row in decided.humans.matchup[decided.item[wrong]].tolist())
    return Measure("agreement.accuracy", one.name, share, figures, ids)


def _among_humans(humans: HumanVotes) -> list[Measure]:
    """How often two humans agree: more than that no judge can be asked."""
    alike = humans.agreement
    if not alike.n:
        return [Measure("agreement.humans", missing="one_each")]
    # Humans who err independently agree half the time or more, however bad they are.
    figures = {"each": human_accuracy(alike.value) if alike.value >= 0.5 else None}
    parts = alpha_parts(humans.item, humans.side.astype(float), "nominal")
    alpha = jackknifed(parts, humans.prompt, alpha_of, alike.n)
    return [
        Measure("agreement.humans", "", alike, figures),
        *([Measure("agreement.humans_alpha", "", alpha)] if np.isfinite(alpha.value) else []),
    ]


def _with_a_human(one: AgainstHumans) -> Iterator[Measure]:
    """How much less often it agrees with a human than another human does, where two or more labelled."""
    counts = one.humans.counts[one.item]
    n = counts.sum(axis=1)
    twice = n > 1
    if not twice.any():
        return
    counts, n, weight = counts[twice], n[twice], one.weight[twice]
    votes = agreeing_votes(counts)
    judge = votes[np.arange(len(votes)), sides(one.p[twice])] / n
    human = (counts * (votes - 1)).sum(axis=1) / (n * (n - 1))
    ahead = clustered_mean(judge - human, one.prompt[twice], weight, most=1.0)
    figures = {
        "judge_share": float(np.average(judge, weights=weight)),
        "human_share": float(np.average(human, weights=weight)),
    }
    yield Measure("agreement.with_a_human", one.name, ahead, figures)


def _baselines(sheet: Sheet, decided: AgainstHumans) -> Iterator[Measure]:
    """What it is ahead of a judge that reads nothing; on the same matchups, so the difference is paired."""
    longer = np.sign(sheet.longer_by[decided.humans.matchup[decided.item]])
    for name, p in (("longest", (1 + longer) / 2), ("first", np.ones(len(decided)))):
        free = AgainstHumans(name, decided.item, p, decided.humans)
        if not len(free) or (name == "first" and not np.ptp(free.right)):
            continue  # a file that puts what humans chose first says nothing by its order
        ahead = clustered_mean(decided.right - free.right, decided.prompt, decided.weight, most=1.0)
        weights = decided.weight
        shares = {"free": free.right, "share": decided.right}
        figures = {key: float(np.average(right, weights=weights)) for key, right in shares.items()}
        yield Measure(f"agreement.over_{name}", decided.name, ahead, figures)


def _beyond_chance(one: AgainstHumans) -> Iterator[Measure]:
    """Kappa and alpha: two ways of taking away what chance would give."""
    ours, theirs = sides(one.p), sides(one.mean)
    used = np.union1d(np.unique(ours), np.unique(theirs))
    if len(used) < 2:
        return
    parts = np.zeros((len(one), 3, 3))
    parts[np.arange(len(one)), ours, theirs] = one.weight
    parts = parts[:, used[:, None], used[None, :]]
    n = len(np.unique(one.prompt))
    found = {"kappa": jackknifed(parts, one.prompt, kappa, n)}
    items = np.concatenate([one.humans.item, one.item])
    values = np.concatenate([one.humans.side, ours]).astype(float)
    known = np.isin(items, one.item)
    parts = alpha_parts(items[known], values[known], "nominal")
    found["alpha"] = jackknifed(parts, one.humans.prompt[np.unique(items[known])], alpha_of, n)
    for name, estimate in found.items():
        if np.isfinite(estimate.value):
            yield Measure(f"agreement.{name}", one.name, estimate)


def better_judge(judges: Sequence[AgainstHumans]) -> Iterator[Measure]:
    """The judge that is right most often against the next ones, on the matchups that both read."""
    ranked = sorted(
        (one.decided for one in judges if _enough(one)), key=lambda one: (-_mean(one.right), one.name)
    )
    for other in ranked[1 : 1 + OTHERS]:
        best = ranked[0]
        _, ours, theirs = np.intersect1d(best.item, other.item, return_indices=True)
        if len(ours) < FEW:
            continue
        right, wrong = best.right[ours], other.right[theirs]
        only, only_other = int((right > wrong).sum()), int((right < wrong).sum())
        ahead = clustered_mean(right - wrong, best.prompt[ours], best.weight[ours], most=1.0)
        figures = {
            "best": best.name,
            "matchups": len(ours),
            "only": only,
            "only_other": only_other,
            "p": mcnemar(only, only_other),
            "advise": ahead.low > 0,
        }
        yield Measure("agreement.better_judge", other.name, ahead, figures)


def independent(judges: Sequence[AgainstHumans]) -> Iterator[Measure]:
    """How many judges without errors in common a jury of these is worth."""
    if len(judges) < 2:
        return
    humans, k = judges[0].humans, len(judges)
    right = np.full((len(humans), k), np.nan)
    for column, one in enumerate(judges):
        right[one.decided.item, column] = one.decided.right
    rho = error_correlation(right, humans.prompt)
    if rho.n < FEW or not np.isfinite(rho.low):
        return
    value, low, high = (independent_judges(k, r) for r in (rho.value, rho.high, rho.low))
    figures = {"judges": k, "rho": rho.value, "together": rho.low > 0, "advise": rho.low > 0}
    yield Measure("agreement.independent_judges", "", Estimate(value, low, high, rho.n), figures)


def _mean(right: Array) -> float:
    return float(right.mean()) if len(right) else 0.0


def label_error(sheet: Sheet, labels: AgainstHumans, tolerated: float | None = None) -> Iterator[Measure]:
    """How many of all labels humans would give otherwise, from those they saw and the judges' doubt about all
    (prediction-powered, Angelopoulos et al. 2023).
    """
    if not len(sheet.labels):
        return
    if not _enough(labels):
        yield Measure("agreement.label_error", figures={"few": FEW}, missing="few")
        return
    humans = labels.humans
    doubt = np.minimum(sheet.labels.p, 1 - sheet.labels.p)
    seen = np.isin(sheet.labels.matchup, humans.matchup[labels.item])
    rest = np.ones(len(doubt), dtype=bool) if humans.weighted else ~seen
    prompts = sheet.matchups.prompt[sheet.labels.matchup]
    found = powered_share(
        1 - labels.right,
        np.minimum(labels.p, 1 - labels.p),
        doubt[rest],
        labels.prompt,
        prompts[rest],
        labels.weight if humans.weighted else None,
    )
    helped = found.judge_weight > 0 and found.gain > 1.005
    figures: dict[str, Any] = {"labels": len(doubt), "seen": len(labels)}
    figures["one_domain"] = len(sheet.domains) < 2
    figures |= {"gain": found.gain if helped else None}
    figures |= {} if tolerated is None else {"tolerated": tolerated}
    yield Measure("agreement.label_error", "", found.share, figures)


def among_judges(sheet: Sheet) -> Iterator[Measure]:
    """How far the winners of judges that compared the same matchups agree beyond chance: the one thing about
    being right that is seen without humans. Judges that agree may all be wrong; others cannot all be right.
    """
    opinions = sheet.opinions
    read = ~np.isnan(opinions.p)
    several = np.bincount(opinions.matchup[read], minlength=len(sheet.matchups)) > 1
    rows = np.flatnonzero(several[opinions.matchup] & read)
    if not len(rows):
        return
    parts = alpha_parts(opinions.matchup[rows], np.sign(opinions.p[rows] - 0.5), "interval")
    # Which answer comes first is nobody's doing: seen from either position, the winners add up to nothing.
    parts[:, 2] = 0.0
    prompts = sheet.matchups.prompt[np.flatnonzero(several)]
    n = len(np.unique(prompts))
    alpha = jackknifed(parts, prompts, partial(alpha_of, level="interval"), n)
    if not np.isfinite(alpha.low):
        return
    judges = len(np.unique(opinions.judge[rows]))
    figures = {"matchups": int(several.sum()), "judges": judges, "few": n < FEWEST}
    yield Measure("agreement.among_judges", "", alpha, figures)
