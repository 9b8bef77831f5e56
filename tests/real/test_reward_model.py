"""A reward model of the pretrained model from labels of people, by the command line: PandaLM's shortest pairs
on which all three agree. Dialogues of HH-RLHF would take a thousand to show anything."""

import json
import random
from collections import Counter

import pytest

from support import recorded
from support.llama import skip_without_model

pytestmark = pytest.mark.real
skip_without_model()
if not (recorded.DATA / "pandalm").is_dir():
    pytest.skip(f"no recorded judgements at {recorded.DATA}", allow_module_level=True)

from support import gemma  # noqa: E402
from support.cli import run  # noqa: E402


def unanimous(n):
    """The shortest, as rows of a file; ties left out."""
    rows = []
    for row in recorded.pandalm():
        [(winner, votes), *_] = Counter(row[f"annotator{who}"] for who in (1, 2, 3)).most_common()
        texts = [row["response_a"].strip(), row["response_b"].strip()]
        if votes == 3 and winner != "tie" and all(texts) and texts[0] != texts[1]:
            chosen, rejected = texts if winner == "a" else texts[::-1]
            rows.append({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected})
    return sorted(rows, key=lambda row: sum(map(len, row.values())))[:n]


def trained(rows, folder):
    """How often the head is right on the pairs it was fitted on, and on those held out."""
    file = folder / "pairs.jsonl"
    folder.mkdir()
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["train", "reward", str(file), "--base", str(gemma.english()), "--learn", "head"]
    words += ["--held_out", "0.3", "--model.precision", "bfloat16"]
    result = run(*words)
    assert result.code == 0, result.err
    fitted, held_out = map(json.loads, (folder / "pairs/reward/metrics.jsonl").read_text().splitlines())
    return fitted["accuracy"], held_out["accuracy"]


def test_a_head_learns_what_people_prefer_and_nothing_from_labels_of_a_coin(tmp_path):
    rows, dice = unanimous(150), random.Random(0)
    turned = [
        row if dice.random() < 0.5 else row | {"chosen": row["rejected"], "rejected": row["chosen"]}
        for row in rows
    ]
    people, coin = (trained(some, tmp_path / name) for name, some in (("people", rows), ("coin", turned)))
    print(people, coin)
    assert people[0] > 0.85 > coin[0]
    assert people[1] > 0.6 > coin[1]
