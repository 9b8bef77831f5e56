"""The published statistics of LLMBar (Zeng et al. 2024), from the recorded winners and through our audit."""

import json

import numpy as np
import pytest

from jurist.audits.agreement import agreement
from jurist.audits.sheet import Answers, HumanLabels, Labels, Matchups, Prompts, Scores, Sheet, Verdicts
from support import recorded

DATA = recorded.DATA / "llmbar"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded judgements at {DATA}")


@pytest.fixture(scope="module")
def winners():
    """By set and evaluator, for each item the winner in both orders, mapped back; none where none is read."""
    gold, said = {}, {}
    for row in recorded.lines_of("llmbar/instances.jsonl.gz"):
        gold.setdefault(row["dataset"], {})[int(row["i"])] = str(row["label"])
    published = json.loads((DATA / "published_statistics.json").read_text())
    for name in (one for one in published if not one.startswith("CaseStudy")):
        for evaluator, i, both in recorded.llmbar_winners(name, every_prompt=True):
            said.setdefault(name, {}).setdefault(evaluator, {})[i] = both
    return gold, said, published


def test_all_1745_published_statistics_come_out(winners):
    gold, said, published = winners
    matched = 0
    for name, evaluators in said.items():
        for evaluator, items in evaluators.items():
            right = np.array([[one == gold[name][i] for one in both] for i, both in items.items()])
            # As published: two replies that nobody could read count as agreeing with each other.
            equal = np.array([one == other for one, other in items.values()])
            want = published[name][evaluator]
            ours = {
                "correct_False": right[:, 0].mean(),
                "correct_True": right[:, 1].mean(),
                "correct_average": right.mean(),
                "correct_both": right.all(axis=1).mean(),
                "equal": equal.mean(),
            }
            matched += sum(
                abs(100 * share - float(want[key].rpartition("=")[2].strip(" %"))) < 1e-9
                for key, share in ours.items()
            )

    assert matched == 1745


def test_the_audit_gives_the_published_accuracy_of_every_judge_that_was_read(winners):
    """A judge that turns with the seats says nothing and counts half: so both orders' average comes out."""
    gold, said, published = winners
    checked = 0
    for name in ("LLMBar/Natural", "LLMBar/Adversarial/Manual"):
        sheet = sheet_of(gold[name], said[name])
        accuracy = {one.about: one for one in agreement(sheet) if one.name == "agreement.accuracy"}
        for evaluator, items in said[name].items():
            if all(set(both) <= {"1", "2"} for both in items.values()):
                want = float(published[name][evaluator]["correct_average"].strip(" %"))
                assert 100 * accuracy[evaluator].estimate.value == pytest.approx(want, abs=1e-9)
                checked += 1

    assert checked > 80


def sheet_of(gold, evaluators):
    n, names = len(gold), list(evaluators)
    place = {i: row for row, i in enumerate(gold)}
    told = [
        (judge, place[i], turned, {"1": 1.0, "2": 0.0}.get(winner, np.nan))
        for judge, name in enumerate(names)
        for i, both in evaluators[name].items()
        for turned, winner in enumerate(both)
    ]
    judge, matchup, turned, p = (np.array(column) for column in zip(*told, strict=True))
    none, nothing, zeros = np.empty(0, int), np.empty(0), np.zeros(len(p))
    truth = np.array([1.0 if label == "1" else 0.0 for label in gold.values()])
    return Sheet(
        Prompts(tuple(map(str, gold)), np.zeros(n, int), np.zeros(n, bool)),
        Answers(
            np.repeat(np.arange(n), 2),
            np.zeros(2 * n, int),
            np.ones(2 * n, int),
            np.arange(2 * n),
        ),
        Matchups(tuple(map(str, gold)), np.arange(n), 2 * np.arange(n), 2 * np.arange(n) + 1),
        Verdicts(judge, matchup, turned.astype(bool), p, zeros.astype(int), zeros, zeros > 0, zeros * np.nan),
        Scores(none, none, nothing, none, nothing),
        Labels(none, nothing, nothing),
        HumanLabels(np.zeros(n, int), np.arange(n), truth, np.ones(n)),
        ("",),
        ("one",),
        tuple(names),
        ("human:gold",),
    )
