"""Runs in processes of their own: two that compute as one, some that are killed, some that do not meet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import making
import pytest
from rows_for_tests import kill_9, metrics, pairs_file

from jurist.errors import SettingError
from jurist.models.plan import refuse_strangers

ROOT = Path(__file__).resolve().parents[2]
ENV = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
JURIST = [str(Path(sys.executable).with_name("jurist"))]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
MULTI = [*ACCELERATE, "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
MULTI += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]


def words(place: Path, verb: str, out: str, *more: str) -> list[str]:
    data = [str(place / "pairs.jsonl"), "--base", str(place / "base"), "--out", str(place / out)]
    return ["train", verb, *data, "--lr", "3e-3", "--batch", "16", *more]


def train(command: list[str]) -> None:
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def processes(out: Path) -> int:
    return json.loads((out / "model" / "training.json").read_text())["processes"]


def same_losses(place: Path, one: str, two: str) -> None:
    ours, theirs = metrics(place / one), metrics(place / two)
    assert [line["step"] for line in theirs] == [line["step"] for line in ours]
    assert [line["loss"] for line in theirs] == pytest.approx([line["loss"] for line in ours], abs=1e-4)
    norms = [[line["grad_norm"] for line in lines if "grad_norm" in line] for lines in (ours, theirs)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    here = tmp_path_factory.mktemp("processes")
    making.checkpoint(here / "base")
    pairs_file(here / "pairs.jsonl", 90)
    return here


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "launch", "how"),
    [
        ("sft", TORCHRUN, ()),
        ("reward", TORCHRUN, ("--lora.r", "4")),
        ("dpo", TORCHRUN, ()),
        ("reward", MULTI, ("--held_out", "0.1")),
    ],
    ids=["sft", "reward-lora", "dpo", "reward-accelerate"],
)
def test_two_processes_give_the_losses_of_one(place, verb, launch, how):
    name = f"{verb}{len(how)}{launch is MULTI}"
    train([*JURIST, *words(place, verb, f"{name}-1", "--tokens", "512", *how)])
    train([*launch, *JURIST, *words(place, verb, f"{name}-2", "--tokens", "512", *how)])

    assert processes(place / f"{name}-1") == 1
    assert processes(place / f"{name}-2") == 2
    same_losses(place, f"{name}-1", f"{name}-2")


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), ("--lora.r", "4", "--checkpointing", "true")], ids=["whole", "lora"])
def test_weights_that_are_spread_give_the_losses_of_one_process_and_its_model(place, how):
    from safetensors.torch import load_file

    name = f"spread{len(how)}"
    config = (ROOT / "recipes" / "accelerate" / "fsdp.yaml").read_text()
    config = config.replace("num_processes: 8", "num_processes: 2").replace(
        "precision: bf16", 'precision: "no"'
    )
    (place / "fsdp.yaml").write_text(config)
    launch = [*ACCELERATE, "--config_file", str(place / "fsdp.yaml"), "--main_process_port", "0"]
    launch += [str(Path(__file__).with_name("sharded.py"))]
    train([*JURIST, *words(place, "dpo", f"{name}-1", *how)])
    train([*launch, *words(place, "dpo", f"{name}-2", "--save_every", "2", *how)])

    same_losses(place, f"{name}-1", f"{name}-2")
    one, two = (load_file(place / f"{name}-{n}" / "model" / "model.safetensors") for n in (1, 2))
    assert one.keys() == two.keys()
    assert max((one[key] - two[key]).abs().max().item() for key in one) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"), [([], []), (TORCHRUN, TORCHRUN), (TORCHRUN, [])], ids=["1-1", "2-2", "2-1"]
)
def test_a_run_killed_with_9_goes_on_to_the_same_loss(place, first, then):
    how = ("--epochs", "6", "--save_every", "7", "--lora.r", "4")
    if not (place / "whole").exists():
        train([*JURIST, *words(place, "dpo", "whole", *how)])
    name = f"killed{len(first)}{len(then)}"
    command = words(place, "dpo", name, *how)
    running = subprocess.Popen([*first, *JURIST, *command], env=ENV, stderr=subprocess.DEVNULL)
    while not (place / name / "checkpoints" / "step-00000014").exists():
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    kill_9(running.pid)
    running.wait()
    assert not (place / name / "model").exists()
    train([*then, *JURIST, *command])

    lines = metrics(place / name)
    assert [line["step"] for line in lines] == list(range(1, 37))
    whole = [line["loss"] for line in metrics(place / "whole")]
    exactly = 0.0 if not first else 1e-4
    assert [line["loss"] for line in lines] == pytest.approx(whole, rel=0, abs=exactly)


@pytest.mark.slow
def test_one_process_where_two_were_asked_for_is_refused(place):
    launch = [*ACCELERATE, "--cpu", "--num_processes", "2", *JURIST]
    done = subprocess.run(
        [*launch, *words(place, "sft", "alone")], env=ENV, capture_output=True, text=True, timeout=120
    )

    assert done.returncode != 0
    assert "torchrun --nproc-per-node 2 $(which jurist) train ..." in done.stderr
    assert not (place / "alone" / "model").exists()


ALONE = {
    "by torchrun": {"WORLD_SIZE": "2", "RANK": "0"},
    "by accelerate": {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"},
    "to be spread": {"ACCELERATE_USE_FSDP": "true"},
}


@pytest.mark.parametrize("how", ALONE)
def test_processes_that_were_started_and_do_not_meet_are_refused(how):
    refuse_strangers({"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}, 1, "NO")
    refuse_strangers({"ACCELERATE_MIXED_PRECISION": "no"}, 1, "NO")
    with pytest.raises(SettingError, match="torchrun --nproc-per-node 2"):
        refuse_strangers(ALONE[how], 1, "DistributedType.NO")
