"""The performance page shows what the benchmarks wrote, and bars are held to it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import tables


def test_the_performance_page_shows_what_was_measured():
    page = tables.PAGE.read_text(encoding="utf-8")
    assert tables.filled(page) == page, "mend it with: python bench/tables.py"
    assert set(tables.TABLES) == {name for _, name, _, _ in tables.MARKED.findall(page)}


def test_bars_are_held_to_what_was_measured():
    rows = [
        {"client": "pipeline", "against_bare": 2.4},
        {"client": "curator", "against_ours": 5.0},
        {"client": "by_default", "rate_against_ours": 0.95},
    ]
    measured = [(bar["value"], bar["holds"]) for bar in tables.bars(rows)]
    assert measured == [(2.4, False), (5.0, False), (0.95, True)]


@pytest.mark.slow
def test_texts_have_as_many_tokens_as_they_are_asked_to_have():
    train_sides = pytest.importorskip("train_sides")
    from jurist.policies.tokens import tokenise_many
    from jurist.records import Completion

    lengths = [(30, 8, 5), (12, 20, 9)]
    tokenizer = train_sides.tokenizer(4096)
    rows = train_sides.pairs({"model": "5M", "lengths": lengths})
    for (prompt, *answers), want in zip(rows, lengths, strict=True):
        both = [Completion.of("", text) for text in answers]
        (example,) = tokenise_many([(prompt, both, {})], tokenizer)
        assert (len(example.prompt_ids), *map(len, example.answers)) == want


def row(ratio, least, **more):
    spread = {"ratio": ratio, "low": ratio - 0.1, "high": ratio + 0.1, "least": least}
    return {"ours_s": 1.0, "theirs_s": ratio, "ours_mb": 500, "theirs_mb": 1500, **spread, **more}


RESULTS = {
    "rows": {
        "dpo 5M, 512/64": row(2.5, 2.4, loss_apart=1e-6),
        "reward 5M, 512/64": row(1.4, 1.5),
        "forms": {"32+2x16": {"chosen": "masked", "concat": 0.3, "masked": 0.1, "prefilled": 0.2}},
    }
}


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (
            "train_table",
            "| Dpo 5M, 512/64 | 1.00 | 2.50 | **2.50** (2.40 to 2.60) | 2.4 | 500 | 1,500 | 1.0e-06 |",
        ),
        (
            "train_table",
            "| Reward 5M, 512/64 | 1.00 | 1.40 | **1.40** (1.30 to 1.50) | 1.5, **falls short** |",
        ),
        ("forms_table", "| 32 + 2 x 16 | 0.300 | **0.100** | 0.200 |"),
    ],
)
def test_the_tables_show_ratio_spread_memory_and_what_falls_short(table, line):
    assert line in getattr(tables, table)(RESULTS)
