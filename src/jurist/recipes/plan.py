"""How many labels from people it takes, and what they cost, before anybody is asked.

    jurist plan --agreement 0.8 --margin 0.03 --price 2
    jurist plan runs/mine --human labels.jsonl

Given a run that people have labelled in part, the plan stands on what was measured there: how often judges
go with people, on how many pairs two judges differ, how alike the labels of one prompt are, and how much
the judges' word is worth beside people's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from ..errors import SettingError
from ..stats import intervals
from .lines import table

if TYPE_CHECKING:
    from ..audits.sheet import Array, Sheet


class Planned(Struct, frozen=True, kw_only=True):
    """What the plan assumes."""

    agreement: Annotated[float, Meta(description="How often labels agree with humans.")] = 0.75
    margin: Annotated[float, Meta(description="Half-width of the confidence interval wanted.")] = 0.05
    difference: Annotated[float, Meta(description="Difference in accuracy between two judges.")] = 0.05
    discordance: Annotated[
        float, Meta(description="Share of pairs on which exactly one of two judges agrees with humans.")
    ] = 0.2
    first_share: Annotated[
        float, Meta(description="Share of flipped verdicts that favour the first position.")
    ] = 0.6
    error: Annotated[float, Meta(description="Share of wrong labels that a batch may have.")] = 0.05
    rho: Annotated[float | None, Meta(description="Correlation of judges with human labels.")] = None
    judged: Annotated[int | None, Meta(description="Matchups with a verdict; null: enough.")] = None
    per_prompt: Annotated[float, Meta(description="Matchups per prompt.")] = 1.0
    likeness: Annotated[float, Meta(description="Intraclass correlation of the labels of one prompt.")] = 0.0
    human_accuracy: Annotated[float, Meta(description="How often one human is right.")] = 0.85
    price: Annotated[float, Meta(description="Dollars per human label.")] = 1.0
    power: Annotated[float, Meta(description="Chance to detect a difference that exists.")] = 0.8

    def __post_init__(self) -> None:
        for name, low, high, usual in _RANGES:
            value = getattr(self, name)
            if value is not None and not low < value < high:
                raise SettingError(
                    f"{name} is {value}; it lies between {low:g} and {high:g}. Set e.g. --{name} {usual}"
                )
        if self.discordance < self.difference:
            raise SettingError(
                f"two judges that differ by {self.difference} disagree on at least that share of the pairs,"
                f" and discordance is {self.discordance}. Set --discordance {self.difference}"
            )
        if self.price < 0:
            raise SettingError(f"price is {self.price}; nobody pays to label. Set e.g. --price 1")
        if self.per_prompt < 1 or not 0 <= self.likeness <= 1:
            raise SettingError(
                f"a prompt has one matchup or more (got {self.per_prompt}), and likeness is a"
                f" share (got {self.likeness}). Set: --per_prompt 1 --likeness 0"
            )


_RANGES = (
    ("agreement", 0.0, 1.0, 0.75),
    ("margin", 0.0, 0.5, 0.05),
    ("difference", 0.0, 1.0, 0.05),
    ("discordance", 0.0, 1.0, 0.2),
    ("first_share", 0.5, 1.0, 0.6),
    ("error", 0.0, 1.0, 0.05),
    ("rho", -1.0, 1.0, 0.6),
    ("human_accuracy", 0.5, 1.0, 0.85),
    ("power", 0.0, 1.0, 0.8),
)


class Row(Struct, frozen=True):
    """One question."""

    question: str
    assuming: str
    labels: int | None
    """None where no number of labels answers it."""
    usd: float | None


class Plan(Struct, frozen=True):
    assumed: Planned
    measured: dict[str, float]
    """What of it was read off a run."""
    rows: tuple[Row, ...]

    def lines(self) -> Iterator[str]:
        rows = [("to", "labels", "price", "assuming")]
        for row in self.rows:
            labels = "-" if row.labels is None else f"{row.labels:,}"
            rows.append((row.question, labels, f"${row.usd:,.0f}" if row.usd else "-", row.assuming))
        yield from table(rows)
        if self.measured:
            yield f"measured: {', '.join(f'{name} {value:,.5g}' for name, value in self.measured.items())}"


class PlanConfig(Planned, frozen=True, kw_only=True):
    """What a plan assumes, and where it may be measured."""

    source: Annotated[
        str | None, Meta(description="A run folder or file of pairs: plan with what was measured.")
    ] = None
    human: Annotated[str | None, Meta(description="File of human labels for it: JSONL.")] = None
    columns: Annotated[
        dict[str, str], Meta(description="Names of the file's columns, e.g. --columns.prompt question.")
    ] = {}


def plan(
    source: str | Path | None = None,
    human: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    **given: float,
) -> Plan:
    """The rows of the table; what is `given` goes before what was measured."""
    found: dict[str, float] = {}
    if source is not None:
        from ..audits.read_file import read_source

        sheet = read_source(source, human, columns).sheet
        found = {name: value for name, value in measured(sheet).items() if name not in given}
    how: dict[str, Any] = {**found, **given}
    assumed = Planned(**how)
    return Plan(assumed, found, rows(assumed))


FEWEST = 30
"""Labels from people from which a run is measured."""


def rows(how: Planned) -> tuple[Row, ...]:
    # Labels of the same prompt tell less than as many of different ones: 1 + (m - 1) ICC.
    effect = 1 + (how.per_prompt - 1) * how.likeness
    bias = intervals.labels_for_position_bias(how.first_share, how.power)
    found = [
        _row(
            how,
            f"know the agreement to +-{how.margin:.0%}",
            f"agreement {how.agreement:.0%}",
            effect * intervals.labels_for_interval(how.agreement, how.margin),
        ),
        _row(
            how,
            f"tell two judges apart that differ by {how.difference:.0%}",
            f"just one is right on {how.discordance:.0%} of the pairs",
            effect * intervals.labels_for_two_judges(how.difference, how.discordance, how.power),
        ),
        _row(
            how,
            f"certify that at most {how.error:.0%} of the labels are wrong",
            "none of those read is wrong",
            effect * intervals.labels_for_no_error(how.error),
        ),
        _row(
            how,
            f"know a policy's win rate to +-{how.margin:.0%}",
            "win rate 50%",
            effect * intervals.labels_for_interval(0.5, how.margin),
        ),
    ]
    if how.rho is not None:
        found.append(_with_judges(how, effect))
    found.append(_alternative(how, effect))
    flips = Row(
        "find a slot bias (flipped verdicts, asked of the judge)",
        f"the first seat gets {how.first_share:.0%} of the flips",
        math.ceil(effect * bias - 1e-9),
        0.0,
    )
    return (*found, flips)


def _with_judges(how: Planned, effect: float) -> Row:
    """Prediction-powered: each label from people is worth more where judges read everything."""
    assert how.rho is not None
    alone = effect * intervals.labels_for_interval(0.5, how.margin)
    judged = math.inf if how.judged is None else float(how.judged)
    n = alone
    # What a label is worth hangs on how many there are: a few rounds settle it.
    for _ in range(50):
        n = alone / intervals.saved_by_judge(how.rho, judged, n)
    said = f"rho {how.rho:.2f}" + ("" if how.judged is None else f", {how.judged:,} matchups judged")
    return _row(how, "the same with the judges' help", said, n)


def _alternative(how: Planned, effect: float) -> Row:
    """The alternative annotator test, by simulation."""
    from ..audits.agreement.alternative import EPSILON, SIZES, power

    epsilon = EPSILON["skilled"]
    h = round(how.human_accuracy, 2)
    each = next((n for n in SIZES if power(h, h, 3, n, epsilon) >= how.power), None)
    return _row(
        how,
        "pass the alternative annotator test (3 humans)",
        f"judge as good as humans, {h:.0%} right; epsilon {epsilon:g}",
        None if each is None else 3 * effect * each,
    )


def _row(how: Planned, question: str, assuming: str, labels: float | None) -> Row:
    n = None if labels is None else math.ceil(labels - 1e-9)
    return Row(question, assuming, n, None if n is None else round(n * how.price, 2))


def measured(sheet: Sheet) -> dict[str, float]:
    """What of `Planned` a sheet tells; nothing that rests on fewer than thirty labels."""
    import numpy as np

    from ..audits.humans import human_votes, judge_against_humans, run_against_humans
    from ..stats.agreement import correlation

    people = human_votes(sheet)
    ours = run_against_humans(sheet, people)
    ours = ours.decided
    found: dict[str, float] = {}
    p = sheet.mean_opinion
    read = int((~np.isnan(p)).sum())
    if len(ours) < FEWEST:
        return found
    found["agreement"] = _inside(float(np.average(ours.right, weights=ours.weight)))
    told = people.matchup[~np.isnan(p[people.matchup])]
    rho = correlation(p[told].tolist(), people.mean[~np.isnan(p[people.matchup])].tolist())
    if not math.isnan(rho):
        found |= {"rho": max(-0.99, min(0.99, rho)), "judged": read - len(told)}
    prompts, at, many = np.unique(ours.prompt, return_inverse=True, return_counts=True)
    found |= {"per_prompt": len(ours) / len(prompts), "likeness": _likeness(ours.right, at, many)}
    if people.agreement.n >= FEWEST:
        found["human_accuracy"] = _inside(intervals.human_accuracy(people.agreement.value), 0.51)
    judges = [judge_against_humans(sheet, people, one) for one in np.unique(sheet.opinions.judge).tolist()]
    ranked = sorted((one.decided for one in judges), key=lambda one: -_accuracy(one.right))
    if len(ranked) > 1:
        _, one, other = np.intersect1d(ranked[0].item, ranked[1].item, return_indices=True)
        apart = ranked[0].right[one] - ranked[1].right[other]
        if len(apart) >= FEWEST and 0 < abs(apart.mean()) < 1:
            found |= {
                "difference": abs(float(apart.mean())),
                "discordance": _inside(float(np.abs(apart).mean())),
            }
    return found


def _accuracy(right: Array) -> float:
    return float(right.mean()) if len(right) else 0.0


def _inside(share: float, low: float = 0.01) -> float:
    """A share that is 0 or 1 in a few labels is not that in truth."""
    return min(0.99, max(low, share))


def _likeness(right: Array, at: Array, many: Array) -> float:
    """The intraclass correlation, from the analysis of variance; 0 where every prompt has one label."""
    import numpy as np

    k, n = len(many), len(right)
    if k < 2 or n == k:
        return 0.0
    means = np.bincount(at, right) / many
    between = float((many * (means - right.mean()) ** 2).sum()) / (k - 1)
    within = float(((right - means[at]) ** 2).sum()) / (n - k)
    usual = (n - float((many**2).sum()) / n) / (k - 1)
    whole = between + (usual - 1) * within
    return max(0.0, (between - within) / whole) if whole > 0 else 0.0
