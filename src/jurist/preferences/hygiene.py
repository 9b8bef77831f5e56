"""What to keep out of training data whatever a judge thinks of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

import msgspec
from msgspec import Struct

from ..prompts.load import load_prompts
from ..prompts.rows import ignore
from ..records import Completion, Dropped, Preference, Prompt
from ..run import read_json

_REFUSAL = re.compile(
    r"^\W*(?:(?:hi|hello|thanks|thank you)\b[^.!]*[.!]\s*)?"
    r"(?:(?:i(?:'|’)?m|i am) (?:(?:really|very|so) )?sorry\b|sorry,|i apologi[sz]e\b|unfortunately, i\b"
    r"|(?:as an ai\b[^.]{0,60}, )?i (?:can(?:'|’)t|cannot|can not|won(?:'|’)t|will not|must decline"
    r"|have to decline|am unable|am not able|don(?:'|’)t feel comfortable)\b"
    r"|i(?:'|’)m (?:unable|not able|not comfortable)\b)",
    re.IGNORECASE,
)
_EDGES = ".,;:!?\"'`*_#()[]{}«»“”’ "


def is_refusal(text: str) -> bool:
    """Whether an answer opens by declining. Only its first words are looked at, so `... but I can't` is none.

    English only, and by wording: an apology for a mistake ("I'm sorry, the sum is 12") counts too.
    """
    return _REFUSAL.match(text[:240]) is not None


def is_truncated(completion: Completion) -> bool:
    """Whether the policy was cut off in the middle."""
    return completion.finish == "length"


def near_duplicates(one: str, other: str, threshold: float) -> bool:
    """Whether two texts share at least this part of their word triples (Jaccard, as in Broder 1997).

    At 1.0: texts that differ in nothing but case, white space and the punctuation at the edges of words.
    Texts with other numbers in them are never near-duplicates: in arithmetic the one digit is what counts.
    """
    short, long = sorted((len(one), len(other)))
    if short < threshold * long * 0.8:  # cannot share so much; spares most pairs the counting
        return False
    if threshold >= 1.0 and not _may_be_equal(_words(one[:80]), _words(other[:80])):
        return False
    words, others = _words(one), _words(other)
    if words == others:
        return True
    if threshold >= 1.0 or _numbers(words) != _numbers(others):
        return False
    triples, other_triples = _triples(words), _triples(others)
    return len(triples & other_triples) >= threshold * len(triples | other_triples)


def _may_be_equal(start: list[str], other: list[str]) -> bool:
    """Whether two beginnings agree, but for a last word that may be cut off."""
    whole = min(len(start), len(other)) - 1
    return start[:whole] == other[:whole] if whole > 0 else True


def _words(text: str) -> list[str]:
    return [word for raw in text.casefold().split() if (word := raw.strip(_EDGES))]


def _numbers(words: list[str]) -> list[str]:
    return [word for word in words if any(c.isdigit() for c in word)]


def _triples(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + 3]) for i in range(max(len(words) - 2, 1))}


class Benchmark(Struct, frozen=True):
    """The n-grams of test items that must not be trained on, as 64-bit numbers."""

    grams: frozenset[int]
    n: int

    def hit(self, text: str) -> str:
        """The first run of words that is also in a test item; empty when there is none."""
        words = _words(text)
        for gram in _grams(words, self.n):
            if _hashed(gram) in self.grams:
                return " ".join(gram)
        return ""


def load_benchmark(path: str | Path, n: int = 13) -> Benchmark:
    """Test items in any shape prompts come in. 13 words is the overlap that GPT-3's authors filtered by.

    An item shorter than n words is matched whole.
    """
    grams: set[int] = set()
    for prompt in load_prompts(path):
        for message in prompt.messages:
            grams.update(_hashed(gram) for gram in _grams(_words(message.content), n))
    return Benchmark(frozenset(grams), n)


def drop_contaminated(
    prompts: Iterable[Prompt], benchmark: Benchmark, dropped: Callable[[Dropped], None] = ignore
) -> Iterator[Prompt]:
    """The prompts that share no run of words with a test item; the others by name."""
    for prompt in prompts:
        shared = next((hit for m in prompt.messages if (hit := benchmark.hit(m.content))), "")
        if shared:
            dropped(Dropped(prompt.id, "prompts", "contaminated", shared))
        else:
            yield prompt


def _grams(words: list[str], n: int) -> Iterator[list[str]]:
    if words:
        for i in range(max(len(words) - n + 1, 1)):
            yield words[i : i + n]


def _hashed(gram: list[str]) -> int:
    return int.from_bytes(blake2b(" ".join(gram).encode(), digest_size=8).digest())


QUARANTINE = "quarantine.json"


class Quarantine(Struct, frozen=True):
    domains: tuple[str, ...] = ()
    wanted: float = 0.0
    """Agreement with people that these could not be shown to reach."""
    human: str = ""
    """The labels that showed it."""


def read_quarantine(folder: Path) -> Quarantine:
    path = folder / QUARANTINE
    return read_json(path, Quarantine) if path.exists() else Quarantine()


def write_quarantine(folder: Path, held: Quarantine) -> None:
    part = folder / f".{QUARANTINE}.part"
    part.write_bytes(msgspec.json.format(msgspec.json.encode(held), indent=1) + b"\n")
    part.replace(folder / QUARANTINE)


def drop_quarantined(
    rows: Iterable[Preference], held: Quarantine, dropped: Callable[[Dropped], None]
) -> Iterator[Preference]:
    """The rows whose domain is not held back."""
    domains = frozenset(held.domains)
    for row in rows:
        if row.prompt.domain in domains:
            dropped(Dropped(row.id, "export", f"quarantined: {row.prompt.domain or 'no domain'}"))
        else:
            yield row
