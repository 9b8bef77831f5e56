import csv
import json

import numpy as np
import pytest

from jurist.audits.read_file import read_source
from jurist.errors import DataError, SettingError

PAIR = {"prompt": "Why?", "first": "because", "second": "who knows"}


def sheet_of(tmp_path, *rows, **how):
    return read_of(tmp_path, *rows, **how).sheet


def read_of(tmp_path, *rows, **how):
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return read_source(path, **how)


@pytest.mark.parametrize(
    ("said", "p"),
    [
        ({"winner": "first"}, 1.0),
        ({"winner": "model_b"}, 0.0),
        ({"label": 2}, 0.0),
        ({"winner": "tie (bothbad)"}, 0.5),
        ({"winner": 0.25}, 0.25),
        ({"winner": "0.25"}, 0.25),
        ({"preference": 1.75}, 0.25),
        ({"p_first": 0}, 0.0),
        ({"p_first": "0.125"}, 0.125),
        ({"better": 0}, 1.0),
        ({"better": "1"}, 0.0),
        ({"winner": "gpt-4", "first_policy": "llama", "second_policy": "gpt-4"}, 0.0),
        ({"winner": "left"}, 1.0),
    ],
)
def test_a_winner_is_read_in_the_ways_people_write_it(tmp_path, said, p):
    sheet = sheet_of(tmp_path, {**PAIR, **said})

    assert sheet.verdicts.p.tolist() == [p]
    assert sheet.judges == ("unnamed",)


@pytest.mark.parametrize("nothing", ["", None, "error", "GPT likes both", "nan"])
def test_what_is_no_winner_is_unread_and_no_tie(tmp_path, nothing):
    sheet = sheet_of(tmp_path, {**PAIR, "winner": nothing})

    assert np.isnan(sheet.verdicts.p).tolist() == [True]
    assert sheet.verdicts.unread.tolist() == [1]


@pytest.mark.parametrize("p", [1.2, -0.5, "inf"])
def test_a_probability_that_is_none_is_called_so(tmp_path, p):
    sheet = sheet_of(tmp_path, {**PAIR, "p_first": p})

    assert np.isnan(sheet.verdicts.p).tolist() == [True]
    assert sheet.reasons == ("", "out_of_range")
    with pytest.raises(DataError, match=r"p_first is .*between 0 and 1"):
        read_of(tmp_path, {"prompt": "Why?", "chosen": "a", "rejected": "b", "p_first": 1.2})


def test_a_winner_names_a_column_whichever_order_the_judge_saw(tmp_path):
    sheet = sheet_of(
        tmp_path, {**PAIR, "winner": "first", "swapped": True}, {**PAIR, "winner": "first", "swapped": False}
    )

    assert sheet.verdicts.p.tolist() == [1.0, 1.0]
    assert sheet.verdicts.swapped.tolist() == [True, False]


def test_a_column_for_each_order_is_not_turned_by_a_column_for_the_row(tmp_path):
    row = {**PAIR, "p_given": 0.75, "p_swapped": 0.5, "swapped": True}

    assert sheet_of(tmp_path, row).verdicts.p.tolist() == [0.75, 0.5]


def test_two_orders_in_one_row_are_two_verdicts(tmp_path):
    rows = {
        "columns": {"winner_given": "first", "winner_swapped": "second"},
        "by their earlier name": {"winner_given": "first", "winner_turned": "second"},
        "probabilities": {"p_given": 1.0, "p_swapped": 0.0},
        "positions": {"position_given": "a", "position_swapped": "a"},
        "of MT-Bench": {"verdict_ab": "A", "verdict_ba": "A"},
    }
    for number, said in enumerate(rows.values()):
        sheet = sheet_of(tmp_path, {**PAIR, "prompt": str(number), **said, "cost": 0.5})

        # The judge chose the first position both times.
        assert sheet.verdicts.p.tolist() == [1.0, 0.0]
        assert sheet.verdicts.swapped.tolist() == [False, True]
        assert sheet.verdicts.usd.tolist() == [0.25, 0.25]


def test_rows_about_the_same_two_answers_are_one_matchup_whichever_way_round(tmp_path):
    back = {"prompt": "Why?", "first": "who knows", "second": "because"}
    rows = [
        {**PAIR, "winner": "a", "judge": "x", "human": "a"},
        {**back, "winner": "a", "judge": "x", "human": "b"},
        {**PAIR, "winner": "b", "judge": "y"},
        {**PAIR, "winner": "a", "judge": "x"},
    ]

    read = read_of(tmp_path, *rows)

    sheet = read.sheet
    assert (len(sheet.matchups), len(sheet.answers)) == (1, 2)
    assert sheet.verdicts.p.tolist() == [1.0, 0.0, 0.0, 1.0]
    assert sheet.verdicts.swapped.tolist() == [False, True, False, False]
    assert sheet.human.p.tolist() == [1.0]  # the same human, twice
    repeated, of_humans = read.notes[:2]
    assert repeated.startswith(
        "Rows that repeat a verdict of the same judge on the same pair in the same order: 1."
    )
    assert of_humans == "Human labels by the same annotator of the same pair: 1. The last one counts."


def test_humans_have_a_column_each_or_are_judges_called_human(tmp_path):
    sheet = sheet_of(
        tmp_path,
        {**PAIR, "winner": 1, "annotator1": 2, "annotator2": 0, "annotator3": ""},
        {**PAIR, "winner": 2, "judge": "human:ada"},
    )

    assert sheet.humans == ("human:annotator1", "human:annotator2", "human:ada")
    assert sheet.human.p.tolist() == [0.0, 0.5, 0.0]
    assert len(sheet.verdicts) == 1


def test_chosen_and_rejected_are_labels_whose_positions_nobody_knows(tmp_path):
    rows = [{"prompt": f"{n}?", "chosen": f"yes {n}", "rejected": f"no {n}", "p": 0.75} for n in range(30)]

    sheet = sheet_of(tmp_path, *rows)

    assert not len(sheet.verdicts)
    assert set(sheet.labels.p.tolist()) == {
        0.25,
        0.75,
    }
    texts = [sheet.texts[row] for row in sheet.matchups.first[sheet.labels.p == 0.75]]
    assert all(text.startswith("yes") for text in texts)


def test_pairs_without_a_prompt_are_prompts_of_their_own(tmp_path):
    rows = [
        {"chosen": f"because {n}", "rejected": "who knows", "domain": "odd", "id": str(n), "margin": 2}
        for n in (1, 2, 1)
    ]

    read = read_of(tmp_path, *rows)

    assert (len(read.sheet.prompts), len(read.sheet.matchups), len(read.sheet.labels)) == (2, 2, 2)
    assert "no prompts" in read.notes[-1]
    with pytest.raises(DataError, match="Say which column holds the prompt"):  # it may have another name
        read_of(tmp_path, {**rows[0], "ask": "Why?"})


def test_scores_of_both_answers_are_scores(tmp_path):
    row = {"prompt": "?", "chosen": "b", "rejected": "a", "score_chosen": 8, "score_rejected": "3.5"}

    sheet = sheet_of(tmp_path, {**row, "judge": "x"})

    texts = [sheet.texts[row] for row in sheet.scores.answer]
    by_text = dict(zip(texts, sheet.scores.score, strict=True))
    assert by_text == {"b": 8.0, "a": 3.5}


def test_a_file_that_leaves_positions_open_says_how_it_was_taken(tmp_path):
    assert "it is taken to be the first column" in " ".join(read_of(tmp_path, {**PAIR, "winner": "a"}).notes)
    assert not read_of(tmp_path, {**PAIR, "winner": "a", "swapped": False}).notes
    assert not read_of(
        tmp_path, {"prompt": "?", "chosen": "a", "rejected": "b", "winner": "a"}
    ).sheet.positions_known


@pytest.mark.parametrize("column", ["label", "human_label", "verdict_ba"])
def test_winners_of_nothing_but_0_and_1_are_refused_until_explained(tmp_path, column):
    rows = [{**PAIR, "prompt": str(n), "winner": "a", column: n % 2} for n in range(4)]
    rows = [{name: row[name] for name in row if name != "winner" or column != "label"} for row in rows]

    with pytest.raises(DataError, match=f"under '{column}' is .* --label_values.0 second") as error:
        read_of(tmp_path, *rows)

    assert "--label_values.1 first" in str(error.value)
    sheet = read_of(tmp_path, *rows, label_values={"0": "first", "1": "second"}).sheet
    told = sheet.human.p if column == "human_label" else sheet.verdicts.p[sheet.verdicts.swapped]
    if column == "label":
        told = sheet.verdicts.p
        assert not read_of(tmp_path, *rows, columns={"better": "label"}).notes[1:]
    assert sorted(told) == [0.0, 0.0, 1.0, 1.0]


def test_columns_are_named_by_the_user(tmp_path):
    row = {"question_text": "Why?", "x": "a", "y": "b", "won": "x", "topic": "sky"}
    names = {"prompt": "question_text", "first": "x", "second": "y", "winner": "won", "domain": "topic"}

    sheet = sheet_of(tmp_path, {**row, "won": "first"}, columns=names)

    assert sheet.verdicts.p.tolist() == [1.0]
    assert sheet.domains == ("sky",)
    with pytest.raises(SettingError, match="Did you mean 'winner'"):
        read_of(tmp_path, row, columns={"winer": "won"})


def test_tables_are_read_like_lines(tmp_path):
    rows = [{**PAIR, "winner": "first", "human_label": "2", "category": "air"}, {**PAIR, "winner": ""}]
    path = tmp_path / "pairs.csv"
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)

    sheet = read_source(path).sheet

    np.testing.assert_allclose(sheet.verdicts.p, [1.0, np.nan])
    assert sheet.human.p.tolist() == [0.0]
    assert sheet.domains == ("air",)


def test_an_empty_answer_that_was_judged_is_kept(tmp_path):
    assert len(sheet_of(tmp_path, {**PAIR, "second": "", "winner": "a"}).verdicts) == 1


def test_a_row_that_cannot_be_used_stops_or_is_counted(tmp_path):
    rows = [{**PAIR, "winner": "a"}, {"prompt": "Why?", "first": "alone"}]

    with pytest.raises(DataError, match=r"pairs\.jsonl:2"):
        read_of(tmp_path, *rows)

    assert sheet_of(tmp_path, *rows, on_error="drop").dropped == {"completions: no_pair": 1}
