"""Does a loop as shipped stop where its policy got worse, and go on where it only stopped getting better?

In simulated loops the true win rate follows a curve of the rounds, none of them Gao's, which the loop fits;
the outside judge finds a binomial share on each round's held-out prompts; the proxy rises. Level loops are
flat, near a ceiling or rise all the way; peaked ones fall again to at most two fifths of the peak's gain.
`reason_to_stop` decides with its defaults. Nulls: never to stop; to stop at the first round below the best so
far and use that; the rule before (a forecast on win rates, 90% intervals apart); and to stop as shipped, but
use the highest as measured.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evidence import record
from jurist.audits.overoptimisation import _fieller
from jurist.recipes.loop.compare import Comparison, Facts, checkpoint_of
from jurist.recipes.loop.settings import CompareConfig, StopConfig
from jurist.recipes.loop.stopping import reason_to_stop
from jurist.stats.fits import expit
from jurist.stats.intervals import student, wilson, z_of

SLOW = "about a minute of one core"
RUNS, SEED, PROMPTS = 2000, 90_000_000, CompareConfig().most
# Held-out prompts, rounds, and the most that is left of the peak's gain; BESIDE is not part of the bar.
SIZES, BESIDE = [(PROMPTS, rounds, 0.4) for rounds in (4, 6, 8, 12)], [(50, 8, 0.4), (PROMPTS, 8, 0.8)]


def level(t: Any, kind: int, dice: np.random.Generator, _: float) -> Any:
    gain = dice.uniform(0.15, 0.45)
    if kind == 0:  # flat
        return np.full(len(t), 0.5 + dice.uniform(0, 0.4))
    if kind == 1:  # up to a ceiling, fast or slowly
        return 0.5 + gain * (1 - np.exp(-t / dice.uniform(0.08, 0.35)))
    if kind == 2:  # up a logistic slope
        return 0.5 + gain * expit((t - dice.uniform(0.1, 0.5)) / dice.uniform(0.05, 0.2))
    return expit(dice.uniform(0.8, 3) * t)  # log-odds that rise


def peaked(t: Any, kind: int, dice: np.random.Generator, most: float) -> Any:
    gain, peak, left = dice.uniform(0.2, 0.4), dice.uniform(0.25, 0.65), dice.uniform(most - 0.4, most)
    odds, down = math.log((0.5 + gain) / (0.5 - gain)), math.log(max(left, 0.05))
    if kind == 0:  # a tent
        return 0.5 + gain * np.interp(t, [0, peak, 1], [0, 1, left])
    if kind == 1:  # the shape of a gamma density, in log-odds
        return expit(odds * (t / peak * np.exp(1 - t / peak)) ** (down / (1 - math.log(peak) - 1 / peak)))
    if kind == 2:  # a bump and a smooth Gaussian process
        shape = np.exp(-((t[:, None] - t) ** 2) / 0.08) + 1e-9 * np.eye(len(t))
        bump = np.exp(down * ((t - peak) / (1 - peak)) ** 2)
        return expit(odds * bump + 0.1 * np.linalg.cholesky(shape) @ dice.normal(size=len(t)))
    # To a ceiling, and from there down a logistic slope.
    return 0.5 + gain * (1 - np.exp(-3 * t / peak)) * (1 - (1 - left) * expit((t - peak - 0.2) / 0.05))


def shipped(facts: Sequence[Facts]) -> int | None:
    """The round to use where it stops, 0 for the initial policy; None to go on."""
    points = [one for one in map(checkpoint_of, facts) if one is not None]
    why = reason_to_stop(facts, points, StopConfig())
    use = why.rpartition("use ")[2]
    return None if not why else int(use) if use.isdigit() else 0


def highest(facts: Sequence[Facts]) -> int:
    return int(np.argmax([0.5, *(one.compared.win_rate or 0.0 for one in facts)]))


def before(facts: Sequence[Facts]) -> int | None:
    """Stops past the upper end of the interval for the peak of Gao's curve through the win rates."""
    wins, se, kl = np.array([(one.compared.win_rate, one.compared.se, one.compared.kl) for one in facts]).T
    gold, d, reach = wins - 0.5, np.sqrt(kl), z_of(0.9) * se
    if len(facts) < 4 or max(0.0, (gold - reach)[:-1].max()) <= gold[-1] + reach[-1]:
        return None
    shape = np.stack([d, -d * np.log(d)], axis=1)
    spread = np.linalg.inv(shape.T / se**2 @ shape)
    a, b = spread @ (shape.T / se**2) @ gold
    high = _fieller(float(a), float(b), spread, student(0.9, 10_000))[2]
    past = d[-1] > math.exp(min(high - 1, 100))
    return int(np.argmax([0.0, *(shape @ [a, b])])) if past else None


RULES: dict[str, Callable[[Sequence[Facts]], int | None]] = {
    "shipped": shipped,
    "never": lambda facts: None,
    "first below": lambda facts: highest(facts) if highest(facts) < len(facts) else None,
    "before": before,
    "highest": lambda facts: highest(facts) if shipped(facts) is not None else None,
}


def outcomes(prompts: int, rounds: int, most: float) -> dict[str, dict[str, float]]:
    """The share of level loops that a rule stops, of peaked ones, and of those with a policy to use that has
    nine tenths of the best gain."""
    counts = {rule: Counter({"level stopped": 0, "peaked stopped": 0, "peaked well": 0}) for rule in RULES}
    for seed in range(SEED, SEED + 2 * RUNS):
        dice, shape = np.random.default_rng(seed), (level, peaked)[seed % 2]
        t = np.arange(1, rounds + 1) / rounds
        truth = np.clip(shape(t, seed // 2 % 4, dice, most), 0.01, 0.99)
        wins, gains = dice.binomial(prompts, truth) / prompts, [0.0, *(truth - 0.5)]
        se = np.maximum(np.sqrt(wins * (1 - wins) / (prompts - 1)), 0.5 / prompts)
        kl = (dice.uniform(2, 6) * t ** dice.uniform(0.5, 1)) ** 2
        known = (Comparison(*two, n=prompts, kl=d) for *two, d in np.array([wins, se, kl]).T.tolist())
        facts = [Facts(at, str(at), proxy=at, compared=one) for at, one in enumerate(known, 1)]
        for name, rule in RULES.items():
            uses = (rule(facts[:seen]) for seen in range(1, rounds + 1))
            use = next((one for one in uses if one is not None), None)
            if use is not None:
                counts[name][f"{shape.__name__} stopped"] += 1
                counts[name]["peaked well"] += shape is peaked and gains[use] >= 0.9 * max(gains)
    return {name: {what: n / RUNS for what, n in some.items()} for name, some in counts.items()}


def main() -> None:
    found = {size: outcomes(*size) for size in SIZES + BESIDE}
    stopped = {name: max(found[size][name]["level stopped"] for size in SIZES) for name in RULES}
    well = {name: min(found[size][name]["peaked well"] for size in SIZES) for name in RULES}
    kept = {name: well[name] for name in RULES if well[name] >= 0.8 and stopped[name] <= 0.05}
    low, high = wilson(well["shipped"] * RUNS, RUNS)
    record(
        "forecast_stops",
        (well["shipped"], round(low, 4), round(high, 4)),
        null={f"{name}, level ones stopped: {stopped[name]:.1%}": well[name] for name in [*RULES][1:]},
        bar=f"{PROMPTS} held-out prompts, 4 to 12 rounds: >= 80 % of peaked loops stopped with a policy to"
        " use that has nine tenths of the best gain; <= 5 % of level loops stopped; no null does as well",
        holds=max(kept, key=kept.__getitem__, default="") == "shipped",
        sizes={f"{n} prompts, {k} rounds, {left:.0%} left": one for (n, k, left), one in found.items()},
    )


if __name__ == "__main__":
    main()
