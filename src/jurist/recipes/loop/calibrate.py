"""How sure a judge may be, learnt on pairs that people labelled, and what it said put right accordingly."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from ...errors import DataError
from ...preferences.decide import FEWEST_LABELS, Learnt
from ...records import Preference
from ...run import read_json
from ...verdicts.calibrate import Calibration, apply
from ...verdicts.settings import JudgeConfig
from .rounds import Round


def calibration(round: Round, judge: JudgeConfig, pairs: str) -> Calibration | None:
    """The judge's temperature, from pairs whose better one people have named; None where there are none."""
    if not pairs:
        return None
    labelled = round.judge_labelled(pairs, judge)
    learnt = read_json(Path(labelled.run) / "learnt.json", Learnt)
    for found in learnt.calibrations.values():
        return found
    raise DataError(
        f"{pairs} has {learnt.labels} labelled pairs that the judge could read, and a temperature is learnt"
        f" from {FEWEST_LABELS} at least. Add pairs, or leave out: rl.calibrate"
    )


def put_right(pairs: Iterable[Preference], how: Calibration | None) -> list[Preference]:
    """The same preferences, as sure as the judge may be."""
    if how is None:
        return list(pairs)
    ps = ((one, apply(one.p, how.temperature)) for one in pairs)
    return [replace(one, p=p, margin=abs(2 * p - 1)) for one, p in ps]
