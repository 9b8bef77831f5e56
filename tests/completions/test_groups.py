import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.completions import FILE_JUDGE, load_groups, matchups
from jurist.errors import DataError, SettingError
from jurist.prompts.load import COLUMNS
from jurist.records import Completion, Dropped, Message, Prompt

ASKED = [{"role": "user", "content": "Why?"}]
GOOD, BAD = ({"role": "assistant", "content": text} for text in ("Because.", "No."))
HH = ("\n\nHuman: Why?\n\nAssistant: Because.", "\n\nHuman: Why?\n\nAssistant: No.")


def one(*rows, **settings):
    (group,) = load_groups(rows, **settings)
    return group


def texts(group):
    return [c.text for c in group.completions]


@pytest.mark.parametrize(
    ("row", "p"),
    [
        ({"prompt": "Why?", "chosen": "Because.", "rejected": "No."}, 1.0),
        ({"prompt": ASKED, "chosen": [GOOD], "rejected": [BAD]}, 1.0),
        ({"chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]}, 1.0),
        (
            {
                "prompt": "Why?",
                "chosen": [*ASKED, GOOD],
                "rejected": [*ASKED, BAD],
                "messages": [*ASKED, GOOD],
            },
            1.0,
        ),
        ({"chosen": HH[0], "rejected": HH[1]}, 1.0),
        ({"prompt": "Why?", "first": "Because.", "second": "No."}, None),
        ({"prompt": "Why?", "first": "Because.", "second": "No.", "label": "second"}, 0.0),
        ({"prompt": "Why?", "first": "Because.", "second": "No.", "label": "tie"}, 0.5),
        ({"prompt": "Why?", "first": "Because.", "second": "No.", "label": 0.75}, 0.75),
        ({"prompt": "Why?", "response_a": "Because.", "response_b": "No.", "winner": "A"}, 1.0),
        ({"prompt": "Why?", "response_a": "Because.", "response_b": "No.", "winner": "model_b"}, 0.0),
        ({"prompt": "Why?", "response_a": "Because.", "response_b": "No.", "winner": "tie (bothbad)"}, 0.5),
        ({"instruction": "Why?", "input": "", "response1": "Because.", "response2": "No.", "label": 2}, 0.0),
        ({"instruction": "Why?", "input": "", "response1": "Because.", "response2": "No.", "label": 0}, 0.5),
        (
            {"instruction": "Why?", "input": "", "response1": "Because.", "response2": "No.", "label": "1"},
            1.0,
        ),
    ],
)
def test_every_shape_of_a_pair_keeps_its_label_as_a_verdict_of_the_file(row, p):
    group = one(row)

    assert group.prompt == Prompt.of("Why?")
    assert texts(group) == ["Because.", "No."]
    assert group.pairs == ((0, 1),)
    if p is None:
        assert group.labels == ()
    else:
        (said,) = group.labels
        assert (said.judge, said.p_first, said.first_id) == (FILE_JUDGE, p, group.completions[0].id)
        assert said.matchup_id == matchups(group)[0][0].id


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Why?", "completions": ["Because.", "No."]},
        {"prompt": "Why?", "responses": ["Because.", "No."]},
        {"prompt": "Why?", "completions": [{"text": "Because."}, {"text": "No.", "policy": ""}]},
        {"prompt": "Why?", "completions": [[GOOD], [BAD]]},
        {"messages": ASKED, "completions": ["Because.", "No."]},
    ],
)
def test_every_shape_of_a_list_becomes_one_group(row):
    group = one(row)

    assert texts(group) == ["Because.", "No."]
    assert (group.pairs, group.labels) == ((), ())


def test_ultrafeedback_keeps_its_models_as_policies():
    row = {
        "source": "sharegpt",
        "instruction": "Why?",
        "models": ["a", "b"],
        "completions": [
            {"model": "a", "response": "Because.", "annotations": {}},
            {"model": "b", "response": "No."},
        ],
    }
    group = one(row)

    assert [(c.policy, c.text) for c in group.completions] == [("a", "Because."), ("b", "No.")]
    assert group.prompt.meta == {"source": "sharegpt", "models": ["a", "b"]}


def test_rows_of_one_completion_that_follow_each_other_are_one_group():
    rows = [
        {"prompt": "Why?", "completion": "Because.", "policy": "a"},
        {"prompt": "Why?", "completion": "No.", "policy": "b"},
        {"messages": [{"role": "user", "content": "How?"}, GOOD]},
        {"instruction": "How?", "output": "No."},
    ]
    why, how = load_groups(rows)

    assert [(c.policy, c.text) for c in why.completions] == [("a", "Because."), ("b", "No.")]
    assert texts(how) == ["Because.", "No."]


def test_a_last_turn_decides_the_prompt_of_two_dialogues():
    more = [*ASKED, GOOD, {"role": "user", "content": "And?"}]
    group = one({"prompt": "Why?", "chosen": [*more, GOOD], "rejected": [*more, BAD]})

    assert group.prompt.messages[-1] == Message("user", "And?")
    assert len(group.prompt.messages) == 3


def test_the_same_row_twice_leaves_by_name_and_another_label_stays():
    row = {"prompt": "Why?", "first": "Because.", "second": "No.", "label": "first"}
    left: list[Dropped] = []
    groups = list(load_groups([row, row, {**row, "label": "second"}], dropped=left.append))

    assert [g.labels[0].p_first for g in groups] == [1.0, 0.0]
    assert [row.reason for row in left] == ["duplicate"]


def test_the_same_completion_twice_is_recorded_once():
    left: list[Dropped] = []
    group = one({"prompt": "Why?", "completions": ["No.", "Because.", "No."]}, dropped=left.append)

    assert texts(group) == ["No.", "Because."]
    assert [row.reason for row in left] == ["identical"]


def test_answers_that_a_spreadsheet_made_values_of_are_texts_again():
    assert texts(one({"prompt": "Why?", "response1": True, "response2": 42})) == ["True", "42"]


def test_the_labels_column_is_named_by_the_user():
    row = {"instruction": "Why?", "response1": "Because.", "response2": "No.", "annotator1": 2}

    assert one(row, columns={"label": "annotator1"}).labels[0].p_first == 0.0


@pytest.mark.parametrize(
    ("row", "kind", "reason", "ends"),
    [
        ({"prompt": "Why?"}, "auto", "no_completion", "--columns.completion ..."),
        ({"prompt": "Why?"}, "pairs", "no_pair", "--columns.second ..."),
        ({"prompt": "Why?", "completions": 3}, "auto", "not_completions", '["one answer", "another"]'),
        ({"prompt": "Why?", "completions": [None]}, "auto", "not_a_text", '"content": "..."}]'),
        ({"prompt": "Why?", "completions": [{"words": "a"}]}, "auto", "not_a_text", '"content": "..."}]'),
        ({"prompt": "Why?", "chosen": {}, "rejected": "a"}, "auto", "not_a_text", '"content": "..."}]'),
        (
            {"prompt": "Why?", "first": "a", "second": "b", "label": "red"},
            "auto",
            "unknown_label",
            "--on_error drop",
        ),
        (
            {"prompt": "Why?", "first": "a", "second": "b", "label": True},
            "auto",
            "unknown_label",
            "--on_error drop",
        ),
        ({"first": "a", "second": "b"}, "auto", "no_prompt", "--columns.prompt ..."),
        ({"prompt": "Why?", "completion": "half \ud800"}, "auto", "not_utf8", "--on_error drop"),
    ],
)
def test_a_row_without_completions_stops_with_the_next_thing_to_type(row, kind, reason, ends):
    left: list[Dropped] = []
    with pytest.raises(DataError) as error:
        list(load_groups([row], kind=kind))

    assert str(error.value).endswith(ends)
    assert list(load_groups([row], kind=kind, on_error="drop", dropped=left.append)) == []
    assert [(row.stage, row.reason) for row in left] == [("completions", reason)]


def test_an_empty_completion_leaves_by_name_without_stopping_unless_someone_labelled_it():
    left: list[Dropped] = []
    rows = [{"prompt": "Why?", "first": "a", "second": " "}, {"prompt": "Why?", "completions": ["a", ""]}]

    assert list(load_groups(rows, dropped=left.append)) == []
    assert [row.reason for row in left] == ["empty", "empty"]
    assert texts(one({"prompt": "Why?", "chosen": "a", "rejected": " "})) == ["a", " "]


def test_what_a_pair_says_of_its_prompt_is_kept_however_many_columns_it_has():
    """Five columns are as many as a pair with its policies has; which they are is another matter."""
    row = {"prompt": "Why?", "first": "Because.", "second": "No.", "domain": "talk", "stakes": "high"}
    prompt = one(row, kind="pairs").prompt

    assert (prompt.domain, prompt.stakes) == ("talk", "high")


def test_an_unknown_kind_is_refused():
    with pytest.raises(SettingError, match="Did you mean 'pairs'"):
        list(load_groups([], kind="pair"))


def write_run(folder, prompts, completions):
    for name, records in (("prompts", prompts), ("completions", completions)):
        (folder / f"{name}.jsonl").write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in records))


def test_the_completions_of_a_run_are_joined_to_their_prompts(tmp_path):
    prompts = [Prompt.of(text) for text in ("Who?", "Why?", "How?", "When?")]
    _, why, how, _ = prompts
    completions = [
        Completion.of(why.id, "Because.", "a", finish="length"),
        Completion.of(how.id, "So.", "a"),
        Completion.of(how.id, "Thus.", "b"),
        Completion.of(how.id, "Thus.", "b"),
    ]
    write_run(tmp_path, prompts, completions)
    left: list[Dropped] = []
    groups = list(load_groups(tmp_path, dropped=left.append))

    assert [(g.prompt, texts(g)) for g in groups] == [(why, ["Because."]), (how, ["So.", "Thus."])]
    assert groups[0].completions[0] == completions[0]
    assert sorted(row.reason for row in left) == ["identical", "no_completion", "no_completion"]


def test_two_pairs_of_one_prompt_in_a_run_are_one_group(tmp_path):
    why, how = Prompt.of("Why?"), Prompt.of("How?")
    answers = [Completion.of(why.id, text) for text in ("one", "two", "three", "four")]
    write_run(tmp_path, [why, why, how], [*answers, Completion.of(how.id, "So.")])
    left: list[Dropped] = []
    groups = list(load_groups(tmp_path, dropped=left.append))

    assert [texts(g) for g in groups] == [["one", "two", "three", "four"], ["So."]]
    assert left == []


def test_a_run_with_completions_of_no_prompt_is_refused(tmp_path):
    why, lost = Prompt.of("Why?"), Prompt.of("lost")
    write_run(tmp_path, [why], [Completion.of(lost.id, "Nobody asked."), Completion.of(why.id, "Because.")])
    with pytest.raises(DataError, match=rf"holds completions of {lost.id}.* grep -n {lost.id}"):
        list(load_groups(tmp_path))


def test_a_run_with_a_torn_line_says_which(tmp_path):
    (tmp_path / "prompts.jsonl").write_text("")
    (tmp_path / "completions.jsonl").write_text('{"id": "a", "prompt_')
    with pytest.raises(DataError, match=r"completions.jsonl:1 is not a completion.*sed -n 1p"):
        list(load_groups(tmp_path))


WORDS = st.sampled_from(["a", "b", "", " ", "user", "assistant", HH[0], HH[1], "tie", "model_a"])
VALUE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "text", "model", "response", "finish"]), inner)
        | st.lists(st.sampled_from([*ASKED, GOOD, BAD]), max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted(COLUMNS | {"model"}))


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.dictionaries(NAMES, VALUE, max_size=6), max_size=3),
    kind=st.sampled_from(["auto", "pairs"]),
)
def test_any_rows_become_groups_or_reasons(rows, kind):
    rows = json.loads(json.dumps(rows))
    left: list[Dropped] = []
    groups = list(load_groups(rows, kind=kind, on_error="drop", dropped=left.append))

    for group in groups:
        met, alike = matchups(group)
        assert len(met) + len(alike) >= 1
        assert len({c.id for c in group.completions}) == len(group.completions) or group.pairs
