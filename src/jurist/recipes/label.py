"""From prompts to preferences: sample completions, ask the judge in both orders, decide, export.

Started again, only what is new is asked: every call is in the run's journal, and everything else is made
again from there. `export` decides again without asking anybody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

from msgspec import msgpack
from msgspec.structs import replace

from ..cluster.blocks import InputRow, take_in_leftovers
from ..cluster.driver import Driver, connect
from ..completions import Policies, load_groups, matchups, sample_completions
from ..completions.load import parse_scheme
from ..engines.budget import Budget, parse_money
from ..engines.engine import Engine
from ..engines.journaled import Engines
from ..errors import DataError, RunError, SettingError
from ..preferences import export as exports
from ..preferences.decide import Counts, JudgeInfo, decide, read_judges
from ..preferences.pairs import check_margin
from ..prompts import load_prompts
from ..prompts.rows import read_rows
from ..records import RECORDED_PREFIX, Dropped, Group, Preference, Prompt, content_id
from ..run import Marker, Run, again, owner_of, read_json, read_records, write_whole
from ..verdicts.calibrate import FEWEST
from ..verdicts.cases import NOUNS, Case, write_case
from ..verdicts.judge import Judge, OpenEngine, Scorer, ask_judges, open_judge
from ..verdicts.recorded import open_reader
from ..verdicts.settings import JudgeConfig, read_swap
from . import settings
from .settings import LabelConfig, PolicyConfig, label_settings
from .stream import STOPS, in_order, run_async
from .summary import RunProgress, Summary, Watch, collected, decided, nobody

TELL_EVERY = 0.2
"""Seconds between two looks at the progress."""
DECIDING = ("prefer", "jury", "labels", "force", "export", "held_out")
"""The settings that come after the last verdict."""


def label(cfg: LabelConfig, watch: Watch = nobody) -> Summary:
    """Everything from the file to the exported pairs; what a stop leaves undone, the next start does."""
    settings.check(cfg)
    return _run(cfg, settings.judge_configs(cfg), watch)


def sample(cfg: LabelConfig, watch: Watch = nobody) -> Summary:
    """Only the first step: k completions for each prompt, from one policy or a weighted mixture.

    `label` with the same settings and a judge goes on from there, and asks no policy again.
    """
    if cfg.prompts is None:
        raise SettingError("only prompts can be sampled for. Name a file with: --prompts prompts.jsonl")
    settings.check(cfg)
    return _run(cfg, None, watch)


def _run(cfg: LabelConfig, judges: Sequence[JudgeConfig] | None, watch: Watch) -> Summary:
    """Without judges, completions are sampled and nothing is decided."""
    marker, on = _marker_of(cfg), settings.cluster_of(cfg)
    if on:
        connect(on.cluster)
    with Run(cfg.out, journal=cfg.journal) as run:
        run.claim(marker, cfg.replace)
        take_in_leftovers(run)
        progress = RunProgress(Budget(parse_money(cfg.budget), run.journal), settings.expected_rows(cfg))
        run_async(_collect(cfg, judges or (), run, progress, watch), progress.budget)
        if not progress.rows and progress.stopped is None:
            raise no_rows(cfg)
        asked = collected(run, cfg.out, progress)
        if judges is not None:
            return _decide_and_export(run, cfg, progress.judges.values(), asked)
        summary = decided(asked, progress.counts)
        run.write_json("summary.json", summary)
        return summary


async def _collect(
    cfg: LabelConfig, asked: Sequence[JudgeConfig], run: Run, progress: RunProgress, watch: Watch
) -> None:
    """Completions, and the verdicts of these judges, for every prompt, here or on a cluster."""
    async with opened(cfg, asked, run, progress) as (policies, judges):
        if on := settings.cluster_of(cfg):
            work = partial(label_block, (msgpack.encode(settings.as_recipe(cfg)), bool(asked)))
            async with telling(watch, progress):
                await Driver(on, _rows_of(cfg), work, run, progress).drive()
        else:
            await label_rows(cfg, _rows_of(cfg), policies, judges, run, progress, watch)
        progress.judges |= _recorded_judges(progress.counts)
        run.write_json("judges.json", list(progress.judges.values()))


async def label_block(
    job: tuple[bytes, bool],
    rows: Sequence[InputRow],
    run: Run,
    budget: Budget,
    kept: list[Engine],
    watch: Watch,
) -> RunProgress:
    """What an actor of a cluster does: some of the rows, into a run of their own."""
    cfg = msgpack.decode(job[0], type=LabelConfig)  # pickled, its defaults would count as given
    asked = settings.judge_configs(cfg) if job[1] else ()
    progress = RunProgress(budget, len(rows))
    async with opened(cfg, asked, run, progress, kept) as (policies, judges):
        await label_rows(cfg, rows, policies, judges, run, progress, watch)
    return progress


@asynccontextmanager
async def opened(
    cfg: LabelConfig,
    asked: Sequence[JudgeConfig],
    run: Run,
    progress: RunProgress,
    kept: list[Engine] | None = None,
) -> AsyncIterator[tuple[Policies, list[Judge | Scorer]]]:
    """Policies and judges, ready to be asked; their engines stay open if they are `kept`."""
    progress.engines = engines = Engines(run.journal, progress.budget, kept)
    try:
        policies = open_policies(cfg, engines)
        judges = open_judges(cfg, asked, engines)
        await engines.prepare()
        check_margin(cfg.prefer, [judge.kind for judge in judges])
        orders: dict[str, Any] = {"always": "all", "never": "none"}
        for one, how in zip(judges, asked, strict=True):
            both, scale = orders.get(how.swap, "some"), getattr(one, "scale", None)
            progress.judges[one.name] = JudgeInfo(one.name, one.kind, both, how.clamp, scale)
        run.write_text("recipe.yaml", settings.recipe_text(cfg))
        yield policies, judges
    except asyncio.CancelledError:
        engines.abandon()
        raise
    finally:
        await engines.close()


async def label_rows(
    cfg: LabelConfig,
    rows: Iterable[InputRow],
    policies: Policies,
    judges: Sequence[Judge | Scorer],
    run: Run,
    progress: RunProgress,
    watch: Watch,
) -> None:
    """These rows, in their order, streamed into the files of a run."""

    async def work(read: InputRow) -> tuple[Case | None, tuple[Dropped, ...]]:
        row, lost = read
        if row is None:
            return None, lost
        case, gone = await case_of(row)
        progress.ended += 1
        return case, (*lost, *gone)

    async def case_of(row: Prompt | Group) -> tuple[Case, list[Dropped]]:
        group, gone = await sampled(row, policies, cfg)
        if not judges and not cfg.read:
            return Case(group.prompt, group.completions, (), group.labels), gone
        met, alike = matchups(group, cfg.matchups, cfg.seed)
        said = await ask_judges(group.prompt, group.completions, met, judges, cfg.seed)
        verdicts, paired = (*group.labels, *said), bool(group.pairs)
        return Case(group.prompt, group.completions, tuple(met), verdicts, paired), gone + alike

    # Enough rows to keep every engine busy while replies wait to be committed, and no more: what is alive
    # has to fit the processor's cache. Both orders are asked at once, but completions come before them.
    at_once = 1 if policies else min(map(_calls_at_once, judges), default=1)
    window = max(64, max((one.concurrency for one in progress.engines or ()), default=64) * 3 // 2 // at_once)
    with run.writing(*NOUNS, "dropped") as files:
        try:
            async with aclosing(in_order(rows, work, window)) as cases, telling(watch, progress):
                async for case, gone in cases:
                    for one in gone:
                        files["dropped"].add(one)
                        progress.counts.drop(one)
                    if case is not None:
                        write_case(case, files)
                        progress.add(case)
        except STOPS as reason:
            progress.stopped = reason


def _rows_of(cfg: LabelConfig) -> Iterator[InputRow]:
    lost: list[Dropped] = []
    for row in input_rows(cfg, lost.append):
        yield row, tuple(lost)
        lost.clear()
    if lost:
        yield None, tuple(lost)


@asynccontextmanager
async def telling(watch: Watch, progress: RunProgress) -> AsyncIterator[None]:
    """Now and then, and once more at the end. Rows that come home together are reported together: after the
    first of them nobody could say how long the others take."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(TELL_EVERY)
            watch(progress)

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()
        watch(progress)


def open_policies(cfg: LabelConfig, opened: OpenEngine) -> Policies:
    """Nobody where the rows bring their completions."""
    listed = (cfg.policy,) if isinstance(cfg.policy, str | PolicyConfig) else cfg.policy
    named = [PolicyConfig(one) if isinstance(one, str) else one for one in listed]
    return [(opened(one.engine), one.weight) for one in named]


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
    kind, _ = settings.source_of(cfg)
    most = settings.expected_rows(cfg) if swap.startswith("fraction") and kind != "completions" else None
    if most is None:
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


def input_rows(cfg: LabelConfig, dropped: Callable[[Dropped], None]) -> Iterator[Prompt | Group]:
    """The user's rows, one at a time; those that cannot be used go to `dropped`."""
    kind, source = settings.source_of(cfg)
    names = ["limit", "columns", "on_error", "benchmarks"]
    if kind == "prompts":
        given = {name: getattr(cfg, name) for name in names}
        return load_prompts(source, dropped=dropped, **given)
    given = {name: getattr(cfg, name) for name in (*names, "label_values", "labels_by")}
    reader = open_reader(cfg.read) if cfg.read else None
    return load_groups(source, kind=kind, read=reader, read_name=cfg.read, dropped=dropped, **given)


def no_rows(cfg: LabelConfig) -> DataError:
    """A file from which nothing can be used is the wrong file."""
    return DataError(
        f"there is no usable row in {settings.named_source(settings.source_of(cfg)[1])}."
        f" See what was left out, and why, with: head {Path(cfg.out) / 'dropped.jsonl'}"
    )


MARKED_ROWS = 1_000
"""So many of its first rows tell one input from another."""


def _marker_of(cfg: LabelConfig) -> Marker:
    """What the run is of: a file, by its place and its first rows."""
    _, source = settings.source_of(cfg)
    name = settings.named_source(source)
    if name.startswith("hub:") or isinstance(source, Iterator):
        return Marker(name)
    first = frozenset(content_id(repr(row))[:8] for _, row in islice(read_rows(source), MARKED_ROWS))
    if name != settings.IN_MEMORY and "://" not in name:
        name = str(Path(name).expanduser().resolve())
    return Marker(name, first)


def _calls_at_once(judge: Judge | Scorer) -> int:
    """How many calls a judge makes at once for each row, at the least."""
    both = judge.kind == "pointwise" or getattr(judge, "swap", "always") == "always"
    return int(getattr(judge, "samples", 1)) * (2 if both else 1)


def _recorded_judges(counts: Counts) -> dict[str, JudgeInfo]:
    """Those of other pipelines, in as many orders as their replies came."""
    found = {}
    for name, seen in counts.judges.items():
        if name.startswith(RECORDED_PREFIX):
            twice, once = seen.asked_both, seen.verdicts - 2 * seen.asked_both
            found[name] = JudgeInfo(name, "pairwise", "none" if not twice else "some" if once else "all")
    return found


def export(
    folder: str | Path,
    formats: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    *,
    push_to: str = "",
) -> Summary:
    """Decide and export a finished or stopped run once more, with any setting of deciding changed."""
    folder = Path(folder)
    recipe, path = folder / "recipe.yaml", folder / "summary.json"
    if owner := owner_of(folder):
        raise RunError(f"process {owner} is working on {folder}. Wait for it to end")
    if not recipe.exists():
        raise RunError(f"there is no run at {folder}. Make one with: {again(folder)}")
    for name in overrides or {}:
        if name.partition(".")[0] not in DECIDING:
            raise SettingError(
                f"{name} was settled when {folder} was labelled; an export can change {', '.join(DECIDING)}."
                f" Label again with: {again(folder)} --{name} ..."
            )
    cfg = label_settings(recipe, overrides, export=[*formats] or None)
    settings.check(cfg)
    cfg = replace(cfg, out=str(folder))
    with Run(folder, journal=cfg.journal) as run:
        last = read_json(path, Summary) if path.exists() else Summary(run=str(folder))
        summary = _decide_and_export(run, cfg, read_judges(folder), replace(last, warnings=()), push_to)
        # Ignoring the quarantine is meant for this export: kept, it would be ignored for good, unsaid.
        prefer = replace(cfg.prefer, quarantine=label_settings(recipe).prefer.quarantine)
        run.write_text("recipe.yaml", settings.recipe_text(replace(cfg, prefer=prefer)))
    return summary


def _decide_and_export(
    run: Run, cfg: LabelConfig, judges: Iterable[JudgeInfo], before: Summary, push_to: str = ""
) -> Summary:
    """From the verdicts of a run to its files. What was exported before is made again, or goes if the labels
    are refused: nobody shall train on a file that the run no longer means.
    """
    # The run's seed decides the draws of the pair rules too, unless they have their own.
    prefer = cfg.prefer if cfg.prefer.seed is not None else replace(cfg.prefer, seed=cfg.seed)
    counts, learnt = decide(run, judges, prefer, cfg.jury, cfg.labels)
    there = [path for path in sorted((run.path / "export").glob("*")) if path.name in exports.FORMATS]
    refused = "" if cfg.force else learnt.refused
    exported = {}
    if refused:
        for path in there:
            exports.remove_export(path)
    else:
        formats = dict.fromkeys((*cfg.export, *(path.name for path in there)))
        exported = {name: _export_as(name, run, cfg, counts) for name in formats}
        for name in cfg.export if push_to else ():
            exports.push(run.path / "export" / name, push_to)
    summary = decided(before, counts, learnt, exported, refused)
    run.write_json("summary.json", summary)
    return summary


def _export_as(name: str, run: Run, cfg: LabelConfig, counts: Counts) -> dict[str, int]:
    """The preferences of the run in one format, with a card; rows by file, and those left out by reason."""
    folder = run.path / "export" / name
    left_out: Counter[str] = Counter()

    def drop(row: Dropped) -> None:
        left_out[row.reason] += 1

    held = exports.read_quarantine(run.path) if cfg.prefer.quarantine == "honour" else exports.Quarantine()
    rows = exports.drop_quarantined(read_records(run.file("preferences"), Preference), held, drop)
    splits = exports.write_export(rows, folder, name, held_out=cfg.held_out, dropped=drop)
    about: dict[str, Any] = {"recipe": settings.recipe_text(cfg), "versions": settings.versions()}
    text = exports.card(counts, name=run.path.name, splits=splits, left_out=left_out, **about)
    write_whole(folder / "README.md", text.encode())
    return splits | {f"left out: {reason}": n for reason, n in left_out.items()}
