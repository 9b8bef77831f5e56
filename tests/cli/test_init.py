"""jurist init: every setting explained, ready for the tiny world."""

from pathlib import Path

import pytest
import yaml
from command import jurist, refused

from jurist.config import load_settings, settings_from
from jurist.recipes.catalogue import RECIPES, recipe_called

pytest.importorskip("transformers", reason="recipes that train need the extra")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", RECIPES)
def test_what_init_writes_are_the_settings_of_the_shipped_recipe(name, here, capsys):
    said = jurist(capsys, "init", name)
    settings, _ = recipe_called(name)
    written = load_settings(settings, here / f"{name}.yaml")

    assert (said.code, said.out.split("Run it with: ")[1].strip()) == (0, f"jurist run {name}.yaml")
    assert written == load_settings(settings, ROOT / "recipes" / f"{name}.yaml")


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_commented_out_is_a_setting_with_its_default(name, here, capsys):
    jurist(capsys, "init", name)
    text = (here / f"{name}.yaml").read_text()
    settings, _ = recipe_called(name)
    uncommented = [line.removeprefix("# ") for line in text.splitlines() if is_setting(line)]

    assert load_settings(settings, here / f"{name}.yaml") == settings_from(
        settings, yaml.safe_load("\n".join(put_right(uncommented)))
    )
    assert max(map(len, text.splitlines())) <= 110


def is_setting(line):
    """A setting, in use or commented out, as against words about it."""
    bare = line.removeprefix("#")
    if bare.startswith(20 * " "):
        return False  # words that go on from the line before
    setting = bare.split("  # ")[0].strip()
    key = setting.split(":")[0]
    return bool(setting) and ":" in setting and key.isidentifier() and not setting.startswith("yours")


def put_right(lines):
    """`#   most: 200` stands under its part as it is indented there."""
    return [line[1:].rstrip() if line.startswith("#  ") else line for line in lines]


def test_every_line_is_for_somebody_who_has_not_read_the_docs(here, capsys):
    jurist(capsys, "init", "rlaif", "--out", "mine.yaml")
    text = (here / "mine.yaml").read_text()

    assert "jurist run mine.yaml" in text
    assert "# The checkpoint it starts from, which is also the anchor that it is held near." in text
    assert "yours: Qwen/Qwen3-0.6B" in text
    assert "What a nat of KL to the anchor costs" in text


def test_nothing_that_is_there_is_written_over(here, capsys):
    (here / "rlaif.yaml").write_text("mine: 1\n")
    line = refused(jurist(capsys, "init"))

    assert "rlaif.yaml is there already" in line
    assert "--out" in line
    assert (here / "rlaif.yaml").read_text() == "mine: 1\n"


def test_a_recipe_nobody_knows_is_refused_with_its_nearest_neighbour(here, capsys):
    assert "Did you mean 'rejection'?" in refused(jurist(capsys, "init", "rejektion"))
    assert not list(here.iterdir())
