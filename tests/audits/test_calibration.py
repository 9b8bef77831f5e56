"""Judges that are as sure as they are right, and surer; curves by hand and by scikit-learn."""

import math
from dataclasses import replace

import numpy as np
import pytest
from finding import findings

from jurist.audits.calibration import auroc, calibration
from jurist.stats.intervals import student
from support.simulated import Simulated, World, simulate

WORLD = World(prompts=300, people=1)
FAIR = Simulated("fair", soft=True)
LOUD = Simulated("loud", soft=True, sharpness=5.0, noise=8.0)


def audited(sheet, name, about=None):
    found = findings(calibration(sheet))
    return next(one for one in found if one.name == f"calibration.{name}" and about in (None, one.about))


def test_a_judge_as_sure_as_it_is_right_is_cleared_and_one_that_is_surer_is_not():
    fair, loud = (simulate((judge,), WORLD, 0)[0] for judge in (FAIR, LOUD))

    assert audited(fair, "over").grade == "fine"
    assert (audited(loud, "over").grade, audited(loud, "over").low > 0.05) == ("warning", True)
    assert "--labels" in audited(loud, "over").advice


def test_all_judges_stand_in_one_chart_beside_its_diagonal():
    sheet = simulate((FAIR, LOUD), WORLD, 0)[0]
    charts = [one.chart for one in findings(calibration(sheet)) if one.name == "calibration.over"]
    (chart,) = (chart for chart in charts if chart)

    assert [line.name for line in chart.series] == ["fair", "loud"]
    assert chart.diagonal


@pytest.mark.parametrize(("every", "grade"), [(50, "fine"), (2, "warning")])
def test_few_wrong_labels_are_no_reason_to_give_up_the_margin(every, grade):
    """Surer where it is wrong on the whole: by chance in six wrong labels, and not in a hundred and fifty."""
    sheet = simulate((FAIR,), WORLD, 0)[0]
    at = np.arange(300)
    wrong = at % every == (7 if every == 50 else 0)
    sure = np.where(wrong, np.where(at % 100 == 57, 0.6, 0.9), np.where(at % 3 == 0, 0.95, 0.8))
    p = np.where(wrong, 1 - sheet.human_p, sheet.human_p) * (2 * sure - 1) + 1 - sure
    found = audited(replace(sheet, verdicts=replace(sheet.verdicts, p=p[sheet.verdicts.matchup])), "auroc")

    assert (found.grade, found.low < 0.5) == (grade, True)
    assert ("--prefer.min_margin 0" in found.advice) == (grade == "warning")


def test_auroc_and_its_interval_agree_with_scikit_learn_and_delong():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(4)
    right = rng.random(300) < 0.7
    scores = np.round(rng.normal(right * 0.8, 1), 1)
    found = auroc(scores, right)
    beats = (scores[right][:, None] > scores[~right]) + 0.5 * (scores[right][:, None] == scores[~right])
    ones, zeros = beats.mean(axis=1), beats.mean(axis=0)
    variance = ones.var(ddof=1) / len(ones) + zeros.var(ddof=1) / len(zeros)

    assert found.value == pytest.approx(roc_auc_score(right, scores), abs=1e-12)
    # Two samples in one sum: DeLong's n - 1 in each becomes n - 1 in all.
    reach = (found.high - found.low) / 2
    assert reach / student(0.95, 299) == pytest.approx(math.sqrt(variance), rel=0.01)
