"""Claims are recorded here, one JSON file each. Importing this puts `tests/`, `tests/models/` and `bench/` on
the path.
"""

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
from typing import Any, TypeVar

import msgspec

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "evidence"
sys.path += [str(ROOT / folder) for folder in ("tests", "tests/models", "bench")]
PACKAGES = ("jurist", "msgspec", "numpy", "aiohttp", "uvloop", "torch", "transformers", "accelerate", "peft")
PACKAGES += ("trl", "scipy", "scikit-learn", "xllamacpp")  # versions of those that a script has imported
_STARTED, _claim = time.perf_counter(), ""
R = TypeVar("R")
Interval = tuple[float, float, float]  # a mean, and its 95% interval


def record(
    claim: str,
    value: float | Sequence[float],
    *,
    bar: str,
    holds: bool,
    null: str | Mapping[str, object],
    more: Mapping[str, object] = {},
    **details: object,
) -> None:
    """Write `evidence/<claim>.json`, also where the claim falls short. `value` may be an interval; `null` is
    what has to be beaten, and what that came to.
    """
    value, low, high = (value, None, None) if isinstance(value, (int, float)) else value
    row = {"claim": claim, "value": value, "low": low, "high": high, "null": null, "bar": bar}
    row |= {"holds": bool(holds), "command": f"python experiments/{Path(sys.argv[0]).name}{_claim}"}
    imported = [name for name in PACKAGES if name.replace("scikit-learn", "sklearn") in sys.modules]
    versions = {"python": platform.python_version(), **{name: version(name) for name in imported}}
    row |= {"seconds": round(time.perf_counter() - _STARTED, 1), "versions": versions}
    row |= {"machine": {"processor": processor(), "cores": os.cpu_count()}, **details, **more}
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{claim}.json").write_text(json.dumps(row, indent=1, ensure_ascii=False) + "\n")
    print(f"{'holds' if holds else 'FALLS SHORT'}: {claim} = {value} (bar: {bar}; null: {null})")


def run_claims(*claims: Callable[[], None]) -> None:
    """Those named on the command line, or all; the command of each is recorded with it."""
    global _claim
    for one in claims:
        if len(sys.argv) == 1 or one.__name__ in sys.argv:
            _claim = f" {one.__name__}"
            one()


def processor() -> str:
    info = Path("/proc/cpuinfo")  # on Linux, with the model's name
    named = info.read_text().partition("model name")[2] if info.exists() else ""
    return named.partition("\n")[0].strip("\t: ") or platform.processor() or platform.machine()


def over_seeds(one_seed: Callable[[int, Path], R], seeds: Iterable[int]) -> list[R]:
    """The result of each seed, on one thread and in a folder of its own; printed at once."""
    import torch

    torch.set_num_threads(1)
    found = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            found.append(one_seed(seed, Path(folder)))
        print(found[-1], flush=True)
    return found


def interval(values: Sequence[float], places: int = 4, errors: float = 1.96) -> Interval:
    """The mean of many values, with its interval."""
    mean, half = statistics.fmean(values), errors * statistics.stdev(values) / math.sqrt(len(values))
    return round(mean, places), round(mean - half, places), round(mean + half, places)


def mean_of(values: Sequence[float], places: int = 4) -> Interval:
    """The same for one value a seed, by Student's t."""
    from scipy.stats import t as student

    return interval(values, places, float(student.ppf(0.975, len(values) - 1)))


def share(right: Sequence[bool] | tuple[int, int]) -> Interval:
    """With Wilson's interval; from a list, or from hits and number."""
    from jurist.stats.intervals import wilson

    hits, n = right if isinstance(right, tuple) else (sum(right), len(right))
    low, high = wilson(hits, n)
    return round(hits / n, 4), round(low, 4), round(high, 4)


def differences(ones: Iterable[float], others: Iterable[float]) -> list[float]:
    return [one - other for one, other in zip(ones, others, strict=True)]


def write_rows(file: Path, rows: Iterable[Any]) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as lines:
        lines.writelines(msgspec.json.encode(row) + b"\n" for row in rows)
    return str(file)
