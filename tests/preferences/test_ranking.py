import math

from one_prompt import PROMPT, completion, opinion, pair_of

from jurist.preferences.pairs import PreferConfig, choose, length_terms, strengths


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
    asked = [opinion(long, short, 0.9, position_gap=0.2)]
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


def test_who_never_lost_stays_finite():
    worth = strengths({("a", "b"): 1.0, ("b", "c"): 1.0}, {})

    assert worth["a"] > worth["b"] > worth["c"]
    assert all(map(math.isfinite, worth.values()))
