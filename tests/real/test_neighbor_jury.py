"""Juries on LLMBar's recorded verdicts: where all judges are misled alike, only people's labels help."""

import json
import re

import numpy as np
import pytest

from jurist.verdicts.settings import JuryConfig
from support.on_record import (
    SETS,
    accuracy,
    call_by_call,
    fitted,
    judge_by_judge,
    jury_figures,
    learn,
    read_set,
)
from support.recorded import DATA

pytestmark = pytest.mark.skipif(
    not (DATA / "llmbar").is_dir(), reason=f"no recorded judgements at {DATA / 'llmbar'}"
)

NEIGHBOR = "LLMBar/Adversarial/Neighbor"
ANCHORED = JuryConfig("anchored")


@pytest.fixture(scope="module")
def asked():
    return read_set(NEIGHBOR)


@pytest.fixture(scope="module")
def neighbor(asked):
    return call_by_call(asked[0]), judge_by_judge(asked[0]), asked[1]


@pytest.mark.parametrize("name", SETS)
def test_majorities_and_best_judges_come_out_as_recorded(name):
    want = json.loads((DATA / "EXPECTED.json").read_text())["llmbar"]["jury_vanilla_norules"][name]

    assert {**want, **jury_figures(*read_set(name))} == want


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


def test_thirty_labels_turn_the_misled_judges_round(asked):
    found = 100 * np.nanmean(learn(*asked, ANCHORED, 30).right, axis=1)

    # 87.6 +- 3.3 was measured for this by other code; a standard error over these splits is about 0.3.
    assert found.mean() == pytest.approx(87.6, abs=1.5)
    assert found.std() == pytest.approx(3.3, abs=1.0)


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
