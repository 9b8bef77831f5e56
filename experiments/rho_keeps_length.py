"""Does choosing the shortest of the best and rejecting the longest of the worst keep answers from growing?

The loop of `recipes/self_rewarding.yaml`, with its settings and its four answers to a prompt, and one thing
otherwise: the policy's own judging has no strong taste for length here, so a judge with a planted one stands
in, to whom each word is worth a fortieth of a point of this world. The loop runs with the best against the
worst, as shipped, and with the rho of Wu et al. 2024 that stands beside it in the recipe's file. What counts
is how many words the last policy needs for held-out questions, beside how good its answers truly are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evidence import differences, mean_of, over_seeds, record
from jurist.recipes.loop.folder import LoopRun
from jurist.recipes.loop.labels import preferences_of
from jurist.recipes.loop.rounds import Round
from jurist.recipes.self_rewarding import rule_of
from jurist.tiny.model import tiny_checkpoint
from jurist.verdicts.settings import JudgeConfig
from small_world import held_out, mean_words, settings_of, write

SLOW = "about five minutes of one core"
SEEDS, HELD_OUT = (161, 162, 163, 164, 165, 166, 167, 168), 300
RHO: dict[str, tuple[float, ...]] = {"plain": (), "rho": (0.0, 0.32, 0.32, 0.4)}
LENGTH = 0.1
"""Log-odds a word; the judge's sharpness is four log-odds a point."""
JUDGE = JudgeConfig(kind="additive", engine={"engine": "tiny:planted", "extra": {"length": LENGTH}})


def looped(folder: Path, way: str, seed: int) -> str:
    """The policy of the last round, each round's being the reference of the next."""
    cfg = settings_of("self_rewarding", seed, folder / way, rho=RHO[way], compare={"held_out": 0.0})
    policy = str(tiny_checkpoint())
    with LoopRun(cfg) as loop:
        for number in range(1, cfg.rounds + 1):
            round = Round(loop, number)
            labelled = round.label(policy, JUDGE, prefer=rule_of(cfg, number))
            pairs = preferences_of(labelled, cfg.stop.flips)
            policy = round.train(cfg.dpo, policy, pairs, reference=policy).folder
    return policy


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    asked = held_out(HELD_OUT, seed)
    policies = {"initial": str(tiny_checkpoint()), **{way: looped(folder, way, seed) for way in RHO}}
    answers = {way: write(policy, asked, 1, seed) for way, policy in policies.items()}
    words = {way: round(mean_words(one), 2) for way, one in answers.items()}
    return {way: {"words": words[way], "true score": one.mean_score(asked)} for way, one in answers.items()}


def main() -> None:
    seeds = over_seeds(one_seed, SEEDS)
    grown = {way: [one[way]["words"] / one["initial"]["words"] - 1 for one in seeds] for way in RHO}
    scores = ([one[way]["true score"] for one in seeds] for way in RHO)
    saved = mean_of(differences(*grown.values()), 3)
    plain, with_rho = (mean_of(some, 3) for some in grown.values())
    record(
        "rho_keeps_length",
        saved,
        null={"the best against the worst, as shipped": plain[0]},
        bar="growth in words without rho less that with it, at the shipped k: interval above 0; with rho at"
        " most half",
        holds=saved[1] > 0 and with_rho[0] <= plain[0] / 2,
        true_score_lost=mean_of(differences(*scores), 3),
        more={"growth_plain": plain, "growth_rho": with_rho, "seeds": seeds},
    )


if __name__ == "__main__":
    main()
