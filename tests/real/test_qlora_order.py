"""GPT-4 on eight systems, every ordered pair, 80 questions (QLoRA, Dettmers et al. 2023)."""

import json
import math
from collections import Counter

import pytest

from jurist.records import Completion, Matchup, Prompt, Verdict
from jurist.stats.fits import bradley_terry
from jurist.verdicts.calibrate import fit_position_biases
from jurist.verdicts.settle import settle
from support import recorded

DATA = recorded.DATA / "qlora_vicuna"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded judgements at {DATA}")

READ = {1: 1.0, 2: 0.0, 3: 0.5}


def names(file):
    pair = file.removesuffix("-gpt-4-reviewer-threeclass.jsonl").split("-vs-")
    return [name.removeprefix("answer-").removesuffix("-vicuna-generations-topp0.9-temp0.7") for name in pair]


@pytest.fixture(scope="module")
def reviews():
    """Each review as a verdict, seated as it was shown; matchups; and which system wrote which answer."""
    rows = [*recorded.lines_of("qlora_vicuna/gpt4_pairwise.jsonl.gz")]
    # An answer belongs to the system that is named in every file it is in: the file's own order is no guide.
    seen = {}
    for row in rows:
        for answer in (row["answer1_id"], row["answer2_id"]):
            seen.setdefault(answer, Counter()).update(names(row["file"]))
    wrote = {answer: count.most_common(1)[0][0] for answer, count in seen.items()}
    assert Counter(wrote.values()) == dict.fromkeys(set(wrote.values()), 80)
    verdicts, matchups, system = [], {}, {}
    for row in rows:
        prompt = Prompt.of(f"question {row['question_id']}")
        shown = []
        for answer in (row["answer1_id"], row["answer2_id"]):
            shown.append(Completion.of(prompt.id, answer, policy=wrote[answer]))
            system[shown[-1].id] = wrote[answer]
        matchup = Matchup.of(prompt, *shown)
        first = matchups.setdefault(matchup.id, matchup)
        p = READ.get(row["score"])
        verdicts.append(
            Verdict(
                row["review_id"],
                "gpt-4",
                matchup.id,
                shown[0].id,
                shown[1].id,
                order="given" if first.first.id == shown[0].id else "swapped",
                p_first=p,
                unread="" if p is not None else "no verdict",
            )
        )
    return verdicts, matchups, system


def test_the_first_seat_wins_65_percent_of_the_decided(reviews):
    decided = [v.p_first for v in reviews[0] if v.p_first not in (None, 0.5)]

    assert round(sum(decided) / len(decided), 4) == 0.6496


def test_both_orders_settle_as_recorded(reviews):
    verdicts, matchups, _ = reviews
    said = {}
    for verdict in verdicts:
        said.setdefault(verdict.matchup_id, []).append(verdict)
    opinions = [settle(both, matchups[matchup]) for matchup, both in said.items()]
    read = [o for o in opinions if o.p_first is not None]

    assert (len(opinions), len(read)) == (2240, 2227)
    assert sum(abs(o.position_gap) == 0 for o in read) == 1367
    assert sum(o.flipped for o in read) == 456


def test_strengths_on_the_elo_scale_come_out_as_recorded(reviews):
    verdicts, _, system = reviews
    wins = []
    for v in verdicts:
        if v.p_first is not None:
            first, second = system[v.first_id], system[v.second_id]
            wins += [(first, second, v.p_first), (second, first, 1 - v.p_first)]
    want = json.loads((DATA.parent / "EXPECTED.json").read_text())["qlora_vicuna"]["bt"]
    ratings = {name: 1000 + 400 / math.log(10) * one for name, one in bradley_terry(wins).items()}

    assert {name: round(rating, 1) for name, rating in ratings.items()} == want
    assert sorted(ratings, key=ratings.__getitem__, reverse=True) == list(want)


def test_a_fifth_asked_twice_finds_the_seat_bias_that_asking_all_twice_finds(reviews):
    verdicts, _, _ = reviews
    full = fit_position_biases(verdicts)[0]["gpt-4"]
    few = [v for v in verdicts if v.order == "given" or int(v.matchup_id[:8], 16) % 5 == 0]
    part = fit_position_biases(few)[0]["gpt-4"]

    assert full.first_share == pytest.approx(0.629, abs=0.002)
    assert part.low < full.first_share < part.high
    assert part.n_swapped < 0.25 * full.n_swapped
