"""Do the audits' intervals cover what was planted, are honest judges left alone, and would an error be seen?

Simulated judges with known faults label data sets (`experiments/cover.py`). The 95% interval of a measure
should cover what is planted in 93 to 97% of the data sets. So many sets tell that share only roughly: a case
fails where the exact 95% interval of its cover lies outside; how many are inside as they stand is written
too. An honest judge should be called faulty (alarm or warning) by an audit in at most 5%.

The null is an audit with an error in a formula: each of the ten in `MUTANTS` is planted in a copy of the
package, and has to be caught by a case that holds without it.

    python experiments/audits_cover.py                   everything, written to evidence/audits_cover.json
    python experiments/audits_cover.py position          the cases of one audit, printed only
    python experiments/audits_cover.py --mutant NAME     one of the mutants, printed only

SLOW: several minutes of one core.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jurist
from evidence import record

# isort: split
import cover
from cover import LEAST, MOST, Scenario, covers

PACKAGE = Path(jurist.__file__).parent
SETS = 200  # for a mutant
AUDITS: dict[str, Callable[[], Iterator[Scenario]]] = {
    name.removeprefix("of_"): made for name, made in vars(cover).items() if name.startswith("of_")
}
MUTANTS = """
an interval half as wide: position.flip_rate, biased to the first position
    stats/intervals.py: z, p = z_of(level), -> z, p = z_of(level) / 2,
verdicts, not prompts, as the unit: position.first_position, biased to the first position
    stats/intervals.py: np.unique(clusters, return_inverse=True)[1], w -> np.arange(len(w)), w
ties counted as flips: position.flip_rate, the same, two samples, which may tie
    audits/position.py: (self.p_swapped - 0.5) < 0 -> (self.p_swapped - 0.5) <= 0
swapped verdicts not turned round: position.first_position, biased to the first position
    audits/position.py: np.where(swapped, 1 - p, p), -> p,
kappa halved: agreement.kappa, a good judge
    stats/agreement.py: return _beyond(same, (table.sum(-1) -> return 0.5 * _beyond(same, (table.sum(-1)
ties left out of accuracy: agreement.accuracy, a dim judge, with ties
    audits/agreement.py: decided = one.decided -> decided = one.decided.subset(one.decided.p != 0.5)
humans compared with themselves: agreement.humans, a good judge
    audits/humans.py: (agreeing_votes(counts) - 1) -> agreeing_votes(counts)
label error without weights: agreement.label_error, labels, doubtful ones checked more
    audits/agreement.py: labels.weight if humans.weighted else None, -> None,
Brier's score without its square: calibration.brier, too sure
    audits/calibration.py: (one.p - one.mean) ** 2 -> np.abs(one.p - one.mean)
AUROC from ranks among all answers: calibration.auroc, too sure
    audits/calibration.py: (ranks[right] - _midranks(scores[right])) / zeros -> ranks[right] / len(scores)
"""
"""A name and the case that should fail; then the file, the code that is there once, and what replaces it."""


def mutants() -> dict[str, tuple[str, ...]]:
    """By name: the measure, what is planted, the file, the right code and the wrong one."""
    found, lines = {}, MUTANTS.strip().splitlines()
    for head, change in zip(lines[::2], lines[1::2], strict=True):
        name, case = head.split(": ")
        file, code = change.strip().split(": ", 1)
        found[name] = (*case.split(", ", 1), file, *code.split(" -> "))
    return found


def scenarios(audits: Iterable[str]) -> list[Scenario]:
    return [one for audit in audits for one in AUDITS[audit]()]


def case(measure: str, about: str, sets: int = SETS) -> dict[str, Any]:
    audit, _, rest = measure.partition(".")
    (scenario,) = (one for one in scenarios([audit]) if one.about == about)
    only = replace(scenario, planted={rest: scenario.planted[rest]})
    return dict(covers(only, sets)["cases"][rest])


def tried(name: str) -> dict[str, Any]:
    """Its case, in a copy of the package that has the error."""
    measure, about, file, right, wrong = mutants()[name]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(PACKAGE, Path(folder) / "jurist", ignore=shutil.ignore_patterns("__pycache__"))
        path = Path(folder) / "jurist" / file
        if path.read_text().count(right) != 1:
            sys.exit(f"{name}: {right!r} does not stand just once in {file}")
        path.write_text(path.read_text().replace(right, wrong))
        command = [sys.executable, __file__, "--case", measure, about]
        env = {**os.environ, "PYTHONPATH": folder}
        ran = subprocess.run(command, env=env, capture_output=True, text=True)
    if ran.returncode:
        sys.exit(ran.stderr)
    found = json.loads(ran.stdout)
    return {"mutant": name, "caught": not found["holds"], "covers": found["covers"], "case": [measure, about]}


def printed(row: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("audits", nargs="*")
    parser.add_argument("--mutant", choices=mutants())
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case or args.mutant:
        printed(case(*args.case) if args.case else tried(args.mutant))
        return
    rows = [printed(covers(one)) for one in scenarios(args.audits or AUDITS)]
    if args.audits:
        return
    planted = [printed(tried(name)) for name in mutants()]
    caught = sum(one["caught"] for one in planted)
    shares = [one["covers"] for row in rows for one in row["cases"].values()]
    record(
        "audits_cover",
        (round(sum(shares) / len(shares), 4), min(shares), max(shares)),
        null={"errors planted in formulas that no case noticed": len(planted) - caught},
        bar="cover of each 95% interval within 93 to 97%, as far as the sets tell; at most 5% false alarms of"
        f" an audit on honest judges; each of {len(planted)} errors planted in formulas makes a case fail",
        holds=all(row["holds"] for row in rows) and caught == len(planted),
        unit="share of intervals that cover what is planted, over all cases; low and high are single cases",
        inside_as_they_stand=sum(bool(LEAST <= one <= MOST) for one in shares),
        most_false_alarms=max(row.get("false_alarms", 0.0) for row in rows),
        more={"cases": len(shares), "mutants": planted, "audits": rows},
    )


if __name__ == "__main__":
    main()
