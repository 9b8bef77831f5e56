"""Killed in the middle, and shared between two processes: the numbers are those of one undisturbed run."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from making import checkpoint
from rows_for_tests import kill_9

pytestmark = pytest.mark.slow
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
SCRIPT = """
import os, pathlib, sys, time, torch
pathlib.Path(f"{sys.argv[2]}.rank{os.environ.get('RANK', 0)}").touch()
torch.set_num_threads(1)
from jurist.models.ppo import train_ppo
from jurist.models.ppo_settings import PPOConfig
from jurist.records import Prompt

def vowels(prompt, completion):
    time.sleep(float(sys.argv[4]))
    return sum(letter in "aeiou" for letter in completion.text) / 10

cfg = PPOConfig(
    base=sys.argv[1], out=sys.argv[2], advantage=sys.argv[3], batch=4, samples=2, max_tokens=6, lr=1e-3,
    value_lr=1e-2, epochs=4, warmup=0.0, save_every=int(sys.argv[5]),
    kl_target=0.05, horizon=50.0, length_penalty=0.1,
)
train_ppo(cfg, [Prompt.of(f"tell me why {number}") for number in range(12)], vowels)
"""


@pytest.fixture
def place(tmp_path):
    checkpoint(tmp_path / "base")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def started(
    place: Path,
    out: str,
    how: str = "gae",
    wait: float = 0.0,
    launch: tuple[str, ...] = (),
    save_every: int = 2,
):
    words = [
        *launch,
        str(place / "script.py"),
        str(place / "base"),
        str(place / out),
        how,
        str(wait),
        str(save_every),
    ]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    return subprocess.Popen([sys.executable, *words], env=env, stderr=subprocess.PIPE, text=True)


def finished(process: "subprocess.Popen[str]") -> None:
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said[-2000:]


def metrics(place: Path, out: str) -> list[dict[str, float]]:
    file = place / out / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def same(one: list[dict[str, float]], other: list[dict[str, float]]) -> None:
    assert len(one) == len(other)
    for line, twin in zip(one, other, strict=True):
        for name, value in line.items():
            assert math.isclose(value, twin[name], rel_tol=1e-3, abs_tol=1e-4), (line["step"], name)


@pytest.mark.parametrize("launch", [(), LAUNCH], ids=["one", "two"])
def test_a_killed_run_goes_on_to_the_same_numbers(place, launch):
    finished(started(place, "straight"))
    killed = started(place, "killed", wait=0.05, launch=launch)
    deadline = time.monotonic() + 120
    while len(metrics(place, "killed")) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    kill_9(killed.pid)
    killed.communicate()
    assert 5 <= len(metrics(place, "killed")) < 12
    assert not (place / "killed" / "model").exists()

    finished(started(place, "killed", launch=launch))

    same(metrics(place, "straight"), metrics(place, "killed"))
    weights = [(place / out / "model" / "model.safetensors").read_bytes() for out in ("straight", "killed")]
    assert launch or weights[0] == weights[1]


@pytest.mark.parametrize("how", ["gae", "grpo"])
def test_two_processes_learn_what_one_does(place, how):
    finished(started(place, "one", how))
    finished(started(place, "two", how, launch=LAUNCH))

    assert len(list(place.glob("two.rank*"))) == 2
    same(metrics(place, "one"), metrics(place, "two"))
