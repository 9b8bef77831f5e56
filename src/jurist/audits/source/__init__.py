"""Where a sheet comes from: a run folder, a loop's last labelling run, or anybody's file of pairs."""

from .file import read_file
from .read import Read
from .run import is_run, read_run

__all__ = ["Read", "is_run", "read_file", "read_run"]
