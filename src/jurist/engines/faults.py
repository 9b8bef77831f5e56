"""Planned trouble for the server in `serve`: which share of requests goes wrong, and how.

A fault is drawn anew at each attempt, so that trying again helps; the kinds named in `sticky` are drawn from
the body instead, so that the same question meets the same fate for ever, as a real bad request does.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random

from msgspec import Struct, convert, field
from msgspec.structs import fields

from ..errors import SettingError, nearest

NOT_SHARES = ("retry_after", "seed", "sticky")


class Faults(Struct, frozen=True):
    """Shares between 0 and 1; what is left over is answered properly."""

    too_many: float = field(default=0.0, name="429")
    """429 with a Retry-After."""
    error: float = field(default=0.0, name="500")
    unavailable: float = field(default=0.0, name="503")
    bad_request: float = field(default=0.0, name="400")
    drop: float = 0.0
    """The connection is closed before the reply."""
    stall: float = 0.0
    """No reply ever comes."""
    malformed: float = 0.0
    """200 with a body that is not JSON."""
    truncated: float = 0.0
    """The body ends before its Content-Length, and the connection with it."""
    retry_after: float = 0.0
    """Seconds announced with a 429 or 503; 0: no header at all."""
    seed: int = 0
    sticky: tuple[str, ...] = ("400", "malformed")

    @classmethod
    def parse(cls, text: str) -> Faults:
        """`429=0.05,drop=.02` as the command line writes it."""
        known = [f.encode_name for f in fields(cls) if f.name != "sticky"]
        given: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = part.partition("=")
            if name not in known:
                raise SettingError(nearest("fault", name, known))
            try:
                given[name] = float(value)
            except ValueError:
                raise SettingError(
                    f"the share in '{part}' is no number. Write faults like 429=0.05,drop=0.02"
                ) from None
        return convert(given, cls, strict=False)


class Fate:
    """Draws the fault of each request, `""` for none."""

    def __init__(self, faults: Faults) -> None:
        self._random = Random(faults.seed)
        self._seed = faults.seed.to_bytes(8, "big", signed=True)
        shares = [
            (f.encode_name, float(getattr(faults, f.name)))
            for f in fields(Faults)
            if f.name not in NOT_SHARES and getattr(faults, f.name) > 0
        ]
        self._by_body = [share for share in shares if share[0] in faults.sticky]
        self._by_attempt = [share for share in shares if share[0] not in faults.sticky]

    def draw(self, body: bytes) -> str:
        if self._by_body:
            digest = blake2b(body, digest_size=8, key=self._seed).digest()
            kind = _pick(self._by_body, int.from_bytes(digest, "big") / 2**64)
            if kind:
                return kind
        return _pick(self._by_attempt, self._random.random()) if self._by_attempt else ""


def _pick(shares: list[tuple[str, float]], at: float) -> str:
    for kind, share in shares:
        if at < share:
            return kind
        at -= share
    return ""
