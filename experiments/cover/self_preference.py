"""Judges that favour their own family, and judges that do not, with people's labels and without."""

from __future__ import annotations

from functools import lru_cache

from jurist.audits.finding import Finding
from jurist.audits.self_preference import self_preference
from support.simulated import Simulated, World, simulate

from . import Case, finding, large, worst

POLICIES = ("gpt-small", "qwen-small", "llama-small")
VAIN, FAIR = Simulated("gpt-large", own=0.8, kin="gpt-small"), Simulated("gpt-large")
OTHERS = Simulated("claude-large"), Simulated("mistral-large")
LABELLED = World(prompts=300, policies=POLICIES)
UNLABELLED = World(prompts=300, policies=POLICIES, people=0)


def cases() -> list[Case]:
    return [
        case("self_preference.gap", VAIN, LABELLED, "favours its own"),
        case("self_preference.gap", FAIR, LABELLED, "fair", planted=0.0),
        case("self_preference.excess", VAIN, UNLABELLED, "favours its own, nobody labelled"),
        case("self_preference.excess", FAIR, UNLABELLED, "fair, nobody labelled", planted=0.0),
        Case("self_preference", "any finding", of_a_fair_judge, None, True, "fair, nobody labelled", 2000),
    ]


def of_a_fair_judge(seed: int) -> Finding:
    return worst(found(FAIR, UNLABELLED, seed))


def case(name: str, judge: Simulated, world: World, about: str, *, planted: float | None = None) -> Case:
    fair = planted is not None
    if planted is None:
        planted = finding(self_preference(large((judge, *OTHERS), world)), name, judge.name).value

    def once(seed: int) -> Finding:
        return finding(found(judge, world, seed), name, judge.name)

    return Case("self_preference", name, once, planted, fair, about, 2000)


@lru_cache(maxsize=10_000)
def found(judge: Simulated, world: World, seed: int) -> list[Finding]:
    return self_preference(simulate((judge, *OTHERS), world, seed)[0])
