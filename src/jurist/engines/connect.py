"""What carries a request: a lean wire of our own for plain keep-alive HTTP, aiohttp for TLS and proxies."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import SettingError
from .transport import Transport
from .wire import Wire


def connect(url: str, headers: Mapping[str, str]) -> Transport:
    """The cheapest transport that can reach this address from here."""
    parts = checked(url)
    assert parts.hostname is not None
    proxy = _proxy(parts.scheme, parts.hostname)
    if parts.scheme == "http" and proxy is None:
        return Wire(url, headers)
    # aiohttp takes 0.3 s to load, and plain HTTP does without it.
    from .tls import Tls

    return Tls(url, headers, proxy)


def checked(url: str) -> SplitResult:
    """The parts of a web address that can be reached at all."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, or too large a one
        usable = False
    if not usable:
        raise SettingError(f"'{url}' is not a web address. Write it like http://localhost:8000/v1")
    return parts


def _proxy(scheme: str, host: str) -> str | None:
    """From the environment; but this machine itself is never reached through a proxy."""
    if host == "localhost" or host.startswith("127.") or host == "::1" or proxy_bypass(host):
        return None
    return getproxies().get(scheme)
