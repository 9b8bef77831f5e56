"""The journal: nothing acknowledged is lost, nothing is kept twice."""

import asyncio
import os
import sqlite3
import subprocess
import sys

import pytest

from jurist.errors import RunError
from jurist.journal import GROUP, Journal


def put_all(path, rows, **options):
    async def main():
        journal = Journal(path, **options)
        await asyncio.gather(*(journal.put(key, value, 0.5) for key, value in rows))
        journal.close()

    asyncio.run(main())


def test_what_was_put_comes_back_and_nothing_else(tmp_path):
    rows = [(bytes([n] * 16), bytes([n]) * 40 * n) for n in range(60)]
    put_all(tmp_path / "j", rows)

    journal = Journal(tmp_path / "j")

    assert [journal.get(key) for key, _ in rows] == [value for _, value in rows]
    assert journal.get(b"\xff" * 16) is None


def test_processes_that_start_at_once_share_a_new_journal(tmp_path):
    script = """
import sys
from pathlib import Path
from jurist.journal import Journal
sys.stdin.read()
for path in sys.argv[1:]:
    Journal(Path(path)).close()
"""
    paths = [str(tmp_path / f"j{n}") for n in range(25)]
    command = [sys.executable, "-c", script, *paths]
    together = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    for one in together:
        one.stdin.close()
    assert [one.wait() for one in together] == [0, 0, 0], together[0].stderr.read()


def test_long_replies_are_squeezed_and_come_back_whole(tmp_path):
    text = b"because the second answer is right, " * 200
    put_all(tmp_path / "j", [(b"k" * 16, text)])

    stored = sqlite3.connect(tmp_path / "j").execute("SELECT length(value) FROM calls").fetchone()[0]

    assert Journal(tmp_path / "j").get(b"k" * 16) == text
    assert stored < len(text) / 4


def test_the_same_call_is_kept_once_and_the_first_reply_stays(tmp_path):
    put_all(tmp_path / "j", [(b"k" * 16, b"first")])
    put_all(tmp_path / "j", [(b"k" * 16, b"second")])

    journal = Journal(tmp_path / "j")

    assert len(journal) == 1
    assert journal.get(b"k" * 16) == b"first"


def test_rows_are_committed_in_groups_and_not_one_by_one(tmp_path, monkeypatch):
    commits = []
    commit = Journal._commit
    monkeypatch.setattr(
        Journal, "_commit", lambda self, rows: (commits.append(len(rows)), commit(self, rows))[1]
    )

    put_all(tmp_path / "j", [(n.to_bytes(16, "big"), b"x") for n in range(GROUP * 2 + 10)])

    assert commits == [GROUP, GROUP, 10]


def test_spending_is_kept_by_run_and_survives_a_restart(tmp_path):
    put_all(tmp_path / "j", [(b"a" * 16, b"x"), (b"b" * 16, b"x")], run="one")
    put_all(tmp_path / "j", [(b"c" * 16, b"x")], run="two")

    one, two = Journal(tmp_path / "j", run="one"), Journal(tmp_path / "j", run="two")

    assert (one.spent, two.spent) == (1.0, 0.5)


def test_what_was_acknowledged_survives_kill_9(tmp_path):
    script = """
import asyncio, os, signal, sys
from pathlib import Path
from jurist.journal import Journal
async def main():
    journal = Journal(Path(sys.argv[1]))
    for n in range(300):
        await asyncio.gather(*(journal.put((n * 10 + i).to_bytes(16, "big"), b"reply") for i in range(10)))
        print(n, flush=True)
        if n == 4:
            os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "j")], capture_output=True, text=True)

    assert done.stdout.split() == ["0", "1", "2", "3", "4"]
    journal = Journal(tmp_path / "j")
    assert all(journal.get(n.to_bytes(16, "big")) == b"reply" for n in range(50))


def test_a_journal_of_another_version_is_left_alone(tmp_path):
    Journal(tmp_path / "j").close()
    connection = sqlite3.connect(tmp_path / "j")
    connection.execute("PRAGMA user_version = 7")
    connection.close()

    with pytest.raises(RunError, match=r"version 7.*start a new one with: --journal"):
        Journal(tmp_path / "j")


def test_a_file_that_is_no_journal_is_said_to_be_none(tmp_path):
    (tmp_path / "j").write_text("prompt,chosen\n" * 2000)

    with pytest.raises(RunError, match=r"is not a journal.*mv "):
        Journal(tmp_path / "j")


def test_a_full_disk_is_an_error_for_each_call_that_was_not_kept(tmp_path):
    async def main():
        journal = Journal(tmp_path / "j")
        await journal.put(b"a" * 16, b"safe")
        pages = journal._writer.execute("PRAGMA page_count").fetchone()[0]
        journal._writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(RunError, match=r"the disk is full.*run again"):
            await journal.put(b"b" * 16, os.urandom(100_000))
        assert journal.get(b"a" * 16) == b"safe"
        assert journal.get(b"b" * 16) is None

    asyncio.run(main())
