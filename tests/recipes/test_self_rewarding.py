"""Self-rewarding: which pairs a policy makes of its own answers, and the prompts it invents."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from jobs import MOVES, loop_settings

from jurist.errors import BudgetSpent, SettingError
from jurist.recipes.loop.folder import LoopRun
from jurist.recipes.loop.rounds import Round
from jurist.recipes.self_rewarding import (
    ADDITIVE,
    InventConfig,
    SelfRewardingConfig,
    check_self_rewarding,
    few_shot,
    invent,
    rouge_l,
    rule_of,
    self_rewarding,
    unfit,
)
from jurist.records import Dropped, Prompt
from jurist.run import read_records
from jurist.serve import serving
from jurist.tiny.judges import Planted
from jurist.tiny.world import prompts


def settings(folder: Path, *words: str, **more: object) -> SelfRewardingConfig:
    given = {
        "judge": {"kind": "additive"},
        "sampling": {"temperature": 0.7, "top_p": 0.9, "max_tokens": 24},
        "compare": {"judge": "tiny:oracle", "held_out": 0.3},
        "dpo": {**MOVES, "soft": False},
    }
    return loop_settings(SelfRewardingConfig, folder, *words, **{**given, **more})


def test_as_in_the_papers_three_scores_of_five_points_and_rho_by_its_schedule():
    found = ADDITIVE.samples, ADDITIVE.bounds, ADDITIVE.reason, ADDITIVE.effective_temperature
    assert found == (3, (0, 5), True, 0.7)
    cfg = SelfRewardingConfig(rho=(0.0, 0.32, 0.4))
    assert (cfg.k, cfg.sampling.temperature, cfg.sampling.top_p) == (4, 0.7, 0.9)
    assert (cfg.dpo.soft, cfg.dpo.beta) == (False, None)
    assert [rule_of(cfg, number).rho for number in (1, 2, 3, 4)] == [0.0, 0.32, 0.4, 0.4]
    assert rule_of(cfg, 1).rule == "rho"
    assert rule_of(SelfRewardingConfig(), 1).rule == "best_vs_worst"


def test_rouge_l_by_hand():
    assert rouge_l("the cat sat on the mat", "the cat lay on the mat") == pytest.approx(2 * 5 / 12)
    assert rouge_l("Police killed the gunman", "police kill the gunman") == pytest.approx(0.75)
    assert rouge_l("a b c", "c b a") == pytest.approx(1 / 3)
    assert rouge_l("", "a") == 0


def test_an_invented_prompt_is_new_and_neither_short_nor_long():
    known = ["How can I sleep better at night?"]
    texts = ["How can I sleep better tonight?", "Explain tides", "word " * 151, "", "Why do cats purr?"]
    assert [unfit(text, known) for text in texts] == ["not_new", "too_short", "too_long", "empty", ""]


def test_eight_prompts_are_shown_of_which_two_were_invented():
    known, new = list(prompts(20)), [Prompt.of(f"new {n}") for n in range(5)]
    lines = few_shot(known, new, random.Random(1))
    assert len(lines) == 8
    assert sum(line.startswith("new ") for line in lines) == 2
    assert len(few_shot(known, [], random.Random(1))) == 6


HELD_OUT: list[str] = []


def makes_up(ask):
    """Invents; now and then what is too short, or a held-out prompt a word apart."""
    draw = random.Random(ask.seed)
    words = ["bread", "snow", "chess", "tides", "bees", "glass", "wool", "rust", "moss", "salt", "ink"]
    new = f"- {' '.join(draw.sample(words, 6))}\nand more"
    return draw.choice((new, new, "Why?", f"{draw.choice(HELD_OUT or ['x'])} Please."))


def test_invented_prompts_join_those_of_the_round_and_are_like_none_that_policies_are_compared_on(tmp_path):
    made = InventConfig(prompts=6, engine="scripted:test_self_rewarding:makes_up")
    with LoopRun(settings(tmp_path)) as loop:
        HELD_OUT[:] = [one.messages[-1].content for one in loop.read_prompts("held_out")]
        round = Round(loop, 1)
        file = invent(round, made, "nobody", round.prompts(5))
        rows, before = list(read_records(file, Prompt)), file.read_bytes()
        HELD_OUT[:] = ["asked again, it would say otherwise"]
        assert invent(Round(loop, 1), made, "nobody", round.prompts(5)).read_bytes() == before
    new = [one.messages[-1].content for one in rows if one.meta.get("invented")]
    gone = list(read_records(round.path / "invented-dropped.jsonl", Dropped))
    assert len(rows) == len(new) + 5
    assert 3 <= len(new) <= 6
    assert all(len(text.split()) == 6 for text in new)
    assert {row.reason for row in gone} == {"too_short", "not_new"}
    assert not any(text.endswith("Please.") for text in new)


def test_what_inventing_cost_before_a_kill_is_counted_against_the_budget(tmp_path):
    price = {"input": 1000.0, "output": 1000.0}
    dear = {"engine": "scripted:test_self_rewarding:makes_up", "price": price}
    made = InventConfig(prompts=30, engine=dear)
    cfg = settings(tmp_path, budget="2usd")
    for _ in range(3):
        with LoopRun(cfg) as loop, pytest.raises(BudgetSpent):
            invent(Round(loop, 1), made, "nobody", loop.prompts("train"))
    with sqlite3.connect(tmp_path / "loop" / "journal.sqlite") as journal:
        (spent,) = journal.execute("SELECT sum(usd) FROM spent").fetchone()
    assert 1.0 < spent <= 2.0


def test_a_budget_is_refused_where_nobody_knows_what_inventing_costs(tmp_path):
    made = InventConfig(prompts=4, engine="vllm:any@http://127.0.0.1:9/v1")
    cfg = settings(tmp_path, budget="1usd")
    with LoopRun(cfg) as loop, pytest.raises(SettingError, match="needs a price"):
        invent(Round(loop, 1), made, "nobody", loop.prompts("train"))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"judge": {"kind": "pairwise"}}, "one by one"),
        ({"judge": {"kind": "pointwise", "engine": "tiny:planted"}}, "its own judge"),
        ({"mixture": ["tiny:careful"]}, "own answers alone"),
        ({"dpo": {"base": "elsewhere"}}, "what the loop decides"),
    ],
)
def test_settings_that_cannot_go_together_are_refused(tmp_path, given, says):
    with pytest.raises(SettingError, match=says):
        check_self_rewarding(settings(tmp_path, **given))


@pytest.mark.slow
def test_two_rounds_judge_themselves_and_one_that_broke_off_anywhere_comes_to_the_same(tmp_path):
    pytest.importorskip("transformers", reason="training is an extra")
    with serving(Planted()) as served:
        stop = {"agreement": 0, "lost": 0.9}
        outside = {"judge": f"vllm:any@{served.url}", "held_out": 0.3}
        how = {"n": 24, "rounds": 2, "rho": [0.0, 0.3], "compare": outside, "stop": stop}
        whole = self_rewarding(settings(tmp_path, out=str(tmp_path / "whole"), **how))
        asked = served.calls
        broken = settings(tmp_path, out=str(tmp_path / "broken"), **how)
        for place in ((1, "label"), (1, "policy"), (1, "agreement"), (2, "compare"), (2, "proxy")):

            def breaks(now, place=place):
                if (now.round, now.step) == place and now.inner is not None:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                self_rewarding(broken, breaks)
        again = self_rewarding(broken)
    one, other = whole.rounds
    assert 0 <= one.proxy <= 5
    assert 0 < one.agreement.n <= 24
    assert other.compared.kl != 0
    for name in ("policy_hash", "agreement", "proxy"):
        assert [getattr(r, name) for r in again.rounds] == [getattr(r, name) for r in whole.rounds]
    assert served.calls == 2 * asked
