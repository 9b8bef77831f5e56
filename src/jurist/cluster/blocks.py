"""The folders of blocks, and how they become one run again: its files put together, its journal whole.

`OUT/blocks/START/000012/` is a run: its own journal, and its files once it is through. The files of the run
are those of its blocks, one behind the other; journals are taken in whole and once. Whatever is left over
when a job was killed is taken in by the next start, with or without a cluster.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ..errors import RunError
from ..records import Dropped, Group, Prompt
from ..run import Run, lock, owner_of
from ..verdicts.cases import NOUNS

WAIT_FOR_OWNER = 60.0
"""Seconds that an actor has to end after its driver or its node is gone."""
CHUNK = 1 << 20


InputRow = tuple[Prompt | Group | None, tuple[Dropped, ...]]
"""A row, and those that were left out before it; after the last one there is none."""
_Packed = tuple[Prompt | None, Group | None, tuple[Dropped, ...]]


def pack(rows: Iterable[InputRow]) -> bytes:
    """As JSON: it gives the same lines on the other side, which pickled records do not."""
    sort = ((None, row, lost) if isinstance(row, Group) else (row, None, lost) for row, lost in rows)
    return msgspec.json.encode(list(sort))


def unpack(packed: bytes) -> list[InputRow]:
    rows = msgspec.json.decode(packed, type=list[_Packed])
    return [(prompt or group, lost) for prompt, group, lost in rows]


def take_in_leftovers(run: Run) -> None:
    """The answers and the money of a job on a cluster that did not end."""
    blocks = run.path / "blocks"
    for shard in sorted(blocks.glob("*/*/journal.sqlite")):
        take_in(run, shard.parent)
    if blocks.exists():
        shutil.rmtree(blocks)


def take_in(run: Run, folder: Path) -> int:
    """A block's journal into the run's; how many of its answers were new there."""
    shard = folder / "journal.sqlite"
    if not shard.exists():
        return 0
    wait_until_free(folder)
    handle = lock(folder)
    try:
        new = run.journal.take_in(shard, f"{folder.parent.name}/{folder.name}")
    finally:
        os.close(handle)
    for end in ("", "-wal", "-shm"):
        shard.with_name(shard.name + end).unlink(missing_ok=True)
    return new


def wait_until_free(folder: Path) -> None:
    """A process that is to end may take a moment."""
    until = time.monotonic() + WAIT_FOR_OWNER
    while (owner := owner_of(folder)) and time.monotonic() < until:
        time.sleep(0.1)
    if owner:
        raise RunError(f"process {owner} still works on {folder}. End it where it runs: kill {owner}")


def put_together(run: Run, folders: Iterable[Path]) -> None:
    """The files of the run, from those of its blocks."""
    with run.writing(*NOUNS, "dropped") as files:
        for folder in folders:
            for noun, file in files.items():
                with (folder / f"{noun}.jsonl").open("rb") as part:
                    shutil.copyfileobj(part, file, CHUNK)
