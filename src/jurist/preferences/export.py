"""Preferences out of the house, in the rows each trainer reads, as a stream.

The rows that trainers read. A format is one function and one line in `FORMATS`.

| format | a row has | read by |
|---|---|---|
| trl | prompt, chosen, rejected as messages; p, margin, weight, id | TRL's DPO, reward and others |
| trl_implicit | chosen, rejected as whole conversations; p, margin, weight, id | the same |
| kto | prompt, completion, label | TRL's KTO: two unpaired rows a preference |
| sft | messages | TRL's SFT, Axolotl, LLaMA-Factory: the chosen answers |
| openrlhf | chosen, rejected as whole conversations; margin | OpenRLHF with --apply_chat_template |
| handbook | prompt, prompt_id, chosen, rejected, messages, two scores | the alignment handbook |
| jsonl | every field of a preference | Jurist |
| parquet, datasets | as trl | anything that reads Parquet or a `datasets` folder |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple, Protocol

import msgspec

from ..errors import DataError, SettingError, nearest
from ..prompts.load import split_of
from ..prompts.rows import first_line, ignore, require
from ..records import Completion, Dropped, IdSet, Message, Preference, Prompt
from ..run import Writer


def _answer(completion: Completion) -> tuple[Message, ...]:
    return (Message("assistant", completion.text),)


def _label(preference: Preference) -> dict[str, Any]:
    """What the judge knew, for trainers that can use it. TRL reads `margin` in its reward trainer."""
    return {
        "p": preference.p,
        "margin": preference.margin,
        "weight": preference.weight,
        "id": preference.id,
    }


def trl(preference: Preference) -> list[Any]:
    return [
        {
            "prompt": preference.prompt.messages,
            "chosen": _answer(preference.chosen),
            "rejected": _answer(preference.rejected),
            **_label(preference),
        }
    ]


def trl_implicit(preference: Preference) -> list[Any]:
    return [{**_whole(preference), **_label(preference)}]


def _whole(preference: Preference) -> dict[str, Any]:
    messages = preference.prompt.messages
    return {
        "chosen": messages + _answer(preference.chosen),
        "rejected": messages + _answer(preference.rejected),
    }


def kto(preference: Preference) -> list[Any]:
    return [
        {
            "prompt": preference.prompt.messages,
            "completion": _answer(completion),
            "label": label,
            "id": preference.id,
        }
        for completion, label in ((preference.chosen, True), (preference.rejected, False))
    ]


def sft(preference: Preference) -> list[Any]:
    return [target(preference.prompt, preference.chosen)]


def target(prompt: Prompt, completion: Completion) -> dict[str, Any]:
    """One answer to learn by heart."""
    return {"messages": prompt.messages + _answer(completion), "id": completion.id}


def openrlhf(preference: Preference) -> list[Any]:
    return [{**_whole(preference), "margin": preference.margin, "id": preference.id}]


def handbook(preference: Preference) -> list[Any]:
    """Scores are p and 1 - p, so that they are on one scale whatever the judge's was."""
    whole = _whole(preference)
    return [
        {
            "prompt": preference.prompt.messages[-1].content,
            "prompt_id": preference.prompt.id,
            "chosen": whole["chosen"],
            "rejected": whole["rejected"],
            "messages": whole["chosen"],
            "score_chosen": preference.p,
            "score_rejected": 1.0 - preference.p,
        }
    ]


def ours(preference: Preference) -> list[Any]:
    return [preference]


class Format(NamedTuple):
    """How preferences become rows, and where these go."""

    rows: Callable[[Preference], list[Any]]
    writer: str = "jsonl"
    splits: tuple[str, str] = ("train", "test")
    knows_ties: bool = True
    """Whether a row can say that neither is better; where it cannot, ties leave by name."""


FORMATS: dict[str, Format] = {
    "trl": Format(trl),
    "trl_implicit": Format(trl_implicit),
    "kto": Format(kto, knows_ties=False),
    "sft": Format(sft, knows_ties=False),
    "openrlhf": Format(openrlhf),
    "handbook": Format(handbook, splits=("train_prefs", "test_prefs")),
    "jsonl": Format(ours),
    "parquet": Format(trl, writer="parquet"),
    "datasets": Format(trl, writer="datasets"),
}


class Rows(Protocol):
    """Takes rows; `finish` writes the last of them, `appear` puts the file in its place, `abandon` leaves
    none.
    """

    def add(self, record: Any) -> None: ...

    def finish(self) -> None: ...

    def appear(self) -> None: ...

    def abandon(self) -> None: ...


class Parquet:
    """Row groups of a thousand, so that memory does not grow with the file."""

    def __init__(self, path: Path) -> None:
        self.arrow = require("pyarrow", f"writing {path}", "parquet")
        parquet = require("pyarrow.parquet", f"writing {path}", "parquet")
        self.path, self.draft = path, path.with_name(f".{path.name}.part")
        self.schema = self._schema()
        self.file = parquet.ParquetWriter(self.draft, self.schema)
        self.rows: list[Any] = []

    def _schema(self) -> Any:
        pa = self.arrow
        messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
        texts = [(name, messages) for name in ("prompt", "chosen", "rejected")]
        numbers = [(name, pa.float64()) for name in ("p", "margin", "weight")]
        return pa.schema([*texts, *numbers, ("id", pa.string())])

    def add(self, record: Any) -> None:
        self.rows.append(msgspec.to_builtins(record))
        if len(self.rows) == 1000:
            self._flush()

    def _flush(self) -> None:
        if self.rows:
            self.file.write_table(self.arrow.Table.from_pylist(self.rows, schema=self.schema))
            self.rows = []

    def finish(self) -> None:
        self._flush()
        self.file.close()

    def appear(self) -> None:
        self.draft.replace(self.path)

    def abandon(self) -> None:
        with suppress(OSError):
            self.file.close()
        self.draft.unlink(missing_ok=True)


class SavedDataset:
    """A folder for `datasets.load_from_disk`, made from a Parquet file that is then taken away."""

    def __init__(self, path: Path) -> None:
        self.datasets = require("datasets", f"writing {path}", "hub")
        self.path, self.draft = path, path.with_name(f".{path.name}.part")
        self.parquet = Parquet(path.with_name(f".{path.name}.parquet"))

    def add(self, record: Any) -> None:
        self.parquet.add(record)

    def finish(self) -> None:
        self.parquet.finish()
        self.parquet.appear()
        cache = self.path.with_name(f".{self.path.name}.cache")
        try:
            loaded = self.datasets.Dataset.from_parquet(str(self.parquet.path), cache_dir=str(cache))
            loaded.save_to_disk(str(self.draft))
        finally:
            self.parquet.path.unlink(missing_ok=True)
            rmtree(cache, ignore_errors=True)

    def appear(self) -> None:
        if self.path.exists():
            rmtree(self.path)
        self.draft.replace(self.path)

    def abandon(self) -> None:
        self.parquet.abandon()
        rmtree(self.draft, ignore_errors=True)


WRITERS: dict[str, tuple[Callable[[Path], Rows], str]] = {
    "jsonl": (Writer, ".jsonl"),
    "parquet": (Parquet, ".parquet"),
    "datasets": (SavedDataset, ""),
}
"""Each with the ending of the files it writes."""


def list_splits(folder: Path, splits: list[str]) -> None:
    """The file by which `datasets.load_from_disk` knows a folder of several splits."""
    (folder / "dataset_dict.json").write_bytes(msgspec.json.encode({"splits": splits}))


def split_path(out: Path, split: str, suffix: str, is_test: bool) -> Path:
    """Where a split goes: into the folder `out`, or beside the file `out` when that is named as a file."""
    if not out.suffix or out.is_dir():
        return out / f"{split}{suffix}"
    return out.with_stem(f"{out.stem}_{split}") if is_test else out


def mkdir_for(path: Path) -> None:
    """The folder a file will lie in."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot make the folder {path.parent}: {error.strerror}. Look at it with: ls -ld {path.parent}"
        ) from error


Parts = Iterator[tuple[str, list[Any]]]


def export(
    preferences: Iterable[Preference],
    out: str | Path,
    format: str = "trl",
    *,
    held_out: float = 0.0,
    dropped: Callable[[Dropped], None] = ignore,
    push_to: str = "",
) -> dict[str, int]:
    """Write preferences to a file or folder; how many rows each split has.

    With `held_out`, that share of the prompts goes to a second file, by content: a prompt never lies on
    both sides, nor changes sides in a later export. Files appear only when they are whole.
    """
    if format not in FORMATS:
        raise SettingError(nearest("format", format, FORMATS))
    how = FORMATS[format]
    counts = _write(_rows(preferences, how, dropped), Path(out), format, how, held_out)
    if push_to:
        push(Path(out), push_to)
    return counts


def export_targets(
    targets: Iterable[tuple[Prompt, Completion]], out: str | Path, *, held_out: float = 0.0
) -> dict[str, int]:
    """Answers to fine-tune on (best of k, revisions), as rows of `messages`."""
    rows = ((prompt.id, [target(prompt, completion)]) for prompt, completion in targets)
    return _write(rows, Path(out), "sft", FORMATS["sft"], held_out)


def _rows(preferences: Iterable[Preference], how: Format, dropped: Callable[[Dropped], None]) -> Parts:
    taught = IdSet()
    for preference in preferences:
        if preference.p == 0.5 and not how.knows_ties:
            dropped(Dropped(preference.id, "export", "tie"))
        elif how is FORMATS["sft"] and not taught.add(preference.chosen.id):
            dropped(Dropped(preference.id, "export", "duplicate"))
        else:
            yield preference.prompt.id, how.rows(preference)


def _write(rows: Parts, out: Path, format: str, how: Format, held_out: float) -> dict[str, int]:
    if not 0.0 <= held_out < 1.0:
        raise SettingError(f"held_out is {held_out}; it is a share below 1. Write e.g. held_out: 0.05")
    new, suffix = WRITERS[how.writer]
    if out.suffix and not out.is_dir() and out.suffix != suffix:
        raise SettingError(
            f"{out} cannot hold the format {format}. Write a folder's name, or: {out.with_suffix(suffix)}"
        )
    train, test = how.splits
    splits = {"train": train, "test": test} if held_out else {"train": train}
    counts = dict.fromkeys(splits.values(), 0)
    writers: dict[str, Rows] = {}
    try:
        for side, split in splits.items():
            path = split_path(out, split, suffix, side == "test")
            mkdir_for(path)
            writers[split] = new(path)
        for prompt_id, parts in rows:
            split = splits[split_of(prompt_id, held_out)]
            for row in parts:
                writers[split].add(row)
            counts[split] += len(parts)
        for writer in writers.values():
            writer.finish()
        for writer in writers.values():
            writer.appear()
        if how.writer == "datasets":
            list_splits(out, list(counts))
    except BaseException as error:
        for writer in writers.values():
            writer.abandon()
        if isinstance(error, OSError):
            raise DataError(
                f"cannot write {out}: {error.strerror or error}. "
                f"See how full the disk is with: df -h {out.parent}"
            ) from error
        raise
    if not held_out and out.is_dir():
        _remove(split_path(out, test, suffix, is_test=True))
    return counts


def _remove(path: Path) -> None:
    """The test split of an earlier export, whose prompts are in the training split now."""
    if path.is_dir():
        rmtree(path)
    else:
        path.unlink(missing_ok=True)


def push(folder: Path, repo: str) -> None:
    """Put a folder of files on the hub as a dataset. The files stay where they are whatever happens."""
    if not folder.is_dir():
        raise SettingError(f"only a folder can be pushed, and {folder} is none. Write: --out {folder.stem}/")
    hub = require("huggingface_hub", f"pushing to {repo}", "hub")
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
