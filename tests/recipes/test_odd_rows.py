"""Rows as they really come: equal answers, empty ones, the same pair twice."""

import json

from jobs import accounted, run


def write(folder, *rows):
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_pair_of_equal_answers_leaves_by_name_and_the_others_are_labelled(tmp_path):
    write(
        tmp_path,
        {"prompt": "What is 1 plus 1?", "chosen": "2", "rejected": "It is 3."},
        {"prompt": "What is 2 plus 2?", "chosen": "4", "rejected": "4"},
        {"prompt": "What is 3 plus 3?", "chosen": "", "rejected": ""},
    )
    summary = run(tmp_path, "shorter")
    assert (summary.prompts, summary.labels) == (3, 1)
    assert summary.dropped == {"completions: identical": 2}
    assert accounted(tmp_path)
