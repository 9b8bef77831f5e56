"""What comes with a verdict: where it stood, why there is none, what the reasons were."""

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
)
from jurist.verdicts.read.thinking import hide_thinking

AB = Menu("A", "B")
OUTPUTS = Menu("Output (a)", "Output (b)")


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
    for text in ("<think>hm</think>\nA", "hm</think>A", "<thinking>one</thinking>A<think>two"):
        shown, cut = hide_thinking(text)
        assert shown.strip() == "A"
        assert shown.index("A") == text.index("A")
        assert cut == text.endswith("two")
    assert hide_thinking("A < B") == ("A < B", False)


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
