"""Opinions on the pairs of one prompt, and which of them become preferences."""

import math
import random
from itertools import combinations

import pytest

from jurist.preferences import PreferConfig
from jurist.preferences.pairs import (
    RULES,
    choose,
    is_refusal,
    length_terms,
    near_duplicates,
    rank,
)
from jurist.records import Completion, Matchup, Prompt
from jurist.verdicts.settle import Opinion

PROMPT = Prompt.of("Why?")
USUAL = PreferConfig()


def completion(text, **fields):
    return Completion.of(PROMPT.id, text, **fields)


def opinion(first, second, p=None, **fields):
    return Opinion(Matchup.of(PROMPT, first, second).id, first.id, second.id, p_first=p, **fields)


def scored(completions, scores):
    """Every pair of completions with the scores a pointwise judge gave them."""
    made = []
    for (one, a), (other, b) in combinations(zip(completions, scores, strict=True), 2):
        p = 0.5 + 0.1 * (a > b) - 0.1 * (a < b) if abs(a - b) < 1 else float(a > b)
        made.append(opinion(one, other, p, scores=(a, b)))
    return made


def pair_of(completions, opinions, **settings):
    """The chosen and rejected texts, and the reasons of the others."""
    kept, dropped = choose(PROMPT, completions, opinions, PreferConfig(**settings))
    assert len(kept) + len(dropped) == len(opinions)
    return [(p.chosen.text, p.rejected.text) for p in kept], sorted(d.reason for d in dropped)


def one(p, first, second, **settings):
    """The preference that one opinion becomes, or the reason why it becomes none."""
    kept, dropped = choose(PROMPT, [first, second], [opinion(first, second, p)], PreferConfig(**settings))
    return kept[0] if kept else dropped[0].reason


A, B = completion("one answer"), completion("another one")
CUT = completion("an answer that stops in the", finish="length")
NO = completion("I'm sorry, but I can't help with that.")
LONG = completion("word " * 20)
TEXTS = ["aaaa aaaa", "b", "cc cc cc cc cc cc", "dddd dd", "e e", "ffff f f"]
SIX = [completion(text) for text in TEXTS]


def test_a_pair_becomes_a_preference_with_its_probability_margin_and_evidence():
    said = opinion(A, B, 0.25, judge="judge", verdict_ids=("v1", "v2"))
    ((preference,), _) = choose(PROMPT, [A, B], [said], USUAL)
    ((by_position,), _) = choose(PROMPT, [A, B], [opinion(A, B, 0.6, flipped=True)], USUAL)
    ((by_scores,), _) = choose(PROMPT, [A, B], [opinion(A, B, 0.8, scores=(4.5, 3.0))], USUAL)

    assert (preference.chosen, preference.rejected, preference.prompt) == (B, A, PROMPT)
    assert (preference.p, preference.margin, preference.weight) == (0.75, 0.5, 1.0)
    assert (preference.source, preference.verdict_ids) == ("best_vs_worst:judge", ("v1", "v2"))
    assert (preference.flags, by_position.flags) == ((), ("flipped",))
    assert by_scores.margin == 1.5


def test_soft_ties_are_not_told_by_length_or_place():
    pairs = [(completion(f"{i}"), completion(f"{i} but longer")) for i in range(100)]

    assert 25 < sum(one(0.5, a, b, ties="soft").chosen.text == a.text for a, b in pairs) < 75


@pytest.mark.parametrize(
    ("p", "texts", "cfg", "flags"),
    [
        (0.5, (A, B), {"ties": "soft"}, ("tie",)),
        (0.65, (A, B), {"min_margin": 0.2}, ()),
        (0.9, (A, completion("One answer!")), {"near_duplicates": 0.0}, ()),
        (0.1, (CUT, B), {}, ("truncated",)),
        (0.9, (CUT, B), {"truncated": "flag"}, ("truncated",)),
        (0.9, (NO, B), {}, ("length_gap", "refusal")),
        (0.1, (NO, B), {"refusals": "drop", "max_length_ratio": 0}, ("refusal",)),
        (0.9, (LONG, A), {"max_length_ratio": 0.0}, ()),
    ],
)
def test_a_pair_that_is_kept_carries_its_flags(p, texts, cfg, flags):
    kept = one(p, *texts, **cfg)

    assert (kept.p, kept.flags) == (max(p, 1 - p), flags)


@pytest.mark.parametrize(
    ("p", "texts", "cfg", "reason"),
    [
        (None, (A, B), {"ties": "soft"}, "unread: "),
        (math.nan, (A, B), {"ties": "soft"}, "unread: no_probability"),
        (1.5, (A, B), {}, "unread: no_probability"),
        (0.5 + 1e-12, (A, B), {}, "tie"),
        (0.55, (A, B), {"min_margin": 0.2}, "below_margin"),
        (0.9, (A, completion("One answer!")), {}, "near_duplicate"),
        (0.9, (CUT, B), {}, "truncated"),
        (0.9, (NO, B), {"refusals": "drop"}, "refusal"),
    ],
)
def test_a_pair_that_is_no_good_is_dropped_with_its_reason(p, texts, cfg, reason):
    assert one(p, *texts, **cfg) == reason


def drawn(seed):
    """Some completions, opinions on some of their pairs, and settings."""
    dice = random.Random(seed)
    texts = [f"{dice.choice(['a', 'b b', 'a b c', 'b b.'])} {i}" for i in range(dice.randint(2, 5))]
    completions = [completion(text, finish=dice.choice(["stop", "length"])) for text in texts]
    points = dice.choice([None, [1.0, 2.5, 1.0, 4.0, 2.5]])
    pairs = list(combinations(range(len(completions)), 2))
    opinions = []
    for i, j in dice.sample(pairs, dice.randint(0, len(pairs))):
        p = dice.choice([None, 0.0, 0.3, 0.5, 0.7123456789123, 1.0])
        scores = points and (points[i], points[j])
        opinions.append(opinion(completions[i], completions[j], p, unread="refused", scores=scores))
    choices = {
        "rule": [*RULES, "all_pairs"],
        "ties": ["drop", "soft"],
        "min_margin": [0.0, 0.1],
        "rho": [0.0, 0.3],
        "length_penalty": [0.0, 0.4],
        "truncated": ["drop", "flag"],
        "near_duplicates": [0.0, 0.8, 1.0],
    }
    return completions, opinions, PreferConfig(**{key: dice.choice(some) for key, some in choices.items()})


def test_every_opinion_ends_as_a_preference_or_a_reason_whichever_way_round_it_is():
    for seed in range(80):
        completions, opinions, cfg = drawn(seed)
        kept, dropped = choose(PROMPT, completions, opinions, cfg)

        assert len(kept) + len(dropped) == len(opinions)
        assert all(d.reason and d.stage == "preferences" for d in dropped)
        assert all(0.5 <= p.p <= 1.0 and p.margin >= cfg.min_margin for p in kept)
        asked = {frozenset((o.first_id, o.second_id)) for o in opinions if o.p_first is not None}
        assert {frozenset((p.chosen.id, p.rejected.id)) for p in kept} <= asked

        other = [one.swapped() if n % 2 else one for n, one in enumerate(opinions)]
        assert choose(PROMPT, completions, other, cfg) == (kept, dropped)


SURE = {"rule": "west_of_n", "sure": 0.8}


@pytest.mark.parametrize(
    ("opinions", "cfg", "pairs", "reasons"),
    [
        (scored(SIX[:4], [3, 1, 5, 2]), {}, [(2, 1)], ["not_selected"] * 5),
        (scored(SIX[:3], [5, 1, 5]), {}, [(0, 1)], ["not_selected", "tie"]),  # the shorter of two equals
        (scored(SIX, [6, 1, 2, 3, 4, 5]), {"rule": "worst_of_5"}, [(0, 1)], ["not_selected"] * 14),
        (scored(SIX, [4.8, 1.0, 5.0, 1.2, 3.0, 4.9]), {"rule": "rho"}, [(2, 1)], ["not_selected"] * 14),
        (scored(SIX, [4.8, 1, 5, 1.2, 3, 4.9]), {"rule": "rho", "rho": 0.1}, [(5, 3)], ["not_selected"] * 14),
        ([opinion(SIX[0], SIX[1], 0.8)], SURE, [(0, 1)], []),
        ([opinion(SIX[0], SIX[1], 0.7)], SURE, [], ["below_threshold"]),
        (scored(SIX[:3], [3, 1, 3]), {"rule": "all_pairs"}, [(0, 1), (2, 1)], ["tie"]),
        # Only pairs that were asked, and none against the ranking.
        ([opinion(SIX[i], SIX[i + 1], 0.9) for i in range(3)], {}, [(0, 1)], ["not_selected"] * 2),
        (
            [opinion(*SIX[:2], 0.9), opinion(*SIX[1:3], 0.9), opinion(SIX[0], SIX[2], 0.45)],
            {},
            [(0, 1)],
            None,
        ),
    ],
)
def test_each_rule_by_hand(opinions, cfg, pairs, reasons):
    got, why = pair_of(SIX, opinions, **cfg)

    assert got == [(TEXTS[i], TEXTS[j]) for i, j in pairs]
    assert reasons is None or why == reasons


def test_a_tie_among_the_best_is_told():
    kept, _ = choose(PROMPT, SIX[:3], scored(SIX[:3], [5, 1, 5]), USUAL)

    assert kept[0].flags == ("length_gap", "tie_broken")


@pytest.mark.parametrize(
    ("rule", "scores", "rejected"),
    [
        ("best_vs_random_lower", [5, 3, 1, 2], (1, 2, 3)),
        ("best_vs_random_lower", [3, 3, 3, 1], (3,)),  # an equal is never rejected
        ("worst_of_5", [8, 1, 2, 3, 4, 5, 6, 7], (1, 2, 3)),
    ],
)
def test_a_rule_with_chance_draws_among_those_below(rule, scores, rejected):
    some = [*SIX, completion("gg ggg"), completion("h hhhh")][: len(scores)]
    opinions = scored(some, scores)
    got = {pair_of(some, opinions, rule=rule, ties="soft", seed=s)[0][0][1] for s in range(40)}

    assert got == {TEXTS[i] for i in rejected}


def test_a_length_penalty_turns_what_only_length_decided():
    short, long = completion("brief"), completion("brief " * 30)
    for said, penalty, chosen in (
        (opinion(long, short, 0.6), 0.0, long),
        (opinion(long, short, 0.6), 0.5, short),
        (opinion(long, short, 0.95), 0.5, long),
        (opinion(long, short, 0.6, scores=(4.2, 4.0)), 0.5, short),
    ):
        assert pair_of([short, long], [said], length_penalty=penalty)[0][0][0] == chosen.text


def test_the_length_term_by_hand():
    terms = length_terms([completion("x" * n) for n in (10, 20, 30, 40, 90)])
    close = length_terms([completion("x" * 1000), completion("y" * 1002)])

    assert list(terms.values()) == pytest.approx([math.tanh((n - 30) / 20) for n in (10, 20, 30, 40, 90)])
    assert max(abs(t) for t in close.values()) < 0.02  # a few characters are no difference


def test_completions_are_ranked_by_scores_by_mean_wins_or_by_a_fit_where_pairs_are_missing():
    a, b, c = SIX[:3]
    wins = rank([opinion(a, b, 0.9), opinion(a, c, 0.7), opinion(b, c, 0.6)])
    scores = rank([opinion(a, b, 0.9, scores=(3.0, 4.0)), opinion(a, c, 0.7, scores=(5.0, 1.0))])
    fitted = rank([opinion(a, b, 1.0), opinion(b, c, 1.0)])

    assert wins == {a.id: 0.8, b.id: 0.35, c.id: 0.35}
    assert scores == {a.id: 4.0, b.id: 4.0, c.id: 1.0}
    assert math.inf > fitted[a.id] > fitted[b.id] > fitted[c.id] > -math.inf


REFUSALS = (
    "I’m sorry, I can’t do that.",
    "I can't tell you how to do that, but here is a hotline.",
    "As an AI language model, I cannot feel.",
    "  *I apologize*, but no.",
    "Thank you for asking. I'm unable to help.",
)
ANSWERS = (
    "",
    "Sure! I can help with that.",
    "Cannot be divided by zero.",
    "I can say more. I can't say it shorter.",
)


def test_a_refusal_is_known_by_its_opening():
    assert [is_refusal(text) for text in REFUSALS] == [True] * 5
    assert [is_refusal(text) for text in ANSWERS] == [False] * 4


BASE = "the quick brown fox jumps over the lazy dog and runs far away from the old barn by the river"


@pytest.mark.parametrize(
    ("one", "other", "threshold", "same"),
    [
        (BASE, f"{BASE[:-5]}lake", 0.8, True),
        (BASE, f"{BASE[:-5]}lake", 0.95, False),
        (BASE, " ".join(BASE.split()[::-1]), 0.5, False),
        (BASE, BASE.upper() + "!", 1.0, True),
        (BASE, f"{BASE} too", 1.0, False),
        (f"{BASE} 42", f"{BASE} 43", 0.5, False),  # another number is another answer
        ("3.14", "314", 1.0, False),
        ("-5", "5", 1.0, False),
    ],
)
def test_near_duplicates_share_their_word_triples(one, other, threshold, same):
    assert near_duplicates(one, other, threshold) == near_duplicates(other, one, threshold) == same
    assert near_duplicates(one, one, threshold)
