import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jurist.errors import SettingError
from jurist.preferences.pairs import PreferConfig, choose
from jurist.preferences.ranking import bradley_terry, length_terms, strengths
from jurist.records import Completion, Matchup, Prompt
from jurist.verdicts.opinion import Opinion

PROMPT = Prompt.of("Why?")


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


A, B = completion("one answer"), completion("another one")


USUAL = PreferConfig()


def one(p, chosen=A, rejected=B, cfg=USUAL, **fields):
    kept, dropped = choose(PROMPT, [chosen, rejected], [opinion(chosen, rejected, p, **fields)], cfg, "judge")
    assert len(kept) + len(dropped) == 1
    return kept[0] if kept else dropped[0].reason


def test_a_pair_becomes_a_preference_with_its_probability_margin_and_evidence():
    preference = one(0.25, verdict_ids=("v1", "v2"))

    assert (preference.chosen, preference.rejected) == (B, A)
    assert (preference.p, preference.margin, preference.weight) == (0.75, 0.5, 1.0)
    assert preference.source == "best_vs_worst:judge"
    assert preference.verdict_ids == ("v1", "v2")
    assert preference.flags == ()
    assert preference.prompt is PROMPT


def test_scores_give_their_difference_as_margin():
    assert one(0.8, scores=(4.5, 3.0)).margin == 1.5


def test_nothing_read_is_not_a_tie():
    _, (dropped,) = choose(PROMPT, [A, B], [opinion(A, B, unread="cut_off")], PreferConfig(ties="soft"))

    assert (dropped.reason, dropped.detail) == ("unread", "cut_off")


def test_a_probability_that_is_none_is_not_read():
    assert one(math.nan, cfg=PreferConfig(ties="soft")) == "unread"


def test_an_exact_tie_leaves_by_name_or_stays_soft():
    soft = one(0.5, cfg=PreferConfig(ties="soft"))

    assert one(0.5) == "tie"
    assert one(0.1 + 0.4) == "tie"
    assert (soft.p, soft.margin, soft.flags) == (0.5, 0.0, ("tie",))


def test_soft_ties_are_not_told_by_length_or_place():
    soft = PreferConfig(ties="soft")
    pairs = [(completion(f"{i}"), completion(f"{i} but longer")) for i in range(400)]
    shorter = sum(one(0.5, a, b, soft).chosen.text == a.text for a, b in pairs)

    assert 150 < shorter < 250


def test_a_small_margin_leaves_by_name():
    assert one(0.55, cfg=PreferConfig(min_margin=0.2)) == "below_margin"
    assert one(0.65, cfg=PreferConfig(min_margin=0.2)).p == 0.65


def test_a_verdict_that_turned_with_the_seats_is_flagged_or_leaves_by_name():
    assert one(0.6, seat_gap=0.5).flags == ("flipped",)
    assert one(0.6, seat_gap=0.5, cfg=PreferConfig(consistent_only=True)) == "inconsistent"
    assert one(0.6, seat_gap=0.1, cfg=PreferConfig(consistent_only=True)).flags == ()


def test_chosen_never_equals_rejected():
    assert one(0.9, A, completion("one  answer\n")) == "identical"
    assert choose(PROMPT, [A], [opinion(A, A, 0.9)], PreferConfig())[1][0].reason == "identical"


def test_an_empty_answer_is_no_side_of_a_pair():
    assert one(0.9, A, completion(" ")) == "empty"


def test_near_duplicates_leave_by_name():
    loud = completion("One answer!")

    assert one(0.9, A, loud) == "near_duplicate"
    assert one(0.9, A, loud, PreferConfig(near_duplicates=0.0)).p == 0.9


def test_a_better_one_that_was_cut_off_leaves_by_name_and_a_worse_one_is_flagged():
    cut = completion("an answer that stops in the", finish="length")

    assert one(0.9, cut, B) == "truncated"
    assert one(0.1, cut, B).flags == ("truncated",)
    assert one(0.9, cut, B, PreferConfig(truncated="flag")).flags == ("truncated",)


def test_a_refusal_is_flagged_or_leaves_by_name():
    no = completion("I'm sorry, but I can't help with that.")

    assert one(0.9, no, B).flags == ("length_gap", "refusal")
    assert one(0.9, no, B, PreferConfig(refusals="drop", max_length_ratio=0)) == "refusal"
    assert one(0.1, no, B, PreferConfig(refusals="drop", max_length_ratio=0)).flags == ("refusal",)


def test_a_gap_in_length_is_flagged():
    long = completion("word " * 20)

    assert one(0.9, long, A).flags == ("length_gap",)
    assert one(0.9, long, A, PreferConfig(max_length_ratio=0.0)).flags == ()


def test_people_are_flagged_as_such():
    kept, _ = choose(PROMPT, [A, B], [opinion(A, B, 1.0)], PreferConfig(), "human:ana")

    assert kept[0].flags == ("human",)


TEXTS = ["aaaa aaaa", "b", "cc cc cc cc cc cc", "dddd dd", "e e", "ffff f f"]
SIX = [completion(text) for text in TEXTS]


def test_best_vs_worst_by_hand():
    got, reasons = pair_of(SIX[:4], scored(SIX[:4], [3, 1, 5, 2]))

    assert got == [(TEXTS[2], TEXTS[1])]
    assert reasons == ["not_selected"] * 5


def test_of_equally_good_ones_the_shortest_is_chosen_and_the_tie_told():
    kept, _ = choose(PROMPT, SIX[:3], scored(SIX[:3], [5, 1, 5]), PreferConfig())

    assert (kept[0].chosen, kept[0].rejected, kept[0].flags) == (SIX[0], SIX[1], ("length_gap", "tie_broken"))


def test_best_vs_random_lower_by_hand():
    opinions = scored(SIX[:4], [3, 1, 5, 2])
    rejected = {pair_of(SIX[:4], opinions, rule="best_vs_random_lower", seed=s)[0][0] for s in range(40)}

    assert rejected == {(TEXTS[2], TEXTS[i]) for i in (0, 1, 3)}


def test_worst_of_5_by_hand():
    six = scored(SIX, [6, 1, 2, 3, 4, 5])
    eight = [*SIX, completion("gg ggg"), completion("h hhhh")]
    rejected = {
        pair_of(eight, scored(eight, [8, 1, 2, 3, 4, 5, 6, 7]), rule="worst_of_5", seed=s)[0][0]
        for s in range(60)
    }

    assert pair_of(SIX, six, rule="worst_of_5")[0] == [(TEXTS[0], TEXTS[1])]
    assert rejected == {(eight[0].text, eight[i].text) for i in (1, 2, 3)}


def test_rho_by_hand():
    opinions = scored(SIX, [4.8, 1.0, 5.0, 1.2, 3.0, 4.9])

    assert pair_of(SIX, opinions, rule="rho")[0] == [(TEXTS[2], TEXTS[1])]
    assert pair_of(SIX, opinions, rule="rho", rho=0.1)[0] == [(TEXTS[5], TEXTS[3])]


def test_west_of_n_by_hand():
    opinions = [opinion(A, B, 0.7)]

    assert pair_of([A, B], opinions, rule="west_of_n", sure=0.7)[0] == [(A.text, B.text)]
    assert pair_of([A, B], opinions, rule="west_of_n", sure=0.8) == ([], ["below_threshold"])


def test_all_pairs_by_hand():
    got, reasons = pair_of(SIX[:3], scored(SIX[:3], [3, 1, 3]), rule="all_pairs")

    assert got == [(TEXTS[0], TEXTS[1]), (TEXTS[2], TEXTS[1])]
    assert reasons == ["tie"]


def test_pairs_against_the_ranking_are_not_selected():
    a, b, c = SIX[:3]
    opinions = [opinion(a, b, 0.9), opinion(b, c, 0.9), opinion(a, c, 0.45)]
    got, _ = pair_of([a, b, c], opinions)

    assert got == [(a.text, b.text)]


def test_only_pairs_that_were_asked_become_preferences():
    chain = [opinion(SIX[i], SIX[i + 1], 0.9) for i in range(3)]
    got, reasons = pair_of(SIX[:4], chain)

    assert got == [(TEXTS[0], TEXTS[1])]
    assert reasons == ["not_selected"] * 2


def test_a_length_penalty_turns_what_only_length_decided():
    short, long = completion("brief"), completion("brief " * 30)
    near = [opinion(long, short, 0.6)]
    sure = [opinion(long, short, 0.95)]
    points = [opinion(long, short, 0.6, scores=(4.2, 4.0))]

    assert pair_of([short, long], near)[0] == [(long.text, short.text)]
    assert pair_of([short, long], near, length_penalty=0.5)[0] == [(short.text, long.text)]
    assert pair_of([short, long], sure, length_penalty=0.5)[0] == [(long.text, short.text)]
    assert pair_of([short, long], points, length_penalty=0.5)[0] == [(short.text, long.text)]


def test_a_length_penalty_does_not_touch_what_the_seats_did():
    short, long = completion("brief"), completion("brief " * 30)
    asked = [opinion(long, short, 0.9, seat_gap=0.2)]
    kept, _ = choose(PROMPT, [short, long], asked, PreferConfig(length_penalty=1.5, consistent_only=True))

    assert "flipped" not in kept[0].flags


def test_the_length_term_by_hand():
    terms = length_terms([completion("x" * n) for n in (10, 20, 30, 40, 90)])

    assert [round(t, 6) for t in terms.values()] == [
        round(math.tanh((n - 30) / 20), 6) for n in (10, 20, 30, 40, 90)
    ]


def test_a_few_characters_are_no_difference_in_length():
    terms = length_terms([completion("x" * 1000), completion("y" * 1002)])

    assert max(abs(t) for t in terms.values()) < 0.02


def test_mean_win_probability_by_hand():
    worth = strengths({("a", "b"): 0.9, ("a", "c"): 0.7, ("b", "c"): 0.6}, {})

    assert {name: round(value, 9) for name, value in worth.items()} == {"a": 0.8, "b": 0.35, "c": 0.35}


def test_bradley_terry_agrees_with_choix():
    choix = pytest.importorskip("choix")
    wins = {("a", "b"): 0.8, ("b", "c"): 0.7, ("c", "d"): 0.6, ("a", "d"): 0.75}
    names = ["a", "b", "c", "d"]
    got = bradley_terry(wins, names, prior=1e-6)
    data = [(names.index(i), names.index(j)) for (i, j), p in wins.items() for _ in range(round(p * 100))]
    data += [
        (names.index(j), names.index(i)) for (i, j), p in wins.items() for _ in range(round(100 - p * 100))
    ]
    want = choix.ilsr_pairwise(4, data)

    middle = sum(got.values()) / 4
    assert [round(got[name] - middle, 2) for name in names] == [round(x, 2) for x in want]


def test_who_never_lost_stays_finite():
    worth = bradley_terry({("a", "b"): 1.0, ("b", "c"): 1.0}, ["a", "b", "c"])

    assert worth["a"] > worth["b"] > worth["c"]
    assert all(map(math.isfinite, worth.values()))


@pytest.mark.parametrize(
    "wrong", [{"rho": 1.5}, {"sure": 0.2}, {"near_duplicates": -1.0}, {"min_margin": -0.1}]
)
def test_a_setting_out_of_its_range_is_refused(wrong):
    with pytest.raises(SettingError, match="lies between"):
        PreferConfig(**wrong)


PROBABILITY = st.none() | st.sampled_from([0.0, 0.3, 0.5, 0.6, 1.0]) | st.floats(0.0, 1.0)
SETTINGS = st.builds(
    PreferConfig,
    rule=st.sampled_from(
        ["best_vs_worst", "best_vs_random_lower", "worst_of_5", "rho", "all_pairs", "west_of_n"]
    ),
    ties=st.sampled_from(["drop", "soft"]),
    min_margin=st.sampled_from([0.0, 0.1]),
    consistent_only=st.booleans(),
    rho=st.sampled_from([0.0, 0.3, 1.0]),
    length_penalty=st.sampled_from([0.0, 0.4]),
    truncated=st.sampled_from(["drop", "flag"]),
    refusals=st.sampled_from(["drop", "flag"]),
    near_duplicates=st.sampled_from([0.0, 0.8, 1.0]),
    seed=st.integers(0, 3),
)


@st.composite
def judged(draw):
    texts = draw(st.lists(st.text(alphabet="ab .", min_size=1, max_size=6), min_size=2, max_size=5))
    finishes = draw(st.lists(st.sampled_from(["stop", "length"]), min_size=len(texts), max_size=len(texts)))
    completions = [
        completion(t, policy=str(i), finish=f) for i, (t, f) in enumerate(zip(texts, finishes, strict=True))
    ]
    pairs = draw(st.lists(st.sampled_from(list(combinations(completions, 2))), unique=True))
    points = draw(st.none() | st.lists(st.sampled_from([1.0, 2.5, 4.0]), min_size=5, max_size=5))
    opinions = []
    for first, second in pairs:
        p = draw(PROBABILITY)
        scores = None if points is None else (points[int(first.policy)], points[int(second.policy)])
        gap = draw(st.none() | st.sampled_from([0.0, 0.4, -0.7]))
        opinions.append(
            opinion(first, second, p, unread="" if p is not None else "refused", scores=scores, seat_gap=gap)
        )
    return completions, opinions


@settings(max_examples=300, deadline=None)
@given(given_=judged(), cfg=SETTINGS)
def test_every_opinion_ends_as_a_preference_or_a_reason(given_, cfg):
    completions, opinions = given_
    kept, dropped = choose(PROMPT, completions, opinions, cfg, "judge")

    assert len(kept) + len(dropped) == len(opinions)
    assert all(d.reason and d.stage == "preferences" for d in dropped)
    assert all(0.5 <= p.p <= 1.0 and p.margin >= cfg.min_margin for p in kept)
    assert all(p.chosen.text.split() != p.rejected.text.split() for p in kept)
    assert len({p.id for p in kept}) == len(kept)
    asked = {frozenset((o.first_id, o.second_id)) for o in opinions if o.p_first is not None}
    assert all(frozenset((p.chosen.id, p.rejected.id)) in asked for p in kept)


@settings(max_examples=300, deadline=None)
@given(given_=judged(), cfg=SETTINGS, data=st.data())
def test_turning_opinions_turns_nothing_in_the_outcome(given_, cfg, data):
    completions, opinions = given_
    turns = data.draw(st.lists(st.booleans(), min_size=len(opinions), max_size=len(opinions)))
    other = [o.turned() if turn else o for o, turn in zip(opinions, turns, strict=True)]

    assert choose(PROMPT, completions, other, cfg) == choose(PROMPT, completions, opinions, cfg)


def test_an_opinion_about_strangers_or_heard_twice_leaves_by_name():
    stranger = completion("who?")
    opinions = [opinion(A, B, 0.9), replace(opinion(A, B, 0.8), judge="again"), opinion(A, stranger, 0.9)]

    assert pair_of([A, B], opinions) == ([(A.text, B.text)], ["duplicate", "unknown_completion"])
