"""Nine questions about 473 dialogues: what GPT-3.5 thinks of every rating, and 37 humans' ratings
(LLM-Rubric, Hashemi et al. 2024).
"""

import math
from collections import Counter

import numpy as np
import pytest

from jurist.audits.alt_test import alternative_annotator_test
from jurist.stats.agreement import correlation
from support.on_record import rubric_ratings
from support.published import alternative_annotator_test_as_published as as_published
from support.recorded import DATA, rubric

pytestmark = pytest.mark.skipif(
    not (DATA / "llm_rubric").is_dir(), reason=f"no recorded judgements at {DATA}"
)

SYNTHETIC = "gpt-3.5-turbo-16k_synth_evaluations_FIXED.tsv"


def test_the_authors_table_comes_out_of_expected_ratings():
    ratings = rubric_ratings("gpt-3.5-turbo-16k_real_evaluations_FIXED.tsv", "Q0")
    human = {row["text_id"]: float(row["Q0"]) for row in rubric("human_judges_real_convs_FIXED_ANON.tsv")}
    truth = np.array(list(human.values()))
    likeliest, expected = np.array([ratings[text] for text in human]).T

    assert len(human) == 223
    for said, error, pearson in ((expected, 0.918676, 0.177301), (likeliest, 1.201643, 0.140091)):
        assert math.sqrt(((said - truth) ** 2).mean()) == pytest.approx(error, abs=1e-6)
        assert correlation(said, truth) == pytest.approx(pearson, abs=1e-6)


@pytest.mark.parametrize(
    ("question", "rates", "advantage"),
    [
        ("Q0", (0.5, 0.5, 0.5), 0.648028),
        ("Q1", (0.9, 0.8, 0.8), 0.673742),
        ("Q6", (0.0, 0.0, 0.0), 0.344197),
        ("Q8", (0.1, 0.1, 0.1), 0.483040),
    ],
)
def test_the_alternative_annotator_test_of_ratings_is_as_published(question, rates, advantage):
    """Synthetic dialogues; nine ratings are a human's second of the same dialogue, and replace the first."""
    table = list(rubric("human_judges_synth_all_FIXED_ANON.tsv"))
    raters = Counter(Counter(row["text_id"] for row in table).values())
    assert raters == {3: 244, 2: 5, 1: 1}
    humans = {}
    for row in table:
        humans.setdefault(row["annotator_id"], {})[row["text_id"]] = float(row[question])
    assert sum(map(len, humans.values())) == len(table) - 9
    texts = sorted({text for rated in humans.values() for text in rated})
    rated = [(int(who), texts.index(text), x) for who, one in humans.items() for text, x in one.items()]
    who, item, value = (np.array(column) for column in zip(*rated, strict=True))
    expected = {text: said[1] for text, said in rubric_ratings(SYNTHETIC, question).items()}
    judge = np.array([expected.get(text, np.nan) for text in texts])
    for epsilon, rate in zip((0.2, 0.15, 0.1), rates, strict=True):
        found = alternative_annotator_test(who, item, value, judge, epsilon, numbers=True)
        published = as_published(humans, expected, epsilon, numbers=True)
        assert found.winning_rate == pytest.approx(published[0], abs=1e-6) == rate
        assert found.advantage.value == pytest.approx(published[1], abs=1e-6)
        assert found.advantage.value == pytest.approx(advantage, abs=1e-6)
        assert sorted(found.p_values) == pytest.approx(sorted(published[2]), abs=1e-6)
        assert len(found.p_values) == 10
