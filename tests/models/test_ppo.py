import json
import math

import msgspec
import pytest
from msgspec.structs import replace

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from making import checkpoint  # noqa: E402

from jurist.engines.checkpoints import weights_hash  # noqa: E402
from jurist.errors import DataError, EngineDown, RunError, SettingError  # noqa: E402
from jurist.models.ppo import beta_after, halts, prompt_steps, train_ppo  # noqa: E402
from jurist.models.rows import is_held_out, load_training_prompts  # noqa: E402
from jurist.models.settings import (  # noqa: E402
    HaltConfig,
    KlConfig,
    PPOConfig,
    PpoOptimConfig,
    RolloutConfig,
    ValueConfig,
)
from jurist.policies.checkpoint import Lora  # noqa: E402
from jurist.policies.policy import load_policy  # noqa: E402
from jurist.records import Prompt  # noqa: E402
from support.vllm import fake_vllm  # noqa: E402

torch.set_num_threads(1)
PROMPTS = [Prompt.of(f"tell me why {number}") for number in range(12)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("other") / "model", seed=1)


def vowels(prompt, completions):
    """Something any random model can learn to write more of."""
    return [sum(letter in "aeiou" for letter in one.text) / 10 for one in completions]


def settings(base, out, samples=2, **more):
    usual = {
        "batch": 4,
        "rollout": RolloutConfig(samples=samples, max_tokens=6),
        "lr": 1e-3,
        "value": ValueConfig(lr=1e-2),
        "epochs": 2,
        "optim": PpoOptimConfig(warmup=0.0),
    }
    return PPOConfig(base=str(base), out=str(out), **{**usual, **more})


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def facts(out):
    return json.loads((out / "model" / "training.json").read_text())


@pytest.mark.parametrize(
    "how", [pytest.param(one, marks=pytest.mark.slow) for one in ("gae", "rloo", "grpo")]
)
def test_a_random_model_learns_what_is_rewarded(base, tmp_path, how):
    cfg = settings(base, tmp_path, advantage=how, epochs=10, samples=4, lr=5e-3, kl=KlConfig(beta=0.01))

    model = train_ppo(cfg, PROMPTS, vowels)

    said = metrics(tmp_path)
    first, last = (sum(one["reward"] for one in part) / 5 for part in (said[:5], said[-5:]))
    assert last > first + 0.1
    assert load_policy(model).tokenizer.chat_template
    assert not list(model.glob("*.bin"))


def test_one_optimiser_is_made_in_which_the_value_head_has_a_rate_of_its_own(base, tmp_path, monkeypatch):
    made = []

    class Noted(torch.optim.AdamW):
        def __init__(self, *args, **how):
            super().__init__(*args, **how)
            made.append(self)

    monkeypatch.setattr(torch.optim, "AdamW", Noted)
    train_ppo(settings(base, tmp_path, epochs=0.1), PROMPTS, vowels)

    (one,) = made
    assert [(group["lr"], len(group["params"])) for group in one.param_groups[1:]] == [(1e-2, 2)]
    assert one.param_groups[0]["lr"] == 1e-3


@pytest.mark.slow
def test_the_policy_starts_at_its_reference_whose_hash_is_kept(base, tmp_path):
    train_ppo(settings(base, tmp_path), PROMPTS, vowels)

    start, *rest = metrics(tmp_path)
    assert abs(start["kl_sequence"]) < 1e-5
    assert rest[-1]["kl3_sequence"] > 1e-4
    assert facts(tmp_path)["reference_hash"] == weights_hash(base)


def test_another_reference_can_be_named_and_its_hash_is_the_one_kept(base, other, tmp_path):
    train_ppo(settings(base, tmp_path, reference=str(other), epochs=1), PROMPTS, vowels)

    assert metrics(tmp_path)[0]["kl3_sequence"] > 0.01
    assert facts(tmp_path)["reference_hash"] == weights_hash(other) != weights_hash(base)


def test_a_reference_that_speaks_other_tokens_is_refused(base, tmp_path):
    strange = checkpoint(tmp_path / "strange", kind="gpt2")
    words = json.loads((strange / "tokenizer.json").read_text())
    words["added_tokens"].append({**words["added_tokens"][-1], "id": 325, "content": "<|more|>"})
    (strange / "tokenizer.json").write_text(json.dumps(words))

    with pytest.raises(SettingError, match=r"other tokens than the policy.*--reference"):
        train_ppo(settings(base, tmp_path / "out", reference=str(strange)), PROMPTS, vowels)


def test_a_failed_verdict_skips_its_completion_and_is_counted(base, tmp_path):
    def sometimes(prompt, completions):
        return [None, None] if prompt is PROMPTS[0] else vowels(prompt, completions)

    train_ppo(settings(base, tmp_path, epochs=1), PROMPTS, sometimes)

    said = metrics(tmp_path)
    assert sum(one["failed"] for one in said) == 2
    assert all(one["failed"] + one["completions"] == 8 for one in said)


def test_a_constant_reward_is_told_once(base, tmp_path, capsys):
    train_ppo(settings(base, tmp_path, epochs=1), PROMPTS, lambda p, c: [0.5] * len(c))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("jurist: ")]
    assert said == [
        "jurist: all 8 completions of step 1 have the reward 0.5: from a constant nothing is learnt."
        " Stop with Ctrl-C and check the reward"
    ]


@pytest.mark.parametrize("how", ["gae", "rloo"])
def test_a_step_without_any_verdict_changes_nothing_and_the_training_goes_on(base, tmp_path, how):
    train_ppo(
        settings(base, tmp_path, advantage=how, halt=HaltConfig(failed=1.0), epochs=1),
        PROMPTS,
        lambda p, c: [None] * len(c),
    )

    assert metrics(tmp_path)[-1]["failed"] == 8
    ours = load_policy(tmp_path / "model").model.state_dict()
    for name, weight in load_policy(base).model.state_dict().items():
        assert torch.equal(ours[name], weight)


@pytest.mark.slow
def test_how_a_step_is_cut_into_batches_changes_no_number(base, tmp_path):
    for name, tokens in (("whole", 16384), ("cut", 60)):
        train_ppo(settings(base, tmp_path / name, tokens=tokens), PROMPTS, vowels)

    for one, other in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "cut"), strict=True):
        for name, value in one.items():
            assert math.isclose(value, other[name], rel_tol=1e-3, abs_tol=1e-4), name


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"kl": KlConfig(target=0.01, horizon=50.0)}, marks=pytest.mark.slow),
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"lora": Lora(r=4)}, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_numbers(base, tmp_path, how):
    calls = 0

    def breaks_down(prompt, completions):
        nonlocal calls
        calls += 1
        if calls > 17:
            raise EngineDown("nothing gets through")
        return vowels(prompt, completions)

    straight, broken = (settings(base, tmp_path / out, save_every=2, **how) for out in ("straight", "broken"))
    train_ppo(straight, PROMPTS, vowels)
    with pytest.raises(EngineDown):
        train_ppo(broken, PROMPTS, breaks_down)
    assert len(metrics(tmp_path / "broken")) == 4

    train_ppo(broken, PROMPTS, vowels)

    whole, resumed = metrics(tmp_path / "straight"), metrics(tmp_path / "broken")
    assert [one["step"] for one in resumed] == [1, 2, 3, 4, 5, 6]
    for name, value in whole[-1].items():
        assert math.isclose(value, resumed[-1][name], rel_tol=1e-4, abs_tol=1e-5), name


@pytest.mark.slow
def test_under_a_lora_the_reference_is_the_policy_without_its_adapter(base, tmp_path):
    train_ppo(settings(base, tmp_path / "out", lora=Lora(r=4), epochs=4, lr=1e-2), PROMPTS, vowels)
    first, *_, last = metrics(tmp_path / "out")
    assert abs(first["kl_sequence"]) < 1e-5
    assert last["kl3_sequence"] > 1e-3
    assert not list((tmp_path / "out" / "model").glob("adapter*"))


def test_a_loss_that_is_not_a_number_stops_the_training_with_a_way_out(base, tmp_path):
    with pytest.raises(RunError, match=r"not a number.*--lr"):
        train_ppo(settings(base, tmp_path, lr=1e30), PROMPTS, vowels)

    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_a_run_that_ended_before_its_first_checkpoint_leaves_no_line_behind(base, tmp_path):
    def breaks_down(prompt, completions):
        raise EngineDown("nothing gets through")

    straight, broken = (settings(base, tmp_path / out, held_out=0.3) for out in ("straight", "broken"))
    train_ppo(straight, PROMPTS, vowels)
    cfg = replace(broken, save_every=0)
    calls = iter([vowels, breaks_down])
    with pytest.raises(EngineDown):
        train_ppo(cfg, PROMPTS, lambda prompt, completions: next(calls, breaks_down)(prompt, completions))
    train_ppo(cfg, PROMPTS, vowels)

    assert metrics(tmp_path / "broken") == metrics(tmp_path / "straight")


def test_no_prompts_and_prompts_that_leave_no_room_are_refused(base, tmp_path):
    with pytest.raises(DataError, match="0 prompts to learn"):
        train_ppo(settings(base, tmp_path), [], vowels)
    with pytest.raises(DataError, match=r"12 too_long.*--max_length"):
        train_ppo(settings(base, tmp_path, max_length=8), PROMPTS, vowels)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(SettingError, match=r"--rollout\.samples 4"):
        PPOConfig(advantage="rloo", rollout=RolloutConfig(samples=1))
    with pytest.raises(SettingError, match="cannot start at 0"):
        PPOConfig(kl=KlConfig(target=4.0, beta=0.0))


def test_the_number_of_samples_follows_the_method():
    assert (PPOConfig().samples, PPOConfig(advantage="rloo").samples) == (1, 4)


def test_every_prompt_has_its_turn_in_each_epoch_in_a_new_order():
    plan = prompt_steps(12, 1, PPOConfig(batch=4, epochs=2))
    rows = [next(plan) for _ in range(6)]

    assert all(
        sorted(row for rows in part for row in rows) == list(range(12)) for part in (rows[:3], rows[3:])
    )
    assert rows[:3] != rows[3:]


def test_a_fixed_beta_stays_and_an_adaptive_one_grows():
    far = {"completions": 100.0, "kl_sequence": 50.0}

    assert beta_after(0.1, far, PPOConfig()) == 0.1
    assert beta_after(0.1, far, PPOConfig(kl=KlConfig(target=1.0, horizon=100))) == 0.2


def test_prompts_are_read_from_a_file_with_a_column_for_them_and_from_a_loop(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"q": "why?"}\n{"q": "how?"}\n')
    asked = list(load_training_prompts(tmp_path / "rows.jsonl", columns={"prompt": "q"}))
    (tmp_path / "loop" / "prompts").mkdir(parents=True)
    (tmp_path / "loop" / "prompts" / "train.jsonl").write_bytes(msgspec.json.encode(asked[0]))

    assert [one.messages[0].content for one in asked] == ["why?", "how?"]
    assert list(load_training_prompts(tmp_path / "loop")) == asked[:1]


def test_prompts_held_out_are_measured_and_not_learnt_from(base, tmp_path):
    asked = []

    def noting(prompt, completions):
        asked.append(prompt.id)
        return [None if prompt.id == held[0] else 0.25] * len(completions)

    held = [one.id for one in PROMPTS if is_held_out(one, 0.5)]
    train_ppo(settings(base, tmp_path, held_out=0.5, epochs=2), PROMPTS, noting)

    lines = [line for line in metrics(tmp_path) if line.get("of") == "held_out"]
    learnt = len(PROMPTS) - len(held)
    steps = 2 * math.ceil(learnt / 4)
    assert [line["step"] for line in lines] == [0, steps // 2, steps]
    assert lines[0]["kl_sequence"] == pytest.approx(0.0, abs=1e-5) != lines[-1]["kl_sequence"]
    assert {line["reward"] for line in lines} == {0.25}
    assert lines[0]["failed"] == 2
    assert sum(one in held for one in asked) == 3 * len(held)
    assert facts(tmp_path)["held_out"]["rows"] == len(held)


def test_training_ends_where_held_out_prompts_say_so_and_by_default_never(base, tmp_path):
    worse = {"reward": 0.2, "reward_std": 0.1, "completions": 1.0, "kl_sequence": 5.0}
    numbers = {}
    assert not halts(PPOConfig(halt=HaltConfig(worse=True)), {**worse, "reward": 0.9}, numbers)
    assert "from 0.9 to 0.2" in halts(PPOConfig(halt=HaltConfig(worse=True)), worse, numbers)
    assert not halts(PPOConfig(halt=HaltConfig(worse=True)), {**worse, "reward": 0.7}, numbers)
    assert not halts(PPOConfig(), worse, numbers)

    cfg = settings(base, tmp_path, held_out=0.3, epochs=9, halt=HaltConfig(kl=0.05), kl=KlConfig(beta=0.0))
    train_ppo(replace(cfg, lr=1e-2), PROMPTS, vowels)
    assert "above halt.kl 0.05" in facts(tmp_path)["halted"]
    assert metrics(tmp_path)[-1]["kl_sequence"] > 0.05
    assert facts(tmp_path)["steps"] == metrics(tmp_path)[-1]["step"] < 18


@pytest.mark.slow
def test_rollouts_come_from_vllm_which_gets_the_weights_before_the_first_step_and_after_each(base, tmp_path):
    rollout = RolloutConfig(samples=2, max_tokens=6, writer="vllm")
    with fake_vllm() as server:
        server.longest = 512
        cfg = settings(base, tmp_path, epochs=1, rollout=replace(rollout, url=server.url))
        model = train_ppo(cfg, PROMPTS, vowels)
        steps = len(metrics(tmp_path))
        assert server.calls.count("/collective_rpc") == steps + 1 == 4
        assert len(server.requests) == len(PROMPTS) * 2
        saved = load_policy(model).model.state_dict()
    assert all(torch.equal(saved[name], weight) for name, weight in server.weights.items())
