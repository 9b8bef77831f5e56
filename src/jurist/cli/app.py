"""The verbs, in the order of the work: their settings, what they are for, and which words need no `--name`.

Settings are named, not imported, so that a page of help loads only what it shows.
"""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from importlib import import_module
from shlex import quote
from typing import NamedTuple

from msgspec import NODEFAULT, Struct

from ..errors import SettingError
from .exits import WRONG, exit_code
from .options import (
    Common,
    Known,
    Recipe,
    Typed,
    complete,
    help_rows,
    install,
    known_settings,
    page,
    parse,
)


class Verb(NamedTuple):
    """A row of the table. The function lies in `verbs` under the first word of the verb."""

    settings: str
    """A Struct, or a function that finds one by the words typed."""
    summary: str
    arguments: tuple[str, ...] = ()
    """Settings that may be given by position."""
    recipe: bool = False
    """They may also come from a YAML file."""


LABEL, SFT, PPO = "recipes.settings:LabelConfig", "models.settings:SftConfig", "models.ppo_settings:PPOConfig"
REWARD, DPO, DATA = "models.settings:RewardConfig", "models.settings:DpoConfig", ("data",)
VERBS = {
    "estimate": Verb(LABEL, "Estimate calls, tokens and cost of a labelling job before it runs.", (), True),
    "label": Verb(LABEL, "Judge completions and decide which to train on: preference pairs.", (), True),
    "show": Verb("cli.show:ShowConfig", "Show what a run came to, or the evidence behind labels.", ("run",)),
    "audit": Verb("recipes.audit:AuditConfig", "Measure what may be wrong with labels.", ("source",)),
    "export": Verb("cli.verbs:ExportConfig", "Decide again from a run's verdicts; write files.", ("run",)),
    "train sft": Verb(SFT, "Supervised fine-tuning on chosen answers.", DATA, True),
    "train reward": Verb(REWARD, "Train a reward model on preferences.", DATA, True),
    "train dpo": Verb(DPO, "Train a policy on preferences.", DATA, True),
    "train ppo": Verb(PPO, "Train a policy on a reward, close to a reference policy.", DATA, True),
    "train rloo": Verb(PPO, "The same without a value head.", DATA, True),
    "run": Verb("cli.verbs:loop_config", "Run a recipe in rounds: sample, judge, train.", ("recipe",), True),
    "probe": Verb("cli.verbs:ProbeConfig", "Attack a judge with answers made to please it.", ("judge",)),
    "plan": Verb("recipes.plan:PlanConfig", "Plan how many human labels a question needs.", ("source",)),
    "spotcheck": Verb(
        "recipes.spot_check:SpotcheckConfig", "Sample labels for humans to check.", ("source",)
    ),
    "sample": Verb(LABEL, "Only write completions, for label to judge later.", (), True),
    "init": Verb("cli.verbs:InitConfig", "Write a recipe with every setting explained.", ("recipe",)),
    "selftest": Verb("cli.verbs:SelftestConfig", "Check the pipeline with judges whose answers are known."),
    "demo": Verb("cli.verbs:DemoConfig", "RLAIF in a tiny world, from labels to trained policies."),
}
TITLE = "Preference data you can trust from AI judges, and the models trained on it."
TRAIN = "Train on labels: sft, reward, dpo, ppo or rloo."
TOP = {
    "--help": "Show this page. Each verb has its own: jurist VERB --help",
    "--version": "Show the version.",
    "--install-completion [SHELL]": "Make bash, zsh or fish complete verbs and options.",
}


def main() -> None:
    """The command line, from its words to its exit code."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(words: list[str]) -> int:
    return exit_code(lambda: _dispatch(words))


def _dispatch(words: list[str]) -> int:
    first, second = [*words, "", ""][:2]
    if "COMP_LINE" in os.environ:
        print("\n".join(complete(VERBS, TOP, lambda name, words: _settings(name, words)[1])))
    elif first == "--version":
        from .. import __version__

        print(f"jurist {__version__}")
    elif first == "--install-completion":
        print(install(second or os.environ.get("SHELL", "")))
    elif first in ("", "-h", "--help"):
        verbs = [(name, verb.summary) for name, verb in VERBS.items() if " " not in name]
        verbs.insert(list(VERBS).index("train sft"), ("train", TRAIN))
        print(page("VERB [OPTIONS]", TITLE, {"Verbs": verbs, "Options": TOP.items()}))
        return 0 if first else WRONG
    elif first == "train" and second in ("", "-h", "--help"):
        methods = [(name, verb.summary) for name, verb in VERBS.items() if name.startswith("train ")]
        print(page("train METHOD [DATA] [OPTIONS]", TRAIN, {"Methods": methods}))
        return 0 if second else WRONG
    else:
        name = f"{first} {second}" if first == "train" else first
        return _run(name, words[1 + name.count(" ") :])
    return 0


def _run(name: str, words: list[str]) -> int:
    see = "See: jurist train --help" if name.startswith("train ") else "See: jurist --help"
    if name not in VERBS:
        close = "".join(f" Did you mean '{one}'?" for one in get_close_matches(name, VERBS, n=1))
        raise SettingError(f"no verb called '{name}'.{close} {see}")
    verb, (cls, known) = VERBS[name], _settings(name, words)
    given, free = parse(words, known)
    needed = [one for one in verb.arguments if known[one].default is NODEFAULT]
    if given.pop("help", False):
        places = [one.upper() if one in needed else f"[{one.upper()}]" for one in verb.arguments]
        print(page(" ".join((name, *places, "[OPTIONS]")), verb.summary, help_rows(known, verb.arguments)))
        return 0
    see = f"See: jurist {name} --help"
    places = [one for one in verb.arguments if one not in given]
    for word in free[len(places) :]:
        raise SettingError(f"'{word}' belongs to no option. Write it as: --NAME {quote(word)}. {see}")
    given |= zip(places, free, strict=False)
    for one in needed:
        if one not in given:
            raise SettingError(f"jurist {name} needs {one.upper()}. {known[one].description} {see}")
    recipe = given.pop("recipe", None) if verb.recipe else None
    typed = Typed(name, cls, given, recipe, given.pop("json", False))
    module = import_module("jurist.cli.show" if name == "show" else "jurist.cli.verbs")
    code: int = getattr(module, name.partition(" ")[0])(typed)
    return code


def _settings(name: str, words: list[str]) -> tuple[type[Struct], Known]:
    """The Struct of a verb, and all its options by name."""
    module, _, attribute = VERBS[name].settings.partition(":")
    found = getattr(import_module(f"jurist.{module}"), attribute)
    cls = found if isinstance(found, type) else found(words)
    return cls, known_settings(cls, *((Recipe,) if VERBS[name].recipe else ()), Common)
