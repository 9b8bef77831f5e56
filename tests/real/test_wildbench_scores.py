"""20,451 scores from 1 to 10, two judges on the same answers (WildBench, Lin et al. 2024)."""

import json
from functools import cache

import pytest

from jurist.audits.collect import Collector
from jurist.records import Completion, Prompt, Verdict
from jurist.verdicts.cases import Case
from support import recorded

DATA = recorded.DATA / "wildbench_scores"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded judgements at {DATA}")
JUDGES = ("gpt-4-turbo-2024-04-09", "gpt-4o-2024-05-13")


@cache
def scores(judge):
    """The rows of each model, by the conversation they answer."""
    found = {}
    for row in recorded.lines_of(f"wildbench_scores/{judge}.jsonl.gz"):
        found.setdefault(row["model"], {})[row["session_id"]] = float(row["score"])
    return found


def compared(model):
    """Mean difference of both judges on the answers of one model, and how often they give the same score."""
    collector = Collector()
    for session, score in scores(JUDGES[0])[model].items():
        prompt = Prompt.of(session)
        answer = Completion.of(prompt.id, f"{model} to {session}", model)
        verdicts = [Verdict(f"{session} 0", JUDGES[0], first_id=answer.id, score=score)]
        other = scores(JUDGES[1])[model].get(session)
        if other is not None:
            verdicts.append(Verdict(f"{session} 1", JUDGES[1], first_id=answer.id, score=other))
        collector.add_case(Case(prompt, (answer,), (), tuple(verdicts)))
    sheet = collector.sheet()
    by_judge = [
        dict(zip(sheet.scores.answer[own].tolist(), sheet.scores.score[own].tolist(), strict=True))
        for own in (sheet.scores.judge == sheet.judges.index(name) for name in JUDGES)
    ]
    apart = [by_judge[0][answer] - score for answer, score in by_judge[1].items()]
    return sum(apart) / len(apart), apart.count(0.0) / len(apart), len(apart)


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
    gaps, same, n = zip(*map(compared, shared), strict=True)

    # The note beside the data says 0.50 to 0.69 and 38 to 46%, over a choice of answers it does not name;
    # these are all answers that both judges scored, to four decimals.
    assert (round(min(gaps), 4), round(max(gaps), 4)) == (0.4907, 0.6846)
    assert (round(min(same), 4), round(max(same), 4)) == (0.3779, 0.4510)
    assert min(n) > 1000
