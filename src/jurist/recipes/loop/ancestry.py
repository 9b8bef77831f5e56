"""Where each trained row comes from: who wrote it, who judged it, how many models lie between it and people.

A row that people wrote is of generation 0, one that the first policy wrote of generation 1, and one by a
model that learnt from those of generation 2. A model's synthetic share is the part of the rows it learnt from
that models wrote; a row's is that of its writer. A loop whose shares stay at 1 feeds on itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from ...records import Completion, Preference


class Model(Struct, frozen=True):
    """A model as an ancestor. The one a loop starts from has none of its own."""

    generation: int = 0
    synthetic: float = 0.0


class Ancestry(Struct, frozen=True):
    """A row that was trained on."""

    id: str
    writers: tuple[str, ...]
    judge: str = ""
    generation: int = 0
    synthetic: float = 0.0


FIRST = Model()
PEOPLE = ("", "human", "file")
"""What a completion says of its writer when no model of ours wrote it."""


def of_preferences(rows: Iterable[Preference], known: Mapping[str, Model]) -> list[Ancestry]:
    return [
        _row(one.id, (one.chosen.policy, one.rejected.policy), one.source.partition(":")[2], known)
        for one in rows
    ]


def of_completions(rows: Iterable[Completion], known: Mapping[str, Model]) -> list[Ancestry]:
    return [_row(one.id, (one.policy,), "", known) for one in rows]


def _row(name: str, writers: tuple[str, ...], judge: str, known: Mapping[str, Model]) -> Ancestry:
    models = [known.get(mark(writer), FIRST) for writer in writers if not by_people(writer)]
    if not models:
        return Ancestry(name, writers, judge)
    return Ancestry(
        id=name,
        writers=writers,
        judge=judge,
        generation=1 + max(model.generation for model in models),
        synthetic=sum(model.synthetic for model in models) / len(writers),
    )


def learnt_from(rows: Sequence[Ancestry]) -> Model:
    """The model that these rows make."""
    if not rows:
        return FIRST
    made = sum(row.generation > 0 for row in rows)
    return Model(max(row.generation for row in rows), made / len(rows))


def by_people(writer: str) -> bool:
    return writer.partition(":")[0] in PEOPLE


def mark(writer: str) -> str:
    """An engine's name ends in the beginning of its weights' hash."""
    return writer.partition("#")[2][:12]
