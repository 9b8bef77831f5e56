"""What a labelling has to teach. Where it is nothing but noise, the loop ends with words instead of a policy.

A judge that looks at the seats and not at the answers still gives probabilities, and a training would learn
whatever is left of them after both orders are averaged. The bar is `stop.flips`.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ...records import Preference
from ...run import read_records
from .labelling import Labelled
from .settings import StopConfig


class NothingToLearn(DataError):
    """The rounds before keep what they came to; a first round has nothing to fall back on."""


def lessons(labelled: Labelled, stop: StopConfig) -> list[Preference]:
    """The preferences of a labelling, if its judge saw the answers and a difference between them."""
    refuse_seats(labelled, stop)
    pairs = list(read_records(Path(labelled.run) / "preferences.jsonl", Preference))
    if not pairs or labelled.tied == 1:
        raise nothing_apart(labelled.run)
    return pairs


def refuse_seats(labelled: Labelled, stop: StopConfig) -> None:
    """A verdict that follows the seat says nothing about the answers."""
    flips = labelled.flips
    if stop.flips and flips is not None and flips.low > stop.flips:
        raise NothingToLearn(
            f"{flips.value:.0%} of the {flips.n:,} matchups read in both orders went to the seat and not to"
            f" the answer (stop.flips is {stop.flips:g}), so nothing is learnt from them. See them with:"
            f" jurist show {labelled.run} --flips; then name another judge, or learn all the same with:"
            " --stop.flips 0"
        )


def nothing_apart(run: str) -> NothingToLearn:
    """Said where all answers came out level, or every pair left."""
    return NothingToLearn(
        "the judge told the answers to no prompt apart, so there is nothing to learn. Draw answers that"
        " differ more (k, sampling.temperature), or name another judge; see what this one said with:"
        f" jurist show {run}"
    )
