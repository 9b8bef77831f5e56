"""Learning a jury from one pass over its opinions and a few labels from people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ...errors import DataError, SettingError
from ...stats.intervals import sign_test
from ..dawid_skene import MISSING, fit_tables
from ..opinion import Opinion
from .anchored import STACK_FROM, finish, stack, weigh_votes
from .ballots import Ballots, Gold, answers, average, error_correlation, sided
from .weights import Juror, JuryConfig, Weights

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

REFUSE_FROM = 10
"""Labels below which nothing is refused: chance alone would do it."""
ALIKE = 0.3
"""Error correlation from which Dawid-Skene's probabilities are not to be believed."""

_MIRROR = {0: 1, 1: 0, 2: 2, MISSING: MISSING}


def fit_jury(opinions_by_matchup: Iterable[Sequence[Opinion]], gold: Gold, cfg: JuryConfig) -> Weights:
    """Weigh the members on people's labels; refuse to count heads where one member alone does better."""
    import numpy as np

    ballots = Ballots(cfg.combine == "dawid_skene")
    for opinions in opinions_by_matchup:
        if opinions:
            ballots.add(opinions, gold)
    if not ballots.place:
        raise DataError("no opinions to fit a jury on; label some matchups with its members first")
    p, gap, y = ballots.table()
    right = sided(p, y)
    jurors = tuple(
        Juror(
            judge,
            accuracy=average(right[:, j]),
            n=int((~np.isnan(right[:, j])).sum()),
            bias=ballots.gaps[j][0] / ballots.gaps[j][1] / 2 if ballots.gaps[j][1] else 0.0,
            unread=ballots.unread[j],
        )
        for judge, j in ballots.place.items()
    )
    rho = error_correlation(right)
    bare = Weights(
        cfg.combine,
        jurors,
        n_gold=len(y),
        rho=rho,
        effective=None if rho is None else len(jurors) / (1 + (len(jurors) - 1) * max(rho, 0.0)),
    )
    if cfg.combine == "anchored":
        if not len(y):
            found = (
                f"none of the {len(gold)} given is about a matchup of this run" if gold else "there are none"
            )
            raise SettingError(
                f"combine: anchored learns from people's labels, and {found}; give some with --labels FILE, "
                "or set combine: mean"
            )
        return stack(bare, p, gap, y) if len(y) >= STACK_FROM else weigh_votes(bare, p, right, y)
    if cfg.combine == "dawid_skene":
        return _dawid_skene(bare, ballots, p, y)
    return _equal(bare, p, right, y, cfg)


def _equal(bare: Weights, p: Array, right: Array, y: Array, cfg: JuryConfig) -> Weights:
    import numpy as np

    if not len(y):
        return bare
    # Votes as probabilities: 1 for first, 0 for second, a half for a tie.
    heads = np.array([1.0, 0.0, 0.5, np.nan])[np.nan_to_num(answers(p), nan=3).astype(int)]
    heads = heads if cfg.combine == "vote" else p
    read = ~np.isnan(heads)
    share = np.where(read, heads, 0).sum(axis=1) / np.maximum(read.sum(axis=1), 1)
    jury = sided(np.where(read.any(axis=1), share, np.nan)[:, None], y)[:, 0]
    done = replace(bare, accuracy=average(jury))
    known = [juror for juror in bare.jurors if juror.n >= REFUSE_FROM]
    if not known:
        return done
    best = max(known, key=lambda juror: (juror.accuracy or 0.0, juror.judge))
    column = right[:, [juror.judge for juror in bare.jurors].index(best.judge)]
    both = ~np.isnan(column) & ~np.isnan(jury)
    n, ours, alone = int(both.sum()), average(jury[both]), average(column[both])
    if ours is None or alone is None or ours >= alone:
        return done
    chance = sign_test(int((column > jury)[both].sum()), int((column < jury)[both].sum()))
    found = (
        f"combine: {cfg.combine} agrees with {ours:.1%} of {n} human labels, judge {best.judge} alone "
        f"with {alone:.1%} (chance alone does that in {chance:.0%} of cases)"
    )
    if cfg.force:
        return replace(done, warning=found)
    raise SettingError(f"{found}; use combine: anchored or the judge {best.judge} alone; or set force: true")


def _dawid_skene(bare: Weights, ballots: Ballots, p: Array, y: Array) -> Weights:
    """EM over all matchups, each also seen from its other seat: which seat is called first is an accident."""
    import numpy as np

    k = len(bare.jurors)
    patterns, counts, gold = [], [], []
    for (pattern, label), count in ballots.patterns.items():
        full = pattern + (MISSING,) * (k - len(pattern))
        known = None if label is None else (label, 1 - label)
        for said, truth in ((full, known), (tuple(_MIRROR[a] for a in full), known and (known[1], known[0]))):
            patterns.append(said)
            counts.append(count / 2)
            gold.append(truth)
    says = fit_tables(patterns, counts, gold).says
    jurors = tuple(replace(juror, says=table) for juror, table in zip(bare.jurors, says, strict=True))
    done = replace(bare, jurors=jurors, method="tables")
    if not len(y):
        return replace(
            done, warning="no human labels: Dawid-Skene may have settled upside down; label 30 by hand"
        )
    answer = np.nan_to_num(answers(p)).astype(int)
    tables = np.asarray(says)
    words = np.log(tables[np.arange(k), 0, answer] / tables[np.arange(k), 1, answer])
    scores = np.where(np.isnan(p), 0.0, words).sum(axis=1)
    none = np.zeros(k)
    done = finish(done, none + 1, none, scores, y, "tables")
    best = max(bare.jurors, key=lambda juror: juror.accuracy or 0.0)
    if (done.accuracy or 0.0) < (best.accuracy or 0.0):
        return replace(
            done,
            warning=f"Dawid-Skene agrees with {done.accuracy:.1%} of the human labels, judge {best.judge} "
            f"alone with {best.accuracy:.1%}; use combine: anchored",
        )
    if bare.rho is None or bare.rho < ALIKE:
        return done
    return replace(
        done,
        warning=f"the members err together (correlation {bare.rho:.2f}: {k} of them are worth "
        f"{bare.effective:.1f}), which makes Dawid-Skene falsely sure; use combine: anchored",
    )
