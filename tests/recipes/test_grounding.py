"""A loop that contracts gets more of people's rows, asks for those it lacks, and ends where it should."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from msgspec.structs import replace

from jurist.audits.overoptimisation import fitted
from jurist.config import load_settings
from jurist.recipes.loop.compare import all_drawn
from jurist.recipes.loop.finish import Rounds
from jurist.recipes.loop.folder import Loop
from jurist.recipes.loop.history import checkpoints, generations
from jurist.recipes.loop.mix import MOST, Grounding, grounding
from jurist.recipes.loop.rounds import Round
from jurist.recipes.loop.settings import RealConfig, StopConfig
from jurist.recipes.loop.stopping import Comparison, Facts, reason_to_stop
from jurist.recipes.rejection import RejectionConfig
from jurist.records import Completion, Dropped, Prompt
from jurist.run import read_records

START = Facts(0, "start", distinct=0.4, unique=1.0, kl=0.0)
PEOPLE = RealConfig(file="people.jsonl")


def came_to(*distinct):
    return [Facts(at, f"policy {at}", distinct=one, unique=1.0) for at, one in enumerate(distinct, 1)]


def test_a_loop_that_keeps_its_variety_keeps_its_share():
    assert grounding(came_to(0.4, 0.39, 0.41), START, PEOPLE) == Grounding(0.3)


def test_each_round_that_lost_too_much_halves_what_models_write():
    shares = [grounding(came_to(*(0.36,) * n), START, PEOPLE).share for n in range(4)]

    assert shares == pytest.approx([0.3, 0.65, 0.825, MOST])
    assert "distinct" in grounding(came_to(0.36), START, PEOPLE).why


def test_what_was_too_little_once_is_not_tried_again():
    assert grounding(came_to(0.36, 0.4, 0.4), START, PEOPLE).share == pytest.approx(0.65)


def test_the_share_is_never_less_than_what_was_set():
    assert grounding(came_to(0.1), START, RealConfig(file="f", share=0.95)).share == 0.95
    assert grounding(came_to(0.1), START, RealConfig(file="f", alarm=0)).share == 0.3


def test_without_a_look_at_the_start_the_first_round_is_what_is_compared_with():
    assert grounding(came_to(0.3, 0.27), None, PEOPLE).share == pytest.approx(0.65)
    assert grounding(came_to(0.3, 0.29), None, PEOPLE).share == 0.3


def test_a_quarter_of_the_starts_variety_lost_ends_a_loop_in_its_first_round():
    assert "distinct" in reason_to_stop(came_to(0.29), StopConfig(), START)
    assert not reason_to_stop(came_to(0.31), StopConfig(), START)
    assert not reason_to_stop(came_to(0.29), StopConfig(), None)


def test_rows_that_are_wanted_are_named_when_a_loop_stops():
    short = [replace(came_to(0.29)[0], missing=7)]
    assert "7 more rows that people write" in reason_to_stop(short, StopConfig(), START)


def walk(*distances, half=0.02):
    """Rounds whose outside judge follows a curve that peaks at d = e^1.5."""
    gold = [d * (0.2 - 0.08 * math.log(d)) for d in distances]
    return [
        Facts(
            at,
            f"policy {at}",
            kl=d * d,
            against_start=Comparison(0.5 + g, 0.5 + g - half, 0.5 + g + half, 200),
        )
        for at, (d, g) in enumerate(zip(distances, gold, strict=True), 1)
    ]


def test_a_loop_ends_once_it_is_surely_past_the_forecast_peak():
    far = walk(1, 2, 4, 8, 14)

    assert not reason_to_stop(walk(1, 8, 14), StopConfig())
    assert "peaks" in reason_to_stop(walk(1, 8, 14), StopConfig(peak=3))
    assert "peaks at a KL of 20" in reason_to_stop(far, StopConfig())
    assert "use policy 3" in reason_to_stop(far, StopConfig())
    assert not reason_to_stop(far, StopConfig(peak=0))
    assert not reason_to_stop(walk(1, 2, 3, 4), StopConfig())
    assert not reason_to_stop(walk(1, 2, 4, 8, half=0.3), StopConfig())


def test_two_falls_in_a_row_within_what_chance_does_end_no_loop():
    def story(width):
        wins = (0.7, 0.69, 0.68)
        return [
            Facts(at, "p", reward=float(at), against_start=Comparison(win, win - width, win + width, 100))
            for at, win in enumerate(wins)
        ]

    assert not reason_to_stop(story(0.05), StopConfig())
    assert "outside judge" in reason_to_stop(story(0.002), StopConfig())


@pytest.fixture
def loop(tmp_path):
    given = {"out": str(tmp_path / "loop"), "prompts": "tiny:24", "policy": "tiny", "judge": "shorter"}
    cfg = load_settings(RejectionConfig, **given)
    (tmp_path / "people.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    return replace(cfg, real=RealConfig(file=str(tmp_path / "people.jsonl"), floor=0.0))


def test_rows_that_are_missing_are_asked_for_by_name(loop):
    made = [(prompt, Completion.of(prompt.id, "x", "hf:m#1")) for prompt in map(Prompt.of, "cdefghi")]
    with Loop(loop) as open_loop:
        first = open_loop.read_prompts("train")[0]
        real = [(first, Completion.of(first.id, "y", "human"))]
        round = Round(open_loop, 2, Grounding(0.5, "diversity fell"))
        rows, share = round.mixed(made, real)
        wanted = list(read_records(round.path / "wanted.jsonl", Prompt))

    assert (len(rows), share) == (8, 1 / 8)
    assert round.missing == len(wanted) == 6
    assert first not in wanted


def test_enough_rows_are_mixed_in_and_nobody_is_asked(loop):
    made = [(prompt, Completion.of(prompt.id, "x", "hf:m#1")) for prompt in map(Prompt.of, "cdef")]
    real = [(prompt, Completion.of(prompt.id, "y", "human")) for prompt in map(Prompt.of, "uvwxyz")]
    with Loop(loop) as open_loop:
        round = Round(open_loop, 2, Grounding(0.5))
        rows, share = round.mixed(made, real)

        assert (len(rows), share, round.missing) == (8, 0.5, 0)
        assert not (round.path / "wanted.jsonl").exists()


def test_the_decision_is_kept_over_a_restart(loop, monkeypatch):
    monkeypatch.setattr("jurist.recipes.loop.finish.checkpoint", lambda *_: "start")
    monkeypatch.setattr(Rounds, "_seen", lambda _: START)

    def decided(distinct):
        with Loop(loop) as open_loop:
            rounds = Rounds(open_loop)
            rounds._facts = came_to(distinct)
            return rounds._grounded(2).share

    assert decided(0.36) == pytest.approx(0.65)
    assert decided(0.4) == pytest.approx(0.65)


def test_an_answer_that_is_given_twice_counts_twice():
    one, other = (Completion.of("p", text, "m") for text in ("same", "other"))
    again = [Dropped(one.id, "completions", "identical"), Dropped("p", "completions", "failed")]

    assert all_drawn([one, other], again) == [one, other, one]


def test_a_folder_without_rounds_has_no_history(tmp_path):
    assert generations(Path(tmp_path)) == []
    assert checkpoints(Path(tmp_path)) == []
    assert fitted([]) is None
