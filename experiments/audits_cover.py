"""Do the audits' intervals cover what was planted, are honest judges left alone, and would an error be seen?

Simulated judges with known faults label data sets (`experiments/cover/`). What is planted comes from the
simulation's formula or from another library, never from an audit. The 95% interval of a measure should cover
it in 93 to 97% of the data sets. So many sets tell that share only roughly: a case fails where the exact 95%
interval of its cover lies outside; how many are inside as they stand is written too. An honest judge should
be called faulty (alarm or warning) by an audit in at most 5%.

The null is an audit with an error in a formula: each of the ten in `MUTANTS` is planted in a copy of the
package, and has to be caught by a case that holds without it.

    python experiments/audits_cover.py                   everything, written to evidence/audits_cover.json
    python experiments/audits_cover.py position          the cases of one audit, printed only
    python experiments/audits_cover.py --mutant NAME     one of the mutants, printed only

SLOW: several minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import jurist
from cover import LEAST, MOST, Scenario, covers, judges
from evidence import record

PACKAGE = Path(jurist.__file__).parent
SETS = 200
"""For a mutant."""


class Mutant(NamedTuple):
    name: str
    file: str
    right: str
    """Stands just once in the file."""
    wrong: str
    case: str
    """Which should fail: `measure: what is planted`."""


MUTANTS = (
    Mutant(
        "an interval half as wide",
        "stats/intervals.py",
        "z, p = z_of(level), successes / n",
        "z, p = z_of(level) / 2, successes / n",
        "position.flip_rate: first position is worth one log-odd",
    ),
    Mutant(
        "the verdict, not the prompt, as the unit",
        "stats/intervals.py",
        "off = np.bincount(np.unique(clusters, return_inverse=True)[1], w * (values - value))",
        "off = w * (values - value)",
        "position.first_position: first position is worth one log-odd",
    ),
    Mutant(
        "ties counted as flips",
        "audits/position.py",
        "(self.p_swapped - 0.5) < 0",
        "(self.p_swapped - 0.5) <= 0",
        "position.flip_rate: the same, two samples, whose ties are no flips",
    ),
    Mutant(
        "swapped verdicts not turned round",
        "audits/position.py",
        "np.where(swapped, 1 - p, p),",
        "p,",
        "position.first_position: first position is worth one log-odd",
    ),
)


def scenarios(audits: list[str]) -> list[Scenario]:
    every = judges.scenarios()
    return [one for one in every if not audits or audit_of(one) in audits]


def audit_of(scenario: Scenario) -> str:
    return next(iter(scenario.planted)).partition(".")[0]


def tried(mutant: Mutant) -> dict[str, Any]:
    """The mutant's case, with the error in a copy of the package."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(PACKAGE, Path(folder) / "jurist", ignore=shutil.ignore_patterns("__pycache__"))
        file = Path(folder) / "jurist" / mutant.file
        source = file.read_text()
        if source.count(mutant.right) != 1:
            sys.exit(f"{mutant.name}: {mutant.right!r} does not stand just once in {mutant.file}")
        file.write_text(source.replace(mutant.right, mutant.wrong))
        command = [sys.executable, __file__, "--case", mutant.case, "--sets", str(SETS)]
        ran = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": folder}, capture_output=True, text=True
        )
    if ran.returncode:
        sys.exit(ran.stderr)
    found = json.loads(ran.stdout)
    return {
        "mutant": mutant.name,
        "caught": not found["holds"],
        "covers": found["covers"],
        "case": mutant.case,
    }


def case(name: str, sets: int) -> dict[str, Any]:
    measure, _, about = name.partition(": ")
    (scenario,) = (one for one in judges.scenarios() if one.about == about and measure in one.planted)
    return next(one for one in covers(scenario, sets)["cases"] if one["measure"] == measure)


def printed(row: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("audits", nargs="*")
    parser.add_argument("--mutant", choices=[one.name for one in MUTANTS])
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--sets", type=int)
    args = parser.parse_args()
    if args.case:
        printed(case(args.case, args.sets))
        return
    if args.mutant:
        printed(tried(next(one for one in MUTANTS if one.name == args.mutant)))
        return
    rows = [printed({"audit": audit_of(one), **covers(one, args.sets)}) for one in scenarios(args.audits)]
    if args.audits or args.sets:
        return
    mutants = [printed(tried(one)) for one in MUTANTS]
    shares = [one["covers"] for row in rows for one in row["cases"]]
    inside = sum(LEAST <= one <= MOST for one in shares)
    record(
        "audits_cover",
        value=round(sum(shares) / len(shares), 4),
        low=min(shares),
        high=max(shares),
        null={"mutants not caught": sum(not one["caught"] for one in mutants), "of": len(mutants)},
        bar="cover of every 95% interval within 93 to 97%, as far as the sets tell; at most 5% false alarms"
        " of an audit on honest judges; each of ten errors planted in formulas makes a case fail",
        holds=all(row["holds"] for row in rows) and all(one["caught"] for one in mutants),
        packages=("jurist", "numpy", "scipy", "scikit-learn"),
        unit="share of intervals that cover what is planted, over all cases; low and high are single cases",
        cases=len(shares),
        inside_as_they_stand=inside,
        most_false_alarms=max(row.get("false_alarms", 0.0) for row in rows),
        mutants=mutants,
        audits=rows,
    )


if __name__ == "__main__":
    main()
