"""From prompts to preferences: sample completions, ask the judge in both orders, decide, export.

Start it with `jurist label --prompts prompts.jsonl --policy vllm:MODEL@http://host:8000/v1
--judge openai:MODEL --out run/`, or from Python with `label(LabelConfig(...))`. Start it again and only
what is new is asked: every call is in the run's journal, and everything else is made again from there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Literal

from ..completions import Policies, load_groups, matchups, mixture
from ..completions import sample as sample_completions
from ..engines.budget import parse_money
from ..engines.journaled import Engines, JournaledEngine, open_budget
from ..errors import DataError, SettingError
from ..preferences.decide import JudgeInfo, decide, write_judges
from ..preferences.pairs import check_margin
from ..prompts import load_prompts
from ..prompts.rows import read_rows as read_source
from ..records import RECORDED_PREFIX, Dropped, Group, Prompt, Verdict, content_id
from ..run import Marker, Run
from ..verdicts.cases import NOUNS, Case, write_case
from ..verdicts.judge import Judge, OpenEngine, Scorer, ask_judges, open_judge
from ..verdicts.recorded import open_reader
from ..verdicts.settings import JudgeConfig
from .export import export_all
from .settings import (
    IN_MEMORY,
    LabelConfig,
    check,
    expected_rows,
    judge_configs,
    named_source,
    policy_configs,
    prefer_config,
    recipe_text,
    source_of,
)
from .stream import Stopped, in_order, run_async
from .summary import RunProgress, Summary, Watch, nobody, summarise


def label(cfg: LabelConfig, watch: Watch = nobody) -> Summary:
    """Everything from the file to the exported pairs; what a stop leaves undone, the next start does."""
    check(cfg)
    with Run(cfg.out, journal=cfg.journal) as run:
        progress, stopped = _collect_all(cfg, judge_configs(cfg), run, watch)
        judges = list(progress.judges.values())
        counts, learnt = decide(run, judges, prefer_config(cfg), cfg.jury, cfg.labels)
        refused = "" if cfg.force else learnt.refused
        exported = {} if refused else export_all(run, cfg, counts)
        return summarise(run, cfg.out, progress, stopped, counts, learnt, exported, refused=refused)


def sample(cfg: LabelConfig, watch: Watch = nobody) -> Summary:
    """Only the first step: k completions for each prompt, from one policy or a weighted mixture.

    `label` with the same settings and a judge goes on from there, and asks no policy again.
    """
    if cfg.prompts is None or not cfg.policy:
        raise SettingError(
            "sampling needs prompts and a policy."
            " Try: jurist sample --prompts prompts.jsonl --policy openai:gpt-5-mini"
        )
    check(cfg)
    with Run(cfg.out, journal=cfg.journal) as run:
        progress, stopped = _collect_all(cfg, (), run, watch)
        return summarise(run, cfg.out, progress, stopped, progress.counts)


def _collect_all(
    cfg: LabelConfig, judges: Sequence[JudgeConfig], run: Run, watch: Watch
) -> tuple[RunProgress, Stopped]:
    run.claim(marker_of(cfg), cfg.replace)
    progress = RunProgress(open_budget(parse_money(cfg.budget), run.journal), expected_rows(cfg))
    stopped = run_async(collect(cfg, judges, run, progress, watch), progress.budget)
    if not progress.rows and stopped.reason is None:
        raise no_rows(cfg)
    return progress, stopped


async def collect(
    cfg: LabelConfig, asked: Sequence[JudgeConfig], run: Run, progress: RunProgress, watch: Watch
) -> Stopped:
    """Completions, and the verdicts of these judges, for every prompt, streamed into the run's files."""
    engines = Engines(run.journal, progress.budget)
    stopped = Stopped()
    try:
        policies = open_policies(cfg, engines)
        judges = [open_judge(one, engines, cfg.seed) for one in asked]
        need_names(judges)
        await engines.prepare()
        check_margin(cfg.prefer, [judge.kind for judge in judges])
        infos = [_judge_info(judge, how) for judge, how in zip(judges, asked, strict=True)]
        progress.judges = {one.name: one for one in infos}
        run.write_text("recipe.yaml", recipe_text(cfg))
        write_judges(run, infos)
        lost: list[Dropped] = []
        recorded: dict[str, Counter[int]] = {}

        async def work(row: Prompt | Group) -> tuple[Case, list[Dropped]]:
            group, gone = await sampled(row, policies, cfg)
            if not judges and not cfg.read:
                return Case(group.prompt, group.completions, (), group.labels), gone
            met, alike = matchups(group, cfg.matchups, cfg.seed)
            verdicts = await ask_judges(group.prompt, group.completions, met, judges, cfg.seed)
            every = (*group.labels, *verdicts)
            case = Case(group.prompt, group.completions, tuple(met), every, bool(group.pairs))
            return case, gone + alike

        rows = read_rows(cfg, lost.append)
        # A pair is asked about in both orders at once; completions are sampled before anybody is asked.
        at_once = 1 if policies else min((calls_at_once(judge) for judge in judges), default=1)
        window = rows_under_way(engines, at_once)
        with run.writing(*NOUNS, "dropped") as files:

            def drop(rows: Sequence[Dropped]) -> None:
                for row in rows:
                    files["dropped"].add(row)
                    progress.counts.drop(row)

            async with aclosing(in_order(rows, work, window, stopped)) as cases:
                async for case, gone in cases:
                    write_case(case, files)
                    drop((*lost, *gone))
                    lost.clear()
                    progress.add(case)
                    count_orders(case.verdicts, recorded)
                    watch(progress)
            drop(lost)
        if recorded:
            infos += [recorded_info(name, n) for name, n in recorded.items()]
            progress.judges = {one.name: one for one in infos}
            write_judges(run, infos)
    except asyncio.CancelledError:
        engines.abandon()
        raise
    finally:
        await engines.close()
        progress.close(engines)
    return stopped


def open_policies(cfg: LabelConfig, opened: OpenEngine) -> Policies | None:
    if not cfg.policy:
        return None
    return mixture([(opened(one.engine), one.weight) for one in policy_configs(cfg)])


async def sampled(
    row: Prompt | Group, policies: Policies | None, cfg: LabelConfig
) -> tuple[Group, list[Dropped]]:
    """The row with its completions: those it came with, or new ones from the policies."""
    if isinstance(row, Group):
        return row, []
    if policies is None:
        raise SettingError("no policy to write completions. Name one with: --policy openai:gpt-5-mini")
    texts, gone = await sample_completions(row, policies, cfg.k, cfg.sampling, cfg.seed)
    return Group(row, tuple(texts)), gone


def read_rows(cfg: LabelConfig, dropped: Callable[[Dropped], None]) -> Iterator[Prompt | Group]:
    """The user's rows, one at a time; those that cannot be used go to `dropped`."""
    kind, source = source_of(cfg)
    common: dict[str, Any] = {
        "limit": cfg.limit,
        "dropped": dropped,
        "columns": cfg.columns,
        "on_error": cfg.on_error,
        "benchmarks": cfg.benchmarks,
    }
    if kind == "prompts":
        return load_prompts(source, **common)
    return load_groups(
        source,
        kind="completions" if kind == "completions" else "pairs",
        label_values=cfg.label_values,
        labels_by=cfg.labels_by,
        read=open_reader(cfg.read) if cfg.read else None,
        read_name=cfg.read,
        **common,
    )


def no_rows(cfg: LabelConfig) -> DataError:
    """A file from which nothing can be used is the wrong file."""
    return DataError(
        f"there is no usable row in {named_source(source_of(cfg)[1])}. See what was left out, and why, with:"
        f" head {Path(cfg.out) / 'dropped.jsonl'}"
    )


def marker_of(cfg: LabelConfig) -> Marker:
    """What the run is of: a file, by its place and its first row."""
    _, source = source_of(cfg)
    name = named_source(source)
    if name.startswith("hub:") or isinstance(source, Iterator):
        return Marker(name)
    _, first = next(read_source(source), ("", None))
    if name != IN_MEMORY:
        name = str(Path(name).expanduser().resolve())
    return Marker(name, content_id(repr(first)))


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


def _judge_info(judge: Judge | Scorer, cfg: JudgeConfig) -> JudgeInfo:
    both: Literal["all", "some", "none"] = (
        "all" if cfg.swap == "always" else "none" if cfg.swap == "never" else "some"
    )
    return JudgeInfo(judge.name, judge.kind, both, cfg.clamp, getattr(judge, "scale", None))


def count_orders(verdicts: Iterable[Verdict], recorded: dict[str, Counter[int]]) -> None:
    """How many matchups each recorded judge saw in one order, and how many in both."""
    orders: dict[tuple[str, str], set[str]] = {}
    for one in verdicts:
        if one.judge.startswith(RECORDED_PREFIX):
            orders.setdefault((one.judge, one.matchup_id), set()).add(one.order)
    for (judge, _), seen in orders.items():
        recorded.setdefault(judge, Counter())[len(seen)] += 1


def recorded_info(name: str, orders: Counter[int]) -> JudgeInfo:
    return JudgeInfo(name, "pairwise", "none" if not orders[2] else "some" if orders[1] else "all")


def need_names(judges: Sequence[Judge | Scorer]) -> None:
    """Verdicts are told apart by the judge's name."""
    names = [judge.name for judge in judges]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise SettingError(
                f"two judges are called {name}, so that their verdicts could not be told apart."
                f" Leave one out, or name it: --judge.{place}.name another"
            )
