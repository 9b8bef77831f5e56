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
        "(p_given + 1.0 - p_turned) / 2.0",
        "(p_given + p_turned) / 2.0",
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
        "score=answer.reading.value, **_answer_fields(answer)",
        "score=-1.0 if answer.reading.unread else answer.reading.value, "
        "**{**_answer_fields(answer), 'unread': ''}",
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
        "            for row in lost:\n                drop(row)",
        "            for row in lost:\n                drop(row) if 'unread' not in row.reason else None",
        "garbage",
    ),
    "one order is enough when the other was not read": (
        "verdicts/settle.py",
        "(given and p_given is None) or (turned and p_turned is None)",
        "p_given is None and p_turned is None",
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


def selftest(package: Path, rows: int = 20) -> tuple[int, dict]:
    done = subprocess.run(
        [sys.executable, "-c", "from jurist.cli import main; main()", "selftest", f"--rows={rows}", "--json"],
        capture_output=True,
        text=True,
        cwd=package.parent,
        env={"PYTHONPATH": str(package.parent), "PATH": ""},
        timeout=120,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_package_as_it_is_passes(tmp_path):
    shutil.copytree(SOURCE, tmp_path / "jurist")
    code, result = selftest(tmp_path / "jurist", rows=10)
    assert [check for check in result["checks"] if not check["passed"]] == []
    assert (code, result["passed"]) == (0, True)


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug, tmp_path):
    file, right, wrong, judge = BUGS[bug]
    shutil.copytree(SOURCE, tmp_path / "jurist")
    path = tmp_path / "jurist" / file
    text = path.read_text()
    assert text.count(right) >= 1, f"{file} no longer holds the line this bug is planted in"
    path.write_text(text.replace(right, wrong))
    code, result = selftest(tmp_path / "jurist")
    failed = [check["judge"] for check in result["checks"] if not check["passed"]]
    assert code == 1
    assert judge in failed
