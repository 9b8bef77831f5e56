"""What the labels of a file mean."""

from itertools import permutations
from weakref import WeakSet

import pytest

from jurist.completions import label_coding, load_groups
from jurist.errors import DataError, SettingError

PAIR = {"first": "Because.", "second": "No.", "first_policy": "llama", "second_policy": "gpt-4"}


def rows_of(labels, column="label"):
    return [{"prompt": f"{n}?", **PAIR, column: label} for n, label in enumerate(labels)]


def labels_of(labels, **how):
    return [g.labels[0].p_first if g.labels else None for g in load_groups(rows_of(labels), **how)]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([1.0, 0.9, 0.5, 0.01, 0.0], [1.0, 0.9, 0.5, 0.01, 0.0]),
        ([1, 0.25, 0], [1.0, 0.25, 0.0]),
        (["1", "0.25", "0.0", ""], [1.0, 0.25, 0.0, None]),
        ([0, 1, 2, 1], [0.5, 1.0, 0.0, 1.0]),
        ([0.0, 2.0, 1.0], [0.5, 0.0, 1.0]),
        (["0", "2", "1"], [0.5, 0.0, 1.0]),
        ([1, "tie", 2], [1.0, 0.5, 0.0]),
        ([2, 2], [0.0, 0.0]),
        ([1.0, 1.5, 1.75, 2.0], [1.0, 0.5, 0.25, 0.0]),
        (["first", "second", "tie"], [1.0, 0.0, 0.5]),
        (["A", "b", "tie (bothbad)", None], [1.0, 0.0, 0.5, None]),
        (["model_a", "response_b", "Left"], [1.0, 0.0, 1.0]),
        (["gpt-4", "llama"], [0.0, 1.0]),
        ([float("nan"), 2], [None, 0.0]),
    ],
)
def test_what_numbers_mean_is_decided_over_the_column(labels, found):
    assert labels_of(labels) == found


@pytest.mark.parametrize(
    "labels", [[0, 1], [1.0, 0.0, 1.0], [True, False], ["0", "1"], [1, 1], [0, "tie", 1, None]]
)
def test_zeros_and_ones_are_refused_until_they_are_explained(tmp_path, labels):
    low, high = ("false", "true") if labels[0] is True else ("0", "1")
    with pytest.raises(DataError) as error:
        labels_of(labels)
    assert f"'label' are {low} and {high} alone" in str(error.value)
    assert f"--label_values.{low} second --label_values.{high} first" in str(error.value)

    meant = {low: "first", high: "second"}
    expected = {1: 0.0, 0: 1.0, "1": 0.0, "0": 1.0, "tie": 0.5, None: None}
    assert labels_of(labels, label_values=meant) == [expected[label] for label in labels]
    with pytest.raises(DataError, match=r"--label_values.0|unknown|is one of"):
        labels_of([*labels, 0.5], label_values=meant)


def test_the_column_is_named_as_the_file_has_it():
    with pytest.raises(DataError, match="'won' are 0 and 1 alone"):
        list(load_groups(rows_of([0, 1], "won"), columns={"label": "won"}))
    with pytest.raises(DataError, match="'winner' are 0 and 1 alone"):
        list(load_groups(rows_of([0, 1], "winner")))


@pytest.mark.parametrize("place", range(3))
def test_one_telling_row_is_enough_wherever_it_stands(place):
    labels = [0, 1, 1]
    labels[place] = 2

    assert labels_of(labels)[place] == 0.0


@pytest.mark.parametrize("label", ["red", 3, -1, True, [1], "gpt"])
def test_a_label_of_another_kind_is_refused_with_its_row(label):
    labels = ["first", "second", label]
    with pytest.raises(DataError, match=r"^row 3: "):
        labels_of(labels)
    left = []
    assert labels_of(labels, on_error="drop", dropped=left.append) == [1.0, 0.0]
    assert [row.kind for row in left] == ["completions: unknown_label"]


def test_a_word_that_is_a_side_and_the_name_of_the_other_policy_is_no_label():
    row = {
        "prompt": "Why?",
        "response_a": "x",
        "response_b": "y",
        "model_a": "b",
        "model_b": "a",
        "label": "a",
    }
    with pytest.raises(DataError, match="label is 'a'"):
        list(load_groups([row]))


def test_a_generator_is_read_once_and_labels_of_chosen_and_rejected_are_not_looked_at():
    assert [g.labels[0].p_first for g in load_groups(row for row in rows_of([0, 1, 2]))] == [0.5, 1.0, 0.0]
    assert label_coding([{"prompt": "?", "chosen": "a", "rejected": "b", "label": 1}]).kinds == {}


def test_rows_of_a_generator_are_let_go_once_they_are_read():
    class Row(dict):
        __hash__ = object.__hash__

    kept = WeakSet()

    def rows():
        for n in range(1000):
            kept.add(row := Row(prompt=f"{n}?", **PAIR, label="first"))
            yield row

    assert sum(len(kept) < 150 for _ in load_groups(rows())) == 1000


def test_columns_of_one_name_and_many_numbers_are_one():
    coding = label_coding([{"a_1": 0, "a_2": 2}, {"a_1": 1, "a_2": 0}], find=lambda row: row)

    assert [coding.p_first(0, column, "") for column in ("a_1", "a_2")] == [0.5, 0.5]


def test_a_meaning_that_is_none_is_refused():
    with pytest.raises(SettingError, match="Did you mean 'second'"):
        label_coding(rows_of([0]), label_values={"0": "secnd"})


def test_the_scan_stops_when_it_is_clear():
    def rows(label):
        for n in range(10_000):
            assert n < 200
            yield {"prompt": "Why?", **PAIR, **({} if label is None else {"label": label})}

    for label in ("first", 2, 0.5, None):
        assert label_coding(rows(label)).values == {}


@pytest.mark.parametrize("order", list(permutations([0, 1, 0.5])))
def test_the_order_of_rows_does_not_matter(order):
    assert labels_of(order) == list(map(float, order))
