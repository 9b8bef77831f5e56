"""What a job will cost, before a call is made.

A sample of rows goes through the real pipeline, with engines that count instead of asking: so what is counted
is what would be sent, templates, both orders, jury and all. What a model will write is a guess, printed with
the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from msgspec import Struct

from ..completions import matchups
from ..engines.engine import Ask, Engine, EngineSpec, Reply, open_engine, sample_of
from ..engines.journaled import call_key
from ..engines.prices import cost_of
from ..engines.scripted import CHARACTERS_PER_TOKEN, guessed_usage
from ..journal import Journal
from ..records import Group, Prompt, Usage
from ..verdicts.judge import ask_judges
from .label import input_rows, no_rows, open_judges, open_policies, sampled
from .settings import LabelConfig, check, expected_rows, judge_configs
from .stream import run_async

COMPLETION_TOKENS, RATIONALE_TOKENS, LABEL_TOKENS = 200, 150, 2
SAMPLE_ROWS = 200
LOOK_AT_MOST = 100_000
"""Rows over which the sample is spread."""


class EngineEstimate(Struct, frozen=True):
    """One engine's share of the job."""

    name: str
    calls: int
    """Still to be made."""
    kept: int
    """In the journal already."""
    usage: Usage
    usd: float | None
    """None: no price is known for it."""


class JobEstimate(Struct, frozen=True):
    rows: int
    sampled: int
    matchups: int
    engines: tuple[EngineEstimate, ...]
    usd: float | None
    """None where some engine's price is unknown."""

    def lines(self) -> Iterator[str]:
        yield f"{self.rows:,} rows, about {self.matchups:,} matchups (from a sample of {self.sampled:,} rows)"
        for one in self.engines:
            price = "no price known" if one.usd is None else f"${one.usd:,.2f}"
            kept = f", {one.kept:,} more are in the journal" if one.kept else ""
            tokens = f"{one.usage.tokens_in:,} tokens in, {one.usage.tokens_out:,} out"
            yield f"  {one.name}: {one.calls:,} calls{kept}; {tokens}; {price}"
        if self.usd is None:
            price = "--judge.engine.price.input 0.2 --judge.engine.price.output 0.8"
            yield f"total: unknown. Give the price, in dollars per million tokens: {price}"
        else:
            each = self.usd / max(self.matchups, 1)
            yield f"total: about ${self.usd:,.2f}, ${each:.5f} per matchup"
        written = f"{COMPLETION_TOKENS} tokens a completion, {RATIONALE_TOKENS} a rationale"
        yield f"assumed: {CHARACTERS_PER_TOKEN} characters a token, {written}"
        yield "not counted: hidden thinking, retries, and questions asked once more for the label alone"


class CountingEngine(Engine):
    """Counts what it is asked, and answers something of the length expected."""

    def __init__(self, engine: Engine, journal: Journal | None, written: int) -> None:
        self.engine, self.name, self.price = engine, engine.name, engine.price
        self.gives_logprobs = engine.gives_logprobs
        self.calls = self.kept = self.tokens_in = self.tokens_out = 0
        self._journal, self._written = journal, written

    async def answer(self, ask: Ask) -> Reply:
        return (await self.samples(ask, 1))[0]

    async def samples(self, ask: Ask, n: int) -> list[Reply]:
        """Where the engine can, the prompt is read once for all that are new."""
        asks = [sample_of(ask, ask.sample + i) for i in range(n)]
        new = n - sum(map(self._is_kept, asks))
        written = min(self._written, ask.max_tokens) if ask.wants == "text" else LABEL_TOKENS
        self.calls += new
        self.kept += n - new
        reads = min(new, 1) if self.engine.samples_together else new
        self.tokens_in += reads * guessed_usage(ask, Reply("")).tokens_in
        self.tokens_out += new * written
        if ask.wants != "text":
            return [Reply(ask.labels[0])] * n
        # A different text for each sample: equal completions would never meet.
        words, last = "word " * max(0, written - 3), f"\nVerdict: {ask.labels[0]}" if ask.labels else ""
        return [Reply(f"{one.sample} {words}{last}") for one in asks]

    def _is_kept(self, ask: Ask) -> bool:
        return self._journal is not None and self._journal.get(call_key(self.engine, ask)) is not None

    def scaled(self, scale: float) -> EngineEstimate:
        usage = Usage(round(self.tokens_in * scale), 0, round(self.tokens_out * scale))
        usd = cost_of(usage, self.price) if self.price is not None else None
        return EngineEstimate(self.name, round(self.calls * scale), round(self.kept * scale), usage, usd)


def estimate(cfg: LabelConfig) -> JobEstimate:
    """The job's calls, tokens and price, scaled up from a sample of its rows."""
    check(cfg)
    path = Path(cfg.journal) if cfg.journal else Path(cfg.out) / "journal.sqlite"
    journal = Journal(path, reading=True) if path.exists() else None
    counting: list[CountingEngine] = []

    def opened(spec: EngineSpec, written: int) -> Engine:
        counting.append(CountingEngine(open_engine(spec), journal, written))
        return counting[-1]

    policies = open_policies(cfg, partial(opened, written=COMPLETION_TOKENS))
    judges = open_judges(cfg, judge_configs(cfg), partial(opened, written=RATIONALE_TOKENS))
    rows, total = _spread(cfg)

    async def count() -> int:
        met = 0
        for row in rows:
            group, _ = await sampled(row, policies, cfg)
            pairs, _ = matchups(group, cfg.matchups, cfg.seed)
            await ask_judges(group.prompt, group.completions, pairs, judges, cfg.seed)
            met += len(pairs)
        return met

    met = run_async(count())
    if journal is not None:
        journal.close()
    scale = total / len(rows)
    engines = tuple(one.scaled(scale) for one in counting)
    usd = None if any(one.usd is None for one in engines) else sum(one.usd or 0.0 for one in engines)
    return JobEstimate(total, len(rows), round(met * scale), engines, usd)


def _spread(cfg: LabelConfig) -> tuple[list[Prompt | Group], int]:
    """Rows taken evenly from the file, which may be sorted by length; and how many there are."""
    known = expected_rows(cfg) or SAMPLE_ROWS
    stride = max(1, min(known, LOOK_AT_MOST) // SAMPLE_ROWS)
    taken: list[Prompt | Group] = []
    seen = 0
    for row in islice(input_rows(cfg, lambda _: None), LOOK_AT_MOST):
        if seen % stride == 0 and len(taken) < SAMPLE_ROWS:
            taken.append(row)
        seen += 1
    if not taken:
        raise no_rows(cfg)
    # Fewer rows than lines were read where the file repeats itself; more than we look at are not counted.
    return taken, seen if seen < LOOK_AT_MOST else max(known, seen)
