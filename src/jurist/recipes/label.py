"""From prompts to preferences: sample completions, ask the judge in both orders, decide, export.

Start it with `jurist label --prompts prompts.jsonl --policy vllm:MODEL@http://host:8000/v1
--judge openai:MODEL --out run/`, or from Python with `label(LabelConfig(...))`. Start it again and only
what is new is asked: every call is in the run's journal, and everything else is made again from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from math import ceil
from pathlib import Path
from typing import Any

from ..completions import Policies, load_groups, matchups
from ..completions import sample as sample_completions
from ..completions.load import parse_scheme
from ..engines.budget import parse_money
from ..engines.journaled import Engines, JournaledEngine, open_budget
from ..errors import DataError, SettingError
from ..preferences.decide import Counts, JudgeInfo
from ..preferences.pairs import check_margin
from ..prompts import load_prompts
from ..prompts.rows import read_rows as read_source
from ..records import RECORDED_PREFIX, Dropped, Group, Prompt, content_id
from ..run import Marker, Run
from ..verdicts.calibrate import FEWEST
from ..verdicts.cases import NOUNS, Case, write_case
from ..verdicts.judge import Judge, OpenEngine, Scorer, ask_judges, open_judge
from ..verdicts.recorded import open_reader
from ..verdicts.settings import JudgeConfig, read_swap
from .export import decide_and_export
from .settings import (
    IN_MEMORY,
    LabelConfig,
    check,
    expected_rows,
    judge_configs,
    named_source,
    policy_configs,
    recipe_text,
    source_of,
)
from .stream import Stopped, in_order, run_async
from .summary import RunProgress, Summary, Watch, collected, decided, nobody


def label(cfg: LabelConfig, watch: Watch = nobody) -> Summary:
    """Everything from the file to the exported pairs; what a stop leaves undone, the next start does."""
    check(cfg)
    with Run(cfg.out, journal=cfg.journal) as run:
        progress, stopped = _collect_all(cfg, judge_configs(cfg), run, watch)
        asked = collected(run, cfg.out, progress, stopped)
        return decide_and_export(run, cfg, progress.judges.values(), asked)


def sample(cfg: LabelConfig, watch: Watch = nobody) -> Summary:
    """Only the first step: k completions for each prompt, from one policy or a weighted mixture.

    `label` with the same settings and a judge goes on from there, and asks no policy again.
    """
    if cfg.prompts is None:
        raise SettingError("only prompts can be sampled for. Name a file with: --prompts prompts.jsonl")
    check(cfg)
    with Run(cfg.out, journal=cfg.journal) as run:
        progress, stopped = _collect_all(cfg, (), run, watch)
        summary = decided(collected(run, cfg.out, progress, stopped), progress.counts)
        run.write_json("summary.json", summary)
        return summary


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
    progress.engines = engines = Engines(run.journal, progress.budget)
    stopped = Stopped()
    try:
        policies = open_policies(cfg, engines)
        judges = open_judges(cfg, asked, engines)
        await engines.prepare()
        check_margin(cfg.prefer, [judge.kind for judge in judges])
        progress.judges = {one.name: one for one in map(_judge_info, judges, asked)}
        run.write_text("recipe.yaml", recipe_text(cfg))
        lost: list[Dropped] = []

        async def work(row: Prompt | Group) -> tuple[Case, list[Dropped]]:
            group, gone = await sampled(row, policies, cfg)
            if not judges and not cfg.read:
                return Case(group.prompt, group.completions, (), group.labels), gone
            met, alike = matchups(group, cfg.matchups, cfg.seed)
            said = await ask_judges(group.prompt, group.completions, met, judges, cfg.seed)
            verdicts, paired = (*group.labels, *said), bool(group.pairs)
            return Case(group.prompt, group.completions, tuple(met), verdicts, paired), gone + alike

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
                    watch(progress)
            drop(lost)
            progress.judges |= _recorded_judges(progress.counts)
            run.write_json("judges.json", list(progress.judges.values()))
    except asyncio.CancelledError:
        engines.abandon()
        raise
    finally:
        await engines.close()
    return stopped


def open_policies(cfg: LabelConfig, opened: OpenEngine) -> Policies:
    """Who writes completions; nobody where the rows bring them."""
    return [(opened(one.engine), one.weight) for one in policy_configs(cfg)]


def open_judges(cfg: LabelConfig, asked: Iterable[JudgeConfig], opened: OpenEngine) -> list[Judge | Scorer]:
    """The judges of a job, whose verdicts are told apart by their names."""
    judges: list[Judge | Scorer] = []
    for place, one in enumerate(asked):
        _refuse_few_swaps(cfg, one.swap)
        judge = open_judge(one, opened, cfg.seed)
        if judge.name in (other.name for other in judges):
            raise SettingError(
                f"two judges are called {judge.name}, so that their verdicts could not be told apart."
                f" Leave one out, or name it: --judge.{place}.name another"
            )
        judges.append(judge)
    return judges


def _refuse_few_swaps(cfg: LabelConfig, swap: str) -> None:
    """A position bias that could not be learnt in the end is better known before the first call."""
    kind, _ = source_of(cfg)
    if not swap.startswith("fraction") or kind == "completions" or (most := expected_rows(cfg)) is None:
        return
    if kind == "prompts":
        (scheme, n), everyone = parse_scheme(cfg.matchups), cfg.k * (cfg.k - 1) // 2
        most *= {"all": everyone, "random": min(n, everyone)}.get(scheme, cfg.k - 1)
    both = read_swap(swap) * most
    if both < FEWEST:
        more = ceil(20 * FEWEST / max(most, 1)) / 20
        raise SettingError(
            f"swap: {swap} asks about {both:.0f} of {most} matchups in both orders, and a position bias is"
            f" learnt from {FEWEST}. Ask more: --judge.swap {f'fraction:{more:g}' if more < 1 else 'always'}"
        )


async def sampled(row: Prompt | Group, policies: Policies, cfg: LabelConfig) -> tuple[Group, list[Dropped]]:
    """The row with its completions: those it came with, or new ones from the policies."""
    if isinstance(row, Group):
        return row, []
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
        kind=kind,
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
    both: Any = {"always": "all", "never": "none"}.get(cfg.swap, "some")
    return JudgeInfo(judge.name, judge.kind, both, cfg.clamp, getattr(judge, "scale", None))


def _recorded_judges(counts: Counts) -> dict[str, JudgeInfo]:
    """Those of other pipelines, in as many orders as their replies came."""
    found = {}
    for name, seen in counts.judges.items():
        if name.startswith(RECORDED_PREFIX):
            twice, once = seen.asked_both, seen.verdicts - 2 * seen.asked_both
            found[name] = JudgeInfo(name, "pairwise", "none" if not twice else "some" if once else "all")
    return found
