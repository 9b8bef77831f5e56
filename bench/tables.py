"""The tables of docs/performance.md, made from what the benchmarks wrote.

python bench/tables.py           write them into the page
python bench/tables.py --check   fail if the page shows anything else
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
MARKED = re.compile(r"(<!-- measured: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
NAMES = {
    "pipeline": "**`jurist label`, everything included**",
    "bare_aiohttp": "bare aiohttp loop",
    "by_default": "`jurist label`, working up to its limit",
    "openai": "AsyncOpenAI, nothing around it",
    "curator": "curator",
    "distilabel": "distilabel",
}
AT_MOST_BARE = 2.0
AT_LEAST = {"curator": 6.0, "distilabel": 15.0}
RATE_AT_LEAST = 0.9
Row = dict[str, Any]


def bars(rows: Iterable[Row]) -> list[Row]:
    """What was promised, and what was measured: the worst of the concurrencies counts."""
    by = {(row["client"], row["concurrency"]): row for row in rows}
    ours = {at: row for (client, at), row in by.items() if client == "pipeline"}
    worst = max(row["against_bare"] for row in ours.values())
    found = [
        {
            "bar": f"CPU a call, at most {AT_MOST_BARE} x a bare aiohttp loop",
            "value": worst,
            "holds": worst <= AT_MOST_BARE,
        }
    ]
    for peer, least in AT_LEAST.items():
        times = [by[peer, at]["against_ours"] for at in ours if (peer, at) in by]
        if times:
            value = round(min(times), 1)
            found.append(
                {"bar": f"at least {least:g} x less CPU than {peer}", "value": value, "holds": value >= least}
            )
    rates = [row["rate_against_ours"] for (client, _), row in by.items() if client == "by_default"]
    if rates:
        bar = f"by default, at least {RATE_AT_LEAST:.0%} of the rate at a fixed limit"
        found.append({"bar": bar, "value": min(rates), "holds": min(rates) >= RATE_AT_LEAST})
    return found


def cost_table(results: Row) -> str:
    """CPU a call and rows a second, a column for each concurrency."""
    rows = {(row["client"], row["concurrency"]): row for row in results["rows"]}
    columns = sorted({at for _, at in rows})
    lines = [
        "| CPU-ms a call · rows/s | " + " | ".join(f"{at:,} at once" for at in columns) + " | peak MB |",
        "| --- |" + " ---: |" * (len(columns) + 1),
    ]
    for client, name in NAMES.items():
        found = [rows.get((client, at)) for at in columns]
        if any(found):
            cells = [f"{_ms(row['cpu_ms'])} · {row['rows_per_s']:,.0f}" if row else "" for row in found]
            peak = max(row["peak_mb"] for row in found if row)
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {peak:.0f} |")
    return "\n".join(lines)


def bars_table(results: Row) -> str:
    lines = ["| promised | measured | |", "| --- | ---: | --- |"]
    lines += [
        f"| {bar['bar']} | {bar['value']:g} | {'holds' if bar['holds'] else 'falls short'} |"
        for bar in results["bars"]
    ]
    return "\n".join(lines)


def extras_table(results: Row) -> str:
    """What is not in a row's price: deciding and exporting afterwards, and what the peers need to start."""
    lines = ["| beside the calls | CPU |", "| --- | ---: |"]
    decide = [row["decide_ms"] for row in results["rows"] if "decide_ms" in row]
    lines.append(f"| `jurist label`, deciding and exporting afterwards, a call | {_ms(max(decide))} ms |")
    for peer in ("openai", "curator", "distilabel"):
        starts = [row["start_cpu_s"] for row in results["rows"] if row["client"] == peer]
        if starts:
            lines.append(f"| {NAMES[peer].split(',')[0]}, to start | {max(starts):.1f} s |")
    return "\n".join(lines)


def setting(results: Row) -> str:
    machine, job, versions = results["machine"], results["job"], results["versions"]
    named = ", ".join(f"{name} {number}" for name, number in versions.items() if name != "jurist")
    return (
        f"Measured on {results['date']}: {machine['cores']} cores,"
        f" {machine['system']} on {machine['processor']},"
        f" load average {machine['load_before']:g} before and {machine['load_after']:g} after;"
        f" {job['calls']:,} calls with requests of {job['request_bytes'] / 1000:.1f} KB,"
        f" median of {job['rounds']} rounds. Versions: {named}."
    )


def memory_table(evidence: Row) -> str:
    lines = ["| rows | peak MB | rows/s | journal MB |", "| ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {run['rows']:,} | {run['peak_mb']:.0f} | {run['rows_per_s']:,.0f} | {run['journal_mb']:,.0f} |"
        for run in evidence["runs"]
    ]
    return "\n".join(lines)


def train_setting(results: Row) -> str:
    named = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return (
        f"Measured on {results['date']} in {results['seconds'] / 60:.0f} minutes: {results['machine']};"
        f" steps of {results['batch']} rows. Versions: {named}."
    )


def train_table(results: Row) -> str:
    """A row each: seconds, their ratio with its spread, what was promised of it, memory, and the losses."""
    lines = [
        "| | ours, CPU-s | TRL, CPU-s | ratio | promised | ours, MB | TRL, MB | losses apart |",
        "| --- |" + " ---: |" * 7,
    ]
    for name, row in results["rows"].items():
        if name == "forms":
            continue
        spread = f" ({row['low']:.2f} to {row['high']:.2f})" if row["low"] != row["high"] else ""
        held = f"{row['least']:g}" if row["ratio"] >= row["least"] else f"{row['least']:g}, **falls short**"
        apart = f"{row['loss_apart']:.1e}" if "loss_apart" in row else ""
        lines.append(
            f"| {name[0].upper()}{name[1:]} | {row['ours_s']:.2f} | {row['theirs_s']:.2f} |"
            f" **{row['ratio']:.2f}**{spread} | {held} | {row['ours_mb']:,.0f} | {row['theirs_mb']:,.0f} |"
            f" {apart} |"
        )
    return "\n".join(lines)


def forms_table(results: Row) -> str:
    lines = ["| prompt + answers, CPU-s | concat | masked | prefilled |", "| --- | ---: | ---: | ---: |"]
    for shape, row in results["rows"]["forms"].items():
        cells = (
            f"**{row[form]:.3f}**" if form == row["chosen"] else f"{row[form]:.3f}"
            for form in ("concat", "masked", "prefilled")
        )
        lines.append(f"| {shape.replace('+', ' + ').replace('x', ' x ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def vllm_table(evidence: Row) -> str:
    lines = [
        "| model | dtype | apart, nats a token | vLLM from float32 | policy from float32 |"
        " from the old weights | same keys, same rollouts | a sync | tokens/s |",
        "| --- | --- |" + " ---: |" * 7,
    ]
    lines += [
        f"| {run['model']} | {run['dtype']} | {run['apart']:.2g} | {run['vllm_rounding']:.2g} |"
        f" {run['policy_rounding']:.2g} | {run['apart_from_old']:.2g} |"
        f" {run['repeated']:.0%} | {run['sync_s']:.1f} s | {run['tokens_per_s']:,.0f} |"
        for run in evidence["runs"]
    ]
    return "\n".join(lines)


def _ms(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.1f}"


LABEL, MEMORY = ROOT / "bench/results/label.json", ROOT / "evidence/label_memory.json"
TRAIN, VLLM = ROOT / "bench/results/train.json", ROOT / "evidence/vllm_rollouts.json"
TABLES: dict[str, tuple[Path, Callable[[Row], str]]] = {
    "setting": (LABEL, setting),
    "cost": (LABEL, cost_table),
    "bars": (LABEL, bars_table),
    "extras": (LABEL, extras_table),
    "memory": (MEMORY, memory_table),
    "train_setting": (TRAIN, train_setting),
    "train": (TRAIN, train_table),
    "train_forms": (TRAIN, forms_table),
    "vllm": (VLLM, vllm_table),
}


def filled(page: str) -> str:
    """The page with the part after each `<!-- measured: NAME -->`, up to `<!-- end -->`, made anew."""
    return MARKED.sub(lambda part: part[1] + made(part[2], part[3]) + part[4], page)


def made(name: str, before: str = "") -> str:
    """One of the tables; what was there before, where its measurement has not been made."""
    source, table = TABLES[name]
    return f"{table(json.loads(source.read_text()))}\n" if source.exists() else before


def main(arguments: Sequence[str]) -> int:
    page = PAGE.read_text()
    new = filled(page)
    if "--check" in arguments:
        if new != page:
            print("docs/performance.md is out of date. Mend it with: python bench/tables.py")
        return int(new != page)
    PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
