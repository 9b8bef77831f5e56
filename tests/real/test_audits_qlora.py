"""GPT-4's reviews of eight systems and of thirty-six (QLoRA, Dettmers et al. 2023), through the audits."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest
from scipy.stats import spearmanr
from test_qlora_order import DATA, READ, names

from jurist.audits.collect import Collector
from jurist.audits.finding import Measure, find
from jurist.audits.findings import KINDS
from jurist.audits.length import length
from jurist.audits.position import position, positions_of
from jurist.audits.read_file import read_source
from jurist.audits.self_preference import self_preference
from jurist.audits.win_rates import length_controlled
from jurist.records import Completion, Matchup, Prompt, Verdict
from jurist.verdicts.cases import Case
from support.recorded import against_chatgpt, lines_of

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded judgements at {DATA}")


def rows_of(file):
    return [*lines_of(DATA / file)]


def expected(*path):
    found = json.loads((DATA.parent / "EXPECTED.json").read_text())
    for name in path:
        found = found[name]
    return found


def sheet_of(reviews):
    """(prompt, first shown, second shown, p of the first shown or None) to columns."""
    cases = defaultdict(list)
    for review in reviews:
        cases[review[0].id].append(review)
    collector = Collector()
    for some in cases.values():
        matchups, verdicts, answers = {}, [], {}
        for number, (prompt, first, second, p) in enumerate(some):
            shown = Matchup.of(prompt, first, second)
            matchups.setdefault(shown.id, shown)
            answers |= {first.id: first, second.id: second}
            name = f"{prompt.id} {number}"
            unread = "" if p is not None else "no verdict"
            verdicts.append(Verdict(name, "gpt-4", shown.id, first.id, second.id, p_first=p, unread=unread))
        collector.add_case(
            Case(some[0][0], tuple(answers.values()), tuple(matchups.values()), tuple(verdicts))
        )
    return collector.sheet()


def reviews_of_systems():
    """Eight systems, every ordered pair, with the texts they wrote."""
    texts = {}
    for row in rows_of("generations_vicuna_subset.jsonl.gz"):
        system = names(row["file"].removeprefix("answer_").removesuffix(".jsonl"))[0]
        texts[system, row["question_id"]] = row.get("generation") or row["text"]
    rows = rows_of("gpt4_pairwise.jsonl.gz")
    seen = defaultdict(Counter)
    for row in rows:
        for answer in (row["answer1_id"], row["answer2_id"]):
            seen[answer].update(names(row["file"]))
    wrote = {answer: count.most_common(1)[0][0] for answer, count in seen.items()}
    reviews = []
    for row in rows:
        prompt = Prompt.of(f"question {row['question_id']}")
        first, second = (
            Completion.of(prompt.id, texts[wrote[answer], row["question_id"]], policy=wrote[answer])
            for answer in (row["answer1_id"], row["answer2_id"])
        )
        reviews.append((prompt, first, second, READ.get(row["score"])))
    return reviews


@pytest.fixture(scope="module")
def systems():
    reviews = reviews_of_systems()
    return reviews, sheet_of(reviews)


@pytest.fixture(scope="module")
def found(systems):
    return {one.name: one for one in find(position(systems[1]), KINDS)}


def test_the_first_position_wins_65_percent_of_the_decided_verdicts(found):
    share = found["position.first_position"]

    assert round(share.value, 4) == expected("qlora_vicuna", "first_share") == 0.6496
    assert "3,867 decided verdicts" in share.says
    assert share.grade == "warning"
    assert share.n == 80


def test_the_two_orders_agree_for_1367_of_2227_matchups_and_456_flip(found):
    flips = found["position.flip_rate"]

    assert "for 1,367 of 2,227 matchups; for 456" in flips.says
    assert flips.value == expected("qlora_vicuna", "pure_position_flips") / 2227
    assert len(flips.examples) == 5


def test_between_equal_answers_the_first_position_is_worth_something(found):
    worth = found["position.between_equals"]

    assert 0 < worth.low < worth.value < worth.high


def test_how_often_the_longer_answer_wins_is_as_counted_by_hand(systems):
    reviews, sheet = systems
    said = defaultdict(list)
    for _, first, second, p in reviews:
        pair = (first, second) if first.id < second.id else (second, first)
        said[pair].append(None if p is None else p if pair[0] is first else 1 - p)
    wins = [
        (sum(both) / 2 > 0.5) == (len(one.text) > len(other.text))
        for (one, other), both in said.items()
        if None not in both and sum(both) != 1 and len(one.text) != len(other.text)
    ]
    measures = [one for one in length(sheet) if isinstance(one, Measure)]
    share = next(one for one in find(measures, KINDS) if one.name == "length.prefers_longer")

    assert share.value == pytest.approx(sum(wins) / len(wins))
    assert f"{len(wins):,} pairs" in share.says


def test_at_equal_length_the_systems_keep_a_sane_order(systems):
    """ChatGPT answers at less length than all others; the best stays the best, the last the last."""
    rates = {one.about: one.figures for one in length_controlled(systems[1], "gpt35")}
    elo = {name: rating for name, rating in expected("qlora_vicuna", "bt").items() if name != "gpt35"}
    raw, controlled = ([rates[name][how] for name in elo] for how in ("raw", "controlled"))

    assert (round(raw[0], 2), round(raw[-1], 2)) == (0.89, 0.4)
    assert 0.7 < max(controlled) == controlled[0] < raw[0]
    assert min(controlled) == controlled[-1]
    assert spearmanr(controlled, list(elo.values())).statistic > 0.8
    assert all(after < before for before, after in zip(raw, controlled, strict=True))


def test_gpt_4_judging_gpt_4_is_warned_of_though_nobody_labelled(systems):
    (kin,) = find(self_preference(systems[1]), KINDS)

    assert (kin.name, kin.grade) == ("self_preference.kin", "warning")
    assert "its own family (gpt)" in kin.says


def test_scored_reviews_conflict_as_often_as_recorded_for_each_of_36_systems(tmp_path):
    """A prompt for each system and question, so that the systems are the domains."""
    file = tmp_path / "reviews.jsonl"
    file.write_text("\n".join(map(json.dumps, against_chatgpt())), encoding="utf-8")
    sheet = read_source(file).sheet
    read = positions_of(sheet, 0)
    system = sheet.prompts.domain[sheet.matchups.prompt[read.both]]
    conflict = np.sign(read.p_given - 0.5) != np.sign(read.p_swapped - 0.5)
    told = zip(sheet.domains, np.bincount(system), np.bincount(system, conflict), strict=True)
    want = expected("qlora_relative", "systems").items()

    assert {name: (asked, conflicts) for name, asked, conflicts in told} == {
        name: (one["both_order_questions"], one["order_conflicts"]) for name, one in want
    }
