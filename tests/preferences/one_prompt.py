"""What the tests about pairs of one prompt are made of."""

from itertools import combinations

from jurist.preferences.pairs import choose
from jurist.preferences.settings import PreferConfig
from jurist.records import Completion, Matchup, Prompt
from jurist.verdicts.settle import Opinion

PROMPT = Prompt.of("Why?")


def completion(text, **fields):
    return Completion.of(PROMPT.id, text, **fields)


def opinion(first, second, p=None, **fields):
    return Opinion(Matchup.of(PROMPT, first, second).id, first.id, second.id, p_first=p, **fields)


def scored(completions, scores):
    """Every pair of completions with the scores a pointwise judge gave them."""
    made = []
    for (one, a), (other, b) in combinations(zip(completions, scores, strict=True), 2):
        p = 0.5 + 0.1 * (a > b) - 0.1 * (a < b) if abs(a - b) < 1 else float(a > b)
        made.append(opinion(one, other, p, scores=(a, b)))
    return made


def pair_of(completions, opinions, **settings):
    """The chosen and rejected texts, and the reasons of the others."""
    kept, dropped = choose(PROMPT, completions, opinions, PreferConfig(**settings))
    assert len(kept) + len(dropped) == len(opinions)
    return [(p.chosen.text, p.rejected.text) for p in kept], sorted(d.reason for d in dropped)
