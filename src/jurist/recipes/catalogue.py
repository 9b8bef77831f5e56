"""The recipes that go round, by the name that stands under `recipe:` in their files."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from ..config import read_recipe
from ..errors import MissingExtra, SettingError, nearest

RECIPES: Final = {
    "rlaif": "rlaif:RlaifConfig:rlaif",
    "constitutional": "constitutional:ConstitutionalConfig:constitutional",
    "rejection": "rejection:RejectionConfig:rejection",
    "self_rewarding": "self_rewarding:SelfRewardingConfig:self_rewarding",
}
"""File, settings, function. They are opened only when they are named."""


def recipe_called(name: str) -> tuple[type[Any], Callable[..., Any]]:
    """The settings of a recipe, and what runs it."""
    if name not in RECIPES:
        raise SettingError(nearest("recipe", name, RECIPES))
    file, settings, function = RECIPES[name].split(":")
    module = import_module(f"jurist.recipes.{file}")
    return getattr(module, settings), getattr(module, function)


def shipped(name: str) -> dict[str, Any]:
    """The settings of the shipped recipe, with which it works in the tiny world."""
    here = Path(__file__)
    # In a package they lie beside this file; in a clone they are where readers look for them.
    folders = (here.parent / "files", here.parents[3] / "recipes")
    return read_recipe(next(folder for folder in folders if folder.is_dir()) / f"{name}.yaml")


def need_trainers(what: str) -> None:
    """Torch and transformers are there, or it is said what to install."""
    try:
        import_module("torch")
        logging = import_module("transformers.utils.logging")
    except ModuleNotFoundError as missing:
        raise MissingExtra(what, missing.name or "torch", "train") from None
    logging.disable_progress_bar()  # ours tells more than that weights are being loaded
