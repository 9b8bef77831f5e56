"""Simulated runs whose faults are known, and how often an audit's intervals cover them.

What is planted comes from a formula of the simulation or from another library, never from an audit.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest
from sklearn.feature_extraction.text import CountVectorizer

from jurist.audits.agreement import agreement
from jurist.audits.attacks import attacks
from jurist.audits.calibration import calibration
from jurist.audits.ceiling import ceiling
from jurist.audits.diversity import Generation, diversity
from jurist.audits.finding import WRONG, Measure, find
from jurist.audits.findings import KINDS
from jurist.audits.length import length
from jurist.audits.overoptimisation import Checkpoint, best_of_n, overoptimisation
from jurist.audits.position import position
from jurist.audits.probes import probes
from jurist.audits.self_preference import self_preference
from jurist.audits.sheet import Labels, Scores, Sheet
from jurist.audits.texts import INJECTED
from support import formulas
from support.simulated import Simulated, World, simulate

LEAST, MOST = 0.93, 0.97


@dataclass(frozen=True)
class Scenario:
    """One kind of simulated run, made anew for each seed and audited."""

    audit: str
    about: str
    """What is planted, in a few words."""
    audited: Callable[[int], Iterable[Measure]]
    planted: Mapping[str, float]
    """What the intervals should cover, by the measure's name without the audit's: `gap@gpt-large` where
    several have that name."""
    honest: bool = False
    """Whether nothing is wrong, so that an alarm or a warning is a false one."""
    sets: int = 1000


def covers(scenario: Scenario, sets: int | None = None) -> dict[str, Any]:
    """How many intervals of each measure cover what is planted, and whether that may be 93 to 97%."""
    n, called, covered = sets or scenario.sets, 0, dict.fromkeys(scenario.planted, 0)
    for seed in range(n):
        measures = list(scenario.audited(seed))
        called += any(one.grade in WRONG for one in find(measures, KINDS))
        for name, truth in scenario.planted.items():
            kind, _, about = f"{scenario.audit}.{name}".partition("@")
            own = (one.estimate for one in measures if one.name == kind and about in ("", one.about))
            estimate = next(own, None)
            covered[name] += int(estimate is not None and estimate.low <= truth <= estimate.high)
    cases = {}
    for name, k in covered.items():
        low, high = binomtest(k, n).proportion_ci()  # exact, 95%
        may_hold = bool(low <= MOST and high >= LEAST)
        cases[name] = {"planted": round(float(scenario.planted[name]), 4), "covers": k / n, "holds": may_hold}
    alarms = {("false_alarms" if scenario.honest else "called_faulty"): round(called / n, 4)}
    holds = all(case["holds"] for case in cases.values()) and not (scenario.honest and called > 0.05 * n)
    row = {"audit": scenario.audit, "planted": scenario.about, "sets": n, **alarms}
    return {**row, "holds": holds, "cases": cases}


Audit = Callable[[Sheet], Iterable[Measure]]
FAIR, SOFT = Simulated(), Simulated(soft=True)


def of_position() -> Iterator[Scenario]:
    """Matchups of a prompt are alike, since what the first position is worth differs between prompts."""
    biased, equally = Simulated(slot=1.0, slot_spread=1.2), Simulated(slot=1.0)
    both, once = World(prompts=60, pairs=6, people=1), World(prompts=300, orders="given", people=1)
    twice, thrice = (World(prompts=200, samples=n, people=1) for n in (2, 3))
    of = scenarios_of(position, formulas.position, 300)
    yield of("biased to the first position", biased, both, "first_position flip_rate cost")
    yield of("the same, probabilities given", replace(biased, soft=True), both, "first_position flip_rate")
    yield of("the same, three samples", biased, thrice, "flip_rate repeats flips_beyond_repeats")
    yield of("the same, two samples, which may tie", biased, twice, "flip_rate")
    yield of("the same, one order", biased, once, "first_position")
    yield of("biased alike in all prompts", equally, both, "between_equals")
    yield of("honest", FAIR, both, "first_position between_equals", True)
    yield of("honest, one order", FAIR, once, "first_position", True)


def of_length() -> Iterator[Scenario]:
    """Longer answers truly are better, to humans too."""
    every, world = "prefers_longer human_prefers_longer excess", World(200, 2, long=0.4)
    of = scenarios_of(length, formulas.length)
    yield of("prefers the longer answer", Simulated(length=0.7), world, every)
    yield of("honest, longer is better", FAIR, world, every, True)


def of_self_preference() -> Iterator[Scenario]:
    honest, others = Simulated("gpt", kin="gpt-4o"), (Simulated("claude"), Simulated("mistral"))
    world = World(prompts=300, policies=("gpt-4o", "qwen-small", "llama-small"))
    for people, measured in ((3, "gap"), (0, "excess")):
        for judge in (replace(honest, own=0.8), honest):
            truth = {f"{measured}@gpt": formulas.self_preference(judge, world)[measured]}
            runs = audited(self_preference, (judge, *others), replace(world, people=people))
            about = f"{'prefers its own' if judge.own else 'honest'}, {people} human labels"
            yield Scenario("self_preference", about, runs, truth, not judge.own)


def of_agreement() -> Iterator[Scenario]:
    """Three humans label everything, or one a fifth of it; a third of the prompts is hard."""
    world, name, truth = World(prompts=200, policies=("one",), hard=0.33), "agreement", formulas.agreement
    alike, some = replace(world, prompts=60, pairs=5), World(prompts=1000, people=1, labelled=0.2)
    many = replace(some, prompts=2500)
    good, dim, coin = (replace(SOFT, name="good"), Simulated("dim", 0.4), Simulated("coin", 0.0))
    sharp, beyond = Simulated("sharp", 4.0, soft=True), "kappa alpha over_longest over_first with_a_human"
    ahead = truth(sharp, world)["accuracy"] - truth(dim, world)["accuracy"]
    beyond, of = f"accuracy {beyond}", scenarios_of(agreement, truth)

    def several(about: str, *judges: Simulated) -> Scenario:
        alpha = {"among_judges": formulas.among_judges(judges, world)}
        return Scenario(name, about, audited(agreement, judges, replace(world, people=0)), alpha)

    two, noisy = audited(agreement, (sharp, dim), world), replace(good, noise=3.0)
    yield several("three judges alone", good, dim, sharp)
    yield several("coins", coin, replace(coin, name="other"))
    yield Scenario(name, "a sharp judge and a dim one", two, {"better_judge@dim": ahead})
    yield of("a good judge", good, world, f"{beyond} humans humans_alpha", True)
    yield of("a dim judge, with ties", dim, world, beyond)
    yield of("five matchups a prompt", good, alike, "accuracy kappa alpha humans", True)
    yield of("labels, a fifth checked", good, some, "label_error", True, labels=True)
    yield of("labels, doubtful ones checked more", noisy, many, "label_error", weighted=True)


def of_calibration() -> Iterator[Scenario]:
    """A judge whose log-odds are those of humans is as sure as it is right."""
    world, loud = World(prompts=250, people=1), replace(SOFT, sharpness=4.0, noise=3.0)
    three, every = replace(world, prompts=100, pairs=3, hard=0.33), "over auroc brier"
    of = scenarios_of(calibration, formulas.calibration)
    yield of("as sure as it is right", SOFT, world, every, True)
    yield of("the same, three matchups a prompt", SOFT, three, every, True)
    yield of("too sure", loud, world, every)
    yield of("too sure, three matchups a prompt", loud, three, every)


def of_ceiling() -> Iterator[Scenario]:
    """A judge that knows sums and not doses; humans labelled all, or more of what is doubtful."""
    knows, world = replace(SOFT, noise=0.5), World(prompts=400, domains=("sums", "doses"), people=1)
    judge, lost = (replace(knows, ignorant=("doses",)),), replace(knows, sharpness=0.0)
    right = (formulas.agreement(one, world)["accuracy"] for one in (knows, lost))
    planted = dict(zip(("domain@sums", "domain@doses"), right, strict=True))
    more = audited(ceiling, judge, replace(world, prompts=1500), weighted=True)
    yield Scenario("ceiling", "one domain is not known", audited(ceiling, judge, world), planted)
    yield Scenario("ceiling", "doubtful ones checked more", more, planted)


def audited(
    audit: Audit, judges: tuple[Simulated, ...], world: World, labels: bool = False, weighted: bool = False
) -> Callable[[int], Iterable[Measure]]:
    """`labels` are the judge's own. `weighted`: humans labelled a matchup with a chance that grows with the
    judge's doubt, and it stands for as many as the chance says.
    """

    def of(seed: int) -> Iterable[Measure]:
        sheet = simulate(judges, replace(world, labelled=1.0) if weighted else world, seed)[0]
        opinions, human = sheet.opinions, sheet.human
        if labels or weighted:
            sheet = replace(sheet, labels=Labels(opinions.matchup, opinions.p, np.ones(len(opinions))))
        if weighted:
            chance = 0.5 - 0.9 * np.abs(sheet.mean_opinion[human.matchup] - 0.5)
            kept = np.random.default_rng([seed, 1]).random(len(human)) < chance
            rows = human.who[kept], human.matchup[kept], human.p[kept], 1 / chance[kept]
            sheet = replace(sheet, human=type(human)(*rows))
        return audit(sheet)

    return of


def scenarios_of(audit: Audit, truth: Callable[..., formulas.Truth], sets: int = 1000) -> Any:
    """Of one judge; `names` says what should be covered."""

    def of(about: str, judge: Simulated, world: World, names: str, honest: bool = False, **how: bool) -> Any:
        planted = {name: value for name, value in truth(judge, world).items() if name in names.split()}
        return Scenario(audit.__name__, about, audited(audit, (judge,), world, **how), planted, honest, sets)

    return of


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
    """What the last writer lost beside the first: answers that differ and decline, by formula; pairs of words
    by scikit-learn and bytes by zlib, on data sets of their own (half of the prompts, 1,000 pairs, and four
    fifths of the bytes that either writer has there).
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


def of_diversity() -> Iterator[Scenario]:
    fewer = lost()
    same = dict.fromkeys([*fewer, "self_bleu"], 0.0)
    yield Scenario("diversity", "fewer words, more repeats", partial(generations, LAST), fewer, sets=200)
    yield Scenario("diversity", "nothing has changed", partial(generations, FIRST), same, True, 200)


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


def of_overoptimisation() -> Iterator[Scenario]:
    k, peak = 8, math.exp(2 * (A / B - 1))
    curves = {"rises, then falls": (A, B), "still rises": (A, A / (1 + math.log(FAR[-1]))), "level": (0, 0)}
    for about, (a, b) in curves.items():
        planted = {"peak": peak} if about.endswith("falls") else {}
        yield Scenario(NAME, about, partial(forecast, a=a, b=b), planted, not planted, 300)
    for about, heavy in ((f"best of {k}, heavy tails", True), (f"best of {k}, honest noise", False)):
        proxy, other = scores(np.random.default_rng(0), 400_000, k, heavy)
        # What choosing among all is worth more than among half of them, on many prompts.
        best, half = (other[np.arange(len(other)), proxy[:, :n].argmax(axis=1)].mean() for n in (k, k // 2))
        planted, runs = {"best_of_n@proxy": float(best - half)}, partial(best_of_some, k=k, heavy=heavy)
        yield Scenario(NAME, about, runs, planted, not heavy)


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


def of_attacks() -> Iterator[Scenario]:
    """On a part of the prompts one policy's answers talk to the judge, which prefers that policy."""
    judge = Simulated(own=1.5, kin="attacker")
    world = World(prompts=300, policies=("one", "attacker"), people=0)
    at = formulas.points(judge, world)
    won = float(at.given[at.kin == 1].mean())

    def audited(seed: int, part: float) -> Iterable[Measure]:
        sheet = simulate((judge,), world, seed)[0]
        prompts = np.random.default_rng([seed, 1]).random(world.prompts) < part
        marked = INJECTED * ((sheet.answers.policy == 1) & prompts[sheet.answers.prompt])
        answers = replace(sheet.answers, core=sheet.answers.text, marks=marked)
        matchups = replace(sheet.matchups, holds=np.zeros(world.prompts))
        return attacks(replace(sheet, answers=answers, matchups=matchups))

    yield Scenario("attacks", "instructions in 30%", partial(audited, part=0.3), {"injection": 0.3 * won})
    yield Scenario("attacks", "none", partial(audited, part=0.0), {}, True)


def of_probe() -> Iterator[Scenario]:
    """An attack that wins on some prompts more than on others: by Beta(4 r, 4 (1 - r))."""
    world = World(prompts=100, people=0, policies=("honest", "attack:padding"))

    def audited(seed: int, rate: float) -> Iterable[Measure]:
        sheet, rng = simulate((Simulated(),), world, seed)[0], np.random.default_rng([seed, 1])
        wins = rng.beta(4 * rate, 4 * (1 - rate), world.prompts)[sheet.verdicts.matchup]
        won = rng.random(len(wins)) < wins
        attack_first = sheet.answers.policy[sheet.matchups.first[sheet.verdicts.matchup]] == 1
        return probes(replace(sheet, verdicts=replace(sheet.verdicts, p=(won == attack_first).astype(float))))

    for rate, planted in {0.3: {"padding": 0.3}, 0.6: {"padding": 0.6}, 0.02: {}}.items():
        runs = partial(audited, rate=rate)
        yield Scenario("probe", f"padding wins {rate:.0%}", runs, planted, not planted)
