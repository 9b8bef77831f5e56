"""The verbs, in the order of the work: their settings, what they are for, and which words need no `--name`.

Settings are named, not imported, so that a page of help loads only what it shows.
"""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from shlex import quote
from typing import Final, NamedTuple

from msgspec import NODEFAULT, Struct

from ..config import choices_of
from ..errors import SettingError
from .exits import WRONG, exit_code
from .options import Common, Known, Recipe, Typed, help_rows, known_settings, page, parse


class Verb(NamedTuple):
    """A row of the table. The function lies in `verbs` under the first word of the verb."""

    settings: str
    """A Struct, or a function that finds one by the words typed."""
    summary: str
    argument: str = ""
    """A setting that needs no `--name`."""
    recipe: bool = False
    """They may also come from a YAML file."""


LABEL, SFT, PPO = "recipes.settings:LabelConfig", "models.settings:SftConfig", "models.settings:PPOConfig"
REWARD, DPO = "models.settings:RewardConfig", "models.settings:DpoConfig"
VERBS = {
    "estimate": Verb(LABEL, "Estimate calls, tokens and cost of a labelling job before it runs.", "", True),
    "label": Verb(LABEL, "Judge completions and decide which to train on: preference pairs.", "", True),
    "show": Verb("cli.show:ShowConfig", "Show what a run came to, or the evidence behind labels.", "run"),
    "audit": Verb("recipes.audit:AuditConfig", "Measure what may be wrong with labels.", "source"),
    "export": Verb("cli.verbs:ExportConfig", "Decide again from a run's verdicts; write files.", "run"),
    "train sft": Verb(SFT, "Supervised fine-tuning on chosen answers.", "data", True),
    "train reward": Verb(REWARD, "Train a reward model on preferences.", "data", True),
    "train dpo": Verb(DPO, "Train a policy on preferences.", "data", True),
    "train ppo": Verb(PPO, "Train a policy on a reward, close to a reference policy.", "data", True),
    "train rloo": Verb(PPO, "The same without a value head.", "data", True),
    "run": Verb("cli.verbs:loop_config", "Run a recipe in rounds: sample, judge, train.", "recipe", True),
    "probe": Verb("cli.verbs:ProbeConfig", "Attack a judge with answers made to please it.", "judge"),
    "plan": Verb("recipes.plan:PlanConfig", "Plan how many human labels a question needs.", "source"),
    "spotcheck": Verb("recipes.spot_check:SpotcheckConfig", "Sample labels for humans to check.", "source"),
    "serve": Verb("serve.server:ServeConfig", "Serve a judge or a reward model over HTTP.", "judge"),
    "sample": Verb(LABEL, "Only write completions, for label to judge later.", "", True),
    "init": Verb("cli.verbs:InitConfig", "Write a recipe with every setting explained.", "recipe"),
    "selftest": Verb("cli.verbs:SelftestConfig", "Check the pipeline with judges whose answers are known."),
    "demo": Verb("cli.verbs:DemoConfig", "RLAIF in a tiny world, from labels to trained policies."),
}
SHELLS: Final = {
    "bash": (".bashrc", "complete -o default -C jurist jurist"),
    "zsh": (".zshrc", "autoload -U +X bashcompinit && bashcompinit && complete -o default -C jurist jurist"),
    "fish": (
        ".config/fish/completions/jurist.fish",
        "complete -c jurist -a '(COMP_LINE=(commandline -cp) jurist)'",
    ),
}
"""A file in the home folder and the line it needs. The shell asks `jurist` itself, as in posener/complete."""
TITLE = "Preference data you can trust from AI judges, and the models trained on it."
TRAIN = "Train on labels: sft, reward, dpo, ppo or rloo."
TOP = {
    "--help": "Show this page. Each verb has its own: jurist VERB --help",
    "--version": "Show the version.",
    "--install-completion [SHELL]": "Make bash, zsh or fish complete verbs and options.",
}


def main() -> None:
    """The command line, from its words to its exit code."""
    code = run_command(sys.argv[1:])
    if "RANK" in os.environ:
        # One of several processes: threads of gloo that still run might abort it at its end.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run_command(words: list[str]) -> int:
    return exit_code(lambda: _dispatch(words))


def _dispatch(words: list[str]) -> int:
    first, second = [*words, "", ""][:2]
    if "COMP_LINE" in os.environ:
        line = os.environ["COMP_LINE"]
        print("\n".join(_complete(line[: int(os.environ.get("COMP_POINT", len(line)))])))
    elif first == "--version":
        from .. import __version__

        print(f"jurist {__version__}")
    elif first == "--install-completion":
        print(_install(second or os.environ.get("SHELL", "")))
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
    argument, place, see = verb.argument, verb.argument.upper(), f"See: jurist {name} --help"
    needed = argument and known[argument].default is NODEFAULT
    if given.pop("help", False):
        places = [place if needed else f"[{place}]"] if place else []
        print(page(" ".join((name, *places, "[OPTIONS]")), verb.summary, help_rows(known, argument)))
        return 0
    if free and argument and argument not in given:
        given[argument] = free.pop(0)
    if free:
        word = free[0]
        raise SettingError(f"'{word}' belongs to no option. Write it as: --NAME {quote(word)}. {see}")
    if needed and argument not in {name.partition(".")[0] for name in given}:
        raise SettingError(f"jurist {name} needs {place}. {known[argument].description} {see}")
    recipe = given.pop("recipe", None) if verb.recipe else None
    typed = Typed(name, cls, given, recipe, given.pop("json", False))
    module = import_module("jurist.cli.show" if name == "show" else "jurist.cli.verbs")
    code: int = getattr(module, f"do_{name.partition(' ')[0]}")(typed)
    return code


def _settings(name: str, words: list[str]) -> tuple[type[Struct], Known]:
    """The Struct of a verb, and all its options by name."""
    module, _, attribute = VERBS[name].settings.partition(":")
    found = getattr(import_module(f"jurist.{module}"), attribute)
    cls = found if isinstance(found, type) else found(words)
    return cls, known_settings(cls, *((Recipe,) if VERBS[name].recipe else ()), Common)


def _complete(line: str) -> list[str]:
    """How a line in the shell may go on: with a verb, an option, or a choice of the option before."""
    *words, current = line.split(" ")
    words = [word for word in words[1:] if word]
    name = " ".join(words[: 1 + (words[:1] == ["train"])])
    rest = words[1 + name.count(" ") :]
    if name in VERBS:
        _, known = _settings(name, rest)
        before = known.get(rest[-1].lstrip("-").replace("-", "_")) if rest else None
        kinds = before.kinds if before and rest[-1].startswith("--") else ()
        found = choices_of(kinds) or [f"--{one}" for one in known]
    else:
        prefix = f"{name} " if name else ""
        found = [one.removeprefix(prefix).split()[0] for one in VERBS if one.startswith(prefix)]
        found += [] if name else [one.split()[0] for one in TOP]
    return [one for one in dict.fromkeys(found) if one.startswith(current)]


def _install(shell: str) -> str:
    name = Path(shell).name
    if name not in SHELLS:
        raise SettingError(f"no completion for the shell '{name}'. Write: jurist --install-completion bash")
    file, line = Path.home() / SHELLS[name][0], SHELLS[name][1]
    file.parent.mkdir(parents=True, exist_ok=True)
    if line not in (file.read_text(encoding="utf-8") if file.exists() else ""):
        with file.open("a", encoding="utf-8") as lines:
            lines.write(f"{line}\n")
    return f"{name} completes jurist in new shells, by a line in {file}"
