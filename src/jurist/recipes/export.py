"""The last step, alone: decide again from the verdicts a run has, and write the files. Nothing is asked of
any model.

`jurist export run/ --format openrlhf --prefer.ties soft` changes how verdicts become labels, for nothing.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ..errors import RunError, SettingError
from ..preferences.decide import Counts, JudgeInfo, decide, read_judges
from ..preferences.export import FORMATS, Quarantine, card, drop_quarantined, push, read_quarantine
from ..preferences.export import export as export_rows
from ..records import Dropped, Preference
from ..run import Run, again, read_json, read_records, write_whole
from .settings import LabelConfig, check, label_settings, recipe_text, versions
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
    cfg = label_settings(recipe, overrides, export=[*formats] or None)
    for name in LabelConfig.__struct_fields__:
        if name not in DECIDING and getattr(cfg, name) != getattr(before, name):
            raise SettingError(
                f"{name} was settled when {folder} was labelled; an export can change {', '.join(DECIDING)}."
                f" Label again with: {again(folder)} --{name} ..."
            )
    check(cfg)
    cfg = replace(cfg, out=str(folder))
    with Run(folder, journal=cfg.journal) as run:
        path = folder / "summary.json"
        last = read_json(path, Summary) if path.exists() else Summary(run=str(folder))
        summary = decide_and_export(run, cfg, read_judges(folder), replace(last, warnings=()), push_to)
        # Ignoring the quarantine is meant for this export: kept, it would be ignored for good, unsaid.
        prefer = replace(cfg.prefer, quarantine=before.prefer.quarantine)
        run.write_text("recipe.yaml", recipe_text(replace(cfg, prefer=prefer)))
    return summary


def decide_and_export(
    run: Run, cfg: LabelConfig, judges: Iterable[JudgeInfo], before: Summary, push_to: str = ""
) -> Summary:
    """From the verdicts of a run to its files. What was exported before is made again, or goes if the labels
    are refused: nobody shall train on a file that the run no longer means.
    """
    # The run's seed decides the draws of the pair rules too, unless they have their own.
    prefer = cfg.prefer if cfg.prefer.seed is not None else replace(cfg.prefer, seed=cfg.seed)
    counts, learnt = decide(run, judges, prefer, cfg.jury, cfg.labels)
    there = [path for path in sorted((run.path / "export").glob("*")) if path.name in FORMATS]
    refused = "" if cfg.force else learnt.refused
    exported = {}
    if refused:
        for path in there:
            shutil.rmtree(path)
    else:
        formats = dict.fromkeys((*cfg.export, *(path.name for path in there)))
        exported = {name: _export_as(name, run, cfg, counts) for name in formats}
        for name in cfg.export if push_to else ():
            push(run.path / "export" / name, push_to)
    summary = decided(before, counts, learnt, exported, refused)
    run.write_json("summary.json", summary)
    return summary


def _export_as(name: str, run: Run, cfg: LabelConfig, counts: Counts) -> dict[str, int]:
    """The preferences of the run in one format, with a card; rows by file, and those left out by reason."""
    folder = run.path / "export" / name
    left_out: Counter[str] = Counter()

    def drop(row: Dropped) -> None:
        left_out[row.reason] += 1

    held = read_quarantine(run.path) if cfg.prefer.quarantine == "honour" else Quarantine()
    rows = drop_quarantined(read_records(run.file("preferences"), Preference), held, drop)
    splits = export_rows(rows, folder, name, held_out=cfg.held_out, dropped=drop)
    text = card(
        counts,
        name=run.path.name,
        splits=splits,
        recipe=recipe_text(cfg),
        versions=versions(),
        left_out=left_out,
    )
    write_whole(folder / "README.md", text.encode())
    return splits | {f"left out: {reason}": n for reason, n in left_out.items()}
