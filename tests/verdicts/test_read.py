"""What the reader reads, sentence by sentence."""

import pytest

from jurist.verdicts.read import (
    CONTRADICTORY,
    CUT_OFF,
    EMPTY,
    NO_VERDICT,
    OFF_MENU,
    REFUSED,
    UNREAD,
    Menu,
    rationale_of,
    read_choice,
    strip_thinking,
)

AB = Menu("A", "B")
ABC = Menu("A", "B", "C")
ABTIE = Menu("A", "B", "tie")
OUTPUTS = Menu("Output (a)", "Output (b)")
NUMBERS = Menu("1", "2", "3")
RESPONSES = Menu("Response A", "Response B")
CASED = Menu("m", "M")

FIRST = [
    "A",
    " A\n",
    "a",
    "A.",
    "(A)",
    "[A]",
    "**A**",
    '"A"',
    "`A`",
    "[[A]]",
    "\\boxed{A}",
    "$\\boxed{\\text{A}}$",
    "Response A",
    "response a",
    "**Response A**",
    "Answer: A",
    "Answer: (a)",
    "answer: a",
    "Answer - A",
    "Final Answer: **A**",
    "Verdict: A",
    "Final verdict: [[A]]",
    "My final verdict is: [[A]]",
    "**Final Verdict:** A",
    "### Verdict\n\nA",
    "Winner: Response A",
    "Preferred=A",
    "Preferred: Option A.",
    "The better response is A.",
    "The better response is Response A.",
    "The best answer is (A).",
    "The better of the two is A",
    "The winner is A.",
    "My choice is A",
    "I prefer A.",
    "I prefer A over B.",
    "I would choose Response A because it is kinder.",
    "I'd go with A.",
    "I vote for A",
    "A is better.",
    "A is better than B.",
    "Response A is clearly the better answer.",
    "Assistant A is the better choice overall, since it is honest.",
    "A wins.",
    "Response A outperforms Response B.",
    "Therefore, A.",
    "Overall: A",
    "A because it is shorter.",
    "A - it answers the question",
    "A\n\nIt is more precise than B, though B is kinder.",
    "[[A>>B]]",
    "[[A>B]]",
    "[[B<A]]",
    "My final verdict is slightly better: [[A>B]]",
    "A > B",
    "<verdict>A</verdict>",
    "<answer>\nA\n</answer>",
    '{"verdict":"A"}',
    '{"winner": "A", "confidence": 0.9}',
    '```json\n{"reasoning": "B is longer", "verdict": "Response A"}\n```\nThat is all.',
    "{'winner': 'A'}",
    '{"result": {"better_response": "A"}}',
    '{"reasoning": "B is better at detail", "final_verdict": "A",',
    '{"betterResponse": "a"}',
    "<think>B is better, is it not? B!</think>A",
    "<think>\nI would choose B\n</think>\n\nAnswer: A",
    "I would choose B, no wait\n</think>\nA",
    "[THINK]B is better.[/THINK]A",
    "◁think▷B◁/think▷ A",
    "<|channel|>analysis<|message|>B is better<|end|><|start|>assistant<|channel|>final<|message|>A",
    "Although B is good, A is better.",
    "While B is more detailed, A is better.",
    "B is good in some ways. However, A is better.",
    "B is worse than A.",
    "B is not better than A. A is better.",
    "B is better at detail. Overall, A is the better response.",
    "In terms of length, B is better. In terms of truth, A is better. Overall, I prefer A.",
    "Clarity: B\nAccuracy: A\nOverall: A",
    "I don't think B is better. I choose A.",
    "At first I thought B is better. On reflection: [[A]]",
    "Some might say B is better. A is better.",
    "You asked for [[A]] or [[B]].\n\n[[A]]",
    "If B were shorter, B would be better. As it is, A is better.",
    'Output "A" if the first is better and "B" if the second is better.\nMy answer: A',
    "Answer: B\n\nWait, I confused the two.\n\nAnswer: A",
    "A is more helpful than B.",
    "Response A better follows the instruction.",
    "答案：A",
    "答案是A",
    "我认为回答A更好。",
    "我选择A",
    "综上所述，A优于B。",
    "最终结论：A",
    "Antwort A ist besser.",
    "Ich bevorzuge A.",
    "Die bessere Antwort ist A.",
    "La réponse A est meilleure.",
    "Je préfère A.",
    "La meilleure réponse est A.",
    "La respuesta A es mejor.",
    "Prefiero A.",
    "A mejor respuesta: A",
    "A resposta A é melhor.",
    "Ответ A лучше.",
    "Лучший ответ: A",
    "Ответ: A",
    "回答Aの方が優れています。",
    "結論：A",
    "답변 A가 더 좋습니다.",
    "정답: A",
]


@pytest.mark.parametrize("text", FIRST)
def test_a_reply_that_prefers_the_first_is_read_so(text):
    assert read_choice(text, AB).p_first == 1.0, read_choice(text, AB)


@pytest.mark.parametrize("text", FIRST)
def test_exchanging_the_labels_turns_what_is_read(text):
    assert read_choice(text, Menu("B", "A")).p_first == 0.0


OTHERS = [
    (NUMBERS, "1", 1.0),
    (NUMBERS, "Both were fine.\n\n2", 0.0),
    (NUMBERS, "Assistant 1 gave 3 tips, Assistant 2 gave 12.\n\n3", 0.5),
    (NUMBERS, "Preferred=1", 1.0),
    (NUMBERS, "x = 2, so both are right. Therefore, I choose option 3, as both are equivalent.", 0.5),
    (NUMBERS, "Assistant 2 is better.", 0.0),
    (Menu("1", "2"), "Output 2 is better than output 1.", 0.0),
    (OUTPUTS, "Output (a)", 1.0),
    (OUTPUTS, "output (B) is better", 0.0),
    (OUTPUTS, "(b)", 0.0),
    (OUTPUTS, "b", 0.0),
    (OUTPUTS, "Therefore, Output (b) is better.", 0.0),
    (
        OUTPUTS,
        '# Which is better, Output (a) or Output (b)? Answer "Output (a)" or "Output (b)":\nOutput (b)',
        0.0,
    ),
    (OUTPUTS, "Output (b) (Output (a) is inappropriate)", 0.0),
    (RESPONSES, "A", 1.0),
    (RESPONSES, "Response B", 0.0),
    (RESPONSES, "The better one is Response B.", 0.0),
    (CASED, "m", 1.0),
    (CASED, "M", 0.0),
    (CASED, "Verdict: M", 0.0),
    (CASED, "model m", 1.0),
    (Menu("first", "second"), "The second is better.", 0.0),
    (Menu("left", "right"), "I prefer left", 1.0),
    (Menu("yes", "no"), "Answer: No", 0.0),
    (Menu("Model A is better", "Model B is better"), "Model B is better", 0.0),
    (ABC, "[[C]]", 0.5),
    (ABC, "Final verdict: [[C]]", 0.5),
    (ABC, "[[A=B]]", 0.5),
    (ABC, "Both are equally good.", 0.5),
    (ABTIE, "tie", 0.5),
    (ABTIE, "It's a tie.", 0.5),
    (ABTIE, "Neither is better.", 0.5),
    (ABTIE, "Verdict: Tie", 0.5),
    (ABTIE, '{"winner": "tie"}', 0.5),
    (ABTIE, "A is better in style. Overall, both are equally good.", 0.5),
    (ABTIE, "Both are good, but A is better.", 1.0),
    (ABTIE, "They are equally good in style, but overall B is better.", 0.0),
    (ABTIE, "Es ist unentschieden.", 0.5),
    (ABTIE, "两个回答一样好，平局", 0.5),
]


@pytest.mark.parametrize(("menu", "text", "p"), OTHERS)
def test_any_labels_can_be_offered_and_a_tie_is_one_half(menu, text, p):
    assert read_choice(text, menu).p_first == p, read_choice(text, menu)


UNREADABLE = [
    (AB, "", EMPTY),
    (AB, " \n\t", EMPTY),
    (AB, "I don't know.", NO_VERDICT),
    (AB, "Both have merits. A cat is not a dog.", NO_VERDICT),
    (AB, "A better response would be shorter.", NO_VERDICT),
    (AB, "Vitamin A is a nutrient, B12 is another.", NO_VERDICT),
    (AB, "A is not better than B.", NO_VERDICT),
    (AB, "I would not choose A.", NO_VERDICT),
    (AB, "It is not clear whether A is better.", NO_VERDICT),
    (AB, "A is clear. B is long.", NO_VERDICT),
    (AB, "A: Yes\nB: No", NO_VERDICT),
    (AB, "Is A better than B?", NO_VERDICT),
    (AB, "Which is better, A or B?", NO_VERDICT),
    (AB, "Answer with A or B", NO_VERDICT),
    (AB, "[[A]] if assistant A is better, [[B]] if assistant B is better", NO_VERDICT),
    (AB, "Both are equally good.", OFF_MENU),
    (AB, "Neither is better.", OFF_MENU),
    (AB, "Neither A nor B is better.", OFF_MENU),
    (AB, "It's a tie.", OFF_MENU),
    (AB, "[[C]]", OFF_MENU),
    (AB, "Answer: D", OFF_MENU),
    (AB, "[[A=B]]", OFF_MENU),
    (AB, '{"winner": "C"}', OFF_MENU),
    (AB, "[[A]] [[B]]", CONTRADICTORY),
    (AB, "A is better. B is better.", CONTRADICTORY),
    (AB, "A\nB", CONTRADICTORY),
    (AB, "A is more concise. B is more detailed.", CONTRADICTORY),
    (AB, "I cannot judge these responses.", REFUSED),
    (AB, "As an AI language model, I have no preferences.", REFUSED),
    (AB, "I'm sorry, but I can't help with that.", REFUSED),
    (AB, "<think>A is better, and so", CUT_OFF),
    (AB, "Ich kann diese Frage nicht beantworten.", REFUSED),
    (NUMBERS, "error", NO_VERDICT),
    (NUMBERS, "1. The answer is clear.\n2. It is short.", NO_VERDICT),
    (NUMBERS, "The result was 1.5 and 2.5", NO_VERDICT),
    (CASED, "neither of them", NO_VERDICT),
    (OUTPUTS, "I cannot select either Output (a) or Output (b).", REFUSED),
    (OUTPUTS, "Both Output (a) and Output (b) are equally good.", OFF_MENU),
]


@pytest.mark.parametrize(("menu", "text", "reason"), UNREADABLE)
def test_what_is_no_verdict_is_unread_with_its_reason(menu, text, reason):
    reading = read_choice(text, menu)

    assert (reading.p_first, reading.unread) == (None, reason), reading


def test_a_reply_that_was_cut_off_before_its_verdict_says_so():
    assert read_choice("Response A is more detailed, but", AB, finish="length").unread == CUT_OFF
    assert read_choice("Verdict: B. The rea", AB, finish="length").p_first == 0.0
    assert read_choice("", AB, finish="length").unread == CUT_OFF


def test_a_filtered_reply_is_refused_whatever_it_says():
    assert read_choice("A", AB, finish="refused").unread == REFUSED


def test_a_refusal_counts_only_where_no_verdict_follows():
    text = "I cannot encourage illegal acts. Therefore, I must choose Output (b) as the better response."

    assert read_choice(text, OUTPUTS).p_first == 0.0


def test_at_points_to_the_label_in_the_text_as_it_came():
    for text, label in (
        ("<think>A</think> Final verdict: [[B]]", "B]]"),
        ("  **B**", "B**"),
        ('{"winner": "Response B"}', "Response B"),
        ("İİİ B is better.", "B is"),
    ):
        reading = read_choice(text, AB)
        assert text[reading.at :].startswith(label)


def test_where_a_verdict_was_found_is_said():
    assert read_choice('{"verdict": "A"}').source == "json"
    assert read_choice("Verdict: A").source == "text"
    assert read_choice("Who knows").source == ""


def test_labels_that_cannot_be_told_apart_are_never_read():
    for menu in (Menu("", ""), Menu("A", "A"), Menu("A", ""), Menu(" ", "."), Menu("A", "B", "B")):
        assert read_choice("A is better.", menu).p_first is None


def test_thinking_is_left_out():
    assert strip_thinking("<think>hm</think>\nA") == "A"
    assert strip_thinking("hm</think>A") == "A"
    assert strip_thinking("<thinking>one</thinking>A<think>two") == "A"
    assert strip_thinking("A < B") == "A < B"


def test_the_rationale_is_what_stands_before_the_verdict_or_after_it():
    for text, reasons in (
        ("B repeats itself.\n\nTherefore, A is better.", "B repeats itself."),
        ("B repeats itself. So the better response is A.", "B repeats itself."),
        ("A\nIt is honest.", "It is honest."),
        ("A", ""),
        ("<think>mumble</think>B is rude.\nVerdict: A", "B is rude."),
        ('{"reasoning": "B is \\"rude\\"", "verdict": "A"}', 'B is "rude"'),
        ("Who knows", ""),
    ):
        assert rationale_of(text, read_choice(text)) == reasons


def test_every_reason_is_explained_in_one_line():
    for reason in (
        EMPTY,
        REFUSED,
        CUT_OFF,
        NO_VERDICT,
        OFF_MENU,
        CONTRADICTORY,
        "low_mass",
        "call_failed",
        "call_refused",
    ):
        assert UNREAD[reason]
        assert "\n" not in UNREAD[reason]
