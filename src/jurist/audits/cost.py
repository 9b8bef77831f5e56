"""What a label cost, and one that people would agree with, beside what people ask for the same work."""

from __future__ import annotations

from typing import Final

import numpy as np

from ..stats.intervals import Estimate, clustered_share
from .finding import Finding, Grade
from .sheet import Array, Sheet
from .words import count, percent, silent, span

PEOPLE: Final = (0.5, 5.0)
"""US dollars that a comparison by a person costs: a crowd's and an expert's."""
NO_PRICE: Final = (
    "Name the price: --judge.engine.price.input 0.4 --judge.engine.price.output 1.6, or gpu_hour"
)


def cost(sheet: Sheet, spent: float | None = None, people: tuple[float, float] = PEOPLE) -> list[Finding]:
    """`spent` is what the whole run cost, its answers as well; without it the verdicts count alone."""
    calls = len(sheet.verdicts) + len(sheet.scores)
    if not calls:
        return [silent("cost.verdict", "Nobody was asked, so nothing was paid.", "Nothing to do")]
    read = int((~np.isnan(sheet.verdicts.p)).sum() + (~np.isnan(sheet.scores.score)).sum())
    usd = float(sheet.verdicts.usd.sum() + sheet.scores.usd.sum())
    found: list[Finding] = []
    whole = max(usd, spent or 0.0)
    if not whole:
        said = "No price is recorded for these calls, so a label has none."
        return [*found, silent("cost.label", said, NO_PRICE)]
    if usd and read:
        says = (
            f"A verdict that could be read cost ${_money(usd / read)}: {count(calls, 'call')} at"
            f" ${_money(usd / calls)} each, of which {percent(read / calls)} could be read."
        )
        found.append(_exact("cost.verdict", says, usd / read, read))
    return found + _labels(sheet, whole, people)


def _labels(sheet: Sheet, usd: float, people: tuple[float, float]) -> list[Finding]:
    labels = sheet.labels
    if not len(labels):
        said = f"${_money(usd)} was spent, and no label came of it."
        return [silent("cost.label", said, "Make labels of the verdicts: jurist export RUN")]
    n = len(labels)
    found = [_exact("cost.label", f"A label cost ${_money(usd / n)}: ${_money(usd)} for {n:,}.", usd / n, n)]
    usable = int(((labels.p != 0.5) & (labels.weight > 0)).sum())
    if 0 < usable < n:
        says = (
            f"A label that teaches something cost ${_money(usd / usable)}: {n - usable:,} of {n:,} are ties"
            " or have no weight."
        )
        found.append(_exact("cost.usable_label", says, usd / usable, usable))
    return [*found, _correct(sheet, usd, n, people)]


def _correct(sheet: Sheet, usd: float, n: int, people: tuple[float, float]) -> Finding:
    """Money over the labels that people would have given: the share that is right is known from some."""
    right = _right(sheet)
    if not right.n:
        said = "What a right label cost is not known: people labelled none of these matchups."
        return silent("cost.correct_label", said, "Let people label a sample: jurist spotcheck RUN")
    if not right.value:
        said = f"Humans agree with none of {count(right.n, 'label')}: no right one was bought."
        return Finding("cost.correct_label", "", said, "alarm", right.n)
    value, low = usd / (n * right.value), usd / (n * right.high)
    high = usd / (n * right.low) if right.low > 0 else float("inf")
    crowd, expert = people
    grade: Grade = "fine" if high < crowd else "warning" if low > crowd else "note"
    says = (
        f"A label that people agree with cost ${_money(value)}, for {percent(right.value)} of the labels are"
        f" right ({span(right)}, {count(right.n, 'prompt')}); a comparison by a person costs ${crowd:g} to"
        f" ${expert:g}."
    )
    advice = "Let people label these instead, or ask a cheaper judge" if grade == "warning" else ""
    reach = None if high == float("inf") else high
    return Finding("cost.correct_label", "", says, grade, right.n, value, low, reach, "usd", None, advice)


def _right(sheet: Sheet) -> Estimate:
    """Share of the labels that people agree with, each labelled one standing for as many as was drawn."""
    labels = sheet.labels
    truth = sheet.human_p[labels.matchup]
    known = ~np.isnan(truth) & (truth != 0.5)
    weights = _weights(sheet)[labels.matchup[known]]
    agrees: Array = ((labels.p[known] - 0.5) * (truth[known] - 0.5) > 0).astype(float)
    prompt = sheet.matchups.prompt[labels.matchup[known]]
    return clustered_share(agrees, prompt, weights=weights if len(weights) else None)


def _weights(sheet: Sheet) -> Array:
    """How many matchups each labelled one stands for."""
    n = len(sheet.matchups)
    counts = np.bincount(sheet.human.matchup, minlength=n)
    sums = np.bincount(sheet.human.matchup, sheet.human.weight, minlength=n)
    weights: Array = np.divide(sums, counts, out=np.ones(n), where=counts > 0)
    return weights


def _exact(name: str, says: str, value: float, n: int) -> Finding:
    return Finding(name, "", says, "fine", n, value, unit="usd")


def _money(usd: float) -> str:
    return f"{usd:,.2f}" if usd >= 1 else f"{usd:.2g}" if usd >= 1e-4 else f"{usd:.1e}"
