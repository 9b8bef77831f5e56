import math

import pytest

torch = pytest.importorskip("torch")

from jurist.models.kl import k1, k3, next_beta  # noqa: E402


def test_the_estimators_by_hand():
    logp_BT, anchor_BT = torch.tensor([[math.log(0.5)]]), torch.tensor([[math.log(0.25)]])

    assert math.isclose(k1(logp_BT, anchor_BT).item(), math.log(2), rel_tol=1e-6)
    assert math.isclose(k3(logp_BT, anchor_BT).item(), 0.5 - 1 + math.log(2), rel_tol=1e-5)


def test_both_estimators_have_the_true_kl_as_their_mean():
    policy_V = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    anchor_V = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
    true = (policy_V * (policy_V / anchor_V).log()).sum()

    for estimator in (k1, k3):
        mean = (policy_V * estimator(policy_V.log(), anchor_V.log())).sum()
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
