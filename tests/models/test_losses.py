import math

import pytest
import torch

from jurist.models import losses

CHOSEN, REJECTED = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
TOKENS_W, TOKENS_L = torch.tensor([4.0, 2.0]), torch.tensor([2.0, 5.0])


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def same(got: torch.Tensor, want: list[float]) -> None:
    torch.testing.assert_close(got, torch.tensor(want), rtol=1e-6, atol=1e-6)


def test_bradley_terry_by_hand():
    same(losses.bradley_terry(CHOSEN, REJECTED), [softplus(-2), softplus(1)])


def test_bradley_terry_with_a_margin_by_hand():
    got = losses.bradley_terry(CHOSEN, REJECTED, 1.0, torch.tensor([0.5, 1.0]))

    same(got, [softplus(-1.5), softplus(2)])


def test_a_soft_target_weighs_both_ways_by_hand():
    got = losses.bradley_terry(CHOSEN, REJECTED, torch.tensor([0.7, 0.2]))

    same(got, [0.7 * softplus(-2) + 0.3 * softplus(2), 0.2 * softplus(1) + 0.8 * softplus(-1)])


def test_a_sure_target_is_the_hard_loss():
    sure = torch.ones(2)

    same(losses.bradley_terry(CHOSEN, REJECTED, sure) - losses.bradley_terry(CHOSEN, REJECTED), [0.0, 0.0])
    same(losses.dpo(CHOSEN, REJECTED, 0.1, sure) - losses.dpo(CHOSEN, REJECTED, 0.1), [0.0, 0.0])


@pytest.mark.parametrize("loss", [losses.bradley_terry, lambda w, r, p: losses.dpo(w, r, 0.1, p)])
def test_an_even_target_pulls_equal_rewards_nowhere(loss):
    chosen = torch.tensor([1.5], requires_grad=True)
    loss(chosen, torch.tensor([1.5]), torch.tensor([0.5])).sum().backward()

    assert chosen.grad.item() == 0.0


def test_the_best_margin_under_a_soft_target_is_its_log_odds():
    delta = torch.tensor([math.log(0.8 / 0.2)], requires_grad=True)
    losses.soft_logistic(delta, torch.tensor([0.8])).sum().backward()

    assert abs(delta.grad.item()) < 1e-7


def test_entropy_is_what_is_left_of_the_loss_at_its_best():
    p = torch.tensor([0.8])

    same(losses.soft_logistic(torch.logit(p), p) - losses.entropy(p), [0.0])
    same(losses.entropy(torch.tensor([0.0, 1.0])), [0.0, 0.0])


def test_centring_by_hand():
    same(losses.centring(CHOSEN, REJECTED), [4.0, 1.0])


def test_dpo_by_hand():
    same(losses.dpo(CHOSEN, REJECTED, 0.1), [softplus(-0.2), softplus(0.1)])


def test_conservative_dpo_by_hand():
    got = losses.dpo(CHOSEN, REJECTED, 0.1, losses.conservative(torch.ones(2), 0.1))

    same(got, [0.9 * softplus(-0.2) + 0.1 * softplus(0.2), 0.9 * softplus(0.1) + 0.1 * softplus(-0.1)])


def test_length_normalised_dpo_by_hand():
    got = losses.length_normalised_dpo(CHOSEN, REJECTED, TOKENS_W, TOKENS_L, 5.0)

    same(got, [softplus(-5 * 2 / 4), softplus(5 * 1 / 5)])


def test_r_dpo_by_hand():
    got = losses.r_dpo(CHOSEN, REJECTED, TOKENS_W, TOKENS_L, 0.1, 0.05)

    same(got, [softplus(-(0.1 * 2 + 0.05 * 2)), softplus(0.1 * 1 + 0.05 * 3)])


def test_simpo_by_hand():
    got = losses.simpo(-CHOSEN, -REJECTED, TOKENS_W, TOKENS_L, 2.0, 1.0)

    same(got, [softplus(2 * 2 / 4 + 1), softplus(-(2 * 1 / 5) + 1)])


def test_ipo_by_hand():
    got = losses.ipo(CHOSEN, REJECTED, TOKENS_W, TOKENS_L, 0.1)

    same(got, [(2 / 4 - 5) ** 2, (-1 / 5 - 5) ** 2])


def test_ipo_aims_at_no_difference_where_neither_is_better():
    same(losses.ipo(CHOSEN, REJECTED, TOKENS_W, TOKENS_L, 0.1, torch.tensor([0.5, 0.5])), [0.25, 0.04])


def test_right_is_where_the_gap_points_to_the_likelier_side_and_half_where_neither_is():
    gap_B = torch.tensor([1.0, 1.0, -1.0, 3.0, 0.0])

    same(losses.agreement(gap_B, torch.tensor([0.9, 0.3, 0.3, 0.5, 1.0])), [1.0, 0.0, 1.0, 0.5, 0.0])
