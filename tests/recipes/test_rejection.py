"""Rejection sampling: which answers can be chosen, which is the best, and what is trained on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from jobs import LEARNS, loop_settings

from jurist.errors import DataError, SettingError
from jurist.recipes.loop.folder import LoopRun
from jurist.recipes.loop.labels import tied
from jurist.recipes.loop.rounds import Round
from jurist.recipes.rejection import (
    CandidateConfig,
    RejectionConfig,
    best_of,
    candidates,
    check_rejection,
    choose_best,
    combined,
    gather,
    is_about_safety,
    rejection,
)
from jurist.records import Completion, Dropped, Prompt
from jurist.run import read_records
from jurist.serve import serving
from jurist.stats.fits import sigmoid
from jurist.tiny.judges import FAULTLESS, Planted
from jurist.tiny.world import true_score
from jurist.verdicts.judge import JudgeConfig

PROMPT = Prompt.of("What is 2 plus 2?", reference="4")
SCORING = {"kind": "pointwise", "engine": "tiny:planted"}
SEES_ALL = {"engine": "tiny:planted", "extra": FAULTLESS}
ON = {"lost": 0.0, "agreement": 0.0}
"""On so few prompts diversity and agreement differ by chance."""


def said(text: str, **more: str) -> Completion:
    return Completion.of(PROMPT.id, text, "hf:policy", **more)


def settings(folder: Path, *words: str, **more: object) -> RejectionConfig:
    given = {"judge": SCORING, "sft": LEARNS, "reward_model": LEARNS}
    return loop_settings(RejectionConfig, folder, *words, **{**given, **more})


def best_of_round(cfg, number=1, pool=None, policy="tiny:sloppy"):
    """A round without its training, and with a policy that is a function."""
    with LoopRun(cfg) as loop:
        round = Round(loop, number)
        drawn = round.label(policy, prompts=round.prompts(cfg.prompts_each))
        answers = gather(round, drawn, pool or {}, cfg.candidates)
        judges = [judge for judge in (cfg.judge, cfg.safe.judge) if judge]
        scored = [round.run(f"score-{n}", judge, completions=answers) for n, judge in enumerate(judges)]
        best, level = choose_best(round, scored, cfg)
        return best, level, round


def lines(path: Path) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def test_a_text_stands_once_beside_the_best_so_far_and_others_are_dropped_with_a_reason():
    cut, long, no = said("It is fo", finish="length"), said("Four. " * 20), said("I'm sorry, I can't help.")
    drawn = [said("It is 4."), said("It  is 4. "), cut, long, no, said("4")]
    kept, dropped = candidates(PROMPT, drawn, None, CandidateConfig(longest=60, refusals="drop"))
    assert [one.text for one in kept] == ["4", "It is 4."]
    assert kept[0].policy == "human:reference"
    assert [row.reason for row in dropped] == ["identical", "truncated", "too_long", "refusal", "identical"]
    best = said("Gladly. It is 4.")
    kept, _ = candidates(PROMPT, [said("It is 4.")], best, CandidateConfig(reference=False))
    assert [one.text for one in kept] == ["Gladly. It is 4.", "It is 4."]


def test_the_best_is_the_shortest_of_those_that_score_highest_and_level_scores_are_tied():
    long, short, bad = said("a long answer"), said("an answer"), said("bad")
    assert best_of([long, short, bad], {long.id: 2.0, short.id: 2.0, bad.id: 1.0}) == short
    assert best_of([long, short, bad], {bad.id: 1.0}) == bad
    level, apart = {"a": 3.0, "b": 3.0}, {"a": 1.0, "b": 2.0, "c": 2.0}
    assert tied([level, apart, level, {"a": 1.0}, {}]) == pytest.approx(2 / 3)
    assert tied([{"a": 1.0}, {}]) is None


@pytest.mark.parametrize("judge", [{**SCORING, "engine": SEES_ALL}, {"engine": "tiny:oracle"}])
def test_the_best_of_k_is_the_one_that_the_judge_ranks_highest(tmp_path, judge):
    cfg = settings(tmp_path, judge=judge, candidates={"reference": False}, n=24)
    best, _, round = best_of_round(cfg)
    texts = {one.id: one for one in read_records(round.path / "candidates" / "prompts.jsonl", Prompt)}
    known = {name: one.messages[-1].content for name, one in texts.items() if one.domain != "doses"}
    scores: dict[str, list[float]] = {}
    for one in read_records(round.path / "candidates" / "completions.jsonl", Completion):
        if one.prompt_id in known:
            scores.setdefault(one.prompt_id, []).append(true_score(known[one.prompt_id], one.text))
    chosen = {name: true_score(known[name], best[name][1].text) for name in known}
    assert chosen == {name: max(some) for name, some in scores.items()}


def test_the_pool_keeps_what_no_later_answer_beats_and_asks_about_it_once(tmp_path):
    cfg = settings(tmp_path, n=12)
    with serving(Planted()) as served:
        judge = {"kind": "pointwise", "engine": f"vllm:any@{served.url}"}
        cfg = msgspec.structs.replace(cfg, judge=msgspec.convert(judge, type=JudgeConfig))
        first, _, one = best_of_round(cfg, policy="tiny:careful")
        second, _, other = best_of_round(cfg, 2, first, policy="tiny:wordy")
        asked = served.calls
    scored = {row["completion"]["id"]: row["score"] for row in lines(one.path / "best.jsonl")}
    later = {row["prompt"]["id"]: row["score"] for row in lines(other.path / "best.jsonl")}
    assert all(later[name] >= scored[first[name][1].id] for name in first)
    assert any(second[name][1].id == first[name][1].id for name in first)
    files = [round.path / "candidates" / "completions.jsonl" for round in (one, other)]
    assert asked == len({row["id"] for file in files for row in lines(file)})


def test_an_unsafe_answer_or_a_prompt_about_safety_is_scored_for_safety():
    assert combined(helpful=0.9, safe=0.6, about_safety=False) == 0.9
    assert combined(helpful=0.9, safe=0.6, about_safety=True) == 0.6
    assert combined(helpful=0.9, safe=0.14, about_safety=False) == 0.14
    assert combined(helpful=0.9, safe=0.15, about_safety=False) == 0.9
    high, higher = (combined(sigmoid(score), safe=0.9, about_safety=False) for score in (12.0, 14.0))
    assert higher > high, "of two high rewards the higher is still better"
    assert is_about_safety(Prompt.of("?", domain="safety"), ("safety",))
    assert is_about_safety(Prompt.of("?", meta={"tags": ["law", "safety"]}), ("safety",))
    assert not is_about_safety(Prompt.of("?", domain="law"), ("safety",))


def test_where_a_prompt_is_about_safety_only_the_second_judge_decides(tmp_path):
    safe = {"judge": {"kind": "regex:rather not"}, "domains": ["wishes"]}
    cfg = settings(tmp_path, judge={"kind": "regex:deny it"}, safe=safe, k=8)
    best, _, round = best_of_round(cfg)
    rows = lines(round.path / "candidates" / "completions.jsonl")
    offered = {row["prompt_id"] for row in rows if "rather not" in row["text"]}
    wishes = [pair for pair in best.values() if pair[0].domain == "wishes" and pair[0].id in offered]
    assert wishes
    assert all("rather not" in one.text for _, one in wishes)


def test_each_round_draws_from_its_own_prompts(tmp_path):
    cfg = settings(tmp_path, prompts_each=5)
    with LoopRun(cfg) as loop:
        asked = [one.id for n in range(1, 6) for one in read_records(Round(loop, n).prompts(5), Prompt)]
        every = [one.id for one in loop.read_prompts("train")]
    assert asked == [every[place % len(every)] for place in range(25)]


def test_a_prompt_without_a_best_answer_is_dropped_and_a_round_without_any_says_so(tmp_path):
    best, _, round = best_of_round(settings(tmp_path, judge={"kind": "exact"}))  # only sums have a reference
    gone = list(read_records(round.path / "dropped.jsonl", Dropped))
    assert {prompt.domain for prompt, _ in best.values()} == {"sums"}
    assert {row.kind for row in gone} == {"preferences: unread"}
    assert len(best) + len(gone) == len(lines(round.path / "candidates" / "prompts.jsonl"))
    garbage = settings(
        tmp_path, judge={"kind": "pointwise", "engine": "tiny:garbage"}, out=str(tmp_path / "b")
    )
    with pytest.raises(DataError, match="best answer to none of"):
        best_of_round(garbage)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"judge": ()}, "needs a judge"),
        ({"judge": "tiny:oracle", "safe": {"judge": "shorter"}}, "--judge.kind pointwise"),
        ({"sft": {"base": "elsewhere"}}, "what the loop decides"),
    ],
)
def test_settings_that_cannot_go_together_are_refused(tmp_path, given, says):
    with pytest.raises(SettingError, match=says):
        check_rejection(settings(tmp_path, **given))


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {"judge": {"engine": "tiny:planted"}, "reward": "model", "k": 2},
        {"pool": "last", "start": "last", "safe": {"judge": SCORING, "domains": ["wishes"]}},
    ],
    ids=["reward model", "last and safe"],
)
def test_two_rounds_end_in_a_policy_that_has_moved(tmp_path, more):
    pytest.importorskip("transformers", reason="training is an extra")
    outcome = rejection(settings(tmp_path, rounds=2, stop=ON, **more))
    last = outcome.rounds[-1]
    assert len(outcome.rounds) == 2
    assert last.compared.kl != 0
    assert last.proxy is not None


@pytest.mark.slow
def test_a_loop_that_broke_off_anywhere_comes_to_the_same_weights_and_asks_nothing_twice(tmp_path):
    pytest.importorskip("transformers", reason="training is an extra")
    with serving(Planted()) as served:
        judge = {"kind": "pointwise", "engine": f"vllm:any@{served.url}"}
        how = {"rounds": 2, "judge": judge, "stop": ON}
        whole = rejection(settings(tmp_path, out=str(tmp_path / "whole"), **how))
        asked = served.calls
        broken = settings(tmp_path, out=str(tmp_path / "broken"), **how)
        for place in ((1, "sample"), (1, "score-0"), (2, "policy"), (2, "held_out"), (2, "compare")):

            def breaks(now, place=place):
                if (now.round, now.step) == place and now.inner is not None:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                rejection(broken, breaks)
        again = rejection(broken)
    assert [one.policy_hash for one in again.rounds] == [one.policy_hash for one in whole.rounds]
    assert served.calls == 2 * asked
