"""A loop's folder, in which steps are done once; its rounds; and what stops it before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jobs import loop_settings
from msgspec import Struct
from msgspec.structs import replace

from jurist.config import load_settings
from jurist.engines.engine import EngineConfig
from jurist.errors import BudgetSpent, RunError, SettingError
from jurist.recipes.loop.folder import LoopRun
from jurist.recipes.loop.labels import NothingToLearn, agreement_of, preferences_of, probabilities
from jurist.recipes.loop.rounds import Round, Trained, run_rounds
from jurist.recipes.loop.settings import CompareConfig, RealConfig
from jurist.recipes.rejection import RejectionConfig, rejection
from jurist.recipes.rlaif import RlaifConfig, check_rlaif, live_judge, rlaif
from jurist.records import Completion, Prompt
from jurist.run import read_records
from jurist.tiny.judges import FAULTLESS
from jurist.verdicts.settings import JudgeConfig, JuryConfig

POSITION = {"engine": {"engine": "tiny:planted", "extra": {"position": 8.0}}}
"""Whatever the answers are, the first position wins."""
BLIND = JudgeConfig(kind="regex:.")
"""Finds no difference between any two answers."""


class Came(Struct, frozen=True):
    to: int
    usd: float = 0.0
    seconds: float = 0.0


@pytest.fixture
def settings(tmp_path):
    return loop_settings(RlaifConfig, tmp_path, n=40, judge="shorter")


def human_pairs(path, prompts):
    rows = [{"prompt": one.messages[0].content, "chosen": "b", "rejected": "c"} for one in prompts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_step_is_done_once_however_often_the_loop_is_started_and_again_if_it_broke_off(settings):
    done = []

    def work():
        done.append(1)
        return Came(7 // (len(done) - 1))

    with LoopRun(settings) as loop, pytest.raises(ZeroDivisionError):
        loop.once(1, "step", Came, work)
    for _ in range(3):
        with LoopRun(settings) as loop:
            assert loop.once(1, "step", Came, work).to == 7
    assert len(done) == 2


def test_a_loop_is_not_resumed_with_other_settings_or_other_contents_of_its_files(settings, tmp_path):
    file = human_pairs(tmp_path / "human.jsonl", [Prompt.of("a")])
    cfg = replace(settings, real=RealConfig(file=file))
    with LoopRun(replace(cfg, k=7)):
        pass  # nothing was done yet
    for one in (replace(cfg, k=7), cfg):  # nothing was trained yet
        with LoopRun(one) as loop:
            assert loop.once(1, "step", Came, lambda one=one: Came(one.k)).to == one.k
    loop.write_json("round-1/policy/metrics.jsonl", {})
    with LoopRun(replace(cfg, rounds=5, budget="3usd")):
        pass  # these change no number of the rounds that are done
    with pytest.raises(RunError, match="rm -r"), LoopRun(replace(cfg, k=7)):
        pass
    human_pairs(tmp_path / "human.jsonl", [Prompt.of("other")])
    with pytest.raises(RunError, match="rm -r"), LoopRun(cfg):
        pass


NOT_THERE = {
    "a policy": {"policy": "no/such"},
    "a judge": {"judge": "hf:no/such"},
    "another judge": {"compare": CompareConfig(judge="hf:no/such")},
    "a key": {"judge": JudgeConfig(engine=EngineConfig("openai:gpt-5-mini", key_env="NO_SUCH_KEY"))},
}


@pytest.mark.parametrize("what", NOT_THERE)
def test_what_is_not_there_is_missed_before_anything_is_sampled(settings, what):
    with pytest.raises(SettingError, match=r"no/such|NO_SUCH_KEY"):
        LoopRun(replace(settings, **NOT_THERE[what]))
    assert not Path(settings.out).exists()


def test_held_out_prompts_are_not_trained_on_whoever_answered_them(settings, tmp_path):
    with LoopRun(settings) as loop:
        train, held_out = loop.read_prompts("train"), loop.read_prompts("held_out")
    assert held_out
    assert len(train) + len(held_out) == 40
    assert not {one.id for one in train} & {one.id for one in held_out}
    file = human_pairs(tmp_path / "human.jsonl", [*train, *held_out])
    with LoopRun(replace(settings, out=str(tmp_path / "b"), real=RealConfig(file=file))) as loop:
        made = preferences_of(Round(loop, 1).label("tiny:sloppy", "shorter"), 0)
        mixed = Round(loop, 1).mix_real_rows(made)
    human = {one.prompt.id for one in mixed[len(made) :]}
    assert human
    assert not human & {one.id for one in held_out}


def test_the_tiny_world_gives_other_prompts_for_another_seed(settings, tmp_path):
    def asked(seed):
        cfg = replace(settings, out=str(tmp_path / f"{seed}"), prompts="tiny:30", seed=seed)
        with LoopRun(cfg) as loop:
            return [one.id for one in loop.read_prompts("train")]

    assert asked(1) != asked(2)
    assert asked(1) == asked(1)
    with pytest.raises(SettingError, match="tiny:160"), LoopRun(replace(settings, prompts="tiny:many")):
        pass


def test_what_steps_cost_is_counted_against_the_budget_also_after_a_restart(settings):
    cfg = replace(settings, budget="1usd")
    for cost in (0.4, 9.0):
        with LoopRun(cfg) as loop:
            assert loop.budget_left() == 1.0
            loop.once(1, "step", Came, lambda cost=cost: Came(1, usd=cost))
            assert loop.budget_left() == pytest.approx(0.6)
    with LoopRun(cfg) as loop:
        loop.once(1, "other", Came, lambda: Came(1, usd=1.7))
        with pytest.raises(BudgetSpent, match="higher --budget"):
            loop.budget_left()


def test_human_rows_that_are_missing_are_asked_for_by_prompt(settings, tmp_path):
    made = [(prompt, Completion.of(prompt.id, "x", "m")) for prompt in map(Prompt.of, "cdefghi")]
    (tmp_path / "human.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    real = RealConfig(file=str(tmp_path / "human.jsonl"), floor=0.0)
    with LoopRun(replace(settings, real=real)) as loop:
        round = Round(loop, 2, 0.5)
        rows = round.mix_real_rows(made)
    assert (len(rows), round.real_share, round.missing) == (8, 1 / 8, 6)
    assert len(list(read_records(round.path / "wanted.jsonl", Prompt))) == 6


def labelled(cfg, judge, **more):
    with LoopRun(cfg) as loop:
        return Round(loop, 1).label("tiny:sloppy", judge, **more)


@pytest.mark.parametrize("ties", ["drop", "soft"])
def test_ties_are_counted_whatever_becomes_of_tied_pairs_and_nothing_but_ties_teaches_nothing(tmp_path, ties):
    cfg = loop_settings(RlaifConfig, tmp_path, k=2)
    prefer = replace(cfg.prefer, ties=ties)
    assert 0.5 < labelled(cfg, JudgeConfig(kind="regex:then do it"), prefer=prefer).tied < 1
    found = labelled(replace(cfg, out=str(tmp_path / "blind")), BLIND, prefer=prefer)
    assert found.tied == 1
    with pytest.raises(NothingToLearn, match=r"jurist show .*/round-1/label"):
        preferences_of(found, 0.4)


def test_labels_that_follow_the_position_teach_nothing_unless_the_rule_is_off(tmp_path):
    cfg = loop_settings(RlaifConfig, tmp_path, k=4)
    found = labelled(cfg, JudgeConfig(**POSITION))
    assert cfg.stop.flips < 0.5, "below a coin's"
    with pytest.raises(NothingToLearn, match=r"--flips; then name another judge, or .*: --stop.flips 0"):
        preferences_of(found, cfg.stop.flips)
    assert preferences_of(found, 0)
    few = replace(found, flips=replace(found.flips, value=0.9, low=0.3, n=4))
    assert preferences_of(few, cfg.stop.flips), "four matchups say too little of a judge"


@pytest.fixture
def no_checkpoint(monkeypatch):
    monkeypatch.setattr(LoopRun, "checkpoint", lambda loop: loop.cfg.policy)


@pytest.mark.parametrize(
    ("recipe", "loop", "judge", "says"),
    [
        (RlaifConfig, rlaif, POSITION, "followed the position"),
        (RejectionConfig, rejection, POSITION, "followed the position"),
        (RejectionConfig, rejection, {"kind": "regex:."}, "no difference"),
    ],
)
def test_no_recipe_trains_on_noise(tmp_path, no_checkpoint, recipe, loop, judge, says):
    cfg = loop_settings(recipe, tmp_path, policy="tiny:sloppy", judge=judge)
    with pytest.raises(NothingToLearn, match=says):
        loop(cfg)
    assert not list(tmp_path.glob("loop/round-1/*/model"))


def test_a_later_round_with_nothing_to_learn_leaves_what_the_rounds_before_came_to(tmp_path, no_checkpoint):
    cfg = loop_settings(RlaifConfig, tmp_path, rounds=3, policy="tiny:sloppy", compare={"held_out": 0.0})
    with run_rounds(cfg, None) as rounds:
        for round in rounds:
            if round.number == 2:
                preferences_of(round.label(rounds.initial, BLIND), 0.4)
            rounds.finish(round, Trained("the first policy", "hash"))
    found = rounds.outcome
    assert (found.policy, len(found.rounds)) == ("the first policy", 1)
    assert "no difference" in found.stopped
    assert "nothing is held out (compare.held_out is 0 of 16 prompts)" in found.warning
    assert "no difference" in (tmp_path / "loop" / "summary.json").read_text()


@pytest.mark.parametrize(("rounds", "stopped"), [(1, ""), (2, "the judge cannot tell the answers to 95% of")])
def test_only_a_loop_that_has_rounds_left_was_stopped(tmp_path, no_checkpoint, rounds, stopped):
    cfg = loop_settings(RlaifConfig, tmp_path, rounds=rounds, compare={"held_out": 0.0})
    with run_rounds(cfg, None) as going:
        for round in going:
            going.finish(round, Trained("policy", "hash"), tied=0.95)
    assert len(going.outcome.rounds) == 1
    assert going.outcome.stopped.startswith(stopped)
    assert bool(going.outcome.stopped) == bool(stopped)


def test_all_rounds_are_scored_by_the_judge_of_the_first_and_compared_with_the_initial_policy(
    tmp_path, no_checkpoint
):
    """A proxy that changed with the rounds would compare different scales."""
    cfg = loop_settings(RlaifConfig, tmp_path, rounds=3, policy="tiny:sloppy", n=30, stop={"lost": 0})
    scorers = [JudgeConfig(kind="regex:e"), JudgeConfig(kind="regex:no such word"), BLIND]
    with run_rounds(cfg, None) as rounds:
        for round, scorer in zip(rounds, scorers, strict=False):
            policy = "tiny:careful" if round.number < 3 else "tiny:sloppy"
            rounds.finish(round, Trained(policy, "hash"), scorer=scorer)
    first, second, same = rounds.outcome.rounds
    assert first.proxy == second.proxy > 0
    assert first.compared.win_rate == second.compared.win_rate != 0.5
    assert same.compared.win_rate == 0.5, "the initial policy itself gives the same answers"
    assert same.compared.distinct == same.compared.distinct_before


def test_an_outside_judge_that_follows_the_position_is_warned_of(tmp_path, no_checkpoint):
    outside = {"judge": "tiny:first", "held_out": 0.3}
    cfg = loop_settings(RlaifConfig, tmp_path, policy="tiny:sloppy", n=30, compare=outside)
    with run_rounds(cfg, None) as rounds:
        for round in rounds:
            rounds.finish(round, Trained("tiny:careful", "hash"), round.label("tiny:sloppy", k=1))
    assert "compare.judge followed the position on 100% of" in rounds.outcome.warning
    assert rounds.outcome.rounds[0].agreement is None, "no prompt has two answers to compare"


@pytest.mark.parametrize(("extra", "low", "high"), [({}, 0.9, 1.0), ({"fooled": 1.0}, 0.0, 0.2)])
def test_the_outside_judge_tells_a_good_judge_from_one_that_is_always_wrong(tmp_path, extra, low, high):
    judge = {"kind": "pointwise", "engine": {"engine": "tiny:planted", "extra": {**FAULTLESS, **extra}}}
    outside = {"judge": "tiny:oracle", "held_out": 0.3, "pairs": 14}
    cfg = loop_settings(RlaifConfig, tmp_path, n=32, compare=outside, judge=judge)
    with LoopRun(cfg) as loop:
        found = Round(loop, 1).agreement(Round(loop, 1).label("tiny:sloppy", cfg.judge))
    assert 5 < found.n <= 14  # one pair of each prompt that has two answers
    assert low <= found.value <= high


def test_agreement_counts_the_pairs_that_both_decided():
    ours = {"same": 0.9, "other": 0.8, "tied": 0.5, "theirs is tied": 0.9, "not shown": 0.1}
    theirs = {"same": 1.0, "other": 0.0, "tied": 0.7, "theirs is tied": 0.5, "not asked": 1.0}
    found = agreement_of(ours, theirs)
    assert (found.value, found.n) == (0.5, 2)
    assert agreement_of(ours, {}) is None


def test_a_live_judge_scores_one_completion_at_a_time():
    cfg = RlaifConfig(judge=JudgeConfig(engine="tiny:planted", rubric="kind"), reward="judge")
    assert live_judge(cfg) == JudgeConfig(kind="pointwise", engine="tiny:planted", rubric="kind")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "needs a judge"),
        ({"judge": "tiny:fair", "reward": "judge", "optimiser": "dpo"}, "optimiser: ppo"),
        ({"judge": ["tiny:fair", "shorter"], "reward": "judge"}, "one judge at every step, got 2"),
        ({"judge": "tiny:fair", "ppo.base": "here"}, "ppo.base is what the loop decides, got 'here'"),
        ({"judge": "tiny:fair", "real.share": 0.05}, "the floor is the lesser"),
        ({"judge": "tiny:fair", "optimizer": "dpo"}, "Did you mean 'optimiser'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(given, says):
    with pytest.raises(SettingError, match=says):
        check_rlaif(load_settings(RlaifConfig, None, given))


def test_probabilities_are_of_the_lesser_id_in_either_order(tmp_path):
    cfg = loop_settings(RlaifConfig, tmp_path, k=2)
    found = probabilities(labelled(cfg, "shorter").run, JuryConfig())
    assert found
    texts = {
        one.id: one.text
        for one in read_records(tmp_path / "loop/round-1/label/completions.jsonl", Completion)
    }
    assert all((p > 0.5) == (len(texts[a]) < len(texts[b])) for (a, b), p in found.items() if p != 0.5)


def test_a_jury_is_compared_with_the_outside_judge_by_the_opinions_that_its_labels_came_from(tmp_path):
    jury = JuryConfig(combine="vote")
    cfg = loop_settings(RlaifConfig, tmp_path, n=32, k=2)
    found = labelled(cfg, ("shorter", "tiny:planted", JudgeConfig(kind="regex:e")), jury=jury)
    ps, means = (probabilities(found.run, one) for one in (jury, JuryConfig()))
    pairs = preferences_of(found, 0)
    for one in pairs:
        ids = one.chosen.id, one.rejected.id
        assert ps[min(ids), max(ids)] == pytest.approx(one.p if ids[0] < ids[1] else 1 - one.p)
    assert ps != means
