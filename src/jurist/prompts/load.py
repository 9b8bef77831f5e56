"""Prompts in the shapes people keep them in, each as a conversation that awaits an answer.

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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

from ..records import Dropped, IdSet, Message, Prompt
from .rows import SKIP, BadRow, Drop, OnError, Source, clip, for_shell, ignore, missing, parse_rows

Role = Literal["system", "user", "assistant"]
ROLES: dict[str, Role] = {"system": "system", "developer": "system"}
ROLES |= dict.fromkeys(("user", "human", "prompter"), "user")
ROLES |= dict.fromkeys(("assistant", "gpt", "bot", "chatgpt", "model"), "assistant")
CHATS = ("messages", "conversations", "conversation")
LISTS = ("completions", "responses")
TEXTS = ("completion", "response", "output", "generation")
PAIRS = (
    ("chosen", "rejected", "chosen_model", "rejected_model"),
    ("first", "second", "first_policy", "second_policy"),
    ("response_a", "response_b", "model_a", "model_b"),
    ("response1", "response2", "model1", "model2"),
    ("answer_a", "answer_b", "model_a", "model_b"),
    ("output_1", "output_2", "generator_1", "generator_2"),
    ("conversation_a", "conversation_b", "model_a", "model_b"),
)
"""Two columns that hold a pair, and the columns that may say who wrote them."""
ANSWERS = frozenset(name for pair in PAIRS for name in pair[:2]).union(LISTS, TEXTS)
COLUMNS = ANSWERS.union(
    CHATS,
    ("prompt", "instruction", "input", "question", "system", "domain", "stakes", "reference", "answer"),
    ("label", "winner", "policy", "who", "annotator", "judge", "reply", "reply_swapped"),
)
TRANSCRIPT = "\n\nHuman:"
"""How an HH-RLHF transcript begins."""


def load_prompts(
    source: Source,
    *,
    limit: int | None = None,
    dropped: Drop = ignore,
    columns: Mapping[str, str] | None = None,
    on_error: OnError = "stop",
    benchmarks: Sequence[Source] = (),
) -> Iterator[Prompt]:
    """Every prompt of a file, folder, hub dataset or rows in memory, once each, as a stream.

    Rows left out go to `dropped`, with the reason. A row that cannot be read stops the work with its file and
    line, or with `on_error="drop"` is left out like the others. `benchmarks` are files of test prompts:
    prompts that share 13 words in a row with one are left out as `contaminated`.
    """

    def parse(row: dict[str, Any], where: str) -> Prompt:
        return build_prompt(*conversation(row, where), row, where)

    def is_new(prompt: Prompt) -> bool:
        new = seen.add(prompt.id)
        if not new:
            dropped(Dropped(prompt.id, "prompts", "duplicate"))
        return new

    seen, is_clean = IdSet(), contamination_filter(benchmarks, dropped)
    rows = parse_rows(source, parse, COLUMNS, "prompts", columns=columns, on_error=on_error, dropped=dropped)
    yield from islice(filter(is_clean, filter(is_new, rows)), limit)


def split_of(prompt_id: str, held_out: float = 0.05) -> Literal["train", "test"]:
    """Which side a prompt falls on: by its content, so it never changes sides when the data grow."""
    return "test" if int(prompt_id[-8:], 16) < held_out * 2**32 else "train"


def contamination_filter(
    benchmarks: Sequence[Source], dropped: Drop = ignore, n: int = 13
) -> Callable[[Prompt], bool]:
    """Tells whether a prompt shares no n words in a row with a test prompt; GPT-3's authors took 13.

    A test prompt of fewer words is looked for whole. Runs of words are kept as their hashes.
    """

    def grams(prompt: Prompt) -> Iterator[tuple[str, ...]]:
        for message in prompt.messages:
            words = [*words_of(message.content)]
            yield from (tuple(words[i : i + n]) for i in range(max(len(words) - n + 1, bool(words))))

    test = {hash(gram) for source in benchmarks for item in load_prompts(source) for gram in grams(item)}

    def is_clean(prompt: Prompt) -> bool:
        shared = next((gram for gram in grams(prompt) if hash(gram) in test), ()) if test else ()
        if shared:
            dropped(Dropped(prompt.id, "prompts", "contaminated", " ".join(shared)))
        return not shared

    return is_clean


def words_of(text: str) -> Iterator[str]:
    """The words of a text, without case and without punctuation at their edges."""
    for raw in re.finditer(r"\S+", text):
        if word := raw[0].casefold().strip(".,;:!?\"'`*_#()[]{}«»“”’ "):
            yield word


def build_prompt(
    messages: tuple[Message, ...], used: Collection[str], row: dict[str, Any], where: str
) -> Prompt:
    """A checked prompt; the columns nobody used go to `meta`."""
    if not messages or messages[-1].role != "user":
        last = f"ends with the {messages[-1].role}'s turn" if messages else "has no turn"
        ways = "To leave off a last answer, write: --columns.messages prompt" if "prompt" in used else SKIP
        raise _bad(where, f"the prompt {last}: nothing awaits an answer. {ways}")
    if not messages[-1].content.strip():
        raise BadRow("empty", f"{where}: the prompt is empty")
    meta = {str(name): row[name] for name in row if name not in used and name not in ANSWERS}
    fields: dict[str, Any] = {}
    if (domain := meta.pop("domain", None)) is not None:
        fields["domain"] = str(domain)
    if stakes := meta.pop("stakes", None):
        if stakes not in ("normal", "high"):
            raise BadRow("bad_stakes", f"{where}: stakes is {clip(stakes)}; write: normal, or: high")
        fields["stakes"] = stakes
    for column in ("reference", "answer"):
        if isinstance(meta.get(column), str | int | float) and "reference" not in fields:
            fields["reference"] = str(meta.pop(column))
    if isinstance(inner := meta.get("meta"), dict):  # a prompt of ours, read again
        meta = inner | {k: v for k, v in meta.items() if k != "meta"}
    prompt = Prompt.of(messages, meta=meta, **fields)
    if meta.get("id") == prompt.id:
        del meta["id"]
    return prompt


def conversation(row: dict[str, Any], where: str) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """The turns that await an answer, and the columns they came from."""
    column = first_of(row, ("prompt", *CHATS, "instruction", "question"))
    used = (column, "input") if column == "instruction" else (column,)
    if column in CHATS:
        messages = unanswered(turns(row[column], column, where))
    elif column:
        text, more = row[column], row.get("input") if "input" in used else None
        both = isinstance(text, str) and isinstance(more, str) and more.strip()
        messages = _asked(f"{text}\n\n{more}" if both else text, column, where)
    elif is_dialogue(row.get("chosen")) and is_dialogue(row.get("rejected")):
        return shared_beginning(row["chosen"], row["rejected"], where)[0], ("chosen", "rejected")
    else:
        texts = [name for name, value in row.items() if isinstance(value, str | list) and name not in ANSWERS]
        longest = max(texts, key=lambda name: len(row[name]), default="...")
        ways = f"Say which column holds the prompt with: --columns.prompt {for_shell(longest)}"
        raise BadRow("no_prompt", f"{where}: {missing('prompt', row)} {ways}")
    system = row.get("system")
    if not isinstance(system, str) or not messages or messages[0].role == "system":
        return messages, used
    return (Message("system", system), *messages) if system.strip() else messages, (*used, "system")


def first_of(row: Mapping[str, Any], names: Iterable[str]) -> str:
    """The first of these columns that holds anything; empty where none does."""
    return next((name for name in names if row.get(name) is not None), "")


def _asked(value: Any, column: str, where: str) -> tuple[Message, ...]:
    """What is asked: a text, a transcript, or turns."""
    if not isinstance(value, str):
        return turns(value, column, where)
    return unanswered(_transcript(value)) if value.startswith(TRANSCRIPT) else (Message("user", value),)


def _bad(where: str, what: str) -> BadRow:
    return BadRow("not_a_conversation", f"{where}: {what}")


def _no_turns(where: str, column: str, value: Any) -> BadRow:
    example = '[{"role": "user", "content": "..."}]'
    return _bad(where, f"{column} is {clip(value)}, which is not a conversation. Write a text, or: {example}")


def turns(value: Any, column: str, where: str) -> tuple[Message, ...]:
    """Messages as role/content or from/value; text in parts is joined."""
    if not isinstance(value, list | tuple) or not value:
        raise _no_turns(where, column, value)
    messages = []
    for turn in value:
        if not isinstance(turn, dict):
            raise _no_turns(where, column, turn)
        speaker = turn.get("role", turn.get("from"))
        content = turn.get("content", turn.get("value"))
        role = ROLES.get(speaker) if isinstance(speaker, str) else None
        if role is None:
            by = f"a turn in {column} is by {clip(speaker)}; turns are by system, user or assistant"
            raise _bad(where, f"{by}. {SKIP}")
        if isinstance(content, list) and all(isinstance(part, dict) for part in content):
            parts = [part.get("text") for part in content]
            content = "".join(parts) if all(isinstance(part, str) for part in parts) else content
        if not isinstance(content, str):
            raise _no_turns(where, column, turn)
        messages.append(Message(role, content))
    return tuple(messages)


def unanswered(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The conversation up to the turn that awaits an answer."""
    while messages and messages[-1].role == "assistant":
        messages = messages[:-1]
    return messages


def _transcript(text: str) -> tuple[Message, ...]:
    """An HH-RLHF transcript as messages."""
    parts = re.split(r"\n\n(Human|Assistant):", text)
    return tuple(
        Message("user" if speaker == "Human" else "assistant", words.strip())
        for speaker, words in zip(parts[1::2], parts[2::2], strict=True)
    )


def is_dialogue(value: Any) -> bool:
    """Whether this holds a prompt as well as an answer."""
    if isinstance(value, str):
        return value.startswith(TRANSCRIPT) and "\n\nAssistant:" in value
    return isinstance(value, list | tuple) and len(value) > 1


def shared_beginning(chosen: Any, rejected: Any, where: str) -> tuple[tuple[Message, ...], str, str]:
    """Two dialogues that differ in their last answer only: what they share, and the two answers."""
    one, other = (
        _transcript(value) if isinstance(value, str) else turns(value, column, where)
        for column, value in (("chosen", chosen), ("rejected", rejected))
    )
    if one[-1].role != "assistant" or other[-1].role != "assistant":
        raise _bad(where, f"chosen and rejected have to end with the assistant's turn. {SKIP}")
    if one[:-1] != other[:-1]:
        raise BadRow("prompts_differ", f"{where}: chosen and rejected answer different conversations")
    return one[:-1], one[-1].content, other[-1].content
