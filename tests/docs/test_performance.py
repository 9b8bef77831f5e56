"""The figures of the performance page are those that the benchmarks wrote."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import tables  # noqa: E402


def test_the_performance_page_shows_what_was_measured():
    page = tables.PAGE.read_text(encoding="utf-8")

    assert tables.filled(page) == page, "mend it with: python bench/tables.py"
    assert set(tables.TABLES) == {name for _, name, _, _ in tables.MARKED.findall(page)}


def test_a_bar_is_held_to_the_worst_of_the_concurrencies():
    def row(client, at, cpu_ms, **more):
        return {"client": client, "concurrency": at, "cpu_ms": cpu_ms, **more}

    rows = [
        row("pipeline", 64, 0.2, against_bare=1.4),
        row("pipeline", 256, 0.1, against_bare=0.9),
        row("curator", 64, 1.0, against_ours=5.0),
        row("curator", 256, 2.0, against_ours=20.0),
    ]
    measured = {bar["bar"]: (bar["value"], bar["holds"]) for bar in tables.bars(rows)}

    assert list(measured.values()) == [(1.4, False), (5.0, False), (0.2, False)]
