"""What a failed try means: try again, drop the row, or stop the run; and when it is the engine that is down.

Judging a failure takes the response and nothing else; nothing here waits, sends or logs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from .transport import Answered

AGAIN = frozenset({408, 409, 425, 429})
LOADED = frozenset({429, 503, 529})
SPENT = ("insufficient_quota", "billing_hard_limit", "credit balance is too low", "billing_not_active")
_KEYS = re.compile(r"(sk|pk|key|org|proj)-[\w*.-]{4,}|Bearer\s+\S+|(?<=://)[^/@\s]+(?=@)", re.IGNORECASE)


class Trouble(Struct, frozen=True):
    """Why a try gave nothing."""

    then: Literal["again", "refused", "down"]
    message: str
    status: int = 0
    loaded: bool = False
    """The server has too much to do: send less."""
    answers: bool = False
    """It does answer, if with nonsense: no sign of being down."""
    unreached: bool = False
    after: float = 0.0
    """Seconds the server asks us to wait."""


def read_trouble(got: Answered, secret: str, began: bool, now: datetime | None = None) -> Trouble:
    """`began`: this engine has answered before, so that its address, key and model are right."""
    message = f"{got.status}: {scrubbed(_message(got.body), secret)}"
    status = got.status
    if 300 <= status < 400:
        moved = got.headers.get("location", "elsewhere")
        return Trouble("down", f"{status}: the address has moved to {moved}", status)
    if status in (401, 402) or (status in (403, 404) and not began):
        return Trouble("down", message, status)
    if status == 429 and any(word in message for word in SPENT):
        return Trouble("down", message, 402)
    if status in AGAIN or status >= 500:
        return Trouble("again", message, status, loaded=status in LOADED, after=retry_after(got.headers, now))
    return Trouble("refused", message, status)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float:
    """Seconds, from seconds or a date; 0 where nothing readable is said."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000.0)
        said = headers.get("retry-after", "0")
        if said.replace(".", "", 1).strip().isdigit():
            return float(said)
        return max(0.0, (parsedate_to_datetime(said) - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def scrubbed(text: str, secret: str) -> str:
    """Short, on one line, and without anything that looks like a key."""
    if secret:
        text = text.replace(secret, "***")
    text = " ".join(_KEYS.sub("***", text).split())
    return text if len(text) <= 300 else text[:297] + "..."


def _message(body: bytes) -> str:
    """The server's own words, wherever its kind of server puts them."""
    try:
        got: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body[:1000].decode("utf-8", "replace") or "no message"
    for key in ("error", "message", "detail"):
        if isinstance(got, dict) and got.get(key):
            inner = got[key]
            if isinstance(inner, dict):
                code = inner.get("code") or inner.get("type") or ""
                return (
                    f"{inner.get('message') or inner} ({code})"
                    if code
                    else str(inner.get("message") or inner)
                )
            return str(inner)
    return str(got)


class Breaker:
    """Knows since when nothing gets through. Times are the caller's clock."""

    FEW = 3
    """Calls that fail while others are merely absent: their own trouble, once the engine has answered."""
    ALL_REFUSED = 30

    def __init__(self, give_up_after: float) -> None:
        self._patience = give_up_after
        self.began = False
        self.last_answer = 0.0
        self._since: float | None = None
        self._failing: set[int] = set()
        self._all_unreached = True
        self._asked_to_wait = 0.0
        self._refused = 0

    def answered(self, now: float) -> None:
        self.began, self.last_answer = True, now
        if self._since is not None:
            self._since, self._asked_to_wait, self._all_unreached = None, 0.0, True
            self._failing.clear()

    def failed(self, call: int, trouble: Trouble, started: float) -> None:
        """A try that began at `started` and gave nothing."""
        if self._since is None:
            self._since = max(started, self.last_answer)
        self._failing.add(call)
        self._all_unreached &= trouble.unreached
        self._asked_to_wait = max(self._asked_to_wait, trouble.after)

    def refused(self) -> bool:
        """True when nothing but refusals ever came back: it is the question's form, not this row."""
        self._refused += 1
        return not self.began and self._refused >= self.ALL_REFUSED

    def down(self, now: float) -> bool:
        if self._since is None or not self._many:
            return False
        patience = self._patience + 2.0 * self._asked_to_wait
        if self._all_unreached and not self.began:
            patience /= 3.0  # nobody listens there, and nobody ever did
        return now - self._since >= patience

    def alone(self, first_sent: float) -> bool:
        """Whether a call that keeps failing should give up by itself: others do get through."""
        return self.last_answer > first_sent or not self._many

    @property
    def _many(self) -> bool:
        return not self.began or len(self._failing) >= self.FEW


def advice(trouble: Trouble, name: str, url: str, key_env: str, has_key: bool) -> str:
    """The next thing to type, by what went wrong."""
    if trouble.unreached:
        return f"See whether it is up with: curl {url}/models - then run the same command again"
    if trouble.status == 401 and not has_key:
        return f"Set the key with: export {key_env}=..."
    if trouble.status in (401, 403):
        return f"See that {key_env} holds a key for this server: export {key_env}=..."
    if trouble.status == 402:
        return "Add credit with the vendor, then run the same command again"
    if trouble.status == 404:
        model = name.partition(":")[2]
        return f"See that the address ends in /v1 and that '{model}' is the model's name there"
    if 300 <= trouble.status < 400:
        return "Write that address after the @ of the engine"
    if trouble.then == "refused":
        return "See the settings of this engine: extra, max_tokens_name, sends_temperature"
    return "Run the same command again once the server is well: what was answered is kept"
