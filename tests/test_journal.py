"""The journal: nothing acknowledged is lost, nothing is kept twice, and money under way is on the books."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from jurist.errors import RunError
from jurist.journal import GROUP, ROOM_AT_LEAST, ROOM_PER_REPLY, VERSION, Journal


def put_all(path, rows, **options):
    async def main():
        with closing(Journal(path, **options)) as journal:
            await asyncio.gather(*(journal.put(key, value, 0.5) for key, value in rows))

    asyncio.run(main())


def key(n):
    return n.to_bytes(16, "big")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite"


def select(path, what):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {what}").fetchone()


def test_what_was_put_comes_back_and_nothing_else(path):
    rows = [(key(n), bytes([n]) * 40 * n) for n in range(60)]
    put_all(path, rows)
    put_all(path, [(key(3), b"another reply to the same call")])

    with closing(Journal(path, reading=True)) as journal:
        assert [journal.get(name) for name, _ in rows] == [value for _, value in rows]
        assert (journal.get(b"\xff" * 16), len(journal)) == (None, 60)


def test_long_replies_are_compressed(path):
    put_all(path, [(key(1), text := b"because the second answer is right, " * 200), (key(2), b"A")])
    assert select(path, "max(length(value)), min(length(value)) FROM calls") < (len(text) / 4, 3)


def test_at_once_an_idle_journal_commits_each_row_and_a_busy_one_what_came_meanwhile(path, monkeypatch):
    commits, write = [], Journal._write
    monkeypatch.setattr(
        Journal, "_write", lambda self, calls, *how: (commits.append(len(calls)), write(self, calls, *how))
    )
    monkeypatch.setattr("jurist.journal.WINDOW_SECONDS", 60.0)

    async def main():
        with closing(Journal(path)) as journal:
            journal.at_once = True
            async with asyncio.timeout(10):
                await journal.put(key(0), b"A")
                first = journal.put(key(1), b"A")
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                await asyncio.gather(first, *(journal.put(key(n), b"A") for n in range(2, 9)))

    asyncio.run(main())
    assert [n for n in commits if n] == [1, 1, 7]


def test_rows_are_committed_in_groups_and_not_one_by_one(path, monkeypatch):
    commits, write = [], Journal._write
    monkeypatch.setattr(
        Journal, "_write", lambda self, calls, *how: (commits.append(len(calls)), write(self, calls, *how))
    )
    put_all(path, [(key(n), b"x") for n in range(GROUP * 2 + 10)])
    assert commits[1:4] == [GROUP, GROUP, 10]


def test_spending_is_kept_by_run_and_survives_a_restart(path):
    put_all(path, [(key(1), b"x"), (key(2), b"x")], run="one")
    put_all(path, [(key(3), b"x")], run="two")
    with closing(Journal(path, run="one")) as one, closing(Journal(path, run="two")) as two:
        assert (one.spent, two.spent) == (1.0, 0.5)


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from jurist.journal import Journal
async def main():
    journal = Journal(Path(sys.argv[1]))
    journal.set_open(8.0, 4)
    await asyncio.gather(*(journal.put(n.to_bytes(16, "big"), b"reply", 0.5) for n in range(50)))
    journal.add_uncertain(2.0)
    journal.set_open(3.0, 2)
    await journal.committed()
    journal.put(b"k" * 16, b"not acknowledged")
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


def test_after_kill_9_what_was_acknowledged_is_there_and_what_was_under_way_is_uncertain(path):
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    for _ in range(2):
        with closing(Journal(path)) as journal:
            assert all(journal.get(key(n)) == b"reply" for n in range(50))
            assert (len(journal), journal.spent) == (50, 25.0)
            assert (journal.uncertain_calls, journal.uncertain) == (3, 5.0)


def test_calls_that_end_leave_nothing_open(path):
    async def open_some(journal):
        journal.set_open(8.0, 4)
        await journal.committed()

    with closing(Journal(path)) as journal:
        asyncio.run(open_some(journal))
        assert select(path, "open_calls, open_usd FROM spent") == (4, 8.0)
    with closing(Journal(path)) as journal:
        assert journal.uncertain == 0.0


def test_one_process_writes_and_others_may_look(path):
    code = f"""from pathlib import Path; from jurist.journal import Journal; path = Path({str(path)!r})
print(len(Journal(path, reading=True))); Journal(path)"""

    def other():
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    with closing(Journal(path)), closing(Journal(path, run="another of this process")):
        now = other()
    assert (now.stdout, "Wait for it, or name another with --journal" in now.stderr) == ("0\n", True)
    assert other().stderr == ""


def test_a_journal_outlives_the_loop_it_was_used_in_and_the_folder_it_was_opened_from(tmp_path, monkeypatch):
    async def lose(journal):
        journal.add_uncertain(1.0)

    async def put(journal):
        async with asyncio.timeout(5):
            await journal.put(key(1), b"x")

    monkeypatch.chdir(tmp_path)
    with closing(Journal(Path("j"))) as journal:
        asyncio.run(lose(journal))
        asyncio.run(put(journal))
        monkeypatch.chdir("/")
    with closing(Journal(tmp_path / "j")) as again:
        assert (len(again), again.uncertain) == (1, 1.0)


def test_facts_about_servers_are_kept(path):
    with closing(Journal(path)) as journal:
        for refused in (["n"], ["n", "seed"]):
            journal.remember("here", {"refused": refused})
    with closing(Journal(path)) as journal:
        assert (journal.facts("here"), journal.facts("there")) == ({"refused": ["n", "seed"]}, {})


def of_version_7(path):
    Journal(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (of_version_7, rf"version 7, this Jurist reads version {VERSION}.*start a new one with: --journal"),
        (lambda path: path.write_text("prompt,chosen\n" * 2000), r"is not a journal.*mv "),
        (Path.mkdir, r"cannot be used: unable to open.*ls -l"),
    ],
)
def test_a_file_that_cannot_be_used_is_left_alone_and_not_left_locked(path, make, message):
    make(path)
    for _ in range(2):
        with pytest.raises(RunError, match=message):
            Journal(path)


def test_room_on_the_disk_is_what_those_under_way_and_those_not_committed_leave(path, monkeypatch):
    free = SimpleNamespace(f_bavail=ROOM_AT_LEAST + 3 * ROOM_PER_REPLY + 1, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: free)

    async def main():
        with closing(Journal(path)) as journal:
            before = journal.has_room(3), journal.has_room(4)
            committed = journal.put(key(1), b"x")
            waiting = journal.has_room(2), journal.has_room(3)
            await committed
            return before, waiting, journal.has_room(3)

    assert asyncio.run(main()) == ((True, False), (True, False), True)


def test_a_full_disk_is_told_at_once_and_to_each_call_that_was_not_kept(path):
    async def main():
        told = []
        with closing(Journal(path)) as journal:
            journal.on_full = lambda: told.append(threading.current_thread() is threading.main_thread())
            await journal.put(key(1), b"safe")
            pages = journal._writer.execute("PRAGMA page_count").fetchone()[0]
            journal._writer.execute(f"PRAGMA max_page_count = {pages}")
            puts = (journal.put(key(n), os.urandom(100_000), 0.5) for n in (2, 3))
            got = await asyncio.gather(*puts, return_exceptions=True)
            assert [str(one)[:16] for one in got] == ["the disk is full"] * 2
            assert set(told) == {True}
            # Room that comes back in time loses nothing.
            later = asyncio.ensure_future(journal.put(key(4), os.urandom(100_000)))
            await asyncio.sleep(0.2)
            journal._writer.execute("PRAGMA max_page_count = 9999")
            await later
            assert (journal.get(key(1)), journal.get(key(2)), len(journal)) == (b"safe", None, 2)
        with closing(Journal(path, reading=True)) as again:
            assert again.spent == 1.0  # what was answered and not kept is paid all the same

    asyncio.run(main())
