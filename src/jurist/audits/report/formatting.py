"""Numbers and texts as the page shows them. What models and humans wrote is escaped, whatever it holds, and
what the eye cannot see in it is named.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup, escape

from ..finding import Finding, Grade, Unit, written
from ..findings import SECTIONS
from ..read_run import ExampleVerdict

GRADES: Final[dict[Grade, tuple[str, str]]] = {
    "alarm": ("alarm", "alarms"),
    "warning": ("warning", "warnings"),
    "note": ("note", "notes"),
    "fine": ("fine", "fine"),
    "silent": ("not measured", "not measured"),
}
"""Worst first: what one is called, and several."""
LONGEST: Final = 4000
"""Characters of a text on the page; the run has all of it."""

_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""What would change how the text beside it reads, or is there and not seen."""


def tick(value: float, unit: Unit, step: float) -> str:
    """A number on an axis: no more places than its step needs."""
    if unit in ("share", "points"):
        value, step = 100 * value, 100 * step
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    places = 2 if unit == "usd" and places == 1 else places
    sign = "−" if value < -step / 1e6 else ""
    size = abs(value)
    text = f"{size / 1000:,.{places}f}k" if size >= 10_000 and step >= 1000 else f"{size:,.{places}f}"
    return sign + {"share": f"{text}%", "usd": f"${text}", "seconds": f"{text} s"}.get(unit, text)


def visible(value: object) -> object:
    """A text with nothing left in it that the eye cannot see; other values as they are."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _INVISIBLE.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", value.replace("\r\n", "\n"))


def excerpt(text: str) -> str:
    """A text that may have any length."""
    more = len(text) - LONGEST
    return text if more <= 0 else f"{text[:LONGEST]} … ({more:,} more characters)"


def brief(name: str, most: int = 160) -> Markup:
    """A name, which may have any length where others had a say in it; it breaks after its `:` and `/`."""
    short = str(visible(name if len(name) <= most else f"{name[:most].rstrip()}…"))
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[:/@#_])(?=\S)", short))


def with_commands(text: str) -> Markup:
    """A sentence of ours, what stands in backticks set as code; what it quotes is escaped."""
    parts = str(visible(text if len(text) <= 1000 else f"{text[:1000]}…")).split("`")
    return Markup("").join(_code(part) if at % 2 else escape(part) for at, part in enumerate(parts))


def _code(command: str) -> Markup:
    """Lines end between its words, not at the hyphens of `--recipe`."""
    word = Markup("<span>{}</span>")
    words = [word.format(one) if len(one) < 30 else escape(one) for one in command.split()]
    return Markup("<code>{}</code>").format(Markup(" ").join(words))


def opinion(said: ExampleVerdict) -> str:
    """What somebody said, as the two answers stand on the page; humans have no positions."""
    order = {"given": ", asked in this order", "swapped": ", asked in the other order"}.get(said.order, "")
    human = said.who.startswith("human:")
    who = said.who.replace(":", " ", 1) if human else f"{said.who}{order}"
    if said.score is not None:
        return f"{who}: the {said.order} scores {written(said.score, 'number')}"
    if said.p_first is None:
        return f"{who}: {f'unread ({said.unread})' if said.unread else 'nothing yet'}"
    if abs(said.p_first - 0.5) < 0.005:
        return f"{who}: a tie"
    side, p = ("first", said.p_first) if said.p_first > 0.5 else ("second", 1 - said.p_first)
    return f"{who}: {side} is better{f' ({p:.0%} confident)' if p < 0.995 else ''}"


def section(name: str) -> str:
    """The heading under which a finding stands."""
    part = name.partition(".")[0]
    return SECTIONS.get(part, part.replace("_", " ").capitalize())


def tally(findings: Sequence[Finding]) -> list[tuple[Grade, str]]:
    """How many of each grade there are, worst first: `("alarm", "2 alarms")`."""
    n = Counter(one.grade for one in findings)
    return [(grade, f"{n[grade]} {words[n[grade] != 1]}") for grade, words in GRADES.items() if n[grade]]
