"""Every model call, kept once, under the hash of what was asked.

Everything else in a run can be made again from it. SQLite in WAL mode with 16 KB pages. Rows are committed in
groups (256 rows or 20 ms, whichever comes first), in a thread, because one commit costs as much as forty
inserts; a call counts as done only once its group is committed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .errors import RunError

VERSION = 1
GROUP = 256
WINDOW_SECONDS = 0.02
_SQUEEZE_OVER = 512
"""Replies longer than this are worth the 10 us that zlib takes: chain-of-thought text shrinks to a half."""

_SCHEMA = (
    "CREATE TABLE calls (key BLOB PRIMARY KEY, value BLOB NOT NULL)",
    "CREATE TABLE spent (run TEXT PRIMARY KEY, calls INTEGER NOT NULL, usd REAL NOT NULL)",
    f"PRAGMA user_version = {VERSION}",
)


_Row = tuple[bytes, bytes, float, "asyncio.Future[None]"]
"""Key, value, dollars, and whom to tell when it is on disk."""


class Journal:
    """`get` a reply by key; `put` one and be told when it is safe on disk."""

    def __init__(self, path: Path, *, run: str = "") -> None:
        self.path = path
        self.run = run
        """Whose money new calls are: several runs may share one journal."""
        self._waiting: list[_Row] = []
        self._timer: asyncio.TimerHandle | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._reader = _connect(path)
        self._writer = _connect(path)
        row = self._reader.execute("SELECT usd FROM spent WHERE run = ?", (run,)).fetchone()
        self.usd_before: float = row[0] if row else 0.0

    def get(self, key: bytes) -> bytes | None:
        try:
            row = self._reader.execute("SELECT value FROM calls WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error
        return None if row is None else _expand(row[0])

    def __len__(self) -> int:
        count: int = self._reader.execute("SELECT count(*) FROM calls").fetchone()[0]
        return count

    async def put(self, key: bytes, value: bytes, usd: float = 0.0) -> None:
        """Returns when the row is committed."""
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._timer = loop.call_later(WINDOW_SECONDS, self._commit_soon)
        committed: asyncio.Future[None] = loop.create_future()
        self._waiting.append((key, _squeeze(value), usd, committed))
        if len(self._waiting) >= GROUP:
            self._commit_soon()
        await committed

    def _commit_soon(self) -> None:
        rows, self._waiting = self._waiting, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if rows:
            work = asyncio.get_running_loop().run_in_executor(self._thread, self._commit, rows)
            work.add_done_callback(lambda done: _tell(rows, done.exception()))

    def _commit(self, rows: list[_Row]) -> None:
        try:
            with self._writer:
                self._writer.executemany(
                    "INSERT OR IGNORE INTO calls (key, value) VALUES (?, ?)", [row[:2] for row in rows]
                )
                self._writer.execute(
                    "INSERT INTO spent VALUES (?, ?, ?) ON CONFLICT (run) DO UPDATE"
                    " SET calls = calls + excluded.calls, usd = usd + excluded.usd",
                    (self.run, len(rows), sum(row[2] for row in rows)),
                )
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error

    def close(self) -> None:
        try:
            if self._waiting:
                self._thread.submit(self._commit, self._waiting).result()
        finally:
            self._waiting = []
            self._thread.shutdown(wait=True)
            self._reader.close()
            self._writer.close()


def _tell(rows: list[_Row], error: BaseException | None) -> None:
    """Each row of a group that it is on disk, or that it never will be."""
    for *_, committed in rows:
        if committed.done():  # whoever waited was called off
            continue
        if error is None:
            committed.set_result(None)
        else:
            committed.set_exception(error)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA page_size = 16384")
        # Keys are hashes, so hardly a page is looked at twice: the usual cache of 2 MB would gain nothing.
        connection.execute("PRAGMA cache_size = -512")
        version = _version(connection) or _made(connection)
        if version != VERSION:
            raise RunError(
                f"the journal {path} is of version {version}, this Jurist reads version {VERSION}."
                f" Keep it and start a new one with: --journal {path.with_name('journal-new.sqlite')}"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    return connection


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _made(connection: sqlite3.Connection) -> int:
    """Give an empty file its tables; of several processes that start at once, one does."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            for statement in _SCHEMA:
                connection.execute(statement)
        return _version(connection)


def _unusable(path: Path, error: sqlite3.Error) -> RunError:
    text = str(error)
    if "full" in text:
        return RunError(
            f"the disk is full: {path} takes no more. What is in it is safe: free some space and run again"
        )
    if "not a database" in text or "malformed" in text:
        return RunError(
            f"{path} is not a journal ({text}). Move it away and run again: mv {path} {path}.damaged"
        )
    return RunError(f"the journal {path} cannot be used: {text}. Check it with: ls -l {path.parent}")


def _squeeze(value: bytes) -> bytes:
    return b"z" + zlib.compress(value, 1) if len(value) > _SQUEEZE_OVER else b"=" + value


def _expand(stored: bytes) -> bytes:
    return zlib.decompress(stored[1:]) if stored[:1] == b"z" else stored[1:]
