"""The recipes in rounds, by the name under `recipe:` in their files; opened only when they are named."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from ..config import read_recipe
from ..errors import MissingExtra, SettingError, nearest

RECIPES: Final = {
    "rlaif": "RlaifConfig",
    "constitutional": "ConstitutionalConfig",
    "rejection": "RejectionConfig",
    "self_rewarding": "SelfRewardingConfig",
}
"""File and function, and settings."""
_TRAINERS: Final = ("torch", "transformers", "accelerate", "peft", "safetensors")


def recipe_called(name: str) -> tuple[type[Struct], Callable[..., Any]]:
    """The settings of a recipe, and what runs it."""
    if name not in RECIPES:
        raise SettingError(nearest("recipe", name, RECIPES))
    module = import_module(f"jurist.recipes.{name}")
    return getattr(module, RECIPES[name]), getattr(module, name)


def recipe_in(file: str) -> str:
    """The name of the recipe that a file is for."""
    stem = Path(file).stem.replace("-", "_")
    if stem in RECIPES and not Path(file).exists():
        raise SettingError(f"there is no recipe at {file}. Write it with: jurist init {stem}")
    if name := read_recipe(file).get("recipe"):
        return str(name)
    names = " | ".join(RECIPES)
    raise SettingError(f"{file} does not say which recipe it is for. Write at its top: recipe: {names}")


def shipped_file(name: str) -> Path:
    """The recipe that comes with the package and works in the tiny world."""
    # In a package they lie beside this file; in a clone they are where readers look for them.
    folders = (Path(__file__).parent / "files", Path(__file__).parents[3] / "recipes")
    return next(folder for folder in folders if folder.is_dir()) / f"{name}.yaml"


def need_trainers(what: str) -> None:
    """Torch and its family are there, or it is said what to install."""
    for package in _TRAINERS:
        if find_spec(package) is None:
            raise MissingExtra(what, package, "train")
    # Our progress tells more than that weights are being loaded.
    import_module("transformers.utils.logging").disable_progress_bar()
