"""The command line as a user types it: in this process, or in one of its own for signals."""

import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
"""A developer's own keys are no part of a test."""


@dataclass
class Result:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The only line on stderr."""
        (line,) = self.err.splitlines()
        return line


def run(*words: object, cwd: str | Path | None = None, env: Mapping[str, str | None] | None = None) -> Result:
    """`jurist WORDS` in this process, up to its exit code; None in `env` takes a variable away."""
    from jurist.cli import main

    argv, environ, path, modules = sys.argv, dict(os.environ), list(sys.path), set(sys.modules)
    out, err = _Text(), _Text()
    here = Path(cwd or os.getcwd()).resolve()
    try:
        _set(env or {})
        sys.argv = ["jurist", *map(str, words)]
        with chdir(here), redirect_stdout(out), redirect_stderr(err):
            try:
                code = main() or 0
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        os.environ.clear()
        os.environ.update(environ)
        sys.argv, sys.path[:] = argv, path
        for name in set(sys.modules) - modules:
            if here in Path(getattr(sys.modules[name], "__file__", None) or "/").parents:
                del sys.modules[name]
    return Result(code, out.getvalue(), err.getvalue())


def spawn(
    *words: object, cwd: str | Path | None = None, env: Mapping[str, str | None] | None = None
) -> subprocess.Popen[str]:
    """The same in a process of its own, to be sent signals and killed."""
    changed = {
        key: value for key, value in {**os.environ, **dict.fromkeys(KEYS), **(env or {})}.items() if value
    }
    return subprocess.Popen(
        [sys.executable, "-c", "from jurist.cli import main; main()", *map(str, words)],
        cwd=cwd,
        env=changed,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def timed(*words: object) -> tuple[Result, float]:
    """The same up to its end, and its seconds."""
    started, process = time.perf_counter(), spawn(*words)
    out, err = process.communicate()
    return Result(process.returncode, out, err), round(time.perf_counter() - started, 1)


@contextmanager
def server_of(
    command: Callable[[str], list[str]], ready: str, log: str | Path = os.devnull, env: Any = None
) -> Iterator[tuple[str, int]]:
    """A server that is started on a free port and answers at `ready`: its address and process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    with open(log, "wb") as out:
        process = subprocess.Popen(command(port), env=env, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(url + ready, timeout=1).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError(
                        f"the server ended at once:\n{Path(log).read_text()[-2000:]}"
                    ) from None
                time.sleep(0.5)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


class _Text(io.TextIOWrapper):
    """Text kept in memory, over bytes as the real streams are."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def getvalue(self) -> str:
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


def _set(env: Mapping[str, str | None]) -> None:
    for name, value in {**dict.fromkeys(KEYS), **env}.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
