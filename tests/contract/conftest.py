import os
import tempfile
from pathlib import Path

import pytest

from support.job import pairs, write

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where writing a file to disk costs nothing: half of a small job's time is spent on that."""


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """An empty folder with twelve pairs in it."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        monkeypatch.chdir(folder)
        write("pairs.jsonl", pairs(12))
        yield Path(folder)
