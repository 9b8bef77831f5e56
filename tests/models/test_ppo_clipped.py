import math

import pytest

torch = pytest.importorskip("torch")

from jurist.models.clipped import clipped_policy, clipped_share, clipped_value  # noqa: E402

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
    assert clipped_share(far_BT, zero_BT, mask_BT, 0.2) == 0


def test_the_clipped_share_counts_tokens_past_the_clip():
    logp_BT = row(math.log(1.1), math.log(1.3), math.log(0.7))

    assert clipped_share(logp_BT, torch.zeros(1, 3), torch.ones(1, 3), 0.2) == 2
