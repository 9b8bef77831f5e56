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
LIST_COLUMNS = ("completions", "responses")
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
ANSWERS = frozenset(name for pair in PAIRS for name in pair[:2]).union(LIST_COLUMNS, TEXTS)
COLUMNS = ANSWERS.union(
    CHATS,
    ("prompt", "instruction", "input", "question", "system", "domain", "stakes", "reference", "answer"),
    ("label", "winner", "policy", "who", "annotator", "judge", "reply", "reply_swapped"),
)
TRANSCRIPT = "\n\nHuman:"  # how one of HH-RLHF begins


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

    Rows left out go to `dropped`, with the reason. A row that cannot be read stops the work, or with
    `on_error="drop"` is left out like the others. `benchmarks` are files of test prompts.
    """

    def parse(row: dict[str, Any]) -> Prompt:
        return build_prompt(*conversation(row), row)

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


def contamination_filter(benchmarks: Sequence[Source], dropped: Drop) -> Callable[[Prompt], bool]:
    """Whether a prompt shares no 13 words in a row (GPT-3's measure), or shorter turn, with a test prompt."""

    def grams(prompt: Prompt) -> Iterator[tuple[str, ...]]:
        for message in prompt.messages:
            words = [*words_of(message.content)]
            yield from (tuple(words[i : i + 13]) for i in range(max(len(words) - 12, bool(words))))

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


def build_prompt(messages: tuple[Message, ...], used: Collection[str], row: dict[str, Any]) -> Prompt:
    """A checked prompt; the columns nobody used go to `meta`."""
    if not messages or messages[-1].role != "user":
        ways = "To leave off a last answer, write: --columns.messages prompt" if "prompt" in used else SKIP
        raise BadRow("not_a_conversation", f"the prompt does not end with the user's turn. {ways}")
    if not messages[-1].content.strip():
        raise BadRow("empty", "the prompt is empty")
    meta = {str(name): row[name] for name in row if name not in used and name not in ANSWERS}
    domain, stakes = meta.pop("domain", None), meta.pop("stakes", None) or "normal"
    if stakes not in ("normal", "high"):
        raise BadRow("bad_stakes", f"stakes is {clip(stakes)}; write: normal, or: high")
    named = [name for name in ("reference", "answer") if isinstance(meta.get(name), str | int | float)]
    reference = str(meta.pop(named[0])) if named else None
    if isinstance(meta.get("meta"), dict):  # a prompt of ours, read again
        meta = meta.pop("meta") | meta
    prompt = Prompt.of(
        messages, domain="" if domain is None else str(domain), stakes=stakes, reference=reference, meta=meta
    )
    if meta.get("id") == prompt.id:
        del meta["id"]
    return prompt


def conversation(row: dict[str, Any]) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """The turns that await an answer, and the columns they came from."""
    column = first_of(row, ("prompt", *CHATS, "instruction", "question"))
    used: tuple[str, ...] = (column,)
    if column:
        asked = row[column]
        if isinstance(asked, dict):  # a prompt of ours, in a preference
            asked = asked.get("messages")
        if column == "instruction":
            used, more = (*used, "input"), row.get("input")
            if isinstance(asked, str) and isinstance(more, str) and more.strip():
                asked = f"{asked}\n\n{more}"
        messages = turns(asked, column)
        if column in CHATS or isinstance(asked, str):
            while messages and messages[-1].role == "assistant":
                messages = messages[:-1]
    elif is_dialogue(row.get("chosen")) and is_dialogue(row.get("rejected")):
        return shared_beginning(row["chosen"], row["rejected"])[0], ("chosen", "rejected")
    else:
        texts = [name for name, value in row.items() if isinstance(value, str | list) and name not in ANSWERS]
        longest = max(texts, key=lambda name: len(row[name]), default="...")
        ways = f"Say which column holds the prompt with: --columns.prompt {for_shell(longest)}"
        raise BadRow("no_prompt", f"{missing('prompt', row)} {ways}")
    system = row.get("system")
    if not isinstance(system, str) or not messages or messages[0].role == "system":
        return messages, used
    return (Message("system", system), *messages) if system.strip() else messages, (*used, "system")


def first_of(row: Mapping[str, Any], names: Iterable[str]) -> str:
    """The first of these columns that holds anything; empty where none does."""
    return next((name for name in names if row.get(name) is not None), "")


def _no_turn(column: str, value: Any) -> BadRow:
    turn = '{"role": "user", "content": "..."}'
    ways = f"Write a text, or turns of system, user and assistant like {turn}. {SKIP}"
    return BadRow("not_a_conversation", f"{column} holds {clip(value)}. {ways}")


def turns(value: Any, column: str) -> tuple[Message, ...]:
    """A text, an HH-RLHF transcript, or messages as role/content or from/value; text in parts is joined."""
    if isinstance(value, str):
        if not value.startswith(TRANSCRIPT):
            return (Message("user", value),)
        parts = re.split(r"\n\n(Human|Assistant):", value)
        said = zip(parts[1::2], parts[2::2], strict=True)
        return tuple(Message(ROLES[speaker.lower()], words.strip()) for speaker, words in said)
    if not isinstance(value, list | tuple) or not value:
        raise _no_turn(column, value)
    messages = []
    for turn in value:
        fields = turn if isinstance(turn, dict) else {}
        speaker, content = fields.get("role", fields.get("from")), fields.get("content", fields.get("value"))
        if isinstance(content, list):
            texts: list[Any] = [part.get("text") if isinstance(part, dict) else None for part in content]
            content = "".join(texts) if all(isinstance(text, str) for text in texts) else None
        role = ROLES.get(speaker) if isinstance(speaker, str) else None
        if role is None or not isinstance(content, str):
            raise _no_turn(column, turn)
        messages.append(Message(role, content))
    return tuple(messages)


def is_dialogue(value: Any) -> bool:
    """Whether this holds a prompt as well as an answer."""
    if isinstance(value, str):
        return value.startswith(TRANSCRIPT) and "\n\nAssistant:" in value
    return isinstance(value, list | tuple) and len(value) > 1


def shared_beginning(chosen: Any, rejected: Any) -> tuple[tuple[Message, ...], str, str]:
    """Two dialogues that differ in their last answer only: what they share, and the two answers."""
    one, other = turns(chosen, "chosen"), turns(rejected, "rejected")
    if one[-1].role != "assistant" or other[-1].role != "assistant":
        raise BadRow(
            "not_a_conversation", f"chosen and rejected do not end with the assistant's turn. {SKIP}"
        )
    if one[:-1] != other[:-1]:
        raise BadRow("prompts_differ", "chosen and rejected answer different conversations")
    return one[:-1], one[-1].content, other[-1].content
