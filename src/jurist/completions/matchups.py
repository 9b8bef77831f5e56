"""Which completions meet, and which of the two stands first."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from itertools import combinations

from ..errors import SettingError, nearest
from ..records import Completion, Dropped, Group, Matchup

SCHEMES = ("all", "chain", "star", "random:3")


def matchups(group: Group, scheme: str = "all", seed: int = 0) -> tuple[list[Matchup], list[Dropped]]:
    """The matchups of one prompt; which of the two is first follows from their content, not from the file.

    `all` meet; `chain` is each with the next; `star` is the first with each other; `random:3` are three at
    random. Pairs that the group itself names are taken as they are. Equal texts never meet.
    """
    found: list[Matchup] = []
    dropped: list[Dropped] = []
    if (k := len(group.completions)) < 2:
        return found, [Dropped(group.prompt.id, "completions", "too_few", f"{k} of them")]
    seen: set[str] = set()
    for i, j in group.pairs or _pairs_by(scheme, group.completions, seed):
        one, other = sorted((group.completions[i], group.completions[j]), key=lambda c: c.id)
        matchup = Matchup.of(group.prompt, one, other)
        if matchup.id in seen or same_words(one.text, other.text):
            dropped.append(Dropped(matchup.id, "completions", "identical"))
            continue
        seen.add(matchup.id)
        found.append(matchup.swapped() if _hash(f"seat {seed} {matchup.id}", 1)[0] & 1 else matchup)
    return found, dropped


def same_words(one: str, other: str) -> bool:
    """Equal but for white space."""
    if one == other:
        return True
    # most texts part within their first words; splitting all of both would be the dearest step of a matchup
    return one.split(None, 8)[:8] == other.split(None, 8)[:8] and one.split() == other.split()


def _pairs_by(scheme: str, completions: tuple[Completion, ...], seed: int) -> list[tuple[int, int]]:
    kind, n = parse_scheme(scheme)
    k = len(completions)
    if kind == "chain":
        return [(i, i + 1) for i in range(k - 1)]
    if kind == "star":
        return [(0, i) for i in range(1, k)]
    everyone = list(combinations(range(k), 2))
    if kind == "all":
        return everyone
    by_chance = {
        pair: _hash(f"draw {seed} {' '.join(sorted(completions[i].id for i in pair))}", 8)
        for pair in everyone
    }
    return sorted(everyone, key=by_chance.__getitem__)[:n]


def _hash(text: str, size: int) -> bytes:
    """Chance that follows from the text. Another text would move positions, and ask old runs anew."""
    return blake2b(text.encode(), digest_size=size).digest()


@lru_cache
def parse_scheme(scheme: str) -> tuple[str, int]:
    """A scheme's name and, for `random:n`, how many pairs it takes."""
    kind, _, count = scheme.partition(":")
    if kind == "random" and count.isdigit() and int(count) > 0:
        return kind, int(count)
    if scheme not in ("all", "chain", "star"):
        raise SettingError(nearest("scheme of matchups", scheme, SCHEMES))
    return scheme, 0
