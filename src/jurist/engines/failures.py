"""What a failed try means: try again, drop the row, or stop the run; and when it is the engine that is down.

Judging a failure takes the response and nothing else; nothing here waits, sends or logs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from shlex import quote
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

RETRIED: Final = frozenset({408, 409, 425, 429})
OVERLOADED: Final = frozenset({429, 503, 529})
_NO_CREDIT = re.compile("insufficient_quota|billing_hard_limit|credit balance is too low|billing_not_active")
_TOO_LONG = re.compile(r"context (?:length|window|size)|too (?:long|large|many tokens)|exceed", re.IGNORECASE)
_KEYS = re.compile(r"\b(sk|pk|key|org|proj)-[\w*.-]{4,}|Bearer\s+\S+|(?<=://)[^/@\s]+(?=@)", re.IGNORECASE)
OPTIONAL: Final = (
    *("top_logprobs", "logprobs", "temperature", "top_p", "seed", "n", "max_completion_tokens", "max_tokens"),
    *("chat_template_kwargs", "enable_thinking", "reasoning_effort", "thinking", "structured_outputs"),
    *("regex", "grammar", "response_format", "output_config", "stop"),
)
"""What a server may refuse and be asked without; where two names fit, the longer one comes first."""
_WORDS: Final = frozenset({"n", "stop", "seed", "thinking", "regex", "grammar", "temperature"})


class Failure(Struct, frozen=True):
    """Why a try gave nothing."""

    action: Literal["retry", "refuse", "stop"]
    message: str
    status: int = 0
    overloaded: bool = False
    """The server has too much to do: send less."""
    server_replied: bool = False
    """It does reply, if with nonsense: no sign of being down."""
    connect_failed: bool = False
    lost: bool = False
    """The request was sent and no whole reply came: it may be billed."""
    retry_after: float = 0.0
    """Seconds the server asks us to wait."""
    parameter: str = ""
    """An optional parameter that the server refused."""

    @property
    def kind(self) -> str:
        if self.status not in (0, 200):
            return f"HTTP {self.status}"
        return "unreadable" if self.server_replied else "timeout" if self.overloaded else "connection"


def read_failure(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    key: str = "",
    worked_before: bool = False,
    sent: Collection[str] = (),
) -> Failure:
    """`worked_before`: address, key and model are right. `sent`: the names of the request's parameters."""
    said, parameter = server_error(body)
    message = f"HTTP {status}: {redact(said, key)}"
    if 300 <= status < 400:
        moved = headers.get("location", "another address")
        return Failure("stop", f"HTTP {status}: the address has moved to {moved}", status)
    if status in (401, 402) or (status in (403, 404) and not worked_before):
        return Failure("stop", message, status)
    if status == 429 and _NO_CREDIT.search(message):
        return Failure("stop", message, 402)
    if status in RETRIED or status >= 500:
        wait = retry_after(headers)
        return Failure("retry", message, status, overloaded=status in OVERLOADED, retry_after=wait)
    return Failure("refuse", message, status, parameter=refused_parameter(said, parameter, sent))


def server_error(body: bytes) -> tuple[str, str]:
    """The server's own words, wherever its kind puts them, and the parameter that it names beside them."""
    try:
        got: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body[:1000].decode("utf-8", "replace") or "no message", ""
    if isinstance(got, dict):
        got = got.get("error") or got.get("message") or got.get("detail") or got
    if not isinstance(got, dict):
        return str(got), ""
    code = got.get("code") or got.get("type") or ""
    said = str(got.get("message") or got) + (f" ({code})" if code else "")
    return said, str(got.get("param") or "")


def refused_parameter(said: str, named: str, sent: Collection[str]) -> str:
    """The optional parameter that an error is about; empty where it names none that was sent."""
    # "max_tokens is too large": this question is too long, and the next one need not be.
    too_long = _TOO_LONG.search(said) is not None
    for name in OPTIONAL:
        parent = "chat_template_kwargs" if name == "enable_thinking" else name
        if parent not in sent or (too_long and name != "top_logprobs"):
            continue
        # Names that are English words, or letters, count only where they are set off as names.
        form = r"['\"`]{}['\"`]|^{}:|parameter:? {}\b|\b{} parameter" if name in _WORDS else r"(?<![\w.]){}\b"
        if named == name or re.search(form.replace("{}", name), said):
            return parent
    return ""


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float:
    """Seconds, from seconds or a date; 0 where nothing readable is said."""
    said = headers.get("retry-after", "")
    with suppress(ValueError):
        return max(0.0, float(said))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(said) - (now or datetime.now(UTC))).total_seconds())
    return 0.0


def redact(text: str, key: str) -> str:
    """Short, on one line, and without anything that looks like a key."""
    if key:
        text = text.replace(key, "***")
    text = " ".join(_KEYS.sub("***", text).split())
    return text if len(text) <= 300 else text[:297] + "..."


class Health:
    """Since when nothing gets through. Times are the caller's clock."""

    FEW = 3
    """Calls that fail while others are merely absent: their own trouble, once the engine has answered."""
    SAME_FAULT = 30
    """So many refusals, or unreadable replies, and never an answer: it is not this row."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.worked = False
        self.last_answer = 0.0
        self._useless = 0
        self._forget_failures()

    def _forget_failures(self) -> None:
        self._failing_since: float | None = None
        self._failing: set[object] = set()
        self._never_connected = True
        self._asked_to_wait = 0.0

    def answered(self, now: float) -> None:
        self.worked, self.last_answer = True, now
        if self._failing:
            self._forget_failures()

    def failed(self, call: object, failure: Failure, started: float) -> None:
        """A try that began at `started` and gave nothing."""
        if self._failing_since is None:
            self._failing_since = max(started, self.last_answer)
        self._failing.add(call)
        self._never_connected &= failure.connect_failed
        self._asked_to_wait = max(self._asked_to_wait, failure.retry_after)

    def useless(self) -> bool:
        """Count a refusal or an unreadable reply; True when nothing else ever came back."""
        self._useless += 1
        return not self.worked and self._useless >= self.SAME_FAULT

    def down(self, now: float) -> bool:
        patience = self._patience + 2.0 * self._asked_to_wait
        if self._never_connected and not self.worked:
            patience /= 4.0  # nothing listens there, and nothing ever did
        return self._many and self._failing_since is not None and now - self._failing_since >= patience

    def others_get_through(self, since: float) -> bool:
        """Whether a call that keeps failing should give up by itself."""
        return self.last_answer > since or not self._many

    @property
    def _many(self) -> bool:
        return not self.worked or len(self._failing) >= self.FEW


def next_step(failure: Failure, model: str, url: str, key_env: str, has_key: bool) -> str:
    """What to type, by what went wrong."""
    look = f"curl {quote(url + '/models')}"
    if failure.connect_failed:
        return f"Check that the server is up: {look}"
    if failure.status == 401 and not has_key:
        return f"Set the key with: export {key_env}=..."
    if failure.status in (401, 403):
        return f"Check the key: export {key_env}=..."
    if failure.status == 402:
        return "Add credit with the vendor, then run the same command again"
    if failure.status == 404:
        return f"Check the URL and the model '{model}': {look}"
    if 300 <= failure.status < 400:
        return "Write that address after the @ of the engine"
    if failure.server_replied:
        return f"Check that the URL is an OpenAI-compatible API: {look}"
    if failure.action == "refuse":
        return "Check this engine's settings: extra, and the judge's template and max_tokens"
    return "Run the same command again when the server is well; what was answered is kept"
