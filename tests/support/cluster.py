"""A Ray cluster of several nodes on this machine, and how to kill what runs on it."""

import os
import signal
import threading
import time
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


def kill_actor(name: str, which: int = 0) -> bool:
    """kill -9, if there is one."""
    there = actors(name)
    if there:
        os.kill(there[which % len(there)], signal.SIGKILL)
    return bool(there)


def is_gone(pid: int) -> bool:
    """Also where nobody has asked how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "ZX"
    except OSError:
        return True


def kill(found: Any, kind: str, job: Any) -> list[float]:
    """Kill it, and when each process that made calls had ended because of that."""
    before, node = actors("Worker"), found.worker_nodes.copy().pop()
    removing = threading.Thread(target=found.remove_node, args=(node, False))  # takes a while
    if kind in ("actor", "ledger"):
        kill_actor({"actor": "Worker", "ledger": "Ledger"}[kind])
    elif kind == "driver":
        job.kill()
    else:
        removing.start()
    until, ended = time.perf_counter() + 5.0, dict[int, float]()
    most = {"driver": len(before), "ledger": 0}.get(kind, 1)
    while time.perf_counter() < until and len(ended) < most:
        ended |= {pid: time.perf_counter() for pid in before if pid not in ended and is_gone(pid)}
        time.sleep(0.002)
    if kind == "node":
        removing.join()
        add_node(found)
    return [*ended.values()]
