"""A policy of 131 M weights that learns from a reward model's folder, a user's way."""

import pytest

from support.llama import skip_without_model

pytestmark = pytest.mark.real
skip_without_model()

import json  # noqa: E402

from jurist.models.ppo import train_ppo  # noqa: E402
from jurist.models.reward import train_reward  # noqa: E402
from jurist.models.settings import ModelConfig, PPOConfig, RewardConfig, RolloutConfig  # noqa: E402
from jurist.policies.checkpoint import Lora  # noqa: E402
from jurist.policies.policy import load_to_read, token_stats  # noqa: E402
from jurist.policies.tokens import tokenise_many  # noqa: E402
from jurist.records import Completion, Preference, Prompt  # noqa: E402
from support import gemma  # noqa: E402
from support.llama import PROMPTS as TEXTS  # noqa: E402

PROMPTS = [Prompt.of(text) for text in TEXTS[:6]]
TEXT = "The capital of France is Paris."


def logprobs(folder):
    rows = [(prompt, (Completion.of(prompt.id, TEXT),), {}) for prompt in PROMPTS[4:]]
    policy = load_to_read(folder)
    return token_stats(policy, [*tokenise_many(rows, policy.tokenizer)]).logprobs_AT


def test_two_steps_of_rloo_on_a_reward_models_folder_move_what_was_not_learnt_from(tmp_path):
    pairs = [
        Preference(prompt.id, prompt, Completion.of(prompt.id, TEXT), Completion.of(prompt.id, "No."), 1.0)
        for prompt in PROMPTS[:4]
    ]
    base, model = str(gemma.english()), ModelConfig(precision="bfloat16")
    reward = RewardConfig(base=base, out=str(tmp_path / "reward"), learn="head", model=model)
    cfg = PPOConfig(
        base=base,
        out=str(tmp_path / "policy"),
        reward=str(train_reward(reward, pairs)),
        advantage="rloo",
        rollout=RolloutConfig(samples=2, max_tokens=8),
        batch=2,
        lr=1e-3,
        lora=Lora(merge=False),
        model=model,
    )
    folder = train_ppo(cfg, PROMPTS[:4])

    steps = [json.loads(line) for line in (tmp_path / "policy" / "metrics.jsonl").open()]
    assert [one["step"] for one in steps] == [1, 2]
    assert steps[0]["kl_sequence"] == pytest.approx(0, abs=0.05)
    assert steps[0]["completions"] == 4
    assert len({one["reward"] for one in steps}) == 2
    moved = (logprobs(folder) - logprobs(gemma.english())).abs()
    assert moved.max() > 0.01
