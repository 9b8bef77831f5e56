"""Everything that is measured of each generation, each to be asked about any part of the prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np

from ...preferences.pairs import is_refusal
from ..sheet import Array
from . import meaning, words
from .generation import Even

Measure = Callable[[Array], float]
"""Of the prompts that are kept."""
FEWEST: Final = 10
"""Prompts without which nothing is said."""
LEAST: Final = 0.4
"""Share of all text that is in any half of the prompts."""
IN_SPACE: Final = 400
"""Answers of each generation that are turned into points."""


def measures_of(
    shape: Even, people: Sequence[str], encode: meaning.Encode | None, seed: int
) -> dict[str, list[Measure]]:
    """Each measure of each generation, to be asked about any part of the prompts."""
    found: dict[str, list[Measure]] = {}
    for n in (1, 2, 3):
        found[f"distinct_{n}"] = _distinct([words.grams(texts, n) for texts in shape.texts])
    stock = [words.sentences(texts) for texts in shape.texts]
    found["boilerplate"] = [one.top_share for one in stock]
    size = min(words.BYTES, int(LEAST * min(map(words.size_of, shape.texts))))
    found["compression"] = [partial(words.compressed, texts, size=size) for texts in shape.texts]
    found["refusals"] = [_mean(_each(texts, is_refusal)) for texts in shape.texts]
    found["length_spread"] = [_spread(_each(texts, len)) for texts in shape.texts]
    if shape.k > 1:
        found["unique"] = [_mean(words.unique(texts)) for texts in shape.texts]
        some = np.random.default_rng(seed).permutation(shape.prompts)[:100]
        found["self_bleu"] = [
            _less(words.self_bleu([texts[at] for at in some]), some) for texts in shape.texts
        ]
    return found | _in_space(shape, people, encode)


def _distinct(said: Sequence[words.Grams]) -> list[Measure]:
    among = min(words.AMONG, int(LEAST * min(map(len, said))))
    return [partial(one.distinct, among=among) for one in said]


def _each(texts: Sequence[Sequence[str]], tell: Callable[[str], float]) -> Array:
    return np.array([[tell(one) for one in some] for some in texts], dtype=float)


def _mean(values: Array) -> Measure:
    return lambda kept: float(values[kept].mean())


def _less(values: Array, at: Array) -> Measure:
    """One minus the mean, of those prompts among the kept that have a value."""
    return lambda kept: float(1 - values[kept[at]].mean())


def _spread(values: Array) -> Measure:
    def of(kept: Array) -> float:
        low, middle, high = np.quantile(values[kept], (0.25, 0.5, 0.75))
        return float((high - low) / max(1.0, middle))

    return of


def _in_space(shape: Even, people: Sequence[str], encode: meaning.Encode | None) -> dict[str, list[Measure]]:
    """What is seen when answers are points; every generation's first prompts."""
    prompts, k = min(shape.prompts, max(FEWEST, IN_SPACE // shape.k)), shape.k
    flat = [text for texts in shape.texts for some in texts[:prompts] for text in some]
    real = list(people[:IN_SPACE])
    spots = meaning.points([*flat, *real], encode)
    by = spots[: len(flat)].reshape(len(shape.texts), prompts, k, -1)

    rounds = range(len(shape.texts))
    flattened = by.reshape(len(shape.texts), prompts * k, -1)
    alike = [one @ one.T for one in flattened]
    whose = np.repeat(np.arange(prompts), k)

    def of_all(tell: Measure, at: int) -> Measure:
        def of(kept: Array) -> float:
            ours = kept[whose]
            return tell(alike[at][np.ix_(ours, ours)])

        return of

    told = {"cosine": meaning.apart, "kinds": meaning.kinds}
    found = {name: [of_all(tell, at) for at in rounds] for name, tell in told.items()}
    if len(real) > FEWEST:
        near = [_near(spots[len(flat) :], None, by[at]) for at in rounds]
    elif k > 1:
        # The first generation's own answers are no other than themselves; one half is asked about the other.
        near = [_near(by[0][:, : k // 2], prompts, by[at][:, k // 2 :]) for at in rounds]
    else:
        return found
    return found | {"recall": [one[0] for one in near], "precision": [one[1] for one in near]}


def _near(real: Array, prompts: int | None, made: Array) -> tuple[Measure, Measure]:
    """Recall and precision of what was made, prompt by prompt, beside what is real; that is kept or left out
    with its prompt where it has one.
    """
    rows, each = made.shape[:2]
    real_of = np.repeat(np.arange(rows), real.shape[1]) if prompts else None
    real, made = real.reshape(-1, real.shape[-1]), made.reshape(-1, made.shape[-1])
    across, within, among = (meaning.distances(*two) for two in ((real, made), (real, real), (made, made)))
    made_of = np.repeat(np.arange(rows), each)

    def parts(kept: Array) -> tuple[Array, Array, Array]:
        ours = kept[made_of]
        theirs = np.ones(len(real), dtype=bool) if real_of is None else kept[real_of]
        return across[np.ix_(theirs, ours)], within[np.ix_(theirs, theirs)], among[np.ix_(ours, ours)]

    def recall(kept: Array) -> float:
        apart, _, ours = parts(kept)
        return meaning.covered(apart, meaning.radii(ours))

    def precision(kept: Array) -> float:
        apart, theirs, _ = parts(kept)
        return meaning.covered(apart.T, meaning.radii(theirs))

    return recall, precision
