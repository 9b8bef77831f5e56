"""What every transport takes and gives, and how it fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct


class Answered(Struct, frozen=True):
    """A whole HTTP response."""

    status: int
    body: bytes
    seconds: float = 0.0
    """From the request being written to the reply being whole; making the connection is not in it."""
    headers: Mapping[str, str] = {}
    """Names in lower case. A wire may leave them out of a 200, where nobody looks."""


class TransportError(Exception):
    """No whole response came."""


class Unreached(TransportError):
    """No connection could be made."""


class Broken(TransportError):
    """The connection ended before the reply did, or carried something that is not HTTP."""


class Late(TransportError):
    """The time for one try is over."""


class Transport(Protocol):
    """Carries bodies to one address; opened for the event loop that runs."""

    async def post(self, data: bytes, within: float) -> Answered: ...

    async def close(self) -> None: ...
