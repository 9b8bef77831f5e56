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
from jurist.models.processes import check_launch

ROOT = Path(__file__).resolve().parents[2]
SOURCES = f"{ROOT / 'src'}:{Path(__file__).parent}"
ENV = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
ENV["PYTHONPATH"] = f"{SOURCES}:{os.environ.get('PYTHONPATH', '')}"
JURIST = [str(Path(__file__).with_name("jurist_for_tests.py"))]
ONE = [sys.executable]
TORCHRUN = [*ONE, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = [*ONE, "-m", "accelerate.commands.launch"]
MULTI = [*ACCELERATE, "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
MULTI += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
PPO = ("--reward", "rows_for_tests:vowels", "--rollout.samples", "2", "--rollout.max_tokens", "6")
PPO += ("--kl.target", "0.05", "--kl.horizon", "50", "--penalty.length", "0.1", "--value.lr", "1e-2")


def words(place: Path, verb: str, out: str, *more: str) -> list[str]:
    data = [str(place / "pairs.jsonl"), "--base", str(place / "base"), "--out", str(place / out)]
    how = PPO if verb in ("ppo", "rloo") else ()
    return ["train", verb, *data, "--lr", "3e-3", "--batch", "16", *how, *more]


def train(command: list[str], **env: str) -> None:
    done = subprocess.run(command, env={**ENV, **env}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def processes(out: Path) -> int:
    return json.loads((out / "model" / "training.json").read_text())["processes"]


def same(place: Path, one: str, two: str, exactly: bool = False) -> None:
    ours, theirs = metrics(place / one), metrics(place / two)
    assert [line["step"] for line in theirs] == [line["step"] for line in ours]
    for line, twin in zip(ours, theirs, strict=True):
        if exactly:
            assert line == twin
            continue
        for name, value in line.items():
            near = value if isinstance(value, str) else pytest.approx(value, rel=1e-3, abs=1e-4)
            assert twin[name] == near, (line["step"], name)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    here = tmp_path_factory.mktemp("processes")
    making.checkpoint(here / "base")
    pairs_file(here / "pairs.jsonl", 90)
    config = (ROOT / "recipes" / "accelerate" / "fsdp.yaml").read_text()
    config = config.replace("num_processes: 8", "num_processes: 2")
    (here / "fsdp.yaml").write_text(config.replace("precision: bf16", 'precision: "no"'))
    return here


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "launch", "how"),
    [
        ("sft", TORCHRUN, ("--tokens", "512")),
        ("reward", TORCHRUN, ("--lora.r", "4", "--tokens", "512")),
        ("reward", TORCHRUN, ("--learn", "head", "--held_out", "0.1")),
        ("dpo", TORCHRUN, ("--held_out", "0.2")),
        ("ppo", TORCHRUN, ("--held_out", "0.2")),
        ("rloo", TORCHRUN, ("--advantage", "grpo")),
        ("reward", MULTI, ("--held_out", "0.1", "--tokens", "512")),
    ],
    ids=["sft", "reward-lora", "reward-head", "dpo", "ppo", "grpo", "reward-accelerate"],
)
def test_two_processes_give_the_numbers_of_one(place, verb, launch, how):
    name = f"{verb}{''.join(how)}{launch is MULTI}".replace("-", "")
    train([*ONE, *JURIST, *words(place, verb, f"{name}-1", *how)])
    train([*launch, *JURIST, *words(place, verb, f"{name}-2", *how)])

    assert processes(place / f"{name}-1") == 1
    assert processes(place / f"{name}-2") == 2
    same(place, f"{name}-1", f"{name}-2")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "how"),
    [
        ("sft", ()),
        ("reward", ("--held_out", "0.1")),
        ("dpo", ("--save_every", "2", "--held_out", "0.1")),
        ("dpo", ("--lora.r", "4", "--model.checkpointing", "true", "--save_every", "2")),
        ("dpo", ("--reference", "OTHER")),
        ("ppo", ("--held_out", "0.2", "--save_every", "2")),
        ("rloo", ("--lora.r", "4")),
    ],
    ids=["sft", "reward", "dpo", "dpo-lora", "dpo-reference", "ppo", "rloo-lora"],
)
def test_weights_that_are_sharded_give_the_numbers_of_one_process_and_its_model(place, verb, how):
    from safetensors.torch import load_file

    if "OTHER" in how:
        how = ("--reference", str(making.checkpoint(place / "other", seed=5)))
    name = f"sharded-{verb}{len(how)}"
    launch = [*ACCELERATE, "--config_file", str(place / "fsdp.yaml"), "--main_process_port", "0"]
    train([*ONE, *JURIST, *words(place, verb, f"{name}-1", *how)])
    train([*launch, *JURIST, *words(place, verb, f"{name}-2", *how)], JURIST_TEST_SHARDED="1")

    same(place, f"{name}-1", f"{name}-2")
    one, two = (load_file(place / f"{name}-{n}" / "model" / "model.safetensors") for n in (1, 2))
    assert one.keys() == two.keys()
    assert max((one[key] - two[key]).abs().max().item() for key in one) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "first", "then"),
    [
        ("dpo", ONE, ONE),
        ("dpo", TORCHRUN, TORCHRUN),
        ("dpo", TORCHRUN, ONE),
        ("ppo", ONE, ONE),
        ("ppo", TORCHRUN, TORCHRUN),
    ],
    ids=["dpo-1-1", "dpo-2-2", "dpo-2-1", "ppo-1-1", "ppo-2-2"],
)
def test_a_run_killed_with_9_goes_on_to_the_same_numbers(place, verb, first, then):
    how = ("--epochs", "4", "--save_every", "5", "--lora.r", "4")
    if not (place / f"whole-{verb}").exists():
        train([*ONE, *JURIST, *words(place, verb, f"whole-{verb}", *how)])
    name = f"killed-{verb}{len(first)}{len(then)}"
    command = words(place, verb, name, *how)
    running = subprocess.Popen([*first, *JURIST, *command], env=ENV, stderr=subprocess.DEVNULL)
    while not (place / name / "checkpoints" / "step-00000010.safetensors").exists():
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    kill_9(running.pid)
    running.wait()
    assert not (place / name / "model").exists()
    train([*then, *JURIST, *command])

    assert [line["step"] for line in metrics(place / name)] == list(range(1, 25))
    same(place, f"whole-{verb}", name, exactly=first is ONE)


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
    "to be sharded": {"ACCELERATE_USE_FSDP": "true"},
}


@pytest.mark.parametrize("how", ALONE)
def test_processes_that_were_started_and_do_not_meet_are_refused(how):
    check_launch({"WORLD_SIZE": "1", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}, 1, "NO")
    check_launch({"ACCELERATE_MIXED_PRECISION": "no"}, 1, "NO")
    with pytest.raises(SettingError, match="torchrun --nproc-per-node 2"):
        check_launch(ALONE[how], 1, "DistributedType.NO")
