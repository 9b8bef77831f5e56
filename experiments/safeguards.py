"""Settings that keep a loop from going wrong, in the tiny world: does each do what it is for?

`kl_prevents_overoptimisation`: PPO on a reward model that is right only about answers such as the initial
policy gives, as `recipes/rlaif.yaml` has it ("held") and with the KL off ("free"), after the recipe's passes
over the prompts and after three times as many. `pool_prevents_forgetting`: `recipes/rejection.yaml`, whose
rounds ask about different things, with `pool: all` as shipped and with `pool: last`; either way each round
fine-tunes the initial policy. `rho_keeps_length`: `recipes/self_rewarding.yaml` with a judge to whom each
word is worth a fortieth of a point, the best against the worst as shipped, and with the rho of Wu et al.
2024.

    python experiments/safeguards.py [CLAIM ...]
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from msgspec.structs import replace

import small_world as world
from evidence import Interval, differences, interval, mean_of, over_seeds, record, run_claims, write_rows
from jurist.models.ppo import train_ppo
from jurist.models.reward import train_reward
from jurist.models.rewards import RewardJudge
from jurist.policies.policy import Policy, kl, load_to_read
from jurist.recipes.loop.folder import LoopRun
from jurist.recipes.loop.labels import preferences_of
from jurist.recipes.loop.rounds import Round
from jurist.recipes.self_rewarding import rule_of
from jurist.records import Prompt
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import Side, prompts
from jurist.verdicts.settings import JudgeConfig

SLOW = "half an hour of one core"
LABELLED, PPO_PROMPTS, HELD_OUT, SAMPLES, LATE = 280, 280, 400, 2, 3


def kl_prevents_overoptimisation() -> None:
    seeds = over_seeds(held_and_free, range(131, 134))
    worst = min((one["held over free"] for one in seeds), key=lambda one: one[0])
    rises = [one["free late"]["proxy"] - one["free early"]["proxy"] for one in seeds]
    held, free = ([one["truth moved"][who] for one in seeds] for who in ("held", "free"))
    falls = all(high < 0 for _, _, high in free) and all(high >= 0 for _, _, high in held)
    record(
        "kl_prevents_overoptimisation",
        worst,
        null={"the same with the KL off": 0.0},
        bar="in every seed, from the recipe's passes to three times as many: KL off, the proxy rises and the"
        " truth falls, to below the policy with the KL, whose truth does not fall (95% intervals)",
        holds=min(rises) > 0 and falls and worst[1] > 0,
        unit="true score with the KL less that without, in the worst seed",
        truth_moved_without=free,
        truth_moved_with_kl=held,
        proxy_moved_without=[round(one, 3) for one in rises],
        seeds=seeds,
        held_out=HELD_OUT,
    )


def held_and_free(seed: int, folder: Path) -> dict[str, Any]:
    cfg, asked = world.settings_of("rlaif", seed, folder), world.held_out(HELD_OUT, seed)
    given = {"base": str(tiny_checkpoint()), "seed": seed}
    run = world.label_answers(folder / "labels", LABELLED, seed, prefer=cfg.prefer)
    model = train_reward(replace(cfg.reward_model, **given, data=str(run), out=str(folder / "reward")))
    reward, scores, found = RewardJudge(model), dict[str, list[float]](), dict[str, Any]()

    def mark(name: str, policy: Policy) -> None:
        answers = world.write(policy, asked, SAMPLES, seed)
        rows = [(one, text) for one, texts in zip(asked, answers.texts, strict=True) for text in texts]
        proxy = round(statistics.fmean(world.proxy_scores(reward, rows)), 3)
        scores[name] = [statistics.fmean(some) for some in answers.scores(asked)]
        found[name] = {"proxy": proxy, "truth": answers.mean_score(asked)}
        found[name]["kl"] = round(kl(policy, world.initial(), answers.rows), 2)

    mark("initial", world.initial())
    for who, how in (("held", cfg.ppo.kl), ("free", replace(cfg.ppo.kl, beta=0.0, target=None))):
        for when, passes in (("early", 1), ("late", LATE)):
            out = {"data": "given", "out": str(folder / f"{who}-{when}"), "reward": str(model)}
            ppo = replace(cfg.ppo, **given, **out, kl=how, epochs=cfg.ppo.epochs * passes)
            mark(f"{who} {when}", load_to_read(train_ppo(ppo, prompts(PPO_PROMPTS, seed))))

    def apart(one: str, other: str) -> Interval:
        return interval(differences(scores[one], scores[other]))

    found["truth moved"] = {who: apart(f"{who} late", f"{who} early") for who in ("held", "free")}
    return {**found, "held over free": apart("held late", "free late")}


SUBJECTS, EACH = ("wishes", "doses", "talk"), 120


def pool_prevents_forgetting() -> None:
    seeds = over_seeds(pooled, range(141, 146))
    kept, lost = ([one[pool]["wishes after each round"][-1] for one in seeds] for pool in ("all", "last"))
    talk = differences(*([one[pool]["talk at the end"] for one in seeds] for pool in ("all", "last")))
    gain = mean_of(differences(kept, lost), 3)
    over_initial = mean_of(differences(kept, (one["initial"]["wishes"] for one in seeds)), 3)
    record(
        "pool_prevents_forgetting",
        gain,
        null={"pool: last": 0.0},
        bar="gain in true score on the first subject, pool: all over pool: last, and over the initial policy:"
        f" both intervals over {len(seeds)} seeds above 0",
        holds=gain[1] > 0 and over_initial[1] > 0,
        gain_on_the_last_subject=mean_of(talk, 3),
        more={"over_initial": over_initial, "seeds": seeds},
    )


def about(subject: str, n: int, seed: int, side: Side) -> list[Prompt]:
    return [one for one in prompts(4 * n, seed, side) if one.domain == subject][:n]


def pooled(seed: int, folder: Path) -> dict[str, Any]:
    rows = (one for subject in SUBJECTS for one in about(subject, EACH, seed, "train"))
    file = write_rows(folder / "prompts.jsonl", rows)

    def scores(policy: Any, subject: str) -> float:
        asked = about(subject, 200, seed, "held_out")
        return world.write(policy, asked, SAMPLES, seed).mean_score(asked)

    found: dict[str, Any] = {"initial": {one: scores(world.initial(), one) for one in ("wishes", "talk")}}
    for pool in ("all", "last"):
        given = {"prompts": file, "prompts_each": EACH, "pool": pool, "compare": {"held_out": 0.0}}
        policies = [
            one.policy
            for one in world.run_recipe(world.settings_of("rejection", seed, folder / pool, **given)).rounds
        ]
        wishes = [scores(one, "wishes") for one in policies]
        found[pool] = {"wishes after each round": wishes, "talk at the end": scores(policies[-1], "talk")}
    return found


RHO: dict[str, tuple[float, ...]] = {"plain": (), "rho": (0.0, 0.32, 0.32, 0.4)}
LENGTH = 0.1
"""Log-odds a word; the judge's sharpness is four log-odds a point."""
JUDGE = JudgeConfig(kind="additive", engine={"engine": "tiny:planted", "extra": {"length": LENGTH}})


def rho_keeps_length() -> None:
    seeds = over_seeds(long_winded, range(161, 169))
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


def looped(folder: Path, way: str, seed: int) -> str:
    """The policy of the last round, each round's being the reference of the next."""
    cfg = world.settings_of("self_rewarding", seed, folder / way, rho=RHO[way], compare={"held_out": 0.0})
    policy = str(tiny_checkpoint())
    with LoopRun(cfg) as loop:
        for number in range(1, cfg.rounds + 1):
            round = Round(loop, number)
            labelled = round.label(policy, JUDGE, prefer=rule_of(cfg, number))
            pairs = preferences_of(labelled, cfg.stop.flips)
            policy = round.train(cfg.dpo, policy, pairs, reference=policy).folder
    return policy


def long_winded(seed: int, folder: Path) -> dict[str, Any]:
    asked = world.held_out(300, seed)
    policies = {"initial": str(tiny_checkpoint()), **{way: looped(folder, way, seed) for way in RHO}}
    answers = {way: world.write(policy, asked, 1, seed) for way, policy in policies.items()}
    words = {way: round(world.mean_words(one), 2) for way, one in answers.items()}
    return {way: {"words": words[way], "true score": one.mean_score(asked)} for way, one in answers.items()}


if __name__ == "__main__":
    run_claims(kl_prevents_overoptimisation, pool_prevents_forgetting, rho_keeps_length)
