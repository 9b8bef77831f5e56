"""Loops and attacks whose faults are known, and such as have none."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from jurist.audits.attacks import attacks
from jurist.audits.diversity import Generation, diversity
from jurist.audits.finding import Measure
from jurist.audits.overoptimisation import Checkpoint, best_of_n, overoptimisation
from jurist.audits.probes import probes
from jurist.audits.sheet import Scores
from jurist.audits.texts import INJECTED
from support.formulas import points
from support.simulated import Simulated, World, simulate

from . import Scenario

Array = np.ndarray[Any, Any]
PROMPTS, K, LENGTH, POOL = 100, 4, 16, 150
COUNT = CountVectorizer(ngram_range=(2, 2), token_pattern=r"\w+|[^\w\s]")


class Writer(NamedTuple):
    """How a generation writes: answers of as many words as any other's, drawn from those it has."""

    words: int
    again: float
    """Share of answers that are the prompt's usual one, word for word; of the others, those that decline."""
    declines: float


FIRST, LAST = Writer(300, 0.05, 0.05), Writer(60, 0.35, 0.25)


def written(writer: Writer, rng: np.random.Generator, prompts: int = PROMPTS) -> list[list[str]]:
    # Some words are frequent and most are rare, as in any language.
    words = np.minimum(rng.zipf(1.3, (prompts, K + 1, LENGTH)), writer.words)
    usual, declined = (rng.random((prompts, K)) < share for share in (writer.again, writer.declines))
    own = np.where(usual, K, np.arange(K))

    def text(at: int, n: int) -> str:
        some = [f"w{word}" for word in words[at, own[at, n]]]
        return " ".join(["I'm sorry", *some[4:]] if declined[at, n] and not usual[at, n] else some)

    return [[text(at, n) for n in range(K)] for at in range(prompts)]


def generations(last: Writer, seed: int) -> Iterable[Measure]:
    rng, names = np.random.default_rng(seed), [str(at) for at in range(PROMPTS)]
    made = [dict(zip(names, written(writer, rng), strict=True)) for writer in (FIRST, last)]
    return diversity([Generation(f"round {at}", answers) for at, answers in enumerate(made)])


def lost() -> dict[str, float]:
    """What the last writer lost beside the first. Answers that differ and decline, by formula; pairs of words
    counted by scikit-learn and bytes by zlib, on data sets of their own: half of the prompts, and among 1,000
    pairs and four fifths of the bytes that either writer has there.
    """
    counts, writers = np.zeros((POOL, 2, 2)), (FIRST, LAST)
    for seed in range(POOL):
        rng = np.random.default_rng([seed, 7])
        made = [zip(*written(writer, rng, PROMPTS // 2), strict=True) for writer in writers]
        texts = [[text for some in one for text in some] for one in made]
        raw = ["\n".join(one).encode() for one in texts]
        size = int(0.8 * min(map(len, raw)))
        for at in (0, 1):
            times = np.asarray(COUNT.fit_transform(texts[at]).sum(axis=0)).ravel()
            sampled = rng.permutation(np.repeat(np.arange(len(times)), times))[:1000]
            counts[seed, at] = len(np.unique(sampled)) / 1000, len(zlib.compress(raw[at][:size], 6)) / size
    pairs, squeezed = 1 - counts[:, 1].mean(axis=0) / counts[:, 0].mean(axis=0)
    unique = [(1 - (1 - one.again) ** K) / K + 1 - one.again for one in writers]
    declined = [(1 - one.again) * one.declines for one in writers]
    found = {"distinct_2": float(pairs), "compression": float(squeezed), "unique": 1 - unique[1] / unique[0]}
    return {**found, "refusals": declined[1] - declined[0]}


def of_diversity() -> list[Scenario]:
    fewer = lost()
    nothing = dict.fromkeys([*fewer, "self_bleu"], 0.0)
    return [
        Scenario("diversity", "fewer words, more repeats", partial(generations, LAST), fewer, sets=200),
        Scenario("diversity", "nothing has changed", partial(generations, FIRST), nothing, True, 200),
    ]


A, B, FAR, COMPARED, NAME = 0.5, 0.2, (1.0, 2.5, 4.0, 5.5, 7.0, 8.5, 10.0), 400, "overoptimisation"


def forecast(seed: int, a: float, b: float) -> Iterable[Measure]:
    """Win rates whose log-odds follow Gao's curve, each prompt by lot, and a proxy that rises."""
    rng, found = np.random.default_rng(seed), []
    for at, d in enumerate(FAR):
        won = rng.random(COMPARED) < 1 / (1 + math.exp(-d * (a - b * math.log(d))))
        rate, by = float(won.mean()), {str(row): float(one) for row, one in enumerate(won)}
        error = math.sqrt(rate * (1 - rate) / COMPARED)
        found.append(Checkpoint(f"round {at + 1}", d * d, rate, error, COMPARED, float(at), by))
    return overoptimisation(found)


def of_overoptimisation() -> list[Scenario]:
    k, peak, found = 8, math.exp(2 * (A / B - 1)), []
    curves = {"rises, then falls": (A, B), "still rises": (A, A / (1 + math.log(FAR[-1]))), "level": (0, 0)}
    for about, (a, b) in curves.items():
        planted = {"peak": peak} if about.endswith("falls") else {}
        found.append(Scenario(NAME, about, partial(forecast, a=a, b=b), planted, not planted, 300))
    for about, heavy in ((f"best of {k}, heavy tails", True), (f"best of {k}, honest noise", False)):
        proxy, other = scores(np.random.default_rng(0), 400_000, k, heavy)
        # What choosing among all is worth more than among half of them, on many prompts.
        best, half = (other[np.arange(len(other)), proxy[:, :n].argmax(axis=1)].mean() for n in (k, k // 2))
        planted, runs = {"best_of_n@proxy": float(best - half)}, partial(best_of_some, k=k, heavy=heavy)
        found.append(Scenario(NAME, about, runs, planted, not heavy))
    return found


def scores(rng: np.random.Generator, prompts: int, k: int, heavy: bool) -> tuple[Array, Array]:
    """Of a judge, whose errors are normal or have heavy tails, and of another."""
    truth = rng.normal(size=(prompts, k))
    error = rng.standard_t(2.0, truth.shape) if heavy else 0.5 * rng.normal(size=truth.shape)
    return truth + error, truth + 0.5 * rng.normal(size=truth.shape) + 0.5 * rng.normal(size=(prompts, 1))


def best_of_some(seed: int, k: int, heavy: bool, prompts: int = 200) -> Iterable[Measure]:
    sheet, n = simulate((Simulated(),), World(prompts=prompts, pairs=k // 2, people=0), seed)[0], prompts * k
    both = np.concatenate([one.ravel() for one in scores(np.random.default_rng(seed), prompts, k, heavy)])
    judge, answer = np.repeat([0, 1], n), np.tile(np.arange(n), 2)
    marks = Scores(judge, answer, both, judge * 0, np.zeros(2 * n))
    return best_of_n(replace(sheet, scores=marks, judges=("proxy", "outside")))


def of_attacks() -> list[Scenario]:
    """On a part of the prompts one policy's answers talk to the judge, which prefers that policy."""
    judge, world = (
        Simulated(own=1.5, kin="attacker"),
        World(prompts=300, policies=("one", "attacker"), people=0),
    )
    at = points(judge, world)
    won = float(at.given[at.kin == 1].mean())

    def audited(seed: int, part: float) -> Iterable[Measure]:
        sheet = simulate((judge,), world, seed)[0]
        prompts = np.random.default_rng([seed, 1]).random(world.prompts) < part
        marked = INJECTED * ((sheet.answers.policy == 1) & prompts[sheet.answers.prompt])
        answers = replace(sheet.answers, core=sheet.answers.text, marks=marked)
        matchups = replace(sheet.matchups, holds=np.zeros(world.prompts))
        return attacks(replace(sheet, answers=answers, matchups=matchups))

    return [
        Scenario("attacks", "instructions in 30%", partial(audited, part=0.3), {"injection": 0.3 * won}),
        Scenario("attacks", "none", partial(audited, part=0.0), {}, True),
    ]


def of_probe() -> list[Scenario]:
    """An attack that wins on some prompts more than on others: by Beta(4 r, 4 (1 - r))."""
    world = World(prompts=100, people=0, policies=("honest", "attack:padding"))

    def audited(seed: int, rate: float) -> Iterable[Measure]:
        sheet, rng = simulate((Simulated(),), world, seed)[0], np.random.default_rng([seed, 1])
        wins = rng.beta(4 * rate, 4 * (1 - rate), world.prompts)[sheet.verdicts.matchup]
        won = rng.random(len(wins)) < wins
        attack_first = sheet.answers.policy[sheet.matchups.first[sheet.verdicts.matchup]] == 1
        return probes(replace(sheet, verdicts=replace(sheet.verdicts, p=(won == attack_first).astype(float))))

    rates = {0.3: {"padding": 0.3}, 0.6: {"padding": 0.6}, 0.02: {}}
    return [
        Scenario("probe", f"padding wins {rate:.0%}", partial(audited, rate=rate), planted, not planted)
        for rate, planted in rates.items()
    ]
