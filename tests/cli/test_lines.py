"""What a human reads while a job runs, and when it is done."""

import os
from types import SimpleNamespace

from jurist.cli import progress as module
from jurist.cli.progress import facts_of, line, progress
from jurist.engines.budget import Budget
from jurist.preferences.decide import JudgeCounts, Learnt
from jurist.recipes.lines import Share, clock
from jurist.recipes.loop.folder import LoopProgress
from jurist.recipes.summary import EngineStats, RunProgress, Summary
from jurist.verdicts.calibrate import Calibration
from jurist.verdicts.jury import Agreement, Weights


def under_way():
    budget = Budget(5.0)
    budget.spent = 1234.56
    budget.calls, budget.cached = 2_000, 1_000_000
    now = RunProgress(budget, total=1_000_000)
    now.rows = 123_456
    now.counts.judges["j"] = JudgeCounts(verdicts=10, read_both=8, flipped=1, unread={"no_verdict": 3})
    now.engines = [SimpleNamespace(engine=SimpleNamespace(retries={"429": 12_345}, doing="loading"))]
    return now


def test_labelling_is_told_with_rate_rest_cost_flips_unread_and_retries():
    told = line(facts_of(under_way()), spent=60.0)
    for part in ("123,456 of 1,000,000 · 7:06 left", "/s", "$1234.56", "flips 12.5%", "unread 30.0%"):
        assert part in told
    assert told.endswith("retries 12,345 · from journal 1,000,000 · loading")


def test_what_costs_nothing_and_has_not_begun_is_not_told_in_noughts():
    now = RunProgress(Budget(), total=24)
    now.engines = []
    assert line(facts_of(now), spent=60.0) == "0 of 24"


METRICS = {"loss": 0.25, "lr": 1e-6, "tokens": 0, "failed": 0.0}
LINES = [
    (SimpleNamespace(done=4, total=8), "4 of 8"),
    (SimpleNamespace(done=4, total=0), "4"),
    (LoopProgress(2, 3, "label"), "round 2 of 3 · label"),
    (LoopProgress(1, 1, "assistant", done=4, total=8), "assistant · 4 of 8"),
    (
        SimpleNamespace(step=3, steps=9, seconds_left=60, metrics=METRICS, doing="8 of 64 rows"),
        "3 of 9 · 1:00 left · loss 0.25 · 8 of 64 rows",
    ),
    (
        SimpleNamespace(step=3, steps=3, seconds_left=0, metrics={"kl_sequence": -0.03}, doing=""),
        "3 of 3 · KL 0",
    ),
]


def test_every_kind_of_work_is_a_line_and_the_rest_is_guessed_from_what_is_done():
    for now, expected in LINES:
        assert line(facts_of(now)) == expected
    assert line({"done": 25, "total": 100}, spent=10.0) == "25 of 100 · 0:30 left"
    assert (clock(59.7), clock(3_725)) == ("1:00", "1:02:05")


def test_where_nobody_watches_a_line_is_printed_at_each_stage(capsys):
    with progress() as watch:
        for step, done in (("label", None), ("label", 3), ("compare", 4)):
            watch(LoopProgress(1, 2, step, done=done, total=8))
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "round 1 of 2 · label"
    assert lines[1].startswith("round 1 of 2 · label · 3 of 8 · ")
    assert lines[-1].startswith("round 1 of 2 · compare · 4 of 8 · ")


def test_in_a_terminal_a_line_is_written_over_and_none_is_wider_than_it(capsys, monkeypatch):
    monkeypatch.setattr(module, "LIVE_EVERY", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(module.shutil, "get_terminal_size", lambda: os.terminal_size((40, 20)))
    with progress() as watch:
        for _ in range(3):
            watch(under_way())
    _, *told = capsys.readouterr().err.split("\r\x1b[K")
    assert {one.rstrip("\n").split(" · ")[0] for one in told} == {"123,456 of 1,000,000"}
    assert [one.count("\n") for one in told] == [0, 0, 0, 1]
    assert max(map(len, told)) <= 40


AGREES = {"shorter": Agreement(0.45, 0.40, 0.50, 398)}
WEIGHTS = Weights("mean", ("a", "b"), effective_judges=1.25)
COOLED = Calibration("j", 2.5, loss_before=0.7, loss_after=0.6)
SHARE = "45.0% (40.0% to 50.0%, n = 398)"
SUMMARIES = [
    (
        {"agreement": AGREES, "learnt": Learnt(agreement={"human": AGREES})},
        f"agreement: {SHARE} with human labels: shorter",
    ),
    ({"learnt": Learnt(agreement={"file": AGREES})}, f"agreement: {SHARE} with the file's labels: shorter"),
    ({}, "agreement: unknown: no human labels. Get some: jurist spotcheck 'my run'"),
    ({"warnings": ("below 60%",)}, "warning: below 60%"),
    ({"learnt": Learnt(weights=WEIGHTS)}, "jury: 2 judges, worth 1.2 independent ones"),
    (
        {"learnt": Learnt(calibrations={"j": COOLED})},
        "calibrated: j: temperature 2.50, held-out loss 0.700 to 0.600",
    ),
    ({"unread": {"low_mass": 3}, "forced": 2}, "verdicts: 800; unread: low_mass 3; 2 forced"),
    (
        {"calls": 5, "retries": 7, "uncertain_calls": 2},
        "calls: 5 answered, 0 from the journal, 7 retries, 2 without an answer",
    ),
    (
        {"engines": (EngineStats("e", {"429": 1}, (0.1, 0.2, 3.0)),)},
        "latency: e: 0.10 s, p90 0.20 s, p99 3.00 s; retried: 429 1",
    ),
    (
        {"usd": 1.5, "usd_per_label": 0.00377, "uncertain_usd": 0.01},
        "cost: $1.5000, $0.00377 per label; up to $0.0100 more for calls without an answer",
    ),
    (
        {"flip_rate": Share(0.1, 0.05, 0.2, 50)},
        "flips: 10.0% (5.0% to 20.0%, n = 50) of matchups read in both orders",
    ),
    ({"flip_rate": Share(0.1, 0.05, 0.2, 50)}, "see: jurist show 'my run' --flips"),
]


def test_a_summary_says_it_in_a_row_and_agreement_with_humans_first():
    for given, expected in SUMMARIES:
        rows = Summary("my run", verdicts=800, labels=398, **given).rows()
        told = [f"{name}: {text}" for name, text in rows if text]
        assert expected in told
        assert told[0].startswith("agreement: ")
