"""Self-rewarding: which pairs a policy makes of its own answers, and how it is watched while it judges."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from jobs import MOVES, loop_settings

from jurist.errors import BudgetSpent, SettingError
from jurist.recipes.loop.folder import Loop
from jurist.recipes.loop.invent import InventConfig, invented, rouge_l, shown, unfit
from jurist.recipes.loop.rounds import Round
from jurist.recipes.self_rewarding import (
    ADDITIVE,
    SelfRewardingConfig,
    agreement,
    check,
    outside,
    praise,
    preferring,
    self_rewarding,
)
from jurist.records import Dropped, Prompt
from jurist.run import read_records
from jurist.serve import serving
from jurist.tiny.judges import FAULTLESS, Planted
from jurist.tiny.world import prompts
from jurist.verdicts.settings import JudgeConfig


def settings(folder: Path, *words: str, **more: object) -> SelfRewardingConfig:
    given = {
        "judge": {"kind": "additive"},
        "sampling": {"temperature": 0.7, "top_p": 0.9, "max_tokens": 24},
        "compare": {"judge": "tiny:oracle", "held_out": 0.3},
        "dpo": {**MOVES, "soft": False},
    }
    return loop_settings(SelfRewardingConfig, folder, *words, **{**given, **more})


def test_as_in_the_paper_each_answer_is_scored_three_times_by_five_points():
    assert (ADDITIVE.samples, ADDITIVE.bounds, ADDITIVE.reason, ADDITIVE.effective_temperature) == (
        3,
        (0, 5),
        True,
        0.7,
    )
    cfg = SelfRewardingConfig()
    assert (cfg.k, cfg.sampling.temperature, cfg.sampling.top_p) == (4, 0.7, 0.9)
    assert (cfg.dpo.lr, cfg.dpo.soft, cfg.dpo.beta) == (1e-6, False, None)


def test_rho_follows_its_schedule_and_stays_at_the_last():
    cfg = SelfRewardingConfig(rho=(0.0, 0.32, 0.4))

    assert [preferring(cfg, number).rho for number in (1, 2, 3, 4)] == [0.0, 0.32, 0.4, 0.4]
    assert preferring(cfg, 1).rule == "rho"
    assert preferring(SelfRewardingConfig(), 1).rule == "best_vs_worst"


def test_agreement_counts_what_the_other_decided_and_a_tie_of_ours_as_half():
    ours = {"right": 0.9, "wrong": 0.8, "torn": 0.5, "they are torn": 0.9, "not shown": 0.1}
    theirs = {"right": 1.0, "wrong": 0.0, "torn": 0.7, "they are torn": 0.5, "not asked": 1.0}

    found = agreement(ours, theirs)

    assert (found.value, found.n) == (0.5, 3)
    assert found.low < 0.5 < found.high
    assert agreement(ours, {}) is None


@pytest.mark.parametrize(("judge", "low", "high"), [({}, 0.75, 1.0), ({"fooled": 1.0}, 0.0, 0.25)])
def test_the_outside_judge_tells_a_good_judge_from_one_that_is_always_wrong(tmp_path, judge, low, high):
    cfg = settings(tmp_path, n=32, watched=14)
    itself = JudgeConfig(
        kind="pointwise",
        engine={"engine": "tiny:planted", "extra": {**FAULTLESS, **judge}},
    )
    with Loop(cfg) as loop:
        round = Round(loop, 1)
        labelled = round.label("tiny:sloppy", itself, prefer=preferring(cfg, 1))
        found = outside(round, labelled, cfg)
        reward = praise(labelled)

    assert 5 < found.n <= 14  # one pair of each prompt that has two answers
    assert low <= found.value <= high
    assert 1 < reward < 9


def test_rouge_l_by_hand():
    assert rouge_l("the cat sat on the mat", "the cat lay on the mat") == pytest.approx(2 * 5 / 12)
    assert rouge_l("Police killed the gunman", "police kill the gunman") == pytest.approx(0.75)
    assert rouge_l("a b c", "c b a") == pytest.approx(1 / 3)
    assert rouge_l("", "a") == 0


def test_an_invented_prompt_is_new_and_neither_short_nor_long():
    cfg = InventConfig(words=(3, 8))
    known = ["How can I sleep better at night?"]

    assert unfit("How can I sleep better tonight?", known, cfg) == "not_new"
    assert unfit("Explain tides", known, cfg) == "too_short"
    assert unfit("a b c d e f g h i", known, cfg) == "too_long"
    assert unfit("", known, cfg) == "empty"
    assert unfit("Why do cats purr?", known, cfg) == ""


def test_eight_prompts_are_shown_of_which_two_were_invented():
    known, new = list(prompts(20)), [Prompt.of(f"new {n}") for n in range(5)]

    lines = shown(known, new, random.Random(1))

    assert len(lines) == 8
    assert sum(line.startswith("new ") for line in lines) == 2
    assert len(shown(known, [], random.Random(1))) == 6


def makes_up(ask):
    """Invents; now and then what is there already."""
    draw = random.Random(ask.seed)
    words = ["bread", "snow", "chess", "tides", "bees", "glass", "wool", "rust", "moss", "salt", "ink"]
    return draw.choice((f"- {' '.join(draw.sample(words, 6))}\nand more", "Why?"))


def test_invented_prompts_join_those_of_the_round_and_are_asked_for_once(tmp_path):
    cfg = settings(tmp_path)
    made = InventConfig(prompts=4, engine="scripted:test_self_rewarding:makes_up")
    with Loop(cfg) as loop:
        round = Round(loop, 1)
        file = invented(round, made, "nobody", round.prompts(6))
        rows = list(read_records(file, Prompt))
        before = file.read_bytes()
        assert invented(Round(loop, 1), made, "nobody", round.prompts(6)).read_bytes() == before
    gone = list(read_records(round.path / "invent" / "dropped.jsonl", Dropped))
    new = [one for one in rows if one.meta.get("invented")]
    assert (len(rows), len(new)) == (10, 4)
    assert all(len(one.messages[-1].content.split()) == 6 for one in new)
    assert {row.reason for row in gone} == {"too_short"}


def gives_the_held_out_away(ask):
    """Says again what policies are compared on, a word apart; now and then something new."""
    draw = random.Random(ask.seed)
    return draw.choice((f"{draw.choice(HELD)} Please.", makes_up(ask)))


HELD: list[str] = []


def test_no_prompt_is_invented_that_policies_are_compared_on(tmp_path):
    made = InventConfig(prompts=4, engine="scripted:test_self_rewarding:gives_the_held_out_away")
    with Loop(settings(tmp_path)) as loop:
        HELD[:] = [one.messages[-1].content for one in loop.read_prompts("held_out")]
        round = Round(loop, 1)
        rows = list(read_records(invented(round, made, "nobody", round.prompts(6)), Prompt))
    gone = list(read_records(round.path / "invent" / "dropped.jsonl", Dropped))

    assert HELD
    assert not any(one.messages[-1].content.endswith("Please.") for one in rows)
    assert any(row.reason == "not_new" and row.detail.endswith("Please.") for row in gone)


PRICE = {"input": 1000.0, "output": 1000.0}


def test_what_inventing_cost_before_a_kill_is_counted_against_the_budget(tmp_path):
    dear = {"engine": "scripted:test_self_rewarding:makes_up", "price": PRICE}
    made = InventConfig(prompts=30, engine=dear)
    cfg = settings(tmp_path, budget="2usd")
    for _ in range(3):
        with Loop(cfg) as loop, pytest.raises(BudgetSpent):
            invented(Round(loop, 1), made, "nobody", loop.prompts("train"))

    with sqlite3.connect(tmp_path / "loop" / "journal.sqlite") as journal:
        (spent,) = journal.execute("SELECT sum(usd) FROM spent").fetchone()
    assert 1.0 < spent <= 2.0


def test_a_budget_is_refused_where_nobody_knows_what_inventing_costs(tmp_path):
    made = InventConfig(prompts=4, engine="vllm:any@http://127.0.0.1:9/v1")
    with Loop(settings(tmp_path, budget="1usd")) as loop, pytest.raises(SettingError, match="needs a price"):
        invented(Round(loop, 1), made, "nobody", loop.prompts("train"))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"judge": {"kind": "pairwise"}}, "one by one"),
        ({"judge": {"kind": "pointwise", "engine": "tiny:planted"}}, "its own judge"),
        ({"mixture": ["tiny:careful"]}, "own answers alone"),
        ({"dpo": {"anchor": "elsewhere"}}, "what the loop decides"),
    ],
)
def test_settings_that_cannot_go_together_are_refused(tmp_path, given, told):
    with pytest.raises(SettingError, match=told):
        check(settings(tmp_path, **given))


@pytest.mark.slow
def test_two_rounds_judge_themselves_and_are_watched(tmp_path):
    pytest.importorskip("transformers", reason="training is an extra")

    outcome = self_rewarding(settings(tmp_path, n=24, rounds=2, rho=[0.0, 0.3]))

    one, other = outcome.rounds
    assert 0 <= one.reward <= 5
    assert 0 < one.judging.n <= 24
    assert other.kl != 0
    assert other.generation == 2
    first, second = (tmp_path / "loop" / f"round-{n}" / "policy" / "metrics.jsonl" for n in (1, 2))
    assert first.exists()
    assert second.exists()


@pytest.mark.slow
def test_a_loop_that_broke_off_anywhere_comes_to_the_same_weights_and_asks_nothing_twice(tmp_path):
    pytest.importorskip("transformers", reason="training is an extra")
    with serving(Planted()) as served:
        watcher = {"judge": f"vllm:any@{served.url}", "held_out": 0.3}
        whole = self_rewarding(settings(tmp_path, rounds=2, compare=watcher, out=str(tmp_path / "whole")))
        asked = served.calls
        broken = settings(tmp_path, rounds=2, compare=watcher, out=str(tmp_path / "broken"))
        for place in ((1, "label"), (1, "outside"), (2, "watched"), (2, "policy"), (2, "look")):

            def breaks(now, place=place):
                if (now.round, now.step) == place and (now.inner is not None or place[1] == "watched"):
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                self_rewarding(broken, breaks)
        again = self_rewarding(broken)
    assert [one.policy_hash for one in again.rounds] == [one.policy_hash for one in whole.rounds]
    assert [one.judging for one in again.rounds] == [one.judging for one in whole.rounds]
    assert served.calls == 2 * asked
