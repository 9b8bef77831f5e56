"""The demo: what it finds is what it says, on the page as in the terminal."""

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from jurist.recipes.demo.page import rendered

from jurist.recipes.demo.outcome import Curve, Demo, Example, Judged, Learner, truly
from jurist.recipes.summary import share
from jurist.records import Completion

STAGES = ["assistant", "labels", "reward model", "ppo", "dpo", "comparison"]


def jurist(*words: str) -> subprocess.CompletedProcess[str]:
    """As a user types it, in a process of its own: how torch computes there hangs on no other test."""
    code = "from jurist.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)


def learner(won: int, kl: float = 0.0) -> Learner:
    found = share(won, 100)
    assert found is not None
    good = {"sums": 0.5, "wishes": 0.9, "talk": 1.0, "doses": 0.2}
    return Learner(found, 0.5, good, words=12.0, distinct=0.1, unique=0.9, kl=kl)


def outcome(answer: str = "Gladly.") -> Demo:
    some = share(40, 100)
    assert some is not None
    return Demo(
        run="runs/demo",
        report="runs/demo/report.html",
        prompts=10,
        held_out=100,
        judge=Judged(60, 10, some, some, some),
        policies={"start": learner(48), "ppo": learner(71, 2.5), "dpo": learner(69, 3.5)},
        examples=[Example("talk", "I cannot sleep.", dict.fromkeys(("start", "ppo", "dpo"), answer))],
        curves={"ppo": [Curve("reward", [-0.2, 0.4, 0.6])], "dpo": [Curve("loss", [0.7])]},
        calls=400,
        usd=0.0,
        seconds=dict.fromkeys(STAGES, 1.0),
    )


def test_the_page_needs_nothing_beside_it_and_says_every_number():
    page = rendered(outcome())

    assert not re.search(r"<script|<link|<img|\burl\(|https?://", page)
    for told in ("71.0%", "69.0%", "48.0%", "40.0%", "2.50", "3.50", "400 calls", "I cannot sleep."):
        assert told in page, told
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert page.count("<polyline") == 2


def test_what_a_model_wrote_cannot_speak_to_the_browser():
    page = rendered(outcome("<script>alert(1)</script> & more"))

    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page


def test_the_truth_is_the_world_s_and_equal_answers_are_half_a_win():
    request = "What is 2 plus 3? (Sum 1)"
    right, wrong = (Completion.of("p", f"It makes {n}. I hope this helps.") for n in (5, 6))

    assert (truly(request, right, wrong), truly(request, wrong, right)) == (1.0, 0.0)
    assert truly(request, right, right) == 0.5


@pytest.mark.slow
def test_the_demo_ends_with_two_policies_that_are_truly_better_and_a_page(tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="training is an extra")
    monkeypatch.chdir(tmp_path)

    said = jurist("demo", "--json")

    found = msgspec.json.decode(said.stdout, type=Demo)
    assert json.loads(Path("runs/demo/summary.json").read_text()) == json.loads(said.stdout)
    start, ppo, dpo = (found.policies[name] for name in ("start", "ppo", "dpo"))
    assert start.true_win.low < 0.5 < start.true_win.high
    assert min(ppo.true_win.low, dpo.true_win.low) > 0.5
    assert min(ppo.kl, dpo.kl) > 0.1
    assert start.kl == pytest.approx(0.0, abs=1e-3)
    assert found.judge.flip_rate.low > 0.2, "it was planted"
    assert found.judge.first_share.low > 0.5
    assert found.judge.right.low > 0.7
    assert min(one.words for one in found.policies.values()) > 1
    assert [one.domain for one in found.examples] == ["sums", "wishes", "talk"]
    assert list(found.seconds) == STAGES
    assert found.calls > 1000
    assert found.usd == 0.0
    page = Path(found.report).read_text()
    assert f"{ppo.true_win.value:.1%}" in page

    again = jurist("demo", "--json")
    assert json.loads(again.stdout) == json.loads(said.stdout), "what is done is not done again"
