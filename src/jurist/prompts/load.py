"""The shapes people keep prompts in, and how each becomes a conversation.

| columns | known from |
|---|---|
| prompt: text or messages | TRL, our own files |
| messages | chat logs and SFT sets; a last answer is left off |
| conversations (or conversation): from/value or role/content | ShareGPT, LMSYS |
| chosen, rejected: dialogues with the same beginning | HH-RLHF, TRL with an implicit prompt |
| instruction and, it may be, input | Alpaca, UltraFeedback |
| question | GSM8K and other question sets |

A `system` column goes in front. `domain`, `stakes` and `reference` (or `answer`) are kept under their names,
and every other column under `meta`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Set
from difflib import get_close_matches
from typing import Any, Literal

from ..errors import SettingError, nearest
from ..records import Dropped, IdSet, Message, Prompt
from .rows import BadRow, Source, clip, ignore, read_rows

Role = Literal["system", "user", "assistant"]
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}
CHATS = ("messages", "conversations", "conversation")
DIALOGUE = re.compile(r"\n\n(Human|Assistant):")
ANSWERS = frozenset(
    {"chosen", "rejected", "first", "second", "response_a", "response_b", "response1", "response2"}
    | {"output_1", "output_2", "answer_a", "answer_b", "conversation_a", "conversation_b"}
    | {"completions", "responses", "completion", "response", "output"}
)
COLUMNS = frozenset(
    {"prompt", "messages", "conversations", "conversation", "instruction", "input", "question", "system"}
    | {"domain", "stakes", "reference", "answer", "label", "winner", "policy"}
    | ANSWERS
)


def rename_columns(
    row: Any, columns: Mapping[str, str], where: str, known: Set[str] = COLUMNS
) -> dict[str, Any]:
    """The row under the names used here; `columns` says `ours: theirs`."""
    if isinstance(row, BadRow):
        raise row
    if not isinstance(row, Mapping):
        raise BadRow(
            "not_an_object",
            f'{where} holds {clip(row)}, not a row. A row looks like: {{"prompt": "Why is the sky blue?"}}',
        )
    if not columns:
        return row if isinstance(row, dict) else dict(row)
    for ours, theirs in columns.items():
        if ours not in known:
            raise SettingError(nearest("column", ours, known))
        if theirs not in row:
            raise BadRow("no_column", f"{where}: {missing(theirs, row)} Write it as: --columns.{ours} ...")
    taken = set(columns.values())
    return {k: v for k, v in row.items() if k not in taken} | {o: row[t] for o, t in columns.items()}


def missing(name: str, row: Mapping[str, Any]) -> str:
    """What to say when a row has no such column."""
    if not row:
        return f"no column called '{name}'; the row is empty."
    return nearest("column", name, [clip(k)[1:-1] if len(str(k)) > 60 else str(k) for k in list(row)[:40]])


def prompt_of(row: dict[str, Any], where: str) -> Prompt:
    """The prompt in a row, with everything the row says about it."""
    messages, used = conversation(row, where)
    return build_prompt(messages, row, used, where)


def build_prompt(
    messages: tuple[Message, ...], row: dict[str, Any], used: tuple[str, ...], where: str
) -> Prompt:
    """A checked prompt; the columns nobody used go to `meta`."""
    check_prompt(messages, where)
    if row.keys() <= set(used):
        try:
            return Prompt.of(messages)
        except UnicodeEncodeError as error:
            raise _half_a_character(where) from error
    meta = {str(k): v for k, v in row.items() if k not in used and k not in ANSWERS}
    fields: dict[str, Any] = {}
    domain = meta.pop("domain", None)
    if domain is not None:
        fields["domain"] = str(domain)
    stakes = meta.pop("stakes", None)
    if stakes is not None:
        if stakes not in ("normal", "high"):
            raise BadRow("bad_stakes", f"{where}: stakes is {clip(stakes)}; write: normal, or: high")
        fields["stakes"] = stakes
    for column in ("reference", "answer"):
        if isinstance(meta.get(column), str | int | float) and "reference" not in fields:
            fields["reference"] = str(meta.pop(column))
    if isinstance(inner := meta.get("meta"), dict):  # a prompt of ours, read again
        meta = {**inner, **{k: v for k, v in meta.items() if k != "meta"}}
    try:
        prompt = Prompt.of(messages, meta=meta, **fields)
    except UnicodeEncodeError as error:
        raise _half_a_character(where) from error
    if meta.get("id") == prompt.id:
        del meta["id"]
    return prompt


def _half_a_character(where: str) -> BadRow:
    return BadRow(
        "not_utf8", f"{where} holds half of a surrogate pair. Leave such rows out with: --on_error drop"
    )


def conversation(row: dict[str, Any], where: str) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """The turns that await an answer, and the columns they came from."""
    if (value := row.get("prompt")) is not None:
        messages, used = _explicit(value, where), ("prompt",)
    elif (column := next((name for name in CHATS if row.get(name) is not None), None)) is not None:
        messages, used = unanswered(turns(row[column], column, where)), (column,)
    elif row.get("instruction") is not None:
        return _with_system(row, _instruction(row, where), ("instruction", "input"))
    elif row.get("question") is not None:
        messages, used = (Message("user", _text(row, "question", where)),), ("question",)
    elif row.get("chosen") is not None and row.get("rejected") is not None:
        return shared_beginning(row["chosen"], row["rejected"], where)[0], ("chosen", "rejected")
    else:
        raise _no_prompt(row, where)
    return _with_system(row, messages, used)


def _no_prompt(row: Mapping[str, Any], where: str) -> BadRow:
    texts = [str(k) for k, v in row.items() if isinstance(v, str | list) and len(str(k)) < 60]
    guess = (get_close_matches("prompt", texts, 1) or [k for k in texts if k not in ANSWERS] or ["..."])[0]
    return BadRow(
        "no_prompt",
        f"{where}: {missing('prompt', row)} Say which one holds the prompt with: --columns.prompt {guess}",
    )


def _with_system(
    row: dict[str, Any], messages: tuple[Message, ...], used: tuple[str, ...]
) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    system = row.get("system")
    if not isinstance(system, str) or not messages or messages[0].role == "system":
        return messages, used
    if system.strip():
        messages = (Message("system", system), *messages)
    return messages, (*used, "system")


def _explicit(value: Any, where: str) -> tuple[Message, ...]:
    if isinstance(value, str):
        if value.startswith("\n\nHuman:"):
            return unanswered(dialogue(value))
        return (Message("user", value),)
    messages = turns(value, "prompt", where)
    if messages and messages[-1].role == "assistant":
        raise BadRow(
            "not_a_conversation",
            f"{where}: the prompt ends with the assistant's turn {clip(messages[-1].content)}, so nothing "
            "awaits an answer. To leave that turn off, write: --columns.messages prompt",
        )
    return messages


def _instruction(row: dict[str, Any], where: str) -> tuple[Message, ...]:
    text = _text(row, "instruction", where)
    more = row.get("input")
    if isinstance(more, str) and more.strip():
        text = f"{text}\n\n{more}"
    return (Message("user", text),)


def _text(row: dict[str, Any], column: str, where: str) -> str:
    value = row[column]
    if not isinstance(value, str):
        raise _not_a_conversation(where, column, value)
    return value


def _not_a_conversation(where: str, column: str, value: Any) -> BadRow:
    return BadRow(
        "not_a_conversation",
        f"{where}: {column} is {clip(value)}, which is not a conversation. Write a text, or: "
        '[{"role": "user", "content": "..."}]',
    )


def turns(value: Any, column: str, where: str) -> tuple[Message, ...]:
    """Messages as role/content or from/value; text in parts is joined."""
    if not isinstance(value, list | tuple) or not value:
        raise _not_a_conversation(where, column, value)
    messages = []
    for turn in value:
        if not isinstance(turn, dict):
            raise _not_a_conversation(where, column, turn)
        said_by = turn.get("role", turn.get("from"))
        content = turn.get("content", turn.get("value"))
        role = ROLES.get(said_by) if isinstance(said_by, str) else None
        if role is None:
            raise BadRow(
                "not_a_conversation",
                f"{where}: a turn in {column} is by {clip(said_by)}; turns are by system, user or assistant. "
                "Leave such rows out with: --on_error drop",
            )
        if isinstance(content, list) and all(
            isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
        ):
            content = "".join(part["text"] for part in content)
        if not isinstance(content, str):
            raise _not_a_conversation(where, column, turn)
        messages.append(Message(role, content))
    return tuple(messages)


def unanswered(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The conversation up to the turn that awaits an answer."""
    end = len(messages)
    while end and messages[end - 1].role == "assistant":
        end -= 1
    return messages[:end]


def dialogue(text: str) -> tuple[Message, ...]:
    """An HH-RLHF transcript as messages."""
    parts = DIALOGUE.split(text)
    speakers, said = parts[1::2], parts[2::2]
    return tuple(
        Message("user" if speaker == "Human" else "assistant", words.strip())
        for speaker, words in zip(speakers, said, strict=True)
    )


def shared_beginning(chosen: Any, rejected: Any, where: str) -> tuple[tuple[Message, ...], str, str]:
    """Two dialogues that differ in their last answer only: what they share, and the two answers."""
    one, other = _whole(chosen, "chosen", where), _whole(rejected, "rejected", where)
    if one[-1].role != "assistant" or other[-1].role != "assistant":
        raise BadRow(
            "not_a_conversation",
            f"{where}: chosen and rejected have to end with the assistant's turn. "
            "Leave such rows out with: --on_error drop",
        )
    if one[:-1] != other[:-1]:
        raise BadRow("prompts_differ", f"{where}: chosen and rejected answer different conversations")
    return one[:-1], one[-1].content, other[-1].content


def _whole(value: Any, column: str, where: str) -> tuple[Message, ...]:
    if not isinstance(value, str):
        return turns(value, column, where)
    if not value.startswith("\n\nHuman:"):
        raise BadRow(
            "no_prompt",
            f"{where}: no prompt, and {column} is no dialogue either ({clip(value)}). "
            "Say which column holds the prompt with: --columns.prompt ...",
        )
    return dialogue(value)


def check_prompt(messages: tuple[Message, ...], where: str) -> None:
    """A prompt ends with the user's words."""
    if not messages or messages[-1].role != "user":
        last = f"ends with the {messages[-1].role}'s turn" if messages else "has no turn"
        raise BadRow(
            "not_a_conversation",
            f"{where}: the prompt {last}; it has to end with the user's. "
            "Leave such rows out with: --on_error drop",
        )
    content = messages[-1].content
    if not content or content.isspace():
        raise BadRow("empty", f"{where}: the prompt is empty. Look at that row; it is left out")


OnError = Literal["stop", "drop"]
LEFT_OUT = (
    "empty",
    "prompts_differ",
)  # what data simply holds, as against a file that is not what it should be


def load_prompts(
    source: Source,
    *,
    limit: int | None = None,
    dropped: Callable[[Dropped], None] = ignore,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "stop",
) -> Iterator[Prompt]:
    """Every prompt of a file, folder, hub dataset or iterable of rows, once each.

    Rows left out are told to `dropped`, by name. A row that cannot be read stops the work with its file and
    line, or with `on_error="drop"` is left out by name like the others.
    """
    check_on_error(on_error)
    left = -1 if limit is None else max(limit, 0)
    seen = IdSet()
    if not left:
        return
    for where, row in read_rows(source):
        try:
            prompt = prompt_of(rename_columns(row, columns or {}, where), where)
        except BadRow as bad:
            leave_out(bad, where, "prompts", on_error, dropped)
            continue
        if not seen.add(prompt.id):
            dropped(Dropped(prompt.id, "prompts", "duplicate", where))
            continue
        yield prompt
        left -= 1
        if not left:
            return


def check_on_error(on_error: str) -> None:
    if on_error not in ("stop", "drop"):
        raise SettingError(nearest("way to go on after an error", on_error, ("stop", "drop")))


def leave_out(
    bad: BadRow, where: str, stage: str, on_error: OnError, dropped: Callable[[Dropped], None]
) -> None:
    """Count a bad row by name, or stop the work with it."""
    if on_error == "stop" and bad.reason not in LEFT_OUT:
        raise bad
    dropped(Dropped(where, stage, bad.reason, str(bad)))


def split_of(prompt_id: str, held_out: float = 0.05) -> Literal["train", "test"]:
    """Which side a prompt falls on: by its content, so it never changes sides when the data grow."""
    return "test" if int(prompt_id[-8:], 16) < held_out * 2**32 else "train"
