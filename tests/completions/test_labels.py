"""What the labels of a file mean."""

from itertools import permutations
from weakref import WeakSet

import pytest

from jurist.completions import load_groups
from jurist.completions.answers import label_coding
from jurist.errors import DataError, SettingError

PAIR = {"first": "Because.", "second": "No.", "first_policy": "llama", "second_policy": "gpt-4"}


def rows_of(labels, column="label"):
    return [{"prompt": f"{n}?", **PAIR, column: label} for n, label in enumerate(labels)]


def labels_of(labels, **how):
    return [g.labels[0].p_first if g.labels else None for g in load_groups(rows_of(labels), **how)]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([1, 0.25, 0], [1.0, 0.25, 0.0]),
        (["1", "0.25", "0.0", ""], [1.0, 0.25, 0.0, None]),
        ([0, 1, 2, 1], [0.5, 1.0, 0.0, 1.0]),
        ([1, "tie", 2], [1.0, 0.5, 0.0]),
        ([1.0, 1.5, 1.75, 2.0], [1.0, 0.5, 0.25, 0.0]),
        (["A", "b", "tie (bothbad)", None], [1.0, 0.0, 0.5, None]),
        (["model_a", "response_b", "Left"], [1.0, 0.0, 1.0]),
        (["gpt-4", "llama"], [0.0, 1.0]),
        ([float("nan"), 2], [None, 0.0]),
        *((order, list(map(float, order))) for order in permutations([0, 1, 0.5])),
    ],
)
def test_what_numbers_mean_is_decided_over_the_column(labels, found):
    assert labels_of(labels) == found


@pytest.mark.parametrize("labels", [[True, False], ["0", "1"], [0, "tie", 1, None]])
def test_zeros_and_ones_are_refused_until_they_are_explained(labels):
    low, high = ("false", "true") if labels[0] is True else ("0", "1")
    with pytest.raises(DataError, match=rf"'label' is .* --label_values.{low} second"):
        labels_of(labels)

    meant = {low: "first", high: "second"}
    expected = {1: 0.0, 0: 1.0, "1": 0.0, "0": 1.0, "tie": 0.5, None: None}
    assert labels_of(labels, label_values=meant) == [expected[label] for label in labels]
    with pytest.raises(DataError, match="is one of"):
        labels_of([*labels, 0.5], label_values=meant)
    with pytest.raises(SettingError, match="Did you mean 'second'"):
        labels_of(labels, label_values={"0": "secnd"})


def test_the_column_is_named_as_the_file_has_it():
    with pytest.raises(DataError, match="under 'won' is"):
        list(load_groups(rows_of([0, 1], "won"), columns={"label": "won"}))


@pytest.mark.parametrize("label", ["red", 3, -1, True, [1]])
def test_a_label_of_another_kind_is_refused_with_its_row(label):
    labels = ["first", "second", label]
    with pytest.raises(DataError, match=r"^row 3: "):
        labels_of(labels)
    left = []
    assert labels_of(labels, on_error="drop", dropped=left.append) == [1.0, 0.0]
    assert [row.kind for row in left] == ["completions: unknown_label"]


def test_a_word_that_is_a_side_and_the_name_of_the_other_policy_is_no_label():
    texts = {"prompt": "Why?", "response_a": "x", "response_b": "y"}
    with pytest.raises(DataError, match="label is 'a'"):
        list(load_groups([{**texts, "model_a": "b", "model_b": "a", "label": "a"}]))


def test_columns_of_one_name_and_many_numbers_are_one():
    coding = label_coding([{"a_1": 0, "a_2": 2}, {"a_1": 1, "a_2": 0}], find=lambda row: row)

    assert [coding.p_first(0, column, "") for column in ("a_1", "a_2")] == [0.5, 0.5]


@pytest.mark.parametrize("label", [2, None])
def test_a_generator_is_read_only_until_it_is_clear_and_its_rows_are_let_go(label):
    class Row(dict):
        __hash__ = object.__hash__

    kept = WeakSet()

    def rows():
        for n in range(250):
            kept.add(row := Row(prompt=f"{n}?", **PAIR, label=label))
            yield row

    assert sum(len(kept) < 150 for _ in load_groups(rows())) == 250
