"""The last step, alone: decide again from the verdicts a run has, and write the files. Nothing is asked of
any model.

`jurist export run/ --format openrlhf --prefer.ties soft` changes how verdicts become labels, for nothing.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ..errors import RunError, SettingError
from ..preferences.card import Counts, write_card
from ..preferences.decide import decide, read_members
from ..preferences.export import FORMATS
from ..preferences.export import export as export_rows
from ..preferences.hygiene import Quarantine, drop_quarantined, read_quarantine
from ..records import Dropped, Preference
from ..run import Run, read_json, read_records
from .settings import LabelConfig, check, label_settings, prefer_config, recipe_text, versions
from .summary import Summary

DECIDING = ("prefer", "jury", "labels", "export", "held_out")
"""The settings that come after the last verdict."""


def export(
    folder: Path, formats: tuple[str, ...] = (), overrides: list[str] | None = None, *, push_to: str = ""
) -> Summary:
    """Decide and export a finished or stopped run once more, with any setting of deciding changed."""
    recipe = folder / "recipe.yaml"
    if not recipe.exists():
        raise RunError(f"there is no run at {folder}. Make one with: jurist label --out {folder} ...")
    before = label_settings(recipe)
    # What was exported before is decided anew too: nobody shall train on a file that the run no longer means.
    lying = sorted(path.name for path in (folder / "export").glob("*") if path.name in FORMATS)
    cfg = label_settings(recipe, overrides or (), export=list(dict.fromkeys((*formats, *lying))) or None)
    for name in LabelConfig.__struct_fields__:
        if name not in DECIDING and getattr(cfg, name) != getattr(before, name):
            raise SettingError(
                f"{name} was settled when {folder} was labelled; an export can change {', '.join(DECIDING)}."
                f" Label again with: jurist label --recipe {recipe} --{name} ..."
            )
    check(cfg)
    cfg = replace(cfg, out=str(folder))
    with Run(folder, journal=cfg.journal) as run:
        counts, learnt = decide(run, read_members(folder), prefer_config(cfg), cfg.jury, cfg.labels)
        exported = export_all(run, cfg, counts, push_to)
        # Ignoring the quarantine is meant for this export: kept, it would be ignored for good, unsaid.
        prefer = replace(cfg.prefer, quarantine=before.prefer.quarantine)
        run.write_text("recipe.yaml", recipe_text(replace(cfg, prefer=prefer)))
        summary = _before(folder)
        summary = replace(
            summary,
            labels=counts.preferences,
            dropped=counts.dropped,
            flags=counts.flags,
            learnt=learnt,
            exported=exported,
            usd_per_label=summary.usd / counts.preferences if counts.preferences else None,
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
        write_card(
            folder,
            counts,
            name=Path(cfg.out).name,
            splits={split: f"{split}*" for split in splits},
            settings=msgspec.to_builtins(cfg),
            versions=versions(),
            left_out={reason.removeprefix("left out: "): n for reason, n in left_out.items()},
        )
        written[name] = {**splits, **left_out}
    return written


def _before(folder: Path) -> Summary:
    path = folder / "summary.json"
    return read_json(path, Summary) if path.exists() else Summary(run=str(folder))
