"""What carries a request: a lean wire of our own for plain keep-alive HTTP, aiohttp for TLS and proxies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from msgspec import Struct

from ..errors import SettingError


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


def connect(url: str, headers: Mapping[str, str]) -> Transport:
    """The cheapest transport that can reach this address from here."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError(f"'{url}' is not a web address. Write it like http://localhost:8000/v1")
    proxy = _proxy(parts.scheme, parts.hostname)
    if parts.scheme == "http" and proxy is None:
        from .wire import Wire

        return Wire(url, headers)
    from .tls import Tls

    return Tls(url, headers, proxy)


def _proxy(scheme: str, host: str) -> str | None:
    """From the environment; but this machine itself is never reached through a proxy."""
    if host == "localhost" or host.startswith("127.") or host == "::1" or proxy_bypass(host):
        return None
    return getproxies().get(scheme)
