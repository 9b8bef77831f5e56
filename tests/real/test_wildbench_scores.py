"""20,451 scores from 1 to 10, two judges on the same answers (WildBench, Lin et al. 2024)."""

import gzip
import json
import os
from functools import cache
from pathlib import Path

import pytest

from jurist.audits.agreement import agreement
from jurist.audits.collect import Collector
from jurist.records import Completion, Prompt, Verdict
from jurist.verdicts.cases import Case

DATA = Path(os.environ.get("JURIST_REAL_DATA") or Path(__file__).parents[3] / "shared" / "data")
DATA = DATA / "wildbench_scores"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded judgements at {DATA}")
JUDGES = ("gpt-4-turbo-2024-04-09", "gpt-4o-2024-05-13")


@cache
def scores(judge):
    """The rows of each model, by the conversation they answer."""
    found = {}
    with gzip.open(DATA / f"{judge}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            found.setdefault(row["model"], {})[row["session_id"]] = float(row["score"])
    return found


def compared(model):
    """Both judges on the answers of one model, as the audit tells it."""
    collector = Collector()
    for session, score in scores(JUDGES[0])[model].items():
        prompt = Prompt.of(session)
        answer = Completion.of(prompt.id, f"{model} to {session}", model)
        said = [Verdict(f"{session} 0", JUDGES[0], first_id=answer.id, score=score)]
        other = scores(JUDGES[1])[model].get(session)
        if other is not None:
            said.append(Verdict(f"{session} 1", JUDGES[1], first_id=answer.id, score=other))
        collector.add_case(Case(prompt, (answer,), (), tuple(said)))
    found = {one.name: one for one in agreement(collector.sheet())}
    assert found["agreement.score_gap"].about == f"{JUDGES[0]} against {JUDGES[1]}"
    return found["agreement.score_gap"], found["agreement.same_score"]


def test_seven_means_of_the_leaderboard_come_out_to_four_decimals():
    published = json.loads((DATA / "published_score.json").read_text())
    ours = {model: sum(rows.values()) / len(rows) for model, rows in scores(JUDGES[1]).items()}
    exact = [
        m for m, mean in ours.items() if m in published and round(published[m]["score"], 4) == round(mean, 4)
    ]

    assert len(exact) == 7
    assert round(ours["gemma-2b-it"], 4) == 4.7375
    assert round(ours["reka-core-20240501"], 4) == 7.0518


def test_two_judges_differ_by_half_a_point_or_more_on_the_same_answers():
    shared = sorted(set(scores(JUDGES[0])) & set(scores(JUDGES[1])))
    found = [compared(model) for model in shared]
    gaps, same = ([one.value for one in some] for some in zip(*found, strict=True))

    # The note beside the data says 0.50 to 0.69 and 38 to 46%, over a choice of answers it does not name;
    # these are all answers that both judges scored, to four decimals.
    assert (round(min(gaps), 4), round(max(gaps), 4)) == (0.4907, 0.6846)
    assert (round(min(same), 4), round(max(same), 4)) == (0.3779, 0.4510)
    assert all(gap.low > 0 and gap.grade == "note" for gap, _ in found)
    assert all(same.n > 1000 for _, same in found)
