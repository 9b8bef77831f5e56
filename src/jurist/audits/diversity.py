"""Diversity: do a loop's answers grow alike?

A loop that learns from its own answers contracts, and choosing the best of them makes it contract faster
(Alemohammad et al. 2023): quality may hold while rare but good answers die out. Each policy is set beside the
initial one at equal amounts: the same prompts, as many answers to each, and where a longer text would repeat
itself more, each answer cut to as many words as its counterpart has.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct

from ..errors import MissingExtra
from ..preferences.pairs import is_refusal
from ..stats.intervals import Estimate, student
from .finding import Measure, Point, Series
from .sheet import Array

FEWEST: Final = 10
"""Prompts without which nothing is said."""
MOST_PROMPTS: Final = 400  # more of them cost time and move no finding
AMONG: Final = 1000
"""Word pairs among which the different ones are counted, wherever there are so many."""
BLEU_PROMPTS: Final = 100
NEIGHBOURS: Final = 5
SPLITS: Final = 40
IN_A_HALF: Final = 0.4
"""Share of all text that is in any half of the prompts."""
LOSSES: Final = ("distinct_2", "unique", "self_bleu", "compression", "recall")
"""Reported as a share lost; the others as a difference of shares."""
WORD: Final = re.compile(r"[぀-ヿ一-鿿]|\w+|[^\w\s]")

Texts = list[list[str]]
"""By prompt and answer."""
Encode = Callable[[Sequence[str]], Array]
"""Texts to points, a row each."""
Statistic = Callable[[Array], float]
"""Of the prompts that are kept."""


class Generation(Struct, frozen=True):
    """A policy at one time, by its answers."""

    name: str
    answers: Mapping[str, Sequence[str]]
    """The texts, by the prompt's id."""
    round: int = 0
    synthetic: float | None = None
    """Share of the rows it learnt from that models wrote."""


class Matched(NamedTuple):
    """The answers of two policies to the same prompts, as many to each; and the same, each two cut alike."""

    whole: list[Texts]
    cut: list[Texts]
    k: int

    @property
    def prompts(self) -> int:
        return len(self.whole[0])


class Change(NamedTuple):
    before: float
    after: float
    estimate: Estimate


def diversity(
    generations: Sequence[Generation], encode: Encode | None = None, seed: int = 0
) -> list[Measure]:
    """The last generation beside the first, and the way there. Recall takes an encoder."""
    if len(generations) < 2:
        return [Measure("diversity.distinct_2", missing="one_round")]
    first, last, found = generations[0], generations[-1], []
    if last.synthetic is not None and last.round > 1:
        # One round on a model's answers is distillation; feeding on itself begins with the second.
        share = Estimate(last.synthetic, last.synthetic, last.synthetic, last.round)
        found = [Measure("diversity.synthetic", last.name, share)]
    matched = {one.name: match(first, one) for one in generations[1:]}
    if (n := matched[last.name].prompts) < FEWEST:
        figures: dict[str, Any] = {"prompts": n, "fewest": FEWEST}
        return [Measure("diversity.distinct_2", "", None, figures, missing="few_prompts"), *found]
    seen = {name: changes(one, encode, seed) for name, one in matched.items() if one.prompts >= FEWEST}
    for name, (before, after, change) in seen[last.name].items():
        figures = {"first": first.name, "before": before, "after": after}
        figures["folder"] = last.name.replace(" ", "-")
        drawn = _series(seen) if name == "distinct_2" else ()
        found.append(Measure(f"diversity.{name}", last.name, change, figures, series=drawn))
    return found


def _series(seen: Mapping[str, Mapping[str, Change]]) -> tuple[Series, ...]:
    """What is left of each, round by round."""
    found = []
    for name in LOSSES:
        losses = [(about, of[name].estimate) for about, of in seen.items() if name in of]
        points = tuple(Point(about, 1 - e.value, 1 - e.high, 1 - e.low, e.n) for about, e in losses)
        found.append(Series(name, points))
    return tuple(one for one in found if one.points)


def match(first: Generation, last: Generation) -> Matched:
    """The prompts that both answered, each as often as four fifths of the prompts allow."""
    common = [name for name in first.answers if name in last.answers]
    counts = np.array([min(len(one.answers[name]) for one in (first, last)) for name in common], dtype=int)
    k = int(np.quantile(counts, 0.2, method="lower")) if len(counts) else 0
    k = k or min(1, int(counts.max(initial=0)))
    names = [name for name, n in zip(common, counts, strict=True) if k and n >= k][:MOST_PROMPTS]
    whole = [[list(one.answers[name][:k]) for name in names] for one in (first, last)]
    cut = [cut_alike(*two) for two in zip(*whole, strict=True)]
    return Matched(whole, [[two[side] for two in cut] for side in (0, 1)], k)


def cut_alike(some: Sequence[str], others: Sequence[str]) -> tuple[list[str], list[str]]:
    """The shortest beside the shortest, and so on; each two cut to as many words."""
    cut: tuple[list[str], list[str]] = ([], [])
    ranked = (sorted(texts, key=lambda text: len(WORD.findall(text))) for texts in (some, others))
    for two in zip(*ranked, strict=True):
        n = min(len(WORD.findall(text)) for text in two)
        for side, text in zip(cut, two, strict=True):
            ends = [word.end() for word in islice(WORD.finditer(text), n)]
            side.append(text[: ends[-1]] if ends else "")
    return cut


def changes(matched: Matched, encode: Encode | None = None, seed: int = 0) -> dict[str, Change]:
    """What became of each measure, with its interval: by how much two halves of the prompts differ, divided
    many times. A bootstrap draws prompts twice, and twice the same is what is measured; and what jumps from
    one prompt to the next is too rough for a jackknife (Shao and Wu 1989).
    """
    n, dice, found = matched.prompts, np.random.default_rng(seed), {}
    ones = np.stack([dice.permutation(n) < (n + at % 2) // 2 for at in range(SPLITS)])
    halves = np.stack([ones, ~ones], axis=1).reshape(2 * SPLITS, n)
    for name, both in statistics_of(matched, encode, dice).items():
        before, after = (np.array([statistic(half) for half in halves]) for statistic in both)
        if name in LOSSES and not (np.minimum(before, after) > 0).all():
            continue  # nothing was written, or nothing is left to lose
        change = 1 - after / before if name in LOSSES else after - before
        apart = change[::2] - change[1::2]
        # Two halves of n differ with four times the variance of the mean over all n.
        error = math.sqrt(float(apart @ apart) / len(apart)) / 2
        value, reach = float(change.mean()), student(0.95, max(2, min(SPLITS, n - 1))) * error
        estimate = Estimate(value, value - reach, value + reach, n)
        found[name] = Change(float(before.mean()), float(after.mean()), estimate)
    return found


def statistics_of(
    matched: Matched, encode: Encode | None, dice: np.random.Generator
) -> dict[str, list[Statistic]]:
    """Each measure, of the first and of the last policy; where amounts count, of the cut answers."""
    whole, cut, k = matched
    pairs = [word_pairs(texts) for texts in cut]
    among = min(AMONG, *(int(IN_A_HALF * len(one)) for one in pairs))
    size = min(int(IN_A_HALF * sum(len(text.encode()) for some in texts for text in some)) for texts in cut)
    found: dict[str, list[Statistic]] = {"distinct_2": [partial(one.distinct, among=among) for one in pairs]}
    found["compression"] = [partial(compressed, texts, size=size) for texts in cut]
    if k > 1:
        some = dice.permutation(matched.prompts)[:BLEU_PROMPTS]
        found["unique"] = [_mean(unique(texts)) for texts in whole]
        found["self_bleu"] = [_mean(less_self_bleu([texts[at] for at in some]), some) for texts in cut]
        found |= {"recall": recall(cut, encode)} if encode else {}
    declined = [np.array([sum(map(is_refusal, some)) / k for some in texts]) for texts in whole]
    return found | {"refusals": [_mean(shares) for shares in declined]}


def _mean(values: Array, rows: Array | None = None) -> Statistic:
    """Of the kept prompts that have a value."""
    return lambda kept: float(values[kept if rows is None else kept[rows]].mean())


class Things:
    """Things that repeat (word pairs, sentences), by prompt."""

    def __init__(self, by_prompt: Iterable[Iterable[str]]) -> None:
        codes: dict[str, int] = {}
        rows = [(at, codes.setdefault(one, len(codes))) for at, some in enumerate(by_prompt) for one in some]
        self._prompt, self._code = np.array(rows, dtype=np.int64).reshape(-1, 2).T

    def __len__(self) -> int:
        return len(self._code)

    def _counts(self, kept: Array) -> Array:
        return np.bincount(self._code[kept[self._prompt]], minlength=1)

    def distinct(self, kept: Array, among: int) -> float:
        """Share of different ones among so many sampled from all (Hurlbert 1971): no sample is taken."""
        times = np.bincount(self._counts(kept))
        total = int(np.arange(len(times)) @ times)
        among = min(among, total)
        seen = np.flatnonzero(times[1:]) + 1
        missed = [_missed(total, int(count), among) for count in seen]
        return float(times[seen] @ (1 - np.array(missed))) / among if among else math.nan


def _missed(total: int, count: int, among: int) -> float:
    """The chance that none of `count` is among those sampled, without putting any back."""
    if total - count < among:
        return 0.0
    left = math.lgamma(total - count + 1) - math.lgamma(total - count - among + 1)
    return math.exp(left - math.lgamma(total + 1) + math.lgamma(total - among + 1))


def word_pairs(texts: Texts) -> Things:
    return Things([pair for text in some for pair in _ngrams(_words(text), 2)] for some in texts)


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _ngrams(words: Sequence[str], n: int) -> list[str]:
    return [" ".join(words[at : at + n]) for at in range(len(words) - n + 1)]


def compressed(texts: Texts, kept: Array, size: int) -> float:
    """Bytes that zlib leaves of so many; 1 over the compression ratio."""
    # First every prompt's first answer: zlib sees 32 kB back, and should see other prompts there.
    rows = [text for some in zip(*(texts[row] for row in np.flatnonzero(kept)), strict=True) for text in some]
    raw = "\n".join(rows).encode()[:size]
    return len(zlib.compress(raw, 6)) / len(raw) if raw else math.nan


def unique(texts: Texts) -> Array:
    """Share of different answers among those to one prompt, prompt by prompt."""
    return np.array([len({" ".join(one.split()) for one in some}) / len(some) for some in texts])


def less_self_bleu(texts: Texts) -> Array:
    """1 - how far each answer can be put together from the others to the same prompt: BLEU-4, prompt by
    prompt (Zhu et al. 2018 take the answers to everything; then prompts that differ look like diversity).
    """
    found = []
    for some in texts:
        known = [_words(one) for one in some]
        counts = [[Counter(_ngrams(words, n)) for n in range(1, 5)] for words in known]
        scores = [bleu(counts[i], counts[:i] + counts[i + 1 :]) for i in range(len(known))]
        found.append(1 - sum(scores) / len(scores))
    return np.array(found)


def bleu(own: Sequence[Counter[str]], others: Sequence[Sequence[Counter[str]]]) -> float:
    """Papineni et al. 2002, with one added above and below from pairs of words on (Lin and Och 2004)."""
    logs = 0.0
    for n, counts in enumerate(own):
        met = sum(min(times, max(one[n][gram] for one in others)) for gram, times in counts.items())
        extra = n > 0
        if not met + extra:
            return 0.0
        logs += math.log((met + extra) / (counts.total() + extra)) / len(own)
    long, *lengths = (one[0].total() for one in (own, *others))
    near = min((abs(other - long), other) for other in lengths)[1]
    return math.exp(logs + min(0.0, 1 - near / long))


# Answers as points, near each other where they say the same.


def encoder(name: str) -> Encode:
    """A model of sentence-transformers, by its folder or its name on the hub."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise MissingExtra("an encoder of meanings", "sentence-transformers", "diversity") from None
    model = SentenceTransformer(name)
    return lambda texts: np.asarray(model.encode(list(texts), show_progress_bar=False), dtype=float)


def recall(cut: Sequence[Texts], encode: Encode) -> list[Statistic]:
    """Share of half of the first policy's answers that lie as near to one of its other half, and to one of
    half of the last's, as that one's fifth neighbour (Kynkäänniemi et al. 2019).
    """
    raw = encode([text for texts in cut for some in texts for text in some])
    points = raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12)
    by = points.reshape(2, len(cut[0]), len(cut[0][0]), -1)
    return [partial(_covered, by[0][:, ::2], one[:, 1::2]) for one in by]


def _covered(real: Array, made: Array, kept: Array) -> float:
    real, made = (side[kept].reshape(-1, side.shape[-1]) for side in (real, made))
    within, at = _distances(made, made), min(NEIGHBOURS, len(made) - 1)
    return float((_distances(real, made) <= np.partition(within, at, axis=1)[:, at]).any(axis=1).mean())


def _distances(some: Array, others: Array) -> Array:
    # Rounded, so that equal answers are at no distance, whatever the order in which they were added up.
    found: Array = np.sqrt(np.maximum(0.0, 2 - 2 * some @ others.T)).round(6)
    return found
