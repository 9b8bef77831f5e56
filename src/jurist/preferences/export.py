"""Preferences out of the house, in the rows each trainer reads, as a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

from ..errors import DataError, SettingError, nearest
from ..prompts.load import split_of
from ..prompts.rows import first_line, ignore, needed
from ..records import Completion, Dropped, IdSet, Preference, Prompt
from .formats import FORMATS, Format, target
from .writers import WRITERS, Rows, in_place, list_splits, made_room

Parts = Iterator[tuple[str, list[Any]]]


def export(
    preferences: Iterable[Preference],
    out: str | Path,
    format: str = "trl",
    *,
    split_test: float = 0.0,
    dropped: Callable[[Dropped], None] = ignore,
    push_to: str = "",
) -> dict[str, int]:
    """Write preferences to a file or folder; how many rows each split has.

    With `split_test`, that share of the prompts goes to a second file, by content: a prompt never lies on
    both sides, nor changes sides in a later export. Files appear only when they are whole.
    """
    if format not in FORMATS:
        raise SettingError(nearest("format", format, FORMATS))
    how = FORMATS[format]
    counts = _written(_rows(preferences, how, dropped), Path(out), format, how, split_test)
    if push_to:
        push(Path(out), push_to)
    return counts


def export_targets(
    targets: Iterable[tuple[Prompt, Completion]], out: str | Path, *, split_test: float = 0.0
) -> dict[str, int]:
    """Answers to fine-tune on (best of k, revisions), as rows of `messages`."""
    rows = ((prompt.id, [target(prompt, completion)]) for prompt, completion in targets)
    return _written(rows, Path(out), "sft", FORMATS["sft"], split_test)


def _rows(preferences: Iterable[Preference], how: Format, dropped: Callable[[Dropped], None]) -> Parts:
    taught = IdSet()
    for preference in preferences:
        if preference.p == 0.5 and not how.knows_ties:
            dropped(Dropped(preference.id, "export", "tie"))
        elif how is FORMATS["sft"] and not taught.add(preference.chosen.id):
            dropped(Dropped(preference.id, "export", "duplicate"))
        else:
            yield preference.prompt.id, how.rows(preference)


def _written(rows: Parts, out: Path, format: str, how: Format, split_test: float) -> dict[str, int]:
    if not 0.0 <= split_test < 1.0:
        raise SettingError(f"split_test is {split_test}; it is a share below 1. Write e.g. split_test: 0.05")
    new, suffix = WRITERS[how.writer]
    if out.suffix and not out.is_dir() and out.suffix != suffix:
        raise SettingError(
            f"{out} cannot hold the format {format}. Write a folder's name, or: {out.with_suffix(suffix)}"
        )
    train, test = how.splits
    splits = {"train": train, "test": test} if split_test else {"train": train}
    counts = dict.fromkeys(splits.values(), 0)
    writers: dict[str, Rows] = {}
    try:
        for side, split in splits.items():
            path = in_place(out, split, suffix, side == "test")
            made_room(path)
            writers[split] = new(path)
        for prompt_id, parts in rows:
            split = splits[split_of(prompt_id, split_test)]
            for row in parts:
                writers[split].add(row)
            counts[split] += len(parts)
        for writer in writers.values():
            writer.finish()
        for writer in writers.values():
            writer.commit()
        if how.writer == "datasets":
            list_splits(out, list(counts))
    except BaseException as error:
        for writer in writers.values():
            writer.discard()
        if isinstance(error, OSError):
            raise DataError(
                f"cannot write {out}: {error.strerror or error}. "
                f"See how full the disk is with: df -h {out.parent}"
            ) from error
        raise
    if not split_test and out.is_dir():
        _removed(in_place(out, test, suffix, is_test=True))
    return counts


def _removed(path: Path) -> None:
    """The test split of an earlier export, whose prompts are in the training split now."""
    if path.is_dir():
        rmtree(path)
    else:
        path.unlink(missing_ok=True)


def push(folder: Path, repo: str) -> None:
    """Put a folder of files on the hub as a dataset. The files stay where they are whatever happens."""
    if not folder.is_dir():
        raise SettingError(f"only a folder can be pushed, and {folder} is none. Write: --out {folder.stem}/")
    hub = needed("huggingface_hub", f"pushing to {repo}", "hub")
    try:
        api = hub.HfApi()
        api.create_repo(repo, repo_type="dataset", exist_ok=True)
        api.upload_folder(folder_path=str(folder), repo_id=repo, repo_type="dataset")
    except Exception as error:  # the client raises its own, and those of whatever HTTP library it has
        raise DataError(
            f"{repo} was not pushed ({first_line(error)}); the files are in {folder}. "
            f"Sign in with: hf auth login, then: hf upload {repo} {folder} "
            "--repo-type dataset"
        ) from error
