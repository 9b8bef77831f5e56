"""A run folder: its files appear whole or not at all, and one process works in it at a time."""

import errno

import pytest
from msgspec import Struct

from jurist.errors import DataError, RunError
from jurist.run import Run, read_json, read_records


class Note(Struct):
    text: str


def notes(path):
    return [one.text for one in read_records(path, Note)]


def write(run, *texts):
    with run.writing("notes") as files:
        for text in texts:
            files["notes"].add(Note(text))


def break_off(run, why):
    with run.writing("notes", "others") as files:
        files["notes"].add(Note("half"))
        raise why


def test_records_come_back_as_they_were_written(tmp_path):
    texts = ["one", "zwei\nDrei", "四 \U0001f600", "x" * 200_000]
    with Run(tmp_path) as run:
        write(run, *texts)
    assert notes(tmp_path / "notes.jsonl") == texts


def test_an_interrupted_write_leaves_the_file_before_it_untouched(tmp_path):
    with Run(tmp_path) as run:
        write(run, "whole")
        with pytest.raises(KeyboardInterrupt):
            break_off(run, KeyboardInterrupt())
    assert notes(tmp_path / "notes.jsonl") == ["whole"]


def test_files_written_together_appear_together(tmp_path):
    with Run(tmp_path) as run:
        with pytest.raises(ZeroDivisionError):
            break_off(run, ZeroDivisionError())
        assert not (tmp_path / "notes.jsonl").exists()
        assert not (tmp_path / "others.jsonl").exists()
        with run.writing("notes", "others") as files:
            files["notes"].add(Note("one"))
            assert not (tmp_path / "notes.jsonl").exists()
    assert notes(tmp_path / "notes.jsonl") == ["one"]
    assert notes(tmp_path / "others.jsonl") == []


def test_a_disk_that_fills_up_is_reported_and_leaves_the_file_before_it(tmp_path):
    with Run(tmp_path) as run:
        write(run, "whole")
        with pytest.raises(RunError, match="the disk is full"):
            break_off(run, OSError(errno.ENOSPC, "No space left on device"))
    assert notes(tmp_path / "notes.jsonl") == ["whole"]


def test_a_system_error_that_is_not_the_disks_keeps_its_name(tmp_path):
    with Run(tmp_path) as run, pytest.raises(FileNotFoundError, match=r"mine\.json"):
        break_off(run, FileNotFoundError(errno.ENOENT, "No such file or directory", "mine.json"))


def test_an_interrupted_write_leaves_no_half_of_a_file(tmp_path):
    with Run(tmp_path) as run:
        with pytest.raises(ZeroDivisionError):
            break_off(run, ZeroDivisionError())
        assert not list(tmp_path.glob("*.partial"))


def test_a_small_file_is_replaced_whole(tmp_path):
    with Run(tmp_path) as run:
        run.write_json("facts.json", {"n": 1})
        run.write_json("facts.json", {"n": 2})
    assert read_json(tmp_path / "facts.json", dict[str, int]) == {"n": 2}
    assert not (tmp_path / "facts.json.partial").exists()


def test_a_second_process_is_refused_while_the_first_works(tmp_path):
    with Run(tmp_path), pytest.raises(RunError, match="choose another --out"):
        Run(tmp_path)
    Run(tmp_path).close()


def test_a_folder_whose_journal_cannot_be_opened_is_not_left_locked(tmp_path):
    (tmp_path / "journal.sqlite").write_text(
        "this is no journal, though it is long enough to be taken for one"
    )
    with pytest.raises(RunError, match="is not a journal"):
        Run(tmp_path)
    (tmp_path / "journal.sqlite").unlink()
    Run(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--out FOLDER"):
        Run(tmp_path / "file" / "run")


@pytest.mark.parametrize("line", ['{"text": 3}', '{"text": "cut of', "[]", "\udcff"])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    data = b'{"text": "one"}\n' + line.encode("utf-8", "surrogateescape") + b"\n"
    (tmp_path / "notes.jsonl").write_bytes(data)
    with pytest.raises(DataError, match=r"notes\.jsonl:2 is not a note.* sed -n 2p"):
        notes(tmp_path / "notes.jsonl")


def test_a_file_that_is_not_there_says_how_to_make_it(tmp_path):
    with pytest.raises(RunError, match="jurist label --out"):
        notes(tmp_path / "notes.jsonl")


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "notes.jsonl").mkdir()
    with pytest.raises(RunError, match="is a directory"):
        notes(tmp_path / "notes.jsonl")
