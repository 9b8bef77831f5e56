"""From prompts to preferences: sample completions, ask the judge in both orders, decide, export.

Start it with `jurist label --prompts prompts.jsonl --policy vllm:MODEL@http://host:8000/v1
--judge openai:MODEL --out run/`, or from Python with `label(LabelConfig(...))`. Start it again and only
what is new is asked: every call is in the run's journal, and everything else is made again from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

from ..completions import Policies, load_groups, matchups, mixture, sample
from ..config import parse_money
from ..engines.engine import Engine
from ..engines.journaled import Engines, JournaledEngine, open_budget
from ..errors import DataError, JuristError, SettingError
from ..preferences.decide import Member, decide, write_members
from ..prompts import load_prompts
from ..records import Dropped, Group, Prompt
from ..run import Run
from ..verdicts.cases import NOUNS, Case, write_case
from ..verdicts.judge import Judge, Scorer, ask_judges, open_judge
from ..verdicts.settings import JudgeConfig
from .export import export_all
from .settings import (
    LabelConfig,
    check,
    expected_rows,
    judge_configs,
    policy_configs,
    prefer_config,
    recipe_text,
)
from .stream import Stopped, in_order, run_async
from .summary import Summary, summarise
from .tally import Tally, Watch, nobody


def label(cfg: LabelConfig, watch: Watch = nobody) -> Summary:
    """Everything from the file to the exported pairs; what a stop leaves undone, the next start does."""
    check(cfg)
    with Run(cfg.out, journal=cfg.journal) as run:
        budget = open_budget(parse_money(cfg.budget), run.journal)
        tally = Tally(budget, total=expected_rows(cfg))
        stopped, members = run_async(collect(cfg, judge_configs(cfg), run, tally, watch), budget)
        need_rows(cfg, tally, stopped)
        try:
            counts, learnt = decide(run, members, prefer_config(cfg), cfg.jury, cfg.labels)
        except JuristError as error:
            # Too little to learn from, perhaps, because the run was stopped: then that is what to say.
            raise stopped.reason or error from error
        exported = export_all(run, cfg, counts)
        return summarise(cfg, run, tally, counts, learnt, exported, stopped)


async def collect(
    cfg: LabelConfig, asked: Sequence[JudgeConfig], run: Run, tally: Tally, watch: Watch
) -> tuple[Stopped, list[Member]]:
    """Completions, and the verdicts of these judges, for every prompt, streamed into the run's files."""
    engines = Engines(run.journal, tally.budget)
    stopped = Stopped()
    try:
        policies = open_policies(cfg, engines)
        judges = [open_judge(one, engines, cfg.seed) for one in asked]
        need_names(judges)
        members = [_member(judge, how) for judge, how in zip(judges, asked, strict=True)]
        await engines.prepare()
        run.write_text("recipe.yaml", recipe_text(cfg))
        write_members(run, members)
        lost: list[Dropped] = []

        async def work(row: Prompt | Group) -> tuple[Case, list[Dropped]]:
            group, gone = await sampled(row, policies, cfg)
            if not judges:
                return Case(group.prompt, group.completions, (), group.labels), gone
            met, alike = matchups(group, cfg.matchups, cfg.seed)
            asked = await ask_judges(group.prompt, group.completions, met, judges, cfg.seed)
            case = Case(
                group.prompt, group.completions, tuple(met), (*group.labels, *asked), bool(group.pairs)
            )
            return case, gone + alike

        rows = read_rows(cfg, lost.append)
        # A pair is asked about in both orders at once; completions are sampled before anybody is asked.
        at_once = 1 if policies else min((calls_at_once(judge) for judge in judges), default=1)
        window = rows_under_way(engines, at_once)
        with run.writing(*NOUNS, "dropped") as files:

            def drop(rows: Sequence[Dropped]) -> None:
                for row in rows:
                    files["dropped"].add(row)
                    tally.dropped[row.kind] += 1

            async with aclosing(in_order(rows, work, window, stopped)) as cases:
                async for case, gone in cases:
                    write_case(case, files)
                    drop((*lost, *gone))
                    lost.clear()
                    tally.add(case)
                    watch(tally)
            drop(lost)
    except asyncio.CancelledError:
        engines.abandon()
        raise
    finally:
        await engines.close()
    return stopped, members


def open_policies(cfg: LabelConfig, called: Callable[[str | dict[str, Any]], Engine]) -> Policies | None:
    if not cfg.policies:
        return None
    return mixture([(called(one.engine), one.weight) for one in policy_configs(cfg)])


async def sampled(
    row: Prompt | Group, policies: Policies | None, cfg: LabelConfig
) -> tuple[Group, list[Dropped]]:
    """The row with its completions: those it came with, or new ones from the policies."""
    if isinstance(row, Group):
        return row, []
    if policies is None:
        raise SettingError("no policy to write completions. Name one with: --policy openai:gpt-5-mini")
    texts, gone = await sample(row, policies, cfg.k, cfg.sampling, cfg.seed)
    return Group(row, tuple(texts)), gone


def read_rows(cfg: LabelConfig, dropped: Callable[[Dropped], None]) -> Iterator[Prompt | Group]:
    """The user's rows, one at a time; those that cannot be used go to `dropped`."""
    if cfg.prompts:
        return load_prompts(
            cfg.prompts, limit=cfg.limit, dropped=dropped, columns=cfg.columns, on_error=cfg.on_error
        )
    return load_groups(
        cfg.completions or cfg.pairs or "",
        kind="completions" if cfg.completions else "pairs",
        limit=cfg.limit,
        dropped=dropped,
        columns=cfg.columns,
        on_error=cfg.on_error,
    )


def rows_under_way(engines: Iterable[JournaledEngine], calls_at_once: int = 1) -> int:
    """Enough rows to keep every engine busy while replies wait to be committed, and no more: what is alive
    has to fit the processor's cache.
    """
    most = max((one.concurrency for one in engines), default=64)
    return max(64, (most + most // 2) // calls_at_once)


def calls_at_once(judge: Judge | Scorer) -> int:
    """How many calls a judge makes at once for each row, at the least."""
    both = judge.kind == "pointwise" or getattr(judge, "swap", "always") == "always"
    return int(getattr(judge, "samples", 1)) * (2 if both else 1)


def _member(judge: Judge | Scorer, cfg: JudgeConfig) -> Member:
    both: Literal["all", "some", "none"] = (
        "all" if cfg.swap == "always" else "none" if cfg.swap == "never" else "some"
    )
    return Member(judge.name, judge.kind, both, cfg.clamp)


def need_names(judges: Sequence[Judge | Scorer]) -> None:
    """Verdicts are told apart by the judge's name."""
    names = [judge.name for judge in judges]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise SettingError(
                f"two judges are called {name}, so that their verdicts could not be told apart."
                f" Leave one out, or name it: --judge.{place}.name another"
            )


def need_rows(cfg: LabelConfig, tally: Tally, stopped: Stopped) -> None:
    """A file from which nothing can be used is the wrong file."""
    if tally.rows or stopped.reason is not None:
        return
    source = cfg.prompts or cfg.completions or cfg.pairs
    raise DataError(
        f"there is no usable row in {source}. See what was left out, and why, with:"
        f" head {Path(cfg.out) / 'dropped.jsonl'}"
    )
