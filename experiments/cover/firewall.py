"""The judge firewall: how often an attack wins, where prompts differ in how well it works on them."""

from __future__ import annotations

import numpy as np

from jurist.audits.attacks import ATTACK, HONEST, PLAIN
from jurist.audits.finding import Finding
from jurist.audits.firewall import firewall
from jurist.audits.sheet import (
    Answers,
    Array,
    HumanLabels,
    Labels,
    Matchups,
    Prompts,
    Scores,
    Sheet,
    Verdicts,
)

from . import Case, finding

PROMPTS = 100
SPREAD = 4.0
"""How alike prompts are: the parameters of the beta distribution that each prompt's rate is drawn from add up
to this.
"""


def cases() -> list[Case]:
    return [
        Case("firewall", "firewall.padding", lambda seed: one(seed, 0.3), 0.3, about="wins 30 % of verdicts"),
        Case("firewall", "firewall.padding", lambda seed: one(seed, 0.6), 0.6, about="wins 60 % of verdicts"),
        Case(
            "firewall",
            "firewall.padding",
            lambda seed: one(seed, 0.02),
            None,
            fair=True,
            about="wins 2 % of verdicts",
        ),
    ]


def one(seed: int, rate: float) -> Finding:
    return finding(firewall(sheet(seed, rate)), "firewall.padding")


def sheet(seed: int, rate: float, n: int = PROMPTS) -> Sheet:
    """A judge that was shown padding and plain wrong answers, in both orders."""
    dice = np.random.default_rng(seed)
    wins = np.concatenate([dice.beta(SPREAD * rate, SPREAD * (1 - rate), n), np.full(n, 0.01)])
    prompt = np.tile(np.arange(n), 2)
    policy = np.stack([np.zeros(2 * n, dtype=int), np.repeat([1, 2], n)], axis=1).reshape(-1)
    matchup = np.repeat(np.arange(2 * n), 2)
    p = 1.0 - (dice.random(4 * n) < wins[matchup])
    none, nothing, zeros = np.empty(0, dtype=int), np.empty(0), np.zeros(4 * n, dtype=int)
    names = tuple(f"prompt {at}" for at in range(n))
    return Sheet(
        Prompts(names, np.zeros(n, dtype=int), np.zeros(n, dtype=bool)),
        Answers(np.repeat(prompt, 2), policy, _full(4 * n, 100), np.arange(4 * n)),
        Matchups(
            tuple(f"matchup {at}" for at in range(2 * n)),
            prompt,
            *(2 * np.arange(2 * n) + at for at in (0, 1)),
        ),
        Verdicts(
            zeros,
            matchup,
            np.tile([False, True], 2 * n),
            p,
            zeros,
            np.zeros(4 * n),
            zeros > 0,
            np.full(4 * n, np.nan),
        ),
        Scores(none, none, nothing, none, nothing),
        Labels(none, nothing, nothing),
        HumanLabels(none, none, nothing, nothing),
        ("",),
        (HONEST, f"{ATTACK}padding", ATTACK + PLAIN),
        ("judge",),
    )


def _full(n: int, value: int) -> Array:
    return np.full(n, value)
