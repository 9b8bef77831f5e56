"""People's labels: verdicts from the judge `human:<who>`, and what several people together say.

A label is written about two texts, often in a spreadsheet and long before or after the run that made them.
So it is found again by what it is about: by matchup id where the row has one, and otherwise by prompt and
the two texts, whichever way round and whoever wrote them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..errors import DataError, nearest
from ..records import HUMAN_PREFIX, Completion, Matchup, Message, Prompt, Verdict, content_id, is_human
from .opinion import Opinion

LABEL_VALUES = {"first": 1.0, "second": 0.0, "tie": 0.5, "a": 1.0, "b": 0.0, "1": 1.0, "2": 0.0}
CHOSEN_VALUES = {"chosen": 1.0, "rejected": 0.0, "tie": 0.5}


def text_key(prompt_id: str, text_a: str, text_b: str) -> str:
    """A name for two texts on one prompt, whichever way round: the matchup's id, had nobody signed them."""
    return content_id(
        "matchup",
        prompt_id,
        sorted((id_without_policy(prompt_id, text_a), id_without_policy(prompt_id, text_b))),
    )


def id_without_policy(prompt_id: str, text: str) -> str:
    return Completion.of(prompt_id, text).id


def load_labels(path: str | os.PathLike[str]) -> Iterator[Verdict]:
    """People's labels from a JSONL file, one a line.

    A line is a verdict as Jurist writes them, or has `label` (or `winner`): first, second or tie, `who`
    gave it, and what it is about: `matchup_id`, or `prompt` with `first` and `second`, or with `chosen` and
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
                yield _verdict(row, where, number), _weight(row.get("weight"), where)


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


def _weight(said: Any, where: str) -> float:
    if said is None:
        return 1.0
    if isinstance(said, int | float) and 0 < said < float("inf"):
        return float(said)
    raise DataError(f"{where}: the weight is {said!r}; it is a number above 0, or leave it out")


def _verdict(row: dict[str, Any], where: str, number: int) -> Verdict:
    if "judge" not in row:
        return _from_row(row, where, number)
    try:
        verdict = msgspec.convert(row, Verdict)
    except msgspec.ValidationError as error:
        raise DataError(f"{where}: {error}; mend or delete that line") from error
    if not is_human(verdict.judge):
        raise DataError(f"{where}: judge '{verdict.judge}' is not a person; name people human:NAME")
    return verdict


def _from_row(row: dict[str, Any], where: str, number: int) -> Verdict:
    chose = "chosen" in row and "rejected" in row
    seats = ("chosen", "rejected") if chose else ("first", "second")
    matchup_id = str(row.get("matchup_id") or "")
    first_id, second_id = str(row.get("first_id") or ""), str(row.get("second_id") or "")
    missing = [key for key in ("prompt", *seats) if row.get(key) is None]
    # Texts say which is meant; a matchup id alone means its seats as they came, and has no chosen one.
    if chose or not matchup_id or not (missing or first_id):
        if missing:
            raise DataError(
                f"{where}: no '{missing[0]}'; a label needs prompt, {seats[0]} and {seats[1]}, "
                "or matchup_id and a label that is first, second or tie"
            )
        prompt_id = _prompt(row["prompt"], where).id
        first, second = (_text(row[seat], where) for seat in seats)
        matchup_id = text_key(prompt_id, first, second)
        first_id, second_id = id_without_policy(prompt_id, first), id_without_policy(prompt_id, second)
    label = row.get("label", row.get("winner", "chosen" if chose else None))
    who = str(row.get("who") or "")
    p = None
    if label not in (None, ""):
        known = CHOSEN_VALUES if chose else LABEL_VALUES
        p = known.get(str(label).strip().lower())
        if p is None:
            raise DataError(f"{where}: {nearest('label', str(label), known)}")
    return Verdict(
        content_id("human", who or number, matchup_id, first_id, p),
        judge=HUMAN_PREFIX + (who or "someone"),
        matchup_id=matchup_id,
        first_id=first_id,
        second_id=second_id,
        p_first=p,
        unread="" if p is not None else "unlabelled",
        # Labels without a name may be from different people: none of them stands for another.
        sample=0 if who else number,
        rationale=str(row.get("why") or ""),
    )


def _prompt(said: Any, where: str) -> Prompt:
    try:
        return Prompt.of(said if isinstance(said, str) else msgspec.convert(said, tuple[Message, ...]))
    except msgspec.ValidationError as error:
        raise DataError(
            f"{where}: the prompt is not a text or a conversation ({error}); mend that line"
        ) from error


def _text(said: Any, where: str) -> str:
    """An answer, or the last turn of the conversation that ends in it."""
    if isinstance(said, list) and said and isinstance(said[-1], dict):
        said = said[-1].get("content")
    if not isinstance(said, str):
        raise DataError(f"{where}: an answer is a text, not {type(said).__name__}; mend that line")
    return said


class Labels(Struct, frozen=True):
    """What people said, all of them together."""

    opinions: dict[str, Opinion]
    """By matchup id or text key: p is the mean over people."""
    people: tuple[str, ...]
    agreement: float | None
    """How often two people who saw the same matchup said the same; None where nobody shared one."""
    n_pairs: int
    """Pairs of labels that share is over."""

    def find(self, matchup: Matchup) -> Opinion | None:
        """What people say of this matchup, told from its seats; None where they said nothing."""
        said = self.opinions.get(matchup.id)
        first = matchup.first.id
        if said is None and len(self.opinions):
            said = self.opinions.get(text_key(matchup.prompt.id, matchup.first.text, matchup.second.text))
            first = id_without_policy(matchup.prompt.id, matchup.first.text)
        if said is None:
            return None
        # A label with no completion ids was given to the matchup as it came.
        said = said.swapped() if said.first_id and said.first_id != first else said
        return msgspec.structs.replace(
            said, matchup_id=matchup.id, first_id=matchup.first.id, second_id=matchup.second.id
        )


def gather(verdicts: Iterable[Verdict]) -> Labels:
    """Join people's verdicts by what they are about. Who labels a matchup again corrects it."""
    by_item: dict[str, dict[tuple[str, int], Verdict]] = {}
    for v in verdicts:
        by_item.setdefault(v.matchup_id, {})[v.judge, v.sample] = v
    opinions, same, pairs = {}, 0, 0
    people: dict[str, None] = {}
    for key, said in by_item.items():
        head = next(iter(said.values()))
        ps, ids = [], []
        for v in said.values():
            people[v.judge] = None
            ids.append(v.id)
            if v.p_first is not None:
                turned = v.first_id and head.first_id and v.first_id != head.first_id
                ps.append(1.0 - v.p_first if turned else v.p_first)
        sides = [(p > 0.5) - (p < 0.5) for p in ps]
        for i, side in enumerate(sides):
            same += sum(side == earlier for earlier in sides[:i])
            pairs += i
        opinions[key] = Opinion(
            key,
            head.first_id,
            head.second_id,
            "human",
            sum(ps) / len(ps) if ps else None,
            "" if ps else "unlabelled",
            verdict_ids=tuple(ids),
        )
    return Labels(opinions, tuple(people), same / pairs if pairs else None, pairs)
