"""Jurist starts at once and brings little with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "aiohttp", "numpy", "scipy", "pyarrow", "jinja2", "yaml", "typer", "rich")
INSTALL_MB = 230


def loaded_by(code):
    """The heavy modules that running this loads."""
    shown = f"import sys; {code}; print(*[name for name in {HEAVY} if name in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", shown], capture_output=True, text=True, check=True
    ).stdout.split()


def test_import_jurist_loads_nothing_heavy():
    assert loaded_by("import jurist") == []


def test_the_names_that_jurist_offers_are_all_there_and_load_no_torch():
    every = "import jurist; [getattr(jurist, name) for name in jurist.__all__]"

    assert not {"torch", "aiohttp", "pyarrow"} & set(loaded_by(every))


@pytest.mark.slow
def test_the_core_install_is_small(tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ROOT]
    done = subprocess.run(install, capture_output=True, text=True)
    if "Could not find a version" in done.stderr or "onnection" in done.stderr:
        pytest.skip("no package index can be reached from here")
    assert done.returncode == 0, done.stderr

    sizes = packages_of(python)
    print(json.dumps(dict(sorted(sizes.items(), key=lambda item: -item[1])[:12])))

    assert "jurist" in sizes
    assert sum(sizes.values()) < INSTALL_MB


def packages_of(python):
    """Megabytes of each folder or file among the installed packages, without pip's own."""
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(subprocess.run([python, "-c", where], capture_output=True, text=True).stdout.strip())
    own = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    return {
        entry.name: round(disk_use(entry) / 1e6, 1)
        for entry in site.iterdir()
        if not entry.name.startswith(own)
    }


def disk_use(path):
    files = [path, *(Path(folder) / name for folder, _, names in os.walk(path) for name in names)]
    return sum(file.stat().st_blocks * 512 for file in files)
