"""What all the verdicts about one matchup come to. Derived, never stored: the verdicts are the evidence."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace


class Opinion(Struct, frozen=True):
    """One matchup as one judge, or a whole jury, sees it, told from the seats as they were given."""

    matchup_id: str
    first_id: str
    second_id: str
    judge: str = ""
    p_first: float | None = None
    """Probability that the completion in the first seat is better. None: no usable opinion, see `unread`."""
    unread: str = ""
    seat_gap: float | None = None
    """p_first as given minus p_first from the turned question, mapped back: 0 when seats do not matter."""
    scores: tuple[float, float] | None = None
    """Mean scores of first and second where a judge scored them one by one."""
    verdict_ids: tuple[str, ...] = ()

    @property
    def flipped(self) -> bool:
        """Both orders were read and each favoured the same seat, so opposite completions."""
        if self.p_first is None or self.seat_gap is None:
            return False
        return (self.p_first + self.seat_gap / 2 - 0.5) * (self.p_first - self.seat_gap / 2 - 0.5) < 0

    def turned(self) -> Opinion:
        """The same opinion, told from the other seat."""
        return replace(
            self,
            first_id=self.second_id,
            second_id=self.first_id,
            p_first=None if self.p_first is None else 1.0 - self.p_first,
            seat_gap=None if self.seat_gap is None else -self.seat_gap,
            scores=None if self.scores is None else (self.scores[1], self.scores[0]),
        )
