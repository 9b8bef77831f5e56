"""What the README and the docs say holds: commands run, links lead somewhere, outputs are made."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import yaml
from msgspec.structs import replace
from walk import ADDRESS, BLOCK, ROOT, Reader, answer, blocks

from jurist.cli.app import VERBS, run_command
from jurist.config import settings_from
from jurist.engines import vendors
from jurist.engines.engine import ENGINES
from jurist.preferences.export import FORMATS
from jurist.recipes.label import label
from jurist.recipes.loop.compare import read_held_out
from jurist.recipes.settings import LabelConfig, check
from jurist.serve import serving
from jurist.tiny.answers import won
from jurist.tiny.world import true_score
from jurist.verdicts.judge import JUDGES

sys.path.append(str(ROOT / "docs"))
from build import pages, remade

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
LOOPS = [path for path in RECIPES if "recipe" in yaml.safe_load(path.read_text(encoding="utf-8"))]
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with serving(answer) as served:
        yield served


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Any) -> Iterator[Reader]:
    """A reader with an empty folder, for whom vendors and servers are at our own server's address."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for vendor in ("openai", "anthropic"):
        there = replace(vendors.TABLE[vendor], url=server.url)
        monkeypatch.setitem(vendors.TABLE, vendor, there)
        monkeypatch.setenv(there.key_env, "a-key-for-nothing")
    known = set(sys.modules)
    reader = Reader(tmp_path, server.url, monkeypatch)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    for name in ("prompts", "pairs", "completions"):
        (tmp_path / f"{name}.jsonl").write_bytes((ROOT / f"src/jurist/examples/{name}.jsonl").read_bytes())
    with reader.servers:
        yield reader
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


TRIED = [pytest.param(one, marks=pytest.mark.slow if one.name == "training.md" else ()) for one in pages()]


@pytest.mark.parametrize("page", TRIED, ids=lambda page: page.name)
def test_every_command_and_snippet_of_a_page_works(page: Path, reader: Reader):
    for block in blocks(page.read_text(encoding="utf-8")):
        reader.follow(block)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_what_is_made_on_a_page_is_what_would_be_made_today(page: Path):
    text = page.read_text(encoding="utf-8")

    assert remade(text) == text, "the docs are older than the code; run: make docs"


@pytest.mark.parametrize("page", [*pages(), ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    for link in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in {slug(heading) for heading in HEADING.findall(target.read_text())}, link


def slug(heading: str) -> str:
    """The anchor that a heading has on the web."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_verb_has_its_place_among_the_commands():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")

    for verb in dict.fromkeys(name.split()[0] for name in VERBS):
        assert f"<!-- made by: verb {verb} -->" in page


def test_the_readme_is_short_and_starts_with_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = text.splitlines()

    assert 500 <= len(text.split()) <= 700
    first = next(number for number, line in enumerate(lines, 1) if line.startswith("```"))
    assert first < 25
    commands = next(block.text for block in blocks(text)).splitlines()
    assert [line.split("#")[0].strip() for line in commands] == ["make demo", "make test"]


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    others = [str(page.relative_to(ROOT / "docs")) for page in pages()[1:] if page.name != "index.md"]

    assert [name for name in others if f"({name})" not in index] == []


@pytest.mark.parametrize(
    ("page", "names"),
    [("judges", JUDGES), ("engines", ENGINES), ("labelling", FORMATS)],
    ids=str,
)
def test_every_kind_we_ship_is_explained(page: str, names: Iterable[str]):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")

    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


@pytest.mark.slow
@pytest.mark.parametrize("recipe", LOOPS, ids=lambda path: path.name)
def test_every_recipe_with_rounds_truly_beats_its_initial_policy(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run_command(["run", str(recipe), "--out", str(tmp_path / "loop"), "--json"]) == 0
    rounds = json.loads(capsys.readouterr().out)["rounds"]
    policy, initial = (read_held_out(tmp_path / "loop", number) for number in (len(rounds), 0))

    # By the world's own scores, each of the samples against each of the initial policy's.
    wins = [
        fmean(
            won(true_score(request, one.text) - true_score(request, other.text))
            for one in new.new
            for other in old.new
        )
        for new, old in zip(policy, initial, strict=True)
        for request in [new.prompt.messages[-1].content]
    ]
    assert fmean(wins) - 1.96 * stdev(wins) / len(wins) ** 0.5 > 0.5


@pytest.mark.parametrize("recipe", [one for one in RECIPES if one not in LOOPS], ids=lambda path: path.name)
def test_every_recipe_runs(recipe: Path, reader: Reader):
    tree = yaml.safe_load(ADDRESS.sub(reader.url, recipe.read_text(encoding="utf-8")))
    cfg = settings_from(LabelConfig, {**tree, "limit": 12})
    check(cfg)
    summary = label(cfg)

    assert summary.state == "done"
    assert summary.labels > 0
