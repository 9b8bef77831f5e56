"""What a request asks and how it is answered, by protocol; docs/serving.md shows who speaks which."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec

from ..engines.engine import Ask, Reply
from ..errors import DataError
from ..models.rewards import Scored
from ..prompts.load import turns
from ..prompts.rows import clip
from ..recipes.scoring import PromptText, Scoring, completion_text, prompt_of
from ..records import Completion, Matchup, Usage
from ..verdicts.settle import Opinion

Fields = dict[str, Any]
_SPECIAL: Final = re.compile(r"((<\|[^<>|]+\|>|</s>|<eos>|<end_of_turn>|<pad>)\s*)+$")
"""Tokens that end an answer: OpenRLHF leaves them in."""


def need(fields: Any, name: str, kind: type = list) -> Any:
    """A field that has to be there, and be of this kind."""
    got = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(got, kind):
        raise DataError(f"{name} has to be a {kind.__name__}, got {clip(got)}")
    return got


def read_scoring(fields: Fields) -> list[list[PromptText]]:
    """`{"prompt", "completions"}`, or several of these as `{"rows"}`."""
    found = []
    for one in need(fields, "rows") if "rows" in fields else [fields]:
        texts = need(one, "completions")
        prompt = prompt_of(one.get("prompt") or one.get("messages"), one.get("reference"))
        found.append([(prompt, completion_text(text)) for text in texts])
    return found


def write_scoring(fields: Fields, found: list[list[Scored]]) -> tuple[int, Fields]:
    scores: list[Any] = [[one.score for one in some] for some in found]
    answer = {"scores": scores, "reasons": [[one.failed or None for one in some] for some in found]}
    return 200, answer if "rows" in fields else {name: some[0] for name, some in answer.items()}


def read_queries(fields: Fields) -> list[list[PromptText]]:
    """OpenRLHF: a query is the prompt as the model saw it with the response behind it; labels are answers."""
    queries, prompts = need(fields, "query"), need(fields, "prompts")
    labels = need(fields, "labels") if fields.get("labels") else [None] * len(queries)
    rows = []
    for query, prompt, label in zip(queries, prompts, labels, strict=True):
        _, there, response = query.partition(prompt)
        if not there:
            raise DataError(f"the query {clip(query)} does not hold its prompt {clip(prompt)}")
        text = response[:-500] + _SPECIAL.sub("", response[-500:])
        rows.append((prompt_of(prompt, None if label == "" else label), text))
    return [rows]


def write_queries(fields: Fields, found: list[list[Scored]]) -> tuple[int, Fields]:
    rewards = [one.score for one in found[0]]
    return 200, {"rewards": rewards, "scores": rewards, "extra_logs": {"failed": rewards.count(None)}}


def read_response(fields: Fields) -> list[list[PromptText]]:
    """NeMo Gym: OpenAI's request and response of a rollout, beside the other fields of its row."""
    asked = need(fields, "responses_create_params", dict)
    given: Any = asked.get("input")
    given = [{"role": "user", "content": given}] if isinstance(given, str) else need(asked, "input")
    if asked.get("instructions"):
        given = [{"role": "system", "content": asked["instructions"]}, *given]
    output = need(need(fields, "response", dict), "output")
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    text = "".join(part["text"] for part in parts if part["type"] == "output_text")
    return [[(prompt_of(given, fields.get("expected_answer")), text)]]


def write_response(fields: Fields, found: list[list[Scored]]) -> tuple[int, Fields]:
    """Without a score, an error with the tags by which the gym knows a judge that failed."""
    (scored,) = found[0]
    if scored.score is not None:
        return 200, {**fields, "reward": scored.score}
    tags = {"mask_sample": True, "failure_kind": "judge_failed", "_ng_failure_class": "judge_failed"}
    return 502, {**fields, "reward": None, "error": scored.failed, "failure_reason": scored.failed, **tags}


def read_decisions(fields: Fields) -> list[list[Matchup]]:
    """System One: choices between two completions of the state; the judge asks in its own words."""
    state = need(fields, "state", dict)
    prompt, texts = prompt_of(state.get("prompt"), state.get("reference")), need(state, "completions", dict)
    met = []
    for name, question in need(fields, "questions", dict).items():
        options = [*need(question, "criteria", dict)] if question["type"] == "choice" else []
        if len(options) != 2 or not texts.keys() >= {*options}:
            raise DataError(
                f"question '{name}' is not a choice between two of the completions {clip([*texts])}:"
                " this judge can say no more than which of two is better"
            )
        first, second = (Completion.of(prompt.id, completion_text(texts[one])) for one in options)
        met.append(Matchup.of(prompt, first, second))
    return [met]


def write_decisions(fields: Fields, found: list[tuple[list[Opinion], Usage]]) -> tuple[int, Fields]:
    ((opinions, usage),), answers = found, dict[str, Fields]()
    for (name, question), one in zip(fields["questions"].items(), opinions, strict=True):
        (first, second), p = question["criteria"], one.p_first
        answer: Fields = dict.fromkeys(("choice", "confidence", "probabilities")) | {"error": one.unread}
        if p is not None:
            answer = {"choice": first if p >= 0.5 else second, "confidence": abs(2 * p - 1)}
            answer["probabilities"] = {first: p, second: 1 - p}
        answers[name] = {"type": "choice", **answer}
    used = {"input_tokens": usage.tokens_in, "output_tokens": usage.tokens_out}
    return 200, {"model": fields.get("model", ""), "answers": answers, "usage": used}


# From the fields of a request what is judged together; how; from what came of it a status and fields.
PROTOCOLS: Final[dict[str, tuple[Callable[[Fields], Any], Callable[..., Any], Callable[..., Any]]]] = {
    "/score": (read_scoring, Scoring.rewards, write_scoring),
    "/get_reward": (read_queries, Scoring.rewards, write_queries),
    "/verify": (read_response, Scoring.rewards, write_response),
    "/v1/systemone": (read_decisions, Scoring.compare, write_decisions),
}


class ChatCompletion(msgspec.Struct):
    """What is understood of OpenAI's request; the rest is ignored, and null is as good as absent."""

    messages: list[Fields]
    model: str = ""
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] = 1024
    stop: str | tuple[str, ...] = ()
    seed: int | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    logprobs: bool = False
    top_logprobs: int = 0
    stream: bool = False

    def ask(self) -> Ask:
        return Ask(
            turns(self.messages, "messages"),
            self.temperature,
            self.top_p,
            self.max_tokens or self.max_completion_tokens,
            (self.stop,) if isinstance(self.stop, str) else self.stop,
            self.seed,
            max(self.top_logprobs, 1) if self.logprobs else 0,
        )

    def response(self, replies: list[Reply]) -> dict[str, Any]:
        read, written = replies[0].usage.tokens_in, sum(one.usage.tokens_out for one in replies)
        return {
            "id": "chatcmpl-jurist",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": [_choice(i, one) for i, one in enumerate(replies)],
            "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
        }


class MessagesRequest(msgspec.Struct):
    """The same of Anthropic's."""

    messages: list[Fields]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    model: str = ""
    system: str | list[Fields] = ""
    temperature: float = 1.0
    top_p: float = 1.0
    stop_sequences: tuple[str, ...] = ()
    stream: bool = False
    n = 1

    def ask(self) -> Ask:
        system = [{"role": "system", "content": self.system}] if self.system else []
        said = turns([*system, *self.messages], "messages")
        return Ask(said, self.temperature, self.top_p, self.max_tokens, self.stop_sequences)

    def response(self, replies: list[Reply]) -> dict[str, Any]:
        (reply,) = replies
        thought = {"type": "thinking", "thinking": reply.reasoning, "signature": ""}
        return {
            "id": "msg_jurist",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [*([thought] if reply.reasoning else []), {"type": "text", "text": reply.text}],
            "stop_reason": {"length": "max_tokens", "refused": "refusal"}.get(reply.finish, "end_turn"),
            "stop_sequence": None,
            "usage": {"input_tokens": reply.usage.tokens_in, "output_tokens": reply.usage.tokens_out},
        }


def _choice(index: int, reply: Reply) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    finish = "content_filter" if reply.finish == "refused" else reply.finish
    tokens = [
        _token(one.text, one.logprob, top_logprobs=[_token(*other) for other in one.top])
        for one in reply.tokens
    ]
    logprobs = {"content": tokens, "refusal": None} if tokens else None
    return {"index": index, "message": message, "finish_reason": finish, "logprobs": logprobs}


def _token(text: str, logprob: float, **more: Any) -> dict[str, Any]:
    # -9999 is OpenAI's for what has no log-prob; JSON has no minus infinity.
    return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode()), **more}
