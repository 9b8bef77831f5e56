"""From records to columns, one prompt at a time, in memory that grows by bytes and not by objects."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from ..records import Completion, Dropped, Matchup, Preference, Verdict
from ..verdicts.cases import Case
from ..verdicts.human import WHO, text_key, unsigned
from ..verdicts.settle import is_turned
from .sheet import Answers, Array, Labels, Matchups, Prompts, Said, Scores, Sheet, Verdicts

NAN: Final = float("nan")
TEXTS: Final = 400
"""Prompts whose answers' texts are kept, for the audits that read them."""


class Names:
    """A number for each name, in the order in which they turn up."""

    def __init__(self, *known: str) -> None:
        self._codes = {name: code for code, name in enumerate(known)}

    def code(self, name: str) -> int:
        return self._codes.setdefault(name, len(self._codes))

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(self._codes)


class Columns:
    """Arrays that grow together: `Columns(prompt="i", chars="i")`."""

    def __init__(self, **kinds: str) -> None:
        self._columns = {name: array(kind) for name, kind in kinds.items()}

    def add(self, *row: Any) -> None:
        for column, value in zip(self._columns.values(), row, strict=True):
            column.append(value)

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def done(self, *flags: str) -> dict[str, Array]:
        """As numpy arrays; those named are true or false."""
        return {
            name: np.array(column, dtype=bool) if name in flags else np.array(column)
            for name, column in self._columns.items()
        }


class People:
    """People's labels, found again by what they are about; each with how many matchups it stands for."""

    def __init__(self, said: Iterable[tuple[Verdict, float]] = ()) -> None:
        self._about: dict[str, list[tuple[Verdict, float]]] = {}
        for verdict, weight in said:
            self._about.setdefault(verdict.matchup_id, []).append((verdict, weight))

    def of(self, matchup: Matchup) -> Iterator[tuple[str, float, float]]:
        """Who, the probability told from the matchup's first, and the weight."""
        first = matchup.first.id
        found = self._about.get(matchup.id)
        if found is None and self._about:
            found = self._about.get(text_key(matchup.prompt.id, matchup.first.text, matchup.second.text))
            first = unsigned(matchup.prompt.id, matchup.first.text)
        for verdict, weight in found or ():
            # A label with no completion ids was given to the matchup as it came.
            turned = bool(verdict.first_id) and verdict.first_id != first
            yield verdict.judge, _told(verdict.p_first, turned), weight


class Collector:
    """Give it cases, then the preferences they came to; it gives a sheet."""

    def __init__(self, people: People | None = None) -> None:
        self._people = people or People()
        self._domains, self._policies, self._judges = Names(), Names(), Names()
        self._who, self._reasons = Names(), Names("")
        self._prompt_ids: list[str] = []
        self._matchup_rows: dict[str, int] = {}
        self._first_ids: list[str] = []
        self._prompts = Columns(domain="i", high="b")
        self._answers = Columns(prompt="i", policy="i", chars="i", words="i", cut="b")
        self._matchups = Columns(prompt="i", first="i", second="i")
        self._verdicts = Columns(
            judge="i", matchup="i", turned="b", p="d", sample="i", unread="i", usd="d", seconds="f"
        )
        self._scores = Columns(judge="i", answer="i", score="d", sample="i", unread="i", usd="d", seconds="f")
        self._labels = Columns(matchup="i", p="d", weight="d")
        self._said = Columns(who="i", matchup="i", p="d", weight="d")
        self._dropped: Counter[str] = Counter()
        self._texts: dict[int, str] = {}

    def case(self, case: Case) -> None:
        """One prompt with all that was said about its answers."""
        prompt = len(self._prompts)
        self._prompts.add(self._domains.code(case.prompt.domain), case.prompt.stakes == "high")
        self._prompt_ids.append(case.prompt.id)
        answers = {one.id: self._answer(prompt, one) for one in case.completions}
        known: dict[str, tuple[int, Matchup]] = {}
        for matchup in case.matchups:
            row = self._matchup(prompt, matchup, answers)
            known[matchup.id] = row, matchup
            for who, p, weight in self._people.of(matchup):
                self._said.add(self._who.code(who), row, p, weight)
        for verdict in case.verdicts:
            if not verdict.matchup_id:
                self._score(verdict, answers)
            elif verdict.matchup_id in known:
                self._verdict(verdict, *known[verdict.matchup_id])

    def label(self, preference: Preference) -> None:
        """What was decided about a matchup of an earlier case."""
        matchup = Matchup.of(preference.prompt, preference.chosen, preference.rejected)
        row = self._matchup_rows.get(matchup.id)
        if row is None:
            return
        turned = self._first_ids[row] != preference.chosen.id
        self._labels.add(row, _told(preference.p, turned), preference.weight)

    def dropped(self, row: Dropped) -> None:
        self._dropped[row.kind] += 1

    def sheet(self) -> Sheet:
        return Sheet(
            Prompts(tuple(self._prompt_ids), **self._prompts.done("high")),
            Answers(**self._answers.done("cut")),
            Matchups(tuple(self._matchup_rows), **self._matchups.done()),
            Verdicts(**self._verdicts.done("turned")),
            Scores(**self._scores.done()),
            Labels(**self._labels.done()),
            Said(**self._said.done()),
            self._domains.all,
            self._policies.all,
            self._judges.all,
            self._who.all,
            self._reasons.all,
            dict(self._dropped),
            self._texts,
        )

    def _answer(self, prompt: int, one: Completion) -> int:
        row = len(self._answers)
        words = one.text.count(" ") + 1 if one.text else 0
        self._answers.add(
            prompt, self._policies.code(one.policy), len(one.text), words, one.finish == "length"
        )
        if prompt < TEXTS:
            self._texts[row] = one.text
        return row

    def _matchup(self, prompt: int, matchup: Matchup, answers: dict[str, int]) -> int:
        row = self._matchup_rows.setdefault(matchup.id, len(self._matchups))
        if row == len(self._matchups):
            self._matchups.add(prompt, answers[matchup.first.id], answers[matchup.second.id])
            self._first_ids.append(matchup.first.id)
        return row

    def _verdict(self, one: Verdict, row: int, matchup: Matchup) -> None:
        turned = is_turned(one, matchup)
        p = _told(one.p_first, turned)
        if one.judge.startswith(WHO):
            self._said.add(self._who.code(one.judge), row, p, 1.0)
            return
        judge, reason = self._judges.code(one.judge), self._reasons.code(one.unread)
        self._verdicts.add(judge, row, turned, p, one.sample, reason, one.cost, one.seconds)

    def _score(self, one: Verdict, answers: dict[str, int]) -> None:
        if one.first_id in answers:
            score = NAN if one.score is None else one.score
            judge, reason = self._judges.code(one.judge), self._reasons.code(one.unread)
            self._scores.add(judge, answers[one.first_id], score, one.sample, reason, one.cost, one.seconds)


def _told(p: float | None, turned: bool) -> float:
    """From the seat it was said of to the matchup's first; nan where nothing was read."""
    return NAN if p is None else 1.0 - p if turned else p
