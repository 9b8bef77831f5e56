"""What a row of anybody's file may say beside a prompt and two answers, and under which names.

| column | also known as | what it says |
|---|---|---|
| `winner` | label, preference, verdict, choice | the better answer, by the column it stands in: first, second, tie; a, b; 1, 2; model_a; the policy's name; a probability of the first |
| `p_first` | p | the judge's probability that the first is better |
| `better` | | the place of the better answer, counted from 0: 0 is the first, 1 the second |
| `first_score`, `second_score` | score_a, score_b; score1, score2; score_chosen, score_rejected | what the judge gave to each answer alone |
| `winner_given`, `winner_turned` | | a winner for each order in which the judge saw the two; it names a column, not a seat |
| `p_given`, `p_turned` | | the same as probabilities of the first column |
| `seat_given`, `seat_turned` | verdict_ab, verdict_ba; winner_ab, winner_ba | the seat that the judge chose as it saw them: after turning, `a` is the second column |
| `swapped` | is_swapped, swap, order | whether the judge of this row saw the second column first: true, false; given, turned; ab, ba |
| `judge` | judge_model, annotator, evaluator | who judged; one named human:NAME is a person |
| `human` | human_label, human_winner, human_preference, gold, gold_label | a person's winner; human_1, annotator1 and so on: one column a person |
| `domain` | category, subset, section, task | what the prompt is about |
| `usd`, `seconds` | cost; latency | what the verdict cost and took |
"""  # noqa: E501

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ...completions.answers import LabelCoding
from ...prompts.load import COLUMNS
from ...prompts.rows import SKIP, BadRow, clip

KNOWN: Final = {
    "winner": ("winner", "label", "preference", "verdict", "choice"),
    "p_first": ("p_first", "p"),
    "better": ("better",),
    "first_score": ("first_score", "score_a", "score1", "score_chosen", "chosen_score"),
    "second_score": ("second_score", "score_b", "score2", "score_rejected", "rejected_score"),
    "winner_given": ("winner_given",),
    "winner_turned": ("winner_turned",),
    "p_given": ("p_given",),
    "p_turned": ("p_turned",),
    "seat_given": ("seat_given", "verdict_ab", "winner_ab"),
    "seat_turned": ("seat_turned", "verdict_ba", "winner_ba"),
    "swapped": ("swapped", "is_swapped", "swap", "order"),
    "judge": ("judge", "judge_model", "annotator", "evaluator"),
    "human": ("human", "human_label", "human_winner", "human_preference", "gold", "gold_label"),
    "domain": ("domain", "category", "subset", "section", "task"),
    "usd": ("usd", "cost"),
    "seconds": ("seconds", "latency"),
    "weight": ("weight",),
}
PERSON: Final = re.compile(r"(human|annotator|person)_?\d+")
OURS: Final = (
    COLUMNS | KNOWN.keys() | {"first_policy", "second_policy"} | {f"human_{n}" for n in range(1, 10)}
)
"""What `--columns.OURS THEIRS` may name."""
TURNED: Final = {"true": True, "1": True, "yes": True, "turned": True, "ba": True, "swapped": True}
TURNED.update({"false": False, "0": False, "no": False, "given": False, "ab": False, "": False})
NOTHING: Final = ("", "none", "null", "nan", "n/a", "error", "invalid", "unread", "unknown", "refused", "-1")
"""What stands where a judge gave no answer."""


class Word(NamedTuple):
    """One thing that was said of the two: how sure that the first column is better; None: nothing usable."""

    p: float | None
    turned: bool = False
    unread: str = ""


class Plan(NamedTuple):
    """What is to be done with rows that have these columns."""

    said: dict[str, str]
    """Their name of each of ours."""
    rest: tuple[str, ...]
    people: tuple[str, ...]
    one_order: str
    """The column with a verdict whose order `swapped` tells; empty where there is none."""
    both_orders: tuple[tuple[str, bool], ...]
    """Columns with a verdict each, and whether the judge saw the seats exchanged."""
    ordered: bool
    """Whether some column says who sat where."""


@lru_cache(256)
def plan_of(columns: tuple[str, ...]) -> Plan:
    said = {}
    for ours, names in KNOWN.items():
        if name := next((one for one in names if one in columns), ""):
            said[ours] = name
    people = tuple(name for name in columns if PERSON.fullmatch(name))
    used = {*said.values(), *people}
    both = [
        (
            next((f"{kind}_{order}" for kind in ("seat", "winner", "p") if f"{kind}_{order}" in said), ""),
            turned,
        )
        for turned, order in ((False, "given"), (True, "turned"))
    ]
    return Plan(
        said | {name: name for name in people},
        tuple(name for name in columns if name not in used),
        (*(("human",) if "human" in said else ()), *people),
        next((name for name in ("winner", "p_first", "better") if name in said), ""),
        tuple((column, turned) for column, turned in both if column),
        "swapped" in said or bool(both[1][0]),
    )


def sorted_out(row: dict[str, Any]) -> tuple[Plan, dict[str, Any], dict[str, Any]]:
    """The row without what judges and people said, and that, under our names; people's under theirs."""
    plan = plan_of(tuple(row))
    rest = {name: row[name] for name in plan.rest}
    said = {ours: row[theirs] for ours, theirs in plan.said.items()}
    if isinstance(said.get("domain"), str | int):
        rest["domain"] = said["domain"]
    return plan, rest, said


def winners_in(row: dict[str, Any]) -> list[str]:
    """The columns that name the better answer, under the names they have in the file."""
    plan = plan_of(tuple(row))
    named = [ours for ours in plan.said if ours in plan.people or ours.startswith(("winner", "seat"))]
    return [plan.said[ours] for ours in named]


def words_of(
    plan: Plan, said: dict[str, Any], policies: tuple[str, str], coding: LabelCoding
) -> Iterator[Word]:
    """What the judge of a row said, once for each time it was asked."""
    if plan.one_order:
        word = _word(plan, plan.one_order, said, policies, coding)
        yield word._replace(turned=True) if _turned(said.get("swapped")) else word
    for column, turned in plan.both_orders:
        seat = turned and column.startswith("seat")
        word = _word(plan, column, said, policies[::-1] if seat else policies, coding)
        yield word._replace(turned=turned, p=1.0 - word.p if seat and word.p is not None else word.p)


def people_in(
    plan: Plan, said: dict[str, Any], policies: tuple[str, str], coding: LabelCoding
) -> Iterator[tuple[str, float]]:
    """Which person said what; a column that is empty says nothing."""
    for name in plan.people:
        word = _word(plan, name, said, policies, coding)
        if word.unread == "not_a_winner":
            raise BadRow("unknown_label", f"{name} is {clip(said[name])}, no winner. {SKIP}")
        if word.p is not None:
            yield "file" if name == "human" else name, word.p


def scores_in(said: dict[str, Any]) -> tuple[float | None, float | None] | None:
    """The two scores of a row, where it has any."""
    if "first_score" not in said or "second_score" not in said:
        return None
    return number(said["first_score"]), number(said["second_score"])


def number(value: Any) -> float | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in NOTHING):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise BadRow("not_a_number", f"{clip(value)} is no number. {SKIP}") from None
    return found if math.isfinite(found) else None


def share(value: Any) -> float | None:
    """A probability that has to be one."""
    p = number(value)
    if p is not None and not 0.0 <= p <= 1.0:
        said = f"p_first is {clip(value)}; a probability is between 0 and 1. {SKIP}"
        raise BadRow("out_of_range", said)
    return p


def _word(
    plan: Plan, column: str, said: dict[str, Any], policies: tuple[str, str], coding: LabelCoding
) -> Word:
    """What stands in a column; what is no winner was not read."""
    name = "" if said[column] is None else str(said[column]).strip()
    if name.lower() in NOTHING:
        return Word(None, unread=name.lower() or "no_verdict")
    is_share = column.startswith("p_")
    try:
        if is_share:
            p: float | None = float(name)
        elif column == "better":
            p = {0: 1.0, 1: 0.0}.get(int(float(name)))
        else:
            p = coding.p_first(said[column], plan.said[column], policies)
    except (BadRow, ValueError):
        p = None
    if p is not None and 0.0 <= p <= 1.0:
        return Word(p)
    return Word(None, unread="out_of_range" if is_share and p is not None else "not_a_winner")


def _turned(value: Any) -> bool:
    if value is None or value is True or value is False:
        return bool(value)
    turned = TURNED.get(str(value).strip().lower())
    if turned is None:
        raise BadRow("unknown_order", f"swapped is {clip(value)}; it is true or false. {SKIP}")
    return turned
