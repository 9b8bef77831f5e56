"""What a reasoning model thought aloud in its reply is not its verdict."""

from __future__ import annotations

import re

_TAG = re.compile(
    r"<(?P<angle>/?)(?:seed:)?(?:think|thinking|thought|thoughts|antthinking|scratchpad)(?:\s[^<>]{0,80})?>"
    r"|\[(?P<square>/?)THINK\]|◁(?P<kimi>/?)think▷|<\|(?P<word>begin|end)_of_thought\|>",
    re.IGNORECASE,
)
_FINAL, _ANALYSIS = "<|channel|>final<|message|>", "<|channel|>analysis"


def thinking_spans(text: str) -> tuple[list[tuple[int, int]], bool]:
    """Where the thinking stands, and whether the reply ended in the middle of it.

    A closing tag without an opening one closes what the prompt's template opened, so all before it is
    thought.
    """
    if "<" not in text and "[" not in text and "◁" not in text:
        return [], False
    if _ANALYSIS in text or _FINAL in text:
        at = text.rfind(_FINAL)
        return ([(0, at + len(_FINAL))], False) if at >= 0 else ([(0, len(text))], True)
    spans: list[tuple[int, int]] = []
    opened = -1
    for tag in _TAG.finditer(text):
        closing = bool(tag["angle"] or tag["square"] or tag["kimi"]) or tag["word"] == "end"
        if not closing:
            opened = tag.start() if opened < 0 else opened
        elif opened >= 0:
            spans.append((opened, tag.end()))
            opened = -1
        else:
            spans = [(0, tag.end())]
    if opened >= 0:
        spans.append((opened, len(text)))
    return spans, opened >= 0


def hide_thinking(text: str) -> tuple[str, bool]:
    """The reply with its thinking blanked out, so that offsets stay what they were; and whether it was cut
    off.

    What follows a block starts on a line of its own.
    """
    spans, cut = thinking_spans(text)
    pieces: list[str] = []
    end = 0
    for start, stop in spans:
        pieces += [text[end:start], " " * (stop - start - 1), "\n"]
        end = stop
    return "".join([*pieces, text[end:]]) if spans else text, cut
