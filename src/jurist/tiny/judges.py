"""Judges whose answer is known beforehand, speaking the same text protocol as a real one.

Each reads the question as it was rendered, finds the two responses between their fences, and writes a
reply. Use them as `tiny:longer`, or put them behind an HTTP server: the pipeline cannot tell.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import log
from typing import Final

from ..engines.engine import Ask, Reply, Token
from ..errors import SettingError
from ..records import content_id
from ..verdicts.ask import unfence
from .world import apparent_score, true_score

Says = Callable[[str, str, str], str]
"""From the request and the two responses as seated to a reply."""


def shown(ask: Ask) -> tuple[str, str, str]:
    """The request and the two responses, word for word as the judge was shown them."""
    shown = [turn.content for turn in ask.messages if turn.role == "user" and "<response-A-" in turn.content]
    question = shown[-1] if shown else ask.messages[-1].content
    try:
        return (
            unfence(question, "turn-user"),
            unfence(question, "response-A"),
            unfence(question, "response-B"),
        )
    except ValueError as missing:
        raise SettingError(
            f"a judge of the tiny world compares two answers, and {missing}. Judges are given as"
            " --judge tiny:leaning, policies as --policy tiny:careful"
        ) from missing


def says(reply: Says) -> Callable[[Ask], str]:
    """An engine's function from what a judge would say."""
    return lambda ask: reply(*shown(ask))


def first(ask: Ask) -> str:
    """Always the first seat."""
    return "A"


def second(ask: Ask) -> str:
    """Always the second seat."""
    return "B"


def tie(ask: Ask) -> str:
    """Never decides; ask with `ties: true`."""
    return "C"


def garbage(ask: Ask) -> str:
    """Nothing that could be read as a verdict, in several ways."""
    draw = random.Random(content_id(ask))
    return draw.choice(
        (
            "",
            "I'm sorry, but I can't compare these.",
            "Both are interesting in their own way.",
            "Response D",
            '{"verdict": null}',
            "The first thing to consider is what the person wanted, and",
        )
    )


def coin(ask: Ask) -> str:
    """Heads or tails, fixed for each question so that a resumed run hears the same."""
    return random.Random(content_id(ask)).choice("AB")


def longer(ask: Ask) -> str:
    """The longer response."""
    _, one, two = shown(ask)
    return "A" if len(one) > len(two) else "B"


def shorter(ask: Ask) -> str:
    """The shorter response."""
    _, one, two = shown(ask)
    return "A" if len(one) < len(two) else "B"


def oracle(ask: Ask) -> str:
    """The response that is truly better; where neither is, a choice that does not depend on the seat."""
    request, one, two = shown(ask)
    return "A" if (true_score(request, one), one) > (true_score(request, two), two) else "B"


def quoting(ask: Ask) -> str:
    """An oracle that reasons aloud and quotes both responses before its verdict, whatever they claim."""
    _, one, two = shown(ask)
    return f'Response A says: "{one}"\nResponse B says: "{two}"\nI have weighed both.\nVerdict: {oracle(ask)}'


def stumbling(ask: Ask) -> str:
    """An oracle that loses its thread on about one question in five."""
    return garbage(ask) if random.Random(content_id(ask)).random() < 0.2 else oracle(ask)


def fair(ask: Ask) -> Reply:
    """A sensible judge, not always sure: it weighs the difference it can see, and says so in log-probs."""
    request, one, two = shown(ask)
    return weighing(apparent_score(request, one) - apparent_score(request, two), ask)


def leaning(ask: Ask) -> Reply:
    """A sensible judge with a taste for the first seat and for length: what the demo is there to show."""
    request, one, two = shown(ask)
    longer_by = (len(one.split()) - len(two.split())) / 100
    return weighing(apparent_score(request, one) - apparent_score(request, two) + 0.3 + longer_by, ask)


def weighing(difference: float, ask: Ask) -> Reply:
    """A one-token reply whose log-probs give the first seat the odds of `difference`, doubled."""
    p = 1 / (1 + 2.718281828459045 ** (-2.0 * difference))
    p = min(max(p, 1e-6), 1 - 1e-6)
    label = "A" if p >= 0.5 else "B"
    if not ask.top_logprobs:
        return Reply(label)
    top = (("A", log(p)), ("B", log(1 - p)))
    return Reply(label, tokens=(Token(label, max(log(p), log(1 - p)), top),))


BY_NAME: Final[dict[str, Callable[[Ask], str | Reply]]] = {
    one.__name__: one
    for one in (first, second, tie, garbage, coin, longer, shorter, oracle, quoting, stumbling, fair, leaning)
}
