"""How many human labels it takes, and what they cost, before anybody is asked. With a run that humans have
labelled in part (`jurist plan runs/mine --human labels.jsonl`) the plan uses what was measured there.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import asdict

from ..config import settings_from
from ..prompts.rows import OnError
from .lines import table

if TYPE_CHECKING:
    from ..audits.sheet import Sheet

FEWEST = 30  # human labels from which anything is measured
QUESTIONS = {  # and what is assumed for an answer
    "know the agreement to +-{margin:.0%}": "agreement {agreement:.0%}",
    "tell two judges apart that differ by {difference:.0%}": "just one is right on {discordance:.0%}",
    "certify that at most {error:.0%} of the labels are wrong": "none of those read is wrong",
    "know a policy's win rate to +-{margin:.0%}": "win rate 50%",
    "the same with the judges' help": "rho {rho:.2g}, {judged:,} more matchups judged",
    "pass the alternative annotator test (3 humans)": "all {human_accuracy:.0%} right; epsilon 0.15",
    "find a position bias (flips, asked of the judge)": "the first position gets {first_share:.0%} of them",
}


class PlanConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a plan assumes, and where it may be measured."""

    source: Annotated[str, Meta(description="A run or file of pairs to measure on.")] = ""
    human: Annotated[str | None, Meta(description="File of human labels for it: JSONL or CSV.")] = None
    columns: Annotated[dict[str, str], Meta(description="Its columns, e.g. --columns.prompt question.")] = {}
    label_values: Annotated[
        dict[str | int | bool, str], Meta(description="What labels mean, e.g. --label_values.0 second.")
    ] = {}
    on_error: Annotated[OnError, Meta(description="What to do with a row that is no pair.")] = "stop"
    agreement: Annotated[float, Meta(gt=0, lt=1, description="How often labels agree with humans.")] = 0.75
    margin: Annotated[float, Meta(gt=0, lt=1, description="Half-width of the interval wanted.")] = 0.05
    difference: Annotated[float, Meta(gt=0, lt=1, description="Difference in accuracy of two judges.")] = 0.05
    discordance: Annotated[float, Meta(gt=0, lt=1, description="Pairs on which one judge is right.")] = 0.2
    error: Annotated[float, Meta(gt=0, lt=1, description="Share of wrong labels allowed in a batch.")] = 0.05
    rho: Annotated[float, Meta(gt=-1, lt=1, description="Correlation of judges with human labels.")] = 0.0
    judged: Annotated[int, Meta(ge=0, description="Matchups that only judges read.")] = 100_000
    human_accuracy: Annotated[float, Meta(gt=0.5, lt=1, description="How often a human is right.")] = 0.85
    first_share: Annotated[float, Meta(gt=0.5, lt=1, description="Share of flips to position one.")] = 0.6
    effect: Annotated[float, Meta(ge=1, description="Labels worth an independent one: 1 + (m - 1) r.")] = 1.0
    price: Annotated[float, Meta(ge=0, description="Dollars per human label.")] = 1.0
    power: Annotated[float, Meta(gt=0, lt=1, description="Chance to find a difference that exists.")] = 0.8


class LabelsNeeded(Struct, frozen=True):
    question: str
    assuming: str
    labels: int | None  # None where no number of them answers it
    usd: float | None


class LabelPlan(Struct, frozen=True):
    assumed: PlanConfig
    measured: dict[str, float]
    questions: tuple[LabelsNeeded, ...]

    def lines(self) -> Iterator[str]:
        rows = [("to", "labels", "price", "assuming")]
        for one in self.questions:
            labels = "-" if one.labels is None else f"{one.labels:,}"
            rows.append((one.question, labels, f"${one.usd:,.0f}" if one.usd else "-", one.assuming))
        yield from table(rows)
        if self.measured:
            yield f"measured: {', '.join(f'{name} {value:,.4g}' for name, value in self.measured.items())}"


def plan(source: str | Path = "", human: str | Path | None = None, **given: Any) -> LabelPlan:
    """What is `given` goes before what was measured."""
    from ..audits.read_file import read_source

    reading = {name: given.pop(name) for name in ("columns", "label_values", "on_error") if name in given}
    found = _measure(read_source(source, human, **reading).sheet) if source else {}
    measured = {name: value for name, value in found.items() if name not in given}
    how = settings_from(PlanConfig, {**measured, **given}, "jurist plan --help")
    words, questions = asdict(how), []
    for (question, assuming), labels in zip(QUESTIONS.items(), _independent_labels(how), strict=True):
        if labels != 0:
            n = None if labels is None else ceil(how.effect * labels - 1e-9)
            usd = None if n is None or "flips" in question else round(n * how.price, 2)
            questions.append(LabelsNeeded(question.format(**words), assuming.format(**words), n, usd))
    return LabelPlan(how, measured, tuple(questions))


def _independent_labels(how: PlanConfig) -> Iterator[float | None]:
    """For each question; 0 where judges are no help, None where no number is enough."""
    from ..audits.alt_test import EPSILON, SIZES, power
    from ..stats import intervals

    yield intervals.labels_for_interval(how.agreement, how.margin)
    yield intervals.labels_for_two_judges(how.difference, max(how.discordance, how.difference), how.power)
    yield intervals.labels_for_no_error(how.error)
    yield (won := intervals.labels_for_interval(0.5, how.margin))
    helped = intervals.labels_with_judges(won, how.rho, how.judged)
    yield helped if ceil(helped) < won else 0
    h = round(how.human_accuracy, 2)
    yield next((3.0 * n for n in SIZES if power(h, h, 3, n, EPSILON["skilled"]) >= how.power), None)
    yield intervals.labels_for_position_bias(how.first_share, how.power)


def _measure(sheet: Sheet) -> dict[str, float]:
    """What of the assumptions a sheet tells; a share that is 0 or 1 in a few labels is not that in truth."""
    from ..audits.humans import human_votes, run_against_humans
    from ..stats import intervals
    from ..stats.agreement import correlation

    humans = human_votes(sheet)
    ours = run_against_humans(sheet, humans).decided
    if len(ours) < FEWEST:
        return {}
    share, error, n = intervals.weighted_mean(ours.right, ours.prompt, ours.weight)
    effect = len(ours) / intervals.effective_n(share, error, ours.right, n, ours.weight)
    rho = correlation(ours.p, ours.mean)
    found = {"agreement": min(0.99, max(0.01, share)), "effect": max(1.0, effect)}
    if rho == rho:  # not nan
        found |= {"rho": max(-0.99, min(0.99, rho)), "judged": len(sheet.matchups) - len(humans)}
    if humans.agreement.n >= FEWEST:
        found["human_accuracy"] = min(0.99, max(0.51, intervals.human_accuracy(humans.agreement.value)))
    return found
