"""The page about recorded judges shows what a fresh computation gives, and what its claim measured."""

import json
from pathlib import Path

import pytest

from jurist.audits.finding import between, written
from support.recorded import DATA

ROOT = Path(__file__).resolve().parents[2]
import real_judges  # noqa: E402

on_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded judgements at {DATA}")


@pytest.fixture(scope="module")
def page():
    return real_judges.PAGE.read_text(encoding="utf-8")


def test_every_table_is_filled_in_and_the_page_says_what_the_claim_measured(page):
    measured = json.loads((ROOT / "evidence" / "real_judges.json").read_text())
    parts = {name: body for _, name, body, _ in real_judges.MARKED.findall(page)}
    rows = [line for line in parts["labels"].splitlines() if line.startswith(f"| {real_judges.ALL} |")]
    gain = written(measured["value"], "points"), between(measured["low"], measured["high"], "points")

    assert set(parts) == set(real_judges.TABLES)
    assert min(len(body.splitlines()) for body in parts.values()) > 5
    assert [f"{gain[0]} ({gain[1]})" in row for row in rows] == [True]


@on_data
@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (real_judges.ERRORS, ("QLoRA, pairs", "PandaLM")),
        (real_judges.AGREEMENT, ("PandaLM", real_judges.NATURAL)),
    ],
    ids=["position", "agreement"],
)
def test_what_audits_say_of_these_judges_is_what_stands_there(columns, names, page):
    made = real_judges.by_judge(columns, names).splitlines()

    assert len(made) > 4
    assert [line for line in made if line not in page.splitlines()] == []


@on_data
@pytest.mark.parametrize("part", ["juries", "labels"])
def test_what_a_jury_comes_to_is_what_stands_there(part, page):
    *_, made = real_judges.TABLES[part](["FairEval"]).splitlines()

    assert made in page.splitlines()


@on_data
def test_the_figures_recorded_beside_the_data_come_out_exactly():
    same, of = real_judges.on_record.as_recorded()

    assert same == of == 36
