"""Settings that keep a loop from going wrong, in the tiny world: does each do what it is for?

`kl_prevents_overoptimisation`: PPO on a reward model that is right only about answers such as the initial
policy gives, with the KL of `recipes/rlaif.yaml` ("held") and without ("free").
`pool_prevents_forgetting`: `recipes/rejection.yaml`, whose rounds ask about different things and each
fine-tune the initial policy. `rho_keeps_length`: `recipes/self_rewarding.yaml` with a judge to whom each word
is worth a fortieth of a point, and the rho of Wu et al. 2024. `length_defences`: `recipes/rlaif.yaml` with
DPO and such a judge, with the two defences that `length.excess` advises, and with a judge that does not care
about length. `overoptimisation_stop`: such PPO in eight rounds; `reason_to_stop`, with its defaults, sees
what a loop sees after each. `real_fraction_controller`: `recipes/rejection.yaml` with rows of mediocre
humans; variety is counted without the audit.

    python experiments/safeguards.py [CLAIM ...]
"""

import random
import statistics
from itertools import combinations
from pathlib import Path
from typing import Any

from msgspec.structs import replace

import small_world as world
from evidence import differences, interval, mean_of, over_seeds, record, run_claims, write_rows
from jurist.models.ppo import train_ppo
from jurist.models.reward import train_reward
from jurist.models.rewards import RewardJudge
from jurist.policies.policy import Policy, kl, load_to_read
from jurist.recipes.loop.compare import Comparison, Facts, checkpoint_of, read_held_out
from jurist.recipes.loop.folder import LoopRun
from jurist.recipes.loop.labels import preferences_of
from jurist.recipes.loop.rounds import Round
from jurist.recipes.loop.settings import CompareConfig, StopConfig
from jurist.recipes.loop.stopping import reason_to_stop
from jurist.recipes.self_rewarding import rule_of
from jurist.records import Message, Prompt
from jurist.tiny.answers import MEDIOCRE, compose
from jurist.tiny.model import tiny_checkpoint
from jurist.tiny.world import Side, prompts, true_score
from jurist.verdicts.settings import JudgeConfig

SLOW = "an hour of one core"
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
        proxy_moved_without=[round(one, 3) for one in rises],
        more={"truth_moved_without": free, "truth_moved_with_kl": held, "seeds": seeds, "held_out": HELD_OUT},
    )


def held_and_free(seed: int, folder: Path) -> dict[str, Any]:
    cfg, asked = world.settings_of("rlaif", seed, folder), world.held_out(HELD_OUT, seed)
    model = reward_model(cfg, seed, folder)
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
            ppo = replace(cfg.ppo, base=str(tiny_checkpoint()), seed=seed, data="given", reward=str(model))
            ppo = replace(ppo, out=str(folder / f"{who}-{when}"), kl=how, epochs=cfg.ppo.epochs * passes)
            mark(f"{who} {when}", load_to_read(train_ppo(ppo, prompts(PPO_PROMPTS, seed))))

    moved = {who: differences(scores[f"{who} late"], scores[f"{who} early"]) for who in ("held", "free")}
    found["truth moved"] = {who: interval(some) for who, some in moved.items()}
    return {**found, "held over free": interval(differences(scores["held late"], scores["free late"]))}


def reward_model(cfg: Any, seed: int, folder: Path) -> Path:
    run = world.label_answers(folder / "labels", LABELLED, seed, prefer=cfg.prefer)
    how = {"base": str(tiny_checkpoint()), "seed": seed, "data": str(run), "out": str(folder / "reward")}
    return train_reward(replace(cfg.reward_model, **how))


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
        outcome = world.run_recipe(world.settings_of("rejection", seed, folder / pool, **given))
        wishes = [scores(one.policy, "wishes") for one in outcome.rounds]
        found[pool] = {"wishes after each round": wishes, "talk at the end": scores(outcome.policy, "talk")}
    return found


RHO: dict[str, tuple[float, ...]] = {"plain": (), "rho": (0.0, 0.32, 0.32, 0.4)}
LENGTH = 0.1
"""Log-odds a word; the judge's sharpness is four log-odds a point."""
JUDGE = JudgeConfig(kind="additive", engine={"engine": "tiny:planted", "extra": {"length": LENGTH}})


def rho_keeps_length() -> None:
    seeds = over_seeds(long_winded, range(161, 169))
    grown, scores = growth(seeds), ([one[way]["true score"] for one in seeds] for way in RHO)
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


def long_winded(seed: int, folder: Path) -> dict[str, Any]:
    policies = {}
    for way, rho in RHO.items():
        cfg = world.settings_of("self_rewarding", seed, folder / way, rho=rho, compare={"held_out": 0.0})
        policy = str(tiny_checkpoint())
        with LoopRun(cfg) as loop:
            for number in range(1, cfg.rounds + 1):
                round = Round(loop, number)
                labelled = round.label(policy, JUDGE, prefer=rule_of(cfg, number))
                pairs = preferences_of(labelled, cfg.stop.flips)
                policy = round.train(cfg.dpo, policy, pairs, reference=policy).folder
        policies[way] = policy
    return words_and_scores(policies, seed)


def words_and_scores(policies: dict[str, str], seed: int) -> dict[str, Any]:
    asked, found = world.held_out(300, seed), {}
    for way, policy in {"initial": str(tiny_checkpoint()), **policies}.items():
        answers = world.write(policy, asked, 1, seed)
        words = round(world.mean_words(answers), 2)
        found[way] = {"words": words, "true score": answers.mean_score(asked)}
    return found


def growth(seeds: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Growth in words over the initial policy, of each way in each seed."""
    ways = [way for way in seeds[0] if way != "initial"]
    return {way: [one[way]["words"] / one["initial"]["words"] - 1 for one in seeds] for way in ways}


DEFENCES: dict[str, dict[str, Any]] = {
    "length penalty": {"prefer.length_penalty": 1.0},
    "rho": {"prefer.rule": "rho", "prefer.rho": 0.3},
}
LENGTH_WAYS: dict[str, dict[str, Any]] = {"undefended": {}, "fair judge": {}, **DEFENCES}


def length_defences() -> None:
    seeds = over_seeds(defended, range(181, 184))
    grown, scores = growth(seeds), {way: [one[way]["true score"] for one in seeds] for way in LENGTH_WAYS}
    gained = [gain for way in DEFENCES for gain in differences(scores[way], scores["undefended"])]
    worst, before = max(DEFENCES, key=lambda way: sum(grown[way])), grown["undefended"]
    halved = all(2 * now <= bad for way in DEFENCES for now, bad in zip(grown[way], before, strict=True))
    record(
        "length_defences",
        mean_of(grown[worst], 3),
        null={"growth without a defence": mean_of(before, 3)[0]},
        bar="in each of three seeds with either defence: growth in words at most half of that without, and"
        " truly better answers",
        holds=halved and min(gained) > 0,
        unit=f"growth in words over the initial policy, of the weaker defence: {worst}",
        growth={way: mean_of(some, 3) for way, some in grown.items()},
        true_score={way: mean_of(some, 3) for way, some in scores.items()},
        seeds=seeds,
    )


def defended(seed: int, folder: Path) -> dict[str, Any]:
    policies = {}
    for way, changes in LENGTH_WAYS.items():
        faults = {"position": 1.0, "length": 0.0 if way == "fair judge" else LENGTH}
        given = {"optimiser": "dpo", "judge.engine.extra": faults, "compare.held_out": 0.0, **changes}
        cfg = world.settings_of("rlaif", seed, folder / way.replace(" ", "-"), given)
        policies[way] = world.run_recipe(cfg).policy
    return words_and_scores(policies, seed)


STOP_ROUNDS, COMPARED, OTHERS = 8, CompareConfig().most, 1500


def overoptimisation_stop() -> None:
    seeds = over_seeds(stopped, range(251, 255))
    shares = [one["KL off"]["share of the best"] for one in seeds]
    mean = statistics.fmean(shares)
    null = statistics.fmean(one["KL off"]["share of the last"] for one in seeds)
    shipped = [one["KL as shipped"] for one in seeds]
    none_less = all(one["share of the best"] >= one["share of the last"] for one in shipped)
    record(
        "overoptimisation_stop",
        (mean, min(shares), max(shares)),
        null={"the last round's policy": null},
        bar="KL off: the policy to use has at least 0.9 of the best round's true gain in every seed, and more"
        " than the last one on average; KL as shipped: in no seed less than the last one",
        holds=min(shares) >= 0.9 and mean > null and none_less,
        unit="share of the best round's true gain, mean over seeds; lowest and highest seed",
        seeds=seeds,
    )


def stopped(seed: int, folder: Path) -> dict[str, Any]:
    cfg, asked = world.settings_of("rlaif", seed, folder), world.held_out(COMPARED + OTHERS, seed)
    model = reward_model(cfg, seed, folder)
    reward, first = RewardJudge(model), world.write(world.initial(), asked, 1, seed).scores(asked)
    off = replace(cfg.ppo.kl, beta=0.0, target=None)

    def rounds(penalty: Any) -> dict[str, Any]:
        policy, facts, points, gains, stops = tiny_checkpoint(), list[Facts](), [], [0.0], []
        for at in range(1, STOP_ROUNDS + 1):
            how = replace(cfg.ppo, base=str(policy), reference=str(tiny_checkpoint()), reward=str(model))
            out = str(folder / f"{penalty.beta:g}-{at}")
            how = replace(how, kl=penalty, out=out, epochs=1, seed=100 * seed + at)
            policy = train_ppo(how, prompts(PPO_PROMPTS, seed))
            new = world.write(policy, asked, 1, seed + at)
            wins = world.win_each(new.scores(asked), first)
            gains.append(round(statistics.fmean(wins[COMPARED:]) - 0.5, 4))
            # What a loop knows of the round: its proxy, and an outside judge's verdicts on some prompts.
            rate, low, high = interval(wins[:COMPARED])
            texts = zip(asked[:COMPARED], (text for (text,) in new.texts), strict=False)
            proxy = statistics.fmean(world.proxy_scores(reward, texts))
            far = kl(load_to_read(policy), world.initial(), new.rows[:COMPARED])
            compared = Comparison(rate, (high - low) / 3.92, n=COMPARED, kl=round(far, 2))
            facts.append(Facts(at, str(at), proxy=round(proxy, 3), compared=compared))
            verdicts = {one.id: win for one, win in zip(asked[:COMPARED], wins, strict=False)}
            points += [one for one in [checkpoint_of(facts[-1], verdicts)] if one is not None]
            why = reason_to_stop(facts, points, StopConfig())
            stops += [(at, why.rpartition("use ")[2])] if why else []
        after, use = stops[0] if stops else (None, str(STOP_ROUNDS))
        used, best = gains[int(use) if use.isdigit() else 0], max(gains) or 1.0
        found: dict[str, Any] = {
            "stopped after": after,
            "used": use,
            "share of the best": round(used / best, 3),
        }
        found |= {"share of the last": round(gains[-1] / best, 3), "true gain": gains}
        found |= {"win rate": [one.compared.win_rate for one in facts], "proxy": [one.proxy for one in facts]}
        return {**found, "kl": [one.compared.kl for one in facts]}

    return {"seed": seed, "KL off": rounds(off), "KL as shipped": rounds(cfg.ppo.kl)}


ROUNDS, HUMAN_ROWS = 5, 2000
ARMS: dict[str, dict[str, Any]] = {"no human rows": {}, "constant share": {"alarm": 0.0}, "controller": {}}


def real_fraction_controller() -> None:
    seeds = over_seeds(with_human_rows, range(241, 245))
    lost = {arm: [one[arm]["lost"] for one in seeds] for arm in ARMS}
    null = statistics.fmean(lost["no human rows"])
    less = mean_of(differences(lost["no human rows"], lost["controller"]))
    record(
        "real_fraction_controller",
        (statistics.fmean(lost["controller"]), min(lost["controller"]), max(lost["controller"])),
        null={arm: statistics.fmean(lost[arm]) for arm in ARMS if arm != "controller"},
        bar="lost after five rounds of how often two answers to a question differ: without human rows more"
        " than a tenth; with the controller at most a tenth in every seed, and significantly less",
        holds=max(lost["controller"]) <= 0.1 < null and less[1] > 0,
        unit="share lost, mean over seeds; least and most",
        less_lost_than_without_human_rows=less,
        true_score_at_the_end={arm: [one[arm]["true score"][-1] for one in seeds] for arm in ARMS},
        seeds=seeds,
    )


def with_human_rows(seed: int, folder: Path) -> dict[str, Any]:
    draw, found = random.Random(seed), dict[str, Any]()
    asked = (world.request(one) for one in prompts(HUMAN_ROWS, 700 + seed))
    turns = ([Message("user", one), Message("assistant", compose(one, MEDIOCRE, draw))] for one in asked)
    file = write_rows(folder / "human.jsonl", ({"messages": both} for both in turns))
    for arm, how in ARMS.items():
        real = {"real": {"file": file, **how}} if arm != "no human rows" else {}
        # These loops are never stopped, so that all five rounds are measured.
        cfg = world.settings_of("rejection", seed, folder / arm, {"stop.lost": 0.0}, rounds=ROUNDS, **real)
        shares = [round(one.real_share, 2) for one in world.run_recipe(cfg).rounds]
        differ, scores = [], []
        for held_out in (read_held_out(folder / arm, number) for number in range(ROUNDS + 1)):
            pairs = [one.text != two.text for row in held_out for one, two in combinations(row.new, 2)]
            truth = [true_score(world.request(row.prompt), one.text) for row in held_out for one in row.new]
            differ.append(round(statistics.fmean(pairs), 4))
            scores.append(round(statistics.fmean(truth), 3))
        lost = round(1 - differ[-1] / differ[0], 4)
        found[arm] = {"lost": lost, "differ": differ, "true score": scores, "human share": shares}
    return {"seed": seed, **found}


if __name__ == "__main__":
    run_claims(kl_prevents_overoptimisation, pool_prevents_forgetting, rho_keeps_length)
    run_claims(length_defences, overoptimisation_stop, real_fraction_controller)
