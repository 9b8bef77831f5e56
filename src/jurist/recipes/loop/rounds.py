"""One round after another, until the last or until there is a reason to stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from msgspec import Struct

from ..lines import Share, named, table
from .compare import Facts
from .folder import LoopRun, OnLoopProgress
from .labels import LabelledRun, NothingToLearn
from .round import Round, Trained
from .settings import JudgeSpec, LoopConfig
from .stopping import RealShare, real_share_for, reason_to_stop, warnings


class LoopOutcome(Struct, frozen=True):
    """What a loop came to; kept as `summary.json`."""

    policy: str
    """Folder of the policy of the last round."""
    rounds: list[Facts]
    stopped: str = ""
    """Why it ended before its last round."""
    warning: str = ""
    usd: float = 0.0
    seconds: float = 0.0
    """Of this start."""

    def lines(self) -> Iterator[str]:
        """A row per round; columns without a value are left out."""
        heads = ("round", "win rate against initial policy", "judge agreement", "proxy", "KL", "words")
        cells = zip((*heads, "distinct", "different", "cost", "time"), *map(_cells, self.rounds), strict=True)
        shown = [column for column in cells if any(cell != "-" for cell in column[1:])]
        yield from table(list(zip(*shown, strict=True)))
        rows = (("stopped", self.stopped), ("warning", self.warning), ("cost", f"${self.usd:.4f}"))
        yield from named((*rows, ("policy", self.policy)))


def _cells(facts: Facts) -> tuple[str, ...]:
    one = facts.compared
    win, words = "-", "-"
    if one.win_rate is not None:
        win = str(Share(one.win_rate, one.low, one.high, one.n))
        win += f", {one.at_equal_length:.1%} at equal length" if one.at_equal_length is not None else ""
        words = f"{one.words_before:.1f} to {one.words:.1f}"
    agreed = f"{facts.agreement.value:.1%} (n = {facts.agreement.n})" if facts.agreement else "-"
    numbers = ((facts.proxy, "+.3f"), (one.kl, ".2f"), (one.distinct, ".3f"), (one.unique, ".3f"))
    proxy, kl, *varied = ("-" if value is None else format(value, how) for value, how in numbers)
    took = f"{facts.seconds:.1f} s" if facts.seconds else "-"
    return str(facts.round), win, agreed, proxy, kl, words, *varied, f"${facts.usd:.4f}", took


class Rounds:
    """Iterate over it, and finish each round."""

    def __init__(self, loop: LoopRun) -> None:
        self.loop = loop
        self.initial = loop.checkpoint()
        """Folder of the initial policy."""
        self._facts: list[Facts] = []
        self._scorer: Trained | JudgeSpec | None = None
        self._stopped = ""
        self._began = time.monotonic()
        Round(loop, 0).compare(self.initial, self.initial)

    def __iter__(self) -> Iterator[Round]:
        cfg = self.loop.cfg
        for number in range(1, cfg.rounds + 1):
            self._stopped = reason_to_stop(self._facts, cfg.stop)
            if self._stopped:
                return
            work = partial(real_share_for, self._facts, cfg.real)
            yield Round(self.loop, number, self.loop.once(number, "real_share", RealShare, work))

    def finish(
        self,
        round: Round,
        made: Trained,
        labelled: LabelledRun | None = None,
        scorer: Trained | JudgeSpec | None = None,
        **more: Any,
    ) -> None:
        """Compare the new policy, and write down what the round came to. The first round's scorer scores the
        held-out answers of all rounds."""
        compared = round.compare(made.folder, self.initial)
        self._scorer = self._scorer or scorer
        if labelled is not None:
            flips = labelled.flips.value if labelled.flips else None
            more = {"tied": labelled.tied, "flips": flips, "agreement": round.agreement(labelled), **more}
        proxy = round.proxy(self._scorer) if self._scorer else None
        facts = Facts(
            round=round.number,
            policy=made.folder,
            policy_hash=made.hash,
            rows=made.rows,
            real_share=round.real_share,
            real_wanted=round.wanted.share if self.loop.cfg.real.file or round.wanted.why else 0.0,
            missing=round.missing,
            proxy=proxy,
            compared=compared,
            usd=self.loop.usd - round.before[0],
            seconds=float(f"{self.loop.seconds - round.before[1]:.2f}"),
            **more,
        )
        self._facts.append(facts)
        self.loop.write_lines("rounds", self._facts)

    def end(self, reason: NothingToLearn) -> None:
        """Before a round is over. The first has no policy to end with."""
        if not self._facts:
            raise reason
        self._stopped = str(reason)

    @property
    def outcome(self) -> LoopOutcome:
        found = [self.loop.warning, *warnings(self._facts, self.loop.cfg.stop)]
        for last in [one for one in self._facts if one.missing][-1:]:
            found.append(
                f"{last.missing} more rows that humans write would make up the share of"
                f" {last.real_wanted:.0%} that keeps the answers varied; their prompts:"
                f" {self.loop.folder(last.round) / 'wanted.jsonl'}"
            )
        return LoopOutcome(
            policy=self._facts[-1].policy,
            rounds=self._facts,
            stopped=self._stopped,
            warning="; ".join(filter(None, found)),
            usd=self.loop.usd,
            seconds=float(f"{time.monotonic() - self._began:.2f}"),
        )


@contextmanager
def run_rounds(cfg: LoopConfig, on_progress: OnLoopProgress | None) -> Iterator[Rounds]:
    """The rounds of a loop; their outcome is kept when all went well."""
    with LoopRun(cfg, on_progress) as loop:
        rounds = Rounds(loop)
        try:
            yield rounds
        except NothingToLearn as reason:
            rounds.end(reason)
        loop.run.write_json("summary.json", rounds.outcome)
