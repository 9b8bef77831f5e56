"""1,000 prompts with a judge's score for each of four policies, and for 480 answers of one of them that of a
stronger model, which its authors call an oracle (CJE, Fondu 2025).
"""

import numpy as np
import pytest

from jurist.stats.agreement import powered_share
from jurist.stats.intervals import clustered_mean
from support import recorded

DATA = recorded.DATA / "cje_arena"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded judgements at {DATA}")


def rows(policy):
    return [*recorded.cje(policy).values()]


@pytest.fixture(scope="module")
def base():
    """The judge's score, and the oracle's, nan where there is none."""
    found = [(row["judge_score"], row.get("oracle_label", np.nan)) for row in rows("base")]
    return np.array(found, dtype=float).T


def test_the_judge_scores_higher_than_the_oracle(base):
    judge, oracle = base
    known = ~np.isnan(oracle)
    over = clustered_mean(judge[known] - oracle[known], np.arange(known.sum()))

    assert (round(judge.mean(), 4), round(oracle[known].mean(), 4), int(known.sum())) == (0.8413, 0.7541, 480)
    assert over.value == pytest.approx(0.0856, abs=1e-4)
    assert over.low > 0.06


@pytest.mark.filterwarnings("ignore")
def test_the_oracles_mean_over_all_answers_is_as_ppi_python_has_it(base):
    """The judge is 9 points off and still makes the interval shorter, since it is put right where known."""
    ppi_py = pytest.importorskip("ppi_py", reason="pip install ppi-python")
    judge, oracle = base
    known = ~np.isnan(oracle)
    y, f, rest = oracle[known], judge[known], judge[~known]
    found = powered_share(y, f, rest, np.arange(len(y)), np.arange(len(rest)))
    alone = clustered_mean(y, np.arange(len(y)))

    assert found.share.value == pytest.approx(ppi_py.ppi_mean_pointestimate(y, f, rest).item(), abs=1e-6)
    assert found.share.low < alone.value < found.share.high < judge.mean()
    assert 1 < found.gain < 1 / (1 - np.corrcoef(y, f)[0, 1] ** 2)
