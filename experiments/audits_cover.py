"""Do the audits find what is wrong, as large as it is, and leave fair judges alone?

Judges with known faults label simulated data sets (`experiments/cover/`), at least 200 for each finding and
usually 1,000, since with 200 the share of intervals that cover is itself only known within three points. The
interval of a finding should cover the planted value in 93 to 97 of 100 data sets, and a judge without the
fault should be called faulty (alarm or warning) in at most 5.

    python experiments/audits_cover.py              all audits, written to evidence/audits_cover.json
    python experiments/audits_cover.py position     one of them, on other seeds, printed only

SLOW: several minutes of one core.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from cover import Told, audits, cases, marked
from evidence import record

SEEDS, OTHER_SEEDS = 0, 50_000_000


def told(audit: str, first_seed: int) -> list[Told]:
    """Every case of an audit, a line each."""
    found = []
    for case in cases(audit):
        started = time.process_time()
        one = marked(case, first_seed)
        found.append(one)
        covers = "      " if case.planted is None else f"{one.coverage:6.1%}"
        print(
            f"{'ok ' if one.holds else 'NOT'} {case.finding:34} {case.about:38} covers {covers}"
            f"  {'false alarms' if case.fair else 'called faulty'} {one.alarms:6.1%}"
            f"  silent {one.silent}  {case.sets} sets, {time.process_time() - started:.1f} s",
            flush=True,
        )
    return found


def row(audit: str, found: list[Told]) -> dict[str, Any]:
    return {
        "audit": audit,
        "holds": all(one.holds for one in found),
        "cases": [
            {
                "finding": one.case.finding,
                "about": one.case.about,
                "planted": one.case.planted,
                "sets": one.case.sets,
                "covers": None if one.case.planted is None else round(one.coverage, 4),
                "false_alarms" if one.case.fair else "called_faulty": round(one.alarms, 4),
                "holds": one.holds,
            }
            for one in found
        ],
    }


def main() -> None:
    if len(sys.argv) > 1:
        for audit in sys.argv[1:]:
            told(audit, OTHER_SEEDS)
        return
    found = {audit: told(audit, SEEDS) for audit in audits()}
    every = [one for some in found.values() for one in some]
    coverages = [one.coverage for one in every if one.case.planted is not None]
    rows = [row(audit, some) for audit, some in found.items()]
    record(
        "audits_cover",
        value=round(sum(coverages) / len(coverages), 4),
        low=round(min(coverages), 4),
        high=round(max(coverages), 4),
        bar="each finding's 95 % interval covers the planted value in 93 to 97 of 100 simulated data sets, "
        "and a fair judge is called faulty in at most 5",
        holds=all(one["holds"] for one in rows),
        unit="share of intervals that cover the planted value; low and high are the worst findings",
        most_false_alarms=round(max(one.alarms for one in every if one.case.fair), 4),
        audits=rows,
    )


if __name__ == "__main__":
    main()
