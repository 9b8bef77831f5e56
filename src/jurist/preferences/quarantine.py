"""Domains whose labels are not to be trained on, kept in the run folder as `quarantine.json`.

The audit writes it, from people's labels; exports and trainers leave those rows out by name until people
have labelled more of the domain, or `--prefer.quarantine ignore` says that they are wanted all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from ..records import Dropped, Preference
from ..run import read_json

FILE = "quarantine.json"


class Quarantine(Struct, frozen=True):
    domains: tuple[str, ...] = ()
    wanted: float = 0.0
    """Agreement with people that these could not be shown to reach."""
    human: str = ""
    """The labels that showed it."""


def read_quarantine(folder: Path) -> Quarantine:
    path = folder / FILE
    return read_json(path, Quarantine) if path.exists() else Quarantine()


def write_quarantine(folder: Path, held: Quarantine) -> None:
    part = folder / f".{FILE}.part"
    part.write_bytes(msgspec.json.format(msgspec.json.encode(held), indent=1) + b"\n")
    part.replace(folder / FILE)


def at_large(
    rows: Iterable[Preference], held: Quarantine, dropped: Callable[[Dropped], None]
) -> Iterator[Preference]:
    """The rows whose domain is not held back."""
    domains = frozenset(held.domains)
    for row in rows:
        if row.prompt.domain in domains:
            dropped(Dropped(row.id, "export", f"quarantined: {row.prompt.domain or 'no domain'}"))
        else:
            yield row
