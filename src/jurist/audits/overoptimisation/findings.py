"""What the checkpoints of a policy say about its reward, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from ...stats.intervals import clustered_mean, z_of
from ..finding import Chart, Finding, Grade, Point, Series
from ..sheet import Array, Sheet
from .best_of_n import Curve, best_of_n_curve
from .forecast import FEWEST, Checkpoint, Fit, Form, fitted

SURE: Final = 0.9
"""Of the intervals that must lie apart before a fall is called one: a false alarm in a hundred."""
FEWEST_PROMPTS: Final = 20
START: Final = Checkpoint("the start", 0.0, 0.0, 0.0, 0.0)
"""With which all others are compared, so it is as good as itself, for sure."""


def overoptimisation(checkpoints: Sequence[Checkpoint], form: Form = "rl") -> list[Finding]:
    """From the checkpoints in the order in which they were made; the start need not be among them."""
    if not checkpoints:
        advice = "name a judge that is not trained on: --compare.judge openai:gpt-5-mini"
        says = "Not measured: nobody from outside compared the policies with their start."
        return [Finding("overoptimisation.fallen", says=says, grade="silent", advice=advice)]
    return [_fallen(checkpoints, form), _forecast(checkpoints, form)]


def turned(checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
    """The earlier checkpoint that is surely better than the last one, while the proxy says otherwise."""
    *earlier, last = checkpoints
    better = [
        one
        for one in (START, *earlier)
        if (one.proxy is None or last.proxy is None or last.proxy > one.proxy)
        and one.within(SURE)[0] > last.within(SURE)[1]
    ]
    return max(better, key=lambda one: one.gold, default=None)


def past_peak(checkpoints: Sequence[Checkpoint], form: Form = "rl") -> Fit | None:
    """The curve, where the last checkpoint surely lies beyond its peak. Waiting until that is sure costs a
    checkpoint or two more, and the curve then shows far better which of them to go back to.
    """
    fit = fitted(checkpoints, form, SURE)
    return fit if fit and checkpoints[-1].d > fit.high else None


def to_use(checkpoints: Sequence[Checkpoint], form: Form = "rl") -> Checkpoint:
    """The highest on the curve, or as measured where there is no curve."""
    fit = fitted(checkpoints, form)
    return max((*checkpoints, START), key=lambda one: fit.at(one.d) if fit else one.gold)


def _fallen(checkpoints: Sequence[Checkpoint], form: Form) -> Finding:
    last, top = checkpoints[-1], max((*checkpoints, START), key=lambda one: one.gold)
    n = len(last.by_prompt) or len(checkpoints)
    error = math.hypot(last.error, top.error) if top is not last else 0.0
    value = last.gold - top.gold
    # The best so far was picked for being high: its lead over any of the others has to be in the interval.
    reach = z_of(1 - 0.05 / max(1, len(checkpoints) - 1)) * error
    low, high = value - reach, value + reach
    surely = turned(checkpoints)
    grade: Grade = "alarm" if surely else "fine"
    says = f"The outside judge likes {last.name} best so far ({last.gold:+.3f} over the start)."
    if top is not last:
        says = (
            f"The outside judge liked {top.name} best ({top.gold:+.3f} over the start) and now likes"
            f" {last.name} {-value:.3f} less ({last.gold:+.3f})"
        )
        rises = top.proxy is not None and last.proxy is not None and last.proxy > top.proxy
        says += f", while the reward rose from {top.proxy:.3g} to {last.proxy:.3g}." if rises else "."
        grade = grade if surely or high >= 0 else "warning"
    advice = ""
    if grade != "fine":
        use = to_use(checkpoints, form)
        advice = f"use the policy of {use.name} (KL {use.kl:.3g}), and hold the next one nearer to its start"
    return Finding(
        "overoptimisation.fallen",
        last.name,
        says,
        grade,
        n,
        value,
        low,
        high,
        "number",
        0.0,
        advice,
        chart(checkpoints, fitted(checkpoints, form)),
    )


def _forecast(checkpoints: Sequence[Checkpoint], form: Form) -> Finding:
    name, last = "overoptimisation.peak", checkpoints[-1]
    fit = fitted(checkpoints, form)
    if fit is None:
        says = (
            f"No forecast: {len(checkpoints)} checkpoints were compared with the start, and a curve takes"
            f" {FEWEST} at different distances."
        )
        return Finding(name, last.name, says, "silent", advice=f"go on to {FEWEST} rounds: --rounds {FEWEST}")
    n = len(last.by_prompt) or len(checkpoints)
    if fit.peak == math.inf:
        says = f"Nothing shows yet that the outside judge's liking has a peak: it rises up to {last.name}"
        return Finding(name, last.name, f"{says} (KL {last.kl:.3g}).", "fine", n)
    far = f"{fit.high**2:.3g}" if fit.high < math.inf else "no end in sight"
    says = (
        f"The outside judge's liking is forecast to peak at a KL of {fit.peak**2:.3g} nats an answer"
        f" (95% interval {max(0.0, fit.low) ** 2:.3g} to {far}); {last.name} is at {last.kl:.3g}."
    )
    grade: Grade = "alarm" if last.d > fit.high else "warning" if last.d > fit.peak else "fine"
    advice = ""
    if grade != "fine":
        use = to_use(checkpoints, form)
        advice = (
            f"use the policy of {use.name}, at a KL of {use.kl:.3g}; or train again with the KL held:"
            f" --ppo.kl_target {fit.peak**2:.2g}"
        )
    return Finding(
        name,
        last.name,
        says,
        grade,
        n,
        fit.peak,
        max(0.0, fit.low),
        fit.high if fit.high < math.inf else None,
        "number",
        advice=advice,
    )


def chart(checkpoints: Sequence[Checkpoint], fit: Fit | None) -> Chart:
    """Proxy and gold against the distance, each as a share of the most it gained."""
    most = max((abs(one.gold) for one in checkpoints), default=0.0) or 1.0
    gold = [Point(round(one.d, 4), one.gold / most, one.low / most, one.high / most) for one in checkpoints]
    series = [Series("outside judge", (Point(0.0, 0.0), *gold))]
    proxies = [(one.d, one.proxy) for one in checkpoints if one.proxy is not None]
    if len(proxies) > 1:
        low, high = (bound(value for _, value in proxies) for bound in (min, max))
        scale = (high - low) or 1.0
        drawn = (Point(round(d, 4), (value - low) / scale) for d, value in proxies)
        series.append(Series("reward, from its lowest to its highest", tuple(drawn)))
    if fit is not None:
        far = max(one.d for one in checkpoints)
        along = [far * step / 24 for step in range(25)]
        series.append(Series("forecast", tuple(Point(round(d, 4), fit.at(d) / most) for d in along)))
    return Chart(
        "lines",
        "Reward and outside judge by distance from the start",
        tuple(series),
        x="square root of the KL, in nats an answer",
        y="gain, as a share of the most",
        unit="number",
    )


def best_of_n(sheet: Sheet) -> list[Finding]:
    """For every two judges that scored the same answers: what one thinks of what the other would choose."""
    found = []
    judges = np.unique(sheet.scores.judge).tolist()
    for proxy in judges:
        for gold in judges:
            if proxy != gold and (curve := _curve(sheet, proxy, gold)) is not None:
                found.append(_chosen_by(curve, sheet.judges[proxy], sheet.judges[gold]))
    return found


def _curve(sheet: Sheet, proxy: int, gold: int) -> Curve | None:
    """Over the prompts with the number of scored answers that most prompts have."""
    both = [_mean_scores(sheet, judge) for judge in (proxy, gold)]
    known = np.flatnonzero(~np.isnan(both[0]) & ~np.isnan(both[1]))
    prompt = sheet.answers.prompt[known]
    known = known[np.argsort(prompt, kind="stable")]
    each = np.bincount(prompt, minlength=len(sheet.prompts))
    prompts_with = np.bincount(each)
    prompts_with[:2] = 0
    k = int(prompts_with.argmax())
    if prompts_with[k] < FEWEST_PROMPTS:
        return None
    rows = known[np.repeat(each, each) == k].reshape(-1, k)
    return best_of_n_curve(both[0][rows], both[1][rows], range(1, k + 1))


def _mean_scores(sheet: Sheet, judge: int) -> Array:
    own = (sheet.scores.judge == judge) & ~np.isnan(sheet.scores.score)
    answers, n = sheet.scores.answer[own], len(sheet.answers)
    counts = np.bincount(answers, minlength=n)
    sums = np.bincount(answers, sheet.scores.score[own], minlength=n)
    found: Array = np.divide(sums, counts, out=np.full(n, np.nan), where=counts > 0)
    return found


def _chosen_by(curve: Curve, proxy: str, gold: str) -> Finding:
    """What the last of the n gain over one answer drawn at random, and whether fewer would gain more."""
    prompts = np.arange(len(curve.gold))
    means = curve.gold.mean(axis=0).tolist()
    top, k = means.index(max(means)), curve.n[-1]
    value, low, high, n = clustered_mean(curve.gold[:, -1] - curve.gold[:, 0], prompts)
    _, _, down, _ = clustered_mean(curve.gold[:, -1] - curve.gold[:, top], prompts)
    grade: Grade = "alarm" if high < 0 else "warning" if top < len(means) - 1 and down < 0 else "fine"
    says = (
        f"The best of {k} answers as {proxy} sees them is worth {value:+.3f} more to {gold} than one drawn"
        f" blindly (95% interval {low:+.3f} to {high:+.3f}, {n} prompts; KL {curve.kl[:, -1].mean():.2f})."
    )
    advice = ""
    if grade != "fine":
        says += f" Among {curve.n[top]} it would be worth {means[top] - means[0]:+.3f}."
        advice = f"choose among {curve.n[top]}: -k {curve.n[top]}; or let both judges score: a jury of them"
    points = [
        Point(one, mean - means[0], *clustered_mean(curve.gold[:, at] - curve.gold[:, 0], prompts)[1:3], n)
        for at, (one, mean) in enumerate(zip(curve.n, means, strict=True))
    ]
    drawn = Chart(
        "lines",
        f"What {gold} thinks of the best by {proxy}",
        (Series(gold, tuple(points)),),
        x="answers chosen from",
        y="score over one drawn blindly",
        unit="number",
    )
    return Finding(
        "overoptimisation.best_of_n",
        proxy,
        says,
        grade,
        n,
        value,
        low,
        high,
        "number",
        advice=advice,
        chart=drawn,
    )
