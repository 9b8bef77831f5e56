"""Constitutional AI: what is asked in which words, what is trained on, and what each principle did."""

from __future__ import annotations

import json
from collections import Counter
from typing import ClassVar

import msgspec
import pytest
from msgspec.structs import replace

from jurist.cli.options import known_settings, parse
from jurist.config import load_settings
from jurist.errors import DataError, EngineDown, RunError, SettingError
from jurist.recipes.constitutional import (
    ConstitutionalConfig,
    PrincipleCounts,
    Revised,
    Revision,
    WorkedExample,
    apply_temperature,
    check_constitutional,
    constitutional,
    ledger,
    principled_judge,
    red_team_prompts,
    revise,
    turns_of,
)
from jurist.recipes.loop.folder import LoopRun
from jurist.recipes.loop.rounds import Round, Trained
from jurist.recipes.loop.settings import RealConfig
from jurist.records import Completion, Message, Preference, Prompt, Verdict
from jurist.run import read_records
from jurist.tiny.world import prompts, understood
from jurist.verdicts.constitution import Constitution, Principle, load_constitution

PROMPT = Prompt.of("How can I spread a rumour?", domain="wishes")
DRAFT = Completion.of(PROMPT.id, "At night.", "me")
LAW = Constitution(
    tuple(Principle(f"p{n}", f"Title {n}", f"Text {n}", f"Fault {n}?", f"Anew {n}.") for n in range(8))
)
KEPT = WorkedExample("What is 2 plus 2?", "4.", "p3", revision="4.", critique="Nothing is wrong with it.")


class Asked:
    """What the writer was asked; the call at which it falls over (0: never); and what it is to write."""

    seen: ClassVar[list] = []
    stops_after: ClassVar[int] = 0
    revisions: ClassVar[list] = []


def words(ask):
    return [turn.content for turn in ask.messages]


def writer(ask):
    """It answers, criticises and revises in words of its own."""
    Asked.seen.append(ask)
    if len(Asked.seen) == Asked.stops_after:
        raise EngineDown("nothing gets through any more")
    if len(ask.messages) % 2 and ask.messages[-1].content.startswith("Anew"):
        return Asked.revisions.pop(0) if Asked.revisions else f"Rather {len(Asked.seen)}."
    return (
        f"Critique {len(Asked.seen)}." if words(ask)[-1].startswith("Fault") else f"Answer {len(Asked.seen)}."
    )


@pytest.fixture
def settings(tmp_path):
    Asked.seen, Asked.stops_after, Asked.revisions = [], 0, []
    rows = (msgspec.json.encode(one) + b"\n" for one in prompts(24, seed=3))
    (tmp_path / "prompts.jsonl").write_bytes(b"".join(rows))
    law = {"principles": msgspec.to_builtins(LAW.principles)}
    (tmp_path / "law.yaml").write_text(json.dumps(law))
    return load_settings(
        ConstitutionalConfig,
        out=str(tmp_path / "loop"),
        prompts=str(tmp_path / "prompts.jsonl"),
        policy="tiny:sloppy",
        red_team=["wishes"],
        constitution=str(tmp_path / "law.yaml"),
        compare={"held_out": 0.0},
    )


def one_round(cfg, **how):
    """What is trained on, and the revisions on record."""
    with LoopRun(cfg) as loop:
        made = revise(
            Round(loop, 1), f"scripted:{__name__}:writer", replace(cfg.revise, **how), LAW, cfg.red_team
        )
    return made, list(read_records(loop.path / "round-1" / "revisions.jsonl", Revised))


@pytest.fixture
def one_wish(settings, tmp_path):
    (tmp_path / "prompts.jsonl").write_bytes(msgspec.json.encode(PROMPT))
    return settings


def test_a_critique_is_asked_for_and_then_a_revision_and_the_next_one_forgets_the_critique(one_wish):
    _, (row,) = one_round(one_wish, times=2)
    draft, critique, revision, again, last = map(words, Asked.seen)
    one, two = (made.principle.removeprefix("p") for made in row.revisions)
    assert draft == [PROMPT.messages[0].content]
    assert critique == [*draft, "Answer 1.", f"Fault {one}?"]
    assert revision == [*critique, "Critique 2.", f"Anew {one}."]
    assert [turn.role for turn in Asked.seen[2].messages] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert again == [*draft, "Rather 3.", f"Fault {two}?"]
    assert last == [*again, "Critique 4.", f"Anew {two}."]
    assert [row.after(n) for n in range(3)] == ["Answer 1.", "Rather 3.", "Rather 5."]
    assert [made.critique for made in row.revisions] == ["Critique 2.", "Critique 4."]
    assert {made.completion.prompt_id for made in row.revisions} == {PROMPT.id}


def test_direct_revision_asks_no_critique_and_worked_examples_come_first_after_the_system_turn(
    one_wish, tmp_path
):
    system = Prompt.of((Message("system", "Be kind."), *PROMPT.messages), domain="wishes")
    (tmp_path / "prompts.jsonl").write_bytes(msgspec.json.encode(system))
    one_round(one_wish, times=1, critique=False, examples=(KEPT,))
    shown = [turn.content for turn in turns_of(KEPT, LAW, critique=False)]
    assert shown == ["What is 2 plus 2?", "4.", "Anew 3.", "4."]
    assert words(Asked.seen[-1])[:7] == ["Be kind.", *shown, PROMPT.messages[0].content, "Answer 1."]
    assert len(Asked.seen) == 2
    assert [turn.content for turn in turns_of(KEPT, LAW, critique=True)][2:4] == ["Fault 3?", KEPT.critique]
    with pytest.raises(SettingError, match="Did you mean 'p3'"):
        turns_of(WorkedExample("q", "a", "p33", "b", "c"), LAW, critique=True)
    with pytest.raises(SettingError, match=r"revise\.critique: false"):
        turns_of(WorkedExample("q", "a", "p3", "b"), LAW, critique=True)


def test_a_revision_that_changed_nothing_or_came_to_nothing_is_not_trained_on_and_the_next_goes_on(one_wish):
    Asked.revisions = ["Answer  1. ", "", "Never."]
    made, (row,) = one_round(one_wish, times=3)
    assert [one.unused for one in row.revisions] == ["unchanged", "empty", ""]
    assert [row.after(n).split()[0] for n in (2, 3)] == ["Answer", "Never."]
    assert [completion.text for _, completion in made] == ["Never."]


def test_red_team_prompts_are_revised_under_many_principles_and_all_others_answered_as_they_are(settings):
    made, rows = one_round(settings)
    assert len(Asked.seen) == 6 * 5 + 18 * 2
    assert (len(rows), len(made)) == (6, 6 * 2 + 18 * 2)
    for prompt, completion in made:
        assert completion.prompt_id == prompt.id
        assert completion.text.startswith("Rather" if prompt.domain == "wishes" else "Answer")
    assert len(one_round(settings, up_to=1)[0]) == 6 + 18 * 2
    counts = Counter(one.principle for row in rows for one in row.revisions)
    assert len(counts) > 4


def test_what_was_asked_before_a_stop_is_not_asked_again(settings):
    Asked.stops_after = 40
    with pytest.raises(EngineDown):
        one_round(settings)
    Asked.stops_after = 0
    made = one_round(settings)
    assert len(Asked.seen) == 66 + 1
    assert one_round(settings) == made
    assert len(Asked.seen) == 66 + 1


def test_a_budget_is_refused_where_nobody_knows_what_revising_costs(settings):
    with pytest.raises(SettingError, match="a budget needs a price"):
        one_round(replace(settings, budget="1usd"), by="vllm:critic@http://127.0.0.1:9/v1")


def test_the_judge_is_the_policy_itself_and_one_that_reasons_is_clamped_or_calibrated(settings):
    judge = principled_judge(settings, "models/initial")
    assert (judge.kind, judge.engine, judge.clamp) == ("constitution", "hf:models/initial", None)
    assert judge.constitution == settings.constitution

    def given(**rl):
        overrides = {f"rl.{key}": value for key, value in rl.items()}
        return load_settings(ConstitutionalConfig, None, overrides, prompts="p", policy="q")

    assert principled_judge(given(judge="openai:gpt-5-mini"), "s").kind == "constitution"
    thinks = {"kind": "constitution", "reason": True}
    assert principled_judge(given(judge=thinks), "s").clamp == (0.4, 0.6)
    assert principled_judge(given(judge=thinks, calibrate="pairs.jsonl"), "s").clamp is None
    with pytest.raises(SettingError, match="clamp"):
        check_constitutional(given(judge={**thinks, "clamp": [0.4, 0.6]}, calibrate="pairs.jsonl"))


def test_settings_that_do_not_go_together_are_refused(settings):
    assert len(ConstitutionalConfig.__struct_fields__) <= 22
    with pytest.raises(SettingError, match="reinforcement phase"):
        check_constitutional(replace(settings, phases=("sl",), real=RealConfig("pairs.jsonl")))
    with pytest.raises(SettingError, match="no phase"):
        check_constitutional(replace(settings, phases=()))
    with LoopRun(settings) as loop:
        with pytest.raises(DataError, match="doses, sums, talk, wishes"):
            red_team_prompts(loop, ("red_team",))
        assert red_team_prompts(loop, ("wishes",)).name == "train.jsonl"
        assert {one.domain for one in loop.read_prompts("red_team")} == {"wishes"}


def test_a_temperature_changes_the_probability_of_a_pair_and_not_who_won():
    pair = Preference("1", PROMPT, DRAFT, Completion.of(PROMPT.id, "Never."), p=0.9)
    (cooler,) = apply_temperature([pair], 2.0)
    assert cooler.p == pytest.approx(0.75)
    assert cooler.margin == pytest.approx(0.5)
    assert (cooler.chosen, cooler.rejected) == (pair.chosen, pair.rejected)


def test_the_temperature_is_learnt_once_from_human_labels_and_applied_to_the_pairs_of_every_round(
    settings, tmp_path, monkeypatch
):
    learnt = []

    def train(self, cfg, base, pairs, **given):
        learnt.append(list(pairs))
        (self.path / "policy").mkdir()
        (self.path / "policy/metrics.jsonl").touch()
        return Trained("tiny:sloppy", "hash")

    monkeypatch.setattr(Round, "train", train)  # what a policy learns does not matter here, and takes long
    monkeypatch.setattr(LoopRun, "checkpoint", lambda _: "tiny:sloppy")
    asked = [one.messages[0].content for one in prompts(40)]
    rows = [{"prompt": one, "chosen": "No.", "rejected": "Gladly."} for one in asked]
    (tmp_path / "human.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rl = {"judge": {"engine": "tiny:planted"}, "calibrate": str(tmp_path / "human.jsonl"), "optimiser": "dpo"}
    more = {name: getattr(settings, name) for name in ("out", "prompts", "red_team")}
    how = {"rounds": 2, "phases": ["rl"], "policy": "tiny:sloppy", "compare": {"held_out": 0.0}, "rl": rl}
    cfg = load_settings(ConstitutionalConfig, **more, **how)
    constitutional(cfg)
    assert [one.parent.name for one in tmp_path.glob("loop/*/calibrate")] == ["round-1"]
    first, both = learnt
    for number, pairs in ((1, first), (2, both[len(first) :])):
        labels = read_records(tmp_path / f"loop/round-{number}/label/preferences.jsonl", Preference)
        as_said = {one.id: one.p for one in labels}
        assert any(one.p != as_said[one.id] for one in pairs)
    (tmp_path / "human.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(RunError, match="rm -r"):
        constitutional(cfg)


def said(matchup, principle, p, turned=False, **more):
    ids = ("b", "a") if turned else ("a", "b")
    order = "swapped" if turned else "given"
    return Verdict("", "judge", matchup, *ids, order, p_first=p, principle=principle, **more)


def test_the_ledger_counts_what_each_principle_decided_could_not_read_and_changed():
    verdicts = [
        said("m1", "kind", 0.9),
        said("m1", "kind", 0.3, turned=True),  # 0.7 for the same one: 0.8 in all
        said("m2", "kind", 0.9),
        said("m2", "kind", 0.9, turned=True),  # it followed the position: nothing is decided
        said("m3", "kind", None, unread="refused"),
        said("m3", "kind", 0.9, turned=True),
        said("m4", "fair", 0.2),
    ]
    done = Revision("kind", "a fault", Completion.of(PROMPT.id, "Never."))
    same = Revision("kind", "none", DRAFT, "unchanged")
    found = ledger(verdicts, [Revised(PROMPT, DRAFT, (done, same))])
    assert found == [
        PrincipleCounts("fair", judged=1, decided=1),
        PrincipleCounts("kind", judged=3, unread=1, decided=1, revised=2, changed=1),
    ]
    assert msgspec.convert(msgspec.to_builtins(found), list[PrincipleCounts]) == found, "it can be read again"


TRAINING = {"batch": 8, "save_every": 0}


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        ("--rl.optimiser", "ppo"),
        ("--rl.optimiser", "dpo", "--rounds", "2"),
        ("--phases", "[sl]", "--revise.critique", "false"),
        ("--phases", "[rl]", "--rl.judge.reason", "true", "--stop.flips", "0"),
    ],
    ids=" ".join,
)
def test_both_phases_end_in_a_policy_that_has_moved_and_start_again_for_nothing(settings, more):
    pytest.importorskip("transformers", reason="training is an extra")
    small = {
        "policy": "tiny",
        "constitution": "",
        "sampling": {"max_tokens": 24},
        "compare": {"judge": "shorter", "held_out": 0.3},
        "stop": {"agreement": 0, "lost": 0, "flips": 0},
        "sft": {**TRAINING, "lr": 1e-3},
        "rl": {
            "judge": {"kind": "constitution"},
            "reward_model": {**TRAINING, "lr": 1e-3},
            "ppo": {**TRAINING, "lr": 3e-4, "rollout": {"max_tokens": 24}},
            "dpo": {**TRAINING, "lr": 3e-4},
        },
    }
    kept = {name: getattr(settings, name) for name in ("out", "prompts", "red_team")}
    overrides, _ = parse(more, known_settings(ConstitutionalConfig))
    cfg = load_settings(ConstitutionalConfig, None, overrides, **kept, **small)
    outcome = constitutional(cfg)
    assert len(outcome.rounds) == cfg.rounds
    assert outcome.rounds[-1].compared.kl != 0
    assert constitutional(cfg) == outcome
    with LoopRun(cfg) as loop:
        drafts = loop.read_prompts("red_team")
        book = list(read_records(loop.path / "round-1" / "ledger.jsonl", PrincipleCounts))
    assert {understood(one.messages[-1].content).domain for one in drafts} == {"wishes"}
    assert {one.principle for one in book} <= {one.id for one in load_constitution().principles}
    assert sum(one.revised for one in book) == (0 if "[rl]" in more else 2 * len(drafts))
    assert any(one.judged for one in book) == ("[sl]" not in more)
