"""A job streams: what it holds does not grow with its rows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENT = Path(__file__).resolve().parents[2] / "experiments" / "label_memory.py"


def job_of(rows, folder):
    """What a job of so many rows came to, in a process of its own."""
    folder.mkdir()
    command = [sys.executable, EXPERIMENT, "--one", str(rows), folder]
    done = subprocess.run(command, cwd=EXPERIMENT.parent, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_ten_times_the_rows_take_hardly_more_memory(tmp_path):
    few, many = job_of(10_000, tmp_path / "few"), job_of(100_000, tmp_path / "many")

    assert (few["labels"], many["labels"]) == (10_000, 100_000)
    assert many["peak_mb"] < 1.3 * few["peak_mb"]
