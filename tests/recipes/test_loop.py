"""What recipes that go round share: facts in, decisions out; and the folder in which steps are done once."""

from __future__ import annotations

import json

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from jurist.config import load_settings
from jurist.errors import BudgetSpent, DataError, RunError, SettingError
from jurist.recipes.loop.ancestry import FIRST, Model, learnt_from, of_preferences
from jurist.recipes.loop.compare import Answered, compared, distinct, unique
from jurist.recipes.loop.folder import Loop
from jurist.recipes.loop.mix import mixed
from jurist.recipes.loop.settings import RealConfig, StopConfig
from jurist.recipes.loop.start import real_pairs
from jurist.recipes.loop.stopping import Comparison, Facts, reason_to_stop
from jurist.recipes.rlaif import RlaifConfig, check, scored_by
from jurist.records import Completion, Preference, Prompt
from jurist.tiny.world import prompts
from jurist.verdicts.settings import JudgeConfig

PROMPT = Prompt.of("What is 2 plus 2?")


class Came(Struct, frozen=True):
    to: int
    usd: float = 0.0
    seconds: float = 0.0


@pytest.fixture
def settings(tmp_path):
    rows = [msgspec.to_builtins(one) for one in prompts(40, seed=3)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RlaifConfig(
        out=str(tmp_path / "loop"),
        prompts=str(tmp_path / "prompts.jsonl"),
        policy="tiny",
        judge="shorter",
    )


def test_a_step_is_done_once_however_often_the_loop_is_started(settings):
    done = []

    def work():
        done.append(1)
        return Came(7)

    for _ in range(3):
        with Loop(settings) as loop:
            assert loop.once(1, "step", Came, work).to == 7
    assert len(done) == 1


def test_a_step_that_broke_off_is_done_again(settings):
    with Loop(settings) as loop, pytest.raises(ZeroDivisionError):
        loop.once(1, "step", Came, lambda: Came(1 // 0))
    with Loop(settings) as loop:
        assert loop.once(1, "step", Came, lambda: Came(2)).to == 2


def test_a_loop_with_other_settings_is_not_taken_up_in_the_same_folder(settings):
    with Loop(settings) as loop:
        loop.once(1, "step", Came, lambda: Came(1))
    with Loop(replace(settings, rounds=5, budget="3usd")):
        pass  # these change no number of the rounds that are done
    with pytest.raises(RunError, match="rm -r"), Loop(replace(settings, k=7)):
        pass


def test_a_loop_is_not_taken_up_once_a_file_it_reads_has_changed(settings, tmp_path):
    people = tmp_path / "people.jsonl"
    people.write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    cfg = replace(settings, real=RealConfig(file=str(people)))
    with Loop(cfg) as loop:
        loop.once(1, "step", Came, lambda: Came(1))
    with Loop(cfg):
        pass
    people.write_text('{"prompt": "a", "chosen": "c", "rejected": "b"}\n')
    with pytest.raises(RunError, match="rm -r"), Loop(cfg):
        pass


def test_a_setting_put_right_before_anything_was_done_is_taken(settings):
    with Loop(settings):
        pass
    with Loop(replace(settings, k=7)) as loop:
        assert loop.cfg.k == 7


def test_what_people_said_about_held_out_prompts_is_not_learnt(settings, tmp_path):
    rows = [
        {"prompt": one.messages[0].content, "chosen": "b", "rejected": "c"} for one in prompts(40, seed=3)
    ]
    (tmp_path / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    compare = replace(settings.compare, held_out=0.3)
    cfg = replace(settings, compare=compare, real=RealConfig(file=str(tmp_path / "people.jsonl")))
    with Loop(cfg) as loop:
        held = {one.id for one in loop.read_prompts("held_out")}

    learnt = {one.prompt.id for one in real_pairs(cfg)}
    assert learnt
    assert held
    assert not learnt & held


def test_held_out_prompts_are_not_among_those_trained_on(settings):
    with Loop(replace(settings, compare=replace(settings.compare, held_out=0.3))) as loop:
        train = {one.id for one in loop.read_prompts("train")}
        held = {one.id for one in loop.read_prompts("held_out")}
    assert train
    assert held
    assert not train & held
    assert len(train) + len(held) == 40


def test_what_steps_cost_is_counted_against_the_budget_also_after_a_restart(settings):
    cfg = replace(settings, budget="1usd")
    with Loop(cfg) as loop:
        assert loop.left() == 1.0
        loop.once(1, "step", Came, lambda: Came(1, usd=0.4))
        assert loop.left() == pytest.approx(0.6)
    with Loop(cfg) as loop:
        loop.once(1, "step", Came, lambda: Came(1, usd=9.0))
        assert loop.left() == pytest.approx(0.6)
        loop.once(1, "other", Came, lambda: Came(1, usd=0.7))
        with pytest.raises(BudgetSpent, match="higher --budget"):
            loop.left()


def facts(number, **more):
    return Facts(round=number, policy="p", **more)


def against(win_rate):
    return Comparison(win_rate, win_rate - 0.05, win_rate + 0.05, 100)


def test_a_loop_stops_when_the_judge_cannot_tell_answers_apart():
    assert "cannot tell" in reason_to_stop([facts(1, tied=0.85)], StopConfig())
    assert not reason_to_stop([facts(1, tied=0.75)], StopConfig())
    assert not reason_to_stop([facts(1, tied=0.85)], StopConfig(saturated=0))


def test_a_loop_stops_when_a_quarter_of_its_diversity_is_lost():
    before = facts(1, distinct=0.4, unique=0.9)
    assert "distinct" in reason_to_stop([before, facts(2, distinct=0.29, unique=0.9)], StopConfig())
    assert "unique" in reason_to_stop([before, facts(2, distinct=0.4, unique=0.6)], StopConfig())
    assert not reason_to_stop([before, facts(2, distinct=0.31, unique=0.7)], StopConfig())


def test_a_loop_stops_when_the_reward_rises_and_the_outside_judge_turns_away():
    def story(*rounds):
        return [
            facts(number, reward=reward, against_start=against(win))
            for number, (reward, win) in enumerate(rounds, 1)
        ]

    assert "outside judge" in reason_to_stop(story((0, 0.7), (1, 0.6), (2, 0.5)), StopConfig())
    assert not reason_to_stop(story((0, 0.7), (1, 0.6), (2, 0.65)), StopConfig())
    assert not reason_to_stop(story((0, 0.7), (1, 0.6)), StopConfig())
    assert not reason_to_stop(story((2, 0.7), (1, 0.6), (0, 0.5)), StopConfig())


def test_real_rows_keep_their_share_however_many_rows_were_made():
    for made in (10, 100, 1000):
        rows, share = mixed(range(made), range(5000, 9000), RealConfig(file="f", share=0.3), seed=1)
        assert share == pytest.approx(0.3, abs=0.03)
        assert sum(row >= 5000 for row in rows) == round(0.3 * made / 0.7)


def test_a_loop_that_would_fall_below_the_floor_of_real_rows_stops():
    with pytest.raises(DataError, match="the floor is 10%"):
        mixed(range(1000), range(20), RealConfig(file="f", share=0.3, floor=0.1), seed=1)


def test_without_a_file_of_real_rows_nothing_is_mixed_in():
    assert mixed([1, 2], [], RealConfig(), seed=1) == ([1, 2], 0.0)


def preference(*writers, source="best_vs_worst:judge"):
    texts = [Completion.of(PROMPT.id, f"text {i}", writer) for i, writer in enumerate(writers)]
    return Preference(f"id {writers}", PROMPT, texts[0], texts[1], 0.9, source=source)


def test_a_row_is_one_generation_younger_than_its_writer():
    known = {"abcdefabcdef": Model(generation=1, synthetic=0.5)}
    people, first, second = of_preferences(
        [
            preference("human", "human:ann"),
            preference("hf:base#000000000000", "hf:base#000000000000"),
            preference("hf:base#000000000000", "hf:model#abcdefabcdef"),
        ],
        known,
    )
    assert (people.generation, first.generation, second.generation) == (0, 1, 2)
    assert (people.synthetic, first.synthetic, second.synthetic) == (0.0, 0.0, 0.25)
    assert second.judge == "judge"


def test_a_models_synthetic_share_is_the_part_of_its_rows_that_models_wrote():
    rows = of_preferences([preference("human", "human")] * 3 + [preference("hf:b#0", "hf:b#0")], {})
    assert learnt_from(rows) == Model(generation=1, synthetic=0.25)
    assert learnt_from([]) == FIRST


def answered(p, new="one two three", old="one"):
    made = (Completion.of(PROMPT.id, new, "new"),)
    return Answered(PROMPT, made, Completion.of(PROMPT.id, old, "old"), p)


def test_a_win_rate_counts_probabilities_and_leaves_unread_verdicts_out():
    found = compared([answered(1.0), answered(0.5), answered(0.75), answered(None)])
    assert found.win_rate == pytest.approx(0.75)
    assert (found.n, found.unread) == (3, 1)
    assert found.low < 0.75 < found.high
    assert (found.words, found.words_before) == (3.0, 1.0)


def test_a_win_that_came_with_length_is_shown_at_equal_length_too():
    longer = [
        answered(0.6 + 0.3 * (n % 2), new="word " * (10 + 10 * (n % 2)), old="word " * 10) for n in range(40)
    ]
    found = compared(longer)

    assert found.win_rate == pytest.approx(0.75)
    assert found.at_equal_length == pytest.approx(0.6, abs=0.02)
    assert compared([answered(1.0)]).at_equal_length is None


def test_a_judge_that_says_nothing_usable_gives_no_win_rate():
    with pytest.raises(SettingError, match=r"compare\.judge"):
        compared([answered(None)])


def test_diversity_by_hand():
    assert distinct(["a b c", "a b d"]) == pytest.approx(3 / 4)
    assert unique([["x", "x", "y", "z"], ["x", "x ", "x", "x"]]) == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert distinct([]) == 0.0


def test_a_live_judge_scores_one_completion_at_a_time():
    cfg = RlaifConfig(judge=JudgeConfig(engine="tiny:planted", rubric="kind"), reward="judge")
    assert scored_by(cfg) == {"kind": "pointwise", "engine": "tiny:planted", "rubric": "kind"}


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
    with pytest.raises(SettingError, match=says.replace("(", r"\(")):
        check(load_settings(RlaifConfig, None, given))
