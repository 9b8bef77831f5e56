"""What the verbs print when they are done: a few lines for a person, or one JSON object for a machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import msgspec

from .progress import clock

if TYPE_CHECKING:
    from ..recipes.estimate import Estimate
    from ..selftest import Result

WIDTH = 12


def report(result: Any, as_json: bool, show: Callable[[], None]) -> None:
    if as_json:
        print(msgspec.json.encode(result).decode())
    else:
        show()


def print_summary(summary: Any, run: Path) -> None:
    """The outcome of `label`, `sample`, `export` and `show`."""
    for name, text in summary_lines(msgspec.to_builtins(summary), run):
        print(f"{name:<{WIDTH}} {text}")


def summary_lines(facts: dict[str, Any], run: Path) -> Iterator[tuple[str, str]]:
    """Name and text of each line; first of all, whether humans agree."""
    learnt = facts.get("learnt") or {}
    judged = facts.get("verdicts") or facts.get("exported")  # nobody judges a run that was only sampled
    if judged:
        yield from _agreement(facts, learnt)
    yield "run", str(facts["run"])
    rows = f"{facts.get('prompts', 0):,} prompts, {facts.get('completions', 0):,} completions"
    yield "rows", rows + (f", {facts['matchups']:,} matchups" if facts.get("matchups") else "")
    if judged:
        unread = counted(facts.get("unread", {}))
        forced = f"{facts['forced']:,} forced" if facts.get("forced") else ""
        more = "; ".join(filter(None, (f"unread: {unread}" if unread else "", forced)))
        yield "verdicts", f"{facts.get('verdicts', 0):,}" + (f", {more}" if more else "")
        flags = counted(facts.get("flags", {}))
        yield "labels", f"{facts.get('labels', 0):,}" + (f" ({flags})" if flags else "")
    if facts.get("dropped"):
        yield "dropped", counted(facts["dropped"])
    if facts.get("flip_rate"):
        yield "flips", f"{interval(facts['flip_rate'])} of matchups read in both orders"
    if facts.get("first_share"):
        yield "position", f"first {interval(facts['first_share'])} of decided verdicts"
    yield from _calibrations(learnt)
    yield from _engines(facts)
    yield "cost", _cost(facts)
    yield "time", clock(facts.get("seconds", 0))
    for name, files in facts.get("exported", {}).items():
        yield "exported", f"{name}: {counted(files)}"
    for warning in facts.get("warnings", ()):
        yield "warning", warning
    if facts.get("stopped"):
        yield "state", "stopped before the end of the input"
    if facts.get("unread"):
        yield "see", f"jurist show {quote(str(run))} --unread"
    if (facts.get("flip_rate") or {}).get("value"):
        yield "see", f"jurist show {quote(str(run))} --flips"


def _agreement(facts: dict[str, Any], learnt: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, kind in (("agreement", "human"), ("file_agreement", "the file's")):
        for judge, one in (facts.get(name) or {}).items():
            yield "agreement", f"{interval(one, 'accuracy')} with {kind} labels: {judge}"
    if not facts.get("agreement") and facts.get("labels"):
        yield "agreement", "unknown: there are no human labels (jurist spotcheck draws some to label)"
    weights = learnt.get("weights") or {}
    if weights.get("effective_judges") is not None:
        yield (
            "jury",
            f"{len(weights['jurors'])} judges, worth {weights['effective_judges']:.1f} independent ones",
        )


def _calibrations(learnt: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for one in (learnt.get("calibrations") or {}).values():
        if one.get("temperature", 1.0) != 1.0:
            fell = f"{one['loss_before']:.3f} to {one['loss_after']:.3f}"
            yield "calibrated", f"{one['judge']}: temperature {one['temperature']:.2f}, held-out loss {fell}"


def _engines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    calls = f"{facts.get('calls', 0):,} answered, {facts.get('calls_kept', 0):,} kept from before"
    lost = f", {facts['uncertain_calls']:,} without an answer" if facts.get("uncertain_calls") else ""
    yield "calls", calls + (f", {facts['retries']:,} retries" if facts.get("retries") else "") + lost
    for one in facts.get("engines", ()):
        if one.get("seconds"):
            half, most, nearly_all = one["seconds"]
            tries = f"; retried: {counted(one['retries'])}" if one.get("retries") else ""
            yield "latency", f"{one['name']}: {half:.2f} s, p90 {most:.2f} s, p99 {nearly_all:.2f} s{tries}"


def _cost(facts: dict[str, Any]) -> str:
    each = facts.get("usd_per_label")
    uncertain = facts.get("uncertain_usd")
    return (
        f"${facts.get('usd', 0):.4f}"
        + (f", ${each:.5f} per label" if each else "")
        + (f"; up to ${uncertain:.4f} more for calls without an answer" if uncertain else "")
    )


def counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in counts.items())


def interval(share: dict[str, Any], value: str = "value") -> str:
    return f"{share[value]:.1%} ({share['low']:.1%} to {share['high']:.1%}, n = {share['n']:,})"


def print_estimate(found: Estimate) -> None:
    print(f"{found.rows:,} rows, about {found.matchups:,} matchups (from a sample of {found.sampled:,} rows)")
    for one in found.engines:
        price = "no price known" if one.usd is None else f"${one.usd:,.2f}"
        kept = f", {one.kept:,} more are in the journal" if one.kept else ""
        tokens = f"{one.usage.tokens_in:,} tokens in, {one.usage.tokens_out:,} out"
        print(f"  {one.name}: {one.calls:,} calls{kept}; {tokens}; {price}")
    if found.usd is None:
        print("total: unknown. Give the price, in dollars per million tokens: --judge.engine.price.input 0.2")
    else:
        each = f", ${found.usd_per_matchup:.5f} per matchup" if found.usd_per_matchup is not None else ""
        print(f"total: about ${found.usd:,.2f}{each}")
    print("assumed: " + ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in found.assumed.items()))
    print("not counted: hidden thinking, retries, and questions asked once more for the label alone")


def print_selftest(result: Result) -> None:
    for check in result.checks:
        accuracy = "" if check.right is None else f", {check.right:.0%} right"
        lost = f", dropped: {counted(check.dropped)}" if check.dropped else ""
        mark = "ok  " if check.passed else "FAIL"
        print(f"{mark} {check.judge:<17} {check.rows} rows, {check.labels} labels{accuracy}{lost}")
        for problem in check.problems:
            print(f"     {problem}")
    passed, n = sum(check.passed for check in result.checks), len(result.checks)
    print(f"{passed} of {n} judges gave what they must, {result.calls:,} calls, {result.seconds:.1f} s")
