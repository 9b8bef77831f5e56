"""Numbers and texts as a reader meets them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup, escape

from ..finding import Finding, Grade
from ..read_run import ExampleVerdict

GRADES: Final[dict[Grade, tuple[str, str]]] = {
    "alarm": ("alarm", "alarms"),
    "warning": ("warning", "warnings"),
    "note": ("note", "notes"),
    "fine": ("fine", "fine"),
    "silent": ("not measured", "not measured"),
}
"""Worst first: what one is called, and several."""

AUDITS: Final = {
    "position": ("Position", "Does the verdict follow the seat instead of the text?"),
    "length": ("Length", "Does the judge pay for words?"),
    "self_preference": ("Self-preference", "Does the judge favour answers of its own family?"),
    "agreement": ("Agreement with people", "Would people say the same?"),
    "ceiling": ("Where judges stop", "In which domains do labels have to come from people?"),
    "calibration": ("Calibration", "Is the judge as often right as it is sure?"),
    "diversity": ("Diversity", "Are the answers of each generation still as varied?"),
    "overoptimisation": ("Over-optimisation", "Does the score still mean what it meant?"),
    "probe": ("Attacks tried on the judge", "Does the judge prefer answers made to please it?"),
    "reading": ("Reading", "Could the replies be read as verdicts?"),
    "cost": ("Cost", "What did a label cost, and one that is right?"),
}
"""What a section is called, and what it asks. One not listed is called as its audit."""

_LETTERS: Final = {"ece": "ECE", "aurc": "AURC", "kl": "KL", "ac1": "AC1", "iqr": "IQR", "usd": "US dollars"}

FEW: Final = 10
"""On fewer prompts nearly everything lies within its interval, so nothing is cleared."""
LONGEST: Final = 4000
"""Characters of a text on the page; who wants all of it has the run."""

_UNSHOWN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""What would change how the text beside it reads, or is there and not seen: it is named instead."""
_CODE: Final = re.compile(
    r"`([^`\n]+)`"
    r"|(?<=: )((?:jurist|pip|head|ls) [^`\n]*?)(?=$|\.(?:$| [A-Z])|\n|, then)"
    r"|(?<![\w-])(--[a-z][\w.]*\w"
    r"(?: (?:true|false|always|never|[A-Z]+|[\w./:@-]*\w(?=[),;]|\.?$| --))(?!\w))?)"
)
"""Commands: in backticks, after a colon to the end, or a flag with what looks like its value."""


def written(value: float | None, unit: str = "share") -> str:
    """A number as people write it."""
    if value is None or not math.isfinite(value):
        return "unknown"
    size = abs(value) if unit == "share" or abs(value) >= 1e-9 else 0.0
    sign = "−" if value < 0 and size >= (5e-4 if unit == "share" else 1e-9) else ""
    if unit == "share":
        return f"{sign}{size:.1%}"
    if unit == "usd":
        return f"{sign}${_digits(size)}" if 0 < size < 0.01 else f"{sign}${size:,.2f}"
    if unit == "seconds":
        return f"{sign}{size:.1f} s" if size < 100 else f"{sign}{size / 60:.1f} min"
    return sign + _digits(size)


def tick(value: float, unit: str, step: float) -> str:
    """A number on an axis: no more places than its step needs."""
    places = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    sign = "−" if value < -step / 1e6 else ""
    size = abs(value)
    if unit == "share":
        return f"{sign}{100 * size:.{max(0, places - 2)}f}%"
    text = f"{size / 1000:,.{max(0, places)}f}k" if size >= 10_000 and step >= 1000 else f"{size:,.{places}f}"
    return sign + {"usd": f"${text}", "seconds": f"{text} s"}.get(unit, text)


def between(low: float | None, high: float | None, unit: str = "share") -> str:
    """An interval; empty where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{written(low, unit)} to {written(high, unit)}"


def figures(one: Finding) -> str:
    """The value of a finding with its interval."""
    around = between(one.low, one.high, one.unit)
    return written(one.value, one.unit) + (f" ({around})" if around else "")


def shown(value: object) -> object:
    """A text with nothing left in it that the eye cannot see; other values as they are."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _UNSHOWN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", value.replace("\r\n", "\n"))


def excerpt(text: str) -> str:
    """A text that may have any length."""
    more = len(text) - LONGEST
    return text if more <= 0 else f"{text[:LONGEST]} … ({more:,} more characters)"


def brief(name: str, most: int = 90) -> str:
    """A name or a sentence, which may have any length where others had a say in it."""
    return name if len(name) <= most else f"{name[:most].rstrip()}…"


def told(text: str) -> Markup:
    """A sentence of ours, its commands set as such; what it quotes is escaped."""
    parts, at = [], 0
    clean = str(shown(brief(text, 700)))
    for found in _CODE.finditer(clean):
        # A line may end between two words of a command, not at the hyphens of `--recipe`.
        words = " ".join(filter(None, found.groups())).split()
        whole = Markup("<span>{}</span>")
        command = Markup(" ").join(whole.format(one) if len(one) < 28 else escape(one) for one in words)
        parts += [escape(clean[at : found.start()]), Markup("<code>{}</code>").format(command)]
        at = found.end()
    return Markup("").join([*parts, escape(clean[at:])])


def verdict(said: ExampleVerdict) -> str:
    """What it comes to, told from the seats as they stand on the page."""
    if said.score is not None:
        return f"scores the {said.order} {_digits(abs(said.score)) if said.score >= 0 else said.score}"
    if said.p_first is None:
        return f"nothing read: {said.unread}" if said.unread else "nothing yet"
    if abs(said.p_first - 0.5) < 0.005:
        return "a tie"
    side, p = ("first", said.p_first) if said.p_first > 0.5 else ("second", 1 - said.p_first)
    return side if p > 0.995 else f"{side}, {p:.0%} sure"


def called(name: str) -> str:
    """What a finding measured, as a heading: `position.flip_rate` is `Flip rate`."""
    what = " ".join(_LETTERS.get(word, word) for word in name.rpartition(".")[2].split("_"))
    return what[:1].upper() + what[1:]


def section(audit: str) -> tuple[str, str]:
    return AUDITS.get(audit, (called(audit) or "Other", ""))


def counts(findings: Sequence[Finding]) -> list[tuple[Grade, str, int]]:
    """How many of each grade there are, worst first; none of a grade is left out."""
    n = Counter(one.grade for one in findings)
    return [(grade, words[n[grade] != 1], n[grade]) for grade, words in GRADES.items() if n[grade]]


def answer(findings: Sequence[Finding]) -> tuple[Grade, str, str]:
    """What it comes to: the worst grade, the short answer, and the sentence that gives the reason."""
    n = Counter(one.grade for one in findings)
    measured = len(findings) - n["silent"]
    missing = f" {_several(n['silent'], 'thing')} could not be measured." if n["silent"] else ""
    if not measured:
        return "silent", "Nobody can say yet.", "Nothing could be measured; what is missing is listed below."
    of = f"of the {measured} things measured" if measured > 1 else "of the one thing measured"
    if n["alarm"]:
        more = f", and {n['warning']} more may be" if n["warning"] else ""
        is_ = "is" if n["alarm"] == 1 else "are"
        return "alarm", "Not yet.", f"{n['alarm']} {of} {is_} surely wrong{more}.{missing}"
    if n["warning"]:
        return "warning", "With care.", f"Nothing is surely wrong; {n['warning']} {of} may be.{missing}"
    most = max(one.n for one in findings)
    if most < FEW:
        return "silent", "Nobody can say yet.", f"All of it rests on {_several(most, 'prompt')}.{missing}"
    if n["silent"]:
        return "note", "As far as it was measured, yes.", f"None {of} is wrong.{missing}"
    return "fine", "Yes.", f"None {of} is wrong."


def _several(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _digits(size: float) -> str:
    """Three that count, and no exponent for what has a place on a price tag."""
    if 0.001 <= size < 1:
        return f"{size:.3f}".rstrip("0").rstrip(".")
    if size == 0 or size >= 100:
        return f"{size:,.0f}" if size == 0 or size >= 1000 or size == int(size) else f"{size:.1f}"
    text = f"{size:.{max(0, 2 - math.floor(math.log10(size)))}f}" if size >= 1e-6 else f"{size:.1e}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
