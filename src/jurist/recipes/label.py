"""From prompts to preferences: sample completions, ask the judge in both orders, decide, export.

Start it with `jurist label --prompts prompts.jsonl --policy vllm:MODEL@http://host:8000/v1 --judge openai:MODEL
--out run/`, or from Python with `label(LabelConfig(...))`. Start it again and only what is new is asked: every
call is in the run's journal, and everything else is made again from there.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from ..completions import load_groups, matchups, mixture, sample
from ..config import dump_yaml, parse_money
from ..engines.caller import Caller, Purse
from ..engines.engine import Engine
from ..engines.open import KINDS, open_engine
from ..errors import SettingError
from ..preferences.decide import decide
from ..preferences.pairs import PreferConfig
from ..prompts import load_prompts
from ..records import Dropped, Group, Prompt, Sampling
from ..run import Run
from ..verdicts.cases import NOUNS, Case, write_case
from ..verdicts.judge import JudgeConfig, hear, open_judge
from ..verdicts.jury import JuryConfig
from .stream import Stopped, in_order, run_async
from .summary import Summary, summarise
from .tally import Tally, Watch, nobody


class PolicyConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Who writes completions, and how large a share of them."""

    engine: str | dict[str, Any]
    weight: float = 1.0


class LabelConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One labelling job. These fields are the YAML and the command line."""

    out: str = "run"
    """The run folder."""
    prompts: str | None = None
    """A file of prompts, for which the policies write completions."""
    completions: str | None = None
    """A file of prompts with ready-made completions, instead of policies."""
    pairs: str | None = None
    """A file of prompts with two completions each, chosen/rejected or first/second, to be judged (again)."""
    columns: dict[str, str] = {}
    """Which of the file's columns is which of ours, e.g. `prompt: question`."""
    limit: int | None = None
    """Read only this many rows."""
    on_error: Literal["stop", "drop"] = "stop"
    """What to do with a row that cannot be read: stop there, or drop it by name."""
    policies: tuple[str | PolicyConfig, ...] = ()
    k: int = 2
    """Completions per prompt."""
    sampling: Sampling = Sampling()
    matchups: str = "all"
    """Who meets whom among the completions of a prompt: `all`, `chain`, `star` or `random:3`."""
    judge: str | JudgeConfig | tuple[str | JudgeConfig, ...] = ()
    """One judge, or a list of them: a jury."""
    jury: JuryConfig = JuryConfig()
    human: str | None = None
    """People's labels, to weigh the jury by and to calibrate the judges."""
    prefer: PreferConfig = PreferConfig()
    export: tuple[str, ...] = ("trl",)
    held_out: float = 0.0
    """Share of prompts that goes to the test split of the export."""
    budget: str | float | None = None
    """The most this run may cost, e.g. `5usd`."""
    journal: str | None = None
    """A journal shared with other runs; the run's own by default."""
    seed: int = 0


def label(cfg: LabelConfig, watch: Watch = nobody) -> Summary:
    """Everything from the file to the exported pairs; what a stop leaves undone, the next start does."""
    check(cfg)
    with Run(cfg.out, journal=cfg.journal) as run:
        run.write_text("recipe.yaml", recipe_text(cfg))
        tally = Tally(Purse(parse_money(cfg.budget), run.journal.usd_before), total=expected_rows(cfg))
        stopped = run_async(collect(cfg, run, tally, watch))
        counts = decide(run, cfg.prefer, cfg.jury, cfg.human)
        summary = summarise(cfg, run, tally, counts, stopped)
    return summary


async def collect(cfg: LabelConfig, run: Run, tally: Tally, watch: Watch) -> Stopped:
    """Completions and verdicts for every prompt, streamed into the run's files."""
    engines: list[Caller] = []

    def called(spec: str | dict[str, Any]) -> Engine:
        engines.append(Caller(open_engine(spec), run.journal, tally.purse))
        return engines[-1]

    lost: list[Dropped] = []
    stopped = Stopped()
    try:
        policies = mixture([(called(one.engine), one.weight) for one in map(policy_config, cfg.policies)])
        judges = [open_judge(one, called) for one in judge_configs(cfg)]

        async def work(row: Prompt | Group) -> tuple[Case, list[Dropped]]:
            gone: list[Dropped] = []
            if isinstance(row, Prompt):
                texts, gone = await sample(row, policies, cfg.k, cfg.sampling, cfg.seed)
                row = Group(row, tuple(texts))
            met, alike = matchups(row, cfg.matchups, cfg.seed)
            said = await hear(row.prompt, row.completions, met, judges, cfg.seed)
            case = Case(row.prompt, row.completions, tuple(met), (*row.said, *said), bool(row.pairs))
            return case, gone + alike

        with run.writing(*NOUNS, "dropped") as files:
            window = rows_under_way(engines)
            async for case, gone in in_order(read_rows(cfg, lost.append), work, window, stopped):
                write_case(case, files)
                for row in chain(lost, gone):
                    files["dropped"].add(row)
                    tally.dropped[row.reason] += 1
                lost.clear()
                tally.rows += 1
                tally.completions += len(case.completions)
                tally.matchups += len(case.matchups)
                tally.hear(case.verdicts)
                watch(tally)
            for row in lost:
                files["dropped"].add(row)
                tally.dropped[row.reason] += 1
    finally:
        for engine in engines:
            await engine.close()
    return stopped


def read_rows(cfg: LabelConfig, dropped: Callable[[Dropped], None]) -> Iterator[Prompt | Group]:
    if cfg.prompts:
        return iter(
            load_prompts(
                cfg.prompts, limit=cfg.limit, dropped=dropped, columns=cfg.columns, on_error=cfg.on_error
            )
        )
    kind: Literal["completions", "pairs"] = "completions" if cfg.completions else "pairs"
    source = cfg.completions or cfg.pairs or ""
    return iter(
        load_groups(
            source, kind=kind, limit=cfg.limit, dropped=dropped, columns=cfg.columns, on_error=cfg.on_error
        )
    )
