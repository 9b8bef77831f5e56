"""Rejection sampling: whom the best is chosen among, who it is, and what is learnt from it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from jobs import LEARNS, loop_settings

from jurist.errors import DataError, SettingError
from jurist.recipes.loop.candidates import CandidateConfig, candidates, gather
from jurist.recipes.loop.folder import Loop
from jurist.recipes.loop.rated import rated
from jurist.recipes.loop.rounds import Round
from jurist.recipes.rejection import (
    RejectionConfig,
    Target,
    check,
    chosen,
    combined,
    drawing,
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
SEEING = {"engine": "tiny:planted", "extra": FAULTLESS}
SCORING = {"kind": "pointwise", "engine": SEEING}


def said(text: str, **more: str) -> Completion:
    return Completion.of(PROMPT.id, text, "hf:policy", **more)


def settings(folder: Path, *words: str, **more: object) -> RejectionConfig:
    given = {"judge": SCORING, "sft": LEARNS, "reward_model": LEARNS}
    return loop_settings(RejectionConfig, folder, *words, **{**given, **more})


def best_of_round(
    cfg: RejectionConfig,
    number: int = 1,
    pool: dict[str, Target] | None = None,
    policy: str = "tiny:sloppy",
) -> tuple[dict[str, Target], dict[str, float | None], Round]:
    """A round without its training, and with a policy that is a function."""
    with Loop(cfg) as loop:
        one = Round(loop, number)
        wrote = one.sample(policy, drawing(cfg, number), one.prompts(cfg.prompts_each))
        among = gather(one, wrote, pool or {}, cfg.candidates)
        judges = [judge for judge in (cfg.judge, cfg.safe.judge) if judge]
        heard = [rated(one, among, judge, cfg.jury, f"score-{n}") for n, judge in enumerate(judges)]
        best, seen = chosen(one, heard, pool or {}, cfg)
        return best, seen, one


def test_a_text_stands_once_and_what_may_not_be_chosen_leaves_by_name():
    cut, long, no = said("It is fo", finish="length"), said("Four. " * 20), said("I'm sorry, I can't help.")
    drawn = [said("It is 4."), said("It  is 4. "), cut, long, no, said("4")]

    kept, dropped = candidates(PROMPT, drawn, None, CandidateConfig(longest=60, refusals="drop"))

    assert [one.text for one in kept] == ["4", "It is 4."]
    assert kept[0].policy == "human:reference"
    assert [row.reason for row in dropped] == ["identical", "truncated", "too_long", "refusal", "identical"]


def test_the_best_so_far_stands_again_beside_the_new_ones():
    kept, _ = candidates(
        PROMPT, [said("It is 4.")], said("Gladly. It is 4."), CandidateConfig(reference=False)
    )

    assert [one.text for one in kept] == ["Gladly. It is 4.", "It is 4."]


@pytest.mark.parametrize("judge", [SCORING, {"engine": "tiny:oracle"}, {"engine": SEEING}])
def test_the_best_of_k_is_the_one_that_the_judge_ranks_highest(tmp_path, judge):
    cfg = settings(tmp_path, judge=judge, candidates={"reference": False})

    best, seen, round = best_of_round(cfg)

    worth: dict[str, list[tuple[float, Completion]]] = {}
    texts = {one.id: one for one in read_records(round.path / "candidates" / "prompts.jsonl", Prompt)}
    for one in read_records(round.path / "candidates" / "completions.jsonl", Completion):
        request = texts[one.prompt_id].messages[-1].content
        worth.setdefault(one.prompt_id, []).append((true_score(request, one.text), one))
    sure = [name for name in texts if texts[name].domain != "doses"]  # where no judge can see what is right
    ranks = [true_score(texts[name].messages[-1].content, best[name][1].text) for name in sure]
    assert ranks == [max(score for score, _ in worth[name]) for name in sure]
    assert (seen["reward"] is None) == (judge is not SCORING)


def test_of_equally_good_answers_the_shortest_is_chosen(tmp_path):
    cfg = settings(tmp_path, judge={"kind": "regex:rather not"}, candidates={"reference": False})

    best, seen, round = best_of_round(cfg)

    rows = list(read_records(round.path / "candidates" / "completions.jsonl", Completion))
    for name, (_, one) in best.items():
        texts = [other.text for other in rows if other.prompt_id == name]
        good = [text for text in texts if "rather not" in text] or texts
        assert len(one.text) == min(map(len, good))
    assert 0.5 < seen["tied"] < 1


def test_the_pool_keeps_what_no_later_answer_beats_and_asks_about_it_once(tmp_path):
    cfg = settings(tmp_path, n=12)
    with serving(Planted()) as served:
        judge = {"kind": "pointwise", "engine": f"vllm:any@{served.url}"}
        cfg = msgspec.structs.replace(cfg, judge=msgspec.convert(judge, type=JudgeConfig))
        first, _, one = best_of_round(cfg, policy="tiny:careful")
        second, _, other = best_of_round(cfg, 2, first, policy="tiny:wordy")
        asked = served.calls

    scored = {row["completion"]["id"]: row["worth"] for row in lines(one.path / "best.jsonl")}
    later = {row["prompt"]["id"]: row["worth"] for row in lines(other.path / "best.jsonl")}
    assert all(later[name] >= scored[first[name][1].id] for name in first)
    assert any(second[name][1].id == first[name][1].id for name in first)
    texts = {
        row["id"]
        for folder in (one.path, other.path)
        for row in lines(folder / "candidates" / "completions.jsonl")
    }
    assert asked == len(texts)


def lines(path: Path) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def test_an_unsafe_answer_or_a_prompt_about_safety_is_scored_for_safety():
    assert combined(helpful=0.9, safe=0.6, about_safety=False) == 0.9
    assert combined(helpful=0.9, safe=0.6, about_safety=True) == 0.6
    assert combined(helpful=0.9, safe=0.14, about_safety=False) == 0.14
    assert combined(helpful=0.9, safe=0.15, about_safety=False) == 0.9


def test_of_two_answers_that_a_reward_model_is_sure_of_the_better_one_is_still_better():
    sure, surer = (combined(sigmoid(score), safe=0.9, about_safety=False) for score in (12.0, 14.0))

    assert surer > sure


def test_a_prompt_is_about_safety_by_its_domain_or_a_tag():
    assert is_about_safety(Prompt.of("?", domain="safety"), ("safety",))
    assert is_about_safety(Prompt.of("?", meta={"tags": ["law", "safety"]}), ("safety",))
    assert not is_about_safety(Prompt.of("?", domain="law"), ("safety",))


def test_where_a_prompt_is_about_safety_only_the_second_judge_has_the_word(tmp_path):
    safe = {"judge": {"kind": "regex:rather not"}, "domains": ["wishes"]}
    cfg = settings(tmp_path, judge={"kind": "regex:deny it"}, safe=safe, k=8)

    best, _, round = best_of_round(cfg)

    offered = {
        row["prompt_id"]
        for row in lines(round.path / "candidates" / "completions.jsonl")
        if "rather not" in row["text"]
    }
    wishes = [pair for pair in best.values() if pair[0].domain == "wishes" and pair[0].id in offered]
    assert wishes
    assert all("rather not" in one.text for _, one in wishes)


def test_each_round_draws_at_its_own_temperature_and_from_its_own_prompts(tmp_path):
    cfg = settings(tmp_path, temperatures=[0.7, 1.2], prompts_each=5)

    assert [drawing(cfg, number).temperature for number in (1, 2, 3)] == [0.7, 1.2, 1.2]
    with Loop(cfg) as loop:
        asked = [one.id for n in range(1, 6) for one in read_records(Round(loop, n).prompts(5), Prompt)]
        every = [one.id for one in loop.read_prompts("train")]
    assert asked == [every[place % len(every)] for place in range(25)]


def test_a_prompt_without_a_best_answer_leaves_by_name(tmp_path):
    cfg = settings(tmp_path, judge={"kind": "exact"})  # only sums have a reference

    best, _, round = best_of_round(cfg)

    gone = list(read_records(round.path / "dropped.jsonl", Dropped))
    assert {prompt.domain for prompt, _ in best.values()} == {"sums"}
    assert {row.kind for row in gone} == {"preferences: unread"}
    assert len(best) + len(gone) == len(lines(round.path / "candidates" / "prompts.jsonl"))


def test_a_round_that_finds_no_best_answer_at_all_says_so(tmp_path):
    with pytest.raises(DataError, match="best answer to none of"):
        best_of_round(settings(tmp_path, judge={"kind": "pointwise", "engine": "tiny:garbage"}))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"judge": ()}, "needs a judge"),
        ({"judge": "tiny:oracle", "safe": {"judge": "shorter"}}, "--judge.kind pointwise"),
        ({"sft": {"base": "elsewhere"}}, "what the loop decides"),
    ],
)
def test_settings_that_cannot_go_together_are_refused(tmp_path, given, told):
    with pytest.raises(SettingError, match=told):
        check(settings(tmp_path, **given))


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"judge": {"engine": "tiny:planted"}, "reward": "model", "k": 2},
        {"pool": "last", "start": "last", "safe": {"judge": SCORING, "domains": ["wishes"]}},
    ],
    ids=["judge", "reward model", "last and safe"],
)
def test_two_rounds_end_in_a_policy_that_has_moved(tmp_path, more):
    pytest.importorskip("transformers", reason="training is an extra")

    # On so few prompts the diversity of two rounds differs by chance.
    outcome = rejection(settings(tmp_path, rounds=2, stop={"lost": 0.9}, **more))

    last = outcome.rounds[-1]
    assert len(outcome.rounds) == 2
    assert last.kl != 0
    assert last.reward is not None
    assert last.rows == last.pool > 0
    assert last.generation == 2


@pytest.mark.slow
def test_a_loop_that_broke_off_anywhere_comes_to_the_same_weights_and_asks_nothing_twice(tmp_path):
    pytest.importorskip("transformers", reason="training is an extra")
    with serving(Planted()) as served:
        judge = {"kind": "pointwise", "engine": f"vllm:any@{served.url}"}
        whole = rejection(settings(tmp_path, rounds=2, judge=judge, out=str(tmp_path / "whole")))
        asked = served.calls
        broken = settings(tmp_path, rounds=2, judge=judge, out=str(tmp_path / "broken"))
        for place in ((1, "sample"), (1, "score-0"), (2, "candidates"), (2, "policy"), (2, "look")):

            def breaks(now, place=place):
                if (now.round, now.step) == place and (now.inner is not None or place[1] in ("candidates",)):
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                rejection(broken, breaks)
        again = rejection(broken)
    assert [one.policy_hash for one in again.rounds] == [one.policy_hash for one in whole.rounds]
    assert served.calls == 2 * asked
