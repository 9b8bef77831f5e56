"""What every trainer keeps to: memory that runs out, signals, finished runs, a quiet screen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import making
import pytest
import torch
from msgspec.structs import replace
from rows_for_tests import metrics, pairs_file, preferences

from jurist.engines import checkpoints
from jurist.errors import Interrupted, RunError
from jurist.models import trainer
from jurist.models.checkpoint import fingerprint
from jurist.models.processes import Processes, joined, merged, open_accelerator, shuffled_steps
from jurist.models.reward import train_reward
from jurist.models.settings import DpoConfig, ModelConfig, PPOConfig, RewardConfig
from jurist.models.trainer import lr_share
from jurist.policies.checkpoint import Lora
from jurist.policies.policy import Policy, load_policy
from jurist.policies.tokens import Example

torch.set_num_threads(1)
ENV = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
JURIST = [sys.executable, "-c", "from jurist.cli import main; main()"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return making.checkpoint(tmp_path_factory.mktemp("base") / "llama")


def settings(base, out, **more):
    return RewardConfig(data="rows", base=str(base), out=str(out), batch=32, lr=3e-3, **more)


def out_of_memory(monkeypatch, when):
    """A device that is full after the passes with gradient of which `when(number, tokens)` is true."""
    forward, passes = Policy.forward, []

    def limited(self, rows, *args, **how):
        found = forward(self, rows, *args, **how)
        if torch.is_grad_enabled():
            passes.append(sum(one.length for one in rows))
            if when(len(passes), passes[-1]):
                raise torch.OutOfMemoryError("CUDA out of memory")
        return found

    monkeypatch.setattr(Policy, "forward", limited)
    return passes


@pytest.mark.slow
def test_out_of_memory_begins_the_step_again_with_half_the_tokens_which_are_kept(
    base, tmp_path, monkeypatch, capsys
):
    lora = Lora(r=4, dropout=0.1)
    train_reward(settings(base, tmp_path / "plain", tokens=300, lora=lora), preferences(96))
    # In the second pass of the second step: in the first, a new head gives the adapter no gradient.
    passes = out_of_memory(monkeypatch, lambda number, _: number == 4)
    train_reward(settings(base, tmp_path / "full", tokens=600, lora=lora), preferences(96))

    assert max(passes[:4]) > 300 >= max(passes[4:]), passes
    for line, twin in zip(metrics(tmp_path / "full"), metrics(tmp_path / "plain"), strict=True):
        assert line == pytest.approx(twin, rel=1e-5)
    assert capsys.readouterr().err == "jurist: out of memory; going on with --tokens 300\n"


@pytest.mark.parametrize(
    ("rows", "given", "batch"), [(12, None, 8), (400, None, 25), (5000, None, 64), (12, 3, 3)]
)
def test_few_rows_are_learnt_in_small_steps(rows, given, batch):
    assert RewardConfig(batch=given).rows_a_step(rows) == batch


def test_where_memory_would_not_do_on_a_cpu_an_adapter_is_named_before(base, tmp_path, monkeypatch, capsys):
    for free, said in ((1e12, ""), (1e5, "An adapter takes far less: --lora.r 16\n")):
        monkeypatch.setattr("jurist.models.processes.free_memory", lambda free=free: free)
        train_reward(settings(base, tmp_path / f"{free}", epochs=0.1), preferences(32))
        err = capsys.readouterr().err
        assert err.endswith(said)
        assert bool(err) == bool(said)


def test_where_not_even_one_row_fits_the_error_says_what_to_try(base, tmp_path, monkeypatch):
    out_of_memory(monkeypatch, lambda _, tokens: tokens > 5)
    with pytest.raises(RunError, match=r"one row alone.*--model.checkpointing true"):
        train_reward(settings(base, tmp_path, tokens=256), preferences(32))


def test_a_finished_run_loads_nothing(base, tmp_path, monkeypatch):
    cfg = settings(base, tmp_path)
    folder = train_reward(cfg, preferences(32))
    monkeypatch.setattr("jurist.models.trainer.load_policy", None)
    monkeypatch.setattr("jurist.models.rows.tokenise_many", None)

    assert train_reward(cfg, preferences(32)) == folder
    for other in (replace(cfg, lr=1e-4), replace(cfg, seed=1)):
        with pytest.raises(RunError, match="trained with other settings"):
            train_reward(other, preferences(32))
    with pytest.raises(RunError, match="trained with other settings, data or base"):
        train_reward(cfg, preferences(33))


def test_by_default_a_cpu_computes_in_bfloat16_if_it_can_and_the_base_is_of_it(base, tmp_path):
    making.model().to(torch.bfloat16).save_pretrained(tmp_path / "half")
    making.tokenizer().save_pretrained(tmp_path / "half")
    found = [open_accelerator(DpoConfig(base=str(one))).mixed_precision for one in (base, tmp_path / "half")]

    able = torch.cpu.get_capabilities()["avx512_bf16"] or torch.cpu.get_capabilities()["amx_bf16"]
    assert found == ["no", "bf16" if able else "no"]


def test_what_changes_no_number_is_not_in_the_name_of_a_run_and_what_does_is(base, tmp_path):
    data = pairs_file(tmp_path / "pairs.jsonl", 4)
    cfg = DpoConfig(data=str(data), base=str(base))
    same = {"tokens": 100, "save_every": 3, "out": "elsewhere", "model": ModelConfig(checkpointing=True)}
    assert {fingerprint(replace(cfg, **{name: value})) for name, value in same.items()} == {fingerprint(cfg)}

    other = making.checkpoint(tmp_path / "other", seed=3)
    changed = [
        replace(cfg, model=ModelConfig(precision="bfloat16")),
        replace(cfg, reference=str(other)),
        replace(cfg, base=str(other)),
        replace(cfg, beta=0.2),
        PPOConfig(data=str(data), base=str(base)),
    ]
    names = {fingerprint(cfg), *map(fingerprint, changed)}
    pairs_file(data, 5)
    assert len({*names, fingerprint(cfg)}) == 7
    answers = [(one.prompt, one.chosen) for one in preferences(2)]
    others = [(one.prompt, one.rejected) for one in preferences(2)]
    cut_off = [(prompt, replace(one, finish="length")) for prompt, one in answers]
    rows = (answers, others, cut_off, [one.prompt for one in preferences(2)], preferences(2))
    assert len({fingerprint(cfg, some) for some in rows}) == 5


@pytest.mark.slow
def test_a_finished_run_says_so_in_a_second_or_two(base, tmp_path):
    pairs_file(tmp_path / "pairs.jsonl", 2000)
    words = [
        *JURIST,
        "train",
        "reward",
        str(tmp_path / "pairs.jsonl"),
        "--base",
        str(base),
        "--epochs",
        "0.02",
    ]
    first = subprocess.run(words, env=ENV, capture_output=True, text=True, timeout=120)
    began = time.monotonic()
    again = subprocess.run(words, env=ENV, capture_output=True, text=True, timeout=120)

    assert time.monotonic() - began < 2.0
    assert first.returncode == again.returncode == 0
    assert again.stdout == first.stdout


def test_a_process_saves_with_the_others_though_a_quicker_one_has_written_the_file(
    base, tmp_path, monkeypatch
):
    folder, saved = tmp_path / "run" / "checkpoints", []

    def gather(processes, mine):  # the last that happens before a save
        folder.mkdir(exist_ok=True)
        for step in range(1, 5):
            (folder / f"step-{step:08}.safetensors").touch()
        return list(mine)

    monkeypatch.setattr(Processes, "gather", gather)
    monkeypatch.setattr(trainer, "save_checkpoint", lambda file, *_: saved.append(file.stem))
    train_reward(settings(base, tmp_path / "run", epochs=2, save_every=1), preferences(64))

    assert saved == ["step-00000001", "step-00000002", "step-00000003"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_step_before_its_next_pass_and_the_run_goes_on_to_the_same_numbers(
    base, tmp_path, number, capsys
):
    told = []

    def stop(now) -> None:
        told.append(now.doing)
        if now.step == 1 and now.doing.startswith("1"):  # in the midst of step 2
            os.kill(os.getpid(), number)

    cfg = settings(base, tmp_path / "whole", epochs=2, tokens=300)
    train_reward(cfg, preferences(64))
    halves = replace(cfg, out=str(tmp_path / "halves"))
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"after step 1 of 4, which is saved.*from step 2"):
        train_reward(halves, preferences(64), on_progress=stop)
    assert told[-1].endswith(" of 32 rows")
    assert "stopping. Press Ctrl-C again" in capsys.readouterr().err
    assert signal.getsignal(number) is before
    steps = []
    train_reward(halves, preferences(64), on_progress=lambda now: now.doing or steps.append(now.step))
    assert steps == [2, 3, 4]

    whole, again = metrics(tmp_path / "whole"), metrics(tmp_path / "halves")
    assert whole == again


@pytest.mark.slow
def test_a_process_that_is_terminated_exits_with_130_and_goes_on_where_it_stopped(base, tmp_path):
    data = pairs_file(tmp_path / "pairs.jsonl", 90)

    def words(out):
        return [*JURIST, "train", "dpo", str(data), "--base", str(base), "--out", str(tmp_path / out),
                "--batch", "16", "--epochs", "30", "--lr", "3e-3"]  # fmt: skip

    subprocess.run(words("whole"), env=ENV, check=True, capture_output=True, timeout=120)
    running = subprocess.Popen(words("halves"), env=ENV, stderr=subprocess.PIPE, text=True)
    file = tmp_path / "halves" / "metrics.jsonl"
    while not file.exists() or len(file.read_text().splitlines()) < 5:
        time.sleep(0.01)
    running.terminate()
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped by SIGTERM after step" in said.splitlines()[-1]
    subprocess.run(words("halves"), env=ENV, check=True, capture_output=True, timeout=120)

    assert metrics(tmp_path / "whole") == metrics(tmp_path / "halves")


@pytest.mark.slow
def test_nothing_is_printed_but_progress(base, tmp_path):
    """Bars and advice of libraries would hide what we say."""
    data = pairs_file(tmp_path / "pairs.jsonl", 8)
    words = [*JURIST, "train", "dpo", str(data), "--base", str(base), "--lora.r", "2", "--held_out", "0.2"]
    done = subprocess.run(words, env=ENV, capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr
    assert "arning" not in done.stderr
    assert "it/s" not in done.stderr


def test_weights_are_read_once_and_again_when_they_change(tmp_path, monkeypatch):
    monkeypatch.setenv("JURIST_CACHE", str(tmp_path / "cache"))
    folder = making.checkpoint(tmp_path / "base")
    hashed = []

    class Counted:
        def __init__(self, *args, **how):
            self.inner = real(*args, **how)
            self.hexdigest = self.inner.hexdigest

        def update(self, data):
            hashed.append(len(data))
            self.inner.update(data)

    real = checkpoints.blake2b
    monkeypatch.setattr(checkpoints, "blake2b", Counted)

    def age(seconds: int) -> None:
        for file in folder.iterdir():
            os.utime(file, (1_000_000 + seconds, 1_000_000 + seconds))

    def read() -> tuple[str, bool]:
        hashed.clear()
        return checkpoints.weights_hash(folder), sum(hashed) > 0

    age(0)
    first = read()
    assert read() == (first[0], False)
    assert first[1]
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    age(1)
    changed = read()
    assert changed != (first[0], True)
    assert changed[1]
    assert read() == (changed[0], False)


def test_steps_come_in_another_order_with_another_seed_and_in_the_same_with_the_same():
    examples = [Example([1] * (length - 1), [[2]]) for length in range(2, 102)]

    def epochs(seed, count=1):
        plan = shuffled_steps(examples, 8, seed)
        return [[next(plan) for _ in range(13)] for _ in range(count)]

    one, two = epochs(1, 2)
    assert [one] == epochs(1) != epochs(2)
    assert one != two
    for epoch in (one, two):
        assert sorted(row for step in epoch for row in step) == list(range(100))


def test_rows_of_one_prompt_are_computed_together_as_far_as_they_fit(base):
    model, prompt = load_policy(base).model, [5, 6, 7]
    rows = [Example(prompt, [[8, number]]) for number in range(9, 13)] + [Example([5, 6, 7], [[8, 9]])]

    assert joined(model, rows, 100) == [[0, 1, 2, 3], [4]]
    assert joined(model, rows, 8) == [[0, 1], [2, 3], [4]]
    (whole, other) = merged(rows)
    assert (whole.answers, other.answers) == ([[8, 9], [8, 10], [8, 11], [8, 12]], [[8, 9]])


def test_the_learning_rate_rises_and_comes_down_as_its_schedule_says():
    assert [round(lr_share(n, 11, 0.2, "linear"), 4) for n in (1, 3, 4, 11)] == [0.3333, 1.0, 0.8889, 0.1111]
    assert [round(lr_share(n, 10, 0.2, "cosine"), 4) for n in (1, 2, 6, 10)] == [0.5, 1.0, 0.55, 0.1]
    assert lr_share(10, 10, 0.2, "constant") == 1.0


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_every_step_learns_and_one_of_them_at_the_full_rate(steps, warmup, schedule):
    shares = [lr_share(step, steps, warmup, schedule) for step in range(1, steps + 1)]

    assert max(shares) == 1.0
    assert min(shares) > 0.0
