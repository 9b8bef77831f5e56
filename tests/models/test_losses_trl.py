"""Our losses against TRL's own trainers: the same checkpoint, the same rows, whole forward pass and all."""

from __future__ import annotations

from types import SimpleNamespace

import making
import pytest
import torch
from msgspec.structs import replace

from jurist.models.dpo import anchored, loss_of
from jurist.models.forward import answers_forward
from jurist.models.losses import bradley_terry, centring, conservative, dpo, simpo
from jurist.models.policy import load_policy
from jurist.models.reward import Scorer
from jurist.models.rows import pair_example
from jurist.models.settings import DpoConfig
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
    """Away from the anchor."""
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
    examples = [pair_example(one, policy.tokenizer) for one in preferences()]
    (examples,) = anchored(replace(ours, base=str(base)), policy, policy.hash, [examples])
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

    said = answers_forward(policy.model, examples)
    logp_B2, tokens_B2 = said.logprobs_AT.sum(-1).view(-1, 2), said.mask_AT.sum(-1).view(-1, 2)
    ratio_B2 = logp_B2 - torch.tensor([one.anchor for one in examples])
    got = loss_of(ours, ratio_B2, tokens_B2, torch.ones(2)).mean()

    agree(got, want)


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

    examples = [pair_example(one, policy.tokenizer) for one in preferences()]
    chosen_B, rejected_B = Scorer(policy.model)(examples).view(-1, 2).unbind(-1)
    margin_B = 0.7 if margin else 0.0
    loss_B = bradley_terry(chosen_B, rejected_B, 1.0, margin_B) + (centre or 0) * centring(
        chosen_B, rejected_B
    )

    agree(loss_B.mean(), want)


@pytest.mark.parametrize("e", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["simpo", "sigmoid"])
def test_simpo_and_conservative_losses_are_trls_on_the_same_log_probs(kind, e):
    cpo = pytest.importorskip("trl.experimental.cpo.cpo_trainer", reason="this TRL has no CPO trainer")
    settings = {"alpha": 0.0, "beta": 2.0, "simpo_gamma": 1.0, "loss_type": kind, "label_smoothing": e}
    trainer = SimpleNamespace(**settings, accelerator=SimpleNamespace(device="cpu"))
    chosen_B, rejected_B = -3 * torch.rand(6), -3 * torch.rand(6)
    want_B, *_ = cpo.CPOTrainer.cpo_loss(trainer, chosen_B, rejected_B)

    p_B, ones_B = conservative(torch.ones(6), e), torch.ones(6)
    if kind == "simpo":
        got_B = simpo(3 * chosen_B, 5 * rejected_B, 3 * ones_B, 5 * ones_B, 2.0, 1.0, p_B)
    else:
        got_B = dpo(chosen_B, rejected_B, 2.0, p_B)
    agree(got_B, want_B)
