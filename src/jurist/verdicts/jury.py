"""Several judges, one opinion.

`mean` averages probabilities, `vote` counts heads. Both take for granted that a judge is right more often
than wrong, and that judges do not err together; on adversarial material neither holds, and five judges can
be wrong in chorus. `anchored` learns from people's labels what each judge's word is worth, which may be
less than nothing: a judge that is reliably wrong is turned round. `dawid_skene` guesses reliabilities from
disagreement alone.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from ..errors import DataError, SettingError, nearest
from ..stats.fits import Array, sigmoid
from ..stats.intervals import mean, sign_test
from .calibrate import fit_temperature
from .opinion import Opinion
from .settings import Combine, JuryConfig

EVEN = 1e-9
"""A p this close to a half is a half: adding up two orders leaves dust."""

# A hard yes counts as 0.98, so that one sure judge cannot drown the others in the stack.
EDGE = 0.02

_SIDE = math.log((1 - EDGE) / EDGE)

_by_judge = attrgetter("judge")

MISSING = -1

_MIRROR = {0: 1, 1: 0, 2: 2, MISSING: MISSING}

STACK_FROM = 150
"""Labels from which a regression beats weights by accuracy; below, it has too much to learn from."""

SMALL_GAP = 0.05
"""Seat gaps that stay below this, down to rounding dust, are not scaled up until they look like something."""

REFUSE_FROM = 10
"""Labels below which nothing is refused: chance alone would do it."""

ALIKE = 0.3
"""Error correlation from which Dawid-Skene's probabilities are not to be believed."""

# A member's judge, its p and its seat gap (0 when unknown), told from one and the same seat.
Member = tuple[str, float, float]

Rule = Callable[[Sequence[Member]], float]

Gold = Mapping[str, "Opinion | float"]
"""People's labels by matchup id: an Opinion, aligned by completion ids, or p as seen from the first
opinion's seats.
"""


class Juror(Struct, frozen=True, omit_defaults=True):
    """What is known of one member."""

    judge: str
    weight: float = 1.0
    """What its word adds to the jury's log-odds; below 0 where it is wrong more often than right."""
    gap_weight: float = 0.0
    """Added to the weight for each unit of seat gap: a judge that follows the seat is worth less there."""
    accuracy: float | None = None
    """Share of people's labels it agreed with, ties counting half."""
    n: int = 0
    """Labels that share is over."""
    bias: float = 0.0
    """How far the first seat moves its p, on average: half the mean seat gap."""
    unread: int = 0
    """Matchups of the fit on which it gave nothing usable."""
    says: tuple[tuple[float, ...], ...] = ()
    """Dawid-Skene: chances of its saying first, second or tie, where first is true and where second is."""


class Weights(Struct, frozen=True, omit_defaults=True):
    """A fitted jury: what `combine` needs, and whether the jury deserves its name."""

    combine: Combine
    jurors: tuple[Juror, ...]
    method: Literal["equal", "votes", "stack", "tables"] = "equal"
    """`votes`: weighted by log-odds of accuracy; `stack`: logistic regression; `tables`: Dawid-Skene."""
    temperature: float = 1.0
    """The summed log-odds are divided by this, so that the probability means what it says."""
    n_gold: int = 0
    accuracy: float | None = None
    """Of the jury on people's labels; for weights learnt from those labels, each left out in its turn."""
    rho: float | None = None
    """Mean correlation of the members' errors."""
    effective: float | None = None
    """How many independent judges these are worth: k / (1 + (k - 1) rho)."""
    warning: str = ""


def combine(opinions: Sequence[Opinion], weights: Weights | None, cfg: JuryConfig) -> Opinion:
    """The jury's opinion on one matchup: one opinion a judge in, one out, whatever their order."""
    if not opinions:
        raise DataError(
            "a jury got no opinion at all; name its members: --judge openai:gpt-5-mini --judge shorter"
        )
    # A fixed order, so that neither the sum nor the seats depend on who answered first.
    opinions = sorted(opinions, key=_by_judge) if len(opinions) > 1 else opinions
    head = opinions[0]
    first, second = head.first_id, head.second_id
    members: list[Member] = []
    ids: tuple[str, ...] = ()
    gaps = False
    flips: list[bool] = []
    for o in opinions:
        ids += o.verdict_ids
        p = o.p_first
        if p is None:
            continue
        gap = o.position_gap
        if gap is None:
            gap = 0.0
        else:
            gaps = True
            flips.append(o.flipped)
        if o.first_id == first and o.second_id == second:
            members.append((o.judge, p, gap))
        elif o.first_id == second and o.second_id == first:
            members.append((o.judge, 1.0 - p, -gap))
        else:
            raise DataError(
                f"opinions on different matchups in one jury: {head.matchup_id} and {o.matchup_id}; "
                "group them by matchup_id first"
            )
    if len(members) < max(1.0, cfg.quorum * len(opinions)):
        reasons = {o.unread for o in opinions if o.p_first is None}
        why = reasons.pop() if len(reasons) == 1 and not members else "no quorum"
        return Opinion(head.matchup_id, first, second, "jury", unread=why, verdict_ids=ids)
    rule = _rule(weights, cfg)
    p = rule(members)
    position_gap = None
    if gaps:
        given = rule([(judge, min(max(q + gap / 2, 0.0), 1.0), gap) for judge, q, gap in members])
        turned = rule([(judge, min(max(q - gap / 2, 0.0), 1.0), gap) for judge, q, gap in members])
        position_gap = given - turned
    flipped = 2 * sum(flips) > len(flips)
    return Opinion(head.matchup_id, first, second, "jury", p, "", position_gap, None, ids, flipped)


def _rule(weights: Weights | None, cfg: JuryConfig) -> Rule:
    if cfg.combine == "mean":
        return _mean
    if cfg.combine == "vote":
        return _vote
    if weights is None or weights.combine != cfg.combine:
        raise SettingError(
            f"combine: {cfg.combine} needs weights fitted for it, not "
            f"{weights.combine if weights else 'none'}; fit them first, or set combine: mean"
        )
    known = {juror.judge: juror for juror in weights.jurors}

    def weighed(members: Sequence[Member]) -> float:
        total = 0.0
        for judge, p, gap in members:
            juror = known.get(judge)
            if juror is None:
                raise SettingError(f"{nearest('juror', judge, known)} Fit the weights again with this judge.")
            total += _word(juror, p, gap, weights.method)
        return sigmoid(total / weights.temperature)

    return weighed


def _mean(members: Sequence[Member]) -> float:
    total = 0.0
    for _, p, _ in members:
        total += p
    return total / len(members)


def _vote(members: Sequence[Member]) -> float:
    total = 0.0
    for _, p, _ in members:
        total += 1.0 if p > 0.5 + EVEN else 0.0 if p < 0.5 - EVEN else 0.5
    return total / len(members)


def answer_of(p: float) -> int:
    """0 for first, 1 for second, 2 for a tie."""
    return 0 if p > 0.5 + EVEN else 1 if p < 0.5 - EVEN else 2


def _word(juror: Juror, p: float, gap: float, method: str) -> float:
    """What one member adds to the log-odds. Odd in p, so that turning the seats turns the sum."""
    if method == "tables":
        answer = answer_of(p)
        return math.log(juror.says[0][answer] / juror.says[1][answer])
    if method == "stack":
        side = _SIDE if p > 1 - EDGE else -_SIDE if p < EDGE else math.log(p / (1 - p))
        return (juror.weight + juror.gap_weight * abs(gap)) * side
    return juror.weight * (2 * p - 1)


class Ballots:
    """What one pass over the opinions leaves behind."""

    def __init__(self, keep_patterns: bool) -> None:
        self.keep_patterns = keep_patterns
        self.place: dict[str, int] = {}
        self.gaps: list[list[float]] = []
        self.unread: list[int] = []
        self.patterns: Counter[tuple[tuple[int, ...], float | None]] = Counter()
        self.labels = array("d")
        self.row, self.judge = array("q"), array("q")
        self.p, self.gap = array("d"), array("d")

    def add(self, opinions: Sequence[Opinion], gold: Gold) -> None:
        head = opinions[0]
        label = label_of(gold.get(head.matchup_id), head)
        pattern = [MISSING] * len(self.place)
        for o in opinions:
            j = self.place.get(o.judge)
            if j is None:
                j = self.place[o.judge] = len(self.place)
                self.gaps.append([0.0, 0.0])
                self.unread.append(0)
                pattern.append(MISSING)
            if o.p_first is None:
                self.unread[j] += 1
                continue
            p, gap = o.p_first, o.position_gap
            if gap is not None:
                self.gaps[j][0] += gap
                self.gaps[j][1] += 1
            if o.first_id != head.first_id:
                p = 1.0 - p
            pattern[j] = answer_of(p)
            if label is not None:
                self.row.append(len(self.labels))
                self.judge.append(j)
                self.p.append(p)
                self.gap.append(abs(gap or 0.0))
        if label is not None:
            self.labels.append(label)
        if self.keep_patterns:
            self.patterns[tuple(pattern), label] += 1

    def table(self) -> tuple[Array, Array, Array]:
        """Labelled rows: p of each judge (nan: none), its seat gap, and the label (1: first is better)."""
        shape = (len(self.labels), len(self.place))
        p, gap = np.full(shape, np.nan), np.zeros(shape)
        rows, judges = np.asarray(self.row), np.asarray(self.judge)
        if len(rows):
            p[rows, judges], gap[rows, judges] = np.asarray(self.p), np.asarray(self.gap)
        return p, gap, np.asarray(self.labels)


def label_of(said: Opinion | float | None, head: Opinion) -> float | None:
    """1 where people prefer the first seat, 0 the second; None where they are split or silent."""
    p = said.p_first if isinstance(said, Opinion) else said
    if p is None or abs(p - 0.5) < EVEN:
        return None
    # A label without completion ids was given to the matchup as it came.
    if isinstance(said, Opinion) and said.first_id and said.first_id != head.first_id:
        if said.first_id != head.second_id:
            raise DataError(
                f"the label of matchup {head.matchup_id} is about completion {said.first_id}, not one of the "
                "two; make the labels again from this run's matchups"
            )
        p = 1.0 - p
    return 1.0 if p > 0.5 else 0.0


def answers(p: Array) -> Array:
    """0 where p favours the first seat, 1 the second, 2 neither; nan where there is no p."""
    named = np.where(p > 0.5 + EVEN, 0.0, np.where(p < 0.5 - EVEN, 1.0, 2.0))
    return np.where(np.isnan(p), np.nan, named)


def sided(p: Array, y: Array) -> Array:
    """1 where the judge sided with people, 0 where not, a half where it named neither, nan where unread."""
    said, truth = answers(p), np.where(y > 0.5, 0.0, 1.0)[:, None]
    return np.where(np.isnan(said), np.nan, np.where(said == 2, 0.5, said == truth))


def error_correlation(right: Array) -> float | None:
    """Mean correlation of the judges' errors, over the pairs of judges for which there is one."""
    found = []
    for a in range(right.shape[1]):
        for b in range(a):
            both = ~np.isnan(right[:, a]) & ~np.isnan(right[:, b])
            x, z = right[both, a], right[both, b]
            if len(x) > 2 and x.std() > 0 and z.std() > 0:
                found.append(float(np.corrcoef(x, z)[0, 1]))
    return mean(found) if found else None


def average(values: Array) -> float | None:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else None


def fit_jury(opinions_by_matchup: Iterable[Sequence[Opinion]], gold: Gold, cfg: JuryConfig) -> Weights:
    """Weigh the members on people's labels; refuse to count heads where one member alone does better."""
    ballots = Ballots(cfg.combine == "dawid_skene")
    for opinions in opinions_by_matchup:
        if opinions:
            ballots.add(opinions, gold)
    if not ballots.place:
        raise DataError("no opinions to fit a jury on; label some matchups with its members first")
    p, gap, y = ballots.table()
    right = sided(p, y)
    jurors = tuple(
        Juror(
            judge,
            accuracy=average(right[:, j]),
            n=int((~np.isnan(right[:, j])).sum()),
            bias=ballots.gaps[j][0] / ballots.gaps[j][1] / 2 if ballots.gaps[j][1] else 0.0,
            unread=ballots.unread[j],
        )
        for judge, j in ballots.place.items()
    )
    rho = error_correlation(right)
    bare = Weights(
        cfg.combine,
        jurors,
        n_gold=len(y),
        rho=rho,
        effective=None if rho is None else len(jurors) / (1 + (len(jurors) - 1) * max(rho, 0.0)),
    )
    if cfg.combine == "anchored":
        if not len(y):
            found = (
                f"none of the {len(gold)} given is about a matchup of this run" if gold else "there are none"
            )
            raise SettingError(
                f"combine: anchored learns from people's labels, and {found}; give some with --labels FILE, "
                "or set combine: mean"
            )
        return stack(bare, p, gap, y) if len(y) >= STACK_FROM else weigh_votes(bare, p, right, y)
    if cfg.combine == "dawid_skene":
        return _dawid_skene(bare, ballots, p, y)
    return _equal(bare, p, right, y, cfg)


def _equal(bare: Weights, p: Array, right: Array, y: Array, cfg: JuryConfig) -> Weights:
    if not len(y):
        return bare
    # Votes as probabilities: 1 for first, 0 for second, a half for a tie.
    heads = np.array([1.0, 0.0, 0.5, np.nan])[np.nan_to_num(answers(p), nan=3).astype(int)]
    heads = heads if cfg.combine == "vote" else p
    read = ~np.isnan(heads)
    share = np.where(read, heads, 0).sum(axis=1) / np.maximum(read.sum(axis=1), 1)
    jury = sided(np.where(read.any(axis=1), share, np.nan)[:, None], y)[:, 0]
    done = replace(bare, accuracy=average(jury))
    known = [juror for juror in bare.jurors if juror.n >= REFUSE_FROM]
    if not known:
        return done
    best = max(known, key=lambda juror: (juror.accuracy or 0.0, juror.judge))
    column = right[:, [juror.judge for juror in bare.jurors].index(best.judge)]
    both = ~np.isnan(column) & ~np.isnan(jury)
    n, ours, alone = int(both.sum()), average(jury[both]), average(column[both])
    if ours is None or alone is None or ours >= alone:
        return done
    chance = sign_test(int((column > jury)[both].sum()), int((column < jury)[both].sum()))
    found = (
        f"combine: {cfg.combine} agrees with {ours:.1%} of {n} human labels, judge {best.judge} alone "
        f"with {alone:.1%} (chance alone does that in {chance:.0%} of cases)"
    )
    if cfg.force:
        return replace(done, warning=found)
    raise SettingError(f"{found}; use combine: anchored or the judge {best.judge} alone; or set force: true")


def weigh_votes(bare: Weights, p: Array, right: Array, y: Array) -> Weights:
    """Naive Bayes: each vote counts the log-odds of its judge's accuracy, one imagined hit and miss added."""
    read = ~np.isnan(right)
    hits, n = np.where(read, right, 0).sum(axis=0), read.sum(axis=0)
    word = np.where(read, 2 * p - 1, 0.0)
    # A judge that speaks softly throughout is heard like one that shouts: what tells is how far it goes for
    # its kind.
    loud = np.abs(word).sum(axis=0) / np.maximum((word != 0).sum(axis=0), 1)
    loud = np.where(loud > 0, loud, 1.0)
    weight = np.log((hits + 1) / (n - hits + 1)) / loud
    # Each row weighed by the others only, so that the temperature and the accuracy are honest.
    others_hits, others_n = hits - np.where(read, right, 0), n - read
    honest = (word * np.log((others_hits + 1) / (others_n - others_hits + 1)) / loud).sum(axis=1)
    return finish(bare, weight, np.zeros_like(weight), honest, y, "votes")


def stack(bare: Weights, p: Array, gap: Array, y: Array, folds: int = 10) -> Weights:
    """Ridge-logistic regression on each judge's log-odds, and on them times its seat gap. No intercept: no
    seat is favoured.
    """
    held = np.clip(np.where(np.isnan(p), 0.5, p), EDGE, 1 - EDGE)
    side = np.log(held / (1 - held))
    x = np.concatenate([side, side * gap], axis=1)
    half = len(bare.jurors)
    scale = np.sqrt((x**2).mean(axis=0))
    scale[half:] = np.maximum(scale[half:], SMALL_GAP * scale[:half])
    scale = np.where(scale > 0, scale, 1.0)
    fold = np.arange(len(y)) % folds
    honest = np.zeros(len(y))
    for k in range(folds):
        honest[fold == k] = x[fold == k] / scale @ logistic(x[fold != k] / scale, y[fold != k])
    weight = logistic(x / scale, y) / scale
    return finish(bare, weight[:half], weight[half:], honest, y, "stack")


def logistic(x: Array, y: Array, ridge: float = 1.0) -> Array:
    """Logistic regression without intercept, by Newton's method; `ridge` is the strength of the pull to 0."""
    w = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -500, 500)))
        gradient = x.T @ (p - y) + ridge * w
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(w)), gradient)
        w = w - step
        if np.abs(step).max(initial=0) < 1e-10:
            break
    return w


def finish(
    bare: Weights,
    weight: Array,
    gap_weight: Array,
    honest: Array,
    y: Array,
    method: Literal["votes", "stack", "tables"],
) -> Weights:
    """Attach the weights, and the temperature and accuracy from scores that never saw their own label."""
    said = [sigmoid(score) for score in honest.tolist()]
    # Platt's correction: a handful of labels all foretold must not make the jury certain.
    pull = 1 / (len(y) + 2)
    temperature = fit_temperature(said, [pull + (1 - 2 * pull) * label for label in y.tolist()])
    right = [
        0.5 if abs(s) < 1e-9 else float((s > 0) == (label > 0.5)) for s, label in zip(honest, y, strict=True)
    ]
    jurors = tuple(
        replace(juror, weight=float(w), gap_weight=float(g))
        for juror, w, g in zip(bare.jurors, weight, gap_weight, strict=True)
    )
    return replace(bare, jurors=jurors, method=method, temperature=temperature, accuracy=mean(right))


def _dawid_skene(bare: Weights, ballots: Ballots, p: Array, y: Array) -> Weights:
    """EM over all matchups, each also seen from its other seat: which seat is called first is an accident."""
    k = len(bare.jurors)
    patterns, counts, gold = [], [], []
    for (pattern, label), count in ballots.patterns.items():
        full = pattern + (MISSING,) * (k - len(pattern))
        known = None if label is None else (label, 1 - label)
        for said, truth in ((full, known), (tuple(_MIRROR[a] for a in full), known and (known[1], known[0]))):
            patterns.append(said)
            counts.append(count / 2)
            gold.append(truth)
    says = fit_tables(patterns, counts, gold).says
    jurors = tuple(replace(juror, says=table) for juror, table in zip(bare.jurors, says, strict=True))
    done = replace(bare, jurors=jurors, method="tables")
    if not len(y):
        return replace(
            done, warning="no human labels: Dawid-Skene may have settled upside down; label 30 by hand"
        )
    answer = np.nan_to_num(answers(p)).astype(int)
    tables = np.asarray(says)
    words = np.log(tables[np.arange(k), 0, answer] / tables[np.arange(k), 1, answer])
    scores = np.where(np.isnan(p), 0.0, words).sum(axis=1)
    none = np.zeros(k)
    done = finish(done, none + 1, none, scores, y, "tables")
    best = max(bare.jurors, key=lambda juror: juror.accuracy or 0.0)
    if (done.accuracy or 0.0) < (best.accuracy or 0.0):
        return replace(
            done,
            warning=f"Dawid-Skene agrees with {done.accuracy:.1%} of the human labels, judge {best.judge} "
            f"alone with {best.accuracy:.1%}; use combine: anchored",
        )
    if bare.rho is None or bare.rho < ALIKE:
        return done
    return replace(
        done,
        warning=f"the members err together (correlation {bare.rho:.2f}: {k} of them are worth "
        f"{bare.effective:.1f}), which makes Dawid-Skene falsely sure; use combine: anchored",
    )


class Tables(Struct, frozen=True):
    """What the fit came to."""

    prior: tuple[float, ...]
    """How common each truth is."""
    says: tuple[tuple[tuple[float, ...], ...], ...]
    """`says[judge][truth][answer]`: probability that this judge gives this answer."""
    rounds: int


def fit_tables(
    patterns: Sequence[Sequence[int]],
    counts: Sequence[float],
    gold: Sequence[Sequence[float] | None],
    truths: int = 2,
    answers: int = 3,
    smoothing: float = 1.0,
    rounds: int = 100,
    tolerance: float = 1e-5,
) -> Tables:
    """EM over answer patterns; where `gold` gives the chance of each truth, it is taken as known.

    An answer below `truths` names that truth; the others (a tie) name none. `MISSING` says nothing.
    """
    said = np.asarray(patterns, dtype=np.int64).reshape(len(counts), -1)
    weight = np.asarray(counts, dtype=float)
    known = np.array([g is not None for g in gold], dtype=bool)
    truth = _majority(said, truths)
    for i, g in enumerate(gold):
        if g is not None:
            truth[i] = g
    # Told[judge, answer, pattern]: who said what, once and for all.
    told = np.stack([answer == said.T for answer in range(answers)], axis=1).astype(float)
    before, done = -np.inf, 0
    prior, says = np.full(truths, 1 / truths), np.full((said.shape[1], truths, answers), 1 / answers)
    for done in range(1, rounds + 1):
        weighted = truth * weight[:, None]
        prior = weighted.sum(axis=0) / weighted.sum()
        says = np.einsum("jan,nc->jca", told, weighted) + smoothing
        says = says / np.maximum(says.sum(axis=2, keepdims=True), 1e-300)
        logs = _log(prior)[None, :] + np.einsum("jan,jca->nc", told, _log(says))
        top = logs.max(axis=1, keepdims=True)
        likely = np.exp(logs - top)
        total = likely.sum(axis=1, keepdims=True)
        truth = np.where(known[:, None], truth, likely / total)
        now = float((weight * (top + np.log(total))[:, 0]).sum() / weight.sum())
        if now - before < tolerance and done > 1:
            break
        before = now
    table = tuple(tuple(tuple(row) for row in judge) for judge in says.tolist())
    return Tables(tuple(prior.tolist()), table, done)


def _majority(said: Array, truths: int) -> Array:
    """Where EM starts: the share of votes each truth has; undecided where nobody named one."""
    votes = np.stack([(said == truth).sum(axis=1) for truth in range(truths)], axis=1).astype(float)
    total = votes.sum(axis=1, keepdims=True)
    return np.where(total > 0, votes / np.maximum(total, 1), 1 / truths)


def _log(x: Array) -> Array:
    return np.asarray(np.log(np.maximum(x, 1e-300)))
