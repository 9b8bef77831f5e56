"""Reasons to end a loop, and the share of human rows: pure functions of what the rounds came to."""

from __future__ import annotations

import math
import random

import pytest

from jurist.errors import DataError, SettingError
from jurist.recipes.lines import share
from jurist.recipes.loop.compare import (
    Comparison,
    Facts,
    HeldOutRow,
    checkpoint_of,
    checkpoints,
    comparison_of,
    diversity_of,
    generations,
    with_verdict,
)
from jurist.recipes.loop.settings import RealConfig, StopConfig
from jurist.recipes.loop.stopping import (
    MOST_REAL,
    mix_real_rows,
    real_share_for,
    reason_to_stop,
    warnings,
)
from jurist.records import Completion, Prompt

PROMPT = Prompt.of("What is 2 plus 2?")
HUMAN = RealConfig(file="human.jsonl")


def facts(number=1, *, distinct=0.4, unique=1.0, win=None, se=0.02, kl=None, **more):
    varied = {"distinct": distinct, "distinct_before": 0.4, "unique": unique, "unique_before": 1.0}
    found = Comparison(win, se, n=200, kl=kl, **varied)
    return Facts(number, f"policy {number}", compared=found, **more)


def stop(rounds, **cfg):
    points = [one for one in map(checkpoint_of, rounds) if one is not None]
    return reason_to_stop(rounds, points, StopConfig(**cfg))


def lost(*distinct):
    return [facts(at, distinct=one) for at, one in enumerate(distinct, 1)]


# ---- reasons to stop


@pytest.mark.parametrize(
    ("one", "cfg", "says"),
    [
        (facts(tied=0.85), {}, "cannot tell"),
        (facts(tied=0.75), {}, ""),
        (facts(tied=0.85), {"saturated": 0}, ""),
        (facts(distinct=0.29), {}, "distinct"),
        (facts(unique=0.7), {}, "unique"),
        (facts(distinct=0.31, unique=0.8), {}, ""),
        (facts(distinct=0.29, missing=7), {}, "7 more rows that humans write"),
        (facts(agreement=share(99, 200)), {}, "agrees with compare.judge on 50% of 200 pairs"),
        (facts(agreement=share(65, 100)), {}, ""),
        (facts(agreement=share(5, 10)), {}, ""),
        (facts(agreement=share(99, 200)), {"agreement": 0}, ""),
        (Facts(1, "nothing was measured"), {}, ""),
    ],
)
def test_one_round_can_be_reason_enough(one, cfg, says):
    found = stop([one], **cfg)
    assert says in found
    assert bool(found) == bool(says)


def walk(*wins, se=0.03, proxies=None):
    """Rounds at growing distances, with a proxy that rises."""
    proxies = proxies or range(len(wins))
    return [
        facts(at, win=win, se=se, kl=at * at, proxy=proxy)
        for at, (win, proxy) in enumerate(zip(wins, proxies, strict=True), 1)
    ]


FALL = (0.6, 0.75, 0.8, 0.75, 0.6)


@pytest.mark.parametrize(
    ("rounds", "cfg", "use"),
    [
        (walk(*FALL), {}, "policy 3"),
        (walk(*FALL, proxies=[None] * 5), {}, "policy 3"),
        (walk(*FALL, proxies=[4, 3, 2, 1, 0]), {}, ""),
        (walk(*FALL), {"peak": 0}, ""),
        (walk(*FALL), {"peak": 6}, ""),
        (walk(*FALL, se=0.07), {}, ""),  # no more than chance does
        (walk(0.4, 0.35, 0.3), {}, "the initial policy"),
        (walk(0.68, 0.74, 0.75, 0.75, 0.73), {}, ""),  # flat, though the curve through it has turned
        (walk(0.6, 0.65, 0.7, 0.8, 0.85), {}, ""),
        ([*walk(*FALL), facts(6)], {}, ""),  # the last round was not compared
    ],
)
def test_a_loop_stops_when_the_win_rate_fell_significantly_and_the_proxy_did_not(rounds, cfg, use):
    found = stop(rounds, **cfg)
    assert found.endswith(f"use {use}" if use else "")
    assert bool(found) == bool(use)


def test_a_flip_rate_near_the_bar_is_warned_of():
    assert "35% of the matchups" in warnings([facts(2, flips=0.35)], StopConfig())[0]
    assert not warnings([facts(flips=0.25), facts(flips=None)], StopConfig())


# ---- human rows


@pytest.mark.parametrize(
    ("rounds", "cfg", "wanted"),
    [
        (lost(0.4, 0.39, 0.41), HUMAN, 0.3),
        (lost(0.36), HUMAN, 0.65),
        (lost(0.36, 0.36), HUMAN, 0.825),
        (lost(0.36, 0.36, 0.36), HUMAN, MOST_REAL),
        (lost(0.36, 0.4, 0.4), HUMAN, 0.65),  # what was too little once is not tried again
        (lost(0.1), RealConfig(file="f", share=0.95), 0.95),
        (lost(0.1), RealConfig(file="f", alarm=0), 0.3),
        ([Facts(1, "nothing was measured")], HUMAN, 0.3),
    ],
)
def test_each_round_that_lost_diversity_halves_what_models_write(rounds, cfg, wanted):
    assert real_share_for(rounds, cfg) == pytest.approx(wanted)


def test_human_rows_keep_their_share_however_many_rows_were_made_and_the_floor_holds():
    for made in (10, 100, 1000):
        rows, missing = mix_real_rows(range(made), range(5000, 9000), HUMAN, seed=1)
        assert not missing
        assert sum(row >= 5000 for row in rows) == round(0.3 * made / 0.7)
    with pytest.raises(DataError, match="the floor is 10%"):
        mix_real_rows(range(1000), range(20), HUMAN, seed=1)
    assert mix_real_rows([1, 2], [], RealConfig(), seed=1) == ([1, 2], 1)


# ---- comparisons


def said(*texts, by="new", prompt=PROMPT):
    return tuple(Completion.of(prompt.id, text, by) for text in texts)


def row(p, new="one two three", old="one"):
    return HeldOutRow(PROMPT, said(new), said(old, by="old"), p)


def test_a_win_rate_counts_probabilities_and_leaves_unread_verdicts_out():
    found = comparison_of([row(1.0), row(0.5), row(0.75), row(None)])
    assert (found.win_rate, found.n, found.unread) == (0.75, 3, 1)
    assert 0 <= found.low < 0.75 < found.high <= 1
    assert (found.words, found.words_before) == (3.0, 1.0)
    with pytest.raises(SettingError, match=r"compare\.judge"):
        comparison_of([row(None)])


def test_the_standard_error_is_that_of_the_verdicts_also_near_one():
    found = comparison_of([row(1.0)] * 29 + [row(0.0)])
    se = math.sqrt(29 / 30 * (1 / 30) / 29)
    assert found.se == pytest.approx(se)
    assert found.high <= 1
    assert checkpoint_of(Facts(1, "p", compared=Comparison(29 / 30, se, kl=4.0))).se == se
    assert comparison_of([row(1.0)] * 30).se == pytest.approx(0.5 / 30), "equal verdicts are not certain"


def test_a_win_rate_at_equal_length_needs_other_rounds_on_the_same_prompts():
    """All rounds prefer the longer answer and nothing else; the first is long more often than not."""
    dice = random.Random(0)
    prompts = [Prompt.of(f"What is {n} plus {n}?") for n in range(200)]

    def answered(prompt, often):
        longer = dice.random() < often
        p = float(dice.random() < (0.9 if longer else 0.1))
        new = said("word " * (60 if longer else 20), prompt=prompt)
        return HeldOutRow(prompt, new, said("word " * 40, by="old", prompt=prompt), p)

    rounds = [[answered(prompt, often) for prompt in prompts] for often in (0.8, 0.5, 0.5)]
    alone, among = comparison_of(rounds[0]), comparison_of(rounds[0], rounds[1:])
    assert alone.win_rate == among.win_rate > 0.65
    assert alone.at_equal_length is None
    assert comparison_of(rounds[0], rounds[1:2]).at_equal_length is None
    assert among.at_equal_length == pytest.approx(0.5, abs=0.12)
    assert comparison_of(rounds[0], [*rounds[1:], [row(None)]]).at_equal_length == among.at_equal_length


def test_a_verdict_is_read_from_either_side_and_equal_answers_are_a_tie():
    new, old = said("new"), said("old", by="old")
    ids = min(new[0].id, old[0].id), max(new[0].id, old[0].id)
    p = 0.9 if new[0].id == ids[0] else 0.1
    assert with_verdict(HeldOutRow(PROMPT, new, old), {ids: p}).p == pytest.approx(0.9)
    assert with_verdict(HeldOutRow(PROMPT, new, old), {}).p is None
    assert with_verdict(HeldOutRow(PROMPT, said("a  b"), said("a b", by="old")), {}).p == 0.5
    assert with_verdict(HeldOutRow(PROMPT, (), old), {}).p is None


def test_diversity_by_hand():
    new, old = said("a b c", "a b d", "a b c", "x y"), said("a b", "a b", "c d e", "e f g", by="old")
    found = diversity_of([HeldOutRow(PROMPT, new, old)])
    assert (found["unique"], found["unique_before"]) == (3 / 4, 3 / 4)
    # Cut alike: x y, a b, a b c, a b d is six pairs, four kinds; a b, a b, c d e, e f g is six, five kinds.
    assert (found["distinct"], found["distinct_before"]) == pytest.approx((4 / 6, 5 / 6))
    assert diversity_of([]) == {}
    alone = diversity_of([HeldOutRow(PROMPT, old)])
    assert alone["unique"] == alone["unique_before"] == 3 / 4, "the initial policy beside itself"


def test_a_failed_draw_and_a_short_answer_cost_no_diversity():
    """Of answers as varied as before, half were not drawn, or all were cut to half."""
    draw, words = random.Random(1), [f"w{n}" for n in range(20)]
    prompts = [Prompt.of(f"prompt {n}") for n in range(100)]
    whole = [said(*(" ".join(draw.choices(words, k=16)) for _ in range(4)), prompt=one) for one in prompts]

    def left(cut):
        rows = [HeldOutRow(one, cut(some), some) for one, some in zip(prompts, whole, strict=True)]
        found = diversity_of(rows)
        uniques = [found.get(name, 1.0) for name in ("unique", "unique_before")]
        return found["distinct"] / found["distinct_before"], uniques[0] / uniques[1]

    def cut_short(some):
        return tuple(Completion.of(one.prompt_id, " ".join(one.text.split()[:8]), "new") for one in some)

    assert left(lambda some: some[:2]) == pytest.approx((1.0, 1.0), abs=0.06)
    assert left(lambda some: cut_short(some[:1])) == pytest.approx((1.0, 1.0), abs=0.06)


def test_a_folder_without_rounds_has_no_history(tmp_path):
    assert generations(tmp_path) == checkpoints(tmp_path) == []
