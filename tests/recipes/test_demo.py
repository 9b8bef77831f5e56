"""The demo: what it finds is what it says, on the page as in the terminal."""

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from jurist.recipes.demo import MEASURES, Demo, demo_page
from jurist.recipes.summary import share
from support.cli import run

STAGES = ["assistant", "labels", "reward model", "ppo", "dpo", "comparison"]


def jurist(*words: str) -> subprocess.CompletedProcess[str]:
    """As a user types it, in a process of its own: how torch computes there hangs on no other test."""
    code = "from jurist.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)


def some(part):
    found = share(part, 100)
    assert found is not None
    return found


def measured(score, doses, words, kl):
    values = (score, 0.5, 0.9, 1.0, doses, words, 0.9, 0.1, kl)
    return dict(zip(MEASURES, values, strict=True))


def outcome(answer: str = "Gladly.") -> Demo:
    names = ("initial", "ppo", "dpo")
    return Demo(
        run="runs/demo",
        report="runs/demo/report.html",
        prompts=10,
        held_out=100,
        matchups=60,
        labels=10,
        judge=dict.fromkeys(("flips", "first", "correct"), some(40)),
        wins=dict(zip(names, map(some, (48, 71, 69)), strict=True)),
        nulls={"always: I see.": some(43), "opening: Gladly.": some(41)},
        measures={
            "initial": measured(0.25, 0.3, 12.0, 0.0),
            "ppo": measured(0.75, 0.15, 14.0, 2.5),
            "dpo": measured(0.2, 0.3, 12.0, 3.5),
        },
        samples={"I cannot sleep.": dict.fromkeys(names, answer)},
        curves={"ppo": {"reward": [-0.2, 0.4, 0.6]}, "dpo": {"loss": [0.7, 0.6]}},
        calls=400,
        usd=0.0,
        seconds=dict.fromkeys(STAGES, 1.0),
    )


def test_the_page_needs_nothing_beside_it_and_holds_every_number():
    text = demo_page(outcome())

    assert not re.search(r"<script|<link|<img|\burl\(|https?://", text)
    for shown in ("71.0%", "69.0%", "48.0%", "43.0%", "40.0%", "2.50", "400 calls", "I cannot sleep."):
        assert shown in text, shown
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert text.count("<polyline") == 2


def test_show_says_again_what_the_demo_said(tmp_path):
    (tmp_path / "summary.json").write_bytes(msgspec.json.encode(outcome()))
    (tmp_path / "run.json").write_text('{"kind": "loop"}')

    done = run("show", str(tmp_path))

    assert done.code == 0, done.err
    assert "true win rate against the initial policy" in done.out


def test_page_and_terminal_say_what_got_worse_and_what_learnt_nothing():
    found = outcome()
    terminal = "\n".join(found.lines())

    better, worse = (found.changes("ppo", for_the_better) for for_the_better in (True, False))
    assert better == ["true score: 0.25 to 0.75"]
    assert worse[0] == "good answers, doses: 30.0% to 15.0%"
    assert len(worse) == 3
    assert found.changes("dpo", True) == []
    for text in (demo_page(found), terminal):
        for line in (*better, *worse, *found.nulls):
            assert line in " ".join(text.split()), line


def test_what_a_model_wrote_cannot_speak_to_the_browser():
    text = demo_page(outcome("<script>alert(1)</script> & more"))

    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text


@pytest.mark.slow
def test_the_demo_ends_with_two_policies_that_are_truly_better_and_a_page(tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="training is an extra")
    monkeypatch.chdir(tmp_path)

    printed = jurist("demo", "--json")

    found = msgspec.json.decode(printed.stdout, type=Demo)
    assert json.loads(Path("runs/demo/summary.json").read_text()) == json.loads(printed.stdout)
    ppo, dpo, best_null = found.wins["ppo"], found.wins["dpo"], next(iter(found.nulls.values()))
    # Drawn again, it is its own equal; one 95% interval in twenty misses that, so there is some room.
    assert found.wins["initial"].low - 0.05 < 0.5 < found.wins["initial"].high + 0.05
    assert best_null.value < 0.5
    assert min(ppo.low, dpo.low) > 0.5
    assert min(found.measures[name]["KL to the initial policy"] for name in ("ppo", "dpo")) > 0.1
    assert found.judge["flips"].low > 0.1, "it was planted"
    assert found.judge["first"].low > 0.5
    assert 0.6 < found.judge["correct"].value < 0.95
    assert any("KL" in one for one in found.changes("ppo", False))
    assert len(found.samples) == 4
    assert list(found.seconds) == STAGES
    assert found.calls > 1000
    assert found.usd == 0.0
    assert f"{ppo.value:.1%}" in Path(found.report).read_text()

    again = jurist("demo", "--json")
    assert json.loads(again.stdout) == json.loads(printed.stdout), "what is done is not done again"
