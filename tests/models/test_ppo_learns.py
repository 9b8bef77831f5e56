"""In the tiny world, where the truth is known: a judge fond of length, with the KL and without it."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from jurist.models.ppo import train_ppo  # noqa: E402
from jurist.models.settings import (  # noqa: E402
    KlConfig,
    PPOConfig,
    RolloutConfig,
    ValueConfig,
)
from jurist.policies.policy import load_to_read  # noqa: E402
from jurist.policies.tokens import tokenise_many  # noqa: E402
from jurist.policies.writer import Drawing, HFWriter  # noqa: E402
from jurist.tiny.model import tiny_checkpoint  # noqa: E402
from jurist.tiny.world import apparent_score, prompts, true_score  # noqa: E402

pytestmark = pytest.mark.slow
torch.set_num_threads(1)
TARGET = 2.0
A_WORD = 0.05
"""What the judge adds for each word: twice what rambling truly costs."""


def good(prompt, completions):
    request = prompt.messages[-1].content
    return [apparent_score(request, one.text) for one in completions]


def fond_of_length(prompt, completions):
    plain = good(prompt, completions)
    return [score + A_WORD * len(one.text.split()) for score, one in zip(plain, completions, strict=True)]


def trained(out, reward=fond_of_length, kl=None, **more):
    cfg = PPOConfig(
        base=str(tiny_checkpoint()),
        out=str(out),
        batch=32,
        lr=1e-3,
        value=ValueConfig(lr=1e-2),
        rollout=RolloutConfig(samples=4, max_tokens=64),
        kl=kl or KlConfig(beta=0.1, target=TARGET, horizon=500.0),
        **more,
    )
    model = train_ppo(cfg, prompts(768, seed=3), reward)
    return model, [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def scores(folder):
    """The true score of one answer to each of 200 prompts about other things than those that were learnt."""
    policy, asked = load_to_read(folder), list(prompts(200, seed=77, side="held_out"))
    heads = tokenise_many(((one, (), {}) for one in asked), policy.tokenizer)
    ids = [one.prompt_ids for one in heads]
    drawn = sorted(HFWriter(policy).write(ids, 1, Drawing(64, policy.ends), [one.id for one in asked]))
    texts = [policy.tokenizer.decode(one.ids, skip_special_tokens=True) for one in drawn]
    return [true_score(one.messages[-1].content, text) for one, text in zip(asked, texts, strict=True)]


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("how", ["gae", "rloo", "grpo"])
def test_the_true_score_rises_and_the_kl_stays_under_its_target(tmp_path, how):
    model, said = trained(tmp_path, good, advantage=how)

    before, after = scores(tiny_checkpoint()), scores(model)
    assert mean(after) > mean(before) + 0.1
    # The controller steers by means of 128 answers, which stray by a tenth.
    assert mean([one["kl_sequence"] for one in said[-4:]]) <= 1.1 * TARGET


def test_without_the_kl_a_flawed_reward_is_overoptimised_and_with_it_is_not(tmp_path):
    held, held_said = trained(tmp_path / "held")
    free, free_said = trained(tmp_path / "free", kl=KlConfig(beta=0.0))

    before, with_kl, without = (mean(scores(folder)) for folder in (tiny_checkpoint(), held, free))
    rise = [mean([one["reward"] for one in said[-4:]]) - said[0]["reward"] for said in (held_said, free_said)]
    assert with_kl > before > without
    assert with_kl > without + 0.3
    assert rise[1] > rise[0] > 0
    assert mean([one["kl_sequence"] for one in held_said[-4:]]) <= 1.1 * TARGET
    assert mean([one["kl_sequence"] for one in free_said[-4:]]) > 10 * TARGET
