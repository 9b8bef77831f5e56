"""Fences around text that a judge is shown, so that no text can pretend to end and speak with another voice.

Each text stands between tags that end in a code made from what is shown and found nowhere in it. What only
looks like one of our tags inside a text gets a backslash: the smallest change that is plain to see and can
be undone.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

_NAMES: Final = r"(?=\\*/?(?:response|turn|reference)-)"
_LOOKALIKE: Final = re.compile("<" + _NAMES, re.IGNORECASE)
_SHIELDED: Final = re.compile(r"<\\" + _NAMES, re.IGNORECASE)


def code_for(names: str, *texts: str) -> str:
    """Twelve hex digits: the same for the same content, and in none of the texts."""
    code = blake2b(names.encode(), digest_size=6).hexdigest()
    while any(code in text for text in texts):
        code = blake2b(code.encode(), digest_size=6).hexdigest()
    return code


def fence(name: str, text: str, code: str) -> str:
    return f"<{name}-{code}>\n{shield(text)}\n</{name}-{code}>"


def shield(text: str) -> str:
    """Put a backslash into what looks like one of our tags."""
    return _LOOKALIKE.sub(r"<\\", text) if "<" in text else text


def unshield(text: str) -> str:
    """The text as it was before `shield`."""
    return _SHIELDED.sub("<", text)


def unfence(shown: str, name: str) -> str:
    """The text of the first fence of this name, word for word."""
    found = re.search(rf"<{name}-([0-9a-f]{{12}})>\n(.*?)\n</{name}-\1>", shown, re.DOTALL)
    if found is None:
        raise ValueError(f"no {name} is shown here")
    return unshield(found[2])
