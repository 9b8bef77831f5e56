"""The settings of a labelling job: one Struct, which is the YAML and the command line."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sized
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict, replace

from .. import __version__
from ..completions.load import parse_scheme
from ..config import dump_yaml, load_settings, settings_from
from ..engines.budget import parse_money
from ..engines.engine import EngineConfig
from ..errors import MissingExtra, SettingError, nearest
from ..preferences.export import FORMATS
from ..preferences.settings import PreferConfig
from ..records import Sampling
from ..verdicts.human import load_labels
from ..verdicts.judge import judge_config
from ..verdicts.settings import JudgeConfig, JuryConfig

if TYPE_CHECKING:
    Source = str | PathLike[str] | Iterable[Any]
else:
    Source = str  # what a recipe can say; from Python, the rows may come themselves

SOURCES = ("prompts", "completions", "pairs")
IN_MEMORY = "rows in memory"


class PolicyConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Who writes completions, and how large a share of them."""

    engine: Annotated[str | EngineConfig, Meta(description="Vendor and model, e.g. openai:gpt-5-mini.")]
    weight: Annotated[float, Meta(description="Share of the completions, relative to other policies.")] = 1.0


class LabelConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One labelling job."""

    out: Annotated[str, Meta(description="The run folder.")] = "run"
    prompts: Annotated[
        Source | None, Meta(description="File of prompts: JSONL, JSON, CSV, Parquet or hub:owner/name.")
    ] = None
    completions: Annotated[Source | None, Meta(description="File of prompts with completions.")] = None
    pairs: Annotated[
        Source | None,
        Meta(description="File of prompts with two completions: first and second, or chosen and rejected."),
    ] = None
    columns: Annotated[
        dict[str, str], Meta(description="Names of the file's columns, e.g. --columns.prompt question.")
    ] = {}
    limit: Annotated[int | None, Meta(description="Read only this many rows.")] = None
    on_error: Annotated[
        Literal["stop", "drop"], Meta(description="What to do with a row that cannot be read.")
    ] = "stop"
    benchmarks: Annotated[
        tuple[str, ...], Meta(description="Files of test sets; prompts that occur in them are dropped.")
    ] = ()
    policy: Annotated[
        str | PolicyConfig | tuple[str | PolicyConfig, ...],
        Meta(description="Who writes completions, e.g. vllm:MODEL@http://host:8000/v1; may be repeated."),
    ] = ()
    k: Annotated[int, Meta(description="Completions per prompt.")] = 2
    sampling: Annotated[Sampling, Meta(description="How completions are sampled.")] = Sampling()
    matchups: Annotated[
        str, Meta(description="Which completions of a prompt are compared: all, chain, star or random:3.")
    ] = "all"
    judge: Annotated[
        str | JudgeConfig | tuple[str | JudgeConfig, ...],
        Meta(description="Who judges, e.g. openai:gpt-5-mini or shorter; several judges are a jury."),
    ] = ()
    read: Annotated[
        str,
        Meta(description="Import recorded judge replies: a reader's name, a regex or module:function."),
    ] = ""
    jury: Annotated[JuryConfig, Meta(description="How the opinions of several judges become one.")] = (
        JuryConfig()
    )
    labels: Annotated[
        str | None,
        Meta(description="Labels to compare the judges with: a JSONL file, or given: those in the rows."),
    ] = None
    labels_by: Annotated[
        Literal["file", "human"],
        Meta(description="Who made the labels in the rows; only human labels count as human."),
    ] = "file"
    label_values: Annotated[
        dict[str | int | bool, str],
        Meta(description="What the values of the label column mean, e.g. --label_values.0 second."),
    ] = {}
    prefer: Annotated[PreferConfig, Meta(description="Which pairs are kept.")] = PreferConfig()
    export: Annotated[
        tuple[str, ...], Meta(description="Formats to write at the end, e.g. trl, kto, jsonl.")
    ] = ("trl",)
    held_out: Annotated[float, Meta(description="Share of prompts in the test split of the export.")] = 0.0
    force: Annotated[
        bool, Meta(description="Export although a judge agrees with humans no better than chance.")
    ] = False
    budget: Annotated[str | float | None, Meta(description="The most the run may cost, e.g. 5usd.")] = None
    journal: Annotated[str | None, Meta(description="A journal shared with other runs.")] = None
    replace: Annotated[bool, Meta(description="Replace the labels of a run of another file.")] = False
    seed: Annotated[int, Meta(description="Seed of all random choices that are not the model's.")] = 0


def label_settings(
    recipe: str | Path | None = None, overrides: Mapping[str, Any] | None = None, **given: Any
) -> LabelConfig:
    """A job's settings from a recipe, from what is given by name, and from overrides by dotted name.

    The recipe in a run folder goes on in that folder, wherever it was moved to.
    """
    cfg = load_settings(LabelConfig, recipe, overrides, **given)
    here = Path(recipe).parent if recipe else Path()
    if recipe is None or "out" in {*given, *(overrides or ())} or not (here / "judges.json").exists():
        return cfg
    return cfg if Path(cfg.out).resolve() == here.resolve() else replace(cfg, out=str(here))


def source_of(cfg: LabelConfig) -> tuple[str, Source]:
    """Which kind of source is given, and the source."""
    given = [(name, source) for name in SOURCES if not _is_empty(source := getattr(cfg, name))]
    if len(given) != 1:
        got = " and ".join(f"--{name}" for name, _ in given) or "none of them"
        raise SettingError(
            f"a job needs one of --prompts, --completions and --pairs, got {got}."
            " Try: --prompts prompts.jsonl"
        )
    return given[0]


def _is_empty(source: Any) -> bool:
    return source is None or (isinstance(source, str) and not source)


def named_source(source: Any) -> str:
    """What to call a source in a recipe or a message."""
    return str(source) if isinstance(source, str | PathLike) else IN_MEMORY


def _as_recipe(cfg: LabelConfig) -> LabelConfig:
    given = {name: getattr(cfg, name) for name in SOURCES if getattr(cfg, name) is not None}
    return replace(cfg, **{name: named_source(source) for name, source in given.items()})


def check(cfg: LabelConfig) -> None:
    """What no type can say: which settings need each other, and what would only be needed at the end."""
    settings_from(LabelConfig, asdict(_as_recipe(cfg)))  # from Python, types are not checked before
    given, _ = source_of(cfg)
    if given == "prompts" and not cfg.policy:
        raise SettingError(
            "prompts need a policy to write completions. Name one with: --policy openai:gpt-5-mini,"
            " or bring completions with: --completions FILE"
        )
    if cfg.k < 1:
        raise SettingError(f"k is the number of completions per prompt, got {cfg.k}; set -k 2")
    if cfg.limit is not None and cfg.limit < 1:
        raise SettingError(f"limit is the most rows to read, got {cfg.limit}; set --limit 100")
    _refuse_sampling(cfg.sampling)
    if not 0 <= cfg.held_out < 1:
        raise SettingError(f"held_out is a share of the prompts, got {cfg.held_out}; set --held_out 0.05")
    parse_money(cfg.budget)
    parse_scheme(cfg.matchups)
    _refuse_idle(cfg)
    for name in cfg.export:
        if name not in FORMATS:
            raise SettingError(nearest("format", name, FORMATS))
        module, extra = NEEDS.get(FORMATS[name].writer, ("", ""))
        if module and find_spec(module) is None:
            raise MissingExtra(f"the format {name}", module, extra)
    if cfg.labels is not None and cfg.labels != "given":
        deque(load_labels(cfg.labels), maxlen=0)  # a line that cannot be read is better found now


NEEDS = {"parquet": ("pyarrow", "parquet")}
"""What some writers cannot do without, and which extra brings it."""


def _refuse_sampling(how: Sampling) -> None:
    usual = Sampling()
    fits = {
        "temperature": how.temperature >= 0,
        "top_p": 0 < how.top_p <= 1,
        "max_tokens": how.max_tokens >= 1,
    }
    for name, does in fits.items():
        if not does:
            raise SettingError(
                f"no model draws with {name}: {getattr(how, name)};"
                f" set --sampling.{name} {getattr(usual, name)}"
            )


IDLE = {
    "completions": {"policy": "it brings its completions", "sampling": "it brings its completions"},
    "pairs": {
        "policy": "it brings its completions",
        "sampling": "it brings its completions",
        "matchups": "it says who meets whom",
    },
}
"""What a file of this kind leaves nothing to do for."""


def _refuse_idle(cfg: LabelConfig) -> None:
    usual = LabelConfig()
    source, _ = source_of(cfg)
    for name, why in IDLE.get(source, {}).items():
        if getattr(cfg, name) != getattr(usual, name):
            raise SettingError(
                f"--{source} and {name} do not go together: {why}."
                f" Leave out {name}, or name a file of prompts with: --prompts FILE"
            )
    if cfg.jury != usual.jury and isinstance(cfg.judge, str | JudgeConfig):
        raise SettingError(
            f"jury says how several judges become one (combine: {cfg.jury.combine}), and there is one."
            " Name another with: --judge shorter"
        )


def prefer_config(cfg: LabelConfig) -> PreferConfig:
    """The run's seed decides the draws of the pair rules too, unless they have their own."""
    return cfg.prefer if cfg.prefer.seed is not None else replace(cfg.prefer, seed=cfg.seed)


def policy_configs(cfg: LabelConfig) -> list[PolicyConfig]:
    listed = (cfg.policy,) if isinstance(cfg.policy, str | PolicyConfig) else cfg.policy
    return [PolicyConfig(one) if isinstance(one, str) else one for one in listed]


def judge_configs(cfg: LabelConfig) -> list[JudgeConfig]:
    """Each judge in full."""
    listed = (cfg.judge,) if isinstance(cfg.judge, str | JudgeConfig) else cfg.judge
    if not listed and not cfg.read:
        raise SettingError("no judge. Name one with: --judge openai:gpt-5-mini")
    return [judge_config(one) for one in listed]


def expected_rows(cfg: LabelConfig) -> int | None:
    """Lines of the file, where it has lines and counting them is quick."""
    _, source = source_of(cfg)
    if not isinstance(source, str | PathLike):
        found = len(source) if isinstance(source, Sized) else None
        return min((n for n in (found, cfg.limit) if n is not None), default=None)
    path = Path(source)
    if path.suffix != ".jsonl" or not path.is_file():
        return cfg.limit
    with path.open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return lines if cfg.limit is None else min(lines, cfg.limit)


def recipe_text(cfg: LabelConfig) -> str:
    """The settings as resolved, to be run again as they are, and what they were run with.

    What was forced, or replaced, was meant for one start.
    """
    head = " · ".join(f"{name} {number}" for name, number in versions().items())
    return f"# {head}\n{dump_yaml(replace(_as_recipe(cfg), force=False, replace=False))}"


def versions() -> dict[str, str]:
    return {
        "jurist": __version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "platform": sys.platform,
    }
