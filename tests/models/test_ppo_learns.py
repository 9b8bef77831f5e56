"""In the small world, where the truth is known: a judge fond of length, with the KL and without it."""

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from jurist.models.batch import tokenise  # noqa: E402
from jurist.models.drawing import draw  # noqa: E402
from jurist.models.policy import load_policy  # noqa: E402
from jurist.models.ppo_settings import PPOConfig  # noqa: E402

from jurist.engines.checkpoints import weights_hash  # noqa: E402
from jurist.models.ppo import train_ppo  # noqa: E402
from jurist.tiny.model import tiny_checkpoint  # noqa: E402
from jurist.tiny.world import apparent_score, prompts, true_score  # noqa: E402

pytestmark = pytest.mark.slow
torch.set_num_threads(1)
TARGET = 2.0
A_WORD = 0.05
"""What the judge adds for each word: twice what rambling truly costs."""


def fond_of_length(prompt, completion):
    request = prompt.messages[-1].content
    return apparent_score(request, completion.text) + A_WORD * len(completion.text.split())


def trained(out, reward=fond_of_length, **more):
    usual = {"batch": 32, "max_tokens": 64, "lr": 1e-3, "value_lr": 1e-2, "beta": 0.1, "horizon": 500.0}
    base = str(tiny_checkpoint())
    cfg = PPOConfig(base=base, anchor=base, out=str(out), **{**usual, "samples": 4, **more})
    model = train_ppo(cfg, prompts(768, seed=3), reward)
    return model, [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def scores(folder):
    """The true score of one answer to each of 200 prompts that nobody was trained on."""
    policy, asked = load_policy(folder), list(prompts(200, seed=77))
    heads = [tokenise(one, (), policy.tokenizer).prompt_ids for one in asked]
    drawn = draw(
        policy.model,
        heads,
        samples=1,
        max_tokens=64,
        end_ids=[policy.tokenizer.eos_token_id],
        keys=[one.id for one in asked],
    )
    texts = [policy.tokenizer.decode(one.ids, skip_special_tokens=True) for one in drawn]
    return [true_score(one.messages[-1].content, text) for one, text in zip(asked, texts, strict=True)]


def wins(ours, theirs):
    return sum((a > b) + 0.5 * (a == b) for a, b in zip(ours, theirs, strict=True)) / len(ours)


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("how", ["gae", "rloo", "grpo"])
def test_the_true_score_rises_and_the_kl_stays_under_its_target(tmp_path, how):
    def good(prompt, completion):
        return apparent_score(prompt.messages[-1].content, completion.text)

    model, said = trained(tmp_path, good, advantage=how, kl_target=TARGET)

    before, after = scores(tiny_checkpoint()), scores(model)
    assert mean(after) > mean(before) + 0.2
    assert wins(after, before) > 0.6
    # The controller steers by means of 128 answers, which stray by a tenth.
    assert mean([one["kl_sequence"] for one in said[-4:]]) <= 1.1 * TARGET
    facts = json.loads((model / "training.json").read_text())
    assert facts["anchor_hash"] == weights_hash(tiny_checkpoint())


def test_without_the_kl_a_flawed_reward_is_overoptimised_and_with_it_is_not(tmp_path):
    held, held_said = trained(tmp_path / "held", kl_target=TARGET)
    free, free_said = trained(tmp_path / "free", beta=0.0)

    before, with_kl, without = (mean(scores(folder)) for folder in (tiny_checkpoint(), held, free))
    rise = [mean([one["reward"] for one in said[-4:]]) - said[0]["reward"] for said in (held_said, free_said)]
    assert with_kl > before > without
    assert with_kl > without + 0.3
    assert rise[1] > rise[0] > 0
    assert mean([one["kl_sequence"] for one in held_said[-4:]]) <= TARGET
    assert mean([one["kl_sequence"] for one in free_said[-4:]]) > 10 * TARGET
