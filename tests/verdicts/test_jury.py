"""Juries planted with good, bad, silent and conspiring members."""

import math
import tracemalloc

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jurist.records import Verdict
from jurist.stats.agreement import ece
from jurist.stats.fits import expit, fit_dawid_skene
from jurist.verdicts import jury
from jurist.verdicts.jury import (
    Juror,
    LabelTable,
    Weights,
    agrees_with_labels,
    combine,
    fit_jury,
    measure_agreement,
)
from jurist.verdicts.settings import JuryConfig
from jurist.verdicts.settle import Opinion

MEAN, VOTE, DAWID_SKENE, ANCHORED = map(JuryConfig, ("mean", "vote", "dawid_skene", "anchored"))
RULES = [MEAN, VOTE, DAWID_SKENE, ANCHORED]
ABLE = ((0.8, 0.15, 0.05), (0.15, 0.8, 0.05))
FITTED = {
    "anchored": Weights(
        "anchored", (Juror("p", 1.4), Juror("q", -0.9), Juror("r", 0.3)), method="stack", temperature=1.3
    ),
    "dawid_skene": Weights("dawid_skene", tuple(Juror(j, says=ABLE) for j in "pqr"), method="tables"),
}


def opinion(judge, p, gap=None, matchup="m", flipped=False):
    unread = "" if p is not None else "refused"
    ids = (f"{judge}@{matchup}",)
    return Opinion(matchup, f"{matchup}-1", f"{matchup}-2", judge, p, unread, gap, None, ids, flipped)


def hard_jury(accuracies, n, seed=0, unread=0.0):
    """Judges that err independently, and the truths by matchup id: the first is better in half."""
    dice = np.random.default_rng(seed)
    truth = (dice.random(n) < 0.5).astype(float).tolist()
    right = (dice.random((n, len(accuracies))) < list(accuracies.values())).tolist()
    silent = (dice.random((n, len(accuracies))) < unread).tolist()
    rows = [
        [
            opinion(judge, None if silent[i][j] else first if right[i][j] else 1 - first, matchup=f"m{i}")
            for j, judge in enumerate(accuracies)
        ]
        for i, first in enumerate(truth)
    ]
    return rows, {f"m{i}": first for i, first in enumerate(truth)}


def label(matchup, p, judge="human:ann"):
    return Verdict(f"{judge}-{matchup}", judge, matchup, f"{matchup}-1", f"{matchup}-2", p_first=p)


def fitted(rows, truth, cfg):
    """The weights, from labels of each matchup in `truth`; every matchup is of a prompt of its own."""
    table = LabelTable(count_patterns=cfg.combine == "dawid_skene")
    for row in rows:
        name = row[0].matchup_id
        table.add(name, row, [(label(name, truth[name]), True)] if name in truth else [])
    weights = fit_jury(table.labelled(), cfg, table.patterns)[0]
    assert msgspec.json.decode(msgspec.json.encode(weights), type=Weights) == weights
    return weights


def first(truth, n):
    return {f"m{i}": truth[f"m{i}"] for i in range(n)}


def accuracy(rows, truth, weights, cfg):
    said = [o for o in (combine(row, weights, cfg) for row in rows) if o.p_first is not None]
    return float(np.mean([(o.p_first > 0.5) == (truth[o.matchup_id] > 0.5) for o in said]))


probabilities = st.one_of(st.none(), st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]))
juries = st.tuples(*[st.builds(opinion, st.just(j), probabilities, st.floats(-1, 1)) for j in "pqr"])


@settings(deadline=None, max_examples=50)
@given(juries, st.permutations(range(3)), st.integers(0, 2), st.sampled_from(RULES))
def test_neither_the_order_of_the_members_nor_the_order_they_were_told_in_matters(members, order, which, cfg):
    weights = FITTED.get(cfg.combine)
    one = combine(members, weights, cfg)
    assert combine([members[i] for i in order], weights, cfg) == one
    swapped = combine([o.swapped() for o in members], weights, cfg).swapped()
    aligned = combine([o.swapped() if i == which else o for i, o in enumerate(members)], weights, cfg)
    aligned = aligned if aligned.first_id == one.first_id else aligned.swapped()
    for other in (swapped, aligned):
        assert (one.first_id, one.second_id, one.unread) == (other.first_id, other.second_id, other.unread)
        assert other.p_first == pytest.approx(one.p_first, abs=1e-9)
        assert other.position_gap == pytest.approx(one.position_gap, abs=1e-9)


def test_votes_means_and_quorum_by_hand():
    members = [opinion("p", 0.9, 0.4), opinion("q", 0.5, -0.2), opinion("r", 0.4)]
    assert combine(members, None, VOTE).p_first == pytest.approx(0.5)
    assert combine(members, None, MEAN).p_first == pytest.approx(0.6)
    assert combine(members, None, MEAN).position_gap == pytest.approx(0.1)
    silent = [opinion("p", 0.9, 0.1, flipped=True), opinion("q", None), opinion("r", None)]
    said = combine(silent, None, MEAN)
    assert (said.p_first, said.unread, said.flipped) == (None, "no quorum", False)
    assert said.verdict_ids == ("p@m", "q@m", "r@m")
    assert combine(silent[1:], None, MEAN).unread == "refused"


def test_thirty_labels_rescue_a_jury_whose_majority_is_wrong():
    rows, truth = hard_jury({"good": 0.8, "bad": 0.2, "worse": 0.15, "coin": 0.5}, 300)
    weights = fitted(rows, first(truth, 30), ANCHORED)
    assert accuracy(rows[30:], truth, None, VOTE) < 0.45
    assert accuracy(rows[30:], truth, weights, ANCHORED) > 0.85
    assert [juror.weight > 0 for juror in weights.jurors[:3]] == [True, False, False]


def test_a_remedy_that_is_worse_than_what_was_refused_is_not_named():
    """Anchored weights learnt from twelve labels of coins are no way out."""
    for seed in range(20):
        rows, truth = hard_jury({"a": 0.62, "b": 0.5, "c": 0.5}, 24, seed)
        mean_of, anchored = fitted(rows, truth, MEAN), fitted(rows, truth, ANCHORED)
        said = mean_of.refused + mean_of.warning
        assert ("--jury.combine anchored" in said) <= (anchored.accuracy >= mean_of.accuracy)


def test_votes_are_allowed_where_they_help_and_where_nobody_labelled_anything():
    rows, truth = hard_jury({"a": 0.75, "b": 0.75, "c": 0.75}, 1000)
    weights = fitted(rows, truth, VOTE)
    assert weights.accuracy > 0.82 > max(juror.accuracy for juror in weights.jurors)
    assert not weights.refused + weights.warning
    assert weights.error_correlation == pytest.approx(0, abs=0.06)
    assert weights.effective_judges > 2.7
    assert fitted(rows[:9], {}, VOTE).accuracy is None
    echoes = [[row[0], replace(row[0], judge="b"), replace(row[0], judge="c")] for row in rows[:300]]
    same = fitted(echoes, truth, MEAN)
    assert (same.error_correlation, same.effective_judges) == (pytest.approx(1), pytest.approx(1))


def soft_jury(n, seed):
    """Two noisy judges that share most of their error, and a dull one; probabilities too loud by half."""
    dice = np.random.default_rng(seed)
    gap, shared = dice.normal(0, 1.5, n), dice.normal(0, 1.5, n)
    truth = {f"m{i}": float(t) for i, t in enumerate(dice.random(n) < expit(gap))}
    noise = {"one": shared, "two": shared + dice.normal(0, 0.3, n), "three": dice.normal(0, 1.0, n)}
    says = {judge: expit(1.5 * (gap + error)).tolist() for judge, error in noise.items()}
    return [[opinion(j, p[i], 0.1, f"m{i}") for j, p in says.items()] for i in range(n)], truth


@pytest.mark.parametrize(("labels", "method", "error"), [(600, "stack", 0.06), (100, "votes", 0.08)])
def test_anchored_probabilities_mean_what_they_say(labels, method, error):
    rows, truth = soft_jury(2000, seed=3)
    weights = fitted(rows, first(truth, labels), ANCHORED)
    held_out = [combine(row, weights, ANCHORED).p_first for row in rows[labels:]]
    plain = [combine(row, None, MEAN).p_first for row in rows[labels:]]
    wanted = list(truth.values())[labels:]
    assert weights.method == method
    assert ece(held_out, wanted) < error < ece(plain, wanted)


def test_a_reported_accuracy_never_saw_its_own_labels():
    """Of judges that toss coins, nothing can be learnt, and no rule may report that it was."""
    for cfg in (ANCHORED, DAWID_SKENE):
        found = []
        for seed in range(12):
            rows, truth = hard_jury(dict.fromkeys("abcde", 0.5), 60, seed)
            found.append(fitted(rows, first(truth, 40), cfg).accuracy)
        assert 0.44 < np.mean(found) < 0.55, cfg.combine


def test_labels_of_one_prompt_are_held_out_together():
    """A hundred copies of one matchup say nothing about another prompt."""
    rows, truth = hard_jury({"a": 0.5, "b": 0.5}, 200, seed=2)
    both, alone = LabelTable(), LabelTable()
    for i, row in enumerate(rows):
        for table in (both, alone)[: 1 + i % 2]:
            table.add(f"prompt{i % 2}", row, [(label(row[0].matchup_id, truth[row[0].matchup_id]), True)])
    _, lean = fit_jury(both.labelled(), ANCHORED)
    weights = {juror.judge: juror.weight for juror in fit_jury(alone.labelled(), ANCHORED)[0].jurors}
    want = [sum(weights[o.judge] * (2 * o.p_first - 1) for o in row) for row in rows[::2]]
    assert lean[::2] == pytest.approx(np.array(want), rel=0.2)


def test_dawid_skene_finds_who_is_able_without_any_label_whichever_side_is_called_first():
    able = {"a": 0.9, "b": 0.85, "c": 0.7, "d": 0.6, "e": 0.75}
    rows, truth = hard_jury(able, 2000, unread=0.1)
    weights = fitted(rows, {}, DAWID_SKENE)
    assert [j.says[0][0] for j in weights.jurors] == pytest.approx(list(able.values()), abs=0.05)
    assert "upside down" in weights.warning
    assert accuracy(rows, truth, weights, DAWID_SKENE) > accuracy(rows, truth, None, VOTE)
    other = fitted([[o.swapped() for o in row] for row in rows], {}, DAWID_SKENE)
    for mine, theirs in zip(weights.jurors, other.jurors, strict=True):
        assert np.array(mine.says) == pytest.approx(np.array(theirs.says), abs=1e-6)
        assert mine.says[0][:2] == pytest.approx(mine.says[1][1::-1], abs=1e-6)


def test_dawid_skene_with_labels_warns_when_the_judges_err_together():
    rows, truth = hard_jury({"a": 0.7, "coin": 0.9}, 400)
    echo = [
        [
            one,
            *(
                replace(one, judge=j, p_first=one.p_first if p == truth[one.matchup_id] else 0.5)
                for j in "bc"
            ),
        ]
        for one, p in ((row[0], row[1].p_first) for row in rows)
    ]
    weights = fitted(echo, truth, DAWID_SKENE)
    assert weights.error_correlation > 0.3
    assert "--jury.combine anchored" in weights.warning


def test_dawid_skene_by_hand_from_known_truths():
    said, counts, gold = np.array([[0], [1], [1]]), np.array([3.0, 1, 4]), np.array([1.0, 1, 0])
    prior, says = fit_dawid_skene(said, counts, gold, 0, 0)
    assert prior == pytest.approx(0.5)
    assert says[0] == pytest.approx(np.array([[0.75, 0.25, 0], [0, 1, 0]]))
    said, counts = np.array([[0, 0], [1, 1], [0, 0]]), np.array([20.0, 22, 2])
    _, says = fit_dawid_skene(said, counts, np.array([np.nan, np.nan, 0.0]), 0, 1e-9)
    assert says[:, 1, 0] == pytest.approx([2 / 24] * 2, abs=0.01)  # taken as known however the votes went


def test_dawid_skene_smooths_and_stops_as_it_is_told():
    """With every truth known a table is counts, and 10 of smoothing are 30 more answers of the judge."""
    rows, truth = hard_jury({"a": 0.9, "b": 0.6, "c": 0.7}, 100)
    plain, smooth = (fitted(rows, truth, replace(DAWID_SKENE, smoothing=s)).jurors[0].says for s in (0, 10))
    for counts, more in zip(plain, smooth, strict=True):
        assert more == pytest.approx([(50 * share + 10) / 80 for share in counts])
    rows, _ = hard_jury({"a": 0.9, "b": 0.6, "c": 0.7}, 1000)
    soon, late = (fitted(rows, {}, replace(DAWID_SKENE, tolerance=t)).jurors[0].says for t in (9.0, 1e-9))
    assert soon[0][0] < 0.8 < late[0][0] == pytest.approx(0.9, abs=0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dawid_skene_and_the_majority_are_crowd_kits():
    """Four answers an item, round by round; and with a small tolerance the probabilities it ends with."""
    crowdkit = pytest.importorskip("crowdkit.aggregation", reason="pip install crowd-kit")
    import pandas

    dice, judges = np.random.default_rng(7), 5
    truth, able = dice.integers(0, 2, 400), dice.beta(4, 1.5, judges)
    said = np.where(dice.random((400, judges)) < able, truth[:, None], 1 - truth[:, None])
    said[np.arange(400), dice.integers(0, judges, 400)] = -1
    rows = [(i, j, int(said[i, j])) for i, j in zip(*np.nonzero(said >= 0), strict=True)]
    table = pandas.DataFrame(rows, columns=["task", "worker", "label"])
    theirs = crowdkit.DawidSkene(n_iter=50, tol=-math.inf).fit(table)
    prior, says = fit_dawid_skene(said, np.ones(400), np.full(400, np.nan), 0.0, -math.inf, rounds=51)
    assert prior == pytest.approx(theirs.priors_[0], abs=1e-9)
    wanted = theirs.errors_.reindex([(j, a) for j in range(judges) for a in (0, 1)])[[0, 1]].to_numpy()
    assert says[:, :, :2] == pytest.approx(wanted.reshape(judges, 2, 2).transpose(0, 2, 1), abs=1e-9)

    prior, says = fit_dawid_skene(said, np.ones(400), np.full(400, np.nan), 0.0, 1e-14)
    words = np.log(says[:, 0]) - np.log(says[:, 1])
    score = np.where(said >= 0, words[np.arange(judges), said], 0).sum(axis=1)
    full = crowdkit.DawidSkene(n_iter=2000, tol=1e-14).fit(table).probas_.sort_index()[0].to_numpy()
    assert expit(score + math.log(prior / (1 - prior))) == pytest.approx(full, abs=1e-6)
    shares = crowdkit.MajorityVote().fit(table).probas_
    for i in range(0, 400, 20):
        row = [opinion(str(j), 1.0 - one) for j, one in enumerate(said[i].tolist()) if one >= 0]
        assert combine(row, None, VOTE).p_first == pytest.approx(shares.loc[i].get(0, 0.0))


def test_labels_are_pooled_by_what_they_are_about_and_the_last_of_each_annotator_counts():
    table = LabelTable()
    said = [opinion("a", 0.9), opinion("b", 0.2)]
    table.add("p", said, [(label("m", 1.0), True), (label("m", 0.0, "human:bob"), True)])
    # The pair comes again, told from the other side: Ann corrects herself, the file has a word too.
    again = [one.swapped() for one in said]
    table.add("p", again, [(label("m", 0.0).swapped(), True), (label("m", 1.0, "file").swapped(), False)])
    seen = table.labelled()
    assert seen.p.tolist() == [pytest.approx([0.9, 0.2])]
    assert (seen.human.tolist(), seen.file.tolist(), seen.fit.tolist()) == ([0.0], [1.0], [0.0])
    assert seen.human_agreement == 1.0


def test_labels_on_which_annotators_are_split_teach_nothing_and_without_any_a_fitted_jury_is_refused():
    rows, truth = hard_jury({"a": 0.9, "b": 0.8}, 50)
    gold = truth | dict.fromkeys(list(truth)[:20], 0.5)
    assert fitted(rows, gold, ANCHORED).jurors[0].n == 30
    weights = fitted(rows, {}, ANCHORED)
    assert "--labels FILE" in weights.refused
    assert combine(rows[0], weights, ANCHORED).p_first == combine(rows[0], None, MEAN).p_first


@pytest.mark.parametrize("labelled", [False, True])
def test_a_million_matchups_would_fit_into_the_memory_of_ten_thousand(labelled, monkeypatch):
    monkeypatch.setattr(jury, "MOST", 300)

    def peak(n):
        tracemalloc.start()
        table = LabelTable(count_patterns=True)
        for i in range(n):
            row = [opinion(judge, float(i % m > 0), matchup=f"m{i}") for judge, m in (("a", 2), ("b", 3))]
            table.add(f"p{i}", row, [(label(f"m{i}", float(i % 2)), True)] if labelled else [])
        assert len(table.labelled().p) <= 300
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(200)
    assert peak(3000) < peak(800) + 250_000


def test_agreement_counts_ties_of_the_judge_half_and_leaves_out_ties_of_the_label_and_what_was_not_read():
    lean = np.array([0.4, -0.1, 0.0, np.nan, 0.3, 1e-12])
    y = np.array([1.0, 1.0, 0.0, 1.0, 0.5, 1.0])
    agrees = agrees_with_labels(lean, y)
    assert agrees[[0, 1, 2, 5]].tolist() == [1, 0, 0.5, 0.5]
    assert np.isnan(agrees[[3, 4]]).all()
    found = measure_agreement(lean, y, np.arange(6))
    assert (found.accuracy, found.n) == (0.5, 4)
    assert measure_agreement(lean[3:5], y[3:5], np.arange(2)) is None


def test_the_interval_of_an_agreement_takes_the_prompt_as_its_unit():
    lean = np.where(np.repeat(np.random.default_rng(0).random(50) < 0.7, 10), 1.0, -1.0)
    by_prompt = measure_agreement(lean, np.ones(500), np.repeat(np.arange(50), 10))
    by_row = measure_agreement(lean, np.ones(500), np.arange(500))
    assert by_prompt.accuracy == by_row.accuracy
    assert by_prompt.high - by_prompt.low > 2.5 * (by_row.high - by_row.low)
