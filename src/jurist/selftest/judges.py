"""The known-answer judges, what each is asked, and what has to come out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from ..engines.engine import Ask
from ..records import content_id
from ..serve import Answer
from ..tiny import judges, world
from ..verdicts.read import UNREAD
from ..verdicts.template import unfence
from .outcome import Outcome

Expectation = Callable[[Outcome], str]
"""Empty when it holds, else what was seen instead."""


class Known(Struct, frozen=True):
    """One judge, how it is asked, and the promises it tests."""

    name: str
    answers: Answer
    expects: tuple[Expectation, ...]
    settings: dict[str, Any] = {}
    injected: bool = False


async def shifted(ask: Ask) -> str:
    """Stumbles, and its replies overtake each other: whoever pairs replies by position pairs them wrongly."""
    await asyncio.sleep(random.Random(content_id(ask)).random() * 0.02)
    return judges.stumbling(ask)


def halting(ask: Ask) -> str:
    """Always the first seat, or nothing that can be read: half an average would be all seat."""
    return judges.garbage(ask) if random.Random(content_id(ask)).random() < 0.2 else "A"


def scoring(ask: Ask) -> str:
    """The true score, on the scale from 1 to 9."""
    question = ask.messages[-1].content
    score = world.true_score(unfence(question, "turn-user"), unfence(question, "response"))
    return f"Score: {round(1 + 8 * (score + 2) / 3.5)}"


def stumbling_scores(ask: Ask) -> str:
    """The true score, and on one question in five nothing that could be read as one."""
    return "I would rather not say." if random.Random(content_id(ask)).random() < 0.2 else scoring(ask)


def no_labels(seen: Outcome) -> str:
    return "" if not seen.labels else f"{len(seen.labels)} labels"


def every_p_is_half(seen: Outcome) -> str:
    odd = [p for p in seen.settled if p != 0.5]
    return (
        ""
        if seen.settled and not odd
        else f"{len(odd)} of {len(seen.settled)} matchups with p other than 0.5"
    )


def every_row_is_labelled(seen: Outcome) -> str:
    return (
        "" if len(seen.labels) == len(seen.rows) else f"{len(seen.labels)} labels for {len(seen.rows)} rows"
    )


def most_rows_are_labelled(seen: Outcome) -> str:
    enough = 0.4 * len(seen.rows) <= len(seen.labels) < len(seen.rows)
    return "" if enough else f"{len(seen.labels)} labels for {len(seen.rows)} rows"


def chosen_is_better(seen: Outcome) -> str:
    wrong = [label for label in seen.labels if label.chosen != label.row.better]
    return "" if not wrong else f"{len(wrong)} of {len(seen.labels)} labels are wrong"


def chosen_is(rule: Callable[[str, str], bool], what: str) -> Expectation:
    def check(seen: Outcome) -> str:
        wrong = [label for label in seen.labels if not rule(label.chosen, label.rejected)]
        return "" if not wrong else f"{len(wrong)} of {len(seen.labels)} chosen are not {what}"

    check.__name__ = f"chosen_is_{what}"
    return check


def dropped_as(*reasons: str) -> Expectation:
    def check(seen: Outcome) -> str:
        other = {reason: n for reason, n in seen.dropped.items() if reason not in reasons}
        named = "" if not other else f"dropped as {other}"
        return named if seen.dropped or not seen.rows else "nothing was dropped"

    check.__name__ = "dropped_by_name"
    return check


def all_unread(seen: Outcome) -> str:
    read = seen.verdicts - seen.unread
    return "" if not read else f"{read} of {seen.verdicts} verdicts were read"


def none_unread(seen: Outcome) -> str:
    return "" if not seen.unread else f"{seen.unread} verdicts were not read"


_UNREAD = tuple(f"unread: {reason}" for reason in UNREAD)
_longer = chosen_is(lambda chosen, rejected: len(chosen) > len(rejected), "longer")
_shorter = chosen_is(lambda chosen, rejected: len(chosen) < len(rejected), "shorter")

KNOWN: tuple[Known, ...] = (
    Known("always_first", judges.first, (every_p_is_half, no_labels, dropped_as("tie"), none_unread)),
    Known("always_second", judges.second, (every_p_is_half, no_labels, dropped_as("tie"), none_unread)),
    Known("longer", judges.longer, (every_row_is_labelled, _longer, none_unread)),
    Known("shorter", judges.shorter, (every_row_is_labelled, _shorter, none_unread)),
    Known("oracle", judges.oracle, (every_row_is_labelled, chosen_is_better, none_unread)),
    Known("coin", judges.coin, (most_rows_are_labelled, dropped_as("tie"), none_unread)),
    Known("garbage", judges.garbage, (no_labels, all_unread, dropped_as(*_UNREAD))),
    Known(
        "always_tie", judges.tie, (every_p_is_half, no_labels, dropped_as("tie"), none_unread), {"ties": True}
    ),
    Known("injected", judges.oracle, (every_row_is_labelled, chosen_is_better, none_unread), {}, True),
    Known(
        "injected_quoting",
        judges.quoting,
        (every_row_is_labelled, chosen_is_better, none_unread),
        {"reason": True},
        True,
    ),
    Known("shifted", shifted, (most_rows_are_labelled, chosen_is_better, dropped_as(*_UNREAD))),
    Known("halting", halting, (no_labels, dropped_as("tie", *_UNREAD))),
    Known("scoring", scoring, (every_row_is_labelled, chosen_is_better, none_unread), {"kind": "pointwise"}),
    Known(
        "scoring_shifted",
        stumbling_scores,
        (most_rows_are_labelled, chosen_is_better, dropped_as(*_UNREAD)),
        {"kind": "pointwise"},
    ),
)
