"""What a job will cost, before a call is made.

A sample of rows goes through the real pipeline, with engines that count instead of asking: so what is
counted is what would be sent, templates, both orders, jury and all. What a model will write back is a
guess; the guesses are printed with the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from msgspec import Struct

from ..completions import matchups, mixture
from ..engines.engine import Ask, Engine, EngineSpec, Reply, open_engine, sample_of
from ..engines.journaled import call_key
from ..engines.prices import cost_of
from ..engines.scripted import CHARACTERS_PER_TOKEN, guessed_usage
from ..errors import DataError
from ..journal import Journal
from ..records import Group, Prompt, Usage
from ..verdicts.judge import ask_judges, open_judge
from .label import need_names, read_rows, sampled
from .settings import LabelConfig, check, expected_rows, judge_configs, policy_configs
from .stream import run_async

COMPLETION_TOKENS = 200
RATIONALE_TOKENS = 150
VERDICT_TOKENS = 2
SAMPLE_ROWS = 200
LOOK_AT_MOST = 100_000
"""Rows over which the sample is spread."""


class EngineEstimate(Struct, frozen=True):
    """One engine's share of the job."""

    name: str
    calls: int
    kept: int
    """Calls that are in the journal already and cost nothing."""
    usage: Usage
    """Of the calls still to be made."""
    usd: float | None
    """None: no price is known for it."""


class Estimate(Struct, frozen=True):
    rows: int
    sampled: int
    matchups: int
    engines: tuple[EngineEstimate, ...]
    usd: float | None
    """None where some engine's price is unknown."""
    usd_per_matchup: float | None
    assumed: dict[str, int]

    def lines(self) -> Iterator[str]:
        yield f"{self.rows:,} rows, about {self.matchups:,} matchups (from a sample of {self.sampled:,} rows)"
        for one in self.engines:
            price = "no price known" if one.usd is None else f"${one.usd:,.2f}"
            kept = f", {one.kept:,} more are paid for already" if one.kept else ""
            tokens = f"{one.usage.tokens_in:,} tokens in, {one.usage.tokens_out:,} out"
            yield f"  {one.name}: {one.calls:,} calls{kept}; {tokens}; {price}"
        if self.usd is None:
            yield "total: unknown. Say the price in the recipe, beside engine: price: {input: 0.2, output: 1}"
        else:
            each = f", ${self.usd_per_matchup:.5f} a matchup" if self.usd_per_matchup is not None else ""
            yield f"total: about ${self.usd:,.2f}{each} (a person's label costs $0.50 to $5)"
        yield "assumed: " + ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in self.assumed.items())
        yield "not counted: what a model thinks before it answers, and repeats after a failure"


class Counting(Engine):
    """Counts what it is asked, and answers something of the length expected."""

    def __init__(self, engine: Engine, journal: Journal | None, tokens_out: int) -> None:
        self.engine, self.name, self.price = engine, engine.name, engine.price
        self.gives_logprobs = engine.gives_logprobs
        self.calls = self.kept = self._read = self._written = 0
        self._journal = journal
        self._tokens_out = tokens_out

    @property
    def usage(self) -> Usage:
        return Usage(self._read, 0, self._written)

    async def answer(self, ask: Ask) -> Reply:
        return self._draw(ask, guessed_usage(ask, Reply("")).tokens_in)

    async def samples(self, ask: Ask, n: int) -> list[Reply]:
        """The prompt is read once for all that are new."""
        replies: list[Reply] = []
        tokens_in, before = guessed_usage(ask, Reply("")).tokens_in, self.calls
        for sample in range(n):
            replies.append(self._draw(sample_of(ask, sample), 0 if self.calls > before else tokens_in))
        return replies

    def _draw(self, ask: Ask, tokens_in: int) -> Reply:
        if self._journal is not None and self._journal.get(call_key(self.engine, ask)) is not None:
            self.kept += 1
        else:
            self.calls += 1
            self._read += tokens_in
            self._written += min(self._tokens_out, ask.max_tokens)
        # A different text for each draw: equal completions would never meet.
        return Reply(f"{ask.sample} " + "word " * max(0, self._tokens_out - 3) + "Verdict: A")

    async def close(self) -> None:
        """Nothing was opened."""


def estimate(cfg: LabelConfig) -> Estimate:
    """The job's calls, tokens and price, scaled up from a sample of its rows."""
    check(cfg)
    path = Path(cfg.journal) if cfg.journal else Path(cfg.out) / "journal.sqlite"
    journal = Journal(path, reading=True) if path.exists() else None
    counting: list[Counting] = []

    def called(spec: EngineSpec, tokens_out: int) -> Engine:
        counting.append(Counting(open_engine(spec), journal, tokens_out))
        return counting[-1]

    policies = [(called(one.engine, COMPLETION_TOKENS), one.weight) for one in policy_configs(cfg)]
    judges = []
    for judge in judge_configs(cfg):
        written = RATIONALE_TOKENS if judge.reason else VERDICT_TOKENS
        judges.append(open_judge(judge, partial(called, tokens_out=written), cfg.seed))

    need_names(judges)

    async def look(rows: list[Prompt | Group]) -> int:
        met = 0
        for row in rows:
            group, _ = await sampled(row, mixture(policies) if policies else None, cfg)
            pairs, _ = matchups(group, cfg.matchups, cfg.seed)
            await ask_judges(group.prompt, group.completions, pairs, judges, cfg.seed)
            met += len(pairs)
        return met

    rows, total = _spread(cfg)
    met = run_async(look(rows))
    if journal is not None:
        journal.close()
    scale = total / len(rows)
    engines = tuple(_scaled(one, scale) for one in counting)
    usd = None if any(one.usd is None for one in engines) else sum(one.usd or 0.0 for one in engines)
    matched = round(met * scale)
    each = usd / matched if usd is not None and matched else None
    assumed = {
        "characters_per_token": CHARACTERS_PER_TOKEN,
        "completion_tokens": COMPLETION_TOKENS,
        "rationale_tokens": RATIONALE_TOKENS,
    }
    return Estimate(total, len(rows), matched, engines, usd, each, assumed)


def _spread(cfg: LabelConfig) -> tuple[list[Prompt | Group], int]:
    """Rows taken evenly from the file, so that one sorted by length is not misjudged; and how many there
    are.
    """
    known = expected_rows(cfg)
    stride = max(1, min(known or SAMPLE_ROWS, LOOK_AT_MOST) // SAMPLE_ROWS)
    looked = islice(read_rows(cfg, lambda _: None), LOOK_AT_MOST)
    taken: list[Prompt | Group] = []
    count = 0
    for row in looked:
        if count % stride == 0 and len(taken) < SAMPLE_ROWS:
            taken.append(row)
        count += 1
    if not taken:
        raise DataError(
            f"there is no usable row in {cfg.prompts or cfg.completions or cfg.pairs}."
            " See why with: jurist label ... --on_error drop"
        )
    # Fewer rows than lines were read where the file repeats itself; more than we look at are taken as they
    # come.
    return taken, count if count < LOOK_AT_MOST else max(known or 0, count)


def _scaled(one: Counting, scale: float) -> EngineEstimate:
    usage = Usage(round(one.usage.tokens_in * scale), 0, round(one.usage.tokens_out * scale))
    usd = cost_of(usage, one.price) if one.price is not None else None
    return EngineEstimate(one.name, round(one.calls * scale), round(one.kept * scale), usage, usd)
