"""Real files of people's preferences; the figures expected here are those published beside the files."""

from collections import Counter

import pytest

from jurist.completions import load_groups, matchups
from jurist.prompts import load_prompts
from jurist.prompts.rows import read_rows
from jurist.records import Dropped
from support.recorded import DATA

FILE = DATA / "hh_rlhf_harmless_test" / "harmless-base_test.jsonl.gz"

if not FILE.exists():
    pytest.skip(f"no real data at {DATA}; set JURIST_REAL_DATA to its folder", allow_module_level=True)


def test_every_dialogue_of_hh_rlhf_is_a_pair_or_has_a_reason():
    left: list[Dropped] = []
    groups = list(load_groups(FILE, dropped=left.append))
    reasons = [row.reason for row in left]

    assert len(groups) == 2303
    assert Counter(reasons) == {"prompts_differ": 5, "empty": 4}
    assert all(group.labels[0].p_first == 1.0 for group in groups)
    assert all(group.prompt.messages[-1].role == "user" for group in groups)


def test_which_is_longer_in_hh_rlhf_is_as_published():
    lengths = [(len(row["chosen"]), len(row["rejected"])) for _, row in read_rows(FILE)]

    assert len(lengths) == 2312
    assert sum(chosen > rejected for chosen, rejected in lengths) == 1025
    assert sum(chosen == rejected for chosen, rejected in lengths) == 11


def test_what_people_preferred_in_hh_rlhf_does_not_show_in_the_seats():
    seats = [
        (matchup.first.id == group.labels[0].first_id)
        for group in load_groups(FILE)
        for matchup in matchups(group)[0]
    ]

    assert len(seats) == 2303
    assert abs(sum(seats) / len(seats) - 0.5) < 0.04


def test_prompts_of_hh_rlhf_are_loaded_once_each():
    left: list[Dropped] = []
    prompts = list(load_prompts(FILE, dropped=left.append))

    assert len(prompts) + len(left) == 2312
    assert len({prompt.id for prompt in prompts}) == len(prompts)


def test_labels_of_three_people_are_read_from_pandalm():
    path = DATA / "pandalm" / "testset-v1.json"
    if not path.exists():
        pytest.skip(f"no {path}")
    left: list[Dropped] = []
    groups = list(load_groups(path, columns={"label": "annotator1"}, dropped=left.append))
    labels = [group.labels[0].p_first for group in groups]

    assert len(groups) + len(left) == 999
    assert {row.reason for row in left} == {
        "duplicate",
        "empty",
    }  # some models gave the same answers, or none
    assert set(labels) == {0.0, 0.5, 1.0}


def test_generations_of_eight_systems_one_file_after_the_other_are_groups():
    path = DATA / "qlora_vicuna" / "generations_vicuna_subset.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no {path}")
    left: list[Dropped] = []
    groups = list(load_groups(path, kind="completions", on_error="drop", dropped=left.append))

    assert [len(group.completions) for group in groups] == [4] * 80
    assert {row.reason for row in left} == {"no_prompt"}  # four of the files name their questions by number
    assert len(left) == 320
