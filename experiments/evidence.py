"""How a claim is written down: one JSON file each, so that every number in the docs can be made again."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "evidence"
REAL_DATA = Path(os.environ.get("JURIST_REAL_DATA") or FOLDER.parent.parent / "shared" / "data")
_STARTED = time.perf_counter()


def record(
    claim: str,
    *,
    value: float,
    bar: str,
    holds: bool,
    low: float | None = None,
    high: float | None = None,
    packages: tuple[str, ...] = ("jurist",),
    **details: object,
) -> None:
    """Write `evidence/<claim>.json`; a claim that fell short is written too, with `holds` false."""
    FOLDER.mkdir(exist_ok=True)
    row = {
        "claim": claim,
        "value": value,
        "low": low,
        "high": high,
        "bar": bar,
        "holds": bool(holds),
        "command": f"python experiments/{Path(sys.argv[0]).name}",
        "seconds": round(time.perf_counter() - _STARTED, 1),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        **details,
    }
    (FOLDER / f"{claim}.json").write_text(json.dumps(row, indent=1, ensure_ascii=False) + "\n")
    print(f"{'holds' if holds else 'FALLS SHORT'}: {claim} = {value} (bar: {bar})")
