"""How a command ends: with an exit code, and where it is not 0 with one line that ends in what to type next.

    0 done · 1 the self-test failed, or an audit met --fail-on · 2 something is wrong, and the line says what
    3 the budget is spent · 130 stopped with Ctrl-C · 141 whoever read our output left

Whatever the code, every call paid for is in the journal, and the same command goes on from there.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Any, Final

import typer

from ..errors import BudgetSpent, Interrupted, JuristError

WRONG: Final = 2
SPENT: Final = 3
INTERRUPTED: Final = 130
NOBODY_READS: Final = 141


def run_command(command: Any, words: list[str]) -> int:
    """The exit code of one command line. A defect of ours is not among the endings: it shows itself."""

    def act() -> int:
        with command.make_context("jurist", words) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0

    return ending_of(act)


def ending_of(act: Callable[[], int]) -> int:
    """Do it, and turn what stops it into an exit code and a line."""
    try:
        return act()
    except typer.Exit as done:
        return int(done.exit_code)
    except JuristError as error:
        stopped = INTERRUPTED if isinstance(error, Interrupted) else WRONG
        return say(str(error), SPENT if isinstance(error, BudgetSpent) else stopped)
    except KeyboardInterrupt:
        return say("stopped. Every call paid for is kept: run the same command to go on", INTERRUPTED)
    except BrokenPipeError:
        # Python would complain once more when it flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except OSError as error:
        return say(_system(error), WRONG)
    except Exception as error:
        # typer brings its own click or the real one, by version; both know an error by this method.
        if not hasattr(error, "format_message"):
            raise
        return _usage(error)


def ended(summary: Any) -> None:
    """A run that stopped before its input did is not a success, though what it has is exported."""
    if summary.state == "stopped":
        codes = {"budget": SPENT, "interrupt": INTERRUPTED}
        raise typer.Exit(say(summary.stopped, codes.get(summary.ended_by, WRONG)))
    if summary.refused:
        raise typer.Exit(say(summary.refused, 1))
    if summary.why_none:
        raise typer.Exit(say(f"no labels: {summary.why_none}", 1))


def say(message: str, code: int) -> int:
    print(f"jurist: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


def _usage(error: Exception) -> int:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        print(context.get_help())
        return WRONG
    path = getattr(context, "command_path", "jurist")
    what = error.format_message().rstrip(".?")  # type: ignore[attr-defined]
    return say(f"{what[:1].lower()}{what[1:]}. See: {path} --help", WRONG)


def _system(error: OSError) -> str:
    """What the operating system said, where none of our own messages was nearer."""
    reason = (error.strerror or str(error)).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full. What is in the journal is safe: free some space and run the same command"
    if error.filename is None:
        return f"the system refused ({reason}). See what is free with: df -h . && ulimit -a"
    return f"cannot use {error.filename} ({reason}). Look at it with: ls -ld {error.filename}"
