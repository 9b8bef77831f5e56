"""The tables of what the training benchmark wrote, and what was promised of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]
LONG = (512, 64)
AT_LEAST = {"5M": 2.4, "40M": 3.0}
LOSS_APART = 1e-4
EPOCH = GROUP = 3.0
NAMES = {"reward": "reward model", "dpo": "DPO"}
WAYS = {"random": "as it comes", "group_by_length": "grouped by length"}


def train_bars(results: Row) -> list[Row]:
    """What was promised, and what was measured; of several figures the worst counts."""
    steps = results["steps"]
    found = [
        _bar(f"{NAMES[method]}, {model} at 512/64: at least {least:g} x TRL's speed", [row["ratio"]], least)
        for method in NAMES
        for model, least in AT_LEAST.items()
        for row in steps
        if (row["method"], row["model"], row["prompt"], row["answer"]) == (method, model, *LONG)
    ]
    others = [row["ratio"] for row in steps if (row["prompt"], row["answer"]) != LONG]
    found.append(_bar("everywhere else: at least TRL's speed", others, 1.0))
    for row in results["epochs"]:
        said = f"{NAMES[row['method']]}, a job of skewed lengths: at least {EPOCH:g} x TRL"
        found.append(_bar(f"{said} {WAYS[row['trl_sampling']]}", [row["ratio"]], EPOCH))
    groups = [row["ratio"] for row in results["groups"]]
    found.append(_bar(f"8 answers to one prompt: at least {GROUP:g} x separate rows", groups, GROUP))
    apart = max(row["loss_apart"] for row in steps)
    same = {"bar": f"losses of every step within {LOSS_APART:g} of TRL's", "value": apart}
    return [*found, {**same, "holds": apart <= LOSS_APART}]


def _bar(said: str, ratios: Sequence[float], least: float) -> Row:
    return {"bar": said, "value": min(ratios), "holds": min(ratios) >= least}


def train_setting(results: Row) -> str:
    machine, job, versions = results["machine"], results["job"], results["versions"]
    named = ", ".join(f"{name} {number}" for name, number in versions.items() if name != "jurist")
    return (
        f"Measured on {results['date']} in {results['seconds'] / 60:.0f} minutes: one thread on one of"
        f" {machine['cores']} cores, {machine['system']} on {machine['processor']}, load average"
        f" {machine['load_before']:g} before and {machine['load_after']:g} after;"
        f" steps of {job['batch']} pairs, medians of {job['steps']}. Versions: {named}."
        + results.get("note", "")
    )


def bars_table(results: Row) -> str:
    rows = [
        (bar["bar"], f"{bar['value']:.3g}", "holds" if bar["holds"] else "**falls short**")
        for bar in train_bars(results)
    ]
    return _table(("promised", "measured", ""), rows, "l")


def steps_table(results: Row) -> str:
    heads = (
        "a step",
        "prompt/answer",
        "ours, CPU-s",
        "TRL, CPU-s",
        "ratio",
        "anchor pass",
        "ours, MB",
        "TRL, MB",
    )
    rows = [
        (
            f"{NAMES[row['method']]}, {row['model']}",
            f"{row['prompt']}/{row['answer']}",
            f"{row['ours_s']:.2f}",
            f"{row['theirs_s']:.2f}",
            f"**{row['ratio']:.2f}** ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})",
            f"{row['anchor_ratio']:.2f}" if "anchor_ratio" in row else "",
            f"{row['ours_mb']:,.0f}",
            f"{row['theirs_mb']:,.0f}",
        )
        for row in results["steps"]
    ]
    return _table(heads, rows)


def epochs_table(results: Row) -> str:
    rows = [
        (
            f"{NAMES[row['method']]}, {row['model']}; TRL {WAYS[row['trl_sampling']]}",
            f"{row['ours_s']:.1f}",
            f"{row['theirs_s']:.1f}",
            f"**{row['ratio']:.2f}**",
            f"{row['ours_mb']:,.0f}",
            f"{row['theirs_mb']:,.0f}",
        )
        for row in results["epochs"]
    ]
    return _table(("a whole job", "ours, CPU-s", "TRL, CPU-s", "ratio", "ours, MB", "TRL, MB"), rows)


def shared_table(results: Row) -> str:
    groups = [
        (f"{row['answers']} answers of {row['answer']} to a prompt of {row['prompt']}, {row['model']}", row)
        for row in results["groups"]
    ]
    draws = [
        (f"{row['samples']} samples of {row['tokens']} from a prompt of {row['prompt']}, {row['model']}", row)
        for row in results["drawing"]
    ]
    rows = [
        (
            said,
            f"{row['ours_s']:.2f}",
            f"{row['theirs_s']:.2f}",
            f"**{row['ratio']:.2f}** ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})",
            f"{row['ours_mb']:,.0f}",
            f"{row['theirs_mb']:,.0f}",
        )
        for said, row in [*groups, *draws]
    ]
    heads = ("", "shared, CPU-s", "separate, CPU-s", "ratio", "shared, MB", "separate, MB")
    return _table(heads, rows)


def forms_table(results: Row) -> str:
    forms = ("concat", "mask", "cache", "repeat")

    def cell(row: Row, form: str) -> str:
        return f"**{row[form]:.3f}**" if form == row["chosen"] else f"{row[form]:.3f}"

    rows = [
        (f"{row['prompt']} + {row['answers']} x {row['answer']}", *(cell(row, form) for form in forms))
        for row in results["forms"]
    ]
    return _table(("prompt + answers, CPU-s", *forms), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], last: str = "r") -> str:
    marks = ["---", *["---:"] * (len(heads) - 1)]
    if last == "l":
        marks[-1] = "---"
    lines = [heads, marks, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
