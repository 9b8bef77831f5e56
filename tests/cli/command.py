"""The command line as a user types it, in this process."""

import json

import typer

from jurist.cli.app import app
from jurist.cli.ending import run_command

COMMAND = typer.main.get_command(app)


class Said:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)


def jurist(capsys, *words):
    capsys.readouterr()
    code = run_command(COMMAND, [str(word) for word in words])
    out, err = capsys.readouterr()
    return Said(code, out, err)


def refused(said):
    """The one line of a command that ended in an error."""
    assert said.code == 2, said.err
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("jurist: ")
    return line
