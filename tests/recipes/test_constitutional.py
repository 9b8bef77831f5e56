"""Constitutional AI: what is asked in which words, what is learnt from it, and what each principle did."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest
from msgspec.structs import replace

from jurist.cli.options import known_settings, parse
from jurist.config import load_settings
from jurist.engines.scripted import Scripted
from jurist.errors import DataError, EngineDown, RunError, SettingError
from jurist.recipes.constitutional import ConstitutionalConfig, check, constitutional, judged_by
from jurist.recipes.constitutional import part_red_team as part
from jurist.recipes.ledger import Ledger, ledger
from jurist.recipes.loop.calibrate import put_right
from jurist.recipes.loop.folder import Loop
from jurist.recipes.loop.revise import ReviseConfig, Revised, Reviser, Revision, Worked, revise
from jurist.recipes.loop.rounds import Round, Trained
from jurist.recipes.loop.settings import RealConfig
from jurist.records import Completion, Message, Preference, Prompt, Sampling, Verdict
from jurist.run import read_json, read_records
from jurist.tiny.world import domain_of, prompts
from jurist.verdicts.calibrate import Calibration
from jurist.verdicts.constitution import Constitution, Principle, load_constitution

PROMPT = Prompt.of("How can I spread a rumour?", domain="wishes")
DRAFT = Completion.of(PROMPT.id, "At night.", "me")
LAW = Constitution(
    tuple(Principle(f"p{n}", f"Title {n}", f"Text {n}", f"Fault {n}?", f"Anew {n}.") for n in range(8))
)


def is_critique(ask):
    return ask.messages[-1].content.endswith("?") and len(ask.messages) > 1


class Writer:
    """Criticises and revises, and keeps what it was asked."""

    def __init__(self, *revisions):
        self.asked, self.revisions = [], list(revisions)

    def __call__(self, ask):
        self.asked.append(ask)
        if is_critique(ask):
            return f"critique {len(self.asked)}"
        return self.revisions.pop(0) if self.revisions else f"revision {len(self.asked)}"


async def revised(writer, prompt=PROMPT, draft=DRAFT, seed=0, **how) -> Revised:
    reviser = Reviser(ReviseConfig(**how), LAW, Scripted(writer, "me"), Sampling(), seed)
    return await reviser(prompt, draft)


def run(coroutine):
    import asyncio

    return asyncio.run(coroutine)


def words(ask):
    return [turn.content for turn in ask.messages]


def test_a_critique_is_asked_for_and_then_a_revision_of_the_answer_it_is_about():
    writer = Writer()
    one = run(revised(writer, times=1)).revisions[0]
    number = one.principle.removeprefix("p")
    critique, revision = writer.asked
    assert words(critique) == [PROMPT.messages[0].content, "At night.", f"Fault {number}?"]
    assert words(revision) == [*words(critique), "critique 1", f"Anew {number}."]
    assert [turn.role for turn in revision.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert (one.critique, one.completion.text) == ("critique 1", "revision 2")
    assert {ask.temperature for ask in writer.asked} == {1.0}


def test_the_next_revision_starts_from_the_last_and_the_critique_is_forgotten():
    writer = Writer()
    row = run(revised(writer, times=3))
    assert [words(ask)[1] for ask in writer.asked[::2]] == ["At night.", "revision 2", "revision 4"]
    assert all(len(ask.messages) == 3 for ask in writer.asked[::2])
    assert [row.after(number) for number in range(4)] == [
        "At night.",
        "revision 2",
        "revision 4",
        "revision 6",
    ]


def test_each_revision_draws_its_own_principle_and_the_same_one_again():
    rows = [run(revised(Writer(), times=4)) for _ in range(2)]
    drawn = [[one.principle for one in row.revisions] for row in rows]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 1
    others = [run(revised(Writer(), times=4, seed=seed)) for seed in range(50)]
    counts = Counter(one.principle for row in others for one in row.revisions)
    assert len(counts) == 8
    assert max(counts.values()) < 3 * min(counts.values())


def test_direct_revision_asks_no_critique():
    writer = Writer()
    row = run(revised(writer, times=2, critique=False))
    assert len(writer.asked) == 2
    assert words(writer.asked[0])[1:] == ["At night.", f"Anew {row.revisions[0].principle[1:]}."]
    assert row.revisions[0].critique == ""


def test_worked_examples_come_first_in_the_same_form_and_after_the_system_turn():
    system = Prompt.of((Message("system", "Be kind."), *PROMPT.messages))
    kept = Worked("What is 2 plus 2?", "4.", "p3", revision="4.", critique="Nothing is wrong with it.")
    writer = Writer()
    run(revised(writer, system, examples=(kept,), times=1))
    shown = ["What is 2 plus 2?", "4.", "Fault 3?", "Nothing is wrong with it.", "Anew 3.", "4."]
    assert words(writer.asked[0])[:8] == ["Be kind.", *shown, PROMPT.messages[0].content]
    writer = Writer()
    run(revised(writer, critique=False, examples=(kept,), times=1))
    assert words(writer.asked[0])[:4] == [shown[0], "4.", "Anew 3.", "4."]


def test_an_example_under_an_unknown_principle_or_without_a_critique_is_refused():
    with pytest.raises(SettingError, match="Did you mean 'p3'"):
        run(revised(Writer(), examples=(Worked("q", "a", "p33", "b", "c"),)))
    with pytest.raises(SettingError, match=r"revise\.critique: false"):
        run(revised(Writer(), examples=(Worked("q", "a", "p3", "b"),)))


def test_a_revision_that_changed_nothing_or_came_to_nothing_leaves_by_name_and_the_next_goes_on():
    row = run(revised(Writer("At  night. ", "", "Never."), times=3))
    assert [one.unused for one in row.revisions] == ["unchanged", "empty", ""]
    assert row.after(3) == "Never."
    assert row.after(2).split() == ["At", "night."]
    mute = run(revised(lambda ask: "", times=1)).revisions[0]
    assert (mute.unused, mute.completion) == ("critique_empty", None)


def writer(ask):
    """The policy of the tests below: it answers, criticises and revises in its own words."""
    Asked.seen.append(ask)
    if len(Asked.seen) == Asked.stops_after:
        raise EngineDown("nothing gets through any more")
    if len(ask.messages) == 1:
        return f"Answer {len(Asked.seen)}."
    if is_critique(ask):
        return "It does harm."
    # One wish is not to be talked out of its answer.
    return (
        ask.messages[1].content if "(Request 0)" in ask.messages[0].content else f"Rather {len(Asked.seen)}."
    )


class Asked:
    """What the writer was asked, and the call at which it falls over; 0: never."""

    seen: ClassVar[list] = []
    stops_after: ClassVar[int] = 0


@pytest.fixture
def settings(tmp_path):
    Asked.seen, Asked.stops_after = [], 0
    rows = (msgspec.json.encode(one) + b"\n" for one in prompts(24, seed=3))
    (tmp_path / "prompts.jsonl").write_bytes(b"".join(rows))
    law = {"principles": msgspec.to_builtins(LAW.principles)}
    (tmp_path / "law.yaml").write_text(json.dumps(law))
    return load_settings(
        ConstitutionalConfig,
        out=str(tmp_path / "loop"),
        prompts=str(tmp_path / "prompts.jsonl"),
        policy="nobody",
        red_team=["wishes"],
        constitution=str(tmp_path / "law.yaml"),
        compare={"held_out": 0.0},
    )


def one_round(cfg):
    with Loop(cfg) as loop:
        return revise(Round(loop, 1), f"scripted:{__name__}:writer", cfg.revise, LAW, cfg.red_team)


def test_red_team_prompts_are_revised_and_all_others_answered_as_they_are(settings):
    made = one_round(settings)
    unchanged = made.dropped.get("revisions: unchanged", 0)  # the same principle was drawn again
    assert (made.drafts, made.revisions + unchanged, made.helpful) == (6, 12, 36)
    assert made.calls == 6 * 5 + 18 * 2
    targets = made.targets()
    assert len(targets) == 48 - unchanged
    for prompt, completion in targets:
        assert completion.prompt_id == prompt.id
        assert completion.text.startswith("Rather" if prompt.domain == "wishes" else "Answer")
    assert len(made.targets(up_to=1)) == 42
    assert all(row.revisions[0].critique == "It does harm." for row in made.revised())


def test_what_was_asked_before_a_stop_is_not_asked_again(settings):
    Asked.stops_after = 40
    with pytest.raises(EngineDown):
        one_round(settings)
    Asked.stops_after = 0
    made = one_round(settings)
    # What was under way when it stopped came home.
    assert len(Asked.seen) == 66 + 1
    assert made.calls == 66
    before = len(Asked.seen)
    assert one_round(settings) == made
    assert len(Asked.seen) == before


def test_a_budget_is_refused_where_nobody_knows_what_revising_costs(settings):
    cfg = replace(settings, budget="1usd", revise=ReviseConfig(by="vllm:critic@http://127.0.0.1:9/v1"))
    with pytest.raises(SettingError, match="a budget needs a price"):
        one_round(cfg)
    assert Asked.seen == []


def test_the_judge_is_the_policy_itself_and_one_that_reasons_is_clamped_or_calibrated(settings):
    judge = judged_by(settings, "models/start")
    assert (judge.kind, judge.engine) == ("constitution", "hf:models/start")
    assert judge.constitution == settings.constitution
    assert judge.clamp is None

    def given(**rl):
        overrides = {f"rl.{key}": value for key, value in rl.items()}
        return load_settings(ConstitutionalConfig, None, overrides, prompts="p", policy="q")

    assert judged_by(given(judge="openai:gpt-5-mini"), "s").kind == "constitution"
    thinks = {"kind": "constitution", "reason": True}
    assert judged_by(given(judge=thinks), "s").clamp == (0.4, 0.6)
    assert judged_by(given(judge=thinks, calibrate="pairs.jsonl"), "s").clamp is None
    with pytest.raises(SettingError, match="clamp"):
        check(given(judge={**thinks, "clamp": [0.4, 0.6]}, calibrate="pairs.jsonl"))


def test_phases_without_the_one_that_has_a_use_for_peoples_pairs_are_refused(settings):
    with pytest.raises(SettingError, match="reinforcement phase"):
        check(replace(settings, phases=("sl",), real=RealConfig("pairs.jsonl")))
    with pytest.raises(SettingError, match="no phase"):
        check(replace(settings, phases=()))


def test_prompts_that_ask_for_no_harm_are_refused_with_the_domains_there_are(settings):
    with Loop(settings) as loop:
        with pytest.raises(DataError, match="doses, sums, talk, wishes"):
            part(loop, ("red_team",))
        assert part(loop, ("wishes",)).name == "train.jsonl"
        assert {one.domain for one in loop.read_prompts("red_team")} == {"wishes"}


def test_a_temperature_changes_how_sure_a_pair_is_and_not_who_won():
    pair = Preference("1", PROMPT, DRAFT, Completion.of(PROMPT.id, "Never."), p=0.9)
    (cooler,) = put_right([pair], Calibration("judge", temperature=2.0))
    assert cooler.p == pytest.approx(0.75)
    assert cooler.margin == pytest.approx(0.5)
    assert (cooler.chosen, cooler.rejected) == (pair.chosen, pair.rejected)


def test_peoples_labels_are_held_against_the_judge_once_and_put_the_pairs_of_every_round_right(
    settings, tmp_path, monkeypatch
):
    learnt = []

    def dpo(self, cfg, base, anchor, pairs):
        learnt.append(list(pairs))
        return Trained("tiny:sloppy", "hash", len(pairs), {})

    monkeypatch.setattr(Round, "dpo", dpo)  # what a policy learns is of no matter here, and takes long
    monkeypatch.setattr("jurist.recipes.loop.finish.checkpoint", lambda policy, tell: "tiny:sloppy")
    asked = [one.messages[0].content for one in prompts(40)]
    rows = [{"prompt": one, "chosen": "No.", "rejected": "Gladly."} for one in asked]
    (tmp_path / "people.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rl = {
        "judge": {"engine": "tiny:planted"},
        "calibrate": str(tmp_path / "people.jsonl"),
        "optimiser": "dpo",
    }
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
    (tmp_path / "people.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(RunError, match="rm -r"):
        constitutional(cfg)


def said(matchup, principle, p, sample=0, turned=False, **more):
    seats = ("b", "a") if turned else ("a", "b")
    order = "swapped" if turned else "given"
    return Verdict("", "judge", matchup, *seats, order, p_first=p, sample=sample, principle=principle, **more)


def test_the_ledger_counts_what_each_principle_drew_decided_and_could_not_read():
    verdicts = [
        said("m1", "kind", 0.9),
        said("m1", "kind", 0.3, turned=True),  # 0.7 for the same one: 0.8 in all
        said("m2", "kind", 0.9),
        said("m2", "kind", 0.9, turned=True),  # it followed the seat: nothing is decided
        said("m3", "kind", None, unread="refused"),
        said("m3", "kind", 0.9, turned=True),
        said("m4", "fair", 0.2),
    ]
    book = ledger(verdicts)
    kind, fair = book.principles[1], book.principles[0]
    assert (kind.judged, kind.decided, kind.unread) == (3, 1, pytest.approx(1 / 3))
    assert kind.sureness == pytest.approx((0.6 + 0.0) / 2)
    assert (fair.judged, fair.decided, fair.unread, fair.revised) == (1, 1, 0.0, 0)
    assert book.conflicts == []


def test_the_ledger_shows_which_principles_disagree_about_the_same_answers():
    verdicts = []
    for number, (kind, fair, short) in enumerate([(0.9, 0.2, 0.8), (0.8, 0.7, 0.55), (0.1, 0.9, 0.2)]):
        for sample, (name, p) in enumerate({"kind": kind, "fair": fair, "short": short}.items()):
            verdicts.append(said(f"m{number}", name, p, sample))
    found = {(one.one, one.other): (one.met, one.opposed) for one in ledger(verdicts).conflicts}
    assert found == {("fair", "kind"): (3, 2), ("fair", "short"): (2, 2), ("kind", "short"): (2, 0)}


def test_the_ledger_counts_revisions_and_those_that_changed_the_text():
    done = Revision("kind", "a fault", Completion.of(PROMPT.id, "Never."))
    same = Revision("kind", "none", DRAFT, "unchanged")
    (kind,) = ledger([], [Revised(PROMPT, DRAFT, (done, same))]).principles
    assert (kind.revised, kind.changed, kind.judged, kind.unread) == (2, 1, 0, None)


def test_the_settings_stay_within_twenty():
    assert len(ConstitutionalConfig.__struct_fields__) <= 20


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
        "sft": {**TRAINING, "lr": 1e-3},
        "rl": {
            "judge": {"kind": "constitution"},
            "reward_model": {**TRAINING, "lr": 1e-3},
            "ppo": {**TRAINING, "lr": 3e-4, "max_tokens": 24},
            "dpo": {**TRAINING, "lr": 3e-4},
        },
    }
    kept = {name: getattr(settings, name) for name in ("out", "prompts", "red_team")}
    overrides, _ = parse(more, known_settings(ConstitutionalConfig))
    cfg = load_settings(ConstitutionalConfig, None, overrides, **kept, **small)

    outcome = constitutional(cfg)

    last = outcome.rounds[-1]
    assert len(outcome.rounds) == cfg.rounds
    assert last.kl != 0
    again = constitutional(cfg)
    assert msgspec.structs.replace(again, seconds=0) == msgspec.structs.replace(outcome, seconds=0)
    book = read_json(Path(cfg.out) / "round-1" / "ledger.json", Ledger)
    known = {one.id for one in load_constitution().principles}
    assert {one.principle for one in book.principles} <= known
    assert sum(one.revised for one in book.principles) == (0 if "[rl]" in more else 2 * drafts(cfg))
    assert any(one.judged for one in book.principles) == ("[sl]" not in more)


def drafts(cfg):
    rows = (Path(cfg.out) / "prompts" / "red_team.jsonl").read_text().splitlines()
    assert all(domain_of(json.loads(row)["messages"][-1]["content"]) == "wishes" for row in rows)
    return len(rows)
