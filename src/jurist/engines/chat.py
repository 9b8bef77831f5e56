"""A chat template, applied: a conversation as its model reads it, and the tokens that end an answer.

Engines ask and trainers teach through here, so that a model learns in the very form in which it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from ..errors import SettingError
from ..records import Message

_ANSWER: Final = "answer"


def render(tokenizer: Any, messages: Sequence[Message], answer: str | None = None) -> str:
    """The conversation up to where its answer starts, or with the answer that is given.

    Some templates refuse a system turn; what it says then goes before the first user turn.
    """
    from jinja2 import TemplateError

    turns = [{"role": turn.role, "content": turn.content} for turn in messages]
    if answer is not None:
        turns.append({"role": "assistant", "content": answer})
    how = {"tokenize": False, "add_generation_prompt": answer is None}
    try:
        return str(tokenizer.apply_chat_template(turns, **how))
    except TemplateError:
        if [turn["role"] for turn in turns[:2]] != ["system", "user"]:
            raise
        first = {**turns[1], "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
        return str(tokenizer.apply_chat_template([first, *turns[2:]], **how))


def settle(tokenizer: Any, kwargs: Mapping[str, Any]) -> None:
    """Write arguments of the template, e.g. `enable_thinking: false`, into it, where they count from then on.

    They are saved with it: whoever opens a model that has learnt without thinking aloud asks it so. Who gives
    such an argument himself still has the last word.
    """
    for name in kwargs:
        if not name.isidentifier():
            raise SettingError(
                f"chat_template_kwargs are arguments of a template, and '{name}' is no name for one."
                " Write them like: --chat_template_kwargs.enable_thinking false"
            )
    said = "".join(
        f"{{% if {name} is not defined %}}{{% set {name} = {_literal(value)} %}}{{% endif %}}"
        for name, value in kwargs.items()
    )
    template = tokenizer.get_chat_template() if kwargs else ""
    if not template.startswith(said):
        tokenizer.chat_template = said + template


def _literal(value: Any) -> str:
    """As Jinja writes it, which is as JSON does but for what is nothing."""
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(str(key))}: {_literal(one)}' for key, one in value.items())}}}"
    return json.dumps(value)


def end_of_turn(tokenizer: Any) -> int:
    """The token that closes an answer: what the template writes behind it, or eos where it writes none."""
    return _end_of_turn(tokenizer, tokenizer.get_chat_template())


@lru_cache(maxsize=8)
def _end_of_turn(tokenizer: Any, template: str) -> int:
    from jinja2 import TemplateError

    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _ANSWER}]
    try:
        text = tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)
    except TemplateError:  # it wants something else of a conversation; what that is, each prompt will tell
        return int(tokenizer.eos_token_id)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    special -= {tokenizer.unk_token_id} - {tokenizer.eos_token_id}
    behind = text.rpartition(_ANSWER)[2]
    # The first of them: some templates close the whole conversation, too, where no answer is awaited.
    for token in tokenizer(behind, add_special_tokens=False)["input_ids"]:
        if token in special:
            return int(token)
        if tokenizer.decode([token]).strip():
            break
    return int(tokenizer.eos_token_id)


def ends(tokenizer: Any, model: Any) -> list[int]:
    """All tokens at which an answer is over: the model's, the tokenizer's, and the template's."""
    told = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    named: Iterable[int] = told if isinstance(told, list) else () if told is None else (told,)
    own = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id, end_of_turn(tokenizer))
    return sorted({int(one) for one in (*named, *own)})
