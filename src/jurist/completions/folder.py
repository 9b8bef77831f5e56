"""The prompts and completions of a run, joined by prompt whatever their order in the files.

A run that was killed and taken up again has completions of one prompt in several places. The names of the
prompts and the places of their completions are held in two arrays, 16 bytes each; the texts stay on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from ..errors import DataError
from ..records import Completion, Dropped, Group, Prompt

_completion = msgspec.json.Decoder(Completion).decode
_prompt = msgspec.json.Decoder(Prompt).decode


class _Named(msgspec.Struct):
    prompt_id: str


_named = msgspec.json.Decoder(_Named).decode


def groups_of_run(folder: Path, dropped: Callable[[Dropped], None]) -> Iterator[Group]:
    """Every prompt of a run with its completions; what is left on either side goes by name."""
    import numpy as np

    path = folder / "completions.jsonl"
    names, places = _places(path)
    order = np.argsort(names, kind="stable")
    names, places = names[order], places[order]
    used = np.zeros(len(names), bool)
    with path.open("rb") as texts:
        for prompt in _prompts(folder / "prompts.jsonl"):
            key = np.uint64(int(prompt.id[:16], 16))
            low, high = np.searchsorted(names, key, "left"), np.searchsorted(names, key, "right")
            if low == high:
                dropped(Dropped(prompt.id, "completions", "no_completion"))
                continue
            used[low:high] = True
            read = {c.id: c for place in places[low:high] if (c := _read(texts, int(place), path))}
            if len(read) < high - low:
                dropped(Dropped(prompt.id, "completions", "duplicate", f"{high - low - len(read)} of them"))
            yield Group(prompt, tuple(read.values()))
        for place in places[~used]:
            dropped(Dropped(_read(texts, int(place), path).id, "completions", "no_prompt"))


def _places(path: Path):  # type: ignore[no-untyped-def]  # two numpy arrays, and numpy is not imported here
    """The name of each completion's prompt, in 64 bits, and where its line begins."""
    from array import array

    import numpy as np

    names, places, at = array("Q"), array("Q"), 0
    with path.open("rb") as file:
        for n, line in enumerate(file, 1):
            if line.strip():
                try:
                    names.append(int(_named(line).prompt_id[:16], 16))
                except (msgspec.MsgspecError, UnicodeError, ValueError) as error:
                    raise _bad(path, n, error) from error
                places.append(at)
            at += len(line)
    return np.frombuffer(names, np.uint64), np.frombuffer(places, np.uint64)


def _read(file: IO[bytes], place: int, path: Path) -> Completion:
    if file.tell() != place:
        file.seek(place)
    try:
        return _completion(file.readline())
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise DataError(
            f"{path} holds no completion at byte {place} ({error}). Look at it with: "
            f"tail -c +{place + 1} {path} | head -n 1"
        ) from error


def _prompts(path: Path) -> Iterator[Prompt]:
    if not path.exists():
        raise DataError(
            f"no file {path}, and completions without their prompts cannot be judged. "
            f"See what is there with: ls {path.parent}"
        )
    with path.open("rb") as file:
        for n, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield _prompt(line)
                except (msgspec.MsgspecError, UnicodeError) as error:
                    raise _bad(path, n, error) from error


def _bad(path: Path, n: int, error: Exception) -> DataError:
    return DataError(
        f"{path}:{n} is not a record of ours ({error}). Look at it with: sed -n {n}p {path}; "
        "a last line cut off by a crash is mended when the run is taken up again"
    )
