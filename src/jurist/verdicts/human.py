"""Human labels: verdicts of the judge `human:<who>`, read from a file and found again in a run.

A label is written about two texts, often in a spreadsheet, before or after the run that it is used for. It is
found by the id of its matchup where the row has one, and otherwise by prompt and texts, in either order and
whoever wrote them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from ..errors import DataError, nearest
from ..records import HUMAN_PREFIX, Completion, Matchup, Message, Prompt, Verdict, content_id, is_human

LABEL_VALUES = {"first": 1.0, "second": 0.0, "tie": 0.5, "a": 1.0, "b": 0.0, "1": 1.0, "2": 0.0}
CHOSEN_VALUES = {"chosen": 1.0, "rejected": 0.0, "tie": 0.5}
ANNOTATORS = ("who", "annotator", "annotator_id")


class LabelIndex:
    """The labels of a file, by what they are about. A row that nobody has filled in is no label."""

    def __init__(self, labels: Iterable[Verdict]) -> None:
        self._about: dict[str, list[tuple[int, Verdict]]] = {}
        self._texts: set[str] = set()
        for number, label in enumerate(labels):
            if label.p_first is not None:
                self._about.setdefault(label.matchup_id, []).append((number, label))
                self._texts.add(label.first_id)

    def __len__(self) -> int:
        """How many matchups are labelled."""
        return len(self._about)

    def of(self, matchup: Matchup) -> list[Verdict]:
        """The last label of each annotator, with this matchup's ids and told from its first completion.

        A label without completion ids was given to the matchup as it came.
        """
        found = self._about.get(matchup.id, [])
        first = id_without_policy(matchup.prompt.id, matchup.first.text)
        second = id_without_policy(matchup.prompt.id, matchup.second.text)
        if first in self._texts or second in self._texts:
            key = text_key(matchup.prompt.id, matchup.first.text, matchup.second.text)
            found = sorted(found + self._about.get(key, [])) if key != matchup.id else found
        last: dict[tuple[str, int], Verdict] = {}
        for _, label in found:
            if label.first_id in ("", matchup.first.id, first):
                p = label.p_first
            elif label.first_id in (matchup.second.id, second):
                p = 1.0 - (label.p_first or 0.0)
            else:
                raise DataError(
                    f"the label {label.id} of matchup {matchup.id} is about completion {label.first_id},"
                    " which is not one of the two; make the labels again from this run's matchups"
                )
            ids = {"matchup_id": matchup.id, "first_id": matchup.first.id, "second_id": matchup.second.id}
            last[label.judge, label.sample] = replace(label, p_first=p, **ids)
        return list(last.values())


def text_key(prompt_id: str, text: str, other: str) -> str:
    """A name for two texts on one prompt, in either order: the matchup's id if nobody had signed them."""
    return content_id(
        "matchup",
        prompt_id,
        sorted((id_without_policy(prompt_id, text), id_without_policy(prompt_id, other))),
    )


def id_without_policy(prompt_id: str, text: str) -> str:
    """The id of a completion nobody has signed."""
    return Completion.of(prompt_id, text).id


def load_labels(path: str | os.PathLike[str]) -> Iterator[Verdict]:
    """Human labels from a JSONL file, one a line.

    A line is a verdict as Jurist writes them, or has `label` (or `winner`): first, second or tie, `who` gave
    it, and what it is about: `matchup_id`, or `prompt` with `first` and `second`, or with `chosen` and
    `rejected`. A row nobody has filled in yet is an unread verdict.
    """
    return (verdict for verdict, _ in load_weighted(path))


def load_weighted(path: str | os.PathLike[str]) -> Iterator[tuple[Verdict, float]]:
    """The same, each with how many matchups of its run it stands for: the `weight` of a spot check, or 1."""
    file = Path(path)
    if not file.is_file():
        raise DataError(f"no file of labels at {file}. See what is there with: ls {file.parent}")
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                where = f"{file}:{number}"
                row = _row(line, where)
                verdict = _recorded(row, where) if "judge" in row else _written(row, where, number)
                yield verdict, _weight(row.get("weight"), where)


def _row(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise DataError(f"{where}: {error}; mend or delete that line") from error
    if not isinstance(row, dict):
        raise DataError(
            f"{where}: a label is an object, not {type(row).__name__}; write {{'label': 'first', ...}}"
        )
    return row


def _weight(value: Any, where: str) -> float:
    if value is None:
        return 1.0
    if isinstance(value, int | float) and 0 < value < float("inf"):
        return float(value)
    raise DataError(f"{where}: the weight is {value!r}; it is a number above 0, or leave it out")


def _recorded(row: dict[str, Any], where: str) -> Verdict:
    """A line that is a verdict already."""
    try:
        verdict = msgspec.convert(row, Verdict)
    except msgspec.ValidationError as error:
        raise DataError(f"{where}: {error}; mend or delete that line") from error
    if not is_human(verdict.judge):
        raise DataError(f"{where}: judge '{verdict.judge}' is not a human; write it as human:NAME")
    return verdict


def _written(row: dict[str, Any], where: str, number: int) -> Verdict:
    """A line as a human writes it."""
    by_choice = "chosen" in row and "rejected" in row
    columns = ("chosen", "rejected") if by_choice else ("first", "second")
    matchup_id = str(row.get("matchup_id") or "")
    first_id, second_id = str(row.get("first_id") or ""), str(row.get("second_id") or "")
    missing = [key for key in ("prompt", *columns) if row.get(key) is None]
    # Texts say which is meant; a matchup id alone means its completions as they came, and has no chosen one.
    if by_choice or not matchup_id or not (missing or first_id):
        if missing:
            raise DataError(
                f"{where}: no '{missing[0]}'; a label needs prompt, {columns[0]} and {columns[1]}, "
                "or matchup_id and a label that is first, second or tie"
            )
        prompt_id = _prompt(row["prompt"], where).id
        first, second = (_text(row[column], where) for column in columns)
        matchup_id = text_key(prompt_id, first, second)
        first_id, second_id = id_without_policy(prompt_id, first), id_without_policy(prompt_id, second)
    label = row.get("label", row.get("winner", "chosen" if by_choice else None))
    p = None
    if label not in (None, ""):
        known = CHOSEN_VALUES if by_choice else LABEL_VALUES
        p = known.get(str(label).strip().lower())
        if p is None:
            raise DataError(f"{where}: {nearest('label', str(label), known)}")
    who = next((str(row[name]) for name in ANNOTATORS if row.get(name) not in (None, "")), "")
    return Verdict(
        content_id("human", who or number, matchup_id, first_id, p),
        judge=HUMAN_PREFIX + (who or "someone"),
        matchup_id=matchup_id,
        first_id=first_id,
        second_id=second_id,
        p_first=p,
        unread="" if p is not None else "unlabelled",
        # Labels without a name may be from different humans: none of them stands for another.
        sample=0 if who else number,
        rationale=str(row.get("why") or ""),
    )


def _prompt(value: Any, where: str) -> Prompt:
    try:
        return Prompt.of(value if isinstance(value, str) else msgspec.convert(value, tuple[Message, ...]))
    except msgspec.ValidationError as error:
        raise DataError(
            f"{where}: the prompt is not a text or a conversation ({error}); mend that line"
        ) from error


def _text(value: Any, where: str) -> str:
    """An answer, or the last turn of the conversation that ends in it."""
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1].get("content")
    if not isinstance(value, str):
        raise DataError(f"{where}: an answer is a text, not {type(value).__name__}; mend that line")
    return value
