"""A run folder: its files appear whole or not at all, and one process works in it at a time."""

import errno
import os

import pytest
from msgspec import Struct

from jurist.errors import DataError, RunError, SettingError
from jurist.run import MARKER, Marker, Run, owner_of, read_json, read_records


class Note(Struct):
    text: str


def notes(path):
    return [one.text for one in read_records(path, Note)]


def write(run, *texts, noun="notes"):
    with run.writing(noun, "others") as files:
        for text in texts:
            files[noun].add(Note(text))


def test_records_come_back_as_they_were_written(tmp_path):
    texts = ["one", "zwei\nDrei", "四 \U0001f600", "x" * 200_000]
    with Run(tmp_path) as run:
        write(run, *texts)
        for n in (1, 2):
            run.write_json("facts.json", {"n": n})
    assert (notes(tmp_path / "notes.jsonl"), notes(tmp_path / "others.jsonl")) == (texts, [])
    assert read_json(tmp_path / "facts.json", dict[str, int]) == {"n": 2}


def fail(run, texts):
    if texts:
        write(run, *texts)
    raise RunError("no")


def test_a_folder_in_which_nothing_was_done_before_it_failed_does_not_stay(tmp_path):
    (tmp_path / "old").mkdir()
    for name, texts in (("new", ()), ("old", ()), ("written", ["one"])):
        with pytest.raises(RunError), Run(tmp_path / name) as run:
            fail(run, texts)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["old", "written"]


@pytest.mark.parametrize(
    ("why", "raised", "said"),
    [
        (KeyboardInterrupt("x"), KeyboardInterrupt, "x"),
        (OSError(errno.ENOSPC, "full"), RunError, "the disk is full.*run the same command again"),
        (FileNotFoundError(errno.ENOENT, "No such file", "mine.json"), FileNotFoundError, "mine.json"),
    ],
)
def test_what_breaks_off_leaves_the_file_before_it_and_no_half_of_one(tmp_path, why, raised, said):
    with Run(tmp_path) as run:
        for before in ([], ["notes.jsonl", "others.jsonl"]):
            with pytest.raises(raised, match=said), run.writing("notes", "others") as files:  # noqa: PT012
                files["notes"].add(Note("half"))
                raise why
            assert sorted(one.name for one in tmp_path.glob("*.jsonl")) == before
            write(run, "whole")
    assert notes(tmp_path / "notes.jsonl") == ["whole"]
    assert not list(tmp_path.glob(".*.partial"))


def test_on_a_full_disk_half_written_files_give_their_room_back_at_once(tmp_path):
    full = pytest.raises(RunError, match="the disk is full")
    with Run(tmp_path) as run, full, run.writing("notes", "others") as files:
        files["notes"]._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
        with pytest.raises(OSError, match="No space left") as error:
            files["notes"].add(Note("x" * 100_000))
        assert not list(run.path.glob(".*.partial"))
        raise error.value


def test_reports_go_when_the_labels_change_and_only_then(tmp_path):
    with Run(tmp_path) as run:
        write(run, "one", noun="preferences")
        for labels, there in (("one", True), ("two", False)):
            (tmp_path / "report.html").write_text("")
            (tmp_path / "audit.json").write_text("{}")
            write(run, labels, noun="preferences")
            assert [(tmp_path / name).exists() for name in ("report.html", "audit.json")] == [there] * 2


def test_one_process_works_in_a_run_at_a_time(tmp_path):
    with Run(tmp_path) as run:
        told = f"is in use by process {os.getpid()}. Wait for it, or choose another --out"
        with pytest.raises(RunError, match=told):
            Run(tmp_path)
        assert owner_of(run.path) == str(os.getpid())
    assert owner_of(tmp_path) == ""
    Run(tmp_path).close()


def test_a_folder_with_files_of_somebody_elses_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "notes.jsonl").write_text("mine")
    with pytest.raises(RunError, match=r"is no run and holds notes\.jsonl; .* --out \S+/run"):
        Run(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["notes.jsonl"]
    Run(tmp_path / "run").close()
    assert (tmp_path / "run" / MARKER).exists()


def test_another_file_over_a_run_is_refused_unless_asked_for(tmp_path):
    with Run(tmp_path) as run:
        run.claim(Marker("/a.jsonl", frozenset("abc")), replace=False)
        run.claim(Marker("/moved/a.jsonl", frozenset("abxyz")), replace=False)
        for other in (Marker("/b.jsonl", frozenset("b")), Marker("hub:b")):
            with pytest.raises(RunError, match=r"is a run of /moved/a\.jsonl, not of .* --replace true"):
                run.claim(other, replace=False)
        with pytest.raises(RunError, match=r"whose rows are others now\. .* --replace true"):
            run.claim(Marker("/moved/a.jsonl", frozenset("bz")), replace=False)
        run.claim(Marker("/b.jsonl", frozenset("b")), replace=True)
        assert read_json(tmp_path / MARKER, Marker).source == "/b.jsonl"


def test_a_folder_whose_journal_cannot_be_opened_is_not_left_locked(tmp_path):
    Run(tmp_path).close()
    (tmp_path / "journal.sqlite").write_text("this is no journal, though it is long enough to be one " * 9)
    with pytest.raises(RunError, match="is not a journal"):
        Run(tmp_path)
    (tmp_path / "journal.sqlite").unlink()
    Run(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--out FOLDER"):
        Run(tmp_path / "file" / "run")
    with pytest.raises(SettingError, match="--out is empty"):
        Run(" ")


@pytest.mark.parametrize("line", ['{"text": 3}', '{"text": "cut of', "[]", "\udcff"])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    data = b'{"text": "one"}\n' + line.encode("utf-8", "surrogateescape") + b"\n"
    (tmp_path / "notes.jsonl").write_bytes(data)
    with pytest.raises(DataError, match=r"notes\.jsonl:2 is not a note.* sed -n 2p"):
        notes(tmp_path / "notes.jsonl")


def test_a_file_that_cannot_be_read_says_what_to_type(tmp_path):
    with pytest.raises(RunError, match="jurist label --out"):
        notes(tmp_path / "notes.jsonl")
    (tmp_path / "notes.jsonl").mkdir()
    with pytest.raises(RunError, match=r"is a directory.*ls -ld"):
        notes(tmp_path / "notes.jsonl")
    (tmp_path / "recipe.yaml").write_text("")
    (tmp_path / "facts.json").write_text("{")
    with pytest.raises(RunError, match=r"is damaged.*jurist label --recipe"):
        read_json(tmp_path / "facts.json", dict)
