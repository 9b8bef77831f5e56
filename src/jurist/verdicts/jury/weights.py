"""How a jury is set up, and what is learnt about its members. Plain records: they lie in the run folder as
JSON.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ...errors import SettingError

EVEN = 1e-9
"""A p this close to a half is a half: adding up two orders leaves dust."""

Combine = Literal["vote", "mean", "dawid_skene", "anchored"]


class JuryConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How the members' opinions become one."""

    combine: Combine = "mean"
    """`vote`, `mean` of probabilities, `dawid_skene`, or `anchored` on people's labels."""
    quorum: float = 0.5
    """Share of the members that must have given a usable opinion; one at least."""
    force: bool = False
    """Count heads even where the labels show that one member alone is better."""

    def __post_init__(self) -> None:
        if not 0 <= self.quorum <= 1:
            raise SettingError(f"quorum is a share of the members, got {self.quorum}; set quorum: 0.5")


class Juror(Struct, frozen=True, omit_defaults=True):
    """What is known of one member."""

    judge: str
    weight: float = 1.0
    """What its word adds to the jury's log-odds; below 0 where it is wrong more often than right."""
    gap_weight: float = 0.0
    """Added to the weight for each unit of seat gap: a judge that follows the seat is worth less there."""
    accuracy: float | None = None
    """Share of people's labels it agreed with, ties counting half."""
    n: int = 0
    """Labels that share is over."""
    bias: float = 0.0
    """How far the first seat moves its p, on average: half the mean seat gap."""
    unread: int = 0
    """Matchups of the fit on which it gave nothing usable."""
    says: tuple[tuple[float, ...], ...] = ()
    """Dawid-Skene: chances of its saying first, second or tie, where first is true and where second is."""


class Weights(Struct, frozen=True, omit_defaults=True):
    """A fitted jury: what `combine` needs, and whether the jury deserves its name."""

    combine: Combine
    jurors: tuple[Juror, ...]
    method: Literal["equal", "votes", "stack", "tables"] = "equal"
    """`votes`: weighted by log-odds of accuracy; `stack`: logistic regression; `tables`: Dawid-Skene."""
    temperature: float = 1.0
    """The summed log-odds are divided by this, so that the probability means what it says."""
    n_gold: int = 0
    accuracy: float | None = None
    """Of the jury on people's labels; for weights learnt from those labels, each left out in its turn."""
    rho: float | None = None
    """Mean correlation of the members' errors."""
    effective: float | None = None
    """How many independent judges these are worth: k / (1 + (k - 1) rho)."""
    warning: str = ""
