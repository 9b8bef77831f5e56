"""What a labelling has to teach, and what a loop says where that is nothing."""

from __future__ import annotations

import pytest
from jobs import loop_settings
from msgspec.structs import replace

from jurist.recipes.loop.finish import going_round
from jurist.recipes.loop.folder import Loop, nobody
from jurist.recipes.loop.lessons import NothingToLearn, lessons
from jurist.recipes.loop.rounds import Round, Trained
from jurist.recipes.loop.settings import StopConfig
from jurist.recipes.loop.worth import best_of, tied
from jurist.recipes.rejection import RejectionConfig, rejection
from jurist.recipes.rlaif import RlaifConfig, rlaif
from jurist.records import Completion
from jurist.verdicts.settings import JudgeConfig

SEATED = {"engine": {"engine": "tiny:planted", "extra": {"position": 8.0}}}
"""Whatever the answers are, the first seat wins."""
BLIND = JudgeConfig(kind="regex:.")
"""Sees no difference between any two answers."""


def labelled(cfg, judge, **more):
    with Loop(cfg) as loop:
        return Round(loop, 1).label("tiny:sloppy", judge, **more)


def test_tied_is_the_share_of_compared_and_read_prompts_whose_answers_all_came_out_level():
    level, apart, lone, unread = {"a": 3.0, "b": 3.0}, {"a": 1.0, "b": 2.0, "c": 2.0}, {"a": 1.0}, {}

    assert tied([level, apart, level, lone, unread]) == pytest.approx(2 / 3)
    assert tied([lone, unread]) is None


@pytest.mark.parametrize("ties", ["drop", "soft"])
def test_a_tie_is_counted_whatever_becomes_of_tied_pairs(tmp_path, ties):
    cfg = loop_settings(RlaifConfig, tmp_path, k=2)

    found = labelled(cfg, JudgeConfig(kind="regex:deny it"), prefer=replace(cfg.prefer, ties=ties))

    assert 0.5 < found.tied < 1


def test_the_best_is_the_shortest_of_those_worth_most():
    long, short, bad = (Completion.of("p", text) for text in ("a long answer", "an answer", "bad"))

    assert best_of([long, short, bad], {long.id: 2.0, short.id: 2.0, bad.id: 1.0}) == short
    assert best_of([long, short, bad], {bad.id: 1.0}) == bad


@pytest.mark.parametrize("ties", ["drop", "soft"])
def test_a_judge_that_tells_nothing_apart_ends_the_round_with_words_and_trains_nothing(tmp_path, ties):
    cfg = loop_settings(RlaifConfig, tmp_path, k=2)
    found = labelled(cfg, BLIND, prefer=replace(cfg.prefer, ties=ties))

    assert found.tied == 1
    with pytest.raises(NothingToLearn, match=r"jurist show .*/round-1/label"):
        lessons(found, cfg.stop)


def test_labels_that_follow_the_seat_teach_nothing_unless_the_rule_is_off(tmp_path):
    cfg = loop_settings(RlaifConfig, tmp_path, k=4)
    found = labelled(cfg, JudgeConfig(**SEATED))

    assert found.flips.value > 0.8
    with pytest.raises(NothingToLearn, match=r"--flips; then name another judge, or .*: --stop.flips 0"):
        lessons(found, cfg.stop)
    assert len(lessons(found, StopConfig(flips=0))) == found.labels > 0
    few = replace(found, flips=replace(found.flips, value=0.9, low=0.7, n=10))
    assert lessons(few, cfg.stop), "ten matchups say too little of a judge"


@pytest.mark.parametrize(
    ("recipe", "loop", "judge", "says"),
    [
        (RlaifConfig, rlaif, SEATED, "went to the seat"),
        (RejectionConfig, rejection, SEATED, "went to the seat"),
        (RejectionConfig, rejection, {"kind": "regex:."}, "no prompt apart"),
    ],
)
def test_no_recipe_trains_on_noise(tmp_path, monkeypatch, recipe, loop, judge, says):
    monkeypatch.setattr("jurist.recipes.loop.finish.checkpoint", lambda policy, tell: policy)
    cfg = loop_settings(recipe, tmp_path, policy="tiny:sloppy", judge=judge)

    with pytest.raises(NothingToLearn, match=says):
        loop(cfg)
    assert not list(tmp_path.glob("loop/round-1/*/model"))


def test_a_later_round_with_nothing_to_learn_leaves_what_the_rounds_before_came_to(tmp_path, monkeypatch):
    monkeypatch.setattr("jurist.recipes.loop.finish.checkpoint", lambda policy, tell: policy)
    cfg = loop_settings(RlaifConfig, tmp_path, rounds=3, policy="tiny:sloppy", compare={"held_out": 0.0})
    with going_round(cfg, nobody) as rounds:
        for round in rounds:
            if round.number == 2:
                lessons(round.label(rounds.start, BLIND), cfg.stop)
            rounds.close(round, Trained("the first policy", "hash", 1, {}))

    assert rounds.outcome.policy == "the first policy"
    assert len(rounds.outcome.rounds) == 1
    assert "no prompt apart" in rounds.outcome.stopped
    kept = (tmp_path / "loop" / "summary.json").read_text()
    assert "no prompt apart" in kept
    assert "nothing is held out (compare.held_out is 0 of 16 prompts)" in kept


@pytest.mark.parametrize(("rounds", "stopped"), [(1, ""), (2, "the judge cannot tell the answers to 95% of")])
def test_only_a_loop_that_has_rounds_left_was_stopped(tmp_path, monkeypatch, rounds, stopped):
    monkeypatch.setattr("jurist.recipes.loop.finish.checkpoint", lambda policy, tell: policy)
    cfg = loop_settings(RlaifConfig, tmp_path, rounds=rounds, compare={"held_out": 0.0})
    with going_round(cfg, nobody) as going:
        for round in going:
            going.close(round, Trained("policy", "hash", 1, {}), tied=0.95)

    assert len(going.outcome.rounds) == 1
    assert going.outcome.stopped.startswith(stopped)
    assert bool(going.outcome.stopped) == bool(stopped)
