"""A loop in several processes: the first asks, pays and writes, and all of them train.

    torchrun --nproc-per-node 2 $(which jurist) run recipe.yaml

The others go through the same rounds. Where the outcome of a step is not there they wait until the first has
written it down; only in a training, which needs them all, do they take part. So nothing is asked twice, and
no file has two writers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...run import Run, Writer

EVERY = 0.1
"""Seconds between two looks."""


def is_first() -> bool:
    """Of several processes, the one that speaks and writes."""
    return os.environ.get("RANK", "0") == "0"


def wait_until(there: Callable[[], bool]) -> None:
    """It may take hours. Should the first process fall, whoever started them ends all."""
    while not there():
        time.sleep(EVERY)


class Onlooker(Run):
    """The folder as the others have it: what they would write the first has written."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def close(self) -> None:
        pass

    @contextmanager
    def writing(self, *nouns: str) -> Iterator[dict[str, Writer]]:
        yield {noun: Nowhere() for noun in nouns}

    def write_text(self, name: str, text: str) -> None:
        pass


class Nowhere(Writer):
    """Takes records and keeps none."""

    def __init__(self) -> None:
        pass

    def add(self, record: Any) -> None:
        pass
