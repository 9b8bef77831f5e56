"""Judges with known faults, and honest ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from jurist.audits.finding import Measure
from jurist.audits.length import length
from jurist.audits.position import position
from jurist.audits.self_preference import self_preference
from jurist.audits.sheet import Sheet
from support.simulated import Simulated, World, simulate

from . import Scenario, formulas

Audit = Callable[[Sheet], Iterable[Measure]]
FAIR = Simulated()


def scenarios() -> list[Scenario]:
    return [*of_position(), *of_length(), *of_self_preference()]


def of_position() -> list[Scenario]:
    """Matchups of a prompt are alike, since what the first position is worth differs between prompts."""
    biased, equally = Simulated(slot=1.0, slot_spread=1.2), Simulated(slot=1.0)
    both, once = World(prompts=60, pairs=6, people=1), World(prompts=300, orders="given", people=1)
    twice, thrice = (World(prompts=200, samples=n, people=1) for n in (2, 3))

    def of(about: str, judge: Simulated, world: World, measured: str, honest: bool = False) -> Scenario:
        return scenario(about, position, judge, world, formulas.position, measured, honest)

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
    both = replace(world, policies=("one", "two", "three"))
    every = "prefers_longer human_prefers_longer excess correlation"
    return [
        scenario("prefers the longer answer", length, biased, world, formulas.length, every),
        scenario("honest, longer is better", length, FAIR, both, formulas.length, every, True),
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
            world, judges = replace(labelled, people=people), (judge, *others)
            what = about if people else f"{about}, no human labels"
            # Without human labels it is told that nobody can know, which is a warning.
            found.append(Scenario(what, audited(self_preference, judges, world), planted, judge is fair))
    return found


def audited(audit: Audit, judges: tuple[Simulated, ...], world: World) -> Callable[[int], Iterable[Measure]]:
    return lambda seed: audit(simulate(judges, world, seed)[0])


def scenario(
    about: str,
    audit: Audit,
    judge: Simulated,
    world: World,
    truth: Callable[[Simulated, World], formulas.Truth],
    measured: str,
    honest: bool = False,
) -> Scenario:
    """One judge; `measured` names what should be covered."""
    planted = {f"{audit.__name__}.{name}": truth(judge, world)[name] for name in measured.split()}
    return Scenario(about, audited(audit, (judge,), world), planted, honest)
