"""Every model call, kept once, under the hash of what was asked.

Everything else in a run can be made again from it. SQLite in WAL mode with 16 KB pages. Rows are committed in
groups (256 rows or 20 ms, whichever comes first), in a thread, because one commit costs as much as forty
inserts; a call counts as done only once its group is committed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import Any

import msgspec

from .errors import RunError

VERSION = 2
GROUP = 256
WINDOW_SECONDS = 0.02
_COMPRESS_OVER = 512
"""Replies longer than this are worth the 10 us that zlib takes: chain-of-thought text shrinks to a half."""
ROOM_PER_REPLY = 5 * 16384
"""Disk space that a reply may take: pages of the table and of its index, in both of SQLite's files."""
ROOM_AT_LEAST = 16 * 16384

_SCHEMA = (
    "CREATE TABLE calls (key BLOB PRIMARY KEY, value BLOB NOT NULL)",
    "CREATE TABLE spent (run TEXT PRIMARY KEY, usd REAL NOT NULL DEFAULT 0,"
    " uncertain_calls INTEGER NOT NULL DEFAULT 0, uncertain_usd REAL NOT NULL DEFAULT 0,"
    " open_calls INTEGER NOT NULL DEFAULT 0, open_usd REAL NOT NULL DEFAULT 0)",
    "CREATE TABLE servers (place TEXT PRIMARY KEY, facts BLOB NOT NULL)",
    f"PRAGMA user_version = {VERSION}",
)
_MONEY = "total(usd), total(uncertain_calls + open_calls), total(uncertain_usd + open_usd)"
"""Dollars spent; calls that were sent and not answered, and the most that they cost."""
_locks: dict[Path, list[int]] = {}
"""Journals that this process writes to: the lock file's handle, and how many have it open."""


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two processes that write to one journal would ask, and pay for, the same calls twice."""
    name = path.resolve()
    if name not in _locks:
        lock = name.with_name(f"{name.name}.lock")
        _locks[name] = [take_lock(lock, f"the journal {path}", "name another with --journal"), 0]
    _locks[name][1] += 1
    try:
        yield
    finally:
        _locks[name][1] -= 1
        if not _locks[name][1]:
            os.close(_locks.pop(name)[0])


def take_lock(path: Path, what: str, instead: str) -> int:
    """A handle that keeps other processes out until it is closed; the file names this one."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise RunError(
            f"{what} cannot be opened: {error.strerror}. Look with: ls -ld {quote(str(path.parent))}"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(handle, 32).decode(errors="replace").strip() or "another process"
        os.close(handle)
        raise RunError(f"{what} is in use by process {owner}. Wait for it, or {instead}") from None
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    return handle


class Journal:
    """`get` a reply by key; `put` one and be told when it is safe on disk."""

    def __init__(
        self, path: Path, *, run: str = "", reading: bool = False, before: Path | None = None
    ) -> None:
        """`reading`: only to look up what is there, even while another process writes. `before`: a copy of
        another journal, which is looked up too and which nobody writes to.
        """
        self.path, self.run, self._reading = path, run, reading
        """`run` says whose money new calls are: several runs may share one journal, each open once."""
        self.on_full: Callable[[], object] = lambda: None
        """Called when the disk takes no more."""
        self.at_once, self._writing, self._asked = False, 0, False
        """Commit as soon as the commit before is done; commits under way; whether one more was asked for."""
        self._calls: list[tuple[bytes, bytes]] = []
        self._waiting: list[asyncio.Future[None]] = []
        """What the next commit holds, and those who wait for it."""
        self._open = (0, 0.0)
        """Calls under way, and the most they can cost: after a kill they count as uncertain."""
        self._uncommitted = 0
        """Replies that are on their way to the disk, and count as if they were not there yet."""
        self._room, self._looked_at = 0, -1.0
        """Bytes free on the disk, and when that was looked up."""
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        with ExitStack() as opened:
            if not reading:
                opened.enter_context(_locked(path))
            self._reader = opened.enter_context(closing(_connect(path)))
            if before is not None:
                _look_into(self._reader, before)
            self._writer = opened.enter_context(closing(_connect(path)))
            self._thread = opened.enter_context(ThreadPoolExecutor(1, thread_name_prefix="journal"))
            if not reading:
                self._write([], "INSERT OR IGNORE INTO spent (run) VALUES (?)", (run,))
            ours = self._reader.execute(f"SELECT {_MONEY} FROM spent WHERE run = ?", (run,))
            (self.spent, calls, self.uncertain), *_ = ours
            self.uncertain_calls = int(calls)
            """This run so far: dollars; calls sent and not answered, and the most that they cost."""
            self._opened = opened.pop_all()

    def get(self, key: bytes) -> bytes | None:
        try:
            row = self._reader.execute("SELECT value FROM calls WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error
        if row is None:
            return None
        stored: bytes = row[0]
        return zlib.decompress(stored[1:]) if stored[:1] == b"z" else stored[1:]

    def __len__(self) -> int:
        return int(self._reader.execute("SELECT count(*) FROM calls").fetchone()[0])

    def facts(self, place: str) -> dict[str, Any]:
        """What is known of a server."""
        row = self._reader.execute("SELECT facts FROM servers WHERE place = ?", (place,)).fetchone()
        return msgspec.json.decode(row[0], type=dict[str, Any]) if row else {}

    def remember(self, place: str, facts: dict[str, Any]) -> None:
        row = (place, msgspec.json.encode(facts))
        self._thread.submit(self._write, [], "INSERT OR REPLACE INTO servers VALUES (?, ?)", row)

    def put(self, key: bytes, value: bytes, usd: float = 0.0) -> asyncio.Future[None]:
        """Kept from now on; the future is done when the row is committed."""
        packed = b"z" + zlib.compress(value, 1) if len(value) > _COMPRESS_OVER else b"=" + value
        self._calls.append((key, packed))
        self.spent += usd
        self._uncommitted += 1
        return self.committed()

    def committed(self) -> asyncio.Future[None]:
        """Done when all that was said so far is on disk."""
        committed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(committed)
        if len(self._calls) >= GROUP:
            self._commit_now()
        else:
            self._commit_soon()
        return committed

    def add_uncertain(self, usd: float) -> None:
        """A call was sent and not answered."""
        self.uncertain_calls += 1
        self.uncertain += usd
        self._commit_soon()

    def set_open(self, usd: float, calls: int) -> None:
        self._open = (calls, usd)
        if usd:
            self._commit_soon()

    def has_room(self, replies: int) -> bool:
        """Whether the disk has room for so many replies beside those that wait to be committed."""
        now = time.monotonic()
        if now - self._looked_at > WINDOW_SECONDS:
            disk = os.statvfs(self.path.parent)
            self._room, self._looked_at = disk.f_bavail * disk.f_frsize, now
        return self._room > ROOM_AT_LEAST + (replies + self._uncommitted) * ROOM_PER_REPLY

    def copy_to(self, path: Path) -> None:
        """A copy of all that was said so far, for other processes to look into, on whatever machine."""
        try:
            self._thread.submit(self._writer.execute, "VACUUM INTO ?", (str(path),)).result()
        except sqlite3.Error as error:
            raise _unusable(path, error) from error

    def take_in(self, shard: Path, name: str) -> int:
        """All of another process's journal, once, however often it is tried; how many replies were new."""
        return self._thread.submit(self._take_in, shard, name).result()

    def _take_in(self, shard: Path, name: str) -> int:
        writer, books = self._writer, (self.spent, self.uncertain_calls, self.uncertain)
        try:
            writer.execute("ATTACH ? AS shard", (str(shard),))
            try:
                with writer:
                    writer.execute("BEGIN IMMEDIATE")
                    writer.execute("CREATE TABLE IF NOT EXISTS taken_in (shard TEXT PRIMARY KEY)")
                    if not writer.execute("INSERT OR IGNORE INTO taken_in VALUES (?)", (name,)).rowcount:
                        return 0
                    new = writer.execute("INSERT OR IGNORE INTO calls SELECT key, value FROM shard.calls")
                    (usd, calls, uncertain), *_ = writer.execute(f"SELECT {_MONEY} FROM shard.spent")
                    self.spent += usd
                    self.uncertain_calls += int(calls)
                    self.uncertain += uncertain
                    self._learn_from_shard()
                    writer.execute(*self._books())
                return new.rowcount
            except BaseException:
                self.spent, self.uncertain_calls, self.uncertain = books
                raise
            finally:
                writer.execute("DETACH shard")
        except sqlite3.Error as error:
            raise _unusable(shard, error) from error

    def _learn_from_shard(self) -> None:
        """What a server refused there is not sent here again."""
        for place, there in self._writer.execute("SELECT place, facts FROM shard.servers").fetchall():
            here = self._writer.execute("SELECT facts FROM servers WHERE place = ?", (place,)).fetchone()
            theirs, ours = (msgspec.json.decode(one) for one in (there, here[0] if here else b"{}"))
            refused = {*theirs.get("refused", ()), *ours.get("refused", ())}
            facts = msgspec.json.encode({**theirs, **ours, "refused": sorted(refused)})
            self._writer.execute("INSERT OR REPLACE INTO servers VALUES (?, ?)", (place, facts))

    def _commit_soon(self) -> None:
        loop = asyncio.get_running_loop()
        if self.at_once and self._writing:
            self._asked = True
        elif self._timer is None or self._loop is not loop:  # a loop that ended takes its timers with it
            window = 0.0 if self.at_once else WINDOW_SECONDS
            self._loop, self._timer = loop, loop.call_later(window, self._commit_now)

    def _commit_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._loop = asyncio.get_running_loop()
        calls, waiting = self._calls, self._waiting
        self._calls, self._waiting = [], []
        self._writing, self._asked = self._writing + 1, False
        work = self._loop.run_in_executor(self._thread, self._write, calls, *self._books())
        work.add_done_callback(lambda done: self._tell(len(calls), waiting, done.exception()))

    def _tell(self, calls: int, waiting: list[asyncio.Future[None]], error: BaseException | None) -> None:
        """Everyone who waits for this commit that it is on disk, or that it never will be."""
        self._uncommitted -= calls
        self._writing -= 1
        self._looked_at = -1.0
        if self._asked and not self._writing:
            self._commit_now()
        for committed in waiting:
            if committed.done():  # whoever waited was called off
                continue
            if error is None:
                committed.set_result(None)
            else:
                committed.set_exception(error)

    def _books(self) -> tuple[str, tuple[Any, ...]]:
        """The statement that writes down this run's money as it is now, and its values."""
        return (
            "UPDATE spent SET usd = ?, uncertain_calls = ?, uncertain_usd = ?, open_calls = ?, open_usd = ?"
            " WHERE run = ?",
            (self.spent, self.uncertain_calls, self.uncertain, *self._open, self.run),
        )

    def _write(self, calls: list[tuple[bytes, bytes]], statement: str, values: tuple[Any, ...]) -> None:
        """One commit. On a full disk it waits a moment for the room that half-written files give back."""
        for last in (False, False, True):
            try:
                with self._writer:
                    if calls:  # one statement: each one hands the interpreter's lock over, twice
                        rows = ", ".join(["(?, ?)"] * len(calls))
                        self._writer.execute(
                            f"INSERT OR IGNORE INTO calls (key, value) VALUES {rows}",
                            [field for call in calls for field in call],
                        )
                    self._writer.execute(statement, values)
                return
            except sqlite3.Error as error:
                if last or "full" not in str(error):
                    raise _unusable(self.path, error) from error
                with suppress(RuntimeError):  # the loop has ended
                    if self._loop is not None:
                        self._loop.call_soon_threadsafe(self.on_full)
                time.sleep(0.3)

    def close(self) -> None:
        """Commit what waits, and say that nothing is under way."""
        self._open = (0, 0.0)
        if self._timer is not None:  # the loop may outlive the journal
            self._timer.cancel()
        with self._opened:
            if not self._reading:
                self._thread.submit(self._write, self._calls, *self._books()).result()


def money_in(folder: Path) -> tuple[float, float]:
    """Dollars that the journals in a folder, one for each process, have spent, and may have."""
    journals = [Journal(path, reading=True) for path in folder.glob("journal*.sqlite")]
    for one in journals:
        one.close()
    return sum(one.spent for one in journals), sum(one.uncertain for one in journals)


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path.absolute(), check_same_thread=False, timeout=30, uri=True)
        connection.execute("PRAGMA page_size = 16384")
        # Keys are hashes, so hardly a page is looked at twice: the usual cache of 2 MB would gain nothing.
        connection.execute("PRAGMA cache_size = -512")
        version = _version(connection) or _create(connection)
        if version != VERSION:
            raise RunError(
                f"the journal {path} is of version {version}, this Jurist reads version {VERSION}."
                f" Keep it and start a new one with: --journal {quote(str(path.with_name('new.sqlite')))}"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    return connection


def _look_into(connection: sqlite3.Connection, copy: Path) -> None:
    """Tables of both journals under the names of one's own: a temporary view hides what it is named after."""
    connection.execute("ATTACH ? AS before", (f"{copy.absolute().as_uri()}?immutable=1",))
    for table in ("calls", "servers"):
        both = f"SELECT * FROM main.{table} UNION ALL SELECT * FROM before.{table}"
        connection.execute(f"CREATE TEMP VIEW {table} AS {both}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection) -> int:
    """Give an empty file its tables; of several processes that start at once, one does."""
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            for statement in _SCHEMA:
                connection.execute(statement)
        return _version(connection)


def _unusable(path: Path, error: sqlite3.Error) -> RunError:
    text, name = str(error), quote(str(path))
    if "full" in text:
        return disk_full(path)
    if "not a database" in text or "malformed" in text:
        return RunError(
            f"{path} is not a journal ({text}). Move it away and run again: mv {name} {name}.damaged"
        )
    return RunError(
        f"the journal {path} cannot be used: {text}. Check it with: ls -l {quote(str(path.parent))}"
    )


def disk_full(path: Path) -> RunError:
    return RunError(
        f"the disk is full: {path} takes no more. Answered calls are kept. Free some space"
        f" (df -h {quote(str(path.parent))}), then run the same command again"
    )
