"""What all the verdicts about one matchup come to. Derived, never stored: the verdicts are the evidence."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace


class Opinion(Struct, frozen=True):
    """One matchup as one judge, or a whole jury, sees it, told from the positions as they were given."""

    matchup_id: str
    first_id: str
    second_id: str
    judge: str = ""
    p_first: float | None = None
    """Probability that the first completion is better. None: no usable opinion, `unread` says why."""
    unread: str = ""
    position_gap: float | None = None
    """p_first as given minus p_first from the swapped question, mapped back: 0 without position bias."""
    scores: tuple[float, float] | None = None
    """Mean scores of first and second where a judge scored them one by one."""
    verdict_ids: tuple[str, ...] = ()
    flipped: bool = False
    """Both orders were read and favoured the same position. Decided once, in `settle`."""

    def swapped(self) -> Opinion:
        """The same opinion, told from the other position."""
        return replace(
            self,
            first_id=self.second_id,
            second_id=self.first_id,
            p_first=None if self.p_first is None else 1.0 - self.p_first,
            position_gap=None if self.position_gap is None else -self.position_gap,
            scores=None if self.scores is None else (self.scores[1], self.scores[0]),
        )
