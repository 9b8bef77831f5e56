"""Preference data you can trust from AI judges, and the models trained on it.

    from jurist import LabelConfig, label

    summary = label(LabelConfig(pairs="pairs.jsonl", judge="openai:gpt-5-mini", out="run"))

Everything here is imported when it is first used: `import jurist` itself loads next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .preferences import PreferConfig as PreferConfig
    from .recipes.estimate import estimate as estimate
    from .recipes.label import export as export
    from .recipes.label import label as label
    from .recipes.label import sample as sample
    from .recipes.scoring import reward_function as reward_function
    from .recipes.settings import ClusterConfig as ClusterConfig
    from .recipes.settings import LabelConfig as LabelConfig
    from .recipes.settings import PolicyConfig as PolicyConfig
    from .verdicts.cases import read_cases as read_cases
    from .verdicts.settings import JudgeConfig as JudgeConfig
    from .verdicts.settings import JuryConfig as JuryConfig

_PLACES = {
    "ClusterConfig": ".recipes.settings",
    "JudgeConfig": ".verdicts.settings",
    "JuryConfig": ".verdicts.settings",
    "LabelConfig": ".recipes.settings",
    "PolicyConfig": ".recipes.settings",
    "PreferConfig": ".preferences",
    "estimate": ".recipes.estimate",
    "export": ".recipes.label",
    "label": ".recipes.label",
    "read_cases": ".verdicts.cases",
    "reward_function": ".recipes.scoring",
    "sample": ".recipes.label",
}

__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("jurist")
        except PackageNotFoundError:
            return "from a source tree"
    if name not in _PLACES:
        raise AttributeError(f"module 'jurist' has no attribute '{name}'; there is {', '.join(__all__)}")
    return getattr(import_module(_PLACES[name], __name__), name)
