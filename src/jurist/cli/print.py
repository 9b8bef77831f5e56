"""What verbs print when they are done: `lines()` of the result, or what is made of a summary here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from shlex import quote
from typing import Any

import msgspec

from ..recipes.lines import named
from ..recipes.summary import Share
from .progress import clock

Row = tuple[str, str]


def report(as_json: bool, result: Any, lines: Iterable[str] | None = None) -> int:
    """The exit code of a verb that did what it was told."""
    print(msgspec.json.encode(result).decode() if as_json else "\n".join(lines or result.lines()))
    return 0


def summary_lines(result: Any) -> Iterator[str]:
    """The outcome of `label`, `sample`, `export` and `show`."""
    facts: dict[str, Any] = msgspec.to_builtins(result)
    return named(summary_rows(facts), 13)


def summary_rows(facts: dict[str, Any]) -> Iterator[Row]:
    """First of all, whether humans agree."""
    learnt, run = facts.get("learnt") or {}, quote(facts["run"])
    judged = facts.get("verdicts") or facts.get("exported")  # a run that was only sampled has neither
    yield from _agreement_rows(facts, learnt) if judged else ()
    yield "run", facts["run"]
    nouns = ("prompts", "completions", "matchups")
    yield "rows", ", ".join(f"{facts[noun]:,} {noun}" for noun in nouns if facts.get(noun))
    if judged:
        unread, forced = counted(facts.get("unread")), facts.get("forced")
        more = (f"; unread: {unread}" if unread else "") + (f"; {forced:,} forced" if forced else "")
        flags = counted(facts.get("flags"))
        yield "verdicts", f"{facts.get('verdicts', 0):,}{more}"
        yield "labels", f"{facts.get('labels', 0):,}" + (f" ({flags})" if flags else "")
    yield "dropped", counted(facts.get("dropped"))
    for name, key, of in (
        ("flips", "flip_rate", "matchups read in both orders"),
        ("position", "first_share", "decided verdicts are for the first"),
    ):
        yield name, f"{Share(**facts[key])} of {of}" if facts.get(key) else ""
    for one in (learnt.get("calibrations") or {}).values():
        if one.get("temperature", 1.0) != 1.0:
            fell = f"held-out loss {one['loss_before']:.3f} to {one['loss_after']:.3f}"
            yield "calibrated", f"{one['judge']}: temperature {one['temperature']:.2f}, {fell}"
    yield from _cost_rows(facts)
    yield from (("exported", f"{name}: {counted(n)}") for name, n in (facts.get("exported") or {}).items())
    yield from (("warning", warning) for warning in facts.get("warnings", ()))
    yield "state", f"stopped before the end of the input: {facts['stopped']}" if facts.get("stopped") else ""
    yield "see", f"jurist show {run} --unread" if facts.get("unread") else ""
    yield "see", f"jurist show {run} --flips" if (facts.get("flip_rate") or {}).get("value") else ""


def _agreement_rows(facts: dict[str, Any], learnt: dict[str, Any]) -> Iterator[Row]:
    for name, kind in (("agreement", "human"), ("file_agreement", "the file's")):
        for judge, one in (facts.get(name) or {}).items():
            shown = Share(one["accuracy"], one["low"], one["high"], one["n"])
            yield "agreement", f"{shown} with {kind} labels: {judge}"
    if not facts.get("agreement") and facts.get("labels"):
        yield "agreement", f"unknown: no human labels. Get some: jurist spotcheck {quote(facts['run'])}"
    weights = learnt.get("weights") or {}
    if weights.get("effective_judges"):
        worth = f"{weights['effective_judges']:.1f} independent ones"
        yield "jury", f"{len(weights['jurors'])} judges, worth {worth}"


def _cost_rows(facts: dict[str, Any]) -> Iterator[Row]:
    lost, retries = facts.get("uncertain_calls"), facts.get("retries")
    calls = f"{facts.get('calls', 0):,} answered, {facts.get('calls_kept', 0):,} from the journal"
    calls += (f", {retries:,} retries" if retries else "") + (f", {lost:,} without an answer" if lost else "")
    yield "calls", calls
    for one in facts.get("engines", ()):
        if one.get("seconds"):
            half, nine_tenths, nearly_all = one["seconds"]
            tries = f"; retried: {counted(one['retries'])}" if one.get("retries") else ""
            latency = f"{half:.2f} s, p90 {nine_tenths:.2f} s, p99 {nearly_all:.2f} s"
            yield "latency", f"{one['name']}: {latency}{tries}"
    each, uncertain = facts.get("usd_per_label"), facts.get("uncertain_usd")
    cost = f"${facts.get('usd', 0):.4f}" + (f", ${each:.5f} per label" if each else "")
    yield "cost", cost + (f"; up to ${uncertain:.4f} more for calls without an answer" if uncertain else "")
    yield "time", clock(facts.get("seconds", 0))


def counted(counts: dict[str, int] | None) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in (counts or {}).items())
