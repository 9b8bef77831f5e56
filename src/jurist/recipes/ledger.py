"""What each principle of a constitution did: how often drawn, how often it decided, whom it contradicted.

    kept = ledger(read_records(Path("runs/mine/verdicts.jsonl"), Verdict))

It reads the verdicts of any labelling run under a constitution, one matchup at a time; the revisions of a
constitutional loop may be added. A principle that is drawn often and never decides can go; two that often
disagree about the same answers pull the labels apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations, groupby
from pathlib import Path
from statistics import fmean

from msgspec import Struct

from ..records import Verdict
from ..run import read_records
from .loop.revise import Revised

DECIDES = 0.1
"""How far from 0.5 a probability has to be for its principle to have decided."""


class Principled(Struct, frozen=True):
    """The account of one principle. A mean of nothing is None."""

    principle: str
    judged: int = 0
    """Questions asked under it, in both orders where both were asked."""
    unread: float | None = None
    """Share of them without a usable answer."""
    decided: int = 0
    """Questions that moved p by more than the margin from 0.5."""
    sureness: float | None = None
    """Mean |2p - 1|."""
    revised: int = 0
    """Revisions asked for under it."""
    changed: int = 0
    """Those that came to another text."""


class Conflict(Struct, frozen=True):
    """Two principles under which the same answers were compared."""

    one: str
    other: str
    met: int
    """Matchups that both decided."""
    opposed: int
    """Those where they decided for different answers."""


class Ledger(Struct, frozen=True):
    """Kept as `ledger.json`."""

    margin: float
    principles: list[Principled]
    conflicts: list[Conflict]
    """Those that met, the most opposed first. Only samples of several principles on one matchup meet."""


def ledger(verdicts: Iterable[Verdict], revised: Iterable[Revised] = (), margin: float = DECIDES) -> Ledger:
    """The account of every principle that was drawn."""
    ps: dict[str, list[float | None]] = defaultdict(list)
    met: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for opinions in by_matchup(verdicts):
        for principle, p in opinions:
            ps[principle].append(p)
        for pair, opposed in _meetings(opinions, margin):
            met[pair].append(opposed)
    texts: dict[str, list[bool]] = defaultdict(list)
    for row in revised:
        for one in row.revisions:
            texts[one.principle].append(one.completion is not None and one.unused != "unchanged")
    return Ledger(
        margin,
        [_account(name, ps[name], texts[name], margin) for name in sorted({*ps, *texts})],
        sorted(
            (Conflict(*pair, len(opposed), sum(opposed)) for pair, opposed in met.items()),
            key=lambda row: (-row.opposed, -row.met, row.one, row.other),
        ),
    )


def of_round(folder: Path) -> Ledger:
    """The account of a round of a constitutional loop; a phase that was not done adds nothing."""
    verdicts, revised = folder / "label" / "verdicts.jsonl", folder / "revise" / "revisions.jsonl"
    return ledger(
        read_records(verdicts, Verdict) if verdicts.exists() else (),
        read_records(revised, Revised) if revised.exists() else (),
    )


def by_matchup(verdicts: Iterable[Verdict]) -> Iterator[list[tuple[str, float | None]]]:
    """What one judge said about a matchup: a principle and a probability for each question, orders joined."""
    principled = (one for one in verdicts if one.principle and one.matchup_id)
    for _, said in groupby(principled, key=lambda one: (one.judge, one.matchup_id)):
        questions: dict[tuple[int, str], list[Verdict]] = {}
        for verdict in said:
            questions.setdefault((verdict.sample, verdict.principle), []).append(verdict)
        yield [(principle, _joined(heard)) for (_, principle), heard in questions.items()]


def _joined(heard: list[Verdict]) -> float | None:
    """p of the completion whose id comes first: the seats cancel. None where an order is unread."""
    ps = [
        one.p_first if one.p_first is None or one.first_id <= one.second_id else 1 - one.p_first
        for one in heard
    ]
    read = [p for p in ps if p is not None]
    return fmean(read) if len(read) == len(ps) else None


def _meetings(
    opinions: list[tuple[str, float | None]], margin: float
) -> Iterator[tuple[tuple[str, str], bool]]:
    by_principle: dict[str, list[float]] = defaultdict(list)
    for principle, p in opinions:
        if p is not None:
            by_principle[principle].append(p)
    leans = {name: fmean(said) - 0.5 for name, said in by_principle.items()}
    firm = sorted(name for name, lean in leans.items() if abs(lean) > margin)
    for one, other in combinations(firm, 2):
        yield (one, other), leans[one] * leans[other] < 0


def _account(name: str, ps: list[float | None], texts: list[bool], margin: float) -> Principled:
    read = [p for p in ps if p is not None]
    return Principled(
        principle=name,
        judged=len(ps),
        unread=1 - len(read) / len(ps) if ps else None,
        decided=sum(abs(p - 0.5) > margin for p in read),
        sureness=fmean(abs(2 * p - 1) for p in read) if read else None,
        revised=len(texts),
        changed=sum(texts),
    )
