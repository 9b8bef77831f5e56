"""Jinja templates of questions, compiled once a judge.

Ours print the texts of a question and do nothing else with them, so they are rendered once with marks in
their places and cut there; after that a question costs one join, 4 us. A user's template may look at the
texts (a filter, a test, a loop) and is rendered anew for each question: 17 us.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, TemplateNotFound, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import SettingError

OURS: Final = Path(__file__).parent / "templates"
_MARK: Final = uuid4().hex
_CUT: Final = re.compile(rf"{_MARK}:(\w+);")


class Form:
    """The question of one judge under one principle: fixed text with places for what differs."""

    def __init__(self, template: QuestionTemplate, fixed: Mapping[str, Any], slots: Iterable[str]) -> None:
        self._template, self._fixed = template, fixed
        self._pieces: list[str] | None = None
        if template.is_ours:
            self._system, user = self._render({slot: f"{_MARK}:{slot};" for slot in slots})
            self._pieces = _CUT.split(user)
            self._places = [(at, self._pieces[at]) for at in range(1, len(self._pieces), 2)]

    def fill(self, values: Mapping[str, Any]) -> tuple[str, str]:
        """The system turn and the user turn."""
        if self._pieces is None:
            return self._render(values)
        pieces = self._pieces.copy()
        for at, slot in self._places:
            pieces[at] = values[slot]
        return self._system, "".join(pieces)

    def _render(self, values: Mapping[str, Any]) -> tuple[str, str]:
        blocks = self._template.render({**self._fixed, **values})
        return blocks["system"], blocks["user"]


class QuestionTemplate:
    """A template file with the blocks `system` and `user`, and perhaps `final`."""

    def __init__(self, path: str, ours: str, shows: Iterable[str]) -> None:
        """`path` is the user's file, which may extend one of ours; `ours` is taken when it is empty.

        It has to show all the texts named in `shows`.
        """
        self.path, self.is_ours = path or ours, not path
        try:
            source = (Path(path) if path else OURS / ours).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise SettingError(
                f"no template can be read at {path}. Start from a copy of: {OURS / ours}"
            ) from None
        try:
            self._loaded: Template = _environment().from_string(source)
            self.sources = _with_parents(source)
        except TemplateError as error:
            raise self._broken(error) from None
        trees = [_environment().parse(source) for source in self.sources]
        named = {name for tree in trees for name in meta.find_undeclared_variables(tree)}
        if left_out := sorted(set(shows) - named):
            raise SettingError(
                f"the template {self.path} never shows {{{{ {left_out[0]} }}}}. Put it in the block 'user'"
            )

    def render(self, values: Mapping[str, Any]) -> dict[str, str]:
        """The text of each block, inherited ones included."""
        try:
            context = self._loaded.new_context(dict(values))
            for _ in self._loaded.root_render_func(context):
                pass  # running the root is what makes a child template take up its parent's blocks
            blocks = {name: "".join(chain[0](context)).strip() for name, chain in context.blocks.items()}
        except (TemplateError, TypeError, ValueError) as error:
            raise self._broken(error) from None
        for name in ("system", "user"):
            if name not in blocks:
                raise SettingError(
                    f"the template {self.path} has no block '{name}'. "
                    f"Add: {{% block {name} %}}...{{% endblock %}}"
                )
        return blocks

    def _broken(self, error: Exception) -> SettingError:
        where = f" in line {line}" if (line := getattr(error, "lineno", None)) else ""
        return SettingError(
            f"the template {self.path} cannot be used{where}: {error}. "
            f"Compare it with: {OURS / 'pairwise.jinja'}"
        )


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    """Sandboxed: a template may come with somebody else's recipe."""
    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(OURS), trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )


def _with_parents(source: str) -> list[str]:
    """The file and all it is built on: what a judge's name has to depend on."""
    below = meta.find_referenced_templates(_environment().parse(source))
    return [source, *(text for one in below if one for text in _with_parents(_ours(one)))]


def _ours(name: str) -> str:
    if not (OURS / name).is_file():
        there = ", ".join(sorted(path.name for path in OURS.iterdir()))
        raise TemplateNotFound(name, f"'{name}' is not one of {there}")
    return (OURS / name).read_text("utf-8")
