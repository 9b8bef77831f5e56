"""How judges agree with labels, and how several of them become one opinion.

`mean` averages probabilities, `vote` counts votes. Both assume that judges are right more often than wrong
and err independently; on adversarial material neither holds. `anchored` learns from labels what each judge's
verdict is worth: one that is reliably wrong gets a negative weight. `dawid_skene` estimates reliabilities
from disagreement alone (Dawid & Skene 1979).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final, Literal, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from ..records import Verdict, is_human
from ..stats.agreement import error_correlation, independent_judges
from ..stats.fits import Array, expit, fit_dawid_skene, fit_logistic, log_odds, logit, out_of_fold, sigmoid
from ..stats.intervals import clustered_share, mean, sign_test
from .calibrate import EDGE, fit_temperature
from .cases import key_of
from .settings import Combine, JuryConfig
from .settle import Opinion

EVEN: Final = 1e-9
"""A p this close to a half is a half: adding up two orders leaves dust."""
UNSAID: Final = -1
MOST: Final = 30_000
"""Labelled matchups that are learnt from; of more, those whose ids hash lowest."""
STACK_FROM: Final = 150
"""Labels from which a regression beats weights by accuracy; below, it has too much to learn from."""
_FEWEST: Final = 10
"""Labels below which no judge is called the best."""
_ALIKE: Final = 0.3
"""Error correlation from which Dawid-Skene's probabilities are not to be believed."""
SIGNIFICANT: Final = 0.05
_FOLDS: Final = 10
TINY: Final = 1e-300


class Agreement(Struct, frozen=True):
    """How often a judge agrees with labels that name one side; its ties count half."""

    accuracy: float
    low: float
    high: float
    """The 95 % interval, in which a prompt counts once."""
    n: int

    def __str__(self) -> str:
        return f"{self.accuracy:.1%} ({self.low:.1%} to {self.high:.1%}, n = {self.n:,})"


def answer_of(p: float) -> int:
    """0 for first, 1 for second, 2 for a tie; `UNSAID` for nan."""
    return 0 if p > 0.5 + EVEN else 1 if p < 0.5 - EVEN else UNSAID if math.isnan(p) else 2


def answers_of(p: Array) -> Array:
    """The same for an array."""
    named = np.where(p > 0.5 + EVEN, 0, np.where(p < 0.5 - EVEN, 1, 2))
    return np.where(np.isnan(p), UNSAID, named)


class Labelled(NamedTuple):
    """What judges said of labelled matchups, one row each, seen from the completion with the lower id."""

    judges: tuple[str, ...]
    p: Array
    """[row, judge]; nan where nothing was read."""
    prompt: Array
    fit: Array
    """Mean of the labels to learn from, 1 for first; nan where there is none."""
    human: Array
    file: Array
    forced: Array
    """[row, judge]: a constraint forced the label."""
    human_agreement: float | None
    """How often two humans who labelled the same matchup said the same."""
    weight: Array
    """How many matchups each stands for: more than one in a spot check."""

    @property
    def known(self) -> Array:
        """Rows whose label to learn from names a side."""
        return np.abs(self.fit - 0.5) > EVEN

    @property
    def first(self) -> Array:
        """1 where it names the first."""
        return (self.fit > 0.5).astype(float)


class _Row(NamedTuple):
    """One labelled matchup."""

    prompt: int
    said: dict[str, float]
    forced: frozenset[str]
    labels: dict[tuple[str, int], tuple[float, bool]]
    weight: float


class LabelTable:
    """Filled in one pass over a run; takes the same memory for any number of matchups."""

    def __init__(self, judges: Iterable[str] = (), count_patterns: bool = False) -> None:
        self.judges = {judge: j for j, judge in enumerate(judges)}
        self.patterns: Counter[tuple[int, ...]] = Counter()
        """How often the judges answered so, over all matchups: what Dawid-Skene learns from."""
        self._rows: dict[str, _Row] = {}
        self.counts_patterns, self._limit = count_patterns, 1 << 64

    def add(
        self,
        prompt_id: str,
        opinions: Sequence[Opinion],
        labels: Sequence[tuple[Verdict, bool]] = (),
        weight: float = 1.0,
    ) -> None:
        """One matchup: an opinion of each judge, and labels with whether to learn from them.

        A matchup may come again with more labels; the last one of each annotator counts.
        """
        said = {o.judge: _told(o) for o in opinions if o.p_first is not None}
        for o in opinions:
            self.judges.setdefault(o.judge, len(self.judges))
        if self.counts_patterns:
            self.patterns[tuple(answer_of(said.get(judge, math.nan)) for judge in self.judges)] += 1
        for label, fits in labels:
            if label.p_first is not None and key_of(label.matchup_id) < self._limit:
                forced = frozenset(o.judge for o in opinions if o.forced)
                new = _Row(key_of(prompt_id), said, forced, {}, weight)
                row = self._rows.setdefault(label.matchup_id, new)
                row.labels[label.judge, label.sample] = _told(label), fits
        if len(self._rows) > MOST:
            keys = {name: key_of(name) for name in self._rows}
            self._limit = sorted(keys.values())[MOST // 2]
            self._rows = {name: row for name, row in self._rows.items() if keys[name] < self._limit}

    def labelled(self) -> Labelled:
        """The labelled matchups as columns."""
        shape = len(self._rows), len(self.judges)
        p, y, forced = np.full(shape, np.nan), np.full((shape[0], 3), np.nan), np.zeros(shape, dtype=bool)
        same = pairs = 0
        for at, row in enumerate(self._rows.values()):
            for judge, said in row.said.items():
                p[at, self.judges[judge]] = said
                forced[at, self.judges[judge]] = judge in row.forced
            humans = [value for (judge, _), (value, _) in row.labels.items() if is_human(judge)]
            files = [value for (judge, _), (value, _) in row.labels.items() if not is_human(judge)]
            y[at] = mean(value for value, fits in row.labels.values() if fits), mean(humans), mean(files)
            same += sum(n * (n - 1) for n in Counter(map(answer_of, humans)).values())
            pairs += len(humans) * (len(humans) - 1)
        prompts = np.array([row.prompt for row in self._rows.values()], dtype=np.uint64)
        fit, human, file = y.T
        agree = same / pairs if pairs else None
        weight = np.array([row.weight for row in self._rows.values()])
        return Labelled(tuple(self.judges), p, prompts, fit, human, file, forced, agree, weight)


def _told(said: Opinion | Verdict) -> float:
    """p, seen from the completion with the lower id."""
    p = said.p_first or 0.0
    return p if said.first_id <= said.second_id else 1.0 - p


def agrees_with_labels(lean: Array, y: Array) -> Array:
    """1 where a judge that leans to first (above 0) or second agrees with the label, a half where it names
    neither; nan where it was not read, or the label names neither.
    """
    side, wanted = (np.where(np.abs(x) < EVEN, 0.0, np.sign(x)) for x in (lean, y - 0.5))
    agrees = np.where(side == 0, 0.5, side == wanted)
    return np.where(np.isnan(side) | np.isnan(wanted) | (wanted == 0), np.nan, agrees)


def measure_agreement(
    lean: Array, y: Array, prompts: Array, weights: Array | None = None, level: float = 0.95
) -> Agreement | None:
    """None where there is no label to agree with."""
    agrees = agrees_with_labels(lean, y)
    read = ~np.isnan(agrees)
    found = clustered_share(agrees[read], prompts[read], level, None if weights is None else weights[read])
    return Agreement(found.value, found.low, found.high, int(read.sum())) if read.any() else None


def measure_agreements(seen: Labelled, leans: Mapping[str, Array]) -> dict[str, dict[str, Agreement]]:
    """With `human` labels and with `file` labels, of each judge about which there is one; that of its forced
    verdicts apart.
    """
    apart = {
        f"{judge}, forced verdicts": np.where(seen.forced[:, j], leans[judge], np.nan)
        for j, judge in enumerate(seen.judges)
    }
    found: dict[str, dict[str, Agreement]] = {}
    for kind, y in (("human", seen.human), ("file", seen.file)):
        for judge, lean in {**leans, **apart}.items():
            one = measure_agreement(lean, y, seen.prompt, seen.weight)
            if one is not None:
                found.setdefault(kind, {})[judge] = one
    return found


class Juror(Struct, frozen=True, omit_defaults=True):
    """What is known of one judge of a jury."""

    judge: str
    weight: float = 1.0
    """What its verdict adds to the jury's log-odds; below 0 where it is wrong more often than right."""
    accuracy: float | None = None
    """Share of the labels it agreed with, ties counting half."""
    n: int = 0
    """Labels that share is over."""
    says: tuple[tuple[float, ...], ...] = ()
    """Dawid-Skene: chances that it says first, second or tie, where first is true and where second is."""


class Weights(Struct, frozen=True, omit_defaults=True):
    """A fitted jury: what `combine` needs, and how it does on the labels."""

    combine: Combine
    jurors: tuple[Juror, ...]
    method: Literal["equal", "votes", "stack", "tables"] = "equal"
    """`votes`: weighted by log-odds of accuracy; `stack`: logistic regression; `tables`: Dawid-Skene."""
    temperature: float = 1.0
    """The summed log-odds are divided by this, so that the probability means what it says."""
    accuracy: float | None = None
    """Of the jury, on labels of prompts that its weights were not learnt from."""
    error_correlation: float | None = None
    """Mean correlation of the judges' errors."""
    effective_judges: float | None = None
    """How many independent judges these are worth."""
    warning: str = ""
    refused: str = ""
    """Why this jury should not label, and what to do."""


def combine(opinions: Sequence[Opinion], weights: Weights | None, cfg: JuryConfig) -> Opinion:
    """The jury's opinion on one matchup: one opinion a judge in, one out, whatever their order."""
    # A fixed order, so that neither the sum nor the positions depend on who answered first.
    first, *others = sorted(opinions, key=attrgetter("judge"))
    each = [first, *(o if o.first_id == first.first_id else o.swapped() for o in others)]
    read = [o for o in each if o.p_first is not None]
    ids = tuple(name for o in each for name in o.verdict_ids)
    found = Opinion(first.matchup_id, first.first_id, first.second_id, "jury", verdict_ids=ids)
    if len(read) < max(1.0, cfg.quorum * len(each)):
        reasons = {o.unread for o in each}
        return replace(found, unread=reasons.pop() if len(reasons) == 1 and not read else "no quorum")
    twice = [(o.position_gap, o.flipped) for o in read if o.position_gap is not None]
    return replace(
        found,
        p_first=_p_of([(o.judge, o.p_first or 0.0) for o in read], weights, cfg.combine),
        position_gap=mean(gap for gap, _ in twice) if twice else None,
        flipped=2 * sum(flipped for _, flipped in twice) > len(twice),
    )


def _p_of(said: Sequence[tuple[str, float]], weights: Weights | None, rule: Combine) -> float:
    if rule == "vote":
        return sum((1.0, 0.0, 0.5)[answer_of(p)] for _, p in said) / len(said)
    if weights is None or weights.combine != rule or weights.method == "equal":
        return sum(p for _, p in said) / len(said)
    jurors, total = {juror.judge: juror for juror in weights.jurors}, 0.0
    for judge, p in said:
        juror = jurors[judge]
        if weights.method == "tables":
            answer = answer_of(p)
            total += math.log(max(juror.says[0][answer], TINY) / max(juror.says[1][answer], TINY))
        else:
            total += juror.weight * (logit(p, EDGE) if weights.method == "stack" else 2 * p - 1)
    return sigmoid(total / weights.temperature)


def fit_jury(
    seen: Labelled, cfg: JuryConfig, patterns: Mapping[tuple[int, ...], int] = {}
) -> tuple[Weights, Array]:
    """What each judge's verdict is worth; and for each row how far the jury leans to first, by weights that
    were learnt from other prompts.
    """
    agrees = agrees_with_labels(seen.p - 0.5, seen.fit[:, None])
    n_labels = int(seen.known.sum())
    rho, k = error_correlation(agrees, seen.prompt).value, len(seen.judges)
    weights = Weights(
        cfg.combine,
        tuple(
            Juror(judge, accuracy=_mean(agrees[:, j]), n=int((~np.isnan(agrees[:, j])).sum()))
            for j, judge in enumerate(seen.judges)
        ),
        error_correlation=None if math.isnan(rho) else rho,
        effective_judges=None if math.isnan(rho) else independent_judges(k, rho),
    )
    if cfg.combine == "dawid_skene" and patterns:
        weights, lean = _dawid_skene(weights, seen, patterns, cfg)
    elif cfg.combine == "anchored" and n_labels:
        weights, lean = _anchored(weights, seen, agrees)
    else:
        votes = np.array([1.0, 0.0, 0.5, np.nan])[answers_of(seen.p)]
        lean = _row_means(votes if cfg.combine == "vote" else seen.p) - 0.5
    read = (~np.isnan(seen.p)).sum(axis=1)
    lean = np.where(read >= max(1.0, cfg.quorum * k), lean, np.nan)
    joint = agrees_with_labels(lean, seen.fit)
    weights = replace(weights, accuracy=_mean(joint))
    if cfg.combine == "anchored" and not n_labels:
        refused = (
            "combine: anchored learns from labels, and has none about a matchup of this run: set"
            " --labels FILE or --labels given, use --jury.combine mean, or export the mean: --force true"
        )
        return replace(weights, refused=refused), lean
    return _compare_with_best(weights, seen, agrees, joint), lean


def _compare_with_best(weights: Weights, seen: Labelled, agrees: Array, joint: Array) -> Weights:
    """A jury that is worse than one of its judges gets a warning; if it counts votes or averages, and is
    significantly worse, it is refused.
    """
    tried = [j for j, juror in enumerate(weights.jurors) if juror.n >= _FEWEST]
    if not tried:
        return weights
    best = max(tried, key=lambda j: (weights.jurors[j].accuracy or 0.0, weights.jurors[j].judge))
    alone = agrees[:, best]
    both = ~np.isnan(alone) & ~np.isnan(joint)
    ours, theirs = _mean(joint[both]) or 0.0, _mean(alone[both]) or 0.0
    if ours >= theirs:
        return weights
    chance = sign_test(int((alone > joint)[both].sum()), int((alone < joint)[both].sum()))
    found = (
        f"combine: {weights.combine} agrees with {ours:.1%} of {int(both.sum())} labels, judge"
        f" {weights.jurors[best].judge} alone with {theirs:.1%}"
    )
    way_out = "use that judge alone"
    if weights.combine != "anchored":
        lean = _anchored(weights, seen, agrees)[1]
        anchored = _mean(agrees_with_labels(lean, seen.fit)[both]) or 0.0
        way_out = f"use --jury.combine anchored ({anchored:.1%})" if anchored >= ours else way_out
    if weights.combine in ("vote", "mean") and chance < SIGNIFICANT:
        refused = (
            f"{found}, significantly more (p = {chance:.2g}): {way_out}, or export all the same: --force true"
        )
        return replace(weights, refused=refused)
    return replace(weights, warning=f"{found} (by chance in {chance:.0%} of cases): {way_out}")


def _anchored(weights: Weights, seen: Labelled, agrees: Array) -> tuple[Weights, Array]:
    """Each verdict counts the log-odds of its judge's accuracy; with many labels a regression decides."""
    known, unread = seen.known, np.isnan(seen.p)
    method: Literal["votes", "stack"] = "stack" if known.sum() >= STACK_FROM else "votes"
    if method == "votes":
        # Confidences are divided by their mean, so that judges with different scales count alike.
        x = np.where(unread, 0.0, 2 * seen.p - 1)
        scale = _row_means(np.where(x == 0, np.nan, np.abs(x))[known].T)
    else:
        x = np.where(unread, 0.0, log_odds(seen.p, EDGE))
        scale = np.sqrt((x[known] ** 2).mean(axis=0))
    scale = np.where(scale > 0, scale, 1.0)

    def fit(train: Array) -> tuple[Array, Array]:
        if method == "stack":
            learnt = fit_logistic(x[train] / scale, seen.first[train])
        else:
            # One imagined hit and miss are added to each.
            hits, n = np.nansum(agrees[train], axis=0), (~np.isnan(agrees[train])).sum(axis=0)
            learnt = np.log((hits + 1) / (n - hits + 1))
        return learnt / scale, x @ (learnt / scale)

    learnt, lean = out_of_fold(fit, known, seen.prompt, STACK_FROM if method == "votes" else _FOLDS)
    jurors = tuple(replace(juror, weight=w) for juror, w in zip(weights.jurors, learnt.tolist(), strict=True))
    return replace(weights, jurors=jurors, method=method, temperature=_heat(lean, seen)), lean


def _dawid_skene(
    weights: Weights, seen: Labelled, patterns: Mapping[tuple[int, ...], int], cfg: JuryConfig
) -> tuple[Weights, Array]:
    """EM over all matchups, each also from its other side: which completion is called first is chance."""
    known, y, k = seen.known, seen.first, len(seen.judges)
    answers, mirror = answers_of(seen.p), np.array([1, 0, 2, UNSAID])
    unlabelled = Counter({one + (UNSAID,) * (k - len(one)): n for one, n in patterns.items()})

    def fit(train: Array) -> tuple[Array, Array]:
        gold = Counter((tuple(answers[at].tolist()), float(y[at])) for at in np.flatnonzero(train))
        rest = unlabelled.copy()
        rest.subtract(Counter(pattern for pattern, _ in gold.elements()))
        rows = [(one, math.nan, n) for one, n in rest.items() if n > 0]
        rows += [(one, label, n) for (one, label), n in gold.items()]
        said = np.array([one for one, _, _ in rows], dtype=np.int64).reshape(-1, k)
        label, n = np.array([(label, n / 2) for _, label, n in rows]).reshape(-1, 2).T
        both = np.concatenate([said, mirror[said]]), np.tile(n, 2), np.concatenate([label, 1 - label])
        _, says = fit_dawid_skene(*both, cfg.smoothing, cfg.tolerance)
        words = np.log(np.maximum(says[:, 0], TINY)) - np.log(np.maximum(says[:, 1], TINY))
        return says, np.where(answers == UNSAID, 0.0, words[np.arange(k), answers]).sum(axis=1)

    says, lean = out_of_fold(fit, known, seen.prompt, _FOLDS)
    tables = [tuple(map(tuple, table)) for table in says.tolist()]
    jurors = tuple(replace(juror, says=table) for juror, table in zip(weights.jurors, tables, strict=True))
    weights = replace(weights, jurors=jurors, method="tables")
    rho = weights.error_correlation or 0.0
    if not known.any():
        warning = "without labels Dawid-Skene may have settled upside down; label 30 matchups: --labels FILE"
        return replace(weights, warning=warning), lean
    if rho >= _ALIKE:
        warning = (
            f"the judges err together (correlation {rho:.2f}: {k} of them are worth"
            f" {weights.effective_judges:.1f}), which makes Dawid-Skene falsely sure;"
            " use --jury.combine anchored"
        )
        weights = replace(weights, warning=warning)
    return replace(weights, temperature=_heat(lean, seen)), lean


def _heat(lean: Array, seen: Labelled) -> float:
    return fit_temperature(expit(lean[seen.known]), seen.first[seen.known])


def _row_means(values: Array) -> Array:
    """The mean of what was read in each row, nan where nothing was."""
    read = ~np.isnan(values)
    total, n = np.where(read, values, 0.0).sum(axis=1), read.sum(axis=1)
    return np.asarray(total / np.where(n > 0, n, np.nan))


def _mean(values: Array) -> float | None:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else None
