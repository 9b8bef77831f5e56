"""Juries planted with good, bad, silent and conspiring members."""

import math
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jurist.errors import DataError, SettingError
from jurist.stats.agreement import ece
from jurist.verdicts.jury import Juror, Weights, combine, fit_jury, fit_tables
from jurist.verdicts.opinion import Opinion
from jurist.verdicts.settings import JuryConfig

MEAN = JuryConfig("mean")
RULES = ["vote", "mean", "dawid_skene", "anchored"]
ABLE = ((0.8, 0.15, 0.05), (0.15, 0.8, 0.05))
FITTED = {
    "vote": None,
    "mean": None,
    "anchored": Weights(
        "anchored",
        (Juror("p", 1.4), Juror("q", -0.9), Juror("r", 0.3, gap_weight=-0.2)),
        method="stack",
        temperature=1.3,
    ),
    "dawid_skene": Weights("dawid_skene", tuple(Juror(j, says=ABLE) for j in "pqr"), method="tables"),
}


def opinion(judge: str, p: float | None, gap: float | None = None, matchup: str = "m") -> Opinion:
    unread = "" if p is not None else "refused"
    return Opinion(
        matchup, f"{matchup}-1", f"{matchup}-2", judge, p, unread, gap, None, (f"{judge}@{matchup}",)
    )


def hard_jury(accuracies: dict[str, float], n: int, seed: int = 0, unread: float = 0.0):
    """Judges that err independently, and the truths by matchup id: the first seat is better in half."""
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


def accuracy(rows, truth, weights, cfg):
    said = [o for o in (combine(row, weights, cfg) for row in rows) if o.p_first is not None]
    return float(np.mean([(o.p_first > 0.5) == (truth[o.matchup_id] > 0.5) for o in said]))


probabilities = st.one_of(st.none(), st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0]))
gaps = st.one_of(st.none(), st.floats(-1, 1))
juries = st.tuples(*[st.builds(opinion, st.just(j), probabilities, gaps) for j in "pqr"])


@settings(deadline=None)
@given(juries, st.permutations(range(3)), st.sampled_from(RULES))
def test_the_order_in_which_members_answer_does_not_matter(members, order, rule):
    cfg = JuryConfig(rule)

    assert combine(members, FITTED[rule], cfg) == combine([members[i] for i in order], FITTED[rule], cfg)


@settings(deadline=None)
@given(juries, st.sampled_from(RULES))
def test_turning_all_opinions_turns_the_result(members, rule):
    cfg = JuryConfig(rule)
    one = combine(members, FITTED[rule], cfg).swapped()
    other = combine([o.swapped() for o in members], FITTED[rule], cfg)

    assert (one.first_id, one.second_id, one.unread) == (other.first_id, other.second_id, other.unread)
    assert one.p_first == pytest.approx(other.p_first, abs=1e-9)
    assert one.position_gap == pytest.approx(other.position_gap, abs=1e-9)


@settings(deadline=None)
@given(juries, st.integers(0, 2), st.sampled_from(RULES))
def test_members_are_aligned_by_what_they_judged_and_not_by_where_it_sat(members, which, rule):
    cfg = JuryConfig(rule)
    turned = [o.swapped() if i == which else o for i, o in enumerate(members)]
    one, other = combine(members, FITTED[rule], cfg), combine(turned, FITTED[rule], cfg)
    other = other if other.first_id == one.first_id else other.swapped()

    assert one.p_first == pytest.approx(other.p_first, abs=1e-9)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(RULES))
def test_an_unread_member_is_left_out_and_is_no_tie(p, q, rule):
    cfg = JuryConfig(rule)
    with_unread = combine([opinion("p", p), opinion("q", q), opinion("r", None)], FITTED[rule], cfg)
    without = combine([opinion("p", p), opinion("q", q)], FITTED[rule], cfg)

    assert with_unread.p_first == without.p_first


def test_a_silent_member_pulls_nothing_towards_a_half():
    said = combine([opinion("p", 0.9), opinion("q", None)], None, JuryConfig("mean"))

    assert said.p_first == 0.9
    assert said.verdict_ids == ("p@m", "q@m")


def test_a_jury_without_quorum_is_unread_and_keeps_its_evidence():
    said = combine([opinion("p", 0.9), opinion("q", None), opinion("r", None)], None, JuryConfig("mean"))

    assert (said.p_first, said.unread) == (None, "no quorum")
    assert said.verdict_ids == ("p@m", "q@m", "r@m")
    assert combine([opinion("q", None), opinion("r", None)], None, JuryConfig()).unread == "refused"


def test_votes_and_means_by_hand():
    members = [opinion("p", 0.9), opinion("q", 0.5), opinion("r", 0.4)]

    assert combine(members, None, JuryConfig("vote")).p_first == pytest.approx(0.5)
    assert combine(members, None, JuryConfig("mean")).p_first == pytest.approx(0.6)


def test_the_seat_gap_of_a_mean_is_the_mean_of_the_gaps():
    members = [opinion("p", 0.6, 0.4), opinion("q", 0.5, -0.2), opinion("r", 0.5)]

    assert combine(members, None, JuryConfig("mean")).position_gap == pytest.approx(0.2 / 3)


def test_a_member_with_a_negative_weight_is_turned_round():
    rows, truth = hard_jury({"liar": 0.1}, 60)
    weights = fit_jury(rows[:40], truth, JuryConfig("anchored"))

    assert weights.jurors[0].weight < 0
    assert combine([opinion("liar", 1.0)], weights, JuryConfig("anchored")).p_first < 0.2
    assert accuracy(rows[40:], truth, weights, JuryConfig("anchored")) > 0.75


def test_thirty_labels_rescue_a_jury_whose_majority_is_wrong():
    rows, truth = hard_jury({"good": 0.8, "bad": 0.2, "worse": 0.15, "coin": 0.5}, 600)
    gold = {f"m{i}": truth[f"m{i}"] for i in range(30)}
    weights = fit_jury(rows, gold, JuryConfig("anchored"))

    assert accuracy(rows[30:], truth, None, JuryConfig("vote")) < 0.4
    assert accuracy(rows[30:], truth, weights, JuryConfig("anchored")) > 0.85


@pytest.mark.parametrize("rule", ["vote", "mean"])
def test_counting_heads_is_refused_where_one_member_alone_does_better(rule):
    rows, truth = hard_jury({"good": 0.9, "bad": 0.3, "worse": 0.2}, 60)
    with pytest.raises(
        SettingError, match=r"judge good alone with .*; use combine: anchored or .*force: true"
    ):
        fit_jury(rows, truth, JuryConfig(rule))

    forced = fit_jury(rows, truth, JuryConfig(rule, force=True))
    assert forced.accuracy < 0.7
    assert "judge good alone" in forced.warning


def test_counting_heads_is_allowed_where_it_helps_and_where_nobody_labelled_anything():
    rows, truth = hard_jury({"a": 0.75, "b": 0.75, "c": 0.75}, 2000)
    weights = fit_jury(rows, truth, JuryConfig("vote"))

    assert weights.accuracy > 0.82 > max(juror.accuracy for juror in weights.jurors)
    assert fit_jury(rows, {}, JuryConfig("vote")).accuracy is None


def test_independent_jurors_count_in_full_and_echoes_count_once():
    rows, truth = hard_jury({"a": 0.75, "b": 0.75, "c": 0.75}, 3000)
    fair = fit_jury(rows, truth, JuryConfig("mean", force=True))
    echoes = [[row[0], replace(row[0], judge="b"), replace(row[0], judge="c")] for row in rows]
    same = fit_jury(echoes, truth, JuryConfig("mean", force=True))

    assert fair.rho == pytest.approx(0, abs=0.04)
    assert fair.effective > 2.7
    assert same.rho == pytest.approx(1)
    assert same.effective == pytest.approx(1)


def soft_jury(n: int, seed: int):
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


def test_with_many_labels_a_stack_weighs_soft_opinions_and_means_what_it_says():
    rows, truth = soft_jury(3000, seed=3)
    gold = {f"m{i}": truth[f"m{i}"] for i in range(600)}
    cfg = JuryConfig("anchored")
    weights = fit_jury(rows, gold, cfg)
    held_out = [combine(row, weights, cfg).p_first for row in rows[600:]]
    labels = list(truth.values())[600:]

    assert weights.method == "stack"
    assert (
        ece(held_out, labels) < 0.05 < ece([combine(row, None, MEAN).p_first for row in rows[600:]], labels)
    )
    assert accuracy(rows[600:], truth, weights, cfg) > accuracy(rows[600:], truth, None, MEAN) + 0.01


def test_with_few_labels_the_probability_is_tempered_by_labels_it_has_not_seen():
    rows, truth = soft_jury(3000, seed=4)
    cfg = JuryConfig("anchored")
    weights = fit_jury(rows, {f"m{i}": truth[f"m{i}"] for i in range(100)}, cfg)
    held_out = [combine(row, weights, cfg).p_first for row in rows[100:]]

    assert weights.method == "votes"
    assert ece(held_out, list(truth.values())[100:]) < 0.08


def test_the_stack_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    from jurist.verdicts.jury import logistic

    dice = np.random.default_rng(0)
    x = dice.normal(size=(200, 4))
    y = (x @ [1.0, -0.5, 0, 0.2] + dice.normal(size=200) > 0).astype(float)
    want = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-12, max_iter=1000).fit(x, y).coef_[0]

    assert logistic(x, y) == pytest.approx(want, abs=1e-5)


def test_dawid_skene_finds_who_is_able_without_any_label():
    able = {"a": 0.9, "b": 0.85, "c": 0.7, "d": 0.6, "e": 0.75}
    rows, truth = hard_jury(able, 4000, unread=0.1)
    weights = fit_jury(rows, {}, JuryConfig("dawid_skene"))

    assert [j.says[0][0] for j in weights.jurors] == pytest.approx(list(able.values()), abs=0.04)
    assert "label 30 by hand" in weights.warning
    vote = accuracy(rows, truth, None, JuryConfig("vote"))
    assert accuracy(rows, truth, weights, JuryConfig("dawid_skene")) > vote


def test_dawid_skene_with_gold_warns_when_the_members_err_together():
    rows, truth = hard_jury({"a": 0.7}, 400)
    dice = np.random.default_rng(5)
    echo = [
        [
            row[0],
            *(replace(row[0], judge=j, p_first=row[0].p_first if dice.random() < 0.9 else 0.5) for j in "bc"),
        ]
        for row in rows
    ]
    weights = fit_jury(echo, truth, JuryConfig("dawid_skene"))

    assert weights.rho > 0.3
    assert "combine: anchored" in weights.warning


def test_dawid_skene_by_hand_from_known_truths():
    patterns, gold = [(0,), (1,), (1,)], [(1.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    tables = fit_tables(patterns, [3, 1, 4], gold, answers=2, smoothing=0)

    assert tables.prior == pytest.approx((0.5, 0.5))
    assert np.array(tables.says[0]) == pytest.approx(np.array([[0.75, 0.25], [0.0, 1.0]]))


def test_dawid_skene_takes_gold_as_known_however_the_votes_went():
    patterns, gold = [(0, 0), (1, 1), (0, 0)], [None, None, (0.0, 1.0)]
    tables = fit_tables(patterns, [20, 22, 2], gold, answers=2, smoothing=0)

    assert [judge[1][0] for judge in tables.says] == pytest.approx([2 / 24] * 2, abs=0.01)


def test_dawid_skene_does_not_care_which_seat_was_called_first():
    rows, _ = hard_jury({"a": 0.9, "b": 0.7, "c": 0.6}, 300)
    # All but a few seated so that the first is better.
    rows = [row if i % 9 == 0 or row[0].p_first else [o.swapped() for o in row] for i, row in enumerate(rows)]
    cfg = JuryConfig("dawid_skene")
    weights = fit_jury(rows, {}, cfg)

    turned = fit_jury([[o.swapped() for o in row] for row in rows], {}, cfg)
    for one, other in zip(weights.jurors, turned.jurors, strict=True):
        assert np.array(one.says) == pytest.approx(np.array(other.says), abs=1e-6)
        assert one.says[0][:2] == pytest.approx(one.says[1][1::-1], abs=1e-6)


def test_labels_written_for_the_other_seating_are_turned():
    rows, truth = hard_jury({"a": 0.9, "b": 0.8}, 200)
    people = {m: Opinion(m, f"{m}-2", f"{m}-1", "human", 1 - p) for m, p in truth.items()}

    assert fit_jury(rows, people, JuryConfig("anchored")) == fit_jury(rows, truth, JuryConfig("anchored"))
    strange = {"m0": Opinion("m0", "elsewhere", "m0-2", "human", 1.0)}
    with pytest.raises(DataError, match="make the labels again"):
        fit_jury(rows, strange, JuryConfig("mean"))


def test_a_label_on_which_people_are_split_teaches_nothing():
    rows, truth = hard_jury({"a": 0.9, "b": 0.8}, 50)
    gold = dict.fromkeys(list(truth)[:20], 0.5) | {m: truth[m] for m in list(truth)[20:]}

    assert fit_jury(rows, gold, JuryConfig("anchored")).n_gold == 30


def test_settings_that_cannot_work_say_what_to_do():
    rows, _ = hard_jury({"a": 0.9}, 5)
    with pytest.raises(SettingError, match="--labels"):
        fit_jury(rows, {}, JuryConfig("anchored"))
    with pytest.raises(SettingError, match="none of the 1 given"):
        fit_jury(rows, {"other": 1.0}, JuryConfig("anchored"))
    with pytest.raises(SettingError, match="fit them first"):
        combine(rows[0], None, JuryConfig("anchored"))
    with pytest.raises(SettingError, match="Did you mean 'p'"):
        combine([opinion("pp", 0.5)], FITTED["anchored"], JuryConfig("anchored"))
    with pytest.raises(DataError, match="group them by matchup_id"):
        combine([opinion("p", 0.5), opinion("q", 0.5, matchup="n")], None, JuryConfig())
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"combine": "sum"}, JuryConfig)


def test_fitted_weights_come_back_equal_from_json():
    rows, truth = hard_jury({"a": 0.9, "b": 0.3}, 40)
    for rule in RULES:
        weights = fit_jury(rows, truth, JuryConfig(rule, force=True))
        assert msgspec.json.decode(msgspec.json.encode(weights), type=Weights) == weights


def test_a_million_matchups_would_fit_into_the_memory_of_ten_thousand():
    import tracemalloc

    cfg, gold = JuryConfig("dawid_skene"), {f"m{i}": 1.0 for i in range(50)}

    def stream(n):
        for i in range(n):
            yield [
                opinion("a", float(i % 2), matchup=f"m{i}"),
                opinion("b", float(i % 3 > 0), matchup=f"m{i}"),
            ]

    def peak(n):
        tracemalloc.start()
        fit_jury(stream(n), gold, cfg)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(200)
    assert peak(8000) < 1.3 * peak(800)


def test_combining_costs_little():
    members = [opinion("p", 0.9, 0.1), opinion("q", 0.2, 0.0), opinion("r", 0.6)]
    cfg = JuryConfig("mean")
    best = math.inf
    for _ in range(5):
        start = time.process_time()
        for _ in range(2000):
            combine(members, None, cfg)
        best = min(best, (time.process_time() - start) / 2000)

    assert best < 20e-6
