"""The self-test can fail: each bug that shipped elsewhere is planted in a copy of the package, and found."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import jurist

SOURCE = Path(jurist.__file__).parent

# What it does, where, what stands there, what is put in its place, and the judge that must give it away.
BUGS = {
    "the swap is not mapped back": (
        "verdicts/settle.py",
        "(p_given + 1.0 - p_swapped) / 2.0",
        "(p_given + p_swapped) / 2.0",
        "oracle",
    ),
    "an unread reply is a tie": (
        "verdicts/read.py",
        'return Reading(unread="no_verdict")',
        "return Reading(0.5)",
        "blaming",
    ),
    "labels that hold next to nothing are read": (
        "verdicts/read.py",
        "LEAST_MASS: Final = 0.5",
        "LEAST_MASS: Final = 0.0",
        "copying",
    ),
    "an unread score is -1": (
        "verdicts/judge.py",
        "sample, score=score, **fields)",
        "sample, score=-1.0 if fields['unread'] else score, **{**fields, 'unread': ''})",
        "scoring_shifted",
    ),
    "verdicts move up when one before them was not read": (
        "verdicts/judge.py",
        "    return [one for one in verdicts if isinstance(one, Verdict)]",
        "    read = [one for one in verdicts if not one.unread]\n"
        "    return [\n"
        "        replace(to, p_first=of.p_first, score=of.score, unread='')\n"
        "        for to, of in zip(verdicts, read)\n"
        "    ]",
        "shifted",
    ),
    "unread rows are left out without a word": (
        "preferences/decide.py",
        "            for row in dropped:\n                drop(row)",
        "            for row in dropped:\n                drop(row) if 'unread' not in row.reason else None",
        "garbage",
    ),
    "one order is enough when the other was not read": (
        "verdicts/settle.py",
        "if unread or not verdicts:",
        "if p_given is None and p_swapped is None:",
        "halting",
    ),
    "chosen and rejected change places on the way out": (
        "preferences/export.py",
        'texts = {"chosen": _answer(one.chosen)',
        'texts = {"chosen": _answer(one.rejected)',
        "oracle",
    ),
    "fences can be forged": (
        "verdicts/ask.py",
        'return f"<{name}-{code}>\\n{shielded}\\n</{name}-{code}>"',
        'return f"<{name}-000000000000>\\n{text}\\n</{name}-000000000000>"',
        "injected",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug, tmp_path):
    file, right, wrong, judge = BUGS[bug]
    shutil.copytree(SOURCE, tmp_path / "jurist")
    path = tmp_path / "jurist" / file
    path.write_text(path.read_text().replace(right, wrong))
    done = subprocess.run(
        [sys.executable, "-c", "from jurist.cli import main; main()", "selftest", "--rows=60", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert judge in [check["judge"] for check in json.loads(done.stdout)["checks"] if not check["passed"]]


def test_the_lines_that_bugs_are_planted_in_are_there():
    for file, right, _, _ in BUGS.values():
        assert right in (SOURCE / file).read_text(), file
