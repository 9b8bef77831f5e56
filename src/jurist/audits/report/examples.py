"""A matchup laid open: what was asked, the two answers, and all that was said about them in each order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from ...records import Matchup, Verdict
from ...verdicts.settle import is_swapped

Order = Literal["", "given", "swapped", "first", "second"]


class Heard(Struct, frozen=True):
    """What a judge or a person said once."""

    who: str
    order: Order = "given"
    """`given` as the two stand here, `turned` with the seats exchanged; for a score, whose it is; empty where
    nobody knows.
    """
    p_first: float | None = None
    """That the first, as it stands here, is better; None where that was not said or not read."""
    score: float | None = None
    unread: str = ""
    """Why there is nothing to read."""
    why: str = ""
    """The judge's reasons, in its own words."""


class MatchupExample(Struct, frozen=True):
    """One matchup to open."""

    id: str
    prompt: str
    first: str
    second: str
    first_by: str = ""
    """Who wrote it, where that is known."""
    second_by: str = ""
    judges: tuple[Heard, ...] = ()
    people: tuple[Heard, ...] = ()


def example_of(matchup: Matchup, judges: Iterable[Verdict], people: Iterable[Verdict] = ()) -> MatchupExample:
    """Verdicts about anything else are left out; a label without ids is told as the matchup stands."""
    turns = matchup.prompt.messages
    lone = len(turns) == 1
    return MatchupExample(
        id=matchup.id,
        prompt=turns[0].content if lone else "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns),
        first=matchup.first.text,
        second=matchup.second.text,
        first_by=matchup.first.policy,
        second_by=matchup.second.policy,
        judges=tuple(heard for one in judges if (heard := _heard(one, matchup))),
        people=tuple(heard for one in people if (heard := _heard(one, matchup))),
    )


def _heard(said: Verdict, matchup: Matchup) -> Heard | None:
    seats = (matchup.first.id, matchup.second.id)
    why = said.rationale
    if said.kind == "pointwise":
        if said.first_id not in seats:
            return None
        seat: Order = "first" if said.first_id == seats[0] else "second"
        return Heard(said.judge, seat, score=said.score, unread=said.unread, why=why)
    if not said.first_id:
        return Heard(said.judge, "", said.p_first, unread=said.unread, why=why)
    if {said.first_id, said.second_id} != set(seats):
        return None
    turned = is_swapped(said, matchup)
    p = None if said.p_first is None else 1 - said.p_first if turned else said.p_first
    return Heard(said.judge, "swapped" if turned else "given", p, unread=said.unread, why=why)
