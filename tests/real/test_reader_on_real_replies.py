"""The readers on replies that judges really wrote: 60,338 of LLMBar and 10,240 of QLoRA."""

from pathlib import Path

import pytest

from support.on_record import compare, llmbar, named, own_form
from support.recorded import DATA

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not (DATA / "llmbar").is_dir(), reason=f"no recorded judgements at {DATA / 'llmbar'}"
)
from real_judgements import BARS, figures, holds  # noqa: E402


@pytest.mark.slow
def test_no_real_reply_is_read_for_the_wrong_side_and_enough_are_read():
    found = figures()
    assert {name: found[name]["wrong"] for name in BARS} == dict.fromkeys(BARS, 0.0)
    assert [found[name]["n"] for name in BARS] == [60_338, 4_480, 60_021, 4_480]
    assert holds(found)
    assert found["null_label_mentioned_last"]["wrong"] > 0.03
    scores = {"n": 5760, "read": 5544, "parsed": 5544, "by_hand": 156, "different": 0}
    assert found["qlora_score_pairs"] == scores


def test_of_the_replies_to_the_natural_set_none_is_read_for_the_wrong_side(tmp_path):
    for name in ("evaluator_parsing.json", "verdicts_LLMBar_Natural.jsonl.gz"):
        (tmp_path / name).symlink_to(DATA / "llmbar" / name)
    replies = list(llmbar(tmp_path))
    own = compare([reply for reply in replies if not reply.both], own_form)
    assert (own["wrong"], own["read"] > 0.65) == (0.0, True)
    assert compare(replies, named)["same"] == 1.0
