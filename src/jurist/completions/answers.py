"""The shapes people keep completions in: the texts of one row, who wrote them, and which was called better.

| columns | known from |
|---|---|
| completions or responses: a list of texts, or of {text, policy} | our own files, UltraFeedback |
| chosen, rejected: texts, messages or whole dialogues | TRL, HH-RLHF, binarised UltraFeedback |
| prompt, chosen, rejected: records of ours | `preferences.jsonl`, the export `jsonl` |
| first, second; response_a, response_b; response1, response2 | arenas, PandaLM |
| answer_a, answer_b; output_1, output_2; conversation_a, conversation_b | AlpacaEval, LMSYS |
| completion, response, output or generation: one text a row | generation logs |
| messages that end with an answer | SFT sets |

A `label` or `winner` names the better one: first / second, a / b, model_a / model_b, tie, or its policy. What
numbers mean is decided over the whole column: 0, 1 and 2 are tie, first and second (PandaLM), 1 to 2 the same
in steps (AlpacaEval), and numbers from 0 to 1 with some between them are probabilities that the first is
better. A column of zeros and ones alone could mean anything: `label_values` has to say what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from string import digits
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from ..errors import DataError, SettingError, nearest
from ..prompts import load as shapes
from ..prompts.rows import SKIP, BadRow, Source, clip, missing, read_rows, rename_columns, without_nulls
from ..records import Completion, Prompt

_T = TypeVar("_T")
POLICIES = ("policy", "model", "model_id", "generator")
LABELS = ("label", "winner")
EXTRAS = (*LABELS, "who", "annotator", "judge", "reply", "reply_swapped")
"""Columns about a pair and not about its prompt."""
SIDES: Final = {"first": 1.0, "second": 0.0, "tie": 0.5}
WORDS: Final = {**SIDES, "a": 1.0, "b": 0.0, "left": 1.0, "right": 0.0, "chosen": 1.0, "rejected": 0.0}


class LabelCoding(Struct, frozen=True):
    """What the labels of a file mean."""

    values: dict[str, float] = {}
    """What the user says that single values mean."""
    kinds: dict[str, str] = {}
    """By column (`human_1` and `human_2` are one): words, places (0, 1, 2), probabilities or nothing."""

    def p_first(self, value: Any, column: str, policies: tuple[str, ...] = ()) -> float | None:
        """The probability that the first is better; None without a label."""
        word = label_word(value)
        if word in ("", "nan"):
            return None
        if word in self.values:
            return self.values[word]
        number, kind = _number(word), self.kinds.get(column.rstrip(digits))
        p: float | None = None
        if number is None:
            said = {WORDS[word]} if word in WORDS else set()
            if len(set(policies)) == 2 and (name := str(value).strip()) in policies:
                said.add(float(name == policies[0]))
            p = said.pop() if len(said) == 1 else None
        elif not self.values and (kind == "places" or number > 1):
            p = 0.5 if number == 0 else 2.0 - number
        elif not self.values and (kind == "probabilities" or number not in (0, 1)):
            p = number
        if p is not None and 0 <= p <= 1:
            return p
        known = ", ".join((*self.values, *WORDS))
        raise BadRow("unknown_label", f"{column} is {clip(value)}; it is one of {known}. {SKIP}")


PLAIN: Final = LabelCoding()


def labels_in(row: dict[str, Any]) -> Iterable[str]:
    """The column with the label of a pair, where the columns of the pair do not say it themselves."""
    pair = pair_columns(row)
    return () if pair is None or pair[0] == "chosen" else [name for name in LABELS if name in row][:1]


def label_coding(
    source: Source,
    columns: Mapping[str, str] | None = None,
    label_values: Mapping[Any, str] | None = None,
    find: Callable[[dict[str, Any]], Iterable[str]] = labels_in,
) -> LabelCoding:
    """What the labels of these rows mean; refuses a column of zeros and ones that nobody explained.

    Reads on until each column that `find` names has shown it, by a word or by another number, mostly in one
    row. Where the first 100 rows have no label, none is expected.
    """
    values: dict[str, float] = {}
    for key, side in (label_values or {}).items():
        if side not in SIDES:
            raise SettingError(nearest(f"meaning of {key}", side, SIDES))
        values[label_word(key)] = SIDES[side]
    kinds: dict[str, str] = {}
    unexplained: dict[str, str] = {}
    for n, (_, raw) in enumerate(read_rows(source)):
        if (kinds and all(kinds.values())) or (n == 100 and not kinds):
            break
        try:
            row = rename_columns(raw, columns or {})
        except BadRow:
            continue
        for name in find(row):
            word, column = label_word(row[name]), name.rstrip(digits)
            if word in ("", "nan") or kinds.setdefault(column, "") or word in values:
                continue
            if (number := _number(word)) is None:
                kinds[column] = "words" if WORDS.get(word) in (0, 1) else ""  # a tie may stand beside numbers
            elif number in (0, 1):
                unexplained[name] = word
            elif 0 < number <= 2:
                kinds[column] = "probabilities" if number < 1 else "places"
    for name, word in unexplained.items():
        if not kinds[name.rstrip(digits)]:
            where = f"{source}: " if isinstance(source, str | PathLike) else ""
            low, high = ("false", "true") if word in ("true", "false") else ("0", "1")
            column = (columns or {}).get(name, name)
            raise DataError(
                f"{where}a label under '{column}' is {word}, which could mean the first or the second."
                f" Say what each stands for: --label_values.{low} second --label_values.{high}"
                " first (or the other way round)"
            )
    return LabelCoding(values, kinds)


def label_word(value: Any) -> str:
    """A label in one spelling: 1, 1.0 and "1" are one, and so are a, A and model_a."""
    word = "" if value is None else str(value).strip().lower().removesuffix(".0")
    word = word.removeprefix("model_").removeprefix("response").removeprefix("_")
    return "tie" if word.startswith("tie") else word


def _number(word: str) -> float | None:
    try:
        return float({"true": "1", "false": "0"}.get(word, word))
    except ValueError:
        return None


def pair_columns(row: dict[str, Any]) -> tuple[str, str, str, str] | None:
    """Where the row has its two answers, and who wrote them."""
    return next((p for p in shapes.PAIRS if row.get(p[0]) is not None and row.get(p[1]) is not None), None)


def pair_of(
    row: dict[str, Any], coding: LabelCoding = PLAIN
) -> tuple[Prompt, Completion, Completion, float | None]:
    """A row that compares two completions; where it has a label, the probability that the first is better."""
    pair = pair_columns(row)
    if pair is None:
        raise BadRow("no_pair", _no_pair(row))
    one, other = row[pair[0]], row[pair[1]]
    if isinstance(one, dict) and isinstance(row.get("prompt"), dict):
        ours = of_preference(row, _Compared)
        return ours.prompt, ours.chosen, ours.rejected, ours.p
    used: tuple[str, ...] = ("prompt", "messages")
    if shapes.is_dialogue(one) and shapes.is_dialogue(other):
        messages, one, other = shapes.shared_beginning(one, other)
    else:
        messages, used = shapes.conversation(row)
    prompt = shapes.build_prompt(messages, (*used, *pair, *EXTRAS), row)
    first = _completion(prompt, one, pair[0], row.get(pair[2]))
    second = _completion(prompt, other, pair[1], row.get(pair[3]))
    p: float | None = 1.0
    if pair[0] != "chosen":
        column = next((name for name in LABELS if name in row), "")
        p = coding.p_first(row.get(column), column, (first.policy, second.policy))
    return prompt, first, second, p


class _Compared(Struct):
    """What a preference of ours compares."""

    prompt: Prompt
    chosen: Completion
    rejected: Completion
    p: float = 1.0


def of_preference(row: dict[str, Any], part: type[_T]) -> _T:
    """A row of `preferences.jsonl` or of the export `jsonl`, which a table may have been made of since."""
    try:
        return msgspec.convert(without_nulls(row), part)
    except msgspec.ValidationError as error:
        what = f"it is not a preference: {error}. Write it again with: jurist export RUN --format jsonl"
        raise BadRow("not_a_preference", what) from None


def _no_pair(row: dict[str, Any]) -> str:
    """What a row would need to be a pair."""
    for pair in shapes.PAIRS:
        absent = [name for name in pair[:2] if name not in row]
        if len(absent) == 1:
            return f"{missing(absent[0], row)} Say which one holds it with: --columns.{absent[0]} ..."
        if not absent:
            nothing = " and ".join(name for name in pair[:2] if row[name] is None)
            return f"nothing stands under {nothing}. {SKIP}"
    pairs = " or ".join(f"{one} and {other}" for one, other, *_ in shapes.PAIRS)
    ways = "Say which hold one with: --columns.first ... --columns.second ..."
    ways += "; other rows go to jurist label --completions FILE"
    return f"a pair is {pairs}; {missing('chosen', row)} {ways}"


def several_of(row: dict[str, Any]) -> tuple[Prompt, tuple[Completion, ...]]:
    """A row with a list of completions, or with one."""
    messages, used = shapes.conversation(row)
    column, who = shapes.first_of(row, (*shapes.LIST_COLUMNS, *shapes.TEXTS)), ""
    items = row.get(column)
    if column not in shapes.LIST_COLUMNS:
        if not column and used[0] in shapes.CHATS:
            last = shapes.turns(row[used[0]], used[0])[-1]
            items = last.content if last.role == "assistant" else None
        if items is None:
            ways = "Say which one holds it with: --columns.completion ..."
            raise BadRow("no_completion", f"{missing('completion', row)} {ways}")
        who = shapes.first_of(row, POLICIES)
        items = [{"text": items, "policy": row.get(who)}]
    elif not isinstance(items, list | tuple):
        example = 'Write it as: ["one answer", "another"]'
        raise BadRow("not_completions", f"{column} is {clip(items)}, not a list. {example}")
    prompt = shapes.build_prompt(messages, (*used, column, who), row)
    return prompt, tuple(_item(prompt, item, column) for item in items)


def _item(prompt: Prompt, item: Any, column: str) -> Completion:
    """One answer of a list: a text, a message, or a text with its policy."""
    if not isinstance(item, dict) or "role" in item or "from" in item:
        return _completion(prompt, item, column)
    text = item.get(shapes.first_of(item, ("text", *shapes.TEXTS, "content")))
    return _completion(prompt, text, column, item.get(shapes.first_of(item, POLICIES)), item.get("finish"))


def _completion(prompt: Prompt, value: Any, column: str, policy: Any = "", finish: Any = "") -> Completion:
    """An answer: a text, which a spreadsheet may have made a value, or one assistant message."""
    text = value
    if isinstance(value, list | tuple | dict):
        messages = shapes.turns([value] if isinstance(value, dict) else value, column)
        text = messages[0].content if [one.role for one in messages] == ["assistant"] else None
    if not isinstance(text, str | int | float):
        example = '[{"role": "assistant", "content": "..."}]'
        what = f"{column} is {clip(value)}, not an answer. Write a text, or: {example}"
        raise BadRow("not_a_text", what)
    policy, finish = policy if isinstance(policy, str) else "", "length" if finish == "length" else "stop"
    return Completion.of(prompt.id, str(text), policy, finish=finish)
