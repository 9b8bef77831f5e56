"""Over-optimisation: does a policy learn what is wrong with its reward (Gao, Schulman and Hilton 2022)?

The further a policy moves from the initial one, the higher its reward; what the reward stands for rises
with it at first, and then falls. Two things are asked of a loop's rounds. Was a fall measured: is the last
win rate significantly below an earlier one, though the proxy did not fall? And where does a curve through
the rounds peak? Gao's curves are of a score without bounds, so they go through the log-odds of the win rate;
a curve alone stops nothing. Of two judges that scored the same answers: what one makes of the other's best.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from msgspec import Struct

from ..stats.fits import logit, sigmoid
from ..stats.intervals import Estimate, clustered_mean, student, z_of
from .finding import Measure, Point, Series
from .sheet import Array, Sheet, mean_by

Form = Literal["rl", "best_of_n"]
FEWEST: Final = 3
"""Rounds at different distances: a curve with two unknowns goes through any two."""
FEWEST_PROMPTS: Final = 20
NOWHERE: Final = 1000.0
"""The square root of a million nats a completion: a peak beyond is none."""


class Checkpoint(Struct, frozen=True, omit_defaults=True):
    """A policy on its way, compared with the initial one by a judge that it was not trained on."""

    name: str
    kl: float
    """KL(policy | initial policy), in nats a completion."""
    win_rate: float
    se: float
    """Its standard error."""
    n: int
    """Prompts it was compared on."""
    proxy: float | None = None
    """Its score by what it is trained on: one scorer for all checkpoints."""
    by_prompt: Mapping[str, float] = {}
    """The verdicts, where known: on the same prompts, checkpoints are compared more closely."""

    @property
    def d(self) -> float:
        return math.sqrt(max(0.0, self.kl))

    @property
    def log_odds(self) -> float:
        return logit(self.win_rate, 0.5 / (self.n + 1))


INITIAL: Final = Checkpoint("the initial policy", 0.0, 0.5, 0.0, 0)


class Fall(NamedTuple):
    """From an earlier win rate to the last one."""

    earlier: Checkpoint
    size: Estimate
    """Its interval allows for having looked at all earlier ones."""
    proxy_fell: bool


@dataclass(frozen=True)
class GaoCurve:
    """With d the square root of the KL, log-odds of d (a - b ln d) where a policy learns by reward and of
    d (a - b d) for the best of n: they peak at d = exp(a / b - 1) and at a / 2b."""

    form: Form
    a: float
    b: float
    peak: float
    """d where it turns, and its interval; inf where it only rises."""
    low: float
    high: float

    def at(self, d: float) -> float:
        """Log-odds at this distance."""
        return d * (self.a - self.b * (d if self.form == "best_of_n" else math.log(d))) if d > 0 else 0.0


def overoptimisation(checkpoints: Sequence[Checkpoint], form: Form = "rl") -> list[Measure]:
    """Of the checkpoints in the order in which they were made, without the initial policy."""
    if not checkpoints:
        return [Measure("overoptimisation.fallen", missing="not_compared")]
    last, use = checkpoints[-1], policy_to_use(checkpoints)
    fall, curve = measured_fall(checkpoints), fit_gao(checkpoints, form)
    figures: dict[str, Any] = {"earlier": fall.earlier.name, "looked": len(checkpoints)}
    figures |= {"then": fall.earlier.win_rate, "now": last.win_rate, "use": use.name, "kl": use.kl}
    figures |= {"proxy_then": fall.earlier.proxy, "proxy_now": last.proxy}
    figures["proxy_fell" if fall.proxy_fell else "fell"] = fall.size.low > 0
    series = _series(checkpoints, curve)
    fallen = Measure("overoptimisation.fallen", last.name, fall.size, figures, series=series)
    figures, peak = {"rounds": len(checkpoints), "kl": last.kl}, None
    if curve:
        peak = Estimate(curve.peak**2, max(0.0, curve.low) ** 2, curve.high**2, last.n)
        figures |= {"turns" if curve.peak < math.inf else "rises": True}
    return [fallen, Measure("overoptimisation.peak", last.name, peak, figures, missing="few_rounds")]


def measured_fall(checkpoints: Sequence[Checkpoint]) -> Fall:
    """From the earlier one that the last is most significantly below, rather one whose proxy is no higher; at
    Bonferroni's level for all earlier ones."""
    *earlier, last = (INITIAL, *checkpoints)
    spread, freedom = _covariance(checkpoints)
    spread = np.pad(spread, ((1, 0), (1, 0)))
    variance = np.diag(spread)[:-1] + spread[-1, -1] - 2 * spread[:-1, -1]
    reach = student(1 - 0.05 / len(earlier), max(1, freedom)) * np.sqrt(np.maximum(variance, 1e-18))
    falls = []
    for one, far in zip(earlier, reach.tolist(), strict=True):
        size = one.win_rate - last.win_rate
        fell = one.proxy is not None and last.proxy is not None and last.proxy < one.proxy
        worse = (size > far and not fell, size > far, size / far)
        falls.append((worse, Fall(one, Estimate(size, size - far, size + far, last.n), fell)))
    return max(falls, key=lambda one: one[0])[1]


def past_peak(checkpoints: Sequence[Checkpoint], form: Form = "rl") -> tuple[Fall, GaoCurve] | None:
    """Where the fall is significant, the proxy did not fall, and the curve has turned or never rose."""
    fall, curve, d = measured_fall(checkpoints), fit_gao(checkpoints, form), checkpoints[-1].d
    fell = fall.size.low > 0 and not fall.proxy_fell
    return (fall, curve) if fell and curve and (curve.peak < d or curve.at(d) < 0) else None


def policy_to_use(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The best, where each counts a half and its neighbours a quarter: the curve's peak is further off where
    the truth follows another curve, and the highest as measured is often the luckiest (`forecast_stops`)."""
    known = [INITIAL, *checkpoints]
    heights = np.pad([one.log_odds for one in known], 1, mode="edge")
    return known[int(np.convolve(heights, (0.25, 0.5, 0.25), "valid").argmax())]


def fit_gao(checkpoints: Sequence[Checkpoint], form: Form = "rl", level: float = 0.95) -> GaoCurve | None:
    """By weighted least squares on log-odds; None where there are too few.

    a and b are sums of what was measured, so the peak, which depends on a / b, has Fieller's interval: right
    at any n, and open towards the far end where b may be nothing.
    """
    there = [one for one in checkpoints if one.d > 0]
    if len({round(one.d, 6) for one in there}) < FEWEST:
        return None
    d = np.array([one.d for one in there])
    shape = np.stack([d, -d * (d if form == "best_of_n" else np.log(d))], axis=1)
    q = np.array([sigmoid(one.log_odds) for one in there])
    spread, freedom = _covariance(there)
    spread = spread / np.outer(q * (1 - q), q * (1 - q))
    weight = 1 / np.diag(spread)
    maps = np.linalg.pinv(shape.T * weight @ shape) @ (shape.T * weight)
    (a, b), errors = maps @ [one.log_odds for one in there], maps @ spread @ maps.T
    ratios = _fieller(float(a), float(b), errors, student(level, max(1, freedom)))
    turns = [one / 2 if form == "best_of_n" else math.exp(min(one - 1, 100.0)) for one in ratios]
    return GaoCurve(form, float(a), float(b), *(max(0.0, d) if d < NOWHERE else math.inf for d in turns))


def _covariance(checkpoints: Sequence[Checkpoint]) -> tuple[Array, int]:
    """Of the win rates, from the prompts that all were compared on; and its degrees of freedom."""
    variance = np.array([max(one.se, 1e-9) ** 2 for one in checkpoints])
    common = sorted(set.intersection(*(set(one.by_prompt) for one in checkpoints)))
    if len(common) < max(10, len(checkpoints) + 2):
        return np.diag(variance), min(one.n for one in checkpoints) - 1
    verdicts = np.array([[one.by_prompt[name] for name in common] for one in checkpoints])
    found = np.atleast_2d(np.cov(verdicts)) / len(common)
    np.fill_diagonal(found, np.maximum(np.diag(found), variance))
    return found, len(common) - 1


def _fieller(a: float, b: float, errors: Array, t: float) -> tuple[float, float, float]:
    """a / b, and all that it may be: those r for which a - r b may be nothing. inf where b may be nothing."""
    none = math.inf
    aa, ab, bb = (float(one) for one in (errors[0, 0], errors[0, 1], errors[1, 1]))
    square, middle, rest = b * b - t * t * bb, a * b - t * t * ab, a * a - t * t * aa
    inside = middle * middle - square * rest
    ratio = a / b if b > 0 else none
    if square > 0:
        root = math.sqrt(max(0.0, inside))
        return (ratio, (middle - root) / square, (middle + root) / square) if b > 0 else (none, none, none)
    if inside < 0 or square == 0:
        return ratio, -none, none
    # Open: r lies below the one root or above the other, and only what lies ahead is of interest.
    return ratio, min(ratio, (middle - math.sqrt(inside)) / square), none


def _series(checkpoints: Sequence[Checkpoint], curve: GaoCurve | None) -> tuple[Series, ...]:
    """By distance; the proxy is drawn between the lowest and the highest win rate."""
    known, reach = (INITIAL, *checkpoints), z_of(0.95)
    low, high = (pick(one.win_rate for one in known) for pick in (min, max))
    measured = [(one.d, one.win_rate, reach * one.se, one.n) for one in known]
    wins = [Point(d, y, max(0.0, y - far), min(1.0, y + far), n) for d, y, far, n in measured]
    proxies = [(one.d, one.proxy) for one in checkpoints if one.proxy is not None]
    least, most = (pick((value for _, value in proxies), default=0.0) for pick in (min, max))
    scale = (high - low) / ((most - least) or 1.0)
    drawn = [Point(d, low + (value - least) * scale) for d, value in proxies]
    along = [max(one.d for one in checkpoints) * step / 24 for step in range(25)]
    forecast = [Point(d, sigmoid(curve.at(d))) for d in along] if curve else []
    lines = {"win rate": wins, "proxy, rescaled": drawn, "forecast": forecast}
    return tuple(Series(name, tuple(points)) for name, points in lines.items() if points)


def best_of_n(sheet: Sheet) -> list[Measure]:
    """Of every two judges that scored the same answers: whether it is worth something to one that the other
    chooses among all of them, not half."""
    found: list[Measure] = []
    judges = np.unique(sheet.scores.judge).tolist()
    for proxy, other in ((proxy, other) for proxy in judges for other in judges if proxy != other):
        if (scores := _scores_by_both(sheet, proxy, other)) is None:
            continue
        _, k = scores[0].shape
        kl, worth = best_of_n_curve(*scores, range(1, k + 1))
        prompts = np.arange(len(worth))
        line = [Point(n, *clustered_mean(worth[:, n - 1] - worth[:, 0], prompts)) for n in range(1, k + 1)]
        figures: dict[str, Any] = {"k": k, "half": k // 2, "gain": line[-1].y, "kl": kl[:, -1].mean()}
        more = clustered_mean(worth[:, -1] - worth[:, k // 2 - 1], prompts)
        series = (Series("best of n", tuple(line)),)
        about, figures["other"] = sheet.judges[proxy], sheet.judges[other]
        found.append(Measure("overoptimisation.best_of_n", about, more, figures, series=series))
    return found


def _scores_by_both(sheet: Sheet, proxy: int, other: int) -> tuple[Array, Array] | None:
    """A row for each prompt, of those with as many scored answers as most have."""
    scores, n = sheet.scores, len(sheet.answers)
    own = [scores.judge == judge for judge in (proxy, other)]
    both = [mean_by(scores.answer[rows], scores.score[rows], n) for rows in own]
    known = np.flatnonzero(~np.isnan(both[0]) & ~np.isnan(both[1]))
    prompt = sheet.answers.prompt[known]
    known = known[np.argsort(prompt, kind="stable")]
    each = np.bincount(prompt, minlength=len(sheet.prompts))
    prompts_with = np.bincount(each, minlength=2)
    prompts_with[:2] = 0
    k = int(prompts_with.argmax())
    rows = known[np.repeat(each, each) == k].reshape(-1, max(k, 1))
    return (both[0][rows], both[1][rows]) if prompts_with[k] >= FEWEST_PROMPTS else None


def best_of_n_curve(proxy: Array, other: Array, ns: Sequence[int]) -> tuple[Array, Array]:
    """Of the best of n by the proxy, its KL in nats (ties count: five marks tell five answers apart at most)
    and its mean score by the other judge: a row for each prompt, with N scored answers, a column for each n.

    From all N, without bias (Nakano et al. 2021, appendix I): the answer at rank i is chosen with probability
    C(i-1, n-1) / C(N, n). Equal scores share their ranks.
    """
    rows, among = proxy.shape
    order = np.argsort(proxy, axis=1, kind="stable")
    ranked, by_other = (np.take_along_axis(one, order, axis=1) for one in (proxy, other))
    fresh = np.ones((rows, among), dtype=bool)
    fresh[:, 1:] = np.diff(ranked, axis=1) > 0
    tie = np.cumsum(fresh).reshape(rows, among) - 1  # a number for each group of equals, in all rows
    size = np.bincount(tie.reshape(-1))
    shared = (np.bincount(tie.reshape(-1), by_other.reshape(-1)) / size)[tie]
    chosen = [np.diff([math.comb(i, n) / math.comb(among, n) for i in range(among + 1)]) for n in ns]
    kls = [_kl(tie, size, n) for n in ns]
    return np.stack(kls, axis=1), np.stack([shared @ one for one in chosen], axis=1)


def _kl(tie: Array, size: Array, n: int) -> Array:
    """Of each prompt. Equals are a lump of the policy; a score that nobody shares is one of a continuum."""
    rows, among = tie.shape
    first = np.searchsorted(tie.reshape(-1), np.arange(len(size)))
    low, share = first % among / among, size / among
    chosen = (low + share) ** n - low**n
    lump = chosen * np.log(np.maximum(chosen, 1e-300) / share)
    part = np.where(size > 1, lump, _continuum(low + share, n) - _continuum(low, n))
    found: Array = np.bincount(first // among, part, minlength=rows)
    return found


def _continuum(u: Array, n: int) -> Array:
    """The integral from 0 to u of n u^(n-1) ln(n u^(n-1))."""
    logs = np.log(np.maximum(u, 1e-300))
    found: Array = u**n * (math.log(n) + (n - 1) * (logs - 1 / n))
    return found
