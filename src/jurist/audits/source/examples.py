"""The matchups that findings point at, read again: texts are not kept while a million verdicts go by."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ...records import Completion, Matchup, Prompt, Verdict, is_label
from ...verdicts.cases import NOUNS, CaseIndex
from ...verdicts.human import LabelIndex
from ..collect import VerdictRow
from ..report import MatchupExample, example_of
from .file import rows_of


def examples_of_run(folder: Path, wanted: Collection[str], people: LabelIndex) -> dict[str, MatchupExample]:
    """Lines of other prompts are passed over as they are."""
    found: dict[str, MatchupExample] = {}
    left = set(wanted)
    for prompt, completions, docket, verdicts in _lines(folder, left):
        texts = {one.id: one for one in completions}
        for name, first, second in docket.matchups:
            if name in left and name not in found:
                found[name] = _example(Matchup(name, prompt, texts[first], texts[second]), verdicts, people)
        if len(found) == len(left):
            break
    return found


def _lines(
    folder: Path, wanted: Collection[str]
) -> Iterator[tuple[Prompt, list[Completion], CaseIndex, list[Verdict]]]:
    index_of = msgspec.json.Decoder(CaseIndex).decode
    files = {noun: (folder / f"{noun}.jsonl").open("rb") for noun in NOUNS}
    try:
        for line, asked in zip(files["matchups"], files["prompts"], strict=False):
            docket = index_of(line)
            if any(name in wanted for name, _, _ in docket.matchups):
                texts = islice(files["completions"], docket.completions)
                completions = [msgspec.json.decode(text, type=Completion) for text in texts]
                said = islice(files["verdicts"], docket.verdicts)
                verdicts = [msgspec.json.decode(one, type=Verdict) for one in said]
                yield msgspec.json.decode(asked, type=Prompt), completions, docket, verdicts
            else:
                _skip(files["completions"], docket.completions)
                _skip(files["verdicts"], docket.verdicts)
    finally:
        for file in files.values():
            file.close()


def _skip(file: BinaryIO, lines: int) -> None:
    deque(islice(file, lines), maxlen=0)


def examples_of_file(
    source: str,
    wanted: Collection[str],
    people: LabelIndex,
    columns: Mapping[str, str],
    label_values: Mapping[Any, str],
) -> dict[str, MatchupExample]:
    """Rows about one matchup are spread over the file: it is read to its end."""
    matchups: dict[str, Matchup] = {}
    said: dict[str, list[Verdict]] = {}
    for row in rows_of(source, columns, "drop", label_values):
        name = row.matchup.id
        if name in wanted:
            matchups.setdefault(name, row.matchup)
            said.setdefault(name, []).extend(map(_verdict, row.heard))
    return {name: _example(matchup, said[name], people) for name, matchup in matchups.items()}


def _verdict(one: VerdictRow) -> Verdict:
    return Verdict(
        "",
        one.judge,
        one.matchup_id,
        one.first_id,
        one.second_id,
        one.order,
        one.p_first,
        one.score,
        one.unread,
    )


def _example(matchup: Matchup, verdicts: list[Verdict], people: LabelIndex) -> MatchupExample:
    about = [one for one in verdicts if one.matchup_id in ("", matchup.id)]
    by_people = [one for one in about if is_label(one.judge)]
    by_people += people.of(matchup)
    return example_of(matchup, [one for one in about if not is_label(one.judge)], by_people)
