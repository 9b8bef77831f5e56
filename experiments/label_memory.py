"""Does a job of a million rows need more memory than one of ten thousand?

Pairs are made on the fly and written to a file; `label` reads it, asks a judge that is a function in its own
process and answers in one letter, in both orders, journals every call on disk, decides and exports. Each
size runs in a process of its own; the peak of its resident memory is what counts. A million rows take some
minutes and 5 GB of disk under the temporary folder.

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
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from evidence import record
from jurist.engines.engine import Ask
from jurist.recipes.label import label
from jurist.recipes.settings import LabelConfig
from jurist.verdicts.settings import JudgeConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))
from work import peak_mb

SLOW = "some ten minutes"
HERE = Path(__file__).resolve().parent
SIZES = (10_000, 100_000, 1_000_000)
BAR = 1.3
WORDS = ("river", "stone", "lamp", "green", "seven", "glass", "bread", "quiet", "north", "paper", "salt")


def judge(ask: Ask) -> str:
    """The seat whose text has the mark of the better one."""
    shown = ask.messages[-1].content
    return "A" if "better" in shown[: shown.find("Response B:")] else "B"


def write_pairs(path: Path, rows: int) -> None:
    draw, encode = random.Random(0), msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for number in range(rows):
            texts = [" ".join(draw.choices(WORDS, k=12)) for _ in range(2)]
            texts[number % 2] += f" better {number}"
            file.write(encode({"prompt": f"{number} {texts[0][:40]}", "first": texts[0], "second": texts[1]}))
            file.write(b"\n")


def run(rows: int, folder: Path) -> dict[str, Any]:
    """One job in this process."""
    pairs, out = folder / "pairs.jsonl", folder / "run"
    write_pairs(pairs, rows)
    began, cpu = time.perf_counter(), time.process_time()
    cfg = LabelConfig(pairs=str(pairs), out=str(out), judge=JudgeConfig(engine="label_memory:judge"))
    summary = label(cfg)
    seconds = time.perf_counter() - began
    return {
        "rows": rows,
        "labels": summary.labels,
        "calls": summary.calls,
        "peak_mb": round(peak_mb(), 1),
        "rows_per_s": round(rows / seconds),
        "seconds": round(seconds, 1),
        "cpu_us_per_row": round((time.process_time() - cpu) / rows * 1e6, 1),
        "journal_mb": round((out / "journal.sqlite").stat().st_size / 1e6, 1),
    }


def measured(rows: int) -> dict[str, Any]:
    """The same job in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="jurist-memory-") as folder:
        command = [sys.executable, __file__, "--one", str(rows), folder]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{rows:,} rows failed: {done.stderr[-800:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run(int(args.one[0]), Path(args.one[1]))))
        return
    runs = []
    for rows in sorted(args.rows):
        runs.append(measured(rows))
        print("  ".join(f"{key} {value:,}" for key, value in runs[-1].items()), flush=True)
    whole = all(one["labels"] == one["rows"] and one["calls"] == 2 * one["rows"] for one in runs)
    growth = round(max(one["peak_mb"] for one in islice(runs, 1, None)) / runs[0]["peak_mb"], 3)
    record(
        "label_memory",
        value=growth,
        bar=f"peak memory of {runs[-1]['rows']:,} rows at most {BAR} x that of {runs[0]['rows']:,}",
        holds=growth <= BAR and whole,
        packages=("jurist", "msgspec", "uvloop"),
        runs=runs,
    )


if __name__ == "__main__":
    main()
