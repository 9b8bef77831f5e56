"""Our losses against TRL's own trainers: the same checkpoint, the same rows, whole forward pass and all."""

from __future__ import annotations

from types import SimpleNamespace

import making
import pytest
import torch
from msgspec.structs import replace

from jurist.models.dpo import DPO_LOSSES, PairLogprobs, conservative, dpo_values
from jurist.models.reward import labels, reward_values
from jurist.models.rows import pair_row
from jurist.models.settings import DpoConfig, RewardConfig
from jurist.policies.policy import load_policy, token_stats
from jurist.policies.tokens import tokenise_many
from jurist.records import Completion, Preference, Prompt

trl = pytest.importorskip("trl", reason="TRL is not installed: pip install trl")
# TRL sets what transformers renamed.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")]
torch.set_num_threads(1)
ON_CPU = {"bf16": False, "gradient_checkpointing": False, "use_cpu": True, "report_to": "none"}
TEXTS = [
    ("why is the sky blue", "because light scatters", "no"),
    ("what is air", "yes", "a long long answer"),
]


@pytest.fixture
def base(tmp_path):
    folder = making.checkpoint(tmp_path / "base")
    (folder / "chat_template.jinja").write_text(making.TEMPLATE.replace("<|end|>\n", "<|end|>"))
    return folder


def preferences() -> list[Preference]:
    rows = []
    for asked, good, bad in TEXTS:
        prompt = Prompt.of(asked)
        pair = Completion.of(prompt.id, good), Completion.of(prompt.id, bad)
        rows.append(Preference(asked, prompt, *pair, p=1.0, margin=0.7))
    return rows


def dataset(margin: bool = False):
    from datasets import Dataset

    def said(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    rows = [
        {"prompt": said("user", a), "chosen": said("assistant", w), "rejected": said("assistant", r)}
        | ({"margin": 0.7} if margin else {})
        for a, w, r in TEXTS
    ]
    return Dataset.from_list(rows)


def agree(got: torch.Tensor, want: torch.Tensor) -> None:
    """To 1e-5; how close they came is printed, for the record."""
    apart = ((got - want).abs() / want.abs()).max().item()
    print(f"relative difference {apart:.2e}")
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def moved(model) -> None:
    """Away from the reference."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))


OURS_AND_THEIRS = [
    (DpoConfig(loss="dpo", beta=0.1), {"loss_type": ["sigmoid"]}),
    (DpoConfig(loss="ipo", beta=0.1), {"loss_type": ["ipo"]}),
    (DpoConfig(loss="length_normalised", beta=5.0), {"loss_type": ["sigmoid_norm"], "beta": 5.0}),
]


@pytest.mark.parametrize(("ours", "theirs"), OURS_AND_THEIRS)
def test_dpo_losses_are_trls_on_the_same_batch(base, tmp_path, ours, theirs):
    policy = load_policy(base)
    examples = list(tokenise_many(map(pair_row, preferences()), policy.tokenizer))
    before = token_stats(policy, examples).logprobs_AT.sum(-1).view(-1, 2).tolist()
    examples = [replace(one, ref=tuple(ref)) for one, ref in zip(examples, before, strict=True)]
    moved(policy.model)
    args = trl.DPOConfig(output_dir=str(tmp_path / "trl"), **ON_CPU, **theirs)
    reference = load_policy(base).model
    trainer = trl.DPOTrainer(
        model=policy.model,
        ref_model=reference,
        args=args,
        train_dataset=dataset(),
        processing_class=policy.tokenizer,
    )
    want = trainer.compute_loss(policy.model.eval(), trainer.data_collator(list(trainer.train_dataset)))

    got, _ = dpo_values(ours, policy(examples), examples)

    agree(got.mean(), want)


@pytest.mark.parametrize("centre", [None, 0.01])
@pytest.mark.parametrize("margin", [False, True])
def test_reward_losses_are_trls_on_the_same_batch(base, tmp_path, margin, centre):
    policy = load_policy(base, kind="reward")
    moved(policy.model)
    args = trl.RewardConfig(
        output_dir=str(tmp_path / "trl"), center_rewards_coefficient=centre, disable_dropout=True, **ON_CPU
    )
    trainer = trl.RewardTrainer(
        model=policy.model, args=args, train_dataset=dataset(margin), processing_class=policy.tokenizer
    )
    want = trainer.compute_loss(policy.model, trainer.data_collator(list(trainer.train_dataset)))

    examples = list(tokenise_many(map(pair_row, preferences()), policy.tokenizer))
    reward_B2 = policy(examples, ("reward",)).reward_A.view(-1, 2)
    cfg = RewardConfig(margin=float(margin), centre=centre or 0.0)
    got, _ = reward_values(cfg, reward_B2, *labels(examples, reward_B2))

    agree(got.mean(), want)


@pytest.mark.parametrize("e", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["simpo", "sigmoid"])
def test_simpo_and_conservative_losses_are_trls_on_the_same_log_probs(kind, e):
    cpo = pytest.importorskip("trl.experimental.cpo.cpo_trainer", reason="this TRL has no CPO trainer")
    settings = {"alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0, "loss_type": kind, "label_smoothing": e}
    trainer = SimpleNamespace(**settings, accelerator=SimpleNamespace(device="cpu"))
    chosen_B, rejected_B = -3 * torch.rand(6), -3 * torch.rand(6)
    want_B, *_ = cpo.CPOTrainer.cpo_loss(trainer, chosen_B, rejected_B)

    p_B, ones_B = conservative(torch.ones(6), e), torch.ones(6)
    if kind == "simpo" and e:
        # TRL's smoothed SimPO subtracts the margin from whichever answer is called chosen.
        pytest.skip("ours turns the margin round with the label")
    name = "simpo" if kind == "simpo" else "dpo"
    scale = (3, 5) if kind == "simpo" else (1, 1)
    pair = PairLogprobs(scale[0] * chosen_B, scale[1] * rejected_B, 3 * ones_B, 5 * ones_B)
    agree(DPO_LOSSES[name](pair, p_B, 2.0, DpoConfig(gamma=1.0)), want_B)
