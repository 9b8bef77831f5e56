"""How many human labels answer a question: numbers of labels, rounded up."""

from __future__ import annotations

import math
from statistics import NormalDist

from .intervals import z_of


def for_interval(share: float, half: float, level: float = 0.95) -> int:
    """To know a share to within so much on either side."""
    return _up(z_of(level) ** 2 * share * (1 - share) / half**2)


def for_two_judges(difference: float, discordance: float, power: float = 0.8, level: float = 0.95) -> int:
    """To tell that one judge is right this much oftener than another on the same pairs (McNemar).

    `discordance` is the share of the pairs on which just one of them is right; at least the difference.
    """
    reach, sure = z_of(level), NormalDist().inv_cdf(power)
    spread = reach * math.sqrt(discordance) + sure * math.sqrt(discordance - difference**2)
    return _up(spread**2 / difference**2)


def for_position_bias(first_share: float, power: float = 0.8, level: float = 0.95) -> int:
    """Flipped pairs, to tell from a half the share that went with the first position."""
    reach, sure = z_of(level), NormalDist().inv_cdf(power)
    spread = reach / 2 + sure * math.sqrt(first_share * (1 - first_share))
    return _up(spread**2 / (first_share - 0.5) ** 2)


def for_no_error(alpha: float, level: float = 0.95) -> int:
    """To certify that at most `alpha` of a batch is wrong, when none of those read is."""
    return _up(math.log(1 - level) / math.log(1 - alpha))


def smallest_certified(n: int, level: float = 0.95) -> float:
    """The smallest error rate that n labels can certify: with none wrong among them."""
    return float(-math.expm1(math.log(1 - level) / n)) if n else 1.0


def design_effect(per_prompt: float, likeness: float) -> float:
    """Labels of the same prompt tell less than as many of different ones: 1 + (m - 1) ICC."""
    return 1 + (per_prompt - 1) * likeness


def saved_by_judge(rho: float, judged: float = math.inf, labels: float = 0.0) -> float:
    """What a human label is worth when a judge that correlates with humans by rho has read them all."""
    known = 1.0 if math.isinf(judged) else judged / (judged + labels)
    return 1 / (1 - rho**2 * known)


def human_accuracy(agreement: float) -> float:
    """How often each of two humans is right who agree so often: h in h^2 + (1 - h)^2."""
    return (1 + math.sqrt(max(0.0, 2 * agreement - 1))) / 2


def _up(n: float) -> int:
    return math.ceil(n - 1e-9)  # a whole number that rounding left a hair above itself is that number
