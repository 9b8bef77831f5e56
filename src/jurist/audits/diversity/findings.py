"""What became of the answers' variety: each generation beside the first, on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ...stats.intervals import NO_DATA, Estimate
from ..finding import Chart, Finding, Grade, Point, Series
from ..grade import WRONG, graded
from ..sheet import Array
from . import meaning, words
from .generation import Even, Generation, even
from .halves import halves, on_split_halves, split_half_estimate
from .measures import FEWEST, measures_of

ALARM: Final = 0.10
"""A loop that has lost a tenth of its variety contracts; one stops at a quarter (`recipes/loop/stopping.py`).
From the loops of Alemohammad et al. 2023 and simulations of ours: with a constant share of people's rows it
stays above, without it goes on falling."""
RECALL: Final = 0.2
"""What recall may lose: among a few hundred answers it is the coarsest of the measures."""
MORE: Final = 0.10
"""By how much the share of boilerplate, or of refusals, may grow."""


@dataclass(frozen=True)
class Kind:
    """Something that is measured of every generation."""

    name: str
    of: str
    """What it is said of, to go before `is less varied`."""
    figure: str
    """What the figure is called."""
    tolerated: float = ALARM


LOSSES: Final = (
    Kind("distinct_1", "The choice of words", "different words among as many"),
    Kind("distinct_2", "The choice of pairs of words", "different pairs among as many"),
    Kind("distinct_3", "The choice of three words in a row", "different ones among as many"),
    Kind("unique", "What is said to one and the same prompt", "share of different answers"),
    Kind("self_bleu", "The wording of answers to one prompt", "1 - self-BLEU"),
    Kind("compression", "The text as a whole", "bytes left by compression"),
    Kind("length_spread", "The length of answers", "interquartile range over median, in characters"),
    Kind("cosine", "The direction of answers", "1 - mean cosine"),
    Kind("kinds", "What answers say", "effective number of different answers (Vendi score)"),
    Kind("recall", "The range of answers", "share of the first answers that lie near new ones", RECALL),
)
GAINS: Final = (
    Kind("boilerplate", "Stock sentences", "the ten commonest among all sentences", MORE),
    Kind("refusals", "Refusals", "share of answers that open by declining", MORE),
)
LINES: Final = ("distinct_2", "unique", "self_bleu", "compression", "kinds", "recall")
"""Those that are drawn."""


def diversity(
    generations: Sequence[Generation],
    people: Sequence[str] = (),
    encode: meaning.Encode | None = None,
    seed: int = 0,
) -> list[Finding]:
    """The last generation beside the first. `people` are texts that people wrote: what recall is asked of;
    without them it is asked of half of what the first generation wrote.
    """
    if len(generations) < 2:
        return [_silent("there is one generation only", "compare rounds: jurist run recipe.yaml --rounds 3")]
    shape = even(generations)
    if shape.prompts < FEWEST:
        why = f"{shape.prompts} prompts were answered by every generation, and it takes {FEWEST}"
        return [_silent(why, "hold out more prompts: --compare.held_out 0.2"), *synthetic(generations)]
    rows = halves(shape.prompts, seed)
    seen = {
        name: [on_split_halves(measure, rows) for measure in measures]
        for name, measures in measures_of(shape, people, encode, seed).items()
    }
    last = generations[-1].name
    found = [_loss(kind, seen[kind.name], generations, shape) for kind in LOSSES if kind.name in seen]
    found += [_gain(kind, seen[kind.name], generations, shape) for kind in GAINS]
    if "precision" in seen:
        value, low, high, n = split_half_estimate(seen["precision"][-1], shape.prompts)
        low, high = max(0.0, low), min(1.0, high)
        says = (
            f"{value:.0%} of the answers of {last} lie near {'those of people' if people else 'early ones'}"
        )
        says += (
            f" ({low:.0%} to {high:.0%}, {n} prompts): how much of it is of the kind that was there before."
        )
        found.append(Finding("diversity.precision", last, says, "note", n, value, low, high))
    drawn = chart({name: seen[name] for name in LINES if name in seen}, generations, shape.prompts)
    found = [_with(one, drawn) if one.name == "diversity.distinct_2" else one for one in found]
    return [*found, *synthetic(generations)]


def lost(seen: Sequence[Array], n: int) -> Estimate:
    """What the last has lost of the first, as a share of it."""
    first, last = seen[0], seen[-1]
    if not np.isfinite(first).all() or not np.isfinite(last).all() or (first <= 0).any():
        return NO_DATA
    return split_half_estimate(1 - last / first, n)


def _loss(kind: Kind, seen: Sequence[Array], generations: Sequence[Generation], shape: Even) -> Finding:
    name, about = f"diversity.{kind.name}", generations[-1].name
    value, low, high, n = lost(seen, shape.prompts)
    if not n:
        return _silent(
            f"{kind.figure} is nothing in {generations[0].name}", "look at the answers", name, about
        )
    less = f"{abs(value):.1%} {'less' if value >= 0 else 'more'} varied"
    says = (
        f"{kind.of} is {less} in {about} than in {generations[0].name}: {kind.figure} {seen[-1].mean():.3g},"
        f" after {seen[0].mean():.3g} (95% interval of the loss {low:.1%} to {high:.1%}, {n} prompts)."
    )
    grade = graded(max(low, 0.0), max(high, 0.0), 0.0, kind.tolerated)
    return Finding(name, about, says, grade, n, value, low, high, fair=0.0, advice=_reground(grade))


def _reground(grade: Grade) -> str:
    if grade not in WRONG:
        return ""
    return (
        "mix in more of what people wrote: --real.file FILE --real.share 0.5; draw warmer:"
        " --sampling.temperature 1.2; or use the policy of an earlier round"
    )


def _gain(kind: Kind, seen: Sequence[Array], generations: Sequence[Generation], shape: Even) -> Finding:
    about = generations[-1].name
    value, low, high, n = split_half_estimate(seen[-1] - seen[0], shape.prompts)
    says = (
        f"{kind.of} make up {seen[-1].mean():.1%} in {about}, after {seen[0].mean():.1%} in"
        f" {generations[0].name} ({kind.figure}; difference {100 * value:+.1f} points, {100 * low:+.1f} to"
        f" {100 * high:+.1f}, {n} prompts)."
    )
    if kind.name == "boilerplate":
        says += f" The commonest: {words.sentences(shape.texts[-1]).commonest[:80]!r}."
    grade = graded(max(low, 0.0), max(high, 0.0), 0.0, kind.tolerated)
    advice = f"read some: head -3 {about.replace(' ', '-')}/held_out.jsonl" if grade in WRONG else ""
    return Finding(f"diversity.{kind.name}", about, says, grade, n, value, low, high, fair=0.0, advice=advice)


def synthetic(generations: Sequence[Generation]) -> list[Finding]:
    """How much of what the last policy learnt from was written by models."""
    last = generations[-1]
    if last.synthetic is None:
        return []
    again = (last.generation or 0) > 1
    says = (
        f"Models wrote {last.synthetic:.0%} of the rows that {last.name} learnt from; generations of models"
        f" between it and people: {last.generation or 0}."
    )
    # One round on a model's answers is distillation; feeding on itself begins with the second.
    grade: Grade = "warning" if again and last.synthetic > 0.7 else "note" if again else "fine"
    advice = (
        "keep a share of people's rows in every round: --real.file FILE --real.share 0.3" if again else ""
    )
    value = last.synthetic
    advice = advice if grade == "warning" else ""
    return [Finding("diversity.synthetic", last.name, says, grade, 1, value, value, value, advice=advice)]


def chart(seen: dict[str, list[Array]], generations: Sequence[Generation], n: int) -> Chart:
    """Every generation's variety as a share of the first one's."""
    titles = {kind.name: kind.figure for kind in LOSSES}
    series = []
    for name, values in seen.items():
        told = [(1 - part for part in lost([values[0], one], n)[:3]) for one in values]
        points = [
            Point(one.name, value, low, high, n)
            for one, (value, high, low) in zip(generations, told, strict=True)
            if np.isfinite(value)
        ]
        series.append(Series(f"{name}: {titles[name]}", tuple(points)))
    return Chart(
        "lines",
        f"How much of {generations[0].name}'s variety is left",
        tuple(series),
        x="generation",
        y="left",
        mark=1 - ALARM,
        marked="alarm",
    )


def _with(one: Finding, drawn: Chart) -> Finding:
    from msgspec.structs import replace

    return replace(one, chart=drawn)


def _silent(why: str, advice: str, name: str = "diversity.distinct_2", about: str = "") -> Finding:
    return Finding(name, about, f"Not measured: {why}.", "silent", advice=advice)
