"""HTTP/1.1 over plain keep-alive connections, and nothing else: a quarter of aiohttp's processor time.

No TLS, no proxies, no redirects, no compression: `tls` has those. Time limits cost no timer a request: one
sweep looks at all open requests a few times a second, so a try may end that much after its time.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import httptools

from .transport import Answered, Broken, Late, Unreached

SWEEP = 0.25
MAX_IDLE = 60.0
MAY_BE_STALE = 0.5
"""After this many idle seconds a server may have closed its end just as we write: then we try once more."""
CONNECT_WITHIN = 10.0


class Wire:
    """Connections to one address. The last one used goes first, so that spare ones grow old and go."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = {"Host": parts.netloc.rpartition("@")[2], "Content-Type": "application/json", **headers}
        head = f"POST {target} HTTP/1.1\r\n" + "".join(f"{name}: {lines[name]}\r\n" for name in lines)
        self._head = head.encode("latin-1") + b"Content-Length: "
        self._loop = asyncio.get_running_loop()
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self.opened = 0
        """Connections made so far."""

    async def post(self, data: bytes, within: float) -> Answered:
        connection = self._idle.pop() if self._idle else await self._open(within)
        rested = self._loop.time() - connection.since > MAY_BE_STALE
        try:
            return await self._exchange(connection, data, within)
        except Broken:
            if connection.answered == 0 or connection.began or not rested:
                raise
        return await self._exchange(await self._open(within), data, within)

    async def _exchange(self, connection: _Connection, body: bytes, within: float) -> Answered:
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP, self._sweep)
        waiting = connection.send(b"%b%d\r\n\r\n%b" % (self._head, len(body), body), within)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.cancelled():  # else the reply is in, and the connection somebody else's by now
                connection.end(Broken("given up by the caller"))
            raise

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in [*self._idle, *self._busy]:
            connection.end(Broken("the engine was closed"))
        self._idle.clear()
        await asyncio.sleep(0)

    async def _open(self, within: float) -> _Connection:
        try:
            async with asyncio.timeout(min(within, CONNECT_WITHIN)):
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self._loop, self._idle, self._busy), self._host, self._port
                )
        except TimeoutError:
            raise Unreached(f"{self._host}:{self._port} does not take the connection") from None
        except OSError as why:
            raise Unreached(_unreached(why, self._host)) from None
        self.opened += 1
        return connection

    def _sweep(self) -> None:
        now = self._loop.time()
        late = [connection for connection in self._busy if connection.deadline <= now]
        for connection in late:
            connection.end(Late(f"no reply within {connection.allowed:g} s"))
        for connection in [one for one in self._idle if now - one.since > MAX_IDLE]:
            connection.end(Broken("idle"))
        self._sweeper = self._loop.call_later(SWEEP, self._sweep) if self._busy or self._idle else None


def _unreached(why: OSError, host: str) -> str:
    """The event loops word it differently, and at length."""
    if isinstance(why, socket.gaierror):
        return f"no host called '{host}'"
    return "connection refused" if isinstance(why, ConnectionRefusedError) else str(why)


class _Connection(asyncio.Protocol):
    """One connection, with at most one request on it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, idle: list[_Connection], busy: set[_Connection]
    ) -> None:
        self._loop = loop
        self._pool, self._busy = idle, busy
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answered] | None = None
        self._status = 0
        self._sized = False
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self.answered = 0
        self.began = False
        """Some of the reply has arrived."""
        self.since = loop.time()
        self.deadline = self.allowed = self._sent = 0.0

    def send(self, data: bytes, within: float) -> asyncio.Future[Answered]:
        waiting = self._waiting = self._loop.create_future()
        self._busy.add(self)
        self.began, self.allowed = False, within
        self._sent = self._loop.time()
        self.deadline = self._sent + within
        if self._transport is None:
            self._fail(Broken("the connection is closed"))
        else:
            self._transport.write(data)
        return waiting

    def end(self, why: Exception) -> None:
        """Close it now; whoever waits on it is told why."""
        self._fail(why)
        if self in self._pool:
            self._pool.remove(self)
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _fail(self, why: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(why)
        self._waiting = None
        self._busy.discard(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own kind is not a subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self in self._pool:
            self._pool.remove(self)
        if self.began and self._waiting is not None and self._status >= 200 and not self._sized:
            self._finish()  # a reply without a length ends where its connection does
        self._fail(Broken(f"the connection ended {'inside' if self.began else 'before'} the reply"))

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:  # e.g. a 408 for having been idle too long
            self.end(Broken("a reply to nothing"))
            return
        self.began = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as why:
            self.end(Broken(f"not HTTP: {why}"))

    def on_message_begin(self) -> None:
        self._status, self._sized, self._headers, self._body = 0, False, {}, []

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"content-length" or lower == b"transfer-encoding":
            self._sized = True
        if self._status == 0:
            self._status = self._parser.get_status_code()
        if self._status != 200:
            self._headers[lower.decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._status < 200:  # 1xx only announce the reply
            return
        if self._waiting is None:
            self.end(Broken("a second reply"))
        else:
            keep = self._parser.should_keep_alive()
            self._finish()
            self.since = self._loop.time()
            self.answered += 1
            if keep and self._transport is not None:
                self._pool.append(self)
            elif self._transport is not None:
                self._transport.close()

    def _finish(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._waiting is not None and not self._waiting.done():
            seconds = self._loop.time() - self._sent
            self._waiting.set_result(Answered(self._status, body, seconds, self._headers))
        self._waiting = None
        self._busy.discard(self)
