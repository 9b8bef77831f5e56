"""What to type next, about what was audited: never what the run does already, always quoted for the shell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from ..config import load_settings
from ..errors import SettingError
from ..records import RECORDED_PREFIX

if TYPE_CHECKING:
    from ..preferences import PreferConfig
    from ..verdicts.settings import JudgeConfig
    from .read_run import AuditInput


class Advice(NamedTuple):
    """A step, its commands in backticks."""

    text: str
    unless: str = ""
    """A figure: where it is true, the step is left out."""


class SettingsOf(NamedTuple):
    """A part of a recipe, and the option that changes it."""

    option: str = ""
    """`judge`, `judge.1`, `rl.prefer`; empty where the recipe has no such part."""
    config: JudgeConfig | PreferConfig | None = None
    """None where it is not known."""
    seen: Mapping[str, Any] = {}
    """Settings that were left open and show in what was read."""

    def changes(self, setting: str, value: str) -> bool:
        """Whether this part has a use for the setting, and has not that value already."""
        if self.config is None:
            return bool(self.option)
        if "." in setting:
            return getattr(self.config, setting.partition(".")[0]) is not None
        tree = {**msgspec.to_builtins(self.config), setting: value}
        try:
            new = msgspec.convert(tree, type(self.config), strict=False)
        except (msgspec.ValidationError, SettingError):
            return False
        name = "effective_temperature" if setting == "temperature" else setting
        now = self.seen.get(setting, getattr(self.config, name))
        return bool(getattr(new, name) != now) and not (setting == "rubric" and now)


class About(NamedTuple):
    """What was audited."""

    source: str = "RUN"
    """The path."""
    kind: Literal["run", "loop", "file"] = "run"
    labels: str = ""
    """Of a loop: its last labelling run."""
    judges: Mapping[str, SettingsOf] = {}
    """By name. Empty where nothing is known of them."""
    prefer: SettingsOf = SettingsOf("prefer")
    columns: Mapping[str, str] = {}
    """How the columns of a file were named."""
    label_values: Mapping[Any, str] = {}
    """What its labels mean, where that was said."""
    on_error: str = "stop"
    """What was done with its rows that are no pairs."""
    names: Mapping[str, str] = {}
    """Short names of judges."""
    again: str = ""
    """The command that asks anew, where it is another than that of its kind."""
    refused: bool = False
    """Of a run: whether its labels are not exported, since a judge is no better than chance."""
    recorded: bool = False
    """Of a run: whether it has no judge but recorded replies."""
    other: str = "judge"
    """The option that names another judge; empty where none can be named."""

    @property
    def commands(self) -> dict[str, str]:
        """What `{again}` and the like stand for in advice."""
        source, run = quote(self.source), quote(self.labels or self.source)
        recipe = quote(f"{self.source}/recipe.yaml")
        reading = options_of(self.columns, self.label_values, self.on_error)
        again = {
            "run": f"jurist label --recipe {recipe} {ASK_INSTEAD * self.recorded}--out NEW",
            "loop": f"jurist run {recipe} --out NEW",
            "file": f"jurist label --pairs {source} --judge ENGINE --out NEW{reading}",
        }[self.kind]
        file = self.kind == "file"
        spotcheck = f"jurist spotcheck {run} -n 200 --csv --out spot.csv{reading}"
        again = self.again or again
        return {
            "source": source,
            "recipe": recipe,
            "again": again,
            "another": again if "--judge ENGINE" in again else f"{again} --judge ENGINE",
            "resume": again.replace("--out NEW", "").strip() if self.kind == "run" else again,
            "spotcheck": f"`{spotcheck}`, then `jurist audit {source} --human spot.csv{reading}`",
            "export": again if file else f"jurist export {run}",
            "unread": f"the rows of {source} without a winner" if file else f"`jurist show {run} --unread`",
        }

    def step(self, text: str, judge: str) -> str:
        """A step with the options of this recipe; empty where it would change nothing. `judge` is whom it is
        about: all of them where that is nobody's name.
        """
        judges = [self.judges[judge]] if judge in self.judges else [*self.judges.values()]
        idle: list[bool] = []

        def options(found: re.Match[str], prefer: str) -> str:
            if not found[2]:
                idle.append(not self.other)
                return f"--{self.other} {found[3]}"
            parts = [self.prefer._replace(option=prefer)] if found[1] == "prefer" else judges
            able = [one for one in parts or [SettingsOf("judge")] if one.changes(found[2], found[3])]
            idle.append(not able)
            return " ".join(f"--{one.option}.{found[2]} {found[3]}" for one in able)

        def command(found: re.Match[str]) -> str:
            verb = found[1].split()[:2]
            if verb not in (["jurist", "export"], self.commands["again"].split()[:2]):
                return found[0]
            if verb[1] == "export" and self.refused:
                idle.append(True)
                return found[0]
            # An export has the settings of a labelling run, whatever the loop calls them.
            prefer = "prefer" if verb[1] == "export" else self.prefer.option
            again = self.commands["again"] if found[1].startswith(self.commands["again"]) else ""
            typed = _OPTION.sub(lambda option: options(option, prefer), found[1].removeprefix(again))
            return f"`{' '.join(f'{again} {typed}'.split())}`"

        text = _COMMAND.sub(command, text)
        return "" if idle and all(idle) else text


def options_of(columns: Mapping[str, str], label_values: Mapping[Any, str], on_error: str) -> str:
    """The options that say how a file is read, each after a space."""
    given = [(f"columns.{ours}", theirs) for ours, theirs in columns.items()]
    given += [(f"label_values.{value}", side) for value, side in label_values.items()]
    given += [("on_error", on_error)] if on_error != "stop" else []
    return "".join(f" --{quote(option)} {quote(value)}" for option, value in given)


ASK_INSTEAD: Final = "--read '' --judge ENGINE "
"""What a run of recorded replies is asked anew with."""
_COMMAND: Final = re.compile(r"`([^`]+)`")
_OPTION: Final = re.compile(r"--(judge|prefer)\.?(\S*) ([^\s`]+)")


def about_of(
    read: AuditInput, source: str, recipe: type[Struct] | None, columns: Mapping[str, str], **reading: Any
) -> About:
    """What was asked of the judges, and under which options; `recipe` is the kind of the folder's recipe,
    `reading` how else a file was read.
    """
    from ..preferences.decide import read_judges
    from ..verdicts.judge import judge_config

    labels, names = read.path if read.kind == "loop" else "", short_names(read.sheet.judges)
    refused = bool(read.summary.get("refused"))
    about = About(source, read.kind, labels, columns=columns, names=names, refused=refused, **reading)
    if recipe is None:
        return about
    file = Path(source) / "recipe.yaml"
    try:
        cfg: Any = load_settings(recipe, file)
    except SettingError:  # edited since; the audit does not need it
        return about
    prefix, cfg = ("rl.", cfg.rl) if hasattr(cfg, "rl") else ("", cfg)
    try:
        load_settings(recipe, file, {(other := f"{prefix}judge"): "shorter"})
    except SettingError:  # the policy judges itself
        other = ""
    configs = [
        judge_config(one) for one in (cfg.judge if isinstance(cfg.judge, tuple) else (cfg.judge,)) if one
    ]
    judges = [one.name for one in read_judges(Path(read.path)) if not one.name.startswith(RECORDED_PREFIX)]
    prefer = getattr(cfg, "prefer", None)
    return about._replace(
        judges=settings_of_judges(configs, judges, f"{prefix}judge", read.sheet.judges_with_logprobs),
        prefer=SettingsOf(f"{prefix}prefer", prefer) if prefer else SettingsOf(),
        recorded=not configs,
        other=other,
    )


def settings_of_judges(
    configs: Sequence[JudgeConfig],
    names: Sequence[str] = (),
    option: str = "judge",
    with_logprobs: Collection[str] = (),
) -> dict[str, SettingsOf]:
    """Of each judge, by name where names are known; and which of them had log-probs read."""
    found = {}
    for at, cfg in enumerate(configs):
        name = names[at] if len(names) == len(configs) else f"{option}.{at}"
        # Left open, a judge reads log-probs where there are any, and lets the model reason where not.
        seen = {"logprobs": True} if name in with_logprobs else {"reason": True} if cfg.reason is None else {}
        found[name] = SettingsOf(f"{option}.{at}" if len(configs) > 1 else option, cfg, seen)
    return found


_CODED: Final = re.compile(r"[^:#]+:(.+)#[0-9a-f]{6}")
"""How a judge asks, its engine, and the code of its settings."""


def short_names(judges: Sequence[str]) -> dict[str, str]:
    """A judge is called by its engine wherever no other of these has that one."""
    engines = {judge: coded[1] if (coded := _CODED.fullmatch(judge)) else judge for judge in judges}
    n = Counter(engines.values())
    return {judge: engine for judge, engine in engines.items() if judge != engine and n[engine] == 1}
