"""What verbs print when they are done: `lines()` of the result, or what is made of a summary here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from shlex import quote
from typing import Any

import msgspec

from ..recipes.lines import named
from ..recipes.summary import Share
from .progress import clock, text_of

Row = tuple[str, str]


def report(as_json: bool, result: Any, lines: Iterable[str] | None = None) -> int:
    """The exit code of a verb that did what it was told."""
    print(msgspec.json.encode(result).decode() if as_json else "\n".join(lines or result.lines()))
    return 0


def summary_lines(result: Any, state: bool = False) -> Iterator[str]:
    """A run's outcome; with `state` also how it ended."""
    facts: dict[str, Any] = msgspec.to_builtins(result)
    run = quote(facts["run"])
    rows = list(summary_rows(facts))
    if state and facts.get("stopped"):
        rows.insert(1, ("state", f"{facts['state']}: {facts['stopped']}"))
    rows.append(("see", f"jurist show {run} --unread" if facts.get("unread") else ""))
    rows.append(("see", f"jurist show {run} --flips" if (facts.get("flip_rate") or {}).get("value") else ""))
    return named(rows, 13)


def summary_rows(facts: dict[str, Any]) -> Iterator[Row]:
    learnt = facts.get("learnt") or {}
    weights = learnt.get("weights") or {}
    judged = facts.get("verdicts") or facts.get("exported")  # a run that was only sampled has neither
    yield "run", facts["run"]
    yield from _agreement_rows(learnt) if judged else ()
    warnings = [*facts.get("warnings", ()), *learnt.get("warnings", ()), weights.get("warning", "")]
    yield from (("warning", one) for one in dict.fromkeys(warnings))
    nouns = ("prompts", "completions", "matchups")
    yield "rows", ", ".join(f"{facts[noun]:,} {noun}" for noun in nouns if facts.get(noun))
    if judged:
        unread, flags = counted(facts.get("unread")), counted(facts.get("flags"))
        yield "verdicts", f"{facts.get('verdicts', 0):,}" + (f", unread: {unread}" if unread else "")
        yield "labels", f"{facts.get('labels', 0):,}" + (f" ({flags})" if flags else "")
    yield "dropped", counted(facts.get("dropped"))
    for name, key, of in (
        ("flips", "flip_rate", "matchups read in both orders"),
        ("position", "first_share", "decided verdicts, for the first position"),
    ):
        yield name, f"{Share(**facts[key])} of {of}" if facts.get(key) else ""
    for judge, one in (learnt.get("calibrations") or {}).items():
        if one.get("temperature", 1.0) != 1.0:
            yield "calibration", f"{judge}: log-odds divided by {one['temperature']:.2f}"
    if weights.get("effective_judges"):
        worth = f"{weights['effective_judges']:.1f} independent ones"
        yield "jury", f"{len(weights['jurors'])} judges, worth {worth}"
    yield "calls", f"{facts.get('calls', 0):,} answered, {facts.get('calls_kept', 0):,} from the journal"
    each = facts.get("usd_per_label")
    yield "cost", f"${facts.get('usd', 0):.4f}" + (f", ${each:.5f} per label" if each else "")
    yield "time", clock(facts.get("seconds", 0))
    yield from (("exported", f"{name}: {counted(n)}") for name, n in (facts.get("exported") or {}).items())


def _agreement_rows(learnt: dict[str, Any]) -> Iterator[Row]:
    """The first numbers of all: how often each judge agrees with human labels, and with other labels."""
    found = learnt.get("agreement") or {}
    for kind, judges in found.items():
        for judge, one in judges.items():
            shown = Share(one["accuracy"], one["low"], one["high"], one["n"])
            yield "agreement", f"{judge}: {shown} with {kind} labels"
    if not found.get("human") and (found or not learnt.get("labels")):
        yield "agreement", "not measured, there are no human labels. Give some with: --labels FILE"


def counted(counts: dict[str, int] | None) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in (counts or {}).items())


def training_lines(facts: dict[str, Any], by_reward: bool, then: str) -> Iterator[str]:
    """What a training came to, from `training.json`."""
    steps = f"{facts['steps']:,} step{'s' * (facts['steps'] != 1)}"
    equal, held_out = facts.get("compare_nothing", 0), facts["held_out"]
    rows = (
        ("trained", f"{facts['rows']:,} {'prompts' if by_reward else 'rows'} in {steps}"),
        ("dropped", counted(facts["dropped"])),
        ("equal", f"{equal:,} rows: p is 0.5, or both answers are the same" if equal else ""),
        ("last step", text_of(facts["metrics"])),
        ("held out", f"{text_of(held_out)} ({held_out.get('rows', 0):,} rows)" if held_out else ""),
        ("model", facts["model"]),
        ("next", then),
    )
    return named(rows, 11)
