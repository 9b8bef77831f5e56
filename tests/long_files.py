"""Refuses source files over 500 lines: a noun that outgrows them becomes a folder."""

import sys
from pathlib import Path

LIMIT = 500
ROOT = Path(__file__).resolve().parent.parent

long = {
    path.relative_to(ROOT): lines
    for folder in ("src", "bench", "experiments", "docs")
    for path in (ROOT / folder).rglob("*.py")
    if (lines := path.read_text().count("\n")) > LIMIT
}
for path, lines in sorted(long.items()):
    print(f"{path} has {lines} lines, {LIMIT} is the most: split it by meaning")
sys.exit(bool(long))
