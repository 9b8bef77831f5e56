"""Run every known-answer judge, and say which promises held."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..config import settings_from
from ..errors import JuristError
from ..recipes.label import label
from ..recipes.settings import LabelConfig
from ..serve import serving
from .judges import KNOWN, Known
from .outcome import Outcome, mismatches, read_outcome
from .rows import make_rows, write_rows


class Check(Struct, frozen=True):
    """One judge's promises."""

    judge: str
    passed: bool
    rows: int
    labels: int = 0
    dropped: dict[str, int] = {}
    right: float | None = None
    """Share of its labels that are truly right."""
    problems: tuple[str, ...] = ()


class Result(Struct, frozen=True):
    passed: bool
    seconds: float
    calls: int
    """Requests that the server counted."""
    checks: tuple[Check, ...]

    def lines(self) -> Iterator[str]:
        for one in self.checks:
            correct = "" if one.right is None else f", {one.right:.0%} correct"
            dropped = ", ".join(f"{name} {n:,}" for name, n in one.dropped.items())
            more = f"{one.labels} labels{correct}" + (f", dropped: {dropped}" if dropped else "")
            yield f"{'ok  ' if one.passed else 'FAIL'} {one.judge:<17} {one.rows} rows, {more}"
            yield from (f"     {problem}" for problem in one.problems)
        passed, n = sum(one.passed for one in self.checks), len(self.checks)
        yield f"{passed} of {n} judges gave what they must, {self.calls:,} calls, {self.seconds:.1f} s"


def run_selftest(rows: int = 60, keep: Path | None = None) -> Result:
    """All known judges, `rows` pairs each, over a loopback HTTP server."""
    started = time.perf_counter()
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jurist-selftest-")))
        folder.mkdir(parents=True, exist_ok=True)
        server = stack.enter_context(serving({known.name: known.answers for known in KNOWN}))
        checks = tuple(check(known, rows, folder / known.name, server.url) for known in KNOWN)
        calls = server.calls
    passed = all(one.passed for one in checks)
    return Result(passed, round(time.perf_counter() - started, 2), calls, checks)


def check(known: Known, n: int, folder: Path, url: str) -> Check:
    """One judge, from a pairs file to the exported labels."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = make_rows(n, injected=known.injected)
    write_rows(rows, folder / "pairs.jsonl")
    settings: dict[str, Any] = {
        "pairs": str(folder / "pairs.jsonl"),
        "out": str(folder / "run"),
        "judge": {"engine": {"engine": f"vllm:{known.name}@{url}"}, **known.settings},
    }
    try:
        label(settings_from(LabelConfig, settings))
        seen = read_outcome(folder / "run", rows)
    except JuristError as error:
        return Check(known.name, False, n, problems=(str(error),))
    problems = (*mismatches(seen), *broken_promises(known, seen))
    return Check(known.name, not problems, n, len(seen.labels), dict(seen.dropped), _right(seen), problems)


def broken_promises(known: Known, seen: Outcome) -> list[str]:
    found = [(getattr(expects, "__name__", ""), expects(seen)) for expects in known.expects]
    return [f"{name.replace('_', ' ')}: {said}" for name, said in found if said]


def _right(seen: Outcome) -> float | None:
    if not seen.labels:
        return None
    return sum(label.chosen == label.row.better for label in seen.labels) / len(seen.labels)
