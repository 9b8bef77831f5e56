"""The last step, alone: decide again from the verdicts a run has, and write the files. Nothing is asked of
any model.

`jurist export run/ --format openrlhf --prefer.ties soft` changes how verdicts become labels, for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ..errors import RunError, SettingError
from ..preferences.card import Counts, card, write_card
from ..preferences.decide import decide, read_judges
from ..preferences.export import FORMATS, Quarantine, drop_quarantined, read_quarantine
from ..preferences.export import export as export_rows
from ..records import Dropped, Preference
from ..run import Run, again, read_json, read_records
from .settings import LabelConfig, check, label_settings, prefer_config, recipe_text, versions
from .summary import Summary, decided

DECIDING = ("prefer", "jury", "labels", "force", "export", "held_out")
"""The settings that come after the last verdict."""


def export(
    folder: str | Path,
    formats: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    *,
    push_to: str = "",
) -> Summary:
    """Decide and export a finished or stopped run once more, with any setting of deciding changed."""
    folder = Path(folder)
    recipe = folder / "recipe.yaml"
    if not recipe.exists():
        raise RunError(f"there is no run at {folder}. Make one with: {again(folder)}")
    before = label_settings(recipe)
    # What was exported before is decided anew too: nobody shall train on a file that the run no longer means.
    there = sorted(path.name for path in (folder / "export").glob("*") if path.name in FORMATS)
    cfg = label_settings(recipe, overrides, export=list(dict.fromkeys((*formats, *there))) or None)
    for name in LabelConfig.__struct_fields__:
        if name not in DECIDING and getattr(cfg, name) != getattr(before, name):
            raise SettingError(
                f"{name} was settled when {folder} was labelled; an export can change {', '.join(DECIDING)}."
                f" Label again with: {again(folder)} --{name} ..."
            )
    check(cfg)
    cfg = replace(cfg, out=str(folder))
    with Run(folder, journal=cfg.journal) as run:
        counts, learnt = decide(run, read_judges(folder), prefer_config(cfg), cfg.jury, cfg.labels)
        refused = "" if cfg.force else learnt.refused
        exported = {} if refused else export_all(run, cfg, counts, push_to)
        # Ignoring the quarantine is meant for this export: kept, it would be ignored for good, unsaid.
        prefer = replace(cfg.prefer, quarantine=before.prefer.quarantine)
        run.write_text("recipe.yaml", recipe_text(replace(cfg, prefer=prefer)))
        path = folder / "summary.json"
        last = read_json(path, Summary) if path.exists() else Summary(run=str(folder))
        state = {"state": "refused" if refused else "done", "refused": refused}
        summary = replace(
            last,
            **(state if last.state != "stopped" else {"refused": refused}),
            **decided(counts, learnt, exported, last.usd),
        )
        run.write_json("summary.json", summary)
    return summary


def export_all(run: Run, cfg: LabelConfig, counts: Counts, push_to: str = "") -> dict[str, dict[str, int]]:
    """The preferences of the run in every format that was asked for, each with its card."""
    written: dict[str, dict[str, int]] = {}
    held = read_quarantine(run.path) if cfg.prefer.quarantine == "honour" else Quarantine()
    for name in cfg.export:
        folder = run.path / "export" / name
        left_out: Counter[str] = Counter()

        def drop(row: Dropped, left_out: Counter[str] = left_out) -> None:
            left_out[f"left out: {row.reason}"] += 1

        rows = drop_quarantined(read_records(run.file("preferences"), Preference), held, drop)
        splits = export_rows(rows, folder, name, held_out=cfg.held_out, dropped=drop, push_to=push_to)
        text = card(
            counts,
            name=Path(cfg.out).name,
            splits={split: f"{split}*" for split in splits},
            recipe=recipe_text(cfg),
            versions=versions(),
            left_out={reason.removeprefix("left out: "): n for reason, n in left_out.items()},
        )
        write_card(folder, text)
        written[name] = {**splits, **left_out}
    return written
