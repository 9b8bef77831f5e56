"""What a run has done so far, counted as it goes: for the progress line, and for `summary.json`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from ..engines.caller import Purse
from ..records import Verdict, is_label
from ..verdicts.cases import Case


@dataclass
class Tally:
    """Counts, and nothing that grows with the number of rows."""

    purse: Purse
    total: int | None = None
    """Rows in all, where that can be known before they are read."""
    rows: int = 0
    completions: int = 0
    matchups: int = 0
    verdicts: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows that came to no verdict, by stage and reason."""
    asked_twice: int = 0
    """Matchups that one judge read in both orders."""
    flipped: int = 0
    """Those among them where the verdict followed the seat and not the text."""
    first_seat: int = 0
    decided: int = 0
    """Verdicts for one seat or the other; ties and unread ones are not among them."""
    started: float = field(default_factory=time.monotonic)

    def add(self, case: Case) -> None:
        self.rows += 1
        self.completions += len(case.completions)
        self.matchups += len(case.matchups)
        self._hear([one for one in case.verdicts if not is_label(one.judge)])

    def _hear(self, verdicts: list[Verdict]) -> None:
        self.verdicts += len(verdicts)
        waiting: dict[tuple[str, str, int], Verdict] = {}
        for verdict in verdicts:
            if verdict.unread:
                self.unread[verdict.unread] += 1
                continue
            p = verdict.p_first
            if p is None:
                continue
            if p != 0.5:
                self.decided += 1
                self.first_seat += p > 0.5
            same_question = (verdict.judge, verdict.matchup_id, verdict.sample)
            other = waiting.pop(same_question, None)
            if other is None:
                waiting[same_question] = verdict
            elif other.order != verdict.order and other.p_first is not None:
                self.asked_twice += 1
                self.flipped += (p - 0.5) * (other.p_first - 0.5) > 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        if not self.total or not self.rows:
            return None
        return max(0.0, (self.total - self.rows) / self.rate)

    @property
    def projected(self) -> float | None:
        """Dollars for the whole job, at what this start's rows have cost so far."""
        if not self.total or not self.rows:
            return None
        earlier = self.purse.spent - self.purse.paid
        return earlier + self.purse.paid * self.total / self.rows

    @property
    def flip_rate(self) -> float | None:
        return self.flipped / self.asked_twice if self.asked_twice else None

    @property
    def unread_share(self) -> float | None:
        return self.unread.total() / self.verdicts if self.verdicts else None


Watch = Callable[[Tally], None]
"""Called after every row; whoever shows it decides how often to look."""


def nobody(_: Tally) -> None:
    """Watches nothing."""
