"""Human labels: verdicts of the judge `human:<who>`, read from a file and found again in a run.

A label is written about two texts, often in a spreadsheet, before or after the run that it is used for. It is
found by the id of its matchup where the row has one, and otherwise by prompt and texts, in either order and
whoever wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from os import PathLike
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ..completions.answers import LABELS, LabelCoding, pair_columns, pair_of
from ..errors import DataError
from ..prompts.rows import BadRow, Source, read_rows, rename_columns
from ..records import HUMAN_PREFIX, Completion, Matchup, Verdict, content_id, is_human

CODING = LabelCoding({"1": 1.0, "2": 0.0})
"""What labels mean besides the words for a side."""
ANNOTATORS = ("who", "annotator", "annotator_id")


class LabelIndex:
    """The labels of a file, by what they are about. A row that nobody has filled in is no label."""

    def __init__(self, labels: Iterable[Verdict | tuple[Verdict, float]]) -> None:
        """Each label alone, or with how many matchups it stands for."""
        self._about: dict[str, list[tuple[int, Verdict, float]]] = {}
        self._completions: set[str] = set()
        self._found: set[str] = set()
        self.repeated = 0
        """Labels of the matchups asked for that a later one of the same annotator replaced."""
        for number, row in enumerate(labels):
            label, weight = row if isinstance(row, tuple) else (row, 1.0)
            if label.p_first is not None:
                self._about.setdefault(label.matchup_id, []).append((number, label, weight))
                self._completions |= {label.first_id, label.second_id} - {""}

    def __len__(self) -> int:
        """How many matchups are labelled."""
        return len(self._about)

    @property
    def found(self) -> int:
        """How many of them were among the matchups asked for."""
        return len(self._found)

    def of(self, matchup: Matchup) -> list[Verdict]:
        """The last label of each annotator, with this matchup's ids seen from its first completion."""
        return [label for label, _ in self.weighted(matchup)]

    def weighted(self, matchup: Matchup) -> list[tuple[Verdict, float]]:
        """The same, with how many matchups each stands for."""
        first, second = ((one.id, one.text) for one in (matchup.first, matchup.second))
        return self.find(matchup.id, matchup.prompt.id, first, second)

    def find(
        self, matchup: str, prompt: str, first: tuple[str, str], second: tuple[str, str]
    ) -> list[tuple[Verdict, float]]:
        """The same of a matchup in parts: ids, and the id and text of each completion.

        A label without completion ids was given to the matchup as it came.
        """
        keys, unsigned = {matchup} & self._about.keys(), ("", "")
        if self._completions and (keys or (id_without_policy(prompt, first[1]) in self._completions)):
            unsigned = id_without_policy(prompt, first[1]), id_without_policy(prompt, second[1])
            keys |= {text_key(prompt, *unsigned)} & self._about.keys()
        self._found |= keys
        last: dict[tuple[str, int], tuple[Verdict, float]] = {}
        rows = sorted((one for key in keys for one in self._about[key]), key=lambda row: row[0])
        for _, label, weight in rows:
            if label.first_id in ("", first[0], unsigned[0]):
                p = label.p_first
            elif label.first_id in (second[0], unsigned[1]):
                p = 1.0 - (label.p_first or 0.0)
            else:
                raise DataError(
                    f"the label {label.id} of matchup {matchup} is about completion {label.first_id},"
                    " which is not one of the two; make the labels again from this run's matchups"
                )
            ids = {"matchup_id": matchup, "first_id": first[0], "second_id": second[0]}
            last[label.judge, label.sample] = replace(label, p_first=p, **ids), weight
        self.repeated += len(rows) - len(last)
        return list(last.values())


def text_key(prompt_id: str, one: str, other: str) -> str:
    """The id of a matchup of two completions nobody has signed, by their ids in either order."""
    return content_id("matchup", prompt_id, sorted((one, other)))


def id_without_policy(prompt_id: str, text: str) -> str:
    """The id of a completion nobody has signed."""
    return Completion.of(prompt_id, text).id


def load_labels(source: Source) -> Iterator[Verdict]:
    """Human labels from a file of rows of any kind, or from rows in memory.

    A row is a verdict as Jurist writes them, or has `label` (or `winner`): first, second or tie, `who` gave
    it, and what it is about: `matchup_id`, or `prompt` with `first` and `second`, or with `chosen` and
    `rejected`. A row nobody has filled in yet is an unread verdict.
    """
    return (verdict for verdict, _ in load_weighted(source))


def load_weighted(source: Source) -> Iterator[tuple[Verdict, float]]:
    """The same, each with how many matchups of its run it stands for: the `weight` of a spot check, or 1."""
    is_table = isinstance(source, str | PathLike) and str(source).removesuffix(".gz").endswith(".csv")
    for number, (where, read) in enumerate(read_rows(source), 1):
        try:
            row = rename_columns(read, {})
            if is_table and "weight" in row:  # a spot check, which has escaped its cells
                row = {name: _ESCAPED.sub(r"\1", cell) for name, cell in row.items()}
            verdict = _recorded(row, where) if "judge" in row else _written(row, where, number)
        except BadRow as error:
            # The way out that other rows have, to be left out, is none for labels.
            what = re.sub(r"(; or l| L)eave such rows out with.*", "", str(error))
            raise DataError(f"{where}: {what}") from None
        yield verdict, _weight(row.get("weight"), where)


def _weight(value: Any, where: str) -> float:
    """A spreadsheet may have made its point a comma."""
    word = str("" if value is None else value).removesuffix(" labels").replace(",", ".")
    try:
        weight = float(word) if word else 1.0
    except (TypeError, ValueError):
        weight = 0.0
    if 0 < weight < float("inf"):
        return weight
    raise DataError(f"{where}: the weight is {value!r}; it is a number above 0, or leave it out")


_LIVE: Final = re.compile(r"'*(?:[=+\-@\t\r]|[\d.,:/%eE -]*\d[\d.,:/%eE -]*\Z)")
_ESCAPED: Final = re.compile(rf"\A'({_LIVE.pattern})")


def escape_cell(value: Any) -> Any:
    """A text that a spreadsheet takes for no formula, date or number: with ' in front, where it might."""
    return f"'{value}" if isinstance(value, str) and _LIVE.match(value) else value


def _recorded(row: dict[str, Any], where: str) -> Verdict:
    """A row that is a verdict already."""
    try:
        verdict = msgspec.convert({k: v for k, v in row.items() if v is not None}, Verdict, strict=False)
    except msgspec.ValidationError as error:
        raise DataError(f"{where}: {error}; mend or delete that row") from error
    if not is_human(verdict.judge):
        raise DataError(f"{where}: judge '{verdict.judge}' is not a human; write it as human:NAME")
    return verdict


def _written(row: dict[str, Any], where: str, number: int) -> Verdict:
    """A row as a human writes it."""
    matchup_id, first_id, second_id = (
        str(row.get(name) or "") for name in ("matchup_id", "first_id", "second_id")
    )
    pair = pair_columns(row)
    by_choice = pair is not None and pair[0] == "chosen"
    has_texts = pair is not None and row.get("prompt") is not None
    # Texts say which is meant; a matchup id alone means its completions as they came, and has no chosen one.
    if by_choice or not matchup_id or (has_texts and not first_id):
        if pair is None or not has_texts:
            raise DataError(
                f"{where}: a label needs prompt, first and second, or prompt, chosen and rejected,"
                f" or matchup_id and a label that is first, second or tie; here is {', '.join(row)}"
            )
        texts = {name: row[name] for name in ("prompt", "system", *pair[:2]) if name in row}
        prompt, first, second, _ = pair_of(texts)
        matchup_id, first_id, second_id = text_key(prompt.id, first.id, second.id), first.id, second.id
    column = next((name for name in LABELS if name in row), "")
    p = CODING.p_first(row[column], column) if column else 1.0 if by_choice else None
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
