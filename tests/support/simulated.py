"""Judges whose faults are known because they were drawn from a formula: no texts, only what a run would hold.

The log-odds for the first of two answers are a sharpness times the difference of their true qualities,
plus what it gives to the first position, to each standard deviation of length, and to an answer of its own
family. Enough to try every audit on data whose answer is in the setting.
"""

from dataclasses import dataclass

import numpy as np

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


@dataclass(frozen=True)
class Simulated:
    """One judge. All but the last are log-odds, or standard deviations of them."""

    name: str = "simulated:judge"
    sharpness: float = 2.0
    """For each standard deviation of true quality; 0 is a coin."""
    slot: float = 0.0
    """For the first position."""
    slot_spread: float = 0.0
    """Standard deviation of `slot` between prompts."""
    length: float = 0.0
    """For each standard deviation of length."""
    own: float = 0.0
    """For the answers of `kin`."""
    kin: str = ""
    """The policy it favours."""
    noise: float = 0.0
    """What it adds to a matchup, alike in both orders and however often it is asked."""
    shared: float = 0.0
    """The same, but added alike by all judges."""
    ignorant: tuple[str, ...] = ()
    """Domains in which it does not see quality."""
    soft: bool = False
    """Whether it gives its probability, instead of drawing a winner from it."""


@dataclass(frozen=True)
class World:
    """What is judged."""

    prompts: int = 300
    pairs: int = 1
    """Matchups of each prompt."""
    domains: tuple[str, ...] = ("all",)
    policies: tuple[str, ...] = ("one", "other")
    orders: str = "both"
    """`both`, or `given`: each matchup asked once, positions drawn."""
    samples: int = 1
    people: int = 3
    person: float = 2.0
    """How sharp each person is."""
    labelled: float = 1.0
    """Share of the matchups that people labelled."""
    long: float = 0.0
    """Correlation of length and true quality."""
    lead: float = 0.0
    """How much better the first policy is, in standard deviations of quality."""
    hard: float = 0.0
    """Share of prompts whose two answers differ a tenth as much, so that matchups of a prompt are alike."""


def simulate(judges: tuple[Simulated, ...], world: World, seed: int) -> tuple[Sheet, Array]:
    """The sheet of a run of these judges, and for each matchup the true advantage of its first."""
    dice = np.random.default_rng(seed)
    n = world.prompts * world.pairs
    rows, prompt = np.arange(n), np.repeat(np.arange(world.prompts), world.pairs)
    domain = dice.integers(0, len(world.domains), world.prompts)
    quality = dice.normal(size=(n, 2))
    length = world.long * quality + np.sqrt(1 - world.long**2) * dice.normal(size=(n, 2))
    several = len(world.policies) > 1
    picks = [dice.permutation(len(world.policies))[:2] if several else (0, 0) for _ in range(n)]
    policy = np.array(picks, dtype=int).reshape(n, 2)
    chars = np.maximum(1, np.round(400 + 120 * length)).astype(np.int64).reshape(-1)
    quality = quality + world.lead * (policy == 0)
    ahead = quality[:, 0] - quality[:, 1]
    if world.hard:
        ahead = ahead * np.where(dice.random(world.prompts) < world.hard, 0.1, 1.0)[prompt]
    shared = dice.normal(size=n)

    def said_by(code: int) -> tuple[Array, ...]:
        """The judge, the matchup, whether it was swapped, p of the matchup's first."""
        one = judges[code]
        blind = np.isin(domain[prompt], [i for i, name in enumerate(world.domains) if name in one.ignorant])
        kin = np.array([name == one.kin for name in world.policies])[policy].astype(float)
        odds = one.sharpness * np.where(blind, 0.0, ahead)
        odds = odds + one.length * (length[:, 0] - length[:, 1]) + one.own * (kin[:, 0] - kin[:, 1])
        odds = odds + one.noise * dice.normal(size=n) + one.shared * shared
        turned = np.tile([False, True], (n, 1)) if world.orders == "both" else dice.random((n, 1)) < 0.5
        turned = np.repeat(turned, world.samples, axis=1)
        slot = one.slot + (
            one.slot_spread * dice.normal(size=world.prompts)[prompt] if one.slot_spread else 0.0
        )
        p = 1 / (1 + np.exp(-(odds + np.where(turned, -1, 1).T * slot).T))
        p = p if one.soft else (dice.random(p.shape) < p).astype(float)
        columns = np.broadcast_arrays(code, rows[:, None], turned, p)
        return tuple(column.reshape(-1) for column in columns)

    said = zip(*map(said_by, range(len(judges))), strict=True)
    judge, matchup, turned, p = (np.concatenate(part) for part in said)
    unread, usd = np.zeros(len(p), int), np.full(len(p), 0.001)
    none, nothing = np.empty(0, int), np.empty(0)
    labelled = np.flatnonzero(dice.random(n) < world.labelled)
    asked = np.repeat(labelled, world.people)
    sure = 1 / (1 + np.exp(-world.person * ahead[asked]))
    votes = (dice.random(len(asked)) < sure).astype(float)
    sheet = Sheet(
        Prompts(tuple(f"prompt-{i}" for i in range(world.prompts)), domain, np.zeros(world.prompts, bool)),
        Answers(np.repeat(prompt, 2), policy.reshape(-1), chars, np.arange(2 * n)),
        Matchups(tuple(f"matchup-{i}" for i in range(n)), prompt, 2 * rows, 2 * rows + 1),
        Verdicts(judge, matchup, turned, p, unread, usd, unread > 0, usd * np.nan),
        Scores(none, none, nothing, none, nothing),
        Labels(none, nothing, nothing),
        HumanLabels(np.tile(np.arange(world.people), len(labelled)), asked, votes, np.ones(len(asked))),
        world.domains,
        world.policies,
        tuple(one.name for one in judges),
        tuple(f"human:{i}" for i in range(world.people)),
    )
    return sheet, ahead
