"""Only the head is fitted: the same objective as in the whole training, solved instead of trained."""

import math
import time

import making
import numpy as np
import pytest
import torch
from msgspec.structs import replace
from rows_for_tests import metrics, preferences

from jurist.errors import SettingError
from jurist.models import reward
from jurist.models.reward import train_reward
from jurist.models.rewards import RewardJudge
from jurist.models.rows import pair_row
from jurist.models.settings import RewardConfig
from jurist.policies.checkpoint import Lora
from jurist.policies.policy import Policy, load_policy, token_stats
from jurist.policies.tokens import Example, tokenise_many

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return making.checkpoint(tmp_path_factory.mktemp("base") / "llama")


def noisy(n, seed=0):
    """A fifth of the labels is wrong, and the margin is one row's in three."""
    rows = preferences(n, seed, p=0.9)
    return [
        replace(
            one, p=0.1 if number % 5 == 0 else 0.9, margin=float(number % 3 == 0), weight=1.0 + number % 2
        )
        for number, one in enumerate(rows)
    ]


def settings(base, out, **more):
    how = {"data": "rows", "batch": 64, "lr": 3e-2, "margin": 0.3, "ridge": 0.0, **more}
    return RewardConfig(base=str(base), out=str(out), **how)


@pytest.mark.slow
def test_a_fitted_head_is_where_training_it_by_gradient_would_end(base, tmp_path, monkeypatch):
    """The null is a head trained by AdamW for 150 steps with everything else frozen."""
    began = time.process_time()
    train_reward(settings(base, tmp_path / "fitted", learn="head"), noisy(256))
    seconds = time.process_time() - began
    load = reward.Trainer.load_base

    def frozen(self, kind):
        policy = load(self, kind)
        policy.requires_grad_(False)
        policy.model.score.requires_grad_(True)
        return policy

    monkeypatch.setattr(reward.Trainer, "load_base", frozen)
    began = time.process_time()
    train_reward(settings(base, tmp_path / "trained", batch=256, epochs=150), noisy(256))
    assert seconds < 0.5 * (time.process_time() - began)

    (one,), (*_, last) = metrics(tmp_path / "fitted"), metrics(tmp_path / "trained")
    assert one["accuracy"] == pytest.approx(last["accuracy"], abs=0.02)
    assert last["loss"] - 0.01 < one["loss"] < last["loss"] + 0.002
    assert one["accuracy"] > 0.75 + 0.01  # of the labels a fifth is wrong


@pytest.mark.slow
def test_the_judge_of_a_fitted_head_is_the_states_times_the_head(base, tmp_path):
    folder = train_reward(settings(base, tmp_path, learn="head", held_out=0.2), preferences(80))
    rows = preferences(6, seed=3)
    policy = load_policy(base, kind="reward")
    pairs = list(tokenise_many(map(pair_row, rows), policy.tokenizer, shown=True))
    states_AD = token_stats(policy, pairs, want=("states",)).state_AD
    want = states_AD @ load_policy(folder, kind="reward").model.score.weight[0]

    got = RewardJudge(folder).score_many(
        [(one.prompt, a) for one in rows for a in (one.chosen, one.rejected)]
    )
    torch.testing.assert_close(torch.tensor(got), want, rtol=1e-4, atol=1e-5)
    assert metrics(tmp_path)[-1]["of"] == "held_out"
    assert metrics(tmp_path)[-1]["accuracy"] == 1.0
    assert not [*tmp_path.glob("features*")]


@pytest.mark.slow
def test_states_that_were_computed_before_a_kill_are_not_computed_again(base, tmp_path, monkeypatch):
    monkeypatch.setattr(reward, "BLOCK", 16)
    passed = []
    forward = Policy.forward

    def counted(self, rows, *args, **how):
        passed.extend(rows)
        return forward(self, rows, *args, **how)

    def stop(now) -> None:
        if now.step == 32:
            raise KeyboardInterrupt

    monkeypatch.setattr(Policy, "forward", counted)
    cfg = settings(base, tmp_path / "killed", learn="head")
    with pytest.raises(KeyboardInterrupt):
        train_reward(cfg, preferences(80), on_progress=stop)
    assert len(passed) == 32
    train_reward(cfg, preferences(80))
    assert len(passed) == 80
    train_reward(replace(cfg, out=str(tmp_path / "whole")), preferences(80))
    one, two = (load_policy(tmp_path / out / "model", kind="reward") for out in ("killed", "whole"))
    np.testing.assert_array_equal(*(one.model.score.weight.detach().numpy() for one in (one, two)))


@pytest.mark.slow
def test_a_ridge_draws_the_head_to_0_and_an_adapter_is_refused(base, tmp_path):
    sizes = []
    for ridge in (0.0, 1e-3, 10.0):
        folder = train_reward(settings(base, tmp_path / str(ridge), learn="head", ridge=ridge), noisy(64))
        sizes.append(float(load_policy(folder, kind="reward").model.score.weight.detach().norm()))
    assert sizes[0] > sizes[1] > 20 * sizes[2]
    assert math.isclose(metrics(tmp_path / "10.0")[0]["loss"], math.log(2), abs_tol=0.05)
    with pytest.raises(SettingError, match="no use for an adapter"):
        train_reward(settings(base, tmp_path / "lora", learn="head", lora=Lora()), noisy(8))


@pytest.mark.slow
def test_the_penalty_is_the_one_that_predicts_prompts_left_out_best():
    """Few labels of which a third is wrong take a strong one, many good ones nearly none; the best penalty in
    hindsight is not far ahead."""
    dice = torch.Generator().manual_seed(0)
    truth_D = torch.randn(64, generator=dice)

    def drawn(n, wrong):
        states_N2D = torch.randn(n, 2, 64, generator=dice)
        first_N = (states_N2D @ truth_D).diff(dim=1)[:, 0] < 0
        turned_N = torch.rand(n, generator=dice) < wrong
        rows = [Example([at // 2], (), p=float(p)) for at, p in enumerate(first_N ^ turned_N)]
        return states_N2D, rows, first_N

    new_N2D, _, new_N = drawn(4000, 0.0)
    for n, wrong, low, high in ((200, 0.33, 0.3, 3.0), (2000, 0.33, 0.01, 0.3), (2000, 0.0, 0.0, 0.001)):
        states_N2D, rows, _ = drawn(n, wrong)
        right = {}
        for ridge in (None, *reward.RIDGES):
            head_D, how = reward.solve(states_N2D, rows, RewardConfig(learn="head", ridge=ridge))
            right[ridge] = float((((new_N2D @ head_D).diff(dim=1)[:, 0] < 0) == new_N).float().mean())
            assert ridge is not None or low <= how["ridge"] <= high
        assert right.pop(None) >= max(right.values()) - 0.02


def test_rows_of_a_prompt_are_left_out_together():
    fold_N = reward.folds([Example([at // 4, 7], ()) for at in range(80)]).view(20, 4)
    assert (fold_N == fold_N[:, :1]).all()
    assert fold_N.unique().tolist() == [0, 1, 2, 3, 4]
    assert len(reward.folds([Example([7], ())] * 10).unique()) == 5
