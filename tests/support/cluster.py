"""A Ray cluster of several nodes on this machine, and how to kill what runs on it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SMALL = {"object_store_memory": 80_000_000, "include_dashboard": False}


@contextmanager
def cluster(nodes: int) -> Iterator[Any]:
    """A head without a CPU, and so many nodes with one each; RAY_ADDRESS names it until the end."""
    from ray.cluster_utils import Cluster

    found = Cluster()
    before = os.environ.get("RAY_ADDRESS")
    try:
        found.add_node(num_cpus=0, **SMALL)
        for _ in range(nodes):
            add_node(found)
        found.wait_for_nodes()
        os.environ["RAY_ADDRESS"] = found.address
        yield found
    finally:
        os.environ.pop("RAY_ADDRESS", None)
        if before:
            os.environ["RAY_ADDRESS"] = before
        found.shutdown()


def add_node(found: Any) -> None:
    found.add_node(num_cpus=1, **SMALL)


def actors(name: str) -> list[int]:
    """The processes of this cluster's actors of a kind: `Worker` or `Ledger`. Its nodes are our children."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            ours = path.read_bytes().startswith(f"ray::{name}".encode())
            if ours and parent(parent(int(path.parent.name))) == os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return sorted(found)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def kill_actor(name: str) -> bool:
    """kill -9, if there is one."""
    there = actors(name)
    for pid in there[:1]:
        os.kill(pid, signal.SIGKILL)
    return bool(there)


def kill(found: Any, kind: str, job: Any) -> None:
    """An actor, a node with what runs on it, the driver or the ledger."""
    if kind == "node":
        found.remove_node(found.worker_nodes.copy().pop(), allow_graceful=False)
        add_node(found)
    elif kind == "driver":
        job.kill()
    else:
        kill_actor({"actor": "Worker", "ledger": "Ledger"}[kind])
