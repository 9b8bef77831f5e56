"""999 pairs with three people's labels each, and two judges' answers (PandaLM, Wang et al. 2023)."""

import json
from itertools import combinations

import pytest

from jurist.audits.agreement import agreement as audit
from jurist.audits.collect import Collector
from jurist.records import Completion, Matchup, Prompt
from jurist.verdicts.cases import Case
from jurist.verdicts.human import LabelIndex, load_labels
from jurist.verdicts.jury import LabelTable
from support import recorded
from support.on_record import said as verdict_of

DATA = recorded.DATA / "pandalm"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded judgements at {DATA}")

SIDES = {1: "first", 2: "second", 0: "tie"}
READ = {"1": 1.0, "2": 0.0, "Tie": 0.5, "0": 0.5}


def macro_scores(gold, said):
    from sklearn.metrics import precision_recall_fscore_support

    return precision_recall_fscore_support(gold, said, average="macro", zero_division=0)[:3]


def pooled(people, matchups):
    index, table = LabelIndex(people), LabelTable()
    for matchup in matchups:
        table.add(matchup.prompt.id, [], [(label, True) for label in index.of(matchup)])
    return table.labelled()


def read(gold, said):
    """The labels and answers where the judge was read."""
    return zip(*((a, b) for a, b in zip(gold, said, strict=True) if b), strict=True)


def agreement(gold, said):
    return sum(a == b for a, b in zip(*read(gold, said), strict=True)) / sum(b is not None for b in said)


def cohen_kappa(gold, said):
    from sklearn.metrics import cohen_kappa_score

    return cohen_kappa_score(*map(list, read(gold, said)))


def rows(name):
    return json.loads((DATA / name).read_text())


def side(p):
    """first, second or tie; None for what was not read."""
    return None if p is None else "first" if p > 0.5 else "second" if p < 0.5 else "tie"


@pytest.fixture(scope="module")
def matchups():
    made = []
    for row in rows("testset-v1.json"):
        prompt = Prompt.of(f"{row['instruction']}\n{row['input']}\n#{row['idx']}")
        # One of the recorded answers is not a text but the JSON value true.
        answers = (Completion.of(prompt.id, str(row[f"response{n}"]), policy=f"model{n}") for n in (1, 2))
        made.append(Matchup.of(prompt, *answers))
    return made


@pytest.fixture(scope="module")
def people(matchups, tmp_path_factory):
    """The three columns as a file of labels written by hand on texts, read by our own loader."""
    file = tmp_path_factory.mktemp("pandalm") / "labels.jsonl"
    with file.open("w") as out:
        for row, matchup in zip(rows("testset-v1.json"), matchups, strict=True):
            about = {
                "prompt": matchup.prompt.messages[0].content,
                "first": matchup.first.text,
                "second": matchup.second.text,
            }
            for who in (1, 2, 3):
                print(json.dumps(about | {"who": who, "label": SIDES[row[f"annotator{who}"]]}), file=out)
    return list(load_labels(file))


@pytest.fixture(scope="module")
def majority(people):
    by_item = {}
    for verdict in people:
        by_item.setdefault(verdict.matchup_id, []).append(side(verdict.p_first))
    return [max(set(said), key=said.count) for said in by_item.values()]


def judged(name, field, matchups):
    """A judge's answers as verdicts; what cannot be read has a reason and no probability."""
    answers = (READ.get(str(row[field])) for row in rows(name))
    return [verdict_of(name, matchup, p) for matchup, p in zip(matchups, answers, strict=True)]


def test_people_agree_as_the_paper_says(people):
    said = {}
    for verdict in people:
        said.setdefault(verdict.judge, []).append(side(verdict.p_first))

    assert list(said) == ["human:1", "human:2", "human:3"]
    kappas = [round(cohen_kappa(one, other), 4) for one, other in combinations(said.values(), 2)]
    assert kappas == [0.852, 0.8789, 0.8617]


def test_labels_written_on_texts_find_their_matchups(people, majority, matchups):
    seen = pooled(people, matchups)

    assert len(seen.human) == 999
    assert 0.90 < seen.human_agreement < 0.93
    assert [majority.count(word) for word in ("tie", "first", "second")] == [105, 422, 472]
    for p, matchup, word in zip(seen.human.tolist(), matchups, majority, strict=True):
        if word != "tie":
            # Two against one, or two and a tie: the mean leans where the majority does.
            assert side(p if matchup.first.id <= matchup.second.id else 1 - p) == word


def test_what_an_unread_answer_is_taken_for_decides_the_headline(majority, matchups):
    said = [side(v.p_first) for v in judged("gpt-3.5-turbo-testset-v1.json", "gpt_result", matchups)]
    assert said.count(None) == 25

    as_wrong = [word or "unread" for word in said]
    as_tie = [word or "tie" for word in said]
    kept = [(g, word) for g, word in zip(majority, said, strict=True) if word]

    assert round(agreement(majority, as_wrong), 4) == 0.6977
    assert round(agreement(majority, as_tie), 4) == 0.7107
    # Ours: what was not read is left out, and counted.
    assert (len(kept), round(agreement(majority, said), 4)) == (974, 0.7156)
    assert rounded(macro_scores(majority, as_tie)) == [0.5879, 0.5736, 0.5755]
    assert rounded(macro_scores(*zip(*kept, strict=True))) == [0.5365, 0.5417, 0.5331]
    # Averaged over the three real labels: `unread` is no class of its own.
    p, r, f1 = (4 / 3 * value for value in macro_scores(majority, as_wrong))
    assert rounded((p, r, f1)) == [0.5365, 0.5324, 0.5274]


def test_the_trained_judge_scores_as_published(majority, matchups):
    said = [side(v.p_first) for v in judged("pandalm-7b-testset-v1.json", "pandalm_result", matchups)]

    assert round(agreement(majority, said), 4) == 0.6677
    assert rounded(macro_scores(majority, said)) == [0.5738, 0.575, 0.5743]


def test_the_audit_compares_both_judges_with_three_humans(people, matchups):
    """Alpha as the package of its name has it; humans agree more often with each other than any judge."""
    krippendorff = pytest.importorskip("krippendorff", reason="pip install krippendorff")
    files = {"gpt-3.5-turbo-testset-v1.json": "gpt_result", "pandalm-7b-testset-v1.json": "pandalm_result"}
    collector = Collector(LabelIndex(people))
    told = [judged(name, field, matchups) for name, field in files.items()]
    for matchup, *said in zip(matchups, *told, strict=True):
        answers = (matchup.first, matchup.second)
        collector.add_case(Case(matchup.prompt, answers, (matchup,), tuple(said)))
    sheet = collector.sheet()
    found = {(one.name, one.about): one.estimate for one in audit(sheet)}

    by_person = [[v.p_first for v in people if v.judge == f"human:{who}"] for who in (1, 2, 3)]
    want = krippendorff.alpha([[2 * p for p in row] for row in by_person], level_of_measurement="nominal")
    assert found["agreement.humans_alpha", ""].value == pytest.approx(want, abs=1e-6)
    means = [
        side(p if matchup.first.id <= matchup.second.id else 1 - p)
        for p, matchup in zip(pooled(people, matchups).human.tolist(), matchups, strict=True)
    ]
    for name, said in zip(files, told, strict=True):
        assert found["agreement.with_a_human", name].high < 0
        kappa = cohen_kappa(means, [side(verdict.p_first) for verdict in said])
        assert found["agreement.kappa", name].value == pytest.approx(kappa, abs=1e-9)
        # No judge is within fifteen points of humans who agree so often.
        assert found["agreement.alt_test", name].value == 0.0
    assert found["agreement.better_judge", "pandalm-7b-testset-v1.json"].low > 0


def rounded(values):
    return [round(value, 4) for value in values]
