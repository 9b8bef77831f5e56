"""Jurist starts at once and brings little with it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "aiohttp", "numpy", "scipy", "pyarrow", "jinja2", "yaml", "typer", "rich")
INSTALL_MB = 190


def loaded_by(code):
    """The heavy modules that running this loads."""
    shown = f"import sys; {code}; print(*[name for name in {HEAVY} if name in sys.modules])"
    return subprocess.check_output([sys.executable, "-c", shown], text=True).split()


def test_import_jurist_loads_nothing_heavy():
    assert loaded_by("import jurist") == []


def test_the_names_that_jurist_offers_are_all_there_and_load_no_torch():
    every = "import jurist; [getattr(jurist, name) for name in jurist.__all__]"

    assert not {"torch", "aiohttp", "pyarrow"} & set(loaded_by(every))


@pytest.mark.slow
def test_the_core_install_is_small(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path], check=True)
    before = megabytes(tmp_path)
    install = [tmp_path / "bin" / "python", "-m", "pip", "install", "--quiet", ROOT]
    done = subprocess.run(install, capture_output=True, text=True)
    if "Could not find a version" in done.stderr or "onnection" in done.stderr:
        pytest.skip("no package index can be reached from here")
    assert done.returncode == 0, done.stderr
    assert 1 < megabytes(tmp_path) - before < INSTALL_MB


def megabytes(folder):
    return sum(file.lstat().st_blocks * 512 for file in folder.rglob("*")) / 1e6
