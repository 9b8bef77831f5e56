"""Who meets whom, and in which seat."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from itertools import combinations

from ..errors import SettingError, nearest
from ..records import Completion, Dropped, Group, Matchup

SCHEMES = ("all", "chain", "star", "random:3")


def matchups(group: Group, scheme: str = "all", seed: int = 0) -> tuple[list[Matchup], list[Dropped]]:
    """The matchups of one prompt, seated by content, so a file that has the better one first leaks nothing.

    `all` meet; `chain` is each with the next; `star` is the first with each other; `random:3` draws three.
    Pairs that the group itself names are taken as they are. Equal texts never meet.
    """
    found: list[Matchup] = []
    dropped: list[Dropped] = []
    if len(group.completions) < 2:
        return found, [
            Dropped(group.prompt.id, "completions", "too_few", f"{len(group.completions)} of them")
        ]
    seen: set[str] = set()
    for i, j in group.pairs or _pairs_by(group, scheme, seed):
        one, other = group.completions[i], group.completions[j]
        if other.id < one.id:
            one, other = other, one
        matchup = Matchup.of(group.prompt, one, other)
        if matchup.id in seen or same_words(one.text, other.text):
            dropped.append(Dropped(matchup.id, "completions", "identical"))
            continue
        seen.add(matchup.id)
        found.append(matchup.swapped() if _coin(matchup.id, seed) else matchup)
    return found, dropped


def same_words(one: str, other: str) -> bool:
    """Equal but for white space."""
    if one == other:
        return True
    # most texts part within their first words; splitting all of both would be the dearest step of a matchup
    if one.split(None, 8)[:8] != other.split(None, 8)[:8]:
        return False
    return one.split() == other.split()


def _coin(name: str, seed: int) -> int:
    return blake2b(f"seat {seed} {name}".encode(), digest_size=1).digest()[0] & 1


def _pairs_by(group: Group, scheme: str, seed: int) -> list[tuple[int, int]]:
    kind, draws = parse_scheme(scheme)
    k = len(group.completions)
    if kind == "chain":
        return [(i, i + 1) for i in range(k - 1)]
    if kind == "star":
        return [(0, i) for i in range(1, k)]
    everyone = list(combinations(range(k), 2))
    if kind == "all":
        return everyone
    return sorted(everyone, key=lambda pair: _random_order(group.completions, pair, seed))[:draws]


def _random_order(completions: tuple[Completion, ...], pair: tuple[int, int], seed: int) -> bytes:
    one, other = sorted(completions[i].id for i in pair)
    return blake2b(f"draw {seed} {one} {other}".encode(), digest_size=8).digest()


@lru_cache
def parse_scheme(scheme: str) -> tuple[str, int]:
    """A scheme's name and, for `random:n`, how many it draws."""
    kind, _, count = scheme.partition(":")
    if kind == "random" and count.isdigit() and int(count) > 0:
        return kind, int(count)
    if scheme not in ("all", "chain", "star"):
        raise SettingError(nearest("scheme of matchups", scheme, SCHEMES))
    return scheme, 0
