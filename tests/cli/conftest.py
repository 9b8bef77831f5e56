import pytest

from support.job import pairs, write


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder with twelve pairs in it."""
    monkeypatch.chdir(tmp_path)
    write("pairs.jsonl", pairs(12))
    return tmp_path
