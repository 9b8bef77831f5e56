"""Jinja templates of a judge's prompts, and the fences around the texts they show.

No text can pretend to end and speak with another voice: each stands between tags that end in a code made from
what is shown and found nowhere in it. What only looks like one of our tags inside a text gets a backslash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError, TemplateNotFound, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import SettingError

OURS: Final = Path(__file__).parent / "templates"
_NAMES: Final = r"(?=\\*/?(?:response|turn|reference)-)"
_LOOKALIKE: Final = re.compile("<" + _NAMES, re.IGNORECASE)
_SHIELDED: Final = re.compile(r"<\\" + _NAMES, re.IGNORECASE)


def code_for(names: str, *texts: str) -> str:
    """Twelve hex digits: the same for the same content, and in none of the texts."""
    code = blake2b(names.encode(), digest_size=6).hexdigest()
    while any(code in text for text in texts):
        code = blake2b(code.encode(), digest_size=6).hexdigest()
    return code


def fence(name: str, text: str, code: str) -> str:
    shielded = _LOOKALIKE.sub(r"<\\", text) if "<" in text else text
    return f"<{name}-{code}>\n{shielded}\n</{name}-{code}>"


def unfence(shown: str, name: str) -> str:
    """The text of the first fence of this name, word for word."""
    found = re.search(rf"<{name}-([0-9a-f]{{12}})>\n(.*?)\n</{name}-\1>", shown, re.DOTALL)
    if found is None:
        raise ValueError(f"no {name} is shown here")
    return _SHIELDED.sub("<", found[2])


class PromptTemplate:
    """A template file with the blocks `system`, `user` and `final`."""

    def __init__(self, path: str, ours: str) -> None:
        """`path` is the user's file, which may extend one of ours; `ours` is taken when it is empty."""
        self.path = path or ours
        try:
            source = (Path(path) if path else OURS / ours).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise SettingError(
                f"no template can be read at {path}. Start from a copy of: {OURS / ours}"
            ) from None
        try:
            self._loaded: Template = _environment().from_string(source)
            self._loaded.globals = dict(self._loaded.globals)  # a chain of mappings is slow to copy
            self.sources = _with_parents(source)
            top = [node for one in self.sources for node in _environment().parse(one).body]
        except TemplateError as error:
            raise self._broken(error) from None
        # Where nothing is set or imported outside of them, the blocks are the same each time.
        self._only_blocks = all(isinstance(one, nodes.Block | nodes.Extends | nodes.Output) for one in top)
        self._chains: dict[str, Any] = {}

    def refuse_hidden(self, values: Mapping[str, Any], shows: Iterable[str]) -> None:
        """Refuse a template that leaves out one of these texts, as it is rendered with these values."""
        blocks = self.render(values)
        for name in shows:
            if values[name] not in blocks["system"] + blocks["user"]:
                raise SettingError(
                    f"the template {self.path} never shows {{{{ {name} }}}}. Put it in the block 'user'"
                )

    def render(self, values: Mapping[str, Any]) -> dict[str, str]:
        """The text of each block, inherited ones included."""
        try:
            context = self._loaded.new_context(dict(values))
            if self._chains:
                context.blocks = self._chains
            else:
                for _ in self._loaded.root_render_func(context):
                    pass  # running the root is what makes a child template take up its parent's blocks
                if self._only_blocks:
                    self._chains = context.blocks
            blocks = {name: "".join(chain[0](context)).strip() for name, chain in context.blocks.items()}
        except Exception as error:  # whatever an expression in the user's template does
            raise self._broken(error) from None
        for name in ("system", "user", "final"):
            if name not in blocks:
                raise SettingError(
                    f"the template {self.path} has no block '{name}'."
                    f" Add: {{% block {name} %}}...{{% endblock %}}"
                )
        return blocks

    def _broken(self, error: Exception) -> SettingError:
        where = f" in line {line}" if (line := getattr(error, "lineno", None)) else ""
        return SettingError(
            f"the template {self.path} cannot be used{where}: {error}."
            f" Compare it with: {OURS / 'pairwise.jinja'}"
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
