"""The tables of docs/performance.md, made from what the benchmarks wrote: `python bench/tables.py`."""

import json
import math
import re
from collections.abc import Callable, Iterable
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
AT_MOST_BARE, RATE_AT_LEAST = 2.0, 0.9
AT_LEAST = {"curator": 6.0, "distilabel": 15.0}
Row = dict[str, Any]


def bars(rows: Iterable[Row]) -> list[Row]:
    by = {row["client"]: row for row in rows}
    bare, rate = by["pipeline"]["against_bare"], by["by_default"]["rate_against_ours"]
    found = [(f"CPU a call, at most {AT_MOST_BARE} x a bare aiohttp loop", bare, bare <= AT_MOST_BARE)]
    for peer, least in ((peer, least) for peer, least in AT_LEAST.items() if peer in by):
        times = round(by[peer]["against_ours"], 1)
        found.append((f"at least {least:g} x less CPU than {peer}", times, times >= least))
    default = f"by default, at least {RATE_AT_LEAST:.0%} of the rate at a fixed limit"
    found.append((default, rate, rate >= RATE_AT_LEAST))
    return [{"bar": bar, "value": value, "holds": holds} for bar, value, holds in found]


def table(rows: Iterable[Row], columns: dict[str, str], left: int = 1) -> str:
    """Heads with their templates, `{peak_mb:.0f}`; `left` columns of words, the others of numbers."""
    marks = ["---"] * left + ["---:"] * (len(columns) - left)
    lines = [list(columns), marks, *([cell.format(**row) for cell in columns.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)


def cost_table(results: Row) -> str:
    by = {row["client"]: {**row, "ms": _ms(row["cpu_ms"])} for row in results["rows"]}
    rows = [{**by[client], "name": name} for client, name in NAMES.items() if client in by]
    at, figures = f"{rows[0]['concurrency']:,} at once", "{ms} · {rows_per_s:,.0f}"
    return table(rows, {"CPU-ms a call · rows/s": "{name}", at: figures, "peak MB": "{peak_mb:.0f}"})


def bars_table(results: Row) -> str:
    rows = ({**one, "held": "holds" if one["holds"] else "falls short"} for one in results["bars"])
    found = table(rows, {"promised": "{bar}", "measured": "{value:g}", "": "{held}"})
    return found.replace("---: | ---: |", "---: | --- |")


def extras_table(results: Row) -> str:
    """What is not counted in a call: deciding and exporting afterwards, and what the peers need to start."""
    decide = max(row["decide_ms"] for row in results["rows"] if "decide_ms" in row)
    rows = [{"what": "`jurist label`, deciding and exporting afterwards, a call", "cpu": f"{_ms(decide)} ms"}]
    for peer in ("openai", "curator", "distilabel"):
        starts = [row["start_cpu_s"] for row in results["rows"] if row["client"] == peer]
        name = NAMES[peer].split(",")[0]
        rows += [{"what": f"{name}, to start", "cpu": f"{max(starts):.1f} s"}] if starts else []
    return table(rows, {"beside the calls": "{what}", "CPU": "{cpu}"})


def _versions(results: Row) -> str:
    return ", ".join(f"{name} {number}" for name, number in results["versions"].items() if name != "jurist")


def setting(results: Row) -> str:
    machine, job = results["machine"], results["job"]
    return (
        f"Measured on {results['date']}: {machine['cores']} cores, {machine['system']} on"
        f" {machine['processor']}, load average {machine['load_before']:g} before and"
        f" {machine['load_after']:g} after; {job['calls']:,} calls with requests of"
        f" {job['request_bytes'] / 1000:.1f} KB, median of {job['rounds']} rounds."
        f" Versions: {_versions(results)}."
    )


def train_setting(results: Row) -> str:
    return (
        f"Measured on {results['date']} in {results['seconds'] / 60:.0f} minutes: {results['machine']};"
        f" steps of {results['batch']} rows. Versions: {_versions(results)}."
    )


def memory_table(evidence: Row) -> str:
    columns = {"rows": "{rows:,}", "peak MB": "{peak_mb:.0f}", "rows/s": "{rows_per_s:,.0f}"}
    return table(evidence["runs"], {**columns, "journal MB": "{journal_mb:,.0f}"}, 0)


def train_table(results: Row) -> str:
    """Seconds, their ratio with its spread and what was promised, memory, and how far losses are apart."""
    rows = []
    for name, row in results["rows"].items():
        if name != "forms":
            more = {"name": name[0].upper() + name[1:], "spread": "", "short": "", "apart": ""}
            if row["low"] != row["high"]:
                more["spread"] = f" ({row['low']:.2f} to {row['high']:.2f})"
            if row["ratio"] < row["least"]:
                more["short"] = ", **falls short**"
            if "loss_apart" in row:
                more["apart"] = f"{row['loss_apart']:.1e}"
            rows.append({**row, **more})
    columns = {"": "{name}", "ours, CPU-s": "{ours_s:.2f}", "TRL, CPU-s": "{theirs_s:.2f}"}
    columns |= {"ratio": "**{ratio:.2f}**{spread}", "promised": "{least:g}{short}"}
    columns |= {"ours, MB": "{ours_mb:,.0f}", "TRL, MB": "{theirs_mb:,.0f}", "losses apart": "{apart}"}
    return table(rows, columns)


def forms_table(results: Row) -> str:
    forms, rows = ("concat", "masked", "prefilled"), []
    for shape, row in results["rows"]["forms"].items():
        cells = {form: f"{row[form]:.3f}" for form in forms}
        cells[row["chosen"]] = f"**{cells[row['chosen']]}**"
        rows.append({**cells, "shape": shape.replace("+", " + ").replace("x", " x ")})
    return table(rows, {"prompt + answers, CPU-s": "{shape}", **{form: f"{{{form}}}" for form in forms}})


def vllm_table(evidence: Row) -> str:
    columns = {"model": "{model}", "dtype": "{dtype}", "apart, nats a token": "{apart:.2g}"}
    columns |= {"vLLM from float32": "{vllm_rounding:.2g}", "policy from float32": "{policy_rounding:.2g}"}
    columns |= {"from the old weights": "{apart_from_old:.2g}", "same keys, same rollouts": "{repeated:.0%}"}
    columns |= {"a sync": "{sync_s:.1f} s", "tokens/s": "{tokens_per_s:,.0f}"}
    return table(evidence["runs"], columns, 2)


def gpu_table(results: Row) -> str:
    """A line for each side; where a side failed, why."""
    rows: list[Row] = []
    nothing = dict.fromkeys(("tokens_per_s", "training_tokens_per_s", "tflops", "mfu", "memory_gb"), math.nan)
    for name, row in results["rows"].items():
        said = f"failed: {row['failed']}" if "failed" in row else f"{row['apart']:.1e} of {row['moved']:.1e}"
        said += "" if row.get("equal", True) else ", **too far**"
        said += f"; with care, since {row['failed_before']['failed']}" if "failed_before" in row else ""
        times = f" (**{row['ratio']:.2f}** x)" if "ratio" in row else ""
        for side, who, beside in (("ours", "Jurist", (times, said)), ("trl", "TRL", ("", ""))):
            more = dict(zip(("times", "said"), beside, strict=True))
            rows.append({**nothing, "name": f"{name}, {who}", **more, **row.get(side, {})})
    columns = {"": "{name}", "tokens/s": "{tokens_per_s:,.0f}{times}"}
    columns |= {"training": "{training_tokens_per_s:,.0f}", "TFLOP/s": "{tflops:.3g}", "MFU": "{mfu:.1%}"}
    columns |= {"GB": "{memory_gb:.1f}", "losses apart": "{said}"}
    return table(rows, columns).replace("nan%", "").replace("nan", "")


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
    "gpu": (ROOT / "bench/results/gpu.json", gpu_table),
}


def filled(page: str) -> str:
    """The page with the part after each `<!-- measured: NAME -->`, up to `<!-- end -->`, made anew, where its
    measurement has been made."""

    def made(part: re.Match[str]) -> str:
        source, table = TABLES[part[2]]
        new = f"{table(json.loads(source.read_text()))}\n" if source.exists() else part[3]
        return part[1] + new + part[4]

    return MARKED.sub(made, page)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
