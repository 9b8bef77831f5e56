"""Blocks are runs of their own, and together they are the run that one process would have made."""

import asyncio
import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from warnings import catch_warnings, warn

import pytest
from msgspec import msgpack

from jurist import LabelConfig
from jurist.cluster import blocks
from jurist.cluster.blocks import pack, put_together, take_in, unpack
from jurist.engines.budget import Budget
from jurist.engines.journaled import Engines
from jurist.errors import RunError, SettingError
from jurist.journal import Journal, money_in
from jurist.recipes.label import _rows_of, label_block
from jurist.recipes.settings import cluster_of, label_settings
from jurist.recipes.summary import nobody
from jurist.run import Run, lock
from support.cli import run as jurist
from support.job import at, label, pairs, read, sound, summary, write
from support.server import serving

FILES = ("prompts", "completions", "matchups", "verdicts", "dropped", "preferences")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = pairs(9)
    write("pairs.jsonl", [*rows, {"prompt": "", "first": "a", "second": "b"}, rows[0]])


def label_blocks(server, out, size=4, before=None):
    """What actors do, one after another, without Ray: the folders of their blocks."""
    cfg = label_settings(None, {"judge": at(server), "pairs": "pairs.jsonl", "on_error": "drop"})
    rows, kept, folders = list(_rows_of(cfg)), [], []

    async def main():
        for n, start in enumerate(range(0, len(rows), size)):
            folders.append(Path(out) / "blocks" / "start" / f"{n:06d}")
            with Run(folders[-1], before=before) as run:
                budget = Budget(None, run.journal)
                part = unpack(pack(rows[start : start + size]))
                await label_block((msgpack.encode(cfg), True), part, run, budget, kept, nobody)
        for engine in kept:
            await engine.close()

    asyncio.run(main())
    return folders


def lines(out):
    return {name: (Path(out) / f"{name}.jsonl").read_bytes() for name in FILES[:5]}


def test_the_files_of_blocks_put_together_are_those_of_one_process():
    with serving(sound) as server:
        label(server, "--on_error", "drop")
        with Run("again") as run:
            run.journal.take_in(Path("run/journal.sqlite"), "run")
            run.journal.copy_to(Path("before.sqlite"))
        asked = len(server.log)
        folders = label_blocks(server, "again", before=Path("before.sqlite"))
        assert (len(server.log), len(folders)) == (asked, 3)
        with Run("again") as run:
            put_together(run, folders)
    assert lines("again") == lines("run")
    assert [row["reason"] for row in read("again/dropped.jsonl")] == ["empty", "duplicate"]


def test_what_a_killed_job_left_over_is_taken_in_by_the_next_start():
    with serving(sound) as server:
        assert label(server, "--on_error", "drop", out="undisturbed").code == 0
        server.log.clear()
        with Run("run"):
            label_blocks(server, "run")
        assert len(server.log) == 18
        assert label(server, "--on_error", "drop").code == 0
        assert len(server.log) == 18
    assert summary()["calls_kept"] == 18
    assert not Path("run/blocks").exists()
    whole, one = (
        [{**row, "seconds": 0} for row in read(f"{out}/verdicts.jsonl")] for out in ("run", "undisturbed")
    )
    assert whole == one


def test_an_actor_keeps_its_engines_from_block_to_block():
    def names(engines):
        return [id(engines(f"vllm:{name}@http://127.0.0.1:9/v1").engine) for name in "aba"]

    kept = []
    with closing(Journal(Path("journal.sqlite"))) as journal:
        first, second = (names(Engines(journal, Budget(None, journal), kept)) for _ in range(2))
    assert first == second == [id(one) for one in kept]
    assert len(set(first)) == 3


def shard(path, calls, spent=0.0, uncertain=0.0):
    """A block's folder with these calls, this money, and a call under way when its actor was killed."""
    path.mkdir(parents=True)
    with closing(Journal(path / "journal.sqlite")) as journal:
        asyncio.run(_put(journal, calls, spent))
    with closing(sqlite3.connect(path / "journal.sqlite")) as connection, connection:
        connection.execute("UPDATE spent SET open_calls = 1, open_usd = ?", (uncertain,))
        facts = json.dumps({"refused": [path.name], "served": "a"})
        connection.execute("INSERT INTO servers VALUES ('there', ?)", (facts,))
    return path


async def _put(journal, calls, usd):
    await asyncio.gather(*(journal.put(key, b"reply", usd / len(calls)) for key in calls))


def test_a_block_is_taken_in_whole_and_once_with_its_money_and_what_it_learnt():
    one = shard(Path("run/blocks/s/000000"), [b"a", b"b"], 0.5, 0.25)
    two = shard(Path("run/blocks/s/000001"), [b"b", b"c"], 1.0)
    Path("run/run.json").write_text("{}")
    with Run("run") as run:
        # Killed between the commit and the removal of the block, and started again.
        assert [run.journal.take_in(one / "journal.sqlite", "s/000000") for _ in range(3)] == [2, 0, 0]
    with Run("run") as run:
        blocks.take_in_leftovers(run)
        assert (run.journal.spent, run.journal.uncertain_calls, run.journal.uncertain) == (1.5, 2, 0.25)
        assert run.journal.facts("there") == {"refused": ["000000", "000001"], "served": "a"}
        assert (len(run.journal), run.journal.get(b"c")) == (3, b"reply")
    assert money_in(Path("run")) == (1.5, 0.25)
    assert not two.exists()


def test_a_block_that_somebody_works_on_is_not_taken_in(monkeypatch):
    monkeypatch.setattr(blocks, "WAIT_FOR_OWNER", 0.0)
    folder = shard(Path("blocks/000000"), [b"a"])
    lock(folder)
    with Run("run") as run, pytest.raises(RunError, match=r"still works on blocks/000000\. End it"):
        take_in(run, folder)


def test_a_journal_knows_the_answers_of_the_copy_it_is_given():
    with closing(Journal(Path("old.sqlite"))) as journal:
        asyncio.run(_put(journal, [b"a"], 1.0))
        journal.remember("there", {"served": "w"})
        journal.copy_to(Path("copy of it.sqlite"))
    with closing(Journal(Path("new.sqlite"), before=Path("copy of it.sqlite"))) as journal:
        asyncio.run(_put(journal, [b"b"], 2.0))
        assert (journal.get(b"a"), journal.get(b"b"), journal.get(b"c")) == (b"reply", b"reply", None)
        assert (journal.facts("there"), journal.spent) == ({"served": "w"}, 2.0)
    with closing(sqlite3.connect("new.sqlite")) as connection:
        assert connection.execute("SELECT key FROM calls").fetchall() == [(b"b",)]


def nobody_there(*_, **__):
    warn("a lot to read", stacklevel=1)
    raise ConnectionError("nobody there")


def test_where_a_job_runs_is_one_word_or_more(monkeypatch):
    def on(**given):
        return cluster_of(label_settings(None, given))

    assert on() is None
    assert on(on="ray").actors == 0
    assert on(**{"on": "ray://head:10001", "on.actors": 8}).actors == 8
    assert cluster_of(LabelConfig(on={"cluster": "ray", "actors": 2})).actors == 2
    with pytest.raises(SettingError, match=r"are for a cluster\. Name it: --on\.cluster ray"):
        on(**{"on.actors": 8})
    monkeypatch.setitem(sys.modules, "ray", None)
    done = jurist("label", "--pairs", "pairs.jsonl", "--judge", "shorter", "--on", "ray")
    assert done.line.endswith("not installed. Install it with: pip install 'jurist[ray]'")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=bool, init=nobody_there))
    job = ("label", "--pairs", "pairs.jsonl", "--judge", "shorter", "--on")
    with catch_warnings(action="error"):
        assert "no cluster at ray://head:1 (nobody there)" in jurist(*job, "ray://head:1").line
        done = jurist(*job, "ray", env={"RAY_ADDRESS": "127.0.0.1:9"})
        assert "no cluster at 127.0.0.1:9 ([Errno 111] Connection refused). " in done.line
    done = jurist("label", "--pairs", "pairs.jsonl", "--judge", "shorter", "--on", "slurm")
    assert done.line == "jurist: on: no cluster called 'slurm'. Write: --on ray, or --on ray://HOST:10001"
