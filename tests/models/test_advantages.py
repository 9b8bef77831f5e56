"""Each figure here was worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from jurist.models.advantages import (  # noqa: E402
    clip_fraction,
    clipped_policy,
    clipped_value,
    gae,
    group_advantages,
    grpo,
    k1,
    k3,
    length_penalised,
    moments,
    next_beta,
    rloo,
    shaped_rewards,
    whiten,
)


def close(got, want):
    torch.testing.assert_close(got, torch.tensor(want), rtol=1e-5, atol=1e-6)


def test_the_score_falls_on_the_last_token_and_the_kl_on_every_one():
    kl_BT = torch.tensor([[0.1, 0.2, 9.0], [0.5, 0.5, 0.5]])
    mask_BT = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])

    got = shaped_rewards(torch.tensor([1.0, -2.0]), kl_BT, mask_BT, beta=0.1)

    close(got, [[-0.01, 0.98, 0.0], [-0.05, -0.05, -2.05]])


def test_gae_by_hand():
    reward_BT = torch.tensor([[0.0, 0.0, 1.0]])
    value_BT = torch.tensor([[0.5, 0.4, 0.6]])

    advantage_BT, return_BT = gae(reward_BT, value_BT, torch.ones(1, 3), gamma=0.9, lam=0.5)

    # d = (0.9*0.4 - 0.5, 0.9*0.6 - 0.4, 1 - 0.6) = (-0.14, 0.14, 0.4); A_t = d_t + 0.45 A_{t+1}
    close(advantage_BT, [[0.004, 0.32, 0.4]])
    close(return_BT, [[0.504, 0.72, 1.0]])


def test_gae_with_lambda_one_is_the_return_minus_the_value():
    reward_BT, value_BT = torch.randn(3, 5), torch.randn(3, 5)

    advantage_BT, return_BT = gae(reward_BT, value_BT, torch.ones(3, 5), gamma=1.0, lam=1.0)

    ahead_BT = reward_BT.flip(-1).cumsum(-1).flip(-1)
    torch.testing.assert_close(advantage_BT, ahead_BT - value_BT)
    torch.testing.assert_close(return_BT, ahead_BT)


def test_padding_changes_no_advantage():
    reward_BT, value_BT = torch.randn(1, 3), torch.randn(1, 3)
    short, _ = gae(reward_BT, value_BT, torch.ones(1, 3))
    noise, other = torch.full((1, 2), 7.0), torch.full((1, 2), 2.0)
    padded_mask = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0]])

    padded, returns = gae(torch.cat([reward_BT, noise], 1), torch.cat([value_BT, other], 1), padded_mask)

    torch.testing.assert_close(padded[:, :3], short)
    assert not padded[:, 3:].any()
    assert not returns[:, 3:].any()


def test_whitening_counts_answer_tokens_only():
    x_BT = torch.tensor([[1.0, 3.0, 100.0]])
    mask_BT = torch.tensor([[1.0, 1.0, 0.0]])

    close(whiten(x_BT, mask_BT), [[-1.0, 1.0, 0.0]])


def test_whitening_in_two_processes_equals_whitening_in_one():
    x_BT, mask_BT = torch.randn(4, 3), torch.tensor([[1.0, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1]])
    one, two = moments(x_BT[:1], mask_BT[:1]), moments(x_BT[1:], mask_BT[1:])
    together = {name: one[name] + two[name] for name in one}

    torch.testing.assert_close(whiten(x_BT[1:], mask_BT[1:], together), whiten(x_BT, mask_BT)[1:])


def test_whitening_equal_rewards_gives_zero_and_not_infinity():
    close(whiten(torch.tensor([2.0, 2.0, 2.0]), torch.ones(3)), [0.0, 0.0, 0.0])


def test_leave_one_out_by_hand():
    score_B = torch.tensor([1.0, 2.0, 6.0, 4.0, 0.0])
    group_B = torch.tensor([7, 7, 7, 9, 9])

    # 1 - (2+6)/2, 2 - (1+6)/2, 6 - (1+2)/2; 4 - 0, 0 - 4
    close(rloo(score_B, group_B), [-3.0, -1.5, 4.5, 4.0, -4.0])


def test_group_normalised_by_hand():
    score_B = torch.tensor([1.0, 2.0, 6.0])

    # mean 3, std over n - 1: sqrt((4 + 1 + 9) / 2) = sqrt(7)
    scale = math.sqrt(7) + 1e-4
    close(grpo(score_B, torch.zeros(3)), [-2 / scale, -1 / scale, 3 / scale])


@pytest.mark.parametrize("baseline", [rloo, grpo])
def test_a_completion_left_alone_in_its_group_teaches_nothing(baseline):
    got = baseline(torch.tensor([5.0, 1.0, 3.0]), torch.tensor([0, 1, 1]))

    assert got[0] == 0
    assert got[1] == -got[2] != 0


@pytest.mark.parametrize("how", ["rloo", "grpo"])
def test_equal_scores_give_no_advantage_and_no_division_by_zero(how):
    kl_BT, mask_BT = torch.zeros(3, 2), torch.ones(3, 2)

    got = group_advantages(how, torch.full((3,), 2.0), kl_BT, mask_BT, torch.zeros(3), beta=0.1)

    assert torch.equal(got, torch.zeros(3, 2))


def test_where_scores_are_equal_grpo_does_not_blow_the_kl_up_to_unit_size():
    kl_BT, mask_BT = torch.tensor([[0.01], [0.03]]), torch.ones(2, 1)

    got = group_advantages("grpo", torch.ones(2), kl_BT, mask_BT, torch.zeros(2), beta=0.1)

    close(got, [[0.002], [-0.002]])


def test_rloo_of_the_shaped_reward_is_the_sum_of_its_parts():
    score_B, group_B = torch.randn(4), torch.tensor([0, 0, 1, 1])
    kl_BT, mask_BT = torch.randn(4, 3), torch.tensor([[1.0, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]])

    got = group_advantages("rloo", score_B, kl_BT, mask_BT, group_B, beta=0.3)

    whole_B = shaped_rewards(score_B, kl_BT, mask_BT, beta=0.3).sum(-1)
    torch.testing.assert_close(got, rloo(whole_B, group_B)[:, None] * mask_BT)


def test_the_length_penalty_is_bounded_and_nothing_at_the_median():
    score_B = torch.zeros(5)

    got = length_penalised(score_B, torch.tensor([10, 20, 30, 40, 100_000]), penalty=0.5)

    # quartiles 20, 30, 40: tanh(-1), tanh(-0.5), 0, tanh(0.5), 1
    close(got, [0.5 * math.tanh(1), 0.5 * math.tanh(0.5), 0.0, -0.5 * math.tanh(0.5), -0.5])


def test_answers_of_one_length_are_not_penalised():
    assert torch.equal(length_penalised(torch.ones(3), torch.full((3,), 8), 0.5), torch.ones(3))


def test_the_estimators_by_hand():
    logp_BT, ref_BT = torch.tensor([[math.log(0.5)]]), torch.tensor([[math.log(0.25)]])

    assert math.isclose(k1(logp_BT, ref_BT).item(), math.log(2), rel_tol=1e-6)
    assert math.isclose(k3(logp_BT, ref_BT).item(), 0.5 - 1 + math.log(2), rel_tol=1e-5)


def test_both_estimators_have_the_true_kl_as_their_mean():
    policy_V = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    ref_V = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
    true = (policy_V * (policy_V / ref_V).log()).sum()

    for estimator in (k1, k3):
        mean = (policy_V * estimator(policy_V.log(), ref_V.log())).sum()
        torch.testing.assert_close(mean, true)


def test_k3_is_never_negative_and_zero_where_the_two_agree():
    logp_BT = torch.randn(4, 6)

    assert (k3(logp_BT, torch.randn(4, 6)) >= 0).all()
    assert not k3(logp_BT, logp_BT).any()


@pytest.mark.parametrize(
    ("kl", "want"),
    [
        (4.8, 0.1),  # on its aim, four fifths of the target: stays
        (5.28, 0.1 * (1 + 0.1 * 0.5)),  # a tenth over, half a horizon of samples
        (60.0, 0.1 * (1 + 1.0 * 0.5)),  # far over: counted as twice the aim
        (0.0, 0.1 * (1 - 0.2 * 0.5)),  # far below: counted as a fifth
    ],
)
def test_the_controller_by_hand(kl, want):
    assert math.isclose(next_beta(0.1, kl, target=6.0, samples=64, horizon=128), want, rel_tol=1e-9)


ONE = torch.ones(1, 1)


def row(*values):
    return torch.tensor([values])


@pytest.mark.parametrize(
    ("ratio", "advantage", "want"),
    [
        (1.1, 2.0, -2.2),  # inside the clip
        (1.5, 2.0, -2.4),  # a gain is counted up to 1.2 only
        (0.5, -2.0, 1.6),  # a loss avoided is counted down to 0.8 only
        (1.5, -2.0, 3.0),  # what got worse is counted in full
        (0.5, 2.0, -1.0),
    ],
)
def test_the_clipped_policy_loss_by_hand(ratio, advantage, want):
    got = clipped_policy(row(math.log(ratio)), row(0.0), row(advantage), ONE, clip=0.2)

    assert math.isclose(got.item(), want, rel_tol=1e-5)


def test_past_the_clip_the_policy_is_pushed_no_further():
    logp_BT = row(math.log(1.5)).requires_grad_()

    clipped_policy(logp_BT, row(0.0), row(2.0), ONE, clip=0.2).backward()

    assert logp_BT.grad.item() == 0


def test_at_the_old_policy_the_gradient_is_the_advantage():
    logp_BT = row(-1.0, -2.0).requires_grad_()

    clipped_policy(logp_BT, logp_BT.detach(), row(0.5, -3.0), torch.ones(1, 2), clip=0.2).backward()

    torch.testing.assert_close(logp_BT.grad, row(-0.5, 3.0))


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (1.0, 0.5 * 1.0**2),  # inside: (1 - 2)^2 / 2
        (1.5, 0.5 * 0.8**2),  # held at 1.2, which is further from the return of 2
        (-1.0, 0.5 * 3.0**2),  # the unclipped one is further
    ],
)
def test_the_clipped_value_loss_by_hand(value, want):
    got = clipped_value(row(value), row(1.0), row(2.0), ONE, clip=0.2)

    assert math.isclose(got.item(), want, rel_tol=1e-5)


def test_padding_counts_for_nothing_in_either_loss():
    mask_BT, far_BT, zero_BT = torch.zeros(1, 2), torch.full((1, 2), 3.0), torch.zeros(1, 2)

    assert clipped_policy(far_BT, zero_BT, far_BT, mask_BT, 0.2) == 0
    assert clipped_value(far_BT, zero_BT, zero_BT, mask_BT, 0.2) == 0
    assert clip_fraction(far_BT, zero_BT, mask_BT, 0.2) == 0


def test_the_clip_fraction_counts_tokens_past_the_clip():
    logp_BT = row(math.log(1.1), math.log(1.3), math.log(0.7))

    assert clip_fraction(logp_BT, torch.zeros(1, 3), torch.ones(1, 3), 0.2) == 2
