"""Other people's programs in an environment of their own, in which Jurist cannot be imported.

It is made once for each set of versions. What the project has in the same version, it takes from there.
"""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
from hashlib import blake2b
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PINS, PROJECT = ROOT / "constraints.txt", ROOT / "pyproject.toml"
REPORT = """
import json, runpy, sys
try:
    import jurist
    sys.exit("Jurist can be imported here")
except ModuleNotFoundError:
    pass
code, *files = sys.argv[1:]
ran = {name: runpy.run_path(f"{name}.py") for name in files}
found = {}
exec(code, {"ran": ran, "found": found})
print("\\n" + json.dumps(found))
"""
"""Runs files as they stand, then `code` over what they defined; its findings are the last line."""


def python() -> Path:
    """The environment's interpreter."""
    group = tomllib.loads(PROJECT.read_text())["dependency-groups"]["clients"]
    key = blake2b(f"{sys.version}{group}{PINS.read_text()}".encode(), digest_size=6).hexdigest()
    env = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / f"jurist/clients-{key}"
    if not (env / "bin/python").exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    (site,) = env.glob("lib/python*/site-packages")
    shared, ready = site / "project.pth", env / "ready"
    paths = f'{sysconfig.get_paths()["purelib"]}\nimport sys; sys.modules["jurist"] = None\n'
    if not ready.exists() or shared.read_text() != paths:
        shared.write_text(paths)
        pip = [sys.executable, "-m", "pip", "--python", env / "bin/python", "install", "--quiet"]
        subprocess.run([*pip, "-c", PINS, "--group", f"{PROJECT}:clients"], check=True)
        ready.touch()
    return env / "bin/python"


def ran(code: str, *files: str, cwd: Path) -> Any:
    """What `code` put into `found` after these files of `cwd` had run."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"HF_HOME": str(cwd / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    command = [str(python()), "-c", REPORT, code, *files]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])
