"""Each figure here was worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from jurist.models.advantages import (  # noqa: E402
    gae,
    group_advantages,
    grpo,
    length_penalised,
    moments,
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


def test_rlaif_weighs_the_score_by_one_minus_beta():
    kl_BT, mask_BT = torch.tensor([[0.2, 0.4]]), torch.ones(1, 2)

    got = shaped_rewards(torch.tensor([2.0]), kl_BT, mask_BT, beta=0.05, share=0.95)

    close(got, [[-0.01, 1.88]])


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
    together = moments(x_BT[:1], mask_BT[:1]) + moments(x_BT[1:], mask_BT[1:])

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

    got = group_advantages(how, torch.full((3,), 2.0), kl_BT, mask_BT, torch.zeros(3), beta=0.1, share=1.0)

    assert torch.equal(got, torch.zeros(3, 2))


def test_where_scores_are_equal_grpo_does_not_blow_the_kl_up_to_unit_size():
    kl_BT, mask_BT = torch.tensor([[0.01], [0.03]]), torch.ones(2, 1)

    got = group_advantages("grpo", torch.ones(2), kl_BT, mask_BT, torch.zeros(2), beta=0.1, share=1.0)

    close(got, [[0.002], [-0.002]])


def test_rloo_of_the_shaped_reward_is_the_sum_of_its_parts():
    score_B, group_B = torch.randn(4), torch.tensor([0, 0, 1, 1])
    kl_BT, mask_BT = torch.randn(4, 3), torch.tensor([[1.0, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]])

    got = group_advantages("rloo", score_B, kl_BT, mask_BT, group_B, beta=0.3, share=1.0)

    whole_B = shaped_rewards(score_B, kl_BT, mask_BT, beta=0.3).sum(-1)
    torch.testing.assert_close(got, rloo(whole_B, group_B)[:, None] * mask_BT)


def test_the_length_penalty_is_bounded_and_nothing_at_the_median():
    score_B = torch.zeros(5)

    got = length_penalised(score_B, torch.tensor([10, 20, 30, 40, 100_000]), penalty=0.5)

    # quartiles 20, 30, 40: tanh(-1), tanh(-0.5), 0, tanh(0.5), 1
    close(got, [0.5 * math.tanh(1), 0.5 * math.tanh(0.5), 0.0, -0.5 * math.tanh(0.5), -0.5])


def test_answers_of_one_length_are_not_penalised():
    assert torch.equal(length_penalised(torch.ones(3), torch.full((3,), 8), 0.5), torch.ones(3))
