"""What `--fail-on` names: the conditions under which a pipeline must not go on.

--fail-on alarm                         any finding that is an alarm
--fail-on warning                       any that is an alarm or a warning
--fail-on position                      the same, among the findings of that name or of that audit
--fail-on 'position.flip_rate>0.2'      any of that name with a value above; or <, >= and <=
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from operator import ge, gt, le, lt

from ..audits.finding import Finding
from ..audits.findings import KINDS, SECTIONS
from ..errors import SettingError, nearest

_LIMIT = re.compile(r"([\w.]+)\s*([<>]=?)\s*(-?[\d.]+(?:e-?\d+)?)\s*(%?)")
EVENTS = ("reading.forced", "reading.retries", "reading.uncertain", "reading.human_file")
"""Findings that are only there where something happened."""
_COMPARED = {">": gt, ">=": ge, "<": lt, "<=": le}
_BAD = {"alarm": ("alarm",), "warning": ("alarm", "warning")}


def reasons_to_fail(findings: Sequence[Finding], conditions: Iterable[str]) -> list[str]:
    """A sentence for each condition that is met; what was to be guarded and was not measured meets it too."""
    return [reason for condition in conditions for reason in _met(findings, condition)]


def _met(findings: Sequence[Finding], condition: str) -> list[str]:
    if grades := _BAD.get(condition):
        if all(one.grade == "silent" for one in findings):
            return [f"{condition}: nothing could be measured"]
        return [f"{condition}: {_called(one)}" for one in findings if one.grade in grades]
    limit = _LIMIT.fullmatch(condition.strip())
    name = limit[1] if limit else condition.strip()
    among = [one for one in findings if one.name == name or one.name.partition(".")[0] == name]
    if not among and name not in {*SECTIONS, *KINDS}:
        raise SettingError(nearest("finding", name, {*KINDS, *SECTIONS, *_BAD}))
    if all(one.grade == "silent" for one in among) and name not in EVENTS:
        return [f"{condition}: not measured. {among[0].says if among else ''}".strip()]
    if limit is None:
        return [f"{condition}: {_called(one)}" for one in among if one.grade in _BAD["warning"]]
    from ..audits.report.formatting import figures

    bound, beyond = float(limit[3]) / (100 if limit[4] else 1), _COMPARED[limit[2]]
    return [
        f"{condition}: {_called(one)} is {figures(one)}"
        for one in among
        if one.value is not None and beyond(one.value, bound)
    ]


def _called(one: Finding) -> str:
    return f"{one.name} of {one.about}" if one.about else one.name
