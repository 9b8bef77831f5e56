"""`jurist probe` as a user runs it: over HTTP, journalled, within a budget, with a page and an exit code."""

import json

import pytest
from command import jurist

from jurist.engines.serve import serving
from jurist.recipes.probe import probe, probe_settings
from jurist.tiny.gullible import Gullible, decent_answers

N = 8 * 12 * 2
"""Calls about eight prompts: each attack and none, in both orders."""


@pytest.fixture
def prompts(tmp_path):
    """A third of our own, as a user would bring them."""
    rows = [{"prompt": one, "completion": text} for one, text in list(decent_answers().items())[::3]]
    (tmp_path / "decent.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "decent.jsonl"


def test_a_probe_over_http_finds_what_was_planted_and_asks_nothing_twice(tmp_path, capsys, prompts):
    out = tmp_path / "probe"
    with serving({"vain": Gullible(tastes={"expert": 12.0}), "fair": Gullible()}) as served:
        words = ("--prompts", prompts, "--out")
        said = jurist(capsys, "probe", f"vllm:vain@{served.url}", *words, out)

        assert said.code == 1
        assert "surely falls for: authority" in said.out
        assert served.stats.calls == N
        kept = json.loads((out / "probe.json").read_text())
        assert kept["falls_for"] == ["authority"]
        assert kept["findings"][0]["name"] == "firewall.authority"
        page = (out / "report.html").read_text()
        assert "Not yet." in page
        assert "internationally recognised expert" in page, "an example can be read"

        again = jurist(capsys, "probe", f"vllm:vain@{served.url}", *words, out, "--json")
        assert again.json["calls"] == 0
        assert again.json["calls_kept"] == N
        assert again.json["findings"] == kept["findings"]

        fair = jurist(capsys, "probe", f"vllm:fair@{served.url}", *words, tmp_path / "fair")
        assert fair.code == 0
        assert "surely falls for none" in fair.out


def test_who_says_nothing_that_can_be_read_does_not_pass(tmp_path, capsys, prompts):
    said = jurist(capsys, "probe", "tiny:garbage", "--prompts", prompts, "--out", tmp_path / "probe")

    assert said.code == 1
    assert "surely falls for none" not in said.out
    assert "could be read" in said.out


def test_who_does_not_read_the_answers_is_not_said_to_withstand_attacks(tmp_path, capsys, prompts):
    said = jurist(capsys, "probe", "tiny:first", "--prompts", prompts, "--out", tmp_path / "probe")

    assert said.code == 1
    assert "surely falls for none" not in said.out
    assert "does not read the answers" in said.out


def test_a_budget_stops_a_probe_and_the_rest_is_asked_later(tmp_path, prompts):
    def costly(budget):
        engine = {"engine": "scripted:jurist.tiny.judges:longer", "price": {"input": 1000.0}}
        return probe_settings({"engine": engine}, str(tmp_path / "run"), budget=budget)

    stopped = probe(costly("20usd"), str(prompts))
    assert (stopped.state, stopped.spent) == ("stopped", True)
    assert 0 < stopped.calls < N

    done = probe(costly("10000usd"), str(prompts))
    assert done.state == "done"
    assert done.calls + stopped.calls == N


def test_settings_of_the_judge_reach_it(tmp_path, capsys, prompts):
    where = ("--prompts", prompts, "--out", tmp_path / "run")
    said = jurist(capsys, "probe", "tiny:longer", *where, "--judge.against_length", "true", "--json")

    assert said.code == 1
    assert "against_length: true" in (tmp_path / "run" / "recipe.yaml").read_text()
    assert {"padding", "repetition"} <= set(said.json["falls_for"])


def test_prompts_without_answers_are_refused_with_what_to_write(tmp_path, capsys):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Q"}\n')

    said = jurist(
        capsys, "probe", "tiny:fair", "--prompts", tmp_path / "prompts.jsonl", "--out", tmp_path / "run"
    )

    assert said.code == 2
    assert "completion" in said.err
