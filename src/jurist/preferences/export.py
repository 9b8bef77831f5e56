"""Preferences as the rows that trainers read, with a card. A format is a function and a line in `FORMATS`.

| format | a row has | read by |
|---|---|---|
| trl | prompt, chosen, rejected as messages; p, score_margin, weight, id | TRL's DPO, reward and others |
| trl_implicit | chosen, rejected as whole conversations; p, score_margin, weight, id | the same |
| kto | prompt, completion, label, id | TRL's KTO: two unpaired rows a preference |
| sft | messages, id | TRL's SFT, Axolotl, LLaMA-Factory: the chosen answers |
| openrlhf | as trl_implicit | OpenRLHF with --apply_chat_template |
| jsonl | every field of a preference | Jurist |
| parquet | as trl, ties included | anything that reads Parquet, `datasets` too |

`score_margin` is on the judge's own scale. It is not called `margin`, because TRL and OpenRLHF take a column
of that name off the difference of two rewards. They read no p either: ties are dropped, as `tie`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..errors import DataError
from ..prompts.load import split_of
from ..prompts.rows import Drop, first_line, for_shell, ignore, require
from ..records import Completion, Dropped, IdSet, Message, Preference, is_tie
from ..run import Writer, read_json, whole_files, write_whole
from .decide import Counts, JudgeCounts


def _answer(completion: Completion) -> tuple[Message, ...]:
    return (Message("assistant", completion.text),)


def _label(one: Preference) -> dict[str, Any]:
    return {"p": one.p, "score_margin": one.margin, "weight": one.weight, "id": one.id}


def trl(one: Preference) -> list[Any]:
    texts = {"chosen": _answer(one.chosen), "rejected": _answer(one.rejected)}
    return [{"prompt": one.prompt.messages, **texts, **_label(one)}]


def trl_implicit(one: Preference) -> list[Any]:
    messages = one.prompt.messages
    whole = {"chosen": messages + _answer(one.chosen), "rejected": messages + _answer(one.rejected)}
    return [{**whole, **_label(one)}]


def kto(one: Preference) -> list[Any]:
    row, both = {"prompt": one.prompt.messages, "id": one.id}, ((one.chosen, True), (one.rejected, False))
    return [{**row, "completion": _answer(text), "label": label} for text, label in both]


def sft(one: Preference) -> list[Any]:
    return [{"messages": one.prompt.messages + _answer(one.chosen), "id": one.chosen.id}]


FORMATS: dict[str, Callable[[Preference], list[Any]]] = {
    "trl": trl,
    "trl_implicit": trl_implicit,
    "kto": kto,
    "sft": sft,
    "openrlhf": trl_implicit,
    "jsonl": lambda one: [one],
    "parquet": trl,
}
WITH_TIES = ("jsonl", "parquet")
"""Formats whose readers see from a row that neither is better."""


class Parquet(Writer):
    """Row groups of a thousand, so that memory does not grow with the file."""

    closed = False

    def __init__(self, path: Path) -> None:
        arrow = require("pyarrow", f"writing {path}", "parquet")
        parquet = require("pyarrow.parquet", f"writing {path}", "parquet")
        super().__init__(path)
        messages = arrow.list_(arrow.struct([("role", arrow.string()), ("content", arrow.string())]))
        columns = [(name, messages) for name in ("prompt", "chosen", "rejected")]
        columns += [(name, arrow.float64()) for name in ("p", "score_margin", "weight")]
        self._schema = arrow.schema([*columns, ("id", arrow.string())])
        self._table, self._rows = arrow.Table, list[Any]()
        self._parquet = parquet.ParquetWriter(self, self._schema)

    def add(self, record: Any) -> None:
        self._rows.append(msgspec.to_builtins(record))
        if len(self._rows) == 1000:
            self._write_rows()

    def _write_rows(self) -> None:
        if self._rows:
            self._parquet.write_table(self._table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def finish(self) -> None:
        self._write_rows()
        self._parquet.close()
        super().finish()

    def discard(self) -> None:
        with suppress(OSError):
            self._parquet.close()
        super().discard()


def write_export(
    preferences: Iterable[Preference],
    folder: Path,
    format: str = "trl",
    *,
    held_out: float = 0.0,
    dropped: Drop = ignore,
) -> dict[str, int]:
    """Write preferences into a folder; how many rows each split has.

    With `held_out`, that share of the prompts goes to a second file, by content: a prompt never lies on both
    sides, nor changes sides in a later export. Files appear only when they are whole.
    """
    rows_of, ending = FORMATS[format], "parquet" if format == "parquet" else "jsonl"
    counts = {"train": 0, "test": 0} if held_out else {"train": 0}
    folder.mkdir(parents=True, exist_ok=True)
    paths = {split: folder / f"{split}.{ending}" for split in counts}
    taught = IdSet()
    with whole_files(paths, Parquet if format == "parquet" else Writer) as writers:
        for one in preferences:
            if is_tie(one.p) and format not in WITH_TIES:
                dropped(Dropped(one.id, "export", "tie"))
            elif format == "sft" and not taught.add(one.chosen.id):
                dropped(Dropped(one.id, "export", "duplicate"))
            else:
                split = split_of(one.prompt.id, held_out)
                for row in rows_of(one):
                    writers[split].add(row)
                    counts[split] += 1
    if not held_out:  # the prompts of an earlier test split are among the others now
        (folder / f"test.{ending}").unlink(missing_ok=True)
    return counts


def remove_export(folder: Path) -> None:
    """What `export` wrote into it, and the folder if nothing else is there."""
    for name in ("train.jsonl", "test.jsonl", "train.parquet", "test.parquet", "README.md"):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def push(folder: Path, repo: str) -> None:
    """Upload a folder to the hub as a dataset. The files stay where they are whatever happens."""
    hub = require("huggingface_hub", f"pushing to {repo}", "hub")
    try:
        api = hub.HfApi()
        api.create_repo(repo, repo_type="dataset", exist_ok=True)
        api.upload_folder(folder_path=str(folder), repo_id=repo, repo_type="dataset")
    except Exception as error:  # the client raises its own, and those of whatever HTTP library it has
        what = f"{repo} was not pushed ({first_line(error)}); the files are in {folder}"
        again = f"hf upload {for_shell(repo)} {for_shell(folder)} --repo-type dataset"
        raise DataError(f"{what}. Sign in with: hf auth login, then: {again}") from error


def card(
    counts: Counts,
    *,
    name: str,
    splits: Iterable[str],
    recipe: str,
    versions: Mapping[str, str],
    left_out: Mapping[str, int],
) -> str:
    """How often the judges are right, what went in and what came out. The licence is the user's to write."""
    c, total = counts, counts.total()
    files = "\n".join(f"  - split: {split}\n    path: {split}*" for split in splits)
    tables: dict[str, Mapping[str, Any]] = {
        "Agreement with human labels": c.agreement.get("human") or {"unknown": "no human labels"},
        "Agreement with the file's labels": c.agreement.get("file", {}),
        "Rows": {
            "prompts": c.prompts,
            "completions": c.completions,
            "matchups": c.matchups,
            "verdicts": total.verdicts,
            "preferences": c.preferences,
            "chosen is longer": _share(c.longer_chosen, c.preferences),
            "dropped": sum(c.dropped.values()),
            "cost of the verdicts": f"${total.usd:.2f}",
        },
        **{f"Judge `{judge}`": _judge(one) for judge, one in sorted(c.judges.items())},
        "Labels that came with the rows": c.labels,
        "Flags": c.flags,
        "Dropped, by stage and reason": c.dropped,
        "Preferences that are not in these files": left_out,
        "Versions": versions,
    }
    return "\n".join(
        [
            f"---\npretty_name: {msgspec.json.encode(name).decode()}\n"
            "# license: the prompts' and the policies' terms decide; write it here\n"
            f"tags:\n- preference\n- rlaif\nconfigs:\n- config_name: default\n  data_files:\n{files}\n---\n",
            f"# {name}\n\nPreference data labelled by AI judges with Jurist. `p` is the probability that "
            "`chosen` is the better one.\n",
            *(_table(title, rows) for title, rows in tables.items() if rows),
            f"## Settings\n\n```yaml\n{recipe.strip()}\n```\n",
        ]
    )


def _judge(one: JudgeCounts) -> dict[str, Any]:
    return {
        "verdicts": one.verdicts,
        **{f"unread: {reason}": _share(n, one.verdicts) for reason, n in one.unread.items()},
        "label forced by a constraint": _share(one.forced, one.verdicts),
        "that name a side": one.decided,
        "for the first position": _share(one.first_position, one.decided),
        "matchups asked in both orders": one.asked_both,
        "read in both": _share(one.read_both, one.asked_both),
        "flipped: both orders favoured the same position": _share(one.flipped, one.read_both),
    }


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.1%})" if whole else str(part)


def _table(title: str, rows: Mapping[str, Any]) -> str:
    cells = ([str(one).replace("|", "\\|").replace("\n", " ") for one in row] for row in rows.items())
    lines = "\n".join(f"| {key} | {value} |" for key, value in cells)
    return f"## {title}\n\n| | |\n|---|---|\n{lines}\n"


QUARANTINE = "quarantine.json"


class Quarantine(Struct, frozen=True):
    """Domains whose labels are not to be trained on, kept in the run folder.

    The audit writes it, from human labels; exports and trainers leave those rows out until humans have
    labelled more of the domain, or `--prefer.quarantine ignore` says that they are wanted all the same.
    """

    domains: tuple[str, ...] = ()
    wanted: float = 0.0
    """Agreement with humans that these could not be shown to reach."""
    human: str = ""
    """The labels that showed it."""


def read_quarantine(folder: Path) -> Quarantine:
    path = folder / QUARANTINE
    return read_json(path, Quarantine) if path.exists() else Quarantine()


def write_quarantine(folder: Path, quarantine: Quarantine) -> None:
    write_whole(folder / QUARANTINE, msgspec.json.encode(quarantine))


def drop_quarantined(
    rows: Iterable[Preference], quarantine: Quarantine, dropped: Drop
) -> Iterator[Preference]:
    """The rows whose domain is not quarantined."""
    domains = frozenset(quarantine.domains)
    for row in rows:
        if row.prompt.domain in domains:
            dropped(Dropped(row.id, "export", f"quarantined: {row.prompt.domain or 'no domain'}"))
        else:
            yield row
