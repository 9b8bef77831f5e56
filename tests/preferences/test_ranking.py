import math

from one_prompt import PROMPT, completion, opinion, pair_of

from jurist.preferences.pairs import choose, length_terms, rank
from jurist.preferences.settings import PreferConfig


def test_a_length_penalty_turns_what_only_length_decided():
    short, long = completion("brief"), completion("brief " * 30)
    near = [opinion(long, short, 0.6)]
    sure = [opinion(long, short, 0.95)]
    points = [opinion(long, short, 0.6, scores=(4.2, 4.0))]

    assert pair_of([short, long], near)[0] == [(long.text, short.text)]
    assert pair_of([short, long], near, length_penalty=0.5)[0] == [(short.text, long.text)]
    assert pair_of([short, long], sure, length_penalty=0.5)[0] == [(long.text, short.text)]
    assert pair_of([short, long], points, length_penalty=0.5)[0] == [(short.text, long.text)]


def test_a_length_penalty_does_not_touch_what_the_positions_did():
    short, long = completion("brief"), completion("brief " * 30)
    asked = [opinion(long, short, 0.9, position_gap=0.2)]
    kept, _ = choose(PROMPT, [short, long], asked, PreferConfig(length_penalty=1.5, consistent_only=True))

    assert "flipped" not in kept[0].flags


def test_the_length_term_by_hand():
    terms = length_terms([completion("x" * n) for n in (10, 20, 30, 40, 90)])
    close = length_terms([completion("x" * 1000), completion("y" * 1002)])

    assert [round(t, 6) for t in terms.values()] == [
        round(math.tanh((n - 30) / 20), 6) for n in (10, 20, 30, 40, 90)
    ]
    assert max(abs(t) for t in close.values()) < 0.02  # a few characters are no difference


A, B, C = (completion(text) for text in "abc")


def test_the_mean_win_probability_ranks_where_everyone_met_everyone():
    worth = rank([opinion(A, B, 0.9), opinion(A, C, 0.7), opinion(B, C, 0.6)])

    assert worth == {A.id: 0.8, B.id: 0.35, C.id: 0.35}


def test_scores_rank_where_all_have_some():
    scored = [opinion(A, B, 0.9, scores=(3.0, 4.0)), opinion(A, C, 0.7, scores=(5.0, 1.0))]

    assert rank(scored) == {A.id: 4.0, B.id: 4.0, C.id: 1.0}


def test_who_never_lost_stays_finite():
    worth = rank([opinion(A, B, 1.0), opinion(B, C, 1.0)])

    assert worth[A.id] > worth[B.id] > worth[C.id]
    assert all(map(math.isfinite, worth.values()))
