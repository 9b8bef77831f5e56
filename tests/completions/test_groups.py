"""Rows of completions and of pairs, as groups; which of them meet, and which of the two stands first."""

import json
import sqlite3
from itertools import combinations
from unittest.mock import Mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.completions import load_groups, matchups
from jurist.completions.load import same_words
from jurist.errors import DataError, SettingError
from jurist.prompts.load import COLUMNS
from jurist.records import Completion, Group, Preference, Prompt

ASKED = [{"role": "user", "content": "Why?"}]
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("Because.", "No."))
HH = ("\n\nHuman: Why?\n\nAssistant: Because.", "\n\nHuman: Why?\n\nAssistant: No.")
PAIR = {"prompt": "Why?", "first": "Because.", "second": "No."}
BACK = {"prompt": "Why?", "first": "No.", "second": "Because."}


def load(*rows, **how):
    """The groups, and why the others were dropped."""
    left = []
    return list(load_groups(rows, dropped=left.append, **how)), [row.kind for row in left]


def one(*rows, **how):
    ((group,), _) = load(*rows, **how)
    return group


def texts(group):
    return [c.text for c in group.completions]


WHY = Prompt.of("Why?")
OURS = msgspec.to_builtins(
    Preference("name", WHY, *(Completion.of(WHY.id, said) for said in ("Because.", "No.")), p=0.75)
)


@pytest.mark.parametrize(
    ("row", "p"),
    [
        (OURS, 0.75),
        ({**OURS, "flags": None, "prompt": {**OURS["prompt"], "meta": None}}, 0.75),
        ({"prompt": "Why?", "chosen": "Because.", "rejected": "No."}, 1.0),
        ({"prompt": ASKED, "chosen": [GOOD], "rejected": BAD}, 1.0),
        ({"prompt": "?", "chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]}, 1.0),
        ({"chosen": HH[0], "rejected": HH[1]}, 1.0),
        (PAIR, None),
        ({**PAIR, "label": "second"}, 0.0),
        ({"prompt": "Why?", "response_a": "Because.", "response_b": "No.", "winner": "model_b"}, 0.0),
        ({"instruction": "Why?", "input": "", "response1": "Because.", "response2": "No.", "label": 2}, 0.0),
    ],
)
def test_every_shape_of_a_pair_keeps_its_label_as_a_verdict_of_the_file(row, p):
    group = one(row)
    first, second = group.completions

    assert group.prompt == Prompt.of("Why?")
    assert (first.text, second.text, group.pairs) == ("Because.", "No.", ((0, 1),))
    found = [(said.judge, said.p_first, said.first_id, said.second_id) for said in group.labels]
    assert found == ([] if p is None else [("file", p, first.id, second.id)])
    assert all(said.matchup_id == matchups(group)[0][0].id for said in group.labels)


def test_a_human_label_is_of_whoever_the_row_names():
    rows = [{**PAIR, "label": "a"}, {**PAIR, "label": "b", "who": "ann"}, {**PAIR, "label": "b", "who": 7}]
    judges = {said.judge for group in load(*rows, labels_by="human")[0] for said in group.labels}

    assert judges == {"human:file", "human:ann", "human:7"}


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_several_labels_of_one_pair_are_all_kept_and_told_apart(order):
    ours, ann = {**PAIR, "label": "a"}, {**PAIR, "label": "a", "who": "ann"}
    rows = [ours, {**PAIR, "label": "b"}, ann, {**BACK, "label": "a", "who": "bob"}]
    groups, left = load(*(rows[i] for i in order), ours, ann)
    said = [one for group in groups for one in group.labels]
    because = Completion.of(Prompt.of("Why?").id, "Because.").id

    assert len({(one.matchup_id, one.judge, one.sample) for one in said}) == len(said) == 4
    assert sum(one.p_first == float(one.first_id == because) for one in said) == 2
    assert left == ["completions: duplicate"] * 2


def test_whoever_labels_a_pair_again_corrects_the_first_label():
    rows = [{**PAIR, "label": label, "who": "ann"} for label in "ab"]

    assert [(one.p_first, one.sample) for one in one(*rows, labels_by="human").labels] == [(1.0, 0), (0.0, 0)]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "responses": ["Because.", "No."]},
        {"prompt": "Why?", "completions": [{"text": "Because."}, {"text": "No.", "policy": ""}]},
        {"prompt": "Why?", "completions": [[GOOD], [BAD]]},
        {"messages": ASKED, "completions": [GOOD, {"model": "b", "response": "No.", "annotations": {}}]},
    ],
)
def test_every_shape_of_a_list_becomes_one_group(row):
    group = one(row)

    assert texts(group) == ["Because.", "No."]
    assert {c.policy for c in group.completions} <= {"", "b"}
    assert (group.pairs, group.labels, group.prompt.meta) == ((), (), {})


def test_completions_one_a_row_may_come_in_any_order():
    rows = [
        {"instruction": "How?", "generation": "No.", "generator": "b"},
        {"prompt": "Why?", "completion": "Because.", "policy": "a"},
        {"messages": [{"role": "user", "content": "How?"}, GOOD], "policy": "a"},
        {"prompt": "When?", "completions": ["Now."]},
        {"prompt": "Why?", "response": "No.", "model": "b"},
        {"prompt": "Why?", "output": "Because.", "policy": "a"},
    ]
    groups, left = load(*rows, kind="completions")

    found = {g.prompt.messages[0].content: {(c.policy, c.text) for c in g.completions} for g in groups}
    assert list(found) == ["How?", "Why?", "When?"]
    assert found["Why?"] == found["How?"] == {("a", "Because."), ("b", "No.")}
    assert left == ["completions: duplicate"]


def test_limit_counts_prompts_and_each_is_whole():
    rows = [{"prompt": f"{i % 5}?", "completion": f"{i}"} for i in range(15)]
    groups, _ = load(*rows, limit=2)

    assert [texts(group) for group in groups] == [["0", "5", "10"], ["1", "6", "11"]]


def test_rows_that_cannot_be_gathered_say_what_to_set(monkeypatch):
    full = sqlite3.OperationalError("database or disk is full")
    monkeypatch.setattr(sqlite3, "connect", Mock(side_effect=full))
    with pytest.raises(DataError, match=r"database or disk is full.* export TMPDIR=FOLDER$"):
        load({"prompt": "Why?", "completion": "So."})


@pytest.mark.parametrize(
    ("rows", "groups", "left"),
    [
        ([PAIR, PAIR], 1, "duplicate"),
        ([{**PAIR, "label": "a"}, {**BACK, "label": "b"}], 1, "duplicate"),
        ([{**PAIR, "label": "a", "who": "x"}, {**BACK, "label": "b", "who": "x"}], 1, "duplicate"),
        ([{"prompt": "Why?", "completions": ["No.", "So.", "No."]}], 1, "duplicate"),
        ([{"prompt": "Why?", "completions": ["a", " ", "b"]}], 1, "empty"),
        ([{"prompt": "Why?", "completion": "\n"}], 0, "empty"),
        ([{**PAIR, "second": " "}], 0, "empty"),
    ],
)
def test_what_is_empty_or_there_already_is_dropped_without_stopping(rows, groups, left):
    found, reasons = load(*rows)

    assert (len(found), reasons) == (groups, [f"completions: {left}"])


def test_prompts_of_a_benchmark_are_dropped():
    row = {"prompt": "What is two and two? " * 3, "completions": ["4", "5"]}
    assert load(row, benchmarks=[["So: " + row["prompt"].upper()]]) == ([], ["prompts: contaminated"])


def read(text):
    return {"A": (0.9, ""), "B": (0.2, "")}.get(text[:1], (None, "no_verdict"))


def test_all_recorded_replies_about_one_pair_are_verdicts_with_their_order_and_text():
    rows = [
        {**PAIR, "reply": "A, clearly", "reply_swapped": "B it is", "label": "tie"},
        {**BACK, "reply": "B", "judge": "gpt"},
        {**PAIR, "reply": "?", "judge": "gpt"},
        {**PAIR, "reply": " "},
    ]
    group = one(*rows, read=read, read_name="llmbar")
    first, second = (c.id for c in group.completions)

    assert [(one.judge, one.order, one.first_id, one.p_first, one.raw) for one in group.labels] == [
        ("file", "given", first, 0.5, ""),
        ("recorded:llmbar", "given", first, 0.9, "A, clearly"),
        ("recorded:llmbar", "swapped", second, 0.2, "B it is"),
        ("recorded:gpt", "swapped", second, 0.2, "B"),
        ("recorded:gpt", "given", first, None, "?"),
    ]
    assert group.labels[-1].unread == "no_verdict"
    with pytest.raises(DataError, match=r"no column called 'reply'; .* --columns.reply"):
        load(PAIR, read=read)


def test_what_a_pair_says_of_its_prompt_is_kept_and_of_itself_is_not():
    row = {**PAIR, "first": True, "domain": "talk", "label": "a", "who": "ann", "judge": "x", "n": 1}
    group = one(row, kind="pairs")

    assert (group.prompt.domain, group.prompt.meta) == ("talk", {"n": 1})
    assert texts(group) == ["True", "No."]  # a spreadsheet had made a value of it


@pytest.mark.parametrize(
    ("row", "kind", "reason", "ends"),
    [
        ({"prompt": "Why?"}, "auto", "no_completion", "--columns.completion ..."),
        ({"prompt": "Why?", "chosen": "a"}, "pairs", "no_pair", "--columns.rejected ..."),
        ({"prompt": "Why?", "response": "a"}, "pairs", "no_pair", "--completions FILE"),
        ({"prompt": "Why?", "chosen": None, "rejected": "b"}, "pairs", "no_pair", "--on_error drop"),
        ({"prompt": "Why?", "completions": 3}, "auto", "not_completions", '["one answer", "another"]'),
        ({"prompt": "Why?", "completions": [{"words": "a"}]}, "auto", "not_a_text", '"content": "..."}]'),
    ],
)
def test_a_row_without_completions_stops_with_what_to_type(row, kind, reason, ends):
    with pytest.raises(DataError) as error:
        load(row, kind=kind)

    assert str(error.value).endswith(ends)
    assert load(row, kind=kind, on_error="drop") == ([], [f"completions: {reason}"])


def write_run(folder, prompts, completions):
    for name, records in (("prompts", prompts), ("completions", completions)):
        (folder / f"{name}.jsonl").write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in records))


def test_the_completions_of_a_run_are_joined_to_their_prompts(tmp_path):
    who, why, how, when = [Prompt.of(text) for text in ("Who?", "Why?", "How?", "When?")]
    because = Completion.of(why.id, "Because.", "a", finish="length")
    thus = [Completion.of(how.id, text, policy) for text, policy in (("So.", "a"), ("Thus.", "b"))]
    write_run(tmp_path, [who, why, how, how, when], [because, *thus, thus[1]])
    left = []
    groups = list(load_groups(tmp_path, dropped=left.append))

    assert [(g.prompt, g.completions) for g in groups] == [(why, (because,)), (how, tuple(thus))]
    assert sorted(row.reason for row in left) == ["duplicate", "no_completion", "no_completion"]
    write_run(tmp_path, [why], [thus[0], because])
    with pytest.raises(DataError, match=rf"holds completions of {how.id}.* grep -n {how.id}"):
        list(load_groups(tmp_path))


PROMPT = Prompt.of("Why?")


def group_of(*texts, pairs=()):
    return Group(PROMPT, tuple(Completion.of(PROMPT.id, text) for text in texts), pairs)


def met(group, scheme="all", seed=0):
    found, _ = matchups(group, scheme, seed)
    return {frozenset((m.first.text, m.second.text)) for m in found}


def pairs_of(*names):
    return {frozenset(name) for name in names}


def test_each_scheme_brings_its_pairs_together():
    four = group_of("a", "b", "c", "d")

    assert met(four) == pairs_of("ab", "ac", "ad", "bc", "bd", "cd")
    assert met(four, "chain") == pairs_of("ab", "bc", "cd")
    assert met(four, "star") == pairs_of("ab", "ac", "ad")
    assert len(met(four, "random:3")) == 3
    assert met(four, "random:99") == met(four)
    assert met(group_of("a", "b", "c", pairs=((0, 2),))) == pairs_of("ac")


def test_random_pairs_are_drawn_by_content_and_seed():
    six = group_of(*"abcdef")

    assert met(six, "random:4", 1) == met(group_of(*"fbdace"), "random:4", 1)
    assert len({frozenset(met(six, "random:4", seed)) for seed in range(9)}) > 4


@pytest.mark.parametrize("scheme", ["round", "random:0", "random:x", "chain:2"])
def test_an_unknown_scheme_is_refused(scheme):
    with pytest.raises(SettingError, match="there is all, chain, random:3, star"):
        matchups(group_of("a", "b"), scheme)


def test_equal_texts_never_meet_and_one_alone_meets_nobody():
    found, left = matchups(group_of("a  b", "a b\n", "c"))
    assert len(found) == 2
    assert [row.reason for row in left] == ["identical"]

    found, left = matchups(group_of("a"))
    assert found == []
    assert [(row.subject_id, row.reason) for row in left] == [(PROMPT.id, "too_few")]


def test_a_file_with_the_better_one_first_leaks_nothing_into_the_positions():
    rows = [{"prompt": f"{i}?", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(300)]
    groups = list(load_groups(rows))
    first, other = ([matchups(g, seed=s)[0][0].first.text.startswith("good") for g in groups] for s in (0, 1))
    turned = [Group(g.prompt, g.completions[::-1], g.pairs) for g in groups]

    assert 120 < sum(first) < 180
    assert 120 < sum(a == b for a, b in zip(first, other, strict=True)) < 180
    assert [matchups(g) for g in turned] == [matchups(g) for g in groups]


TEXT = st.text(alphabet="ab \n\t", max_size=12)


@settings(max_examples=20, deadline=None)
@given(one=TEXT, other=TEXT, same=st.sampled_from(["", "the first eight words of both are the same "]))
def test_same_words_is_equality_but_for_white_space(one, other, same):
    assert same_words(same + one, same + other) == (one.split() == other.split())
    assert all(same_words(a, b) == same_words(b, a) for a, b in combinations((one, other), 2))


LEAVES = st.sampled_from([None, True, 0, 1, 0.5, "a", "b", "", " ", "user", "assistant", "tie", *HH])
KEYS = st.sampled_from(["role", "content", "text", "model", "response", "finish"])
TURNS = st.sampled_from([*ASKED, GOOD, BAD])
VALUE = LEAVES | st.lists(LEAVES | TURNS | st.dictionaries(KEYS, LEAVES, max_size=3), max_size=3)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(sorted(COLUMNS | {"model"})), VALUE, max_size=6), max_size=2
    ),
    kind=st.sampled_from(["auto", "pairs"]),
)
def test_any_rows_become_groups_or_reasons(rows, kind):
    meant = {"0": "first", "1": "tie", "false": "tie", "true": "second"}
    groups, _ = load(*json.loads(json.dumps(rows)), kind=kind, on_error="drop", label_values=meant)

    for group in groups:
        met, alike = matchups(group)
        assert len(met) + len(alike) >= 1
        assert len({c.id for c in group.completions}) == len(group.completions) or group.pairs
