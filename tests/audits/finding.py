"""Measures as a reader sees them."""

from collections.abc import Iterable

from jurist.audits.finding import Finding, Measure, find
from jurist.audits.findings import KINDS


def findings(measures: Iterable[Measure]) -> list[Finding]:
    return find(measures, KINDS)
