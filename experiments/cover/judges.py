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
from support.simulated import Simulated, World, simulate

from . import Scenario, formulas

Audit = Callable[[Sheet], Iterable[Measure]]
FAIR, SOFT = Simulated(), Simulated(soft=True)


def scenarios() -> list[Scenario]:
    parts = (of_position, of_length, of_self_preference, of_agreement, of_calibration, of_ceiling)
    return [one for part in parts for one in part()]


def of_position() -> list[Scenario]:
    """Matchups of a prompt are alike, since what the first position is worth differs between prompts."""
    biased, equally = Simulated(slot=1.0, slot_spread=1.2), Simulated(slot=1.0)
    both, once = World(prompts=60, pairs=6, people=1), World(prompts=300, orders="given", people=1)
    twice, thrice = (World(prompts=200, samples=n, people=1) for n in (2, 3))

    def of(about: str, judge: Simulated, world: World, measured: str, honest: bool = False) -> Scenario:
        return scenario(about, position, judge, world, formulas.position, measured, honest, sets=400)

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
    biased, world = Simulated(length=0.7), World(prompts=200, pairs=2, long=0.4)
    every = "prefers_longer human_prefers_longer excess correlation"
    return [
        scenario("prefers the longer answer", length, biased, world, formulas.length, every),
        scenario("honest, longer is better", length, FAIR, world, formulas.length, every, True),
    ]


def of_self_preference() -> list[Scenario]:
    fair = Simulated("gpt-large", kin="gpt-small")
    biased, others = replace(fair, own=0.8), (Simulated("claude-large"), Simulated("mistral-large"))
    labelled = World(prompts=300, policies=("gpt-small", "qwen-small", "llama-small"))
    found = []
    for about, judge in (("prefers its own family", biased), ("honest", fair)):
        for people, measured in ((3, "gap"), (0, "excess")):
            truth = formulas.self_preference(judge, labelled)[measured]
            planted = {f"self_preference.{measured}@{judge.name}": truth}
            runs = audited(self_preference, (judge, *others), replace(labelled, people=people))
            what = about if people else f"{about}, no human labels"
            found.append(Scenario(what, runs, planted, judge is fair))
    return found


def of_agreement() -> list[Scenario]:
    """Three humans label everything, or one a fifth of it; a third of the prompts is hard."""
    world = World(prompts=200, policies=("one",), hard=0.33)
    alike, some = replace(world, prompts=60, pairs=5), World(prompts=1000, people=1, labelled=0.2)
    good, dim = replace(SOFT, name="good"), Simulated("dim", sharpness=0.4)
    beyond = "accuracy kappa ac1 alpha over_longest over_first with_a_human"
    coins = Simulated("coin", sharpness=0.0), Simulated("another", sharpness=0.0)
    jury = good, dim, Simulated("sharp", sharpness=4.0, soft=True)
    truth, unlabelled = formulas.agreement, replace(world, people=0)
    right = [truth(one, world)["accuracy"] for one in (jury[2], dim)]
    return [
        scenario(
            "a good judge", agreement, good, world, truth, f"{beyond} humans humans_alpha advantage", True
        ),
        scenario("a dim judge, with ties", agreement, dim, world, truth, beyond),
        scenario(
            "five matchups a prompt", agreement, good, alike, truth, "accuracy kappa alpha humans", True
        ),
        scenario("labels, a fifth checked", agreement, good, some, truth, "label_error", True, labels=True),
        scenario(
            "labels, doubtful ones checked more", agreement, good, some, truth, "label_error", weighted=True
        ),
        Scenario(
            "a sharp judge against a dim one",
            audited(agreement, jury[1:], world),
            {"agreement.better_judge@dim": right[0] - right[1]},
        ),
        *(
            Scenario(
                about,
                audited(agreement, judges, unlabelled),
                {"agreement.among_judges": formulas.among_judges(judges, world)},
            )
            for about, judges in (("three judges, no human labels", jury), ("coins", coins))
        ),
    ]


def of_calibration() -> list[Scenario]:
    """A judge whose log-odds are those of humans is as sure as it is right."""
    world, loud = World(prompts=250, people=1), replace(SOFT, sharpness=4.0, noise=3.0)
    three = replace(world, prompts=100, pairs=3, hard=0.33)
    every, truth = "over auroc brier", formulas.calibration
    return [
        scenario("as sure as it is right", calibration, SOFT, world, truth, every, True),
        scenario("the same, three matchups a prompt", calibration, SOFT, three, truth, every, True),
        scenario("too sure", calibration, loud, world, truth, every),
        scenario("too sure, three matchups a prompt", calibration, loud, three, truth, every),
    ]


def of_ceiling() -> list[Scenario]:
    """A judge that knows sums and not doses; humans labelled all, or more of what is doubtful."""
    knows = replace(SOFT, noise=0.5)
    judge, lost = replace(knows, ignorant=("doses",)), replace(knows, sharpness=0.0)
    world = World(prompts=400, domains=("sums", "doses"), people=1)
    planted = {
        f"ceiling.domain@{domain}": formulas.agreement(one, world)["accuracy"]
        for domain, one in (("sums", knows), ("doses", lost))
    }
    many = replace(world, prompts=1500)
    return [
        Scenario("one domain is not known", audited(ceiling, (judge,), world), planted),
        Scenario("doubtful labels checked more", audited(ceiling, (judge,), many, weighted=True), planted),
    ]


def audited(
    audit: Audit, judges: tuple[Simulated, ...], world: World, labels: bool = False, weighted: bool = False
) -> Callable[[int], Iterable[Measure]]:
    def of(seed: int) -> Iterable[Measure]:
        sheet = simulate(judges, replace(world, labelled=1.0) if weighted else world, seed)[0]
        sheet = labelled_by_the_judge(sheet) if labels or weighted else sheet
        return audit(checked_by_doubt(sheet, seed) if weighted else sheet)

    return of


def labelled_by_the_judge(sheet: Sheet) -> Sheet:
    opinions = sheet.opinions
    return replace(sheet, labels=Labels(opinions.matchup, opinions.p, np.ones(len(opinions))))


def checked_by_doubt(sheet: Sheet, seed: int) -> Sheet:
    """Humans labelled each matchup with a chance that grows with the judge's doubt, and it stands for as many
    as the chance says."""
    human, p = sheet.human, sheet.mean_opinion[sheet.human.matchup]
    chance = 0.05 + 0.6 * np.minimum(p, 1 - p)
    kept = np.random.default_rng([seed, 1]).random(len(human)) < chance
    rows = human.who[kept], human.matchup[kept], human.p[kept], 1 / chance[kept]
    return replace(sheet, human=type(human)(*rows))


def scenario(
    about: str,
    audit: Audit,
    judge: Simulated,
    world: World,
    truth: Callable[[Simulated, World], formulas.Truth],
    measured: str,
    honest: bool = False,
    sets: int = 1000,
    **how: bool,
) -> Scenario:
    """One judge; `measured` names what should be covered."""
    found = truth(judge, world)
    planted = {f"{audit.__name__}.{name}": found[name] for name in measured.split()}
    return Scenario(about, audited(audit, (judge,), world, **how), planted, honest, sets)
