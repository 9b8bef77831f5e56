"""Juries on LLMBar's recorded verdicts: where all judges are misled alike, only people's labels help."""

import json
import random
import re
import statistics

import pytest

from jurist.verdicts.jury import combine
from jurist.verdicts.settings import JuryConfig
from support.on_record import SETS, accuracy, best_single, call_by_call, fitted, judge_by_judge, read_set
from support.recorded import DATA

pytestmark = pytest.mark.skipif(
    not (DATA / "llmbar").is_dir(), reason=f"no recorded judgements at {DATA / 'llmbar'}"
)

NEIGHBOR = "LLMBar/Adversarial/Neighbor"
ANCHORED = JuryConfig("anchored")


@pytest.fixture(scope="module")
def neighbor():
    asked, people = read_set(DATA / "llmbar", NEIGHBOR)
    return call_by_call(asked), judge_by_judge(asked), people


@pytest.mark.parametrize("name", SETS)
def test_majorities_and_best_judges_come_out_as_recorded(name):
    want = json.loads((DATA / "EXPECTED.json").read_text())["llmbar"]["jury_vanilla_norules"][name]
    asked, people = read_set(DATA / "llmbar", name)
    calls = call_by_call(asked)
    share, judge = best_single(calls, people)
    even = [combine(row, None, JuryConfig("vote", quorum=0)).p_first for row in calls]

    assert len(calls) == want["n"]
    assert [round(share, 2), judge] == want["best_single"]
    assert sum(p is None or abs(p - 0.5) < 1e-9 for p in even) == want["tied_items"]
    # The recorded figure counts items on which every call is silent as even; none of them is one for us.
    silent = sum(p is None for p in even)
    ours = accuracy(calls, people, None, JuryConfig("vote", quorum=0)) + 50 * silent / len(calls)
    assert round(ours, 2) == want["majority_of_all_calls_acc"]


def test_the_majority_is_refused_where_one_judge_alone_is_better(neighbor):
    _, jury, people = neighbor
    for rule in ("vote", "mean"):
        refused = fitted(jury, people, JuryConfig(rule)).refused
        assert f"combine: {rule} agrees with 34.3% of 134 labels, judge GPT-4 alone with 64.2%" in refused
        assert re.search(
            r"use --jury\.combine anchored \((8[5-9]|9[0-2])\.\d%\), or .* --force true$", refused
        )


def test_dawid_skene_without_labels_settles_upside_down(neighbor):
    calls, _, people = neighbor
    blind = JuryConfig("dawid_skene")
    weights = fitted(calls, {}, blind)

    assert 13.5 < accuracy(calls, people, weights, blind) < 15.5
    assert "upside down" in weights.warning


def test_thirty_labels_turn_the_misled_judges_round(neighbor):
    _, jury, people = neighbor
    found = []
    for split in range(100):
        chosen = set(random.Random(split).sample(range(len(jury)), 30))
        gold = {jury[i][0].matchup_id: people[jury[i][0].matchup_id] for i in chosen}
        weights = fitted(jury, gold, ANCHORED)
        found.append(
            accuracy([row for i, row in enumerate(jury) if i not in chosen], people, weights, ANCHORED)
        )

    # 87.6 +- 3.3 was measured for this by other code; a standard error over these splits is about 0.3.
    assert statistics.mean(found) == pytest.approx(87.6, abs=1.5)
    assert statistics.pstdev(found) == pytest.approx(3.3, abs=1.0)


def test_the_weights_say_which_judges_are_misled_and_how_few_they_are_worth(neighbor):
    _, jury, people = neighbor
    weights = fitted(jury, people, ANCHORED)
    worth = {juror.judge: juror.weight for juror in weights.jurors}

    assert worth["ChatGPT"] < -1
    assert worth["LLaMA2"] < -1
    assert worth["GPT-4"] > 0
    assert weights.effective_judges < 3
    # Each label left out in its turn: no better than what the held-out splits show, nor much worse.
    assert 0.85 < weights.accuracy < 0.93
