"""The HTTP/1.1 a server needs and no more: keep-alive connections, their requests answered in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

STATUS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found"} | {
    429: b"Too Many Requests",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}


def http(status: int, body: bytes, retry_after: float = 0.0) -> bytes:
    after = b"Retry-After: %g\r\n" % retry_after if retry_after else b""
    return b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s" % (
        status,
        STATUS[status],
        after,
        len(body),
        body,
    )


class Slot:
    """The place of one reply in its connection's order, so that pipelined requests are answered in turn."""

    __slots__ = ("connection", "data", "then_close")

    def __init__(self, connection: Connection, then_close: bool) -> None:
        self.connection = connection
        self.data: bytes | None = None
        self.then_close = then_close

    def give(self, data: bytes) -> None:
        self.data = data
        self.connection.flush()


Take = Callable[[Slot, bytes, bytes, bytes], None]
"""Answers a request (method, path, body) into its slot, now or later."""


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, take: Take, open_: set[Connection]) -> None:
        self._take = take
        self._open = open_
        self._parser = httptools.HttpRequestParser(self)
        self._slots: deque[Slot] = deque()
        self._body: list[bytes] = []
        self._path = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own kind is not a subclass
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.abort()

    def on_message_begin(self) -> None:
        self._body = []

    def on_url(self, url: bytes) -> None:
        self._path = url.partition(b"?")[0]

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        slot = Slot(self, not self._parser.should_keep_alive())
        self._slots.append(slot)
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._take(slot, self._parser.get_method(), self._path, body)

    def flush(self) -> None:
        while self._transport is not None and self._slots and self._slots[0].data is not None:
            slot = self._slots.popleft()
            if slot.data:
                self._transport.write(slot.data)
            if slot.then_close:
                self._transport.close()
                return

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
