"""What the verbs print when they are done: a few lines for a person, or one JSON object for a machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .progress import clock

if TYPE_CHECKING:
    from ..recipes.estimate import Estimate
    from ..selftest import Result


def report(result: Any, as_json: bool, show: Callable[[], None]) -> None:
    if as_json:
        print(msgspec.json.encode(result).decode())
    else:
        show()


def print_summary(summary: Any, run: Path) -> None:
    """The outcome of `label`, `sample`, `export` and `show`."""
    facts: dict[str, Any] = msgspec.to_builtins(summary)
    for name, text in summary_lines(facts):
        print(f"{name:<12} {text}")
    if facts.get("stopped"):
        print(f"{'state':<12} stopped before its end: {facts['stopped']}")
    if facts.get("unread"):
        print(f"{'see':<12} jurist show {run} --unread")
    if (facts.get("flip_rate") or {}).get("value"):
        print(f"{'see':<12} jurist show {run} --flips")


def summary_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and text of each line."""
    lines = [("run", str(facts["run"]))]
    rows = f"{facts.get('prompts', 0):,} prompts, {facts.get('completions', 0):,} completions"
    lines.append(("rows", rows + (f", {facts['matchups']:,} matchups" if facts.get("matchups") else "")))
    if facts.get("verdicts") or facts.get("exported"):  # nobody judges a run that was only sampled
        unread = counted(facts.get("unread", {}))
        lines.append(
            ("verdicts", f"{facts.get('verdicts', 0):,}" + (f", unread: {unread}" if unread else ""))
        )
        lines.append(("labels", f"{facts.get('labels', 0):,}{_flagged(facts)}"))
    if facts.get("dropped"):
        lines.append(("dropped", counted(facts["dropped"])))
    if facts.get("flip_rate"):
        lines.append(("flips", f"{interval(facts['flip_rate'])} of matchups read in both orders"))
    if facts.get("first_share"):
        lines.append(("first seat", f"{interval(facts['first_share'])} of decided verdicts"))
    learnt = facts.get("learnt") or {}
    lines += _people_lines(learnt) + _jury_lines(learnt.get("weights") or {})
    if learnt.get("warning"):
        lines.append(("beware", learnt["warning"]))
    lines.append(
        ("calls", f"{facts.get('calls', 0):,} answered, {facts.get('calls_kept', 0):,} kept from before")
    )
    per_label = facts.get("usd_per_label")
    lines.append(
        ("cost", f"${facts.get('usd', 0):.4f}" + (f", ${per_label:.5f} a label" if per_label else ""))
    )
    lines.append(("time", clock(facts.get("seconds", 0))))
    for name, files in facts.get("exported", {}).items():
        lines.append(("exported", f"{name}: " + ", ".join(f"{file} {n:,}" for file, n in files.items())))
    return lines


def _people_lines(learnt: dict[str, Any]) -> list[tuple[str, str]]:
    """What people's labels did for the judges."""
    n, fitted = learnt.get("labels", 0), (learnt.get("calibrations") or {}).values()
    if not n:
        return []
    done = [
        f"{one['judge']} calibrated: error {one['ece_before']:.1%} before, {one['ece_after']:.1%} after"
        for one in fitted
    ]
    none = "no judge calibrated" + (": 30 labels are the least" if n < 30 else "")
    return [("people", "; ".join([f"{n:,} matchups labelled", *(done or [none])]))]


def _jury_lines(weights: dict[str, Any]) -> list[tuple[str, str]]:
    """How a jury does on people's labels, and what to beware of."""
    lines = []
    if weights.get("n_gold") and weights.get("accuracy") is not None:
        said = f"agrees with {weights['accuracy']:.1%} of {weights['n_gold']:,} labels from people"
        if weights.get("effective") is not None:
            said += f"; {len(weights['jurors'])} judges, worth {weights['effective']:.1f} independent ones"
        lines.append(("jury", said))
    if weights.get("warning"):
        lines.append(("beware", weights["warning"]))
    return lines


def _flagged(facts: dict[str, Any]) -> str:
    flags = counted(facts.get("flags", {}))
    return f" ({flags})" if flags else ""


def counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items())


def interval(share: dict[str, Any]) -> str:
    return f"{share['value']:.1%} ({share['low']:.1%} to {share['high']:.1%}, n = {share['n']:,})"


def print_estimate(found: Estimate) -> None:
    for line in found.lines():
        print(line)


def print_selftest(result: Result) -> None:
    for check in result.checks:
        right = "" if check.accuracy is None else f", {check.accuracy:.0%} accuracy"
        lost = f", dropped: {counted(check.dropped)}" if check.dropped else ""
        mark = "ok  " if check.passed else "FAIL"
        print(f"{mark} {check.judge:<17} {check.rows} rows, {check.labels} labels{right}{lost}")
        for problem in check.problems:
            print(f"     {problem}")
    passed, n = sum(check.passed for check in result.checks), len(result.checks)
    print(f"{passed} of {n} judges gave what they must, {result.calls:,} calls, {result.seconds:.1f} s")
