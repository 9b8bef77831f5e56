"""Which labels humans read, and the file they fill in, as lines or in a spreadsheet."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "audits"))
from runs import label, pair, verdict, write_run

from jurist.audits.read_run import read_run
from jurist.audits.sheet import Labels
from jurist.errors import DataError, SettingError
from jurist.recipes.spot_check import allocate, sample_labels, spot_check
from jurist.records import Completion, Matchup, Message, Prompt
from jurist.verdicts.human import load_labels, load_weighted
from support.simulated import Simulated, World, simulate

NASTY = (
    '=HYPERLINK("http://x","y")',
    "+1",
    "-2+3",
    "@sum",
    "'=1",
    "1/2",
    "007",
    'two\nlines, "quoted"; and\r\nmore',
    "ein Umlaut: ü",
    "\ttab",
    "plain",
)


@pytest.fixture
def run(tmp_path):
    """A matchup for each nasty text, and one of several turns."""
    pairs = [pair(n, text, f"other {n}") for n, text in enumerate(NASTY)]
    prompt = Prompt.of((Message("system", "Be brief."), Message("user", "=1?")))
    pairs.append(Matchup.of(prompt, *(Completion.of(prompt.id, text, text) for text in ("yes", "no"))))
    said = [(one, [verdict(one, 0.9, judge="secret-judge")]) for one in pairs]
    return write_run(tmp_path / "run", said, [label(one, 0.9) for one in pairs])


def labels_of(path):
    return {one.matchup_id: (one.judge, one.p_first, weight) for one, weight in load_weighted(path)}


def filled(path, out, delimiter=",", encoding="utf-8-sig", **how):
    """As somebody fills it in and saves it again."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for n, row in enumerate(rows):
        row |= {"label": ("First ", "second", "tie")[n % 3], "who": "ada", "why": "=because"}
        row["weight"] = row["weight"].replace(".", how.get("point", "."))
    with out.open("w", encoding=encoding, newline="") as file:
        table = csv.DictWriter(
            file, rows[0], delimiter=delimiter, quoting=how.get("quoting", csv.QUOTE_MINIMAL)
        )
        table.writeheader()
        table.writerows(rows)
        file.write(delimiter * (len(rows[0]) - 1) + "\r\n")  # an empty line at the end
    return rows


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"delimiter": ";", "point": ","},
        {"delimiter": "\t", "encoding": "utf-8"},
        {"quoting": csv.QUOTE_ALL, "encoding": "utf-8"},
    ],
    ids=["Excel", "Excel where a comma is the point", "tabs", "LibreOffice"],
)
def test_a_table_comes_back_from_a_spreadsheet_with_every_label_and_weight(run, tmp_path, how):
    lines, table, done = (tmp_path / name for name in ("spot.jsonl", "spot.csv", "done.csv"))
    spot_check(run, 7, lines)
    spot_check(run, 7, table, csv=True)
    filled(table, done, **how)

    found, wanted = labels_of(done), labels_of(lines)

    assert found.keys() == wanted.keys()
    assert [one[2] for one in found.values()] == pytest.approx([one[2] for one in wanted.values()])
    assert [one[1] for one in found.values()] == [1.0, 0.0, 0.5, 1.0, 0.0, 0.5, 1.0]
    assert {one[0] for one in found.values()} == {"human:ada"}
    human = read_run(run, done).sheet.human
    assert len(human) == 7
    assert human.weight.sum() == pytest.approx(len(NASTY) + 1, abs=1e-4)
    assert sum(one.p_first is not None for one in load_labels(done)) == 7


def test_no_cell_of_a_table_is_a_formula_a_date_or_a_number(run, tmp_path):
    table = tmp_path / "spot.csv"
    spot_check(run, 50, table, csv=True)

    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))

    assert table.read_bytes().startswith(b"\xef\xbb\xbf")
    assert len(rows) == len(NASTY) + 2
    for cell in (cell for row in rows for cell in row if cell):
        assert cell[0] not in "=+-@\t\r"
        assert not cell.replace("/", "").isdigit()
    texts = {row[4] for row in rows} | {row[5] for row in rows}
    assert {'\'=HYPERLINK("http://x","y")', "''=1", "'1/2", "'007", NASTY[7], "plain"} <= texts
    assert "system: Be brief.\n\nuser: =1?" in {row[3] for row in rows}


def test_without_its_ids_a_table_is_found_by_its_texts(run, tmp_path):
    table, done, bare = tmp_path / "spot.csv", tmp_path / "done.csv", tmp_path / "bare.csv"
    spot_check(run, 50, table, csv=True)
    rows = filled(table, done)
    kept = [name for name in rows[0] if not name.endswith("_id")]
    with bare.open("w", newline="", encoding="utf-8") as file:
        file.write(",".join(kept) + "\r\n")
        csv.writer(file).writerows([row[name] for name in kept] for row in rows)

    labels = read_run(run, bare).human_labels

    assert (len(labels), labels.found) == (len(NASTY) + 1, len(NASTY))  # not the one of several turns


def test_the_file_tells_nothing_of_judges_and_policies(run, tmp_path):
    for name in ("spot.jsonl", "spot.csv"):
        spot_check(run, 50, tmp_path / name)
        text = (tmp_path / name).read_text()
        assert "secret" not in text
        assert "policy" not in text
        assert ",one," not in text


def test_a_file_is_read_as_the_audit_reads_it_and_the_next_command_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f'{{"question": "{n}?", "first": "a {n}", "second": "b", "label": {n % 2}}}' for n in range(9)]
    Path("pairs.jsonl").write_text("\n".join([*rows, '{"question": "a row without answers"}']))
    reading = {"columns": {"prompt": "question"}, "label_values": {0: "second", 1: "first"}}

    found = spot_check("pairs.jsonl", out="spot.csv", csv=True, on_error="drop", **reading)

    assert found.of == 9
    printed = " ".join(" ".join(found.lines()).split())
    assert "--human spot.csv --columns.prompt question --label_values.0 second" in printed
    assert printed.endswith("--on_error drop")


def test_a_table_has_the_name_of_one(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert spot_check(run, 5, csv=True).out == "spot.csv"
    assert spot_check(run, 5).out == "spot.jsonl"
    with pytest.raises(SettingError, match=r"--out spot\.csv"):
        spot_check(run, 5, "spot.txt", csv=True)
    filled(Path("spot.csv"), Path("done.csv"))
    with pytest.raises(DataError, match="has human labels in it"):
        spot_check(run, 5, "done.csv", csv=True)
    Path("mine.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no spot check"):
        spot_check(run, 5, "mine.csv")


JUDGE = Simulated("judge", soft=True)
DOMAINS = ("sums", "talk", "doses")


def sheet_of(world, seed=0):
    sheet = simulate((JUDGE,), world, seed)[0]
    opinions = sheet.opinions
    return replace(sheet, labels=Labels(opinions.matchup, opinions.p, np.ones(len(opinions))))


def test_a_sample_follows_from_content_and_seed_and_stands_for_all():
    sheet = sheet_of(World(prompts=900, domains=DOMAINS))
    sample, again, other = (
        sample_labels(sheet, 120),
        sample_labels(sheet, 120),
        sample_labels(sheet, 120, seed=1),
    )

    assert sample.matchup.tolist() == again.matchup.tolist() != other.matchup.tolist()
    assert len(set(sample.matchup.tolist())) == 120
    assert sample.weight.sum() == pytest.approx(900)
    assert set(sheet.prompts.domain[sample.matchup].tolist()) == {0, 1, 2}


def test_every_stratum_is_seen_and_none_is_asked_for_more_than_it_has():
    sizes = np.array([1000, 50, 3, 1])
    shares = allocate(sizes, sizes.astype(float), 100)

    assert shares.sum() == 100
    assert (shares <= sizes).all()
    assert (shares >= np.minimum(sizes, 2)).all()
    assert allocate(sizes, sizes.astype(float), 5000).tolist() == sizes.tolist()
    assert allocate(np.array([5, 5, 5]), np.ones(3), 2).sum() == 2


def test_weights_make_good_what_the_sample_favours():
    """Unsure labels are sampled more often; weighted, the estimate is about all labels again."""
    plain, weighted, truth = [], [], []
    for seed in range(40):
        sheet = sheet_of(World(prompts=1000, people=1), seed)
        p = np.where(sheet.labels.p > 0.5, np.maximum(sheet.labels.p, 0.55), sheet.labels.p)
        wrong = 1 - ((p > 0.5) == (sheet.human_p > 0.5)).astype(float)
        sample = sample_labels(sheet, 100, seed)
        truth.append(wrong.mean())
        plain.append(wrong[sample.matchup].mean())
        weighted.append(float(np.average(wrong[sample.matchup], weights=sample.weight)))

    assert np.mean(plain) - np.mean(truth) > 0.01
    assert abs(np.mean(weighted) - np.mean(truth)) < 0.01


def test_nothing_to_sample_from_is_no_error():
    sheet = sheet_of(World(prompts=1, people=0))
    none = Labels(np.empty(0, int), np.empty(0), np.empty(0))
    empty = replace(sheet, labels=none, verdicts=replace(sheet.verdicts, p=np.full(2, np.nan)))

    assert len(sample_labels(sheet, 10).matchup) == 1
    assert len(sample_labels(empty, 10).matchup) == 0
