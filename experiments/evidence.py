"""How a claim is written down: one JSON file each, so that every number in the docs can be made again."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import msgspec

from jurist.records import Prompt

FOLDER = Path(__file__).resolve().parent.parent / "evidence"
REAL_DATA = Path(os.environ.get("JURIST_REAL_DATA") or FOLDER.parent.parent / "shared" / "data")
_STARTED = time.perf_counter()
R = TypeVar("R")


def record(
    claim: str,
    *,
    value: float,
    bar: str,
    holds: bool,
    low: float | None = None,
    high: float | None = None,
    null: str | Mapping[str, object] = "",
    packages: tuple[str, ...] = ("jurist",),
    **details: object,
) -> None:
    """Write `evidence/<claim>.json`; a claim that fell short is written too, with `holds` false.

    `null` is what the value has to beat, with what that came to: something that learnt nothing, or the same
    without what is said to help.
    """
    FOLDER.mkdir(exist_ok=True)
    row = {
        "claim": claim,
        "value": value,
        "low": low,
        "high": high,
        "null": null,
        "bar": bar,
        "holds": bool(holds),
        "command": f"python experiments/{Path(sys.argv[0]).name}",
        "seconds": round(time.perf_counter() - _STARTED, 1),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        **details,
    }
    (FOLDER / f"{claim}.json").write_text(json.dumps(row, indent=1, ensure_ascii=False) + "\n")
    print(f"{'holds' if holds else 'FALLS SHORT'}: {claim} = {value} (bar: {bar})")
    print(f"null: {null}")


def processor() -> str:
    """Its model, as Linux names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def over_seeds(one_seed: Callable[[int, Path], R], seeds: Iterable[int]) -> list[R]:
    """What each seed comes to, on one thread and in a folder of its own; printed as soon as it is known."""
    import torch

    torch.set_num_threads(1)
    found = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            found.append(one_seed(seed, Path(folder)))
        print(found[-1], flush=True)
    return found


def mean_of(values: Sequence[float], places: int = 4) -> tuple[float, float, float]:
    """Mean and 95 % interval of one value a seed, by Student's t."""
    from scipy.stats import t as student

    mean, n = statistics.fmean(values), len(values)
    width = student.ppf(0.975, n - 1) * statistics.stdev(values) / math.sqrt(n)
    return round(mean, places), round(mean - width, places), round(mean + width, places)


def write_prompts(file: Path, rows: Iterable[Prompt]) -> str:
    """A file of prompts, as a user has it."""
    file.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in rows))
    return str(file)
