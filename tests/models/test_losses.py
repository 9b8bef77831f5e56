"""Each figure here was worked out by hand."""

import math

import pytest
import torch

from jurist.models.dpo import DPO_LOSSES, PairLogprobs, conservative
from jurist.models.reward import accuracy, centring, entropy, soft_logistic
from jurist.models.settings import DpoConfig

CHOSEN, REJECTED = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
TOKENS_W, TOKENS_L = torch.tensor([4.0, 2.0]), torch.tensor([2.0, 5.0])
ONES = torch.ones(2)
PAIR = PairLogprobs(CHOSEN, REJECTED, TOKENS_W, TOKENS_L)


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def same(got: torch.Tensor, want: list[float]) -> None:
    torch.testing.assert_close(got, torch.tensor(want), rtol=1e-6, atol=1e-6)


def loss(name, pair=PAIR, p_B=ONES, beta=0.1, **settings):
    return DPO_LOSSES[name](pair, p_B, beta, DpoConfig(**settings))


def test_bradley_terry_by_hand_with_a_margin_and_with_soft_labels():
    same(soft_logistic(CHOSEN - REJECTED), [softplus(-2), softplus(1)])
    got = soft_logistic(CHOSEN - REJECTED, 1.0, torch.tensor([0.5, 1.0]))
    same(got, [softplus(-1.5), softplus(2)])
    got = soft_logistic(CHOSEN - REJECTED, torch.tensor([0.7, 0.2]))
    same(got, [0.7 * softplus(-2) + 0.3 * softplus(2), 0.2 * softplus(1) + 0.8 * softplus(-1)])
    got = soft_logistic(CHOSEN - REJECTED, torch.tensor([0.7, 0.7]), 0.5)
    same(got, [0.7 * softplus(-1.5) + 0.3 * softplus(2.5), 0.7 * softplus(1.5) + 0.3 * softplus(-0.5)])


@pytest.mark.parametrize(
    ("name", "how", "want"),
    [
        ("dpo", {}, [softplus(-0.2), softplus(0.1)]),
        ("length_normalised", {"beta": 5.0}, [softplus(-5 * 2 / 4), softplus(5 * 1 / 5)]),
        ("r_dpo", {"alpha": 0.05}, [softplus(-(0.1 * 2 + 0.05 * 2)), softplus(0.1 * 1 + 0.05 * 3)]),
        ("simpo", {"beta": 2.0, "gamma": 1.0}, [softplus(-2 * 2 / 4 + 1), softplus(2 * 1 / 5 + 1)]),
        ("ipo", {}, [(2 / 4 - 5) ** 2, (-1 / 5 - 5) ** 2]),
    ],
)
def test_each_loss_of_dpo_by_hand(name, how, want):
    same(loss(name, **how), want)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("name", [*DPO_LOSSES, "bradley_terry", "centring"])
def test_told_from_the_other_side_gives_the_same(name, p):
    p_B = torch.tensor([p, p])
    other = PairLogprobs(REJECTED, CHOSEN, TOKENS_L, TOKENS_W)
    if name == "bradley_terry":
        one = soft_logistic(CHOSEN - REJECTED, p_B, 0.7)
        turned = soft_logistic(REJECTED - CHOSEN, 1 - p_B, 0.7)
    elif name == "centring":
        one, turned = centring(CHOSEN, REJECTED), centring(REJECTED, CHOSEN)
    else:
        one, turned = loss(name, p_B=p_B, gamma=1.5), loss(name, other, 1 - p_B, gamma=1.5)
    torch.testing.assert_close(one, turned)


@pytest.mark.parametrize("name", ["dpo", "length_normalised", "simpo", "ipo", "bradley_terry"])
def test_an_even_label_pulls_equal_answers_nowhere(name):
    chosen = torch.tensor([1.5], requires_grad=True)
    one = torch.ones(1)
    pair = PairLogprobs(chosen, torch.tensor([1.5]), one, one)
    got = (
        soft_logistic(chosen - torch.tensor([1.5]), one / 2, 1.0)
        if name == "bradley_terry"
        else loss(name, pair, one / 2)
    )
    got.sum().backward()

    assert chosen.grad.item() == 0.0


def test_the_best_margin_under_a_soft_label_is_its_log_odds():
    delta = torch.tensor([math.log(0.8 / 0.2)], requires_grad=True)
    soft_logistic(delta, torch.tensor([0.8])).sum().backward()

    assert abs(delta.grad.item()) < 1e-7


def test_entropy_is_what_is_left_of_the_loss_at_its_best():
    p = torch.tensor([0.8])

    same(soft_logistic(torch.logit(p), p) - entropy(p), [0.0])
    same(entropy(torch.tensor([0.0, 1.0])), [0.0, 0.0])


def test_centring_and_conservative_labels_by_hand():
    same(centring(CHOSEN, REJECTED), [4.0, 1.0])
    got = loss("dpo", p_B=conservative(ONES, 0.1))
    same(got, [0.9 * softplus(-0.2) + 0.1 * softplus(0.2), 0.9 * softplus(0.1) + 0.1 * softplus(-0.1)])


def test_accuracy_counts_half_where_neither_is_likelier_or_neither_is_ahead():
    delta_B = torch.tensor([1.0, 1.0, -1.0, 3.0, 0.0])

    same(accuracy(delta_B, torch.tensor([0.9, 0.3, 0.3, 0.5, 1.0])), [1.0, 0.0, 1.0, 0.5, 0.5])
