"""Policies against a baseline whose quality and length are known, and what a judge says of their answers."""

from collections.abc import Sequence

import numpy as np

from jurist.audits.win_rates import AgainstBaseline


def simulate_policies(
    seed: int,
    quality: Sequence[float] | None = None,
    *,
    policies: int = 7,
    prompts: int = 300,
    taste: float = 0.0,
    form: str = "tanh",
    hard: float = 0.1,
) -> tuple[AgainstBaseline, np.ndarray]:
    """What is judged, and each policy's true win rate between answers of equal length.

    The log-odds of a win are the policy's quality, how hard the prompt is for it, what sets this answer
    apart, and `taste` for length, up to two fifths more or less by policy: as published (tanh of the
    standardised difference in characters) or, with `form` "log", for the logarithm of the lengths' ratio.
    Lengths are log-normal. Policies are up to 26% shorter or 82% longer than the baseline, and all write
    longer on hard prompts, by up to twice `hard` for each standard deviation. Each matchup is judged in both
    orders.
    """
    dice = np.random.default_rng(seed)
    wins = dice.uniform(-1.2, 1.2, policies) if quality is None else np.array(quality)
    policies = len(wins)
    grown, at_length = dice.uniform(-0.3, 0.6, policies), dice.uniform(0, 2 * hard, policies + 1)
    heeds = dice.uniform(0.7, 1.3, policies)
    easy = dice.normal(size=prompts)
    shape = (policies, prompts)
    log_length = 6.2 + grown[:, None] + 0.45 * dice.normal(size=shape) - at_length[:-1, None] * easy
    base_log_length = 6.2 + 0.45 * dice.normal(size=prompts) - at_length[-1] * easy
    longer = np.round(np.exp(log_length)) - np.round(np.exp(base_log_length))
    felt = log_length - base_log_length
    if form == "tanh":
        felt = np.tanh(longer / longer.std(axis=1, keepdims=True))
    felt = taste * dice.uniform(0.6, 1.4, (policies, 1)) * felt
    odds = wins[:, None] + heeds[:, None] * easy + 0.7 * dice.normal(size=shape) + felt
    p = (dice.random((2, *shape)) < 1 / (1 + np.exp(-odds))).mean(axis=0)
    # At equal length the log-odds are normal around the quality: their mean by integration.
    at = np.linspace(-8, 8, 4001)
    density = np.exp(-(at**2) / 2) / np.exp(-(at**2) / 2).sum()
    spread = np.sqrt(heeds**2 + 0.7**2)
    truth = (density / (1 + np.exp(-wins[:, None] - spread[:, None] * at))).sum(axis=1)
    policy, prompt = np.indices(shape).reshape(2, -1)
    return AgainstBaseline(p.ravel(), longer.ravel(), policy, prompt), truth
