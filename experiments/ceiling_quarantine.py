"""Does a spot check find the domain in which the judge is ignorant, and does its export lose just that?

In the small world a good judge cannot tell a right dose of a remedy from a wrong one. Runs of `jurist label`
are spot-checked again and again: 300 of the labels are drawn by `jurist spotcheck`, three people read each,
and the audit says which domains to quarantine at the agreement that is wanted by default. People here prefer
as fair people do, each by lot, and call a tie what is one in truth (see `small_world`); in small talk two of
them often go against each other. Counted are the draws that quarantine `doses` and nothing else. Then the
quarantine is kept, the run exported, and the labels are held to the truth before and after.

python experiments/ceiling_quarantine.py
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from evidence import record
from jurist.audits.ceiling import quarantine
from jurist.audits.humans import WANTED
from jurist.audits.read_run import read_run
from jurist.audits.sheet import Array, HumanLabels, Sheet
from jurist.preferences.export import write_quarantine
from jurist.recipes.label import export, label
from jurist.recipes.settings import LabelConfig
from jurist.recipes.spot_check import sample_labels
from jurist.records import Preference
from jurist.run import read_records
from jurist.stats.intervals import wilson
from jurist.tiny.world import prompts, true_preference
from jurist.verdicts.cases import read_cases
from jurist.verdicts.settings import JudgeConfig
from small_world import TIE, better, request

SEEDS = (11, 12, 13, 14)
PROMPTS, CHECKED, DRAWS = 1200, 300, 100
FEWER = (100, 200)
"""How it goes with fewer labels, and with one reader; told beside the claim."""
READERS = 3


def labelled(folder: Path, seed: int) -> Path:
    """A run: two answers of the tiny policy to each prompt, compared in both orders."""
    asked, run = folder / f"asked-{seed}.jsonl", folder / f"run-{seed}"
    rows = [{"prompt": request(p), "domain": p.domain, "stakes": p.stakes} for p in prompts(PROMPTS, seed)]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge = JudgeConfig(
        engine={"engine": "tiny:planted", "extra": {"noise": 0.0, "fooled": 0.0, "length": 0.0}}
    )
    label(LabelConfig(prompts=str(asked), policy="tiny:policy", judge=judge, out=str(run), seed=seed))
    return run


def fair_shares(run: Path, sheet: Sheet) -> Array:
    """For each matchup the share of people who prefer its first."""
    known = {
        one.id: true_preference(request(case.prompt), one.first.text, one.second.text)
        for case in read_cases(run)
        for one in case.matchups
    }
    return np.array([known[name] for name in sheet.matchups.id])


def checked(sheet: Sheet, share: Array, n: int, seed: int, readers: int = READERS) -> Sheet:
    """The same run with some people's word on n of its labels."""
    sample = sample_labels(sheet, n, seed)
    matchup, weight = np.tile(sample.matchup, readers), np.tile(sample.weight, readers)
    who = np.repeat(np.arange(readers), len(sample.matchup))
    said = (np.random.default_rng(seed).random(len(matchup)) < share[matchup]).astype(float)
    said[np.abs(share[matchup] - 0.5) < TIE] = 0.5
    people = tuple(f"human:{one}" for one in range(readers))
    return replace(sheet, human=HumanLabels(who, matchup, said, weight), humans=people)


def held(sheet: Sheet, share: Array, n: int, readers: int = READERS) -> Counter[tuple[str, ...]]:
    """What each draw quarantines."""
    drawn = (checked(sheet, share, n, seed, readers) for seed in range(DRAWS))
    return Counter(quarantine(one).domains for one in drawn)


def exported(run: Path) -> tuple[set[str], float, int]:
    """The domains in the exported file, the share of rows that are truly right (ties aside), and the rows."""
    rows = list(read_records(run / "export" / "jsonl" / "train.jsonl", Preference))
    said = [better(request(row.prompt), row.chosen.text, row.rejected.text) for row in rows]
    known = [one for one in said if one is not None]
    return {row.prompt.domain for row in rows}, sum(known) / len(known), len(rows)


def main() -> None:
    caught, fewer, table = 0, Counter[str](), []
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            run = labelled(Path(folder), seed)
            sheet = read_run(run).sheet
            share = fair_shares(run, sheet)
            found = held(sheet, share, CHECKED)
            right = found[("doses",)]
            caught += right
            for n in FEWER:
                fewer[f"{n} labels"] += held(sheet, share, n)[("doses",)]
            fewer["one reader"] += held(sheet, share, CHECKED, 1)[("doses",)]
            export(run, ("jsonl",))
            _, before, rows_before = exported(run)
            verdict = quarantine(checked(sheet, share, CHECKED, random.Random(seed).randint(10_000, 99_999)))
            write_quarantine(run, verdict)
            export(run, ("jsonl",))
            domains, after, rows_after = exported(run)
            table.append(
                {
                    "seed": seed,
                    "draws that quarantine doses alone": f"{right} of {DRAWS}",
                    "other draws": {
                        " and ".join(k) or "none": n for k, n in found.items() if k != ("doses",)
                    },
                    "held back for the export": list(verdict.domains),
                    "domains exported": sorted(domains),
                    "rows": [rows_before, rows_after],
                    "truly right": [round(before, 4), round(after, 4)],
                }
            )
            print(json.dumps(table[-1]), file=sys.stderr)
    n = len(SEEDS) * DRAWS
    low, high = wilson(caught, n)
    clean = all("doses" not in row["domains exported"] and len(row["domains exported"]) == 3 for row in table)
    better_off = all(row["truly right"][1] > row["truly right"][0] for row in table)
    record(
        "ceiling_quarantine",
        value=round(caught / n, 4),
        bar=f"with {CHECKED} labels, read by three people, the audit quarantines the domain the judge does "
        "not know, and no other, in at least 95 of 100 draws; and the export has no row of it",
        holds=caught / n >= 0.95 and clean and better_off,
        unit="share of draws that quarantine doses alone",
        with_less={name: round(count / n, 4) for name, count in fewer.items()},
        more={"low": round(low, 4), "high": round(high, 4), "wanted": WANTED, "runs": table},
    )


if __name__ == "__main__":
    main()
