"""Judges with known faults, and honest ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from jurist.audits.agreement import agreement
from jurist.audits.calibration import calibration
from jurist.audits.ceiling import ceiling
from jurist.audits.finding import Measure
from jurist.audits.length import length
from jurist.audits.position import position
from jurist.audits.self_preference import self_preference
from jurist.audits.sheet import Labels, Sheet
from support import formulas
from support.simulated import Simulated, World, simulate

from . import Scenario

Audit = Callable[[Sheet], Iterable[Measure]]
FAIR, SOFT = Simulated(), Simulated(soft=True)


def of_position() -> list[Scenario]:
    """Matchups of a prompt are alike, since what the first position is worth differs between prompts."""
    biased, equally = Simulated(slot=1.0, slot_spread=1.2), Simulated(slot=1.0)
    both, once = World(prompts=60, pairs=6, people=1), World(prompts=300, orders="given", people=1)
    twice, thrice = (World(prompts=200, samples=n, people=1) for n in (2, 3))
    of = scenarios_of(position, formulas.position, 300)
    return [
        of("biased to the first position", biased, both, "first_position flip_rate cost"),
        of("the same, probabilities given", replace(biased, soft=True), both, "first_position flip_rate"),
        of("the same, three samples", biased, thrice, "flip_rate repeats flips_beyond_repeats"),
        of("the same, two samples, which may tie", biased, twice, "flip_rate"),
        of("the same, one order", biased, once, "first_position"),
        of("biased alike in all prompts", equally, both, "between_equals"),
        of("honest", FAIR, both, "first_position between_equals", True),
        of("honest, one order", FAIR, once, "first_position", True),
    ]


def of_length() -> list[Scenario]:
    """Longer answers truly are better, to humans too."""
    every, world = "prefers_longer human_prefers_longer excess", World(200, 2, long=0.4)
    of = scenarios_of(length, formulas.length)
    biased = of("prefers the longer answer", Simulated(length=0.7), world, every)
    return [biased, of("honest, longer is better", FAIR, world, every, True)]


def of_self_preference() -> list[Scenario]:
    honest, others = Simulated("gpt", kin="gpt-4o"), (Simulated("claude"), Simulated("mistral"))
    world, found = World(prompts=300, policies=("gpt-4o", "qwen-small", "llama-small")), []
    for people, measured in ((3, "gap"), (0, "excess")):
        for judge in (replace(honest, own=0.8), honest):
            truth = {f"{measured}@gpt": formulas.self_preference(judge, world)[measured]}
            runs = audited(self_preference, (judge, *others), replace(world, people=people))
            about = f"{'prefers its own' if judge.own else 'honest'}, {people} human labels"
            found.append(Scenario("self_preference", about, runs, truth, not judge.own))
    return found


def of_agreement() -> list[Scenario]:
    """Three humans label everything, or one a fifth of it; a third of the prompts is hard."""
    world, name, truth = World(prompts=200, policies=("one",), hard=0.33), "agreement", formulas.agreement
    alike, some = replace(world, prompts=60, pairs=5), World(prompts=1000, people=1, labelled=0.2)
    many = replace(some, prompts=2500)
    good, dim, coin = (replace(SOFT, name="good"), Simulated("dim", 0.4), Simulated("coin", 0.0))
    sharp, beyond = (
        Simulated("sharp", 4.0, soft=True),
        "accuracy kappa alpha over_longest over_first with_a_human",
    )
    ahead, of = (
        truth(sharp, world)["accuracy"] - truth(dim, world)["accuracy"],
        scenarios_of(agreement, truth),
    )

    def several(about: str, *judges: Simulated) -> Scenario:
        alpha = {"among_judges": formulas.among_judges(judges, world)}
        return Scenario(name, about, audited(agreement, judges, replace(world, people=0)), alpha)

    two, noisy = audited(agreement, (sharp, dim), world), replace(good, noise=3.0)
    return [
        several("three judges alone", good, dim, sharp),
        several("coins", coin, replace(coin, name="other")),
        Scenario(name, "a sharp judge and a dim one", two, {"better_judge@dim": ahead}),
        of("a good judge", good, world, f"{beyond} humans humans_alpha", True),
        of("a dim judge, with ties", dim, world, beyond),
        of("five matchups a prompt", good, alike, "accuracy kappa alpha humans", True),
        of("labels, a fifth checked", good, some, "label_error", True, labels=True),
        of("labels, doubtful ones checked more", noisy, many, "label_error", weighted=True),
    ]


def of_calibration() -> list[Scenario]:
    """A judge whose log-odds are those of humans is as sure as it is right."""
    world, loud = World(prompts=250, people=1), replace(SOFT, sharpness=4.0, noise=3.0)
    three, every = replace(world, prompts=100, pairs=3, hard=0.33), "over auroc brier"
    of = scenarios_of(calibration, formulas.calibration)
    return [
        of("as sure as it is right", SOFT, world, every, True),
        of("the same, three matchups a prompt", SOFT, three, every, True),
        of("too sure", loud, world, every),
        of("too sure, three matchups a prompt", loud, three, every),
    ]


def of_ceiling() -> list[Scenario]:
    """A judge that knows sums and not doses; humans labelled all, or more of what is doubtful."""
    knows, world = replace(SOFT, noise=0.5), World(prompts=400, domains=("sums", "doses"), people=1)
    judge, lost = (replace(knows, ignorant=("doses",)),), replace(knows, sharpness=0.0)
    right = (formulas.agreement(one, world)["accuracy"] for one in (knows, lost))
    planted = dict(zip(("domain@sums", "domain@doses"), right, strict=True))
    more = audited(ceiling, judge, replace(world, prompts=1500), weighted=True)
    return [
        Scenario("ceiling", "one domain is not known", audited(ceiling, judge, world), planted),
        Scenario("ceiling", "doubtful ones checked more", more, planted),
    ]


def audited(
    audit: Audit, judges: tuple[Simulated, ...], world: World, labels: bool = False, weighted: bool = False
) -> Callable[[int], Iterable[Measure]]:
    """`labels` are the judge's own. `weighted`: humans labelled each matchup with a chance that grows with
    the judge's doubt, and it stands for as many as the chance says.
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


def scenarios_of(
    audit: Audit, truth: Callable[..., formulas.Truth], sets: int = 1000
) -> Callable[..., Scenario]:
    """Of one judge; `measured` names what should be covered."""

    def of(
        about: str, judge: Simulated, world: World, measured: str, honest: bool = False, **how: bool
    ) -> Scenario:
        planted = {name: value for name, value in truth(judge, world).items() if name in measured.split()}
        return Scenario(audit.__name__, about, audited(audit, (judge,), world, **how), planted, honest, sets)

    return of
