import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from one_prompt import PROMPT, completion, opinion, pair_of

from jurist.errors import SettingError
from jurist.preferences.pairs import check_margin, choose
from jurist.preferences.settings import PreferConfig

A, B = completion("one answer"), completion("another one")


USUAL = PreferConfig()


def one(p, chosen=A, rejected=B, cfg=USUAL, **fields):
    said = opinion(chosen, rejected, p, judge="judge", **fields)
    kept, dropped = choose(PROMPT, [chosen, rejected], [said], cfg)
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


def test_soft_ties_are_not_told_by_length_or_place():
    soft = PreferConfig(ties="soft")
    pairs = [(completion(f"{i}"), completion(f"{i} but longer")) for i in range(400)]
    shorter = sum(one(0.5, a, b, soft).chosen.text == a.text for a, b in pairs)

    assert 150 < shorter < 250


CUT = completion("an answer that stops in the", finish="length")
NO = completion("I'm sorry, but I can't help with that.")
LONG = completion("word " * 20)


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
        (0.9, (LONG, A), {}, ("length_gap",)),
        (0.9, (LONG, A), {"max_length_ratio": 0.0}, ()),
    ],
)
def test_a_pair_that_is_kept_carries_its_flags(p, texts, cfg, flags):
    kept = one(p, *texts, PreferConfig(**cfg))

    assert (kept.p, kept.flags) == (max(p, 1 - p), flags)


@pytest.mark.parametrize(
    ("p", "texts", "cfg", "reason"),
    [
        (math.nan, (A, B), {"ties": "soft"}, "unread: no_probability"),
        (0.5, (A, B), {}, "tie"),
        (0.5 + 1e-12, (A, B), {}, "tie"),
        (0.5 - 1e-12, (A, B), {}, "tie"),
        (0.55, (A, B), {"min_margin": 0.2}, "below_margin"),
        (0.9, (A, completion("one  answer\n")), {}, "identical"),
        (0.9, (A, completion(" ")), {}, "empty"),
        (0.9, (A, completion("One answer!")), {}, "near_duplicate"),
        (0.9, (CUT, B), {}, "truncated"),
        (0.9, (NO, B), {"refusals": "drop", "max_length_ratio": 0}, "refusal"),
    ],
)
def test_a_pair_that_is_no_good_is_dropped_with_its_reason(p, texts, cfg, reason):
    assert one(p, *texts, PreferConfig(**cfg)) == reason


def test_nothing_read_is_not_a_tie():
    _, (dropped,) = choose(PROMPT, [A, B], [opinion(A, B, unread="cut_off")], PreferConfig(ties="soft"))

    assert dropped.reason == "unread: cut_off"
    assert choose(PROMPT, [A], [opinion(A, A, 0.9)], PreferConfig())[1][0].reason == "identical"


def test_a_verdict_that_went_with_the_position_is_flagged_or_dropped():
    assert one(0.6, flipped=True).flags == ("flipped",)
    assert one(0.6, flipped=True, cfg=PreferConfig(consistent_only=True)) == "inconsistent"
    assert one(0.6, flipped=False, cfg=PreferConfig(consistent_only=True)).flags == ()


def test_human_preferences_are_flagged_as_such():
    flags = [choose(PROMPT, [A, B], [opinion(A, B, 1.0, judge=name)], USUAL)[0][0].flags for name in JUDGES]

    assert flags == [("human",), ()]


JUDGES = ("human:ana", "humanlike:gpt")


@pytest.mark.parametrize(
    "wrong",
    [
        {"rho": 1.5},
        {"sure": 0.2},
        {"sure": math.nan},
        {"near_duplicates": -1.0},
        {"min_margin": -0.1},
        {"min_margin": math.inf},
        {"length_penalty": math.nan},
        {"max_length_ratio": 0.5},
    ],
)
def test_a_setting_out_of_its_range_is_refused(wrong):
    (name,) = wrong
    with pytest.raises(SettingError, match=rf"^{name} is .*Write e.g. {name}: \d"):
        PreferConfig(**wrong)


def test_a_margin_that_no_pair_can_have_is_refused_before_anything_is_asked():
    wide = PreferConfig(min_margin=5)
    with pytest.raises(SettingError, match=r"min_margin: 0\.2"):
        check_margin(wide, ["pairwise", "pairwise"])

    check_margin(wide, ["pairwise", "pointwise"])
    check_margin(PreferConfig(min_margin=0.5), ["pairwise"])


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
            opinion(
                first, second, p, unread="" if p is not None else "refused", scores=scores, position_gap=gap
            )
        )
    return completions, opinions


@settings(max_examples=80, deadline=None)
@given(given_=judged(), cfg=SETTINGS)
def test_every_opinion_ends_as_a_preference_or_a_reason(given_, cfg):
    completions, opinions = given_
    kept, dropped = choose(PROMPT, completions, opinions, cfg)

    assert len(kept) + len(dropped) == len(opinions)
    assert all(d.reason and d.stage == "preferences" for d in dropped)
    assert all(0.5 <= p.p <= 1.0 and p.margin >= cfg.min_margin for p in kept)
    assert all(p.chosen.text.split() != p.rejected.text.split() for p in kept)
    assert len({p.id for p in kept}) == len(kept)
    asked = {frozenset((o.first_id, o.second_id)) for o in opinions if o.p_first is not None}
    assert all(frozenset((p.chosen.id, p.rejected.id)) in asked for p in kept)


@settings(max_examples=80, deadline=None)
@given(given_=judged(), cfg=SETTINGS, data=st.data())
def test_turning_opinions_turns_nothing_in_the_outcome(given_, cfg, data):
    completions, opinions = given_
    turns = data.draw(st.lists(st.booleans(), min_size=len(opinions), max_size=len(opinions)))
    other = [o.swapped() if turn else o for o, turn in zip(opinions, turns, strict=True)]

    assert choose(PROMPT, completions, other, cfg) == choose(PROMPT, completions, opinions, cfg)


def test_an_opinion_about_strangers_or_heard_twice_leaves_by_name():
    stranger = completion("who?")
    opinions = [opinion(A, B, 0.9), replace(opinion(A, B, 0.8), judge="again"), opinion(A, stranger, 0.9)]

    assert pair_of([A, B], opinions) == ([(A.text, B.text)], ["duplicate", "unknown_completion"])
