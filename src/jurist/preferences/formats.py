"""The rows that trainers read. A format is one function and one line in `FORMATS`.

| format | a row has | read by |
|---|---|---|
| trl | prompt, chosen, rejected as messages; p, margin, weight, id | TRL's DPO, reward and others |
| trl_implicit | chosen, rejected as whole conversations; p, margin, weight, id | the same |
| kto | prompt, completion, label | TRL's KTO: two unpaired rows a preference |
| sft | messages | TRL's SFT, Axolotl, LLaMA-Factory: the chosen answers |
| openrlhf | chosen, rejected as whole conversations; margin | OpenRLHF with --apply_chat_template |
| handbook | prompt, prompt_id, chosen, rejected, messages, two scores | the alignment handbook |
| jsonl | every field of a preference | Jurist |
| parquet, datasets | as trl | anything that reads Parquet or a `datasets` folder |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..records import Completion, Message, Preference, Prompt


def _answer(completion: Completion) -> tuple[Message, ...]:
    return (Message("assistant", completion.text),)


def _label(preference: Preference) -> dict[str, Any]:
    """What the judge knew, for trainers that can use it. TRL reads `margin` in its reward trainer."""
    return {
        "p": preference.p,
        "margin": preference.margin,
        "weight": preference.weight,
        "id": preference.id,
    }


def trl(preference: Preference) -> list[Any]:
    return [
        {
            "prompt": preference.prompt.messages,
            "chosen": _answer(preference.chosen),
            "rejected": _answer(preference.rejected),
            **_label(preference),
        }
    ]


def trl_implicit(preference: Preference) -> list[Any]:
    return [{**_whole(preference), **_label(preference)}]


def _whole(preference: Preference) -> dict[str, Any]:
    messages = preference.prompt.messages
    return {
        "chosen": messages + _answer(preference.chosen),
        "rejected": messages + _answer(preference.rejected),
    }


def kto(preference: Preference) -> list[Any]:
    return [
        {
            "prompt": preference.prompt.messages,
            "completion": _answer(completion),
            "label": label,
            "id": preference.id,
        }
        for completion, label in ((preference.chosen, True), (preference.rejected, False))
    ]


def sft(preference: Preference) -> list[Any]:
    return [target(preference.prompt, preference.chosen)]


def target(prompt: Prompt, completion: Completion) -> dict[str, Any]:
    """One answer to learn by heart."""
    return {"messages": prompt.messages + _answer(completion), "id": completion.id}


def openrlhf(preference: Preference) -> list[Any]:
    return [{**_whole(preference), "margin": preference.margin, "id": preference.id}]


def handbook(preference: Preference) -> list[Any]:
    """Scores are p and 1 - p, so that they are on one scale whatever the judge's was."""
    whole = _whole(preference)
    return [
        {
            "prompt": preference.prompt.messages[-1].content,
            "prompt_id": preference.prompt.id,
            "chosen": whole["chosen"],
            "rejected": whole["rejected"],
            "messages": whole["chosen"],
            "score_chosen": preference.p,
            "score_rejected": 1.0 - preference.p,
        }
    ]


def ours(preference: Preference) -> list[Any]:
    return [preference]


class Format(NamedTuple):
    """How preferences become rows, and where these go."""

    rows: Callable[[Preference], list[Any]]
    writer: str = "jsonl"
    splits: tuple[str, str] = ("train", "test")
    knows_ties: bool = True
    """Whether a row can say that neither is better; where it cannot, ties leave by name."""


FORMATS: dict[str, Format] = {
    "trl": Format(trl),
    "trl_implicit": Format(trl_implicit),
    "kto": Format(kto, knows_ties=False),
    "sft": Format(sft, knows_ties=False),
    "openrlhf": Format(openrlhf),
    "handbook": Format(handbook, splits=("train_prefs", "test_prefs")),
    "jsonl": Format(ours),
    "parquet": Format(trl, writer="parquet"),
    "datasets": Format(trl, writer="datasets"),
}
