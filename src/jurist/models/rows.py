"""Rows to train on: a run of ours, or files as other trainers read them.

| columns | becomes |
|---|---|
| a preference of ours | itself |
| prompt, chosen, rejected; or chosen, rejected as whole conversations | a preference |
| first, second and a label | the same; a tie has p = 0.5 |
| messages, or prompt and completion | an answer to learn |

`p`, `margin` and `weight` are taken where a row has them; a row without p is a sure label. Two scores,
`score_chosen` and `score_rejected`, are a margin.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..completions.answers import pair_of, seats_in, several_of
from ..errors import DataError
from ..prompts.load import split_of
from ..prompts.rows import BadRow, clip, ignore, read_rows
from ..prompts.shapes import renamed
from ..records import Completion, Dropped, Preference, Prompt, content_id
from ..run import read_records
from ..seen import Seen
from .batch import Example, tokenise
from .settings import Training

Drop = Callable[[Dropped], None]
Target = tuple[Prompt, Completion]


def load_preferences(source: str | Path) -> Iterator[Preference]:
    """The preferences of a run folder or of a file of pairs."""
    kept = Path(source) / "preferences.jsonl"
    if kept.exists():
        yield from read_records(kept, Preference)
        return
    for where, raw in read_rows(source):
        row = renamed(raw, {}, where)
        yield _ours(row, where) if isinstance(row.get("chosen"), dict) else _theirs(row, where)


def load_targets(source: str | Path, dropped: Drop = ignore) -> Iterator[Target]:
    """Answers to learn: the chosen ones of a run or of pairs, or the rows of an SFT file; each once."""
    seen = Seen()
    for prompt, completion in _targets(source):
        if seen.add(completion.id):
            yield prompt, completion
        else:
            dropped(Dropped(completion.id, "training", "duplicate"))


def _targets(source: str | Path) -> Iterator[Target]:
    if (Path(source) / "preferences.jsonl").exists():
        yield from ((one.prompt, one.chosen) for one in load_preferences(source) if one.p != 0.5)
        return
    for where, raw in read_rows(source):
        row = renamed(raw, {}, where)
        if isinstance(row.get("chosen"), dict):
            preference = _ours(row, where)
            yield preference.prompt, preference.chosen
        elif seats_in(row) is not None:
            preference = _theirs(row, where)
            yield preference.prompt, preference.chosen
        else:
            answered = several_of(row, where)
            yield from ((answered.prompt, completion) for completion in answered.completions)


def _ours(row: dict[str, Any], where: str) -> Preference:
    try:
        return msgspec.convert(row, Preference)
    except msgspec.ValidationError as error:
        raise DataError(
            f"{where} is not a preference: {error}. Write it again with: jurist export RUN --format jsonl"
        ) from None


def _theirs(row: dict[str, Any], where: str) -> Preference:
    answered = pair_of(row, where)
    first, second = answered.completions
    p = _number(row, "p", answered.p_first, where)
    if p is None:
        raise BadRow(
            "no_label",
            f"{where}: nothing says which of the two is better. Name the columns chosen and rejected, add a"
            " label, or let a judge decide: jurist label --pairs FILE",
        )
    if not 0 <= p <= 1:
        raise BadRow("bad_label", f"{where}: p is {p}, which is no probability. Give a number from 0 to 1")
    if seats_in(row) != ("chosen", "rejected", "chosen_model", "rejected_model") and p < 0.5:
        first, second, p = second, first, 1 - p
    scores = [_number(row, f"score_{seat}", None, where) for seat in ("chosen", "rejected")]
    gap = scores[0] - scores[1] if scores[0] is not None and scores[1] is not None else 0.0
    margin, weight = _number(row, "margin", gap, where), _number(row, "weight", 1.0, where)
    assert margin is not None
    assert weight is not None
    if weight < 0:
        raise BadRow("bad_weight", f"{where}: the weight is {weight}. Give 0 or more")
    name = content_id("preference", answered.prompt.id, first.id, second.id, p)
    return Preference(name, answered.prompt, first, second, p, margin, weight, source="file")


def _number(row: dict[str, Any], column: str, default: float | None, where: str) -> float | None:
    value = row.get(column)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadRow("not_a_number", f"{where}: {column} is {clip(value)}. Write a number, or leave it out")
    return float(value)


def pair_example(preference: Preference, tokenizer: Any, soft: bool = True) -> Example:
    """Chosen, then rejected, with what the judge said of them."""
    return tokenise(
        preference.prompt,
        (preference.chosen.text, preference.rejected.text),
        tokenizer,
        p=preference.p if soft else hard(preference.p),
        margin=preference.margin,
        weight=preference.weight,
        id=preference.id,
    )


def hard(p: float) -> float:
    """Only which of the two; a tie stays one."""
    return 0.5 if p == 0.5 else float(p > 0.5)


Sides = tuple[list[Example], list[Example], dict[str, int]]
"""What is learnt, what is held out, and why the rest was dropped."""


def pairs_to_learn(cfg: Training, tokenizer: Any, rows: Iterable[Preference], *, soft: bool) -> Sides:
    """Preferences as examples of two answers."""
    split = ((pair_example(one, tokenizer, soft), is_held_out(one.prompt, cfg.held_out)) for one in rows)
    return _sides(cfg, split, "preferences", Counter())


def answers_to_learn(cfg: Training, tokenizer: Any, rows: Iterable[Target], dropped: Counter[str]) -> Sides:
    """Answers as examples of one."""
    split = (
        (
            tokenise(prompt, (completion.text,), tokenizer, id=completion.id),
            is_held_out(prompt, cfg.held_out),
        )
        for prompt, completion in rows
    )
    return _sides(cfg, split, "answers", dropped)


def _sides(cfg: Training, split: Iterable[tuple[Example, bool]], what: str, dropped: Counter[str]) -> Sides:
    learnt: list[Example] = []
    held: list[Example] = []
    for example, is_held in split:
        if example.longest > cfg.max_length:
            dropped["too_long"] += 1
        elif example.weight == 0:
            dropped["no_weight"] += 1
        else:
            (held if is_held else learnt).append(example)
    if not learnt:
        lost = ", ".join(f"{n} {reason}" for reason, n in sorted(dropped.items()))
        way_out = "Raise --max_length" if dropped["too_long"] else "See: jurist label --help"
        raise DataError(
            f"there are 0 {what} to learn in {cfg.data or 'what was given'}"
            f" ({lost or 'it is empty'}; {len(held)} held out). {way_out}"
        )
    return learnt, held, dict(dropped)


def is_held_out(prompt: Prompt, share: float) -> bool:
    """By content, so that a prompt stays on its side."""
    return share > 0 and split_of(prompt.id, share) == "test"
