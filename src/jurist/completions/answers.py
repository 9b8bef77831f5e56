"""The shapes people keep completions in: the texts of one row, who wrote them, and which was called better.

| columns | known from |
|---|---|
| completions or responses: a list of texts, or of {text, policy} | our own files, UltraFeedback |
| chosen, rejected: texts, messages or whole dialogues | TRL, HH-RLHF, binarised UltraFeedback |
| first, second; response_a, response_b; response1, response2 | arenas, PandaLM |
| answer_a, answer_b; output_1, output_2; conversation_a, conversation_b | AlpacaEval, LMSYS |
| completion, response or output: one text a row | generation logs |
| messages that end with an answer | SFT sets |

Rows with one completion that follow each other and have the same prompt belong together. A `label` or
`winner` names the better one as `first` / `second`, `a` / `b`, `model_a` / `model_b` or 1 / 2, and `tie` or 0
means neither (as in PandaLM); a number between 0 and 1 is the probability that the first is better.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..prompts.load import DIALOGUE, build_prompt, conversation, missing, shared_beginning, turns
from ..prompts.rows import BadRow, clip
from ..records import Completion, Message, Prompt

LISTS = ("completions", "responses")
TEXTS = ("completion", "response", "output")
POLICIES = ("policy", "model", "generator")


class PairColumns(NamedTuple):
    """Two columns that hold a pair, and the columns that may say who wrote them."""

    first: str
    second: str
    first_policy: str
    second_policy: str


PAIRS = (
    PairColumns("chosen", "rejected", "chosen_model", "rejected_model"),
    PairColumns("first", "second", "first_policy", "second_policy"),
    PairColumns("response_a", "response_b", "model_a", "model_b"),
    PairColumns("response1", "response2", "model1", "model2"),
    PairColumns("answer_a", "answer_b", "model_a", "model_b"),
    PairColumns("output_1", "output_2", "generator_1", "generator_2"),
    PairColumns("conversation_a", "conversation_b", "model_a", "model_b"),
)
WINNERS = {"first": 1.0, "a": 1.0, "1": 1.0, "second": 0.0, "b": 0.0, "2": 0.0, "tie": 0.5, "0": 0.5}


class Answered(NamedTuple):
    """One row: a prompt, its completions and, if the row says, how sure it is that the first is better."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    p_first: float | None = None
    is_pair: bool = False


def pair_of(row: dict[str, Any], where: str, judged: bool = False) -> Answered:
    """A row that compares two completions; one that is `judged` may hold an empty answer."""
    columns = pair_columns(row)
    if columns is None:
        raise BadRow("no_pair", f"{where}: {_no_pair(row)}")
    one, other = row[columns.first], row[columns.second]
    if _whole_dialogue(one) and _whole_dialogue(other):
        messages, first, second = shared_beginning(one, other, where)
        used: tuple[str, ...] = tuple(c for c in ("prompt", "messages") if c in row)
    else:
        messages, used = conversation(row, where)
        first, second = text_of(one, columns.first, where), text_of(other, columns.second, where)
    prompt = build_prompt(messages, row, (*used, *columns, *_label_columns(row)), where)
    p_first = 1.0 if columns.first == "chosen" else winner(row, where)
    labelled = judged or p_first is not None
    completions = (
        completion(prompt, first, row.get(columns.first_policy), where, labelled),
        completion(prompt, second, row.get(columns.second_policy), where, labelled),
    )
    return Answered(prompt, completions, p_first, is_pair=True)


def _no_pair(row: dict[str, Any]) -> str:
    """What a row would need to be a pair."""
    for known in PAIRS:
        absent = [name for name in known[:2] if name not in row]
        if len(absent) == 1:
            return f"{missing(absent[0], row)} Say which one holds it with: --columns.{absent[0]} ..."
        if not absent:
            nothing = " and ".join(name for name in known[:2] if row[name] is None)
            return f"nothing stands under {nothing}. Leave such rows out with: --on_error drop"
    if any(column in row for column in (*LISTS, *TEXTS)):
        return "these are completions, and no pair of them is named. Let them meet with: --completions FILE"
    columns = " or ".join(f"{s.first} and {s.second}" for s in PAIRS)
    return (
        f"a pair is {columns}; {missing('chosen', row)} Say which hold them with: "
        "--columns.first ... --columns.second ..."
    )


def several_of(row: dict[str, Any], where: str) -> Answered:
    """A row with a list of completions, or with one."""
    column = next((c for c in LISTS if row.get(c) is not None), None)
    if column is None:
        return _one_of(row, where)
    items = row[column]
    if not isinstance(items, list | tuple):
        raise BadRow(
            "not_completions",
            f'{where}: {column} is {clip(items)}, not a list. Write it as: ["one answer", "another"]',
        )
    messages, used = conversation(row, where)
    prompt = build_prompt(messages, row, (*used, column), where)
    return Answered(prompt, tuple(_item(prompt, item, column, where) for item in items))


def _one_of(row: dict[str, Any], where: str) -> Answered:
    column = next((c for c in TEXTS if row.get(c) is not None), None)
    policy = next((c for c in POLICIES if isinstance(row.get(c), str)), None)
    extra = () if policy is None else (policy,)
    if column is None:
        messages, used = conversation(row, where)
        said = turns(row["messages"], "messages", where) if used[:1] == ("messages",) else messages
        if len(said) == len(messages) or said[-1].role != "assistant":
            raise BadRow(
                "no_completion",
                f"{where}: {missing('completion', row)} Say which one holds it with: "
                "--columns.completion ...",
            )
        text, messages = said[-1].content, said[:-1]
    else:
        messages, used = conversation(row, where)
        text = text_of(row[column], column, where)
        extra = (*extra, column)
    prompt = build_prompt(messages, row, (*used, *extra), where)
    return Answered(prompt, (completion(prompt, text, row[policy] if policy else None, where),))


def pair_columns(row: dict[str, Any]) -> PairColumns | None:
    return next((s for s in PAIRS if row.get(s.first) is not None and row.get(s.second) is not None), None)


def _label_columns(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(c for c in ("label", "winner") if c in row)


def winner(row: dict[str, Any], where: str) -> float | None:
    """The probability that the first is better, as the row's label says it; None without a label."""
    value = row.get("label", row.get("winner"))
    if value is None or value == "":
        return None
    if isinstance(value, float) and 0.0 < value < 1.0:
        return value
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        name = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().lower()
        name = name.removeprefix("model_").removeprefix("response_").removeprefix("response")
        if (p := WINNERS.get("tie" if name.startswith("tie") else name)) is not None:
            return p
    raise BadRow(
        "unknown_label",
        f"{where}: the label is {clip(value)}; it is one of {', '.join(WINNERS)}. "
        "Leave such rows out with: --on_error drop",
    )


def _whole_dialogue(value: Any) -> bool:
    """Whether this holds the prompt as well as the answer."""
    if isinstance(value, str):
        return value.startswith("\n\nHuman:") and DIALOGUE.search(value, 1) is not None
    return isinstance(value, list | tuple) and len(value) > 1


def text_of(value: Any, column: str, where: str) -> str:
    """An answer, written as a text or as one assistant message.

    Files that went through YAML or a spreadsheet have `True` and `42` as values; they are texts again.
    """
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, dict) and ("role" in value or "from" in value):
        value = [value]
    messages: tuple[Message, ...] = turns(value, column, where) if isinstance(value, list | tuple) else ()
    if len(messages) != 1 or messages[0].role != "assistant":
        raise BadRow(
            "not_a_text",
            f"{where}: {column} is {clip(value)}, not an answer. Write a text, or: "
            '[{"role": "assistant", "content": "..."}]',
        )
    return messages[0].content


def _item(prompt: Prompt, item: Any, column: str, where: str) -> Completion:
    if not isinstance(item, dict):
        return completion(prompt, text_of(item, column, where), None, where)
    text = next((item[c] for c in ("text", *TEXTS, "content") if item.get(c) is not None), None)
    policy = next((item[c] for c in POLICIES if isinstance(item.get(c), str)), None)
    finish = item.get("finish")
    found = completion(prompt, text_of(text, column, where), policy, where)
    return (
        Completion.of(prompt.id, found.text, found.policy, finish="length") if finish == "length" else found
    )


def completion(prompt: Prompt, text: str, policy: Any, where: str, may_be_empty: bool = False) -> Completion:
    """A completion; an empty one only where someone compared it with another, for a label is never lost."""
    if not may_be_empty and (not text or text.isspace()):
        raise BadRow("empty", f"{where}: a completion is empty")
    try:
        return Completion.of(prompt.id, text, policy if isinstance(policy, str) else "")
    except UnicodeEncodeError as error:
        raise BadRow(
            "not_utf8", f"{where} holds half of a surrogate pair. Leave such rows out with: --on_error drop"
        ) from error
