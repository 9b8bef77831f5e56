"""Prompts from wherever they lie, each once, as a stream: a million rows take the memory of ten thousand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from ..errors import SettingError, nearest
from ..records import Dropped, IdSet, Prompt
from .rows import BadRow, Source, ignore, read_rows
from .shapes import prompt_of, renamed

OnError = Literal["stop", "drop"]
LEFT_OUT = (
    "empty",
    "prompts_differ",
)  # what data simply holds, as against a file that is not what it should be


def load_prompts(
    source: Source,
    *,
    limit: int | None = None,
    dropped: Callable[[Dropped], None] = ignore,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "stop",
) -> Iterator[Prompt]:
    """Every prompt of a file, folder, hub dataset or iterable of rows, once each.

    Rows left out are told to `dropped`, by name. A row that cannot be read stops the work with its file and
    line, or with `on_error="drop"` is left out by name like the others.
    """
    check_on_error(on_error)
    left = -1 if limit is None else max(limit, 0)
    seen = IdSet()
    if not left:
        return
    for where, row in read_rows(source):
        try:
            prompt = prompt_of(renamed(row, columns or {}, where), where)
        except BadRow as bad:
            leave_out(bad, where, "prompts", on_error, dropped)
            continue
        if not seen.add(prompt.id):
            dropped(Dropped(prompt.id, "prompts", "duplicate", where))
            continue
        yield prompt
        left -= 1
        if not left:
            return


def check_on_error(on_error: str) -> None:
    if on_error not in ("stop", "drop"):
        raise SettingError(nearest("way to go on after an error", on_error, ("stop", "drop")))


def leave_out(
    bad: BadRow, where: str, stage: str, on_error: OnError, dropped: Callable[[Dropped], None]
) -> None:
    """Count a bad row by name, or stop the work with it."""
    if on_error == "stop" and bad.reason not in LEFT_OUT:
        raise bad
    dropped(Dropped(where, stage, bad.reason, str(bad)))


def split_of(prompt_id: str, held_out: float = 0.05) -> Literal["train", "test"]:
    """Which side a prompt falls on: by its content, so it never changes sides when the data grow."""
    return "test" if int(prompt_id[-8:], 16) < held_out * 2**32 else "train"
