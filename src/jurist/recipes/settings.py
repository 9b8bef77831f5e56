"""The settings of a labelling job: one Struct, which is the YAML and the command line.

A page of help loads this file, so it imports little; what checks the settings is imported when they are used.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sized
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from msgspec import Meta, Struct, to_builtins
from msgspec.structs import asdict, replace

from .. import __version__
from ..config import dump_yaml, load_settings, settings_from
from ..engines.engine import EngineConfig
from ..errors import SettingError, nearest
from ..preferences import PreferConfig
from ..records import Sampling
from ..run import MARKER
from ..verdicts.settings import JudgeConfig, JuryConfig

if TYPE_CHECKING:
    Source = str | PathLike[str] | Iterable[Any]
else:
    Source = str  # what a recipe can say; from Python, the rows may come themselves

_Kind = Literal["prompts", "completions", "pairs"]
SOURCES: Final[tuple[_Kind, ...]] = ("prompts", "completions", "pairs")
IN_MEMORY = "rows in memory"


class PolicyConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Who writes completions, and how large a share of them."""

    engine: Annotated[str | EngineConfig, Meta(description="Vendor and model, e.g. openai:gpt-5-mini.")]
    weight: Annotated[float, Meta(gt=0, description="Relative share of the completions.")] = 1.0


class ClusterConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a job runs, and in how many processes."""

    cluster: Annotated[str, Meta(description="ray, or ray://HOST:10001; empty: this process.")] = ""
    actors: Annotated[int, Meta(ge=0, description="Processes; 0: one for each CPU or GPU share.")] = 0
    gpus: Annotated[float, Meta(ge=0, description="GPUs of each; 0: one for hf:, where there are any.")] = 0.0
    block: Annotated[int, Meta(ge=1, description="Rows that a process takes at a time.")] = 1000


class LabelConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One labelling job."""

    out: Annotated[str, Meta(description="The run folder.")] = "run"
    prompts: Annotated[Source | None, Meta(description="Prompts: JSONL, CSV, Parquet or hub:NAME.")] = None
    completions: Annotated[Source | None, Meta(description="Prompts with completions.")] = None
    pairs: Annotated[Source | None, Meta(description="Pairs: first, second or chosen, rejected.")] = None
    columns: Annotated[dict[str, str], Meta(description="Column names, e.g. --columns.prompt question.")] = {}
    limit: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Most rows to read.")] = None
    on_error: Annotated[Literal["stop", "drop"], Meta(description="At a row that cannot be read.")] = "stop"
    benchmarks: Annotated[tuple[str, ...], Meta(description="Test sets; their prompts are dropped.")] = ()
    policy: Annotated[
        str | PolicyConfig | tuple[str | PolicyConfig, ...],
        Meta(description="Who writes completions, e.g. vllm:MODEL@http://host:8000/v1; may be repeated."),
    ] = ()
    k: Annotated[int, Meta(ge=1, description="Completions per prompt.")] = 2
    sampling: Annotated[Sampling, Meta(description="How completions are sampled.")] = Sampling()
    matchups: Annotated[str, Meta(description="Who meets whom: all, chain, star or random:3.")] = "all"
    judge: Annotated[
        str | JudgeConfig | tuple[str | JudgeConfig, ...],
        Meta(description="Who judges, e.g. openai:gpt-5-mini or shorter; several judges are a jury."),
    ] = ()
    read: Annotated[str, Meta(description="Import recorded replies: NAME, regex or module:function.")] = ""
    jury: Annotated[JuryConfig, Meta(description="How several opinions become one.")] = JuryConfig()
    labels: Annotated[str | None, Meta(description="Labels to compare with: a file, or given.")] = None
    labels_by: Annotated[Literal["file", "human"], Meta(description="Who made the rows' labels.")] = "file"
    label_values: Annotated[
        dict[str | int | bool, str], Meta(description="What labels mean, e.g. --label_values.0 second.")
    ] = {}
    prefer: Annotated[PreferConfig, Meta(description="Which pairs are kept.")] = PreferConfig()
    export: Annotated[tuple[str, ...], Meta(description="Formats to write, e.g. trl, kto, jsonl.")] = ("trl",)
    held_out: Annotated[float, Meta(ge=0, lt=1, description="Share of prompts in the test split.")] = 0.0
    force: Annotated[bool, Meta(description="Export although a judge is no better than chance.")] = False
    budget: Annotated[str | float | None, Meta(description="The most the run may cost, e.g. 5usd.")] = None
    journal: Annotated[str | None, Meta(description="A journal shared with other runs.")] = None
    on: Annotated[str | ClusterConfig, Meta(description="A cluster: ray, or ray://HOST:10001.")] = ""
    replace: Annotated[bool, Meta(description="Replace the labels of a run of another file.")] = False
    seed: Annotated[int, Meta(description="Seed of all random choices that are not the model's.")] = 0


def label_settings(
    recipe: str | Path | None = None, overrides: Mapping[str, Any] | None = None, **given: Any
) -> LabelConfig:
    """A job's settings from a recipe, from what is given by name, and from overrides by dotted name.

    The recipe in a run folder goes on in that folder, wherever it was moved to.
    """
    cfg = load_settings(LabelConfig, recipe, overrides, **given)
    if recipe and "out" not in {*given, *(overrides or ())} and (Path(recipe).parent / MARKER).exists():
        return replace(cfg, out=str(Path(recipe).parent))
    return cfg


def source_of(cfg: LabelConfig) -> tuple[_Kind, Source]:
    """Which kind of source is given, and the source."""
    given = [(name, getattr(cfg, name)) for name in SOURCES if getattr(cfg, name) is not None]
    if len(given) != 1:
        got = " and ".join(f"--{name}" for name, _ in given) or "none of them"
        raise SettingError(f"a job needs one of --prompts, --completions and --pairs, got {got}")
    return given[0]


def named_source(source: Any) -> str:
    """What to call a source in a recipe or a message."""
    return str(source) if isinstance(source, str | PathLike) else IN_MEMORY


def as_recipe(cfg: LabelConfig) -> LabelConfig:
    """The settings without rows that came in memory."""
    name, source = source_of(cfg)
    return replace(cfg, **{name: named_source(source)})


def cluster_of(cfg: LabelConfig) -> ClusterConfig | None:
    """Where the job runs, if not in this process."""
    given: Any = {"cluster": cfg.on} if isinstance(cfg.on, str) else cfg.on
    on = given if isinstance(given, ClusterConfig) else settings_from(ClusterConfig, given)
    if on.cluster.partition("://")[0] not in ("", "ray"):
        raise SettingError(f"on: no cluster called {on.cluster!r}. Write: --on ray, or --on ray://HOST:10001")
    if not on.cluster and on != ClusterConfig():
        raise SettingError("on: actors, gpus and block are for a cluster. Name it: --on.cluster ray")
    return on if on.cluster else None


def check(cfg: LabelConfig) -> None:
    """What no type can say: which settings need each other, and what would only be needed at the end."""
    from ..completions.load import parse_scheme
    from ..engines.budget import parse_money
    from ..preferences.export import FORMATS
    from ..prompts.rows import require
    from ..verdicts.human import load_labels

    # From Python, types and ranges are not checked before.
    tree = asdict(as_recipe(cfg))
    parts = {name: to_builtins(part) for name, part in tree.items() if isinstance(part, Struct)}
    settings_from(LabelConfig, tree | parts)
    parse_money(cfg.budget)
    parse_scheme(cfg.matchups)
    cluster_of(cfg)
    _refuse_idle(cfg)
    for name in cfg.export:
        if name not in FORMATS:
            raise SettingError(nearest("format", name, FORMATS))
        if name == "parquet":
            require("pyarrow", f"the format {name}", "parquet")
    if cfg.labels not in (None, "given"):
        deque(load_labels(cfg.labels), maxlen=0)  # a line that cannot be read is better found now


def _refuse_idle(cfg: LabelConfig) -> None:
    """A setting that this job has no use for was meant for something; and prompts need a policy."""
    usual, (source, _) = LabelConfig(), source_of(cfg)
    if source == "prompts" and not cfg.policy:
        raise SettingError(
            "prompts need a policy to write completions. Name one with: --policy openai:gpt-5-mini,"
            " or bring completions with: --completions FILE"
        )
    idle = {"prompts": (), "completions": ("policy", "sampling"), "pairs": ("policy", "sampling", "matchups")}
    for name in idle[source]:
        if getattr(cfg, name) != getattr(usual, name):
            raise SettingError(
                f"--{source} and {name} do not go together: the {source} are there already."
                f" Leave out {name}, or name a file of prompts with: --prompts FILE"
            )
    if cfg.jury != usual.jury and isinstance(cfg.judge, str | JudgeConfig):
        raise SettingError("jury is for several judges, and there is one. Name another with: --judge shorter")


def judge_configs(cfg: LabelConfig) -> list[JudgeConfig]:
    """Each judge in full."""
    from ..verdicts.judge import judge_config

    listed = (cfg.judge,) if isinstance(cfg.judge, str | JudgeConfig) else cfg.judge
    if not listed and not cfg.read:
        raise SettingError("no judge. Name one with: --judge openai:gpt-5-mini")
    return [judge_config(one) for one in listed]


def expected_rows(cfg: LabelConfig) -> int | None:
    """The most rows there can be, where the source has a length or lines that are quick to count."""
    _, source = source_of(cfg)
    counts = [] if cfg.limit is None else [cfg.limit]
    if not isinstance(source, str | PathLike):
        counts += [len(source)] if isinstance(source, Sized) else []
    elif Path(source).suffix == ".jsonl" and Path(source).is_file():
        with Path(source).open("rb") as file:
            counts.append(sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")))
    return min(counts, default=None)


def recipe_text(cfg: LabelConfig) -> str:
    """The settings as resolved, to be run again as they are, and what they were run with.

    What was forced, or replaced, was meant for one start.
    """
    head = " · ".join(f"{name} {number}" for name, number in versions().items())
    return f"# {head}\n{dump_yaml(replace(as_recipe(cfg), force=False, replace=False))}"


def versions() -> dict[str, str]:
    python = ".".join(map(str, sys.version_info[:3]))
    return {"jurist": __version__, "python": python, "platform": sys.platform}
