"""Reads a page as somebody who follows it would: writes the files it shows, runs its commands and its Python.

A fenced block with a name (```yaml mixture.yaml) is a file. Without one, `sh` holds commands, `python` is
executed, `yaml` holds settings of a recipe, `jsonl` rows of input, and `text` is what `docs/build.py` made.
Any other block is refused, so that nothing on a page goes untried.
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jurist.cli.app import _settings, run_command
from jurist.cli.options import parse
from jurist.completions import load_groups
from jurist.config import load_settings, parse_yaml, settings_from
from jurist.engines.budget import Budget, parse_money
from jurist.engines.engine import Ask, Reply, open_engine
from jurist.engines.scripted import load_function
from jurist.prompts import load_prompts
from jurist.prompts.load import ANSWERS
from jurist.recipes.catalogue import recipe_called
from jurist.recipes.scoring import Scoring
from jurist.recipes.settings import LabelConfig
from jurist.run import Run
from jurist.selftest import scoring
from jurist.serve import serving
from jurist.serve.server import ServeConfig
from jurist.tiny import judges
from jurist.tiny.answers import careful, wordy

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MADE = re.compile(r"<!-- made by: .+? -->\n.*?<!-- end -->", re.DOTALL)
BASE = "Qwen/Qwen3-0.6B"
"""The model of the docs; a small random one stands in for it."""
ADDRESS = re.compile(r"http://[\w.-]+:800\d/v1")
EXITS = re.compile(r"# exits with (\d+)")


class Block(NamedTuple):
    language: str
    name: str
    text: str


def blocks(text: str) -> Iterator[Block]:
    """The blocks that a person wrote."""
    for language, name, body in BLOCK.findall(MADE.sub("", text)):
        yield Block(language, name, body)


async def answer(ask: Ask) -> str | Reply:
    """Every model of the docs at once: policies answer, judges judge, and those told to reason do so."""
    shown = next((m for m in reversed(ask.messages) if "<response" in m.content), None)
    if shown is None:
        return careful(ask) if ask.sample % 2 else wordy(ask)
    asked = Ask((shown,), top_logprobs=ask.top_logprobs, sample=ask.sample)
    if "<response-A-" not in shown.content:
        return scoring(asked)
    if "last line" in shown.content:
        return f"One is shorter than the other.\nVerdict: {judges.oracle(asked)}"
    return judges.fair(ask)


class Reader:
    """Follows one page in one folder. `url` is where every server of the page is to be found."""

    def __init__(self, folder: Path, url: str, env: Any) -> None:
        self.folder, self.url, self.env = folder, url, env
        self.namespace: dict[str, Any] = {"__name__": "page"}
        self.servers = ExitStack()
        self.skipped = False
        """A command of minutes was not carried out: what the page does with its outcome cannot be either."""

    def follow(self, block: Block) -> None:
        text = ADDRESS.sub(self.url, block.text)
        if BASE in text and block.language in ("sh", "python"):
            text = text.replace(BASE, str(self.base()))
        if block.name:
            (self.folder / block.name).write_text(text, encoding="utf-8")
        elif block.language == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                self.type(line)
        elif block.language == "python":
            code = compile(text, "the page", "exec")
            if not self.skipped:
                exec(code, self.namespace)
        elif block.language == "yaml":
            settings_of(parse_yaml(text))
        elif block.language == "jsonl":
            assert list(rows_of(text)), text
        else:
            raise AssertionError(f"no way to try a block of '{block.language}':\n{text}")

    def type(self, line: str) -> None:
        words = shlex.split(line, comments=True)
        wanted = int(found[1]) if (found := EXITS.search(line)) else 0
        match words:
            case []:
                pass
            case ["jurist", "run", recipe, *rest]:
                # What it comes to takes minutes, and is the business of tests/recipes; here: that it could.
                self.skipped = True
                cls, known = _settings("run", [recipe, *rest])
                load_settings(cls, self.folder / recipe, parse(rest, known)[0])
            case ["jurist", "demo" as verb, *rest]:
                parse(rest, _settings(verb, rest)[1])
            case ["jurist", "serve", *rest, "&"]:
                self.serve_judge(rest)
            case ["jurist", verb, *rest] if self.skipped:
                parse(rest, _settings(verb, rest)[1])
            case ["jurist", *rest]:
                assert run_command(rest) == wanted, line
            case ["torchrun" | "accelerate", *rest] if "jurist)" in rest:
                # What several processes do is tested elsewhere; here the words have to be right.
                start = rest.index("jurist)") + 1
                if "--config_file" in rest[:start]:
                    assert (ROOT / rest[rest.index("--config_file") + 1]).exists(), line
                self.type(shlex.join(["jurist", *rest[start:]]))
            case ["make", target]:
                assert f"\n{target}:" in (ROOT / "Makefile").read_text(), line
            case ["pip", "install", *what]:
                assert all(map(can_be_installed, what)), line
            case ["export", setting]:
                self.env.setenv(*setting.split("=", 1))
            case ["python", "-m", "jurist.serve", *rest, "&"]:
                self.serve(rest)
            case ["curl", address]:
                with urllib.request.urlopen(address, timeout=5) as reply:
                    assert reply.status == 200, line
            case _:
                raise AssertionError(f"no way to try this command: {line}")

    def base(self) -> Path:
        """A checkpoint to start from; without torch the page cannot be followed."""
        pytest.importorskip("torch", reason="training is an extra: pip install 'jurist[train]'")
        folder = self.folder / "base"
        if not folder.exists():
            sys.path.append(str(ROOT / "tests" / "models"))
            import making

            making.checkpoint(folder, max_position_embeddings=2048)
        return folder

    def serve(self, words: list[str]) -> None:
        """The page's own server, on any free port, takes over from ours."""
        given = dict(zip(words[::2], words[1::2], strict=True))
        engine = given.get("--engine")
        answer = open_engine(engine).answer if engine else load_function(given["--answer"])
        self.url = self.servers.enter_context(serving(answer)).url

    def serve_judge(self, words: list[str]) -> None:
        """The same with a judge before it, kept and paid for in its run folder."""
        given, (judge,) = parse(words, _settings("serve", words)[1])
        cfg = load_settings(ServeConfig, None, {"judge": judge, **given})
        run = self.servers.enter_context(Run(cfg.out))
        judged = Scoring(cfg.judge, run.journal, Budget(parse_money(cfg.budget), run.journal))
        (engine,) = judged.engines
        self.url = self.servers.enter_context(serving(engine.answer, scoring=judged)).url


def settings_of(tree: dict[str, Any]) -> Any:
    """Of a labelling job, or of the recipe that the settings name."""
    if "recipe" in tree:
        return settings_from(recipe_called(tree["recipe"])[0], tree)
    return settings_from(LabelConfig, tree)


def rows_of(text: str) -> Iterator[Any]:
    """The rows as the loaders understand them."""
    import json

    rows = [json.loads(line) for line in text.splitlines()]
    answered = any(set(row) & ANSWERS for row in rows)
    return load_groups(rows) if answered else load_prompts(rows)


def can_be_installed(what: str) -> bool:
    """`.`, `jurist[extra]` or an option: only extras that pyproject.toml has."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found = re.fullmatch(r"(?:-\w+|(?:\.|jurist)(?:\[([\w,]+)\])?)", what)
    return found is not None and all(extra in known for extra in (found[1] or "").split(",") if extra)
