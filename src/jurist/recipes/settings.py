"""The settings of a labelling job: one Struct, which is the YAML and the command line."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from ..completions.matchups import parse_scheme
from ..config import dump_yaml, load_settings, parse_money
from ..errors import MissingExtra, SettingError, nearest
from ..preferences.export import FORMATS
from ..preferences.pairs import PreferConfig
from ..records import Sampling
from ..verdicts.human import load_labels
from ..verdicts.judge import judge_config
from ..verdicts.jury import JuryConfig
from ..verdicts.settings import JudgeConfig


class PolicyConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Who writes completions, and how large a share of them."""

    engine: str | dict[str, Any]
    """As an engine is named anywhere, or a mapping with its settings."""
    weight: float = 1.0
    """Its share of the draws, next to the other policies' weights."""


class LabelConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One labelling job."""

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
    label_values: dict[str | int | bool, Literal["first", "second", "tie"]] = {}
    """What single labels of the file mean, e.g. `{0: second, 1: first}`."""
    labels_by: Literal["file", "human"] = "file"
    """Whose the labels in the rows are: not known (`file`), or of humans."""
    benchmarks: tuple[str, ...] = ()
    """Files of test prompts: rows whose prompt shares 13 words in a row with one are dropped."""
    limit: int | None = None
    """Read only this many rows."""
    on_error: Literal["stop", "drop"] = "stop"
    """What to do with a row that cannot be read: stop there, or drop it by name."""
    policies: tuple[str | PolicyConfig, ...] = ()
    """Who writes completions; of several, each draw is made by one."""
    k: int = 2
    """Completions per prompt."""
    sampling: Sampling = Sampling()
    matchups: str = "all"
    """Who meets whom among the completions of a prompt: `all`, `chain`, `star` or `random:3`."""
    judge: str | JudgeConfig | tuple[str | JudgeConfig, ...] = ()
    """One judge, or a list of them: a jury."""
    jury: JuryConfig = JuryConfig()
    """How the opinions of several judges become one."""
    labels: str | None = None
    """People's labels, to weigh the jury and calibrate judges: a file, or `given` for those in the rows."""
    prefer: PreferConfig = PreferConfig()
    """Which pairs are kept."""
    export: tuple[str, ...] = ("trl",)
    """Formats to write at the end."""
    held_out: float = 0.0
    """Share of prompts that goes to the test split of the export."""
    budget: str | float | None = None
    """The most this run may cost, e.g. `5usd`."""
    journal: str | None = None
    """A journal shared with other runs; the run's own by default."""
    seed: int = 0
    """Decides every draw that is not the model's."""


def label_settings(
    recipe: str | Path | None = None, overrides: Sequence[str] = (), **given: Any
) -> LabelConfig:
    """A job's settings from a recipe, from what is given by name, and from `--key.sub value` words.

    The recipe in a run folder goes on in that folder, wherever it was moved to.
    """
    cfg = load_settings(LabelConfig, recipe, overrides, full_form, **given)
    here = Path(recipe).parent if recipe else Path()
    if recipe is None or "out" in given or not (here / "judges.json").exists():
        return cfg
    return cfg if Path(cfg.out).resolve() == here.resolve() else replace(cfg, out=str(here))


def full_form(key: str, text: str) -> dict[str, Any]:
    """A judge's or an engine's short form as the mapping it stands for, to be given more settings."""
    is_rule = key == "judge" and judge_config(text).engine is None
    return {"kind": text} if is_rule else {"engine": text}


def check(cfg: LabelConfig) -> None:
    """What no type can say: which settings need each other, and what would only be needed at the end."""
    given = [name for name in ("prompts", "completions", "pairs") if getattr(cfg, name)]
    if len(given) != 1:
        got = " and ".join(f"--{name}" for name in given) or "none of them"
        raise SettingError(
            f"a job needs one of --prompts, --completions and --pairs, got {got}."
            " Try: --prompts prompts.jsonl"
        )
    if cfg.prompts and not cfg.policies:
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
    "completions": {"policies": "it brings its completions", "sampling": "it brings its completions"},
    "pairs": {
        "policies": "it brings its completions",
        "sampling": "it brings its completions",
        "matchups": "it says who meets whom",
    },
}
"""What a file of this kind leaves nothing to do for."""


def _refuse_idle(cfg: LabelConfig) -> None:
    usual = LabelConfig()
    for source, settings in IDLE.items():
        for name, why in settings.items():
            if getattr(cfg, source) and getattr(cfg, name) != getattr(usual, name):
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
    return [PolicyConfig(one) if isinstance(one, str) else one for one in cfg.policies]


def judge_configs(cfg: LabelConfig) -> list[JudgeConfig]:
    """Each judge in full."""
    listed = (cfg.judge,) if isinstance(cfg.judge, str | JudgeConfig) else cfg.judge
    if not listed:
        raise SettingError("no judge. Name one with: --judge openai:gpt-5-mini")
    return [judge_config(one) for one in listed]


def expected_rows(cfg: LabelConfig) -> int | None:
    """Lines of the file, where it has lines and counting them is quick."""
    path = Path(cfg.prompts or cfg.completions or cfg.pairs or "")
    if path.suffix != ".jsonl" or not path.is_file():
        return cfg.limit
    with path.open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return lines if cfg.limit is None else min(lines, cfg.limit)


def recipe_text(cfg: LabelConfig) -> str:
    """The settings as resolved, to be run again as they are, and what they were run with."""
    return f"# {' · '.join(f'{name} {number}' for name, number in versions().items())}\n{dump_yaml(cfg)}"


def versions() -> dict[str, str]:
    try:
        ours = version("jurist")
    except PackageNotFoundError:
        ours = "from a source tree"
    return {"jurist": ours, "python": ".".join(map(str, sys.version_info[:3])), "platform": sys.platform}
