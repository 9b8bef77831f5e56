"""Does a job of a million rows need more memory than one of ten thousand?

Pairs are made on the fly and written to a file; `label` reads it, asks a judge that is a function in its own
process and answers in one letter, in both orders, journals every call on disk, decides and exports. Each size
runs in a process of its own; the peak of its resident memory is what counts. Null: memory that grows with the
rows. A million rows take some minutes and 5 GB of disk under the temporary folder.

    python experiments/label_memory.py [--rows 10000 100000 1000000]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from evidence import record, write_rows
from jurist.engines.engine import Ask
from jurist.recipes.label import label
from jurist.recipes.settings import LabelConfig
from jurist.verdicts.settings import JudgeConfig
from work import peak_mb

SLOW = "some ten minutes"
SIZES = (10_000, 100_000, 1_000_000)
BAR = 1.3
WORDS = ("river", "stone", "lamp", "green", "seven", "glass", "bread", "quiet", "north", "paper", "salt")


def judge(ask: Ask) -> str:
    """The position whose text has the mark of the better one."""
    shown = ask.messages[-1].content
    return "A" if "better" in shown[: shown.find("Response B:")] else "B"


def pairs(rows: int) -> Any:
    draw = random.Random(0)
    for number in range(rows):
        texts = [" ".join(draw.choices(WORDS, k=12)) for _ in range(2)]
        texts[number % 2] += f" better {number}"
        yield {"prompt": f"{number} {texts[0][:40]}", "first": texts[0], "second": texts[1]}


def run(rows: int, folder: Path) -> dict[str, Any]:
    """One job in this process."""
    file = write_rows(folder / "pairs.jsonl", pairs(rows))
    began, cpu = time.perf_counter(), time.process_time()
    judging = JudgeConfig(engine="label_memory:judge")
    summary = label(LabelConfig(pairs=file, out=str(folder / "run"), judge=judging))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "rows": rows,
        "labels": summary.labels,
        "calls": summary.calls,
        "peak_mb": round(peak_mb(), 1),
        "rows_per_s": round(rows / seconds),
        "seconds": round(seconds, 1),
        "cpu_us_per_row": round(cpu / rows * 1e6, 1),
        "journal_mb": round((folder / "run" / "journal.sqlite").stat().st_size / 1e6, 1),
    }


def measured(rows: int) -> dict[str, Any]:
    """The same job in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="jurist-memory-") as folder:
        command = [sys.executable, __file__, "--one", str(rows), folder]
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{rows:,} rows failed: {done.stderr[-800:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    print("  ".join(f"{key} {value:,}" for key, value in found.items()), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run(int(args.one[0]), Path(args.one[1]))))
        return
    runs = [measured(rows) for rows in sorted(args.rows)]
    whole = all(one["labels"] == one["rows"] and one["calls"] == 2 * one["rows"] for one in runs)
    growth = round(max(one["peak_mb"] for one in runs[1:]) / runs[0]["peak_mb"], 3)
    record(
        "label_memory",
        growth,
        null={"memory in step with the rows": runs[-1]["rows"] / runs[0]["rows"]},
        bar=f"peak memory of {runs[-1]['rows']:,} rows at most {BAR} x that of {runs[0]['rows']:,}",
        holds=growth <= BAR and whole,
        runs=runs,
    )


if __name__ == "__main__":
    main()
