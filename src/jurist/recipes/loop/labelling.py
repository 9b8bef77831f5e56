"""The steps of a round in which answers are written and judged, each a run like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from ...errors import BudgetSpent, EngineDown, Interrupted
from ...preferences import PreferConfig
from ...records import Sampling
from ...run import Run, Writer
from ...verdicts.settings import JuryConfig
from ..label import label, sample
from ..lines import Share
from ..settings import LabelConfig, PolicyConfig
from ..summary import Summary
from .folder import Loop
from .settings import JudgeSpec
from .worth import opinions_of, ranking, tied


class Labelled(Struct, frozen=True):
    """A labelling run of a round."""

    run: str
    labels: int
    tied: float | None
    """Of the prompts whose answers were compared and read, those on which all came out level."""
    flips: Share | None
    """Of the matchups read in both orders, those whose verdict followed the seat."""
    calls: int
    usd: float
    seconds: float = 0.0


class Sampled(Struct, frozen=True):
    """Completions of a round that nobody judged yet."""

    run: str
    completions: int
    calls: int
    usd: float
    seconds: float = 0.0


class Labelling:
    """What a round does before anything is trained. What a step is called says where it lies."""

    def __init__(self, loop: Loop, number: int) -> None:
        self.loop, self.number = loop, number
        self.path = loop.folder(number)
        self.seed = loop.cfg.seed + 1000 * (number - 1)
        self._before = loop.usd, loop.seconds

    def prompts(self, each: int = 0) -> Path:
        """So many prompts for this round, in the order of the file and over again at its end; 0: all."""
        if not each:
            return self.loop.prompts("train")
        rows = self.loop.read_prompts("train")
        first = (self.number - 1) * each
        with self.writing("prompts") as (file,):
            for place in range(first, first + min(each, len(rows))):
                file.add(rows[place % len(rows)])
        return self.path / "prompts.jsonl"

    def opened(self, step: str) -> Run:
        """A folder of its own for a step, so that the journal knows what it cost in all its starts."""
        return Run(self.path / step, journal=self.loop.path / "journal.sqlite")

    @contextmanager
    def writing(self, *nouns: str) -> Iterator[list[Writer]]:
        """Files of the round, which appear together."""
        for noun in nouns:
            (self.path / noun).parent.mkdir(parents=True, exist_ok=True)
        names = [f"{self.path.name}/{noun}" for noun in nouns]
        with self.loop.run.writing(*names) as files:
            yield [files[name] for name in names]

    def label(
        self,
        policy: str,
        judge: JudgeSpec,
        *,
        prompts: Path | None = None,
        prefer: PreferConfig | None = None,
        jury: JuryConfig | None = None,
        matchups: str = "all",
        step: str = "label",
    ) -> Labelled:
        """Completions of the policy, and of whoever is mixed in, judged and decided."""
        wrote = self._writing(policy, prompts)
        return self._label(
            step, judge, prefer, jury, matchups=matchups, sampling=self.loop.cfg.sampling, **wrote
        )

    def judge(
        self,
        completions: Path,
        judge: JudgeSpec,
        *,
        prefer: PreferConfig | None = None,
        jury: JuryConfig | None = None,
        matchups: str = "all",
        step: str = "judge",
    ) -> Labelled:
        """Completions that are there already, judged and decided."""
        return self._label(step, judge, prefer, jury, matchups=matchups, completions=str(completions))

    def judge_labelled(self, pairs: str, judge: JudgeSpec, *, step: str = "calibrate") -> Labelled:
        """Pairs that people labelled, judged as well: what the judge says can be held against them."""
        return self._label(step, judge, None, None, pairs=pairs, labels="given")

    def sample(self, policy: str, sampling: Sampling, prompts: Path | None = None) -> Sampled:
        """Completions of the policy, and of whoever is mixed in; nobody judges them yet."""

        def work() -> Sampled:
            asked = LabelConfig(**self._shared("sample"), **self._writing(policy, prompts), sampling=sampling)
            summary = sample(asked, lambda tally: self.loop.tell(self.number, "sample", tally))
            _need_end(summary)
            return Sampled(asked.out, summary.completions, summary.calls + summary.calls_kept, summary.usd)

        return self.loop.once(self.number, "sample", Sampled, work)

    def _label(
        self, step: str, judge: JudgeSpec, prefer: PreferConfig | None, jury: JuryConfig | None, **rows: Any
    ) -> Labelled:
        def work() -> Labelled:
            how: dict[str, Any] = {
                "judge": judge,
                "jury": jury or JuryConfig(),
                "prefer": prefer or PreferConfig(),
            }
            asked = LabelConfig(**self._shared(step), **how, **rows)
            summary = label(asked, lambda tally: self.loop.tell(self.number, step, tally))
            _need_end(summary)
            return Labelled(
                run=asked.out,
                labels=summary.labels,
                tied=tied(ranking(*row) for row in opinions_of(asked.out, asked.jury)),
                flips=summary.flip_rate,
                calls=summary.calls + summary.calls_kept,
                usd=summary.usd,
            )

        return self.loop.once(self.number, step, Labelled, work)

    def _writing(self, policy: str, prompts: Path | None) -> dict[str, Any]:
        """Who writes, and for which prompts."""
        cfg = self.loop.cfg
        return {
            "prompts": str(prompts or self.loop.prompts("train")),
            "policy": (PolicyConfig(engine_of(policy)), *cfg.mixture),
            "k": cfg.k,
        }

    def _shared(self, step: str) -> dict[str, Any]:
        """What every labelling run of a loop has."""
        return {
            "out": str(self.path / step),
            "export": (),
            "budget": self.loop.left(),
            "journal": str(self.loop.path / "journal.sqlite"),
            "seed": self.seed,
        }


def _need_end(summary: Summary) -> None:
    """A run that stopped early stops the loop."""
    if summary.state == "stopped":
        kinds = {"budget": BudgetSpent, "interrupt": Interrupted}
        raise kinds.get(summary.ended_by, EngineDown)(summary.stopped)


def engine_of(folder: str) -> str:
    """A checkpoint as an engine; whatever is one already stays as it is."""
    return folder if ":" in folder else f"hf:{folder}"
