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
    except Interrupted as error:
        return say(str(error), INTERRUPTED)
    except JuristError as error:
        return say(str(error), SPENT if isinstance(error, BudgetSpent) else WRONG)
    except KeyboardInterrupt:
        return say("stopped. Answered calls are kept; run the same command to go on", INTERRUPTED)
    except BrokenPipeError:
        # Python would complain once more when it flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except OSError as error:
        return say(_system(error), WRONG)


def ended(summary: Any) -> int:
    """How a run ended: one that stopped, was refused or has no label is no success, whatever it exported."""
    if summary.state == "stopped":
        codes = {"budget": SPENT, "interrupt": INTERRUPTED}
        return say(summary.stopped, codes.get(summary.ended_by, WRONG))
    if summary.refused:
        return say(summary.refused, FAILED)
    return say(f"no labels: {summary.why_none}", FAILED) if summary.why_none else 0


def report(as_json: bool, result: Any, lines: Iterable[str] | None = None) -> int:
    """Print what a verb came to; the exit code of one that did what it was told."""
    print(msgspec.json.encode(result).decode() if as_json else "\n".join(lines or result.lines()))
    return 0


def say(message: str, code: int) -> int:
    print(f"jurist: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


def _system(error: OSError) -> str:
    """What the operating system said, where none of our own messages was nearer."""
    reason = (error.strerror or str(error)).lower()
    if error.filename is None:
        return f"the system refused ({reason}). See what is free with: df -h . && ulimit -a"
    return f"cannot use {error.filename} ({reason}). Look at it with: ls -ld {quote(str(error.filename))}"
