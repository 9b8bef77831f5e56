from jurist.preferences.targets import best_of_k, revision
from jurist.records import Completion, Dropped, Matchup, Prompt
from jurist.verdicts.opinion import Opinion

PROMPT = Prompt.of("Why?")
LONG, SHORT, BAD = (Completion.of(PROMPT.id, text) for text in ("a long answer", "an answer", "bad"))


def opinion(first, second, p, **fields):
    return Opinion(Matchup.of(PROMPT, first, second).id, first.id, second.id, p_first=p, **fields)


def test_the_best_of_k_is_the_one_ranked_highest_and_of_equals_the_shortest():
    opinions = [opinion(LONG, BAD, 0.9), opinion(SHORT, BAD, 0.8), opinion(LONG, SHORT, 0.6)]
    equal = [opinion(LONG, BAD, 0.9), opinion(SHORT, BAD, 0.9), opinion(LONG, SHORT, 0.5)]

    assert best_of_k(PROMPT, [LONG, SHORT, BAD], opinions) == LONG
    assert best_of_k(PROMPT, [LONG, SHORT, BAD], equal) == SHORT
    assert best_of_k(PROMPT, [LONG, SHORT], [opinion(LONG, SHORT, 0.5, scores=(4.0, 4.0))]) == SHORT


def test_an_answer_that_was_cut_off_is_no_target():
    cut = Completion.of(PROMPT.id, "brilliant but", finish="length")

    assert best_of_k(PROMPT, [cut, BAD], [opinion(cut, BAD, 0.9)]) == BAD


def test_nothing_read_gives_no_target():
    unread = Opinion("m", LONG.id, BAD.id, unread="refused")

    assert best_of_k(PROMPT, [LONG, BAD], [unread]) == Dropped(PROMPT.id, "preferences", "unread: refused")
    assert best_of_k(PROMPT, [LONG, BAD], []) == Dropped(PROMPT.id, "preferences", "not_judged")


def test_a_revision_that_says_the_same_again_leaves_by_name():
    new = revision(PROMPT, BAD, "better", "m")

    assert isinstance(new, Completion)
    assert (new.text, new.policy, new.prompt_id) == ("better", "m", PROMPT.id)
    assert revision(PROMPT, BAD, " bad\n", "m") == Dropped(BAD.id, "preferences", "identical")
    assert revision(PROMPT, BAD, " \n", "m") == Dropped(BAD.id, "preferences", "empty")
