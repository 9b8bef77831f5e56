"""Juries planted with good, bad, silent and conspiring members."""

import math
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jurist.records import Verdict
from jurist.stats.agreement import ece
from jurist.stats.fits import fit_dawid_skene
from jurist.verdicts import jury
from jurist.verdicts.jury import Juror, LabelTable, Weights, combine, fit_jury
from jurist.verdicts.settings import JuryConfig
from jurist.verdicts.settle import Opinion

MEAN, VOTE, DAWID_SKENE, ANCHORED = map(JuryConfig, ("mean", "vote", "dawid_skene", "anchored"))
RULES = [MEAN, VOTE, DAWID_SKENE, ANCHORED]
ABLE = ((0.8, 0.15, 0.05), (0.15, 0.8, 0.05))
FITTED = {
    "vote": None,
    "mean": None,
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
    truth = {f"m{i}": float(dice.random() < 0.5) for i in range(n)}
    rows = []
    for matchup, first in truth.items():
        row = []
        for judge, accuracy in accuracies.items():
            says = first if dice.random() < accuracy else 1 - first
            row.append(opinion(judge, None if dice.random() < unread else says, matchup=matchup))
        rows.append(row)
    return rows, truth


def label(matchup, p, judge="human:ann"):
    return Verdict(f"{judge}-{matchup}", judge, matchup, f"{matchup}-1", f"{matchup}-2", p_first=p)


def fitted(rows, truth, cfg):
    """The weights, from labels of each matchup in `truth`; every matchup is of a prompt of its own."""
    table = LabelTable(count_patterns=cfg.combine == "dawid_skene")
    for row in rows:
        name = row[0].matchup_id
        table.add(name, row, [(label(name, truth[name]), True)] if name in truth else [])
    return fit_jury(table.labelled(), cfg, table.patterns)[0]


def accuracy(rows, truth, weights, cfg):
    said = [o for o in (combine(row, weights, cfg) for row in rows) if o.p_first is not None]
    return float(np.mean([(o.p_first > 0.5) == (truth[o.matchup_id] > 0.5) for o in said]))


probabilities = st.one_of(st.none(), st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]))
gaps = st.one_of(st.none(), st.floats(-1, 1))
juries = st.tuples(*[st.builds(opinion, st.just(j), probabilities, gaps) for j in "pqr"])


@settings(deadline=None)
@given(juries, st.permutations(range(3)), st.integers(0, 2), st.sampled_from(RULES))
def test_neither_the_order_of_the_members_nor_the_order_they_were_told_in_matters(members, order, which, cfg):
    weights = FITTED[cfg.combine]
    one = combine(members, weights, cfg)
    assert combine([members[i] for i in order], weights, cfg) == one

    swapped = combine([o.swapped() for o in members], weights, cfg).swapped()
    aligned = combine([o.swapped() if i == which else o for i, o in enumerate(members)], weights, cfg)
    aligned = aligned if aligned.first_id == one.first_id else aligned.swapped()
    for other in (swapped, aligned):
        assert (one.first_id, one.second_id, one.unread) == (other.first_id, other.second_id, other.unread)
        assert other.p_first == pytest.approx(one.p_first, abs=1e-9)
        assert other.position_gap == pytest.approx(one.position_gap, abs=1e-9)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(RULES))
def test_an_unread_member_is_left_out_and_is_no_tie(p, q, cfg):
    read = [opinion("p", p), opinion("q", q)]
    with_unread = combine([*read, opinion("r", None)], FITTED[cfg.combine], cfg)

    assert with_unread.p_first == combine(read, FITTED[cfg.combine], cfg).p_first
    assert with_unread.verdict_ids == ("p@m", "q@m", "r@m")


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


@pytest.mark.parametrize("cfg", RULES)
@pytest.mark.parametrize(
    ("flips", "wanted"),
    [
        ([True] * 3, True),
        ([True, True, False], True),
        ([True, False], False),
        ([True, None], True),
        ([None], False),
    ],
)
def test_a_jury_flipped_where_most_of_those_read_in_both_orders_did(cfg, flips, wanted):
    """Of a vote that is made of position alone as of any other; None was read in one order."""
    members = [
        opinion(judge, 0.55, None if flipped is None else 0.8, flipped=bool(flipped))
        for judge, flipped in zip("pqr", flips, strict=False)
    ]
    assert combine(members, FITTED[cfg.combine], cfg).flipped is wanted


def test_a_member_with_a_negative_weight_is_turned_round():
    rows, truth = hard_jury({"liar": 0.1}, 60)
    weights = fitted(rows[:40], truth, ANCHORED)

    assert weights.jurors[0].weight < 0
    assert combine([opinion("liar", 1.0)], weights, ANCHORED).p_first < 0.2
    assert accuracy(rows[40:], truth, weights, ANCHORED) > 0.75


def test_thirty_labels_rescue_a_jury_whose_majority_is_wrong():
    rows, truth = hard_jury({"good": 0.8, "bad": 0.2, "worse": 0.15, "coin": 0.5}, 600)
    weights = fitted(rows, {f"m{i}": truth[f"m{i}"] for i in range(30)}, ANCHORED)

    assert accuracy(rows[30:], truth, None, VOTE) < 0.4
    assert accuracy(rows[30:], truth, weights, ANCHORED) > 0.85


@pytest.mark.parametrize("cfg", [VOTE, MEAN])
def test_a_jury_significantly_worse_than_its_best_member_is_refused_and_still_combines(cfg):
    rows, truth = hard_jury({"good": 0.9, "bad": 0.3, "worse": 0.2}, 60)
    weights = fitted(rows, truth, cfg)

    assert weights.accuracy < 0.7
    assert "judge good alone with" in weights.refused
    assert "--jury.combine anchored (" in weights.refused
    assert weights.refused.endswith("--force true")
    assert combine(rows[0], weights, cfg).p_first is not None


def test_a_jury_worse_by_chance_only_warns():
    """One of 200 labels behind the best of three: 80.5 against 81 %."""
    rows, truth = hard_jury({"a": 1.0, "b": 1.0, "c": 1.0}, 200)
    wrong = {"a": range(38), "b": range(39), "c": range(38, 80)}  # a errs with b; c errs with b once
    rows = [
        [replace(o, p_first=1 - o.p_first) if i in wrong[o.judge] else o for o in row]
        for i, row in enumerate(rows)
    ]
    weights = fitted(rows, truth, VOTE)

    assert (weights.accuracy, weights.refused) == (0.805, "")
    assert (
        "agrees with 80.5% of 200 labels, judge a alone with 81.0% (by chance in 50% of cases)"
        in weights.warning
    )


def test_a_remedy_that_is_worse_than_what_was_refused_is_not_named():
    """Anchored weights learnt from twelve labels of coins are no way out."""
    for seed in range(40):
        rows, truth = hard_jury({"a": 0.62, "b": 0.5, "c": 0.5}, 24, seed)
        mean_of, anchored = fitted(rows, truth, MEAN), fitted(rows, truth, ANCHORED)
        said = mean_of.refused + mean_of.warning
        assert ("--jury.combine anchored" in said) <= (anchored.accuracy >= mean_of.accuracy)


def test_votes_are_allowed_where_they_help_and_where_nobody_labelled_anything():
    rows, truth = hard_jury({"a": 0.75, "b": 0.75, "c": 0.75}, 2000)
    weights = fitted(rows, truth, VOTE)

    assert weights.accuracy > 0.82 > max(juror.accuracy for juror in weights.jurors)
    assert not weights.refused + weights.warning
    assert fitted(rows, {}, VOTE).accuracy is None


def test_independent_judges_count_in_full_and_echoes_count_once():
    rows, truth = hard_jury({"a": 0.75, "b": 0.75, "c": 0.75}, 3000)
    fair = fitted(rows, truth, MEAN)
    same = fitted(
        [[row[0], replace(row[0], judge="b"), replace(row[0], judge="c")] for row in rows], truth, MEAN
    )

    assert fair.error_correlation == pytest.approx(0, abs=0.04)
    assert fair.effective_judges > 2.7
    assert same.error_correlation == pytest.approx(1)
    assert same.effective_judges == pytest.approx(1)


def soft_jury(n, seed):
    """Two noisy judges that share most of their error, and a dull one; probabilities too loud by half."""
    dice = np.random.default_rng(seed)
    gap, shared = dice.normal(0, 1.5, n), dice.normal(0, 1.5, n)
    truth = {f"m{i}": float(t) for i, t in enumerate(dice.random(n) < 1 / (1 + np.exp(-gap)))}
    noise = {"one": shared, "two": shared + dice.normal(0, 0.3, n), "three": dice.normal(0, 1.0, n)}
    rows = [
        [
            opinion(j, float(1 / (1 + math.exp(-1.5 * (gap[i] + e[i])))), 0.1, f"m{i}")
            for j, e in noise.items()
        ]
        for i in range(n)
    ]
    return rows, truth


@pytest.mark.parametrize(("labels", "method", "error"), [(600, "stack", 0.05), (100, "votes", 0.08)])
def test_anchored_probabilities_mean_what_they_say(labels, method, error):
    rows, truth = soft_jury(3000, seed=3)
    weights = fitted(rows, {f"m{i}": truth[f"m{i}"] for i in range(labels)}, ANCHORED)
    held_out = [combine(row, weights, ANCHORED).p_first for row in rows[labels:]]
    plain = [combine(row, None, MEAN).p_first for row in rows[labels:]]
    wanted = list(truth.values())[labels:]

    assert weights.method == method
    assert ece(held_out, wanted) < error < ece(plain, wanted)
    if method == "stack":
        assert accuracy(rows[600:], truth, weights, ANCHORED) > accuracy(rows[600:], truth, None, MEAN) + 0.01


def test_a_reported_accuracy_never_saw_its_own_labels():
    """Of judges that toss coins, nothing can be learnt, and no rule may report that it was."""
    for cfg in (ANCHORED, DAWID_SKENE):
        found = []
        for seed in range(40):
            rows, truth = hard_jury(dict.fromkeys("abcde", 0.5), 200, seed)
            found.append(fitted(rows, {f"m{i}": truth[f"m{i}"] for i in range(30)}, cfg).accuracy)
        assert 0.45 < np.mean(found) < 0.535, cfg.combine


def test_labels_of_one_prompt_are_held_out_together():
    """A hundred copies of one matchup say nothing about another prompt."""
    rows, truth = hard_jury({"a": 0.5, "b": 0.5}, 200, seed=2)
    table = LabelTable()
    for i, row in enumerate(rows):
        table.add(f"prompt{i % 2}", row, [(label(row[0].matchup_id, truth[row[0].matchup_id]), True)])
    _, lean = fit_jury(table.labelled(), ANCHORED)
    alone = LabelTable()
    for row in rows[1::2]:
        alone.add("prompt1", row, [(label(row[0].matchup_id, truth[row[0].matchup_id]), True)])
    other = fit_jury(alone.labelled(), ANCHORED)[0]

    weights = {juror.judge: juror.weight for juror in other.jurors}
    want = [sum(weights[o.judge] * (2 * o.p_first - 1) for o in row) for row in rows[::2]]
    assert lean[::2] == pytest.approx(np.array(want), rel=0.2)


def test_dawid_skene_finds_who_is_able_without_any_label():
    able = {"a": 0.9, "b": 0.85, "c": 0.7, "d": 0.6, "e": 0.75}
    rows, truth = hard_jury(able, 4000, unread=0.1)
    weights = fitted(rows, {}, DAWID_SKENE)

    assert [j.says[0][0] for j in weights.jurors] == pytest.approx(list(able.values()), abs=0.04)
    assert "upside down" in weights.warning
    assert accuracy(rows, truth, weights, DAWID_SKENE) > accuracy(rows, truth, None, VOTE)


def test_dawid_skene_with_labels_warns_when_the_judges_err_together():
    rows, truth = hard_jury({"a": 0.7}, 400)
    dice = np.random.default_rng(5)
    echo = [
        [
            row[0],
            *(replace(row[0], judge=j, p_first=row[0].p_first if dice.random() < 0.9 else 0.5) for j in "bc"),
        ]
        for row in rows
    ]
    weights = fitted(echo, truth, DAWID_SKENE)

    assert weights.error_correlation > 0.3
    assert "--jury.combine anchored" in weights.warning


def test_dawid_skene_by_hand_from_known_truths():
    prior, says = fit_dawid_skene(
        np.array([[0], [1], [1]]), np.array([3.0, 1, 4]), np.array([1.0, 1, 0]), 0, 0
    )
    assert prior == pytest.approx(0.5)
    assert says[0] == pytest.approx(np.array([[0.75, 0.25, 0], [0, 1, 0]]))

    said, counts = np.array([[0, 0], [1, 1], [0, 0]]), np.array([20.0, 22, 2])
    _, says = fit_dawid_skene(said, counts, np.array([np.nan, np.nan, 0.0]), 0, 1e-9)
    assert says[:, 1, 0] == pytest.approx([2 / 24] * 2, abs=0.01)  # taken as known however the votes went


def test_dawid_skene_does_not_care_which_completion_was_called_first():
    rows, _ = hard_jury({"a": 0.9, "b": 0.7, "c": 0.6}, 300)
    one = fitted(rows, {}, DAWID_SKENE)
    other = fitted([[o.swapped() for o in row] for row in rows], {}, DAWID_SKENE)

    for mine, theirs in zip(one.jurors, other.jurors, strict=True):
        assert np.array(mine.says) == pytest.approx(np.array(theirs.says), abs=1e-6)
        assert mine.says[0][:2] == pytest.approx(mine.says[1][1::-1], abs=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("judges", [5, 40])
def test_dawid_skene_is_crowd_kits_round_by_round_and_ends_with_the_same_labels(judges):
    """Four answers an item; with the defaults, which smooth a little, the labels are those it ends with."""
    crowdkit = pytest.importorskip("crowdkit.aggregation", reason="pip install crowd-kit")
    import pandas

    dice = np.random.default_rng(7)
    truth, able = dice.integers(0, 2, 400), dice.beta(4, 1.5, judges)
    said = np.where(dice.random((400, judges)) < able, truth[:, None], 1 - truth[:, None])
    for row in said:
        row[dice.permutation(judges)[4:]] = -1
    rows = [(i, j, int(said[i, j])) for i, j in zip(*np.nonzero(said >= 0), strict=True)]
    table = pandas.DataFrame(rows, columns=["task", "worker", "label"])

    theirs = crowdkit.DawidSkene(n_iter=50, tol=-math.inf).fit(table)
    prior, says = fit_dawid_skene(said, np.ones(400), np.full(400, np.nan), 0.0, -math.inf, rounds=51)
    assert prior == pytest.approx(theirs.priors_[0], abs=1e-9)
    wanted = theirs.errors_.reindex([(j, a) for j in range(judges) for a in (0, 1)])[[0, 1]].to_numpy()
    assert says[:, :, :2] == pytest.approx(wanted.reshape(judges, 2, 2).transpose(0, 2, 1), abs=1e-9)

    def share_alike(*how):
        prior, says = fit_dawid_skene(said, np.ones(400), np.full(400, np.nan), *how)
        words = np.log(np.maximum(says[:, 0], 1e-300)) - np.log(np.maximum(says[:, 1], 1e-300))
        score = np.where(said >= 0, words[np.arange(judges), said], 0).sum(axis=1)
        return np.mean((score + math.log(prior / (1 - prior)) > 0) == converged)

    full = crowdkit.DawidSkene(n_iter=200, tol=-math.inf).fit(table)
    converged = full.probas_.sort_index()[0].to_numpy() > 0.5
    assert share_alike() == 1
    if judges == 40:
        assert share_alike(1.0, 1e-5) < 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_majority_agrees_with_crowd_kit():
    crowdkit = pytest.importorskip("crowdkit.aggregation", reason="pip install crowd-kit")
    import pandas

    rows, _ = hard_jury({"a": 0.9, "b": 0.7, "c": 0.6, "d": 0.5}, 100)
    told = [(i, o.judge, 1 - int(o.p_first)) for i, row in enumerate(rows) for o in row]
    shares = crowdkit.MajorityVote().fit(pandas.DataFrame(told, columns=["task", "worker", "label"])).probas_
    for i, row in enumerate(rows):
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


def test_labels_on_which_annotators_are_split_teach_nothing():
    rows, truth = hard_jury({"a": 0.9, "b": 0.8}, 50)
    gold = dict.fromkeys(list(truth)[:20], 0.5) | {m: truth[m] for m in list(truth)[20:]}

    assert fitted(rows, gold, ANCHORED).n_labels == 30


def test_anchored_weights_without_labels_are_refused_and_average():
    rows, _ = hard_jury({"a": 0.9, "b": 0.3}, 5)
    weights = fitted(rows, {}, ANCHORED)

    assert "--labels FILE" in weights.refused
    assert combine(rows[0], weights, ANCHORED).p_first == combine(rows[0], None, MEAN).p_first


def test_fitted_weights_come_back_equal_from_json():
    rows, truth = hard_jury({"a": 0.9, "b": 0.3}, 40)
    for cfg in RULES:
        weights = fitted(rows, truth, cfg)
        assert msgspec.json.decode(msgspec.json.encode(weights), type=Weights) == weights


@pytest.mark.parametrize("labelled", [0.0, 1.0])
def test_a_million_matchups_would_fit_into_the_memory_of_ten_thousand(labelled, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(jury, "MOST", 300)

    def peak(n):
        tracemalloc.start()
        table = LabelTable(count_patterns=True)
        for i in range(n):
            row = [
                opinion("a", float(i % 2), matchup=f"m{i}"),
                opinion("b", float(i % 3 > 0), matchup=f"m{i}"),
            ]
            table.add(f"p{i}", row, [(label(f"m{i}", float(i % 2)), True)] if labelled else [])
        seen = table.labelled()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(seen.p) <= 300
        return most

    peak(200)
    assert peak(8000) < peak(800) + 250_000


def test_combining_costs_little():
    members = [opinion("p", 0.9, 0.1), opinion("q", 0.2, 0.0), opinion("r", 0.6)]
    best = math.inf
    for _ in range(5):
        start = time.process_time()
        for _ in range(2000):
            combine(members, None, MEAN)
        best = min(best, (time.process_time() - start) / 2000)

    assert best < 30e-6
