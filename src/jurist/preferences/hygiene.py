"""What to keep out of training data whatever a judge thinks of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from ..prompts.load import words_of
from ..prompts.rows import Drop
from ..records import Completion, Dropped, Preference
from ..run import read_json, write_whole

_REFUSAL = re.compile(
    r"^\W*(?:(?:hi|hello|thanks|thank you)\b[^.!]*[.!]\s*)?"
    r"(?:(?:i(?:'|’)?m|i am) (?:(?:really|very|so) )?sorry\b|sorry,|i apologi[sz]e\b|unfortunately, i\b"
    r"|(?:as an ai\b[^.]{0,60}, )?i (?:can(?:'|’)t|cannot|can not|won(?:'|’)t|will not|must decline"
    r"|have to decline|am unable|am not able|don(?:'|’)t feel comfortable)\b"
    r"|i(?:'|’)m (?:unable|not able|not comfortable)\b)",
    re.IGNORECASE,
)
QUARANTINE = "quarantine.json"


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
    start, other_start = words_of(one[:80])[:-1], words_of(other[:80])[:-1]  # the last may be cut off
    some = min(len(start), len(other_start))
    if threshold >= 1.0 and start[:some] != other_start[:some]:
        return False
    words, others = words_of(one), words_of(other)
    if words == others:
        return True
    if threshold >= 1.0 or _numbers(words) != _numbers(others):
        return False
    triples, other_triples = _triples(words), _triples(others)
    return len(triples & other_triples) >= threshold * len(triples | other_triples)


def _numbers(words: list[str]) -> list[str]:
    return [word for word in words if any(c.isdigit() for c in word)]


def _triples(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + 3]) for i in range(max(len(words) - 2, 1))}


class Quarantine(Struct, frozen=True):
    """Domains whose labels are not to be trained on, kept in the run folder.

    The audit writes it, from human labels; exports and trainers leave those rows out until humans have
    labelled more of the domain, or `--prefer.quarantine ignore` says that they are wanted all the same.
    """

    domains: tuple[str, ...] = ()
    wanted: float = 0.0
    """Agreement with humans that these could not be shown to reach."""
    human: str = ""
    """The labels that showed it."""


def read_quarantine(folder: Path) -> Quarantine:
    path = folder / QUARANTINE
    return read_json(path, Quarantine) if path.exists() else Quarantine()


def write_quarantine(folder: Path, quarantine: Quarantine) -> None:
    write_whole(folder / QUARANTINE, msgspec.json.format(msgspec.json.encode(quarantine), indent=1) + b"\n")


def drop_quarantined(
    rows: Iterable[Preference], quarantine: Quarantine, dropped: Drop
) -> Iterator[Preference]:
    """The rows whose domain is not quarantined."""
    domains = frozenset(quarantine.domains)
    for row in rows:
        if row.prompt.domain in domains:
            dropped(Dropped(row.id, "export", f"quarantined: {row.prompt.domain or 'no domain'}"))
        else:
            yield row
