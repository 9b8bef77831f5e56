"""From records to columns, one prompt at a time, in memory that grows by bytes and not by objects."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import heappush, heapreplace
from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct

from ..errors import DataError
from ..records import Completion, Dropped, Message, Prompt, Verdict, content_id, is_label
from ..verdicts.cases import Case
from ..verdicts.human import LabelIndex
from .sheet import Answers, Array, HumanLabels, Labels, Matchups, Prompts, Scores, Sheet, Verdicts
from .texts import TextMarks, holds, read_text

NAN: Final = float("nan")
TEXTS: Final = 400
"""Prompts whose answers' texts are kept, for the audits that read them."""

# What audits read of each record. A line of a run also holds prose, replies and token counts; not decoding
# them makes a million verdicts a matter of seconds.


class PromptRow(Struct, frozen=True, gc=False):
    id: str
    messages: tuple[Message, ...] = ()
    domain: str = ""
    stakes: Literal["normal", "high"] = "normal"


class CompletionRow(Struct, frozen=True, gc=False):
    id: str
    text: str
    policy: str = ""


class VerdictRow(Struct, frozen=True, gc=False):
    judge: str
    matchup_id: str = ""
    first_id: str = ""
    second_id: str = ""
    order: Literal["given", "swapped"] = "given"
    p_first: float | None = None
    score: float | None = None
    unread: str = ""
    forced: bool = False
    label_mass: float | None = None
    cost: float = 0.0


class IdRow(Struct, frozen=True, gc=False):
    id: str


class PreferenceRow(Struct, frozen=True, gc=False):
    prompt: IdRow
    chosen: IdRow
    rejected: IdRow
    p: float
    weight: float = 1.0


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
        self._all = tuple(self._columns.values())

    def add(self, *row: Any) -> None:
        for column, value in zip(self._all, row, strict=True):
            column.append(value)

    def __len__(self) -> int:
        return len(self._all[0])

    def at(self, row: int, name: str) -> Any:
        return self._columns[name][row]

    def done(self, *flags: str) -> dict[str, Array]:
        """As numpy arrays over the same memory; those named are true or false."""
        return {
            name: np.frombuffer(column, dtype=bool if name in flags else column.typecode)
            for name, column in self._columns.items()
        }


class Collector:
    """Give it cases, then the preferences they came to; it gives a sheet."""

    def __init__(self, human_labels: LabelIndex | None = None) -> None:
        self._human_labels = human_labels or LabelIndex(())
        self._domains, self._policies, self._judges = Names(), Names(), Names()
        self._humans, self._reasons = Names(), Names("")
        self._prompt_rows: dict[str, int] = {}
        self._matchup_rows: dict[str, int] = {}
        self._answer_rows: dict[int, int] = {}
        self._prompts = Columns(domain="i", high="b")
        self._answers = Columns(prompt="i", policy="i", chars="i", text="q", core="q", marks="b")
        self._matchups = Columns(prompt="i", first="i", second="i", holds="b")
        self._verdicts = Columns(
            judge="i", matchup="i", swapped="b", p="d", unread="i", usd="d", forced="b", label_mass="f"
        )
        self._scores = Columns(judge="i", answer="i", score="d", unread="i", usd="d")
        self._labels = Columns(matchup="i", p="d", weight="d")
        self._human = Columns(who="i", matchup="i", p="d", weight="d")
        self._dropped: Counter[str] = Counter()
        self._texts: dict[int, dict[int, str]] = {}
        """Of the prompts whose texts are kept."""
        self._sampled: list[tuple[int, int]] = []
        """Those prompts as a heap, the one that gives way first in front."""

    def add_case(self, case: Case) -> None:
        """One prompt with all verdicts about its answers."""
        matchups = tuple((one.id, one.first.id, one.second.id) for one in case.matchups)
        self.add(case.prompt, case.completions, matchups, case.verdicts)

    def add(
        self,
        asked: Prompt | PromptRow,
        completions: Sequence[Completion | CompletionRow],
        matchups: Sequence[tuple[str, str, str]],
        verdicts: Sequence[Verdict | VerdictRow],
    ) -> None:
        """The same in parts; each of `matchups` is its id, its first and its second."""
        prompt, question = self._prompt(asked), asked.messages[-1].content if asked.messages else ""
        read = {one.id: read_text(question, one.text) for one in completions}
        answers = {one.id: self._answer(prompt, one, read[one.id]) for one in completions}
        known: dict[str, int] = {}
        for name, first, second in matchups:
            row = self._matchup_rows.setdefault(name, len(self._matchups))
            if row == len(self._matchups):
                one, other = read[first], read[second]
                more = holds(one, other) - holds(other, one)
                self._matchups.add(prompt, answers[first], answers[second], more)
                if self._human_labels:
                    texts = {one.id: (one.id, one.text) for one in completions}
                    for label, weight in self._human_labels.find(name, asked.id, texts[first], texts[second]):
                        p = _p_of_first(label.p_first, False)
                        self._human.add(self._humans.code(label.judge), row, p, weight)
            known[name] = row
        for verdict in verdicts:
            if not verdict.matchup_id:
                self._add_score(verdict, answers)
            elif verdict.matchup_id in known:
                self._add_verdict(verdict, known[verdict.matchup_id], answers)

    def add_label(self, prompt_id: str, chosen: str, rejected: str, p: float, weight: float) -> None:
        """What was decided about a matchup of an earlier case: that `chosen` is better with p."""
        row = self._matchup_rows.get(content_id("matchup", prompt_id, sorted((chosen, rejected))), -1)
        answer = self._answer_rows.get(hash((self._prompt_rows.get(prompt_id, -1), chosen)))
        if row >= 0 and answer is not None:
            self._labels.add(row, _p_of_first(p, self._matchups.at(row, "first") != answer), weight)

    def add_dropped(self, row: Dropped) -> None:
        self._dropped[row.kind] += 1

    def sheet(self) -> Sheet:
        return Sheet(
            Prompts(tuple(self._prompt_rows), **self._prompts.done("high")),
            Answers(**self._answers.done()),
            Matchups(tuple(self._matchup_rows), **self._matchups.done()),
            Verdicts(**self._verdicts.done("swapped", "forced")),
            Scores(**self._scores.done()),
            Labels(**self._labels.done()),
            HumanLabels(**self._human.done()),
            self._domains.all,
            self._policies.all,
            self._judges.all,
            self._humans.all,
            self._reasons.all,
            dict(self._dropped),
            {row: text for texts in self._texts.values() for row, text in texts.items()},
        )

    def _prompt(self, asked: Prompt | PromptRow) -> int:
        row = self._prompt_rows.setdefault(asked.id, len(self._prompts))
        if row == len(self._prompts):
            self._prompts.add(self._domains.code(asked.domain), asked.stakes == "high")
            self._sample_prompt(row, -int(asked.id[:12], 16))
        return row

    def _sample_prompt(self, row: int, key: int) -> None:
        """Keep the texts of the prompts with the smallest ids, whatever order they come in."""
        if len(self._sampled) < TEXTS:
            heappush(self._sampled, (key, row))
        elif key > self._sampled[0][0]:
            _, gone = heapreplace(self._sampled, (key, row))
            del self._texts[gone]
        else:
            return
        self._texts[row] = {}

    def _answer(self, prompt: int, one: Completion | CompletionRow, read: TextMarks) -> int:
        # The hash alone: two of a million answers share one with a probability of 3 in 100 million.
        row = self._answer_rows.setdefault(hash((prompt, one.id)), len(self._answers))
        if row == len(self._answers):
            policy = self._policies.code(one.policy)
            self._answers.add(prompt, policy, len(one.text), read.text, read.core, read.marks)
            if prompt in self._texts:
                self._texts[prompt][row] = one.text
        return row

    def _add_verdict(self, one: Verdict | VerdictRow, row: int, answers: Mapping[str, int]) -> None:
        first, second = self._matchups.at(row, "first"), self._matchups.at(row, "second")
        shown = answers.get(one.first_id), answers.get(one.second_id)
        if first != second and shown not in ((first, second), (second, first)):
            raise DataError(
                f"a verdict of {one.judge} is about {one.first_id} and {one.second_id}, not about its matchup"
                f" {one.matchup_id}. See: jurist show RUN --pair {one.matchup_id}"
            )
        swapped = one.order == "swapped" if first == second else shown == (second, first)
        p = _p_of_first(one.p_first, swapped)
        if is_label(one.judge):
            self._human.add(self._humans.code(one.judge), row, p, 1.0)
            return
        judge, reason = self._judges.code(one.judge), self._reasons.code(one.unread)
        mass = NAN if one.label_mass is None else one.label_mass
        self._verdicts.add(judge, row, swapped, p, reason, one.cost, one.forced, mass)

    def _add_score(self, one: Verdict | VerdictRow, answers: Mapping[str, int]) -> None:
        if one.first_id in answers:
            score = NAN if one.score is None else one.score
            judge, reason = self._judges.code(one.judge), self._reasons.code(one.unread)
            self._scores.add(judge, answers[one.first_id], score, reason, one.cost)


def _p_of_first(p: float | None, swapped: bool) -> float:
    """From the position it was given to, to the matchup's first; nan where nothing was read."""
    return NAN if p is None else 1.0 - p if swapped else p
