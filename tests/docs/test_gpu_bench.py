"""The GPU benchmark on a CPU: its dry run is whole, its arithmetic right, and what fails costs its row."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
pytest.importorskip("trl")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # TRL's own warnings


@pytest.fixture(scope="module")
def gpu():
    import gpu

    return gpu


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("gpu") / "gpu.json"
    command = ["bash", "bench/gpu.sh", "--dry-run", "--out", str(out)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHON": sys.executable}, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return json.loads(out.read_text())["rows"], done.stdout.decode()


def test_the_dry_run_measures_all_rows_on_both_sides_at_equal_loss(dry_run):
    rows, shown = dry_run
    assert list(rows) == [f"{method} {size}" for method in ("dpo", "reward", "grpo") for size in ("1B", "7B")]
    for name, row in rows.items():
        assert row["equal"], row
        assert row["ratio"] == row["ours"]["tokens_per_s"] / row["trl"]["tokens_per_s"]
        assert f"| {name}, TRL | {row['trl']['tokens_per_s']:,.0f} |" in shown
        if "1B" in name:  # in float32 there is next to no rounding
            assert row["apart"] < 0.001 * row["moved"]


def test_tokens_and_work_are_what_counting_them_otherwise_gives(gpu, dry_run):
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    import train_sides as sides

    for name, job in gpu.rows(dry=True).items():
        shape = dict(zip(sides.SHAPE, sides.SIZES[job["model"]], strict=True))
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(LlamaConfig(**shape, num_attention_heads=2))
        weights = {one: weight.numel() for one, weight in model.named_parameters()}
        body = sum(count for one, count in weights.items() if one.endswith("proj.weight"))
        head = 0 if "reward" in name else weights["lm_head.weight"]
        encode = sides.tokenizer(shape["vocab_size"]).encode
        prompts = sum(
            len(encode(f"<|user|> {asked.messages[0].content} <|end|> <|assistant|>"))
            for asked, *_ in sides.pairs(job)
        )
        pairs = sum(len(encode(f"{one} <|end|>")) for _, *both in sides.pairs(job) for one in both)
        for by in ("ours", "trl"):
            side, grpo = dry_run[0][name][by], "grpo" in name
            steps = side["steps"][2 if grpo else 1 :]
            s, rollout_s = (fmean(one.get(what, 0.0) for one in steps) for what in ("s", "rollout_s"))
            answers, of_each, passes = pairs, 2, 3 if "1B" in name else 2
            if grpo:
                given, most = [one["sampled"] for one in side["steps"][:2]], job["batch"] * 8 * 16
                answers, of_each, passes = (
                    fmean(one["sampled"] for one in steps),
                    8,
                    passes + 1 + (by == "ours"),
                )
                assert given == [most, most]
                assert 0 < answers <= most
                assert 0 < rollout_s < s
            reference_s = sum(one.get("reference_s", 0.0) for one in side["steps"])
            assert (reference_s > 0) == ("dpo" in name)
            tokens = prompts * of_each + answers
            assert side["tokens_per_s"] == pytest.approx(tokens / (s + reference_s))
            assert side["training_tokens_per_s"] == pytest.approx(tokens / (s - rollout_s))
            passed = tokens if by == "trl" else prompts + answers
            work = 2 * passes * (body * passed + head * answers)
            assert side["tflops"] * 1e12 == pytest.approx(work / (s - rollout_s))


class Ended(Exception):
    """In place of the end of the process."""


@pytest.mark.parametrize("method", ["dpo", "reward", "grpo"])
def test_the_tokens_counted_are_those_that_go_through_the_models(gpu, tmp_path, method):
    """Seen at their embeddings, on rows of one length, which need no padding."""
    import torch
    from torch.nn.modules.module import register_module_forward_pre_hook

    import train_sides as sides

    prompt, answer, rows = 60, 30, 8
    job = gpu.rows(dry=True)[f"{method} 1B"] | {"epochs": 1, "base": str(tmp_path / "base"), "max_tokens": 30}
    job |= {"lengths": [(prompt, answer, answer)] * rows}
    sides.checkpoint(tmp_path / "base", job["model"], "causal", "")
    of_each = job["samples"]
    whole, shared = rows * of_each * (prompt + answer), rows * (prompt + of_each * answer)
    without_gradient = {"dpo": (1, 1), "reward": (0, 0), "grpo": (2, 1)}[method]
    for by, tokens, passes in zip(("ours", "trl"), (shared, whole), without_gradient, strict=True):
        seen = {True: 0, False: 0}

        def note(module, given, seen=seen):
            if isinstance(module, torch.nn.Embedding):
                seen[torch.is_grad_enabled()] += given[0].numel()

        hook = register_module_forward_pre_hook(note)
        with patch.object(gpu, "leave", side_effect=Ended), pytest.raises(Ended):
            {"ours": gpu.ours, "trl": gpu.theirs}[by](job | {"out": str(tmp_path / by)}, gpu.Meter(job))
        hook.remove()
        assert seen[True] == tokens
        # Each form of sharing is tried once on a small example.
        assert seen[False] == pytest.approx(passes * tokens, abs=300)


def test_what_fails_is_said_and_the_others_go_on(gpu, tmp_path):
    rows, out = gpu.rows(dry=True), tmp_path / "gpu.json"
    jobs = {
        "crashes": rows["grpo 1B"] | {"samples": 1},
        "too slow": rows["reward 1B"] | {"limit": 0.1},
        "no flash attention": rows["reward 1B"] | {"attention": "flash_attention_2"},
    }
    gpu.run_rows(jobs, tmp_path, out, {"rows": {}})
    found = json.loads(out.read_text())["rows"]
    assert "ours: exit 1: jurist.errors.SettingError: grpo compares the samples" in found["crashes"]["failed"]
    assert "not done in 0 s" in found["too slow"]["failed"]
    after = found["no flash attention"]
    assert "flash_attention_2 cannot be used here" in after["failed_before"]["failed"]
    assert (after["with"]["attention"], after["equal"]) == ("sdpa", True)
    assert "; with care, since ours: exit 1: jurist.errors.SettingError: attention" in gpu.gpu_table(
        {"rows": found}
    )

    began = time.monotonic()
    gpu.run_rows(rows, tmp_path, out, {"rows": {}}, seconds=-1)
    skipped = json.loads(out.read_text())["rows"]
    assert {row["failed"] for row in skipped.values()} == {"skipped, since the -1 s were over"}
    assert time.monotonic() - began < 30
