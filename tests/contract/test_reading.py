"""What a judge is sent, and which replies count as a verdict."""

import json
from pathlib import Path

import pytest

from support.cli import run
from support.job import all_p, at, chosen, label, label_by, pairs, records, right, sound, summary, write
from support.replies import label_reply, question, responses
from support.server import serving

HOSTILE = [json.loads(line) for line in Path(__file__).with_name("hostile.jsonl").read_text().splitlines()]
"""Replies that a careless reader takes for the wrong side; `better` is empty where no verdict is declared."""
SENT = HOSTILE[::3]
"""A server sends so many of them; tests/verdicts reads them all."""
DIFFER = [
    "Verdict: A\nVerdict: B",
    "[[A]] or rather [[B]]",
    "Verdict: B\n\nI meant:\n\nVerdict: A",
    "B\n\nVerdict: A",
]
REASON = ("--judge.reason", "true")
CONSTRAINTS = {"structured_outputs", "guided_choice", "regex", "grammar", "response_format"}


def recite(texts):
    """A judge that answers the n-th prompt with the n-th text, whatever it is shown."""
    write("pairs.jsonl", [{"prompt": f"{n}", "first": "one", "second": "another"} for n in range(len(texts))])

    def answer(request):
        asked_again = request["messages"][-1]["content"].startswith("Now decide")
        return "I do not know." if asked_again else texts[int(question(request))]

    return serving(answer)


def sides():
    """What each reply was read as: A, B, = for a tie, and nothing for unread."""
    names = {None: "", 1.0: "A", 0.5: "=", 0.0: "B"}
    said = lambda row: row["rationale" if "unread" in row else "raw"]  # noqa: E731
    return {said(row): names[row.get("p_first")] for row in records("verdicts")}


@pytest.mark.parametrize("words", [(), REASON], ids=["label alone", "reason first"])
def test_only_a_declared_verdict_counts(words):
    better = {one["text"]: one["better"] for one in SENT} | dict.fromkeys(DIFFER, "")
    with recite([*better]) as server:
        label(server, "--judge.swap", "never", *words)
    read = sides()
    assert [text for text, side in better.items() if read.get(text, "") not in ("", side)] == []


def test_a_verdict_in_the_last_line_is_read_whatever_stands_before_it():
    texts = {f"{one['text']}\n\nVerdict: {'AB'[n % 2]}": "AB"[n % 2] for n, one in enumerate(SENT)}
    with recite(list(texts)) as server:
        label(server, "--judge.swap", "never", *REASON)
    read = sides()
    assert all(read.get(text, "") in ("", side) for text, side in texts.items())
    assert sum(read[text] == side for text, side in texts.items()) >= 0.9 * len(texts)


def test_a_judge_that_names_the_worse_answer_never_trains_towards_it():
    def judge(request):
        better, worse = "AB" if right(responses(request)["A"]) else "BA"
        ends = [f"Overall, Response {better} is less harmful.", f"Response {worse} is more harmful."]
        return f"Both have problems. {ends[int(question(request).split()[2]) % 2]}"

    label_by(judge)
    assert [text for text in chosen() if not right(text)] == []


SCORES = {
    "Accuracy: 9\nClarity: 7\n\nScore: 5": 5,
    "Score: 3 (a perfect answer would be rated 9)": 3,
    "Final score: 4\nMaximum score: 9": 4,
    "Overall: 3\nAccuracy rating: 9": 3,
    "Wrong.\nScore: 3\n\n(For reference, a full answer would deserve a score of 9.)": 3,
    "I would deduct 3 points. Score: 6": 6,
    "A score of 9 would need citations, so I give 4.": 4,
    "Accuracy: 9\nClarity: 7\nOverall score: 5\nConfidence: 8": 5,
    "Overall score: 5\nHelpfulness score: 8": 5,
    "Scores: 4, 5, 6": None,
    "It deserves more than 3 but less than 8.": None,
    "Points lost: 4": None,
    "## 2. Helpfulness\nIt helps.": None,
    "The sum is 3 + 4 = 7, as the response says.": None,
    'The user asked for {"score": 9}, and I cannot judge that.': None,
}


def test_only_a_declared_score_counts():
    with recite(list(SCORES)) as server:
        label(server, "--judge.kind", "pointwise", *REASON)
    read = {row["raw"]: row.get("score") for row in records("verdicts") if "unread" not in row}
    assert {text: score for text, score in read.items() if score != SCORES[text]} == {}
    assert read["Accuracy: 9\nClarity: 7\n\nScore: 5"] == 5


@pytest.mark.parametrize("text", ["C", "Alike.\nVerdict: C", "Alike.\n[[C]]", "Alike.\n[[C]] for a tie"])
def test_a_tie_that_was_offered_is_half(text):
    label_by(text, "--judge.ties", "true", *(REASON if text != "C" else ()))
    assert {row.get("p_first") for row in records("verdicts")} == {0.5}


def test_labels_with_less_than_half_of_the_mass_are_unread_and_their_mass_is_shown():
    label_by(label_reply("A", 0.9, mass=0.3))
    assert chosen() == []
    assert sum(summary()["unread"].values()) == 24
    assert {round(row["label_mass"], 3) for row in records("verdicts")} == {0.3}
    assert "0.30" in run("show", "run", "--unread").out


def test_a_log_prob_of_minus_9999_is_not_reported():
    for out, top in (("one", {"A": 0.6, "The": 0.3}), ("two", {"A": 0.6, "The": 0.3, "B": 0})):
        with serving({"text": "A", "logprobs": [top]}) as server:
            label(server, "--judge.swap", "never", out=out)
    assert all_p("one") == all_p("two") != {1.0}


def test_the_first_question_leaves_room_for_the_label_only():
    _, server = label_by(sound)
    assert {record.body["temperature"] for record in server.log} == {0}
    assert max(record.body["max_tokens"] for record in server.log) <= 3
    assert not CONSTRAINTS & {name for record in server.log for name in record.body}


def cut_off(request):
    return {**sound(request), "finish_reason": "length"}


def thinking(request):
    """Until that is turned off."""
    off = request.get("chat_template_kwargs", {}).get("enable_thinking") is False
    return sound(request) if off else {"text": "<think>\nLet me compare", "finish_reason": "length"}


def without_log_probs(request):
    return sound(request)["text"]


@pytest.mark.parametrize("judge", [cut_off, thinking, without_log_probs])
def test_a_label_is_read_from_servers_of_every_kind(judge):
    label_by(judge)
    assert [right(text) for text in chosen()] == [1] * 12
    assert all_p() == {1.0 if judge is without_log_probs else 0.9}


@pytest.mark.parametrize("name", ["logprobs", "temperature", "chat_template_kwargs"])
def test_a_refused_parameter_is_dropped_once_and_remembered(name):
    done, server = label_by(sound, refuses={name, "structured_outputs"})
    assert done.code == 0
    assert 1 <= sum(record.status == 400 for record in server.log) <= 8
    assert len(chosen()) == 12


def rambling(request):
    """A base model that copies the prompt, but says A where a constraint leaves it nothing else."""
    if CONSTRAINTS & request.keys():
        return label_reply("A", 0.99)
    return {"text": "<turn", "logprobs": [{"<turn": 0.95, "A": 0.04, "B": 0.01}]}


def test_a_verdict_is_forced_out_of_a_model_only_if_allowed_and_then_marked():
    with serving(rambling) as server:
        done = label(server, "--judge.forced", "never")
        assert not any(CONSTRAINTS & record.body.keys() for record in server.log)
        assert done.code == 1
        assert (chosen(), summary()["forced"]) == ([], 0)
        label(server, "--judge.forced", "allow", "--prefer.ties", "soft", out="forced")
    forced = records("verdicts", "forced")
    assert [row.get("forced") for row in forced] == [True] * 24
    assert {round(row["label_mass"], 2) for row in forced} == {0.05}
    assert summary("forced")["forced"] == 24


def test_agreement_of_forced_verdicts_is_told_apart():
    def partly(request):
        return rambling(request) if int(question(request).split()[2]) < 4 else sound(request)

    write(
        "humans.jsonl", [{**row, "label": "first" if right(row["first"]) else "second"} for row in pairs(12)]
    )
    label_by(partly, "--judge.forced", "allow", "--labels", "humans.jsonl")
    agreement = [*summary()["agreement"].values()]
    assert [(one["n"], one["accuracy"]) for one in agreement] == [(12, 10 / 12), (4, 0.5)]


RECORDED = [
    ("mt_bench", "A is fine.\nMy final verdict is: [[B]]"),
    ("My pick: (A|B)", "Better overall?\nMy pick: B"),
    ("mine:read", "###B###"),
]


@pytest.mark.parametrize(("reader", "reply"), RECORDED)
def test_recorded_replies_are_read_without_asking_anybody(here, reader, reply):
    (here / "mine.py").write_text("def read(text):\n    return {'###B###': 'second'}.get(text)\n")
    rows = [{**row, "reply": reply} for row in pairs(4)]
    write("pairs.jsonl", [*rows, {**pairs(5)[4], "reply": "I cannot say."}])
    done = run("label", "--pairs", "pairs.jsonl", "--read", reader, "--out", "run")
    assert (done.code, chosen()) == (0, [row["second"] for row in rows])
    assert sum(summary()["unread"].values()) == 1


def test_recorded_replies_in_both_orders_become_one_label():
    for out, swapped in (("same", "[[A]]"), ("flipped", "[[B]]")):
        write("pairs.jsonl", [{**row, "reply": "[[B]]", "reply_swapped": swapped} for row in pairs(4)])
        run("label", "--pairs", "pairs.jsonl", "--read", r"\[\[(A|B)\]\]", "--out", out)
    assert chosen("same") == [row["second"] for row in pairs(4)]
    assert chosen("flipped") == []
    assert summary("flipped")["flip_rate"]["value"] == 1.0


def test_an_anthropic_judge_is_sent_only_fields_of_its_api():
    with serving(without_log_probs, strict=True) as server:
        assert label(at(server, "anthropic")).code == 0
    assert {record.status for record in server.log} == {200}
    assert len(chosen()) == 12
