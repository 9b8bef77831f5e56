"""How a command ends: with an exit code, and where it is not 0 with one line that ends in what to type next.

    0 done · 1 nothing was labelled, labels were refused, or a self-test, probe or --fail-on failed
    2 something is wrong, and the line says what · 3 the budget is reached · 130 Ctrl-C or SIGTERM
    141 the reader of our output is gone

Whatever the code, answered calls are in the journal, and the same command goes on from there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from shlex import quote
from typing import Any, Final

import msgspec

from ..errors import BudgetSpent, Interrupted, JuristError

FAILED: Final = 1
WRONG: Final = 2
SPENT: Final = 3
INTERRUPTED: Final = 130
NO_READER: Final = 141


def exit_code(act: Callable[[], int]) -> int:
    """Do it, and turn what stops it into an exit code and a line. A bug of ours shows its traceback."""
    try:
        code = act()
        sys.stdout.flush()
        return code
    except JuristError as error:
        codes: dict[type, int] = {BudgetSpent: SPENT, Interrupted: INTERRUPTED}
        return say(str(error), codes.get(type(error), WRONG))
    except KeyboardInterrupt:
        return say("stopped. Answered calls are kept; run the same command to go on", INTERRUPTED)
    except BrokenPipeError:
        # Python would complain once more when it flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except OSError as error:
        reason, file = (error.strerror or str(error)).lower(), error.filename
        if file is None:
            return say(f"the system refused ({reason}). See what is free with: df -h . && ulimit -a", WRONG)
        return say(f"cannot use {file} ({reason}). Look at it with: ls -ld {quote(str(file))}", WRONG)


def print_result(as_json: bool, result: Any, lines: Iterable[str] | None = None) -> None:
    print(msgspec.json.encode(result).decode() if as_json else "\n".join(lines or result.lines()))


def report(as_json: bool, result: Any) -> int:
    """Print what a verb came to; the exit code says how it ended. A run that stopped, was refused or has no
    label is no success, whatever it exported.
    """
    print_result(as_json, result)
    if by := getattr(result, "ended_by", ""):
        return say(result.stopped, {"budget": SPENT, "interrupt": INTERRUPTED}.get(by, WRONG))
    if reason := getattr(result, "refused", ""):
        return say(reason, FAILED)
    if reason := getattr(result, "why_none", ""):
        return say(f"no labels: {reason}", FAILED)
    return 0 if getattr(result, "passed", True) else FAILED


def say(message: str, code: int) -> int:
    print(f"jurist: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code
