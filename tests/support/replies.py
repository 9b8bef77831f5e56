"""What a judge was shown, and what it replies, by the test server; none of it uses Jurist's own code."""

import math
import re
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Answer = Callable[[Json], Any]
"""From a request to a text, or to a dict with any of text, finish_reason, logprobs (`{token: probability}` by
position), reasoning, usage, status, headers and body. It may be async; a list answers `n` choices at once."""


def label_reply(label: str, p: float = 1.0, labels: str = "AB", mass: float = 1.0) -> Json:
    """A label with its log-probs: `p` for it, the rest for the others, and for all of them `mass`."""
    others = [one for one in labels if one != label]
    top = {label: p * mass} | {one: (1 - p) / len(others) * mass for one in others} | {"The": 1 - mass}
    return {"text": max(top, key=lambda token: top[token]), "logprobs": [top]}


def preferring(worth: Callable[[str], float], p: float = 0.9) -> Answer:
    """A judge that gives `p` to the response worth more, in either order, and scores one by its worth."""

    def judge(request: Json) -> Json:
        worths = {label: worth(text) for label, text in responses(request).items()}
        if "" in worths:
            return label_reply(f"{worths['']:.0f}", p, "123456789")
        better = "A" if worths["A"] >= worths["B"] else "B"
        return label_reply(better, p if worths["A"] != worths["B"] else 0.5)

    return judge


def responses(request: Json) -> dict[str, str]:
    """The responses a judge was shown, by label; a single one under the empty label."""
    fenced = r"<response-?([A-Z]?)-([0-9a-f]{12})>\n(.*?)\n</response-?\1-\2>"
    return {label: text for label, _, text in re.findall(fenced, text_of(request), re.DOTALL)}


def question(request: Json) -> str:
    """The last turn of the conversation a judge was shown; for a policy, the last message."""
    turns = re.findall(r"<turn-(\w+)-([0-9a-f]{12})>\n(.*?)\n</turn-\1-\2>", text_of(request), re.DOTALL)
    return str(turns[-1][2] if turns else request["messages"][-1]["content"])


def text_of(request: Json) -> str:
    """All that the request says."""
    said = [request.get("system") or "", *(turn.get("content") or "" for turn in request["messages"])]
    return "\n".join(one if isinstance(one, str) else "".join(p.get("text", "") for p in one) for one in said)


def chat_body(asked: Json, replies: list[Json], usage: Json) -> Json:
    choices = [_choice(asked, index, reply) for index, reply in enumerate(replies)]
    head = {"id": "chat", "object": "chat.completion", "created": 0}
    return {**head, "choices": choices, "usage": usage}


def _choice(asked: Json, index: int, reply: Json) -> Json:
    message = {"role": "assistant", "content": reply.get("text", "")}
    if reply.get("reasoning"):
        message["reasoning_content"] = reply["reasoning"]
    choice: Json = {"index": index, "message": message, "finish_reason": reply.get("finish_reason", "stop")}
    if asked.get("logprobs") and reply.get("logprobs"):
        content = []
        for top in reply["logprobs"]:
            listed = sorted(top.items(), key=lambda one: -one[1])
            tokens = [{"token": t, "logprob": math.log(p) if p > 0 else -9999.0} for t, p in listed]
            content.append({**tokens[0], "top_logprobs": tokens[: asked.get("top_logprobs") or 0]})
        choice["logprobs"] = {"content": content}
    return choice


def message_body(_: Json, replies: list[Json], usage: Json) -> Json:
    reply = replies[0]
    content = [{"type": "text", "text": reply.get("text", "")}]
    if reply.get("reasoning"):
        content.insert(0, {"type": "thinking", "thinking": reply["reasoning"], "signature": "x"})
    stop = {"stop": "end_turn", "length": "max_tokens"}.get(reply.get("finish_reason", "stop"), "refusal")
    billed = {"input_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}
    head = {"id": "message", "type": "message", "role": "assistant"}
    return {**head, "content": content, "stop_reason": stop, "usage": billed}
