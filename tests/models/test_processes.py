"""Runs in processes of their own: two that compute as one, one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import making
import pytest
from rows_for_tests import metrics, pairs_file

pytestmark = pytest.mark.slow
ENV = {
    **os.environ,
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "ACCELERATE_USE_CPU": "true",
    "TOKENIZERS_PARALLELISM": "false",
}
JURIST = [str(Path(sys.executable).with_name("jurist"))]


def words(verb: str, base: Path, data: Path, out: Path, *more: str) -> list[str]:
    return ["train", verb, str(data), "--base", str(base), "--out", str(out), "--lr", "3e-3", *more]


def train(command: list[str]) -> None:
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def processes(out: Path) -> int:
    return json.loads((out / "model" / "training.json").read_text())["processes"]


@pytest.mark.parametrize("verb", ["reward", "dpo", "sft"])
def test_two_processes_give_the_losses_of_one(tmp_path, verb):
    base, data = making.checkpoint(tmp_path / "base"), pairs_file(tmp_path / "pairs.jsonl", 90)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *JURIST]
    how = ("--batch", "16", "--tokens", "512", "--epochs", "2", "--held_out", "0.1")

    train([*JURIST, *words(verb, base, data, tmp_path / "one", *how)])
    train([*launch, *words(verb, base, data, tmp_path / "two", *how)])

    assert processes(tmp_path / "one") == 1
    assert processes(tmp_path / "two") == 2
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [line["step"] for line in two] == [line["step"] for line in one]
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], abs=1e-4)
    norms = [[line["grad_norm"] for line in lines if "grad_norm" in line] for lines in (one, two)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


def test_a_run_killed_with_9_goes_on_to_the_same_loss(tmp_path):
    base, data = making.checkpoint(tmp_path / "base"), pairs_file(tmp_path / "pairs.jsonl", 400)
    how = ("--batch", "8", "--epochs", "2", "--save_every", "7", "--lora.r", "4")
    train([*JURIST, *words("dpo", base, data, tmp_path / "whole", *how)])

    out = tmp_path / "killed"
    command = [*JURIST, *words("dpo", base, data, out, *how)]
    with subprocess.Popen(command, env=ENV, stderr=subprocess.DEVNULL) as running:
        while not (out / "checkpoints" / "step-00000021").exists():
            assert running.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
    assert not (out / "model").exists()
    train(command)

    whole, killed = metrics(tmp_path / "whole"), metrics(out)
    assert [line["step"] for line in killed] == list(range(1, 101))
    assert [line["loss"] for line in killed] == pytest.approx([line["loss"] for line in whole], abs=1e-4)
