"""From records to columns, one prompt at a time, in memory that grows by bytes and not by objects."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappush, heapreplace
from typing import Any, Final

import numpy as np

from ..errors import DataError
from ..records import Completion, Dropped, Preference, Prompt, Verdict, content_id, is_label
from ..verdicts.cases import Case
from ..verdicts.human import id_without_policy, text_key
from .rows import CompletionRow, PreferenceRow, PromptRow, VerdictRow
from .sheet import Answers, Array, HumanLabels, Labels, Matchups, Prompts, Scores, Sheet, Verdicts

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


class HumanFile:
    """HumanFile's labels, found again by what they are about; each with how many matchups it stands for."""

    def __init__(self, said: Iterable[tuple[Verdict, float]] = ()) -> None:
        about: dict[str, dict[tuple[str, int], tuple[Verdict, float]]] = {}
        for verdict, weight in said:
            # Who labels a matchup again corrects it.
            about.setdefault(verdict.matchup_id, {})[verdict.judge, verdict.sample] = verdict, weight
        self._about = {name: tuple(found.values()) for name, found in about.items()}
        self._texts = {v.first_id for some in self._about.values() for v, _ in some if v.first_id}
        self._texts |= {v.second_id for some in self._about.values() for v, _ in some if v.second_id}
        self._found: set[str] = set()

    def __len__(self) -> int:
        """Matchups they labelled."""
        return len(self._about)

    @property
    def found(self) -> int:
        """Those among them that turned up."""
        return len(self._found)

    def of(
        self, name: str, prompt: str, first: AnyAnswer, second: AnyAnswer
    ) -> Iterator[tuple[str, float, float]]:
        """Who, the probability told from the matchup's first, and the weight."""
        key, seat = name, first.id
        if name not in self._about:
            if not self._texts:
                return
            seat = id_without_policy(prompt, first.text)
            if seat not in self._texts:
                return
            key = text_key(prompt, seat, id_without_policy(prompt, second.text))
        for verdict, weight in self._about.get(key, ()):
            self._found.add(key)
            # A label with no completion ids was given to the matchup as it came.
            turned = bool(verdict.first_id) and verdict.first_id != seat
            yield verdict.judge, _told(verdict.p_first, turned), weight


AnyAnswer = Completion | CompletionRow
AnyVerdict = Verdict | VerdictRow


class Collector:
    """Give it cases, then the preferences they came to; it gives a sheet."""

    def __init__(self, people: HumanFile | None = None) -> None:
        self._people = people or HumanFile()
        self._domains, self._policies, self._judges = Names(), Names(), Names()
        self._who, self._reasons = Names(), Names("")
        self._prompt_rows: dict[str, int] = {}
        self._matchup_rows: dict[str, int] = {}
        self._answer_rows: dict[int, int] = {}
        self._prompts = Columns(domain="i", high="b")
        self._answers = Columns(prompt="i", policy="i", chars="i", words="i", cut="b")
        self._matchups = Columns(prompt="i", first="i", second="i")
        self._verdicts = Columns(
            judge="i", matchup="i", swapped="b", p="d", sample="i", unread="i", usd="d", seconds="f"
        )
        self._scores = Columns(judge="i", answer="i", score="d", sample="i", unread="i", usd="d", seconds="f")
        self._labels = Columns(matchup="i", p="d", weight="d")
        self._said = Columns(who="i", matchup="i", p="d", weight="d")
        self._dropped: Counter[str] = Counter()
        self._texts: dict[int, dict[int, str]] = {}
        """Of the prompts whose texts are kept."""
        self._lots: list[tuple[int, int]] = []
        """Those prompts as a heap, the one that gives way first in front."""

    def case(self, case: Case) -> None:
        """One prompt with all that was said about its answers."""
        seats = tuple((one.id, one.first.id, one.second.id) for one in case.matchups)
        self.add(case.prompt, case.completions, seats, case.verdicts)

    def add(
        self,
        asked: Prompt | PromptRow,
        completions: Sequence[AnyAnswer],
        seats: Sequence[tuple[str, str, str]],
        verdicts: Sequence[AnyVerdict],
    ) -> None:
        """The same in parts; each of `seats` is a matchup's id, its first and its second."""
        prompt = self._prompt(asked)
        answers = {one.id: self._answer(prompt, one) for one in completions}
        known: dict[str, int] = {}
        for name, first, second in seats:
            row = self._matchup_rows.setdefault(name, len(self._matchups))
            if row == len(self._matchups):
                self._matchups.add(prompt, answers[first], answers[second])
                if len(self._people):
                    self._ask_people(row, name, asked.id, completions, first, second)
            known[name] = row
        for verdict in verdicts:
            if not verdict.matchup_id:
                self._score(verdict, answers)
            elif verdict.matchup_id in known:
                self._verdict(verdict, known[verdict.matchup_id], answers)

    def decided(self, preference: Preference | PreferenceRow) -> None:
        """What was decided about a matchup of an earlier case."""
        chosen, rejected = preference.chosen.id, preference.rejected.id
        prompt = self._prompt_rows.get(preference.prompt.id, -1)
        row = self._matchup_rows.get(
            content_id("matchup", preference.prompt.id, sorted((chosen, rejected))), -1
        )
        answer = self._answer_rows.get(hash((prompt, chosen)))
        if row < 0 or answer is None:
            return
        turned = self._matchups.at(row, "first") != answer
        self._labels.add(row, _told(preference.p, turned), preference.weight)

    def dropped(self, row: Dropped) -> None:
        self._dropped[row.kind] += 1

    def sheet(self) -> Sheet:
        return Sheet(
            Prompts(tuple(self._prompt_rows), **self._prompts.done("high")),
            Answers(**self._answers.done("cut")),
            Matchups(tuple(self._matchup_rows), **self._matchups.done()),
            Verdicts(**self._verdicts.done("swapped")),
            Scores(**self._scores.done()),
            Labels(**self._labels.done()),
            HumanLabels(**self._said.done()),
            self._domains.all,
            self._policies.all,
            self._judges.all,
            self._who.all,
            self._reasons.all,
            dict(self._dropped),
            {row: text for some in self._texts.values() for row, text in some.items()},
        )

    def _prompt(self, asked: Prompt | PromptRow) -> int:
        row = self._prompt_rows.setdefault(asked.id, len(self._prompts))
        if row == len(self._prompts):
            self._prompts.add(self._domains.code(asked.domain), asked.stakes == "high")
            self._keep_texts(row, -int(asked.id[:12], 16))
        return row

    def _keep_texts(self, row: int, lot: int) -> None:
        """Drawn by content: the smallest ids, whatever comes first."""
        if len(self._lots) < TEXTS:
            heappush(self._lots, (lot, row))
        elif lot > self._lots[0][0]:
            _, gone = heapreplace(self._lots, (lot, row))
            del self._texts[gone]
        else:
            return
        self._texts[row] = {}

    def _answer(self, prompt: int, one: AnyAnswer) -> int:
        # The hash alone: two of a million answers share one with a probability of 3 in 100 million.
        row = self._answer_rows.setdefault(hash((prompt, one.id)), len(self._answers))
        if row == len(self._answers):
            text = one.text
            words = text.count(" ") + 1 if text else 0
            self._answers.add(
                prompt, self._policies.code(one.policy), len(text), words, one.finish == "length"
            )
            if prompt in self._texts:
                self._texts[prompt][row] = text
        return row

    def _ask_people(
        self, row: int, name: str, prompt: str, completions: Sequence[AnyAnswer], first: str, second: str
    ) -> None:
        texts: Mapping[str, AnyAnswer] = {one.id: one for one in completions}
        for who, p, weight in self._people.of(name, prompt, texts[first], texts[second]):
            self._said.add(self._who.code(who), row, p, weight)

    def _verdict(self, one: AnyVerdict, row: int, answers: Mapping[str, int]) -> None:
        first, second = self._matchups.at(row, "first"), self._matchups.at(row, "second")
        shown = answers.get(one.first_id), answers.get(one.second_id)
        if first == second:
            turned = one.order == "swapped"
        elif shown == (first, second):
            turned = False
        elif shown == (second, first):
            turned = True
        else:
            raise DataError(
                f"a verdict of {one.judge} is about {one.first_id} and {one.second_id}, not about its matchup"
                f" {one.matchup_id}. See: jurist show RUN --pair {one.matchup_id}"
            )
        p = _told(one.p_first, turned)
        if is_label(one.judge):
            self._said.add(self._who.code(one.judge), row, p, 1.0)
            return
        judge, reason = self._judges.code(one.judge), self._reasons.code(one.unread)
        self._verdicts.add(judge, row, turned, p, one.sample, reason, one.cost, one.seconds)

    def _score(self, one: AnyVerdict, answers: Mapping[str, int]) -> None:
        if one.first_id in answers:
            score = NAN if one.score is None else one.score
            judge, reason = self._judges.code(one.judge), self._reasons.code(one.unread)
            self._scores.add(judge, answers[one.first_id], score, one.sample, reason, one.cost, one.seconds)


def _told(p: float | None, turned: bool) -> float:
    """From the seat it was said of to the matchup's first; nan where nothing was read."""
    return NAN if p is None else 1.0 - p if turned else p
