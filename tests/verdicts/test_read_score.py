"""What the reader of scores reads."""

import pytest

from jurist.verdicts.read import (
    CONTRADICTORY,
    CUT_OFF,
    EMPTY,
    NO_VERDICT,
    OFF_MENU,
    REFUSED,
    read_score,
    read_score_pair,
)

SCORES = [
    ("7", 7),
    (" 7.\n", 7),
    ("8.5", 8.5),
    ("8,5", 8.5),
    ("**7**", 7),
    ("7/10", 7),
    ("10", 10),
    ("Score: 7", 7),
    ("score 7", 7),
    ("**Score:** 7", 7),
    ("**Score: 7/10**", 7),
    ("Rating: [[6]]", 6),
    ("[[6]]", 6),
    ("\\boxed{9}", 9),
    ("<score>4</score>", 4),
    ("<score> 4 </score>\nGood.", 4),
    ("Total: 3 points", 3),
    ("The final score is 8.", 8),
    ("I would give this response a 9.", 9),
    ("I'd rate it 6 out of 10", 6),
    ("This deserves a score of 7 because it is clear.", 7),
    ("Final rating: 7 out of 10.", 7),
    ("On a scale from 1 to 10, I give it a 4.", 4),
    ("Clear and honest, with 3 examples from 1999.\n\n8", 8),
    ("8\n\nIt lists 3 examples.", 8),
    ("Accuracy: good. Score: 4\n\nOn reflection, I was harsh.\n\nScore: 6", 6),
    ('{"score": 7}', 7),
    ('{"score": "7"}', 7),
    ('{"reason": "2 errors", "rating": 7.5}', 7.5),
    ('```json\n{"analysis": {"errors": 2}, "overall_score": 5}\n```', 5),
    ('{"clarity_score": 3, "accuracy_score": 9, "final_score": 6}', 6),
    ('{"score": "8/10", "max_score": 10}', 8),
    ("<think>Score: 2</think>Score: 9", 9),
    ("评分：8", 8),
    ("得分: 8分", 8),
    ("Bewertung: 8", 8),
    ("Note : 8/10", 8),
    ("Puntuación: 8", 8),
    ("Оценка: 8", 8),
    ("評価：8", 8),
]


@pytest.mark.parametrize(("text", "score"), SCORES)
def test_a_declared_number_is_the_score(text, score):
    assert read_score(text).score == score, read_score(text)


@pytest.mark.parametrize(
    ("text", "low", "high", "score"),
    [
        ("4 out of 5", 1, 5, 4),
        ("Score: 3", 0, 5, 3),
        ("Score: 0", 0, 5, 0),
        ("Score: -2", -3, 3, -2),
        ("Score: 85/100", 0, 100, 85),
        ("Score: 0.7", 0, 1, 0.7),
    ],
)
def test_any_scale_can_be_offered(text, low, high, score):
    assert read_score(text, low, high).score == score


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", EMPTY),
        ("  \n", EMPTY),
        ("It is good.", NO_VERDICT),
        ("It has 3 examples and 2 errors.", NO_VERDICT),
        ("Rate the answer from 1 to 10.", NO_VERDICT),
        ("In 1999, 7 of them left.", NO_VERDICT),
        ("Score: 11", OFF_MENU),
        ("Score: 0", OFF_MENU),
        ("42", OFF_MENU),
        ("-3", OFF_MENU),
        ("Score: 70/100", OFF_MENU),
        ('{"score": 11}', OFF_MENU),
        ('{"score": {"a": 1}, "b": {"score": 3}, "c": {"score": 4}}', CONTRADICTORY),
        ("I'm sorry, I cannot rate this.", REFUSED),
        ("<think>Score: 7", CUT_OFF),
    ],
)
def test_what_is_no_score_is_unread_with_its_reason(text, reason):
    reading = read_score(text)

    assert (reading.score, reading.unread) == (None, reason), reading


def test_a_cut_off_reply_keeps_a_score_already_given():
    assert read_score("It is clear and", finish="length").unread == CUT_OFF
    assert read_score("Score: 7\nIt is clear and", finish="length").score == 7
    assert read_score("7", finish="refused").unread == REFUSED


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("8 7", (8, 7)),
        ("8 7\nBoth answers list 3 examples.", (8, 7)),
        ("8, 7", (8, 7)),
        ("(8, 7)", (8, 7)),
        ("8.5 9", (8.5, 9)),
        ("8/10 7/10", (8, 7)),
        ("Assistant 1: 8\nAssistant 2: 7", (8, 7)),
        ("Assistant 1: 8/10 (clear)\nAssistant 2: 7/10 (short)\n\nAssistant 1 did better.", (8, 7)),
        ("Response A gets a score of 8. Response B gets a score of 7.", (8, 7)),
        ("Score A: 8\nScore B: 7", (8, 7)),
        ("The endpoints are (2, -2) and (10, 4). Both are right.\n\nOutput: (8, 7)", (8, 7)),
        (
            "I give Assistant 1 a score of 8 and Assistant 2 a score of 7. The output tuple is (8, 7). Done.",
            (8, 7),
        ),
        ('{"score_a": 8, "score_b": 7}', (8, 7)),
        ('{"assistant_1": 8, "assistant_2": "7"}', (8, 7)),
        ("<think>3 4</think>8 7", (8, 7)),
    ],
)
def test_two_scores_of_one_reply_are_read_in_their_order(text, pair):
    first, second = read_score_pair(text)

    assert (first.score, second.score) == pair


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("", "stop", EMPTY),
        ("8", "stop", NO_VERDICT),
        ("Both are good.", "stop", NO_VERDICT),
        ("11 7", "stop", OFF_MENU),
        ("Both are", "length", CUT_OFF),
        ("8 7", "refused", REFUSED),
    ],
)
def test_of_two_scores_both_are_read_or_neither(text, finish, reason):
    first, second = read_score_pair(text, finish=finish)

    assert first == second
    assert (first.score, first.unread) == (None, reason)
