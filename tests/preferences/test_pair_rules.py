from one_prompt import PROMPT, completion, opinion, pair_of, scored

from jurist.preferences.pairs import choose
from jurist.preferences.settings import PreferConfig

A, B = completion("one answer"), completion("another one")
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


def test_best_vs_random_lower_never_rejects_an_equal():
    rule = {"rule": "best_vs_random_lower", "ties": "soft"}
    for i in range(10):
        three = [completion(f"good {i}"), completion(f"good {i} too"), completion("bad")]
        opinions = scored(three, [3, 3, 1])
        assert {pair_of(three, opinions, **rule, seed=s)[0][0][1] for s in range(8)} == {"bad"}


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
    right, *wrong = SIX[:3]  # a rule that knows gives 1 and 0
    known = [opinion(right, one, 1.0, scores=(1.0, 0.0)) for one in wrong]
    known.append(opinion(*wrong, 0.5, scores=(0.0, 0.0)))
    assert [chosen for chosen, _ in pair_of(SIX[:3], known, rule="west_of_n", sure=1.0)[0]] == [right.text]


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
