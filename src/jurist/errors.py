"""Everything that can go wrong, drawn once.

    JuristError
    ├── SettingError, DataError, RunError, MissingExtra     something given cannot be used
    ├── BudgetSpent, Interrupted, EngineDown                the run ends early and can be resumed
    └── CallFailed, CallRefused                             one call gave nothing; the run goes on

Each message says what happened, the value we got, and ends in the next thing to type.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

LISTED: Final = 40
"""Names an error lists in full; of more, those that stand for a group of others."""


class JuristError(Exception):
    """The root: the command line prints these in one line and exits with 2."""


class SettingError(JuristError):
    """A key, a value or a name we do not know."""


class DataError(JuristError):
    """A file or a row that is not what it should be."""


class RunError(JuristError):
    """A run folder or journal that cannot be used."""


class MissingExtra(JuristError):
    """A part of Jurist that is not installed."""

    def __init__(self, purpose: str, package: str, extra: str) -> None:
        install = f"Install it with: pip install 'jurist[{extra}]'"
        super().__init__(f"{purpose} needs {package}, which is not installed. {install}")


class BudgetSpent(JuristError):
    """The budget is reached; the run can be resumed."""


class Interrupted(JuristError):
    """Ctrl-C or SIGTERM; the run can be resumed."""


class CallFailed(JuristError):
    """One call gave nothing, however often it was tried."""


class CallRefused(JuristError):
    """One call was turned down for what it asks; trying again does not help."""


class EngineDown(JuristError):
    """Nothing gets through any more; the run can be resumed."""


def nearest(kind: str, got: str, known: Iterable[str]) -> str:
    """`no judge called 'shortr'; there is jury, pairwise, shorter. Did you mean 'shorter'?`"""
    names = sorted(known)
    close = get_close_matches(got, names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    shown = names if len(names) <= LISTED else [name for name in names if "." not in name]
    return f"no {kind} called '{got}'; there is {', '.join(shown)}.{hint}"
