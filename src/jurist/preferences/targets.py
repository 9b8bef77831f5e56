"""What a policy is fine-tuned on directly: the best of k answers, and answers revised by critique."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..completions.matchups import same_words
from ..records import Completion, Dropped, Prompt
from ..verdicts.opinion import Opinion
from .pairs import ranked, readable, weighed
from .rules import shortest


def best_of_k(
    prompt: Prompt, completions: Sequence[Completion], opinions: Sequence[Opinion]
) -> Completion | Dropped:
    """The answer the judge ranks highest; of equals the shortest (Touvron 2023 keeps the argmax).

    Answers that were cut off are no targets, however good their beginning.
    """
    read, dropped = readable(opinions, {c.id: c for c in completions})
    if not read:
        reason = dropped[0].reason if dropped else "not_judged"
        return Dropped(prompt.id, "preferences", reason, dropped[0].detail if dropped else "")
    return best_of(prompt, completions, ranked(weighed(read, completions)))


def best_of(
    prompt: Prompt, completions: Sequence[Completion], worth: Mapping[str, float]
) -> Completion | Dropped:
    """The one of most worth; of equals the shortest."""
    whole = [c for c in completions if c.id in worth and c.finish != "length"]
    if not whole:
        return Dropped(prompt.id, "preferences", "truncated")
    top = max(worth[c.id] for c in whole)
    return shortest([c for c in whole if worth[c.id] == top])


def revision(prompt: Prompt, draft: Completion, text: str, policy: str) -> Completion | Dropped:
    """A revised answer as a target (Bai 2022); one that says the same again leaves by name."""
    if not text or text.isspace():
        return Dropped(draft.id, "preferences", "empty")
    if same_words(draft.text, text):
        return Dropped(draft.id, "preferences", "identical")
    return Completion.of(prompt.id, text, policy)
