"""Going round: one round after another until the last, or until there is a reason to stop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from ..lines import Share, named, table
from .folder import Loop, Watch
from .lessons import NothingToLearn
from .mix import Grounding, grounding
from .rounds import Labelled, Round, Trained
from .settings import LoopConfig
from .start import checkpoint
from .stopping import Facts, reason_to_stop


class Outcome(Struct, frozen=True):
    """What a loop came to; kept as `summary.json`."""

    policy: str
    """Folder of the policy of the last round."""
    rounds: list[Facts]
    stopped: str = ""
    """Why it ended before its last round."""
    warning: str = ""
    """What it could not tell."""
    usd: float = 0.0
    seconds: float = 0.0
    """Of this start."""

    def lines(self) -> Iterator[str]:
        """A row per round; columns without a value are left out."""
        cells = zip(*(HEADS, *map(_row, self.rounds)), strict=True)
        shown = [column for column in cells if any(cell != "-" for cell in column[1:])]
        yield from table(list(zip(*shown, strict=True)))
        rows = (("stopped", self.stopped), ("warning", self.warning), ("cost", f"${self.usd:.4f}"))
        yield from named((*rows, ("policy", self.policy)))


HEADS = (
    *("round", "win rate against initial policy", "judge accuracy", "reward", "KL", "words"),
    *("distinct", "different", "cost", "time"),
)


def _row(facts: Facts) -> tuple[str, ...]:
    against, won, words = facts.against_start, "-", "-"
    if against is not None:
        won = str(Share(against.win_rate, against.low, against.high, against.n))
        if against.at_equal_length is not None:
            won += f", {against.at_equal_length:.1%} at equal length"
        words = f"{against.words_before:.1f} to {against.words:.1f}"
    judging = f"{facts.judging.value:.1%} (n = {facts.judging.n})" if facts.judging else "-"
    numbers = ((facts.reward, "+.3f"), (facts.kl, ".2f"), (facts.distinct, ".3f"), (facts.unique, ".3f"))
    reward, kl, *variety = ("-" if value is None else format(value, how) for value, how in numbers)
    time = f"{facts.seconds:.1f} s" if facts.seconds else "-"
    return str(facts.round), won, judging, reward, kl, words, *variety, f"${facts.usd:.4f}", time


class Rounds:
    """Iterate over it, and close each round."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.start = checkpoint(loop.cfg.policy, lambda now: loop.tell(1, "assistant", now))
        """Folder of the policy that the loop starts from."""
        self._before = self._seen()
        self._facts: list[Facts] = []
        self._stopped = ""
        self._began = time.monotonic()

    def __iter__(self) -> Iterator[Round]:
        for number in range(1, self.loop.cfg.rounds + 1):
            self._stopped = reason_to_stop(self._facts, self.loop.cfg.stop, self._before)
            if self._stopped:
                return
            yield Round(self.loop, number, self._grounded(number))

    def _seen(self) -> Facts | None:
        """What the start is like, which the diversity of all rounds is compared with."""
        looked = Round(self.loop, 0).look(self.start, self.start)
        if looked is None:
            return None
        return Facts(0, self.start, distinct=looked.distinct, unique=looked.unique, kl=0.0)

    def _grounded(self, number: int) -> Grounding:
        """How large a share of people's rows this round asks for, from what the rounds before came to."""
        real, facts = self.loop.cfg.real, self._facts
        return self.loop.once(number, "ground", Grounding, lambda: grounding(facts, self._before, real))

    def close(self, round: Round, made: Trained, labelled: Labelled | None = None, **seen: Any) -> None:
        """Look at the new policy from outside, and write down what the round came to."""
        looked = round.look(made.folder, self.start)
        if labelled is not None:
            seen |= {"tied": labelled.tied, "flips": labelled.flips.value if labelled.flips else None}
        self._facts.append(round.facts(made, looked, **seen))
        self.loop.write_rounds(self._facts)

    def end(self, reason: NothingToLearn) -> None:
        """Before a round is over. The first has no policy to end with."""
        if not self._facts:
            raise reason
        self._stopped = str(reason)

    def _warning(self) -> str:
        """What the loop could not tell, and which rows people are asked for."""
        asking = [one for one in self._facts if one.missing]
        if not asking:
            return self.loop.warning
        last = asking[-1]
        asked = (
            f"{last.missing} more rows that people write would make up the share of {last.real_wanted:.0%}"
            f" that keeps the answers varied; their prompts: {self.loop.folder(last.round) / 'wanted.jsonl'}"
        )
        return "; ".join(filter(None, (self.loop.warning, asked)))

    @property
    def outcome(self) -> Outcome:
        return Outcome(
            policy=self._facts[-1].policy,
            rounds=self._facts,
            stopped=self._stopped,
            warning=self._warning(),
            usd=self.loop.usd,
            seconds=round(time.monotonic() - self._began, 2),
        )


@contextmanager
def going_round(cfg: LoopConfig, watch: Watch) -> Iterator[Rounds]:
    """The rounds of a loop; their outcome is kept when all went well."""
    with Loop(cfg, watch) as loop:
        rounds = Rounds(loop)
        try:
            yield rounds
        except NothingToLearn as reason:
            rounds.end(reason)
        loop.run.write_json("summary.json", rounds.outcome)
