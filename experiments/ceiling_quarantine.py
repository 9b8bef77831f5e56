"""Does a spot check find the domain in which the judge is ignorant, and does its export lose just that?

In the small world one judge cannot tell a right dose of a remedy from a wrong one, and another can. Of each
run of `jurist label` a spot check samples 300 labels, again and again; three humans read each, who prefer as
fair ones do, each by lot, and call a tie what is one in truth. A sample is right that quarantines `doses`
alone, or for the other judge nothing. Then the run is exported without it, and its labels are compared with
the truth. The null needs no humans: it quarantines the domain of which the judge is least sure.
"""

import tempfile
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from evidence import record, share, write_rows
from jurist import JudgeConfig, LabelConfig, export, label, read_cases
from jurist.audits.ceiling import quarantine
from jurist.audits.humans import WANTED
from jurist.audits.read_run import read_run
from jurist.audits.sheet import Array, HumanLabels, Sheet
from jurist.preferences.export import write_quarantine
from jurist.recipes.spot_check import sample_labels
from jurist.records import Preference
from jurist.run import read_records
from jurist.tiny.world import prompts, true_preference
from small_world import TIE, request, rightly_chosen

SEEDS, PROMPTS, CHECKED, SAMPLES, READERS = (11, 12, 13, 14), 1200, 300, 100, 3
LESS = {"100 labels": (100, READERS), "200 labels": (200, READERS), "one reader": (CHECKED, 1)}
"""The same with fewer labels, and with one reader: recorded, but not part of the claim."""
SHARP = {"noise": 0.0, "fooled": 0.0, "length": 0.0}
JUDGES: dict[tuple[str, ...], dict[str, Any]] = {("doses",): SHARP, (): {**SHARP, "ignorant": []}}
"""By the domains that ought to be quarantined."""


def labelled(run: Path, seed: int, judge: dict[str, Any]) -> Path:
    """Two answers of the tiny policy to each prompt, compared in both orders."""
    rows = ({"prompt": request(p), "domain": p.domain, "stakes": p.stakes} for p in prompts(PROMPTS, seed))
    file, engine = write_rows(run.with_suffix(".jsonl"), rows), {"engine": "tiny:planted", "extra": judge}
    given = {"prompts": file, "policy": "tiny:policy", "judge": JudgeConfig(engine=engine)}
    label(LabelConfig(**given, out=str(run), seed=seed))
    return run


def fair_shares(run: Path, sheet: Sheet) -> Array:
    """For each matchup the share of humans who prefer its first."""
    met = ((request(case.prompt), one) for case in read_cases(run) for one in case.matchups)
    known = {one.id: true_preference(asked, one.first.text, one.second.text) for asked, one in met}
    return np.array([known[name] for name in sheet.matchups.id])


def checked(sheet: Sheet, fair: Array, n: int, readers: int, seed: int) -> Sheet:
    """The same run with some humans' labels of n of its matchups."""
    sample = sample_labels(sheet, n, seed)
    matchup, weight = np.tile(sample.matchup, readers), np.tile(sample.weight, readers)
    p = (np.random.default_rng(seed).random(len(matchup)) < fair[matchup]).astype(float)
    p[np.abs(fair[matchup] - 0.5) < TIE] = 0.5
    labels = HumanLabels(np.repeat(np.arange(readers), len(sample.matchup)), matchup, p, weight)
    return replace(sheet, human=labels, humans=tuple(f"human:{one}" for one in range(readers)))


def held_back(sheet: Sheet, fair: Array, *how: int) -> Counter[tuple[str, ...]]:
    """What each sample quarantines."""
    found = (quarantine(checked(sheet, fair, *how, seed)) for seed in range(SAMPLES))
    return Counter(one.domains if one else () for one in found)


def exported(run: Path) -> tuple[list[str], list[float]]:
    """The domains in the exported file; the share of rows that are truly right, ties aside, and the rows."""
    export(run, ("jsonl",))
    rows = list(read_records(run / "export" / "jsonl" / "train.jsonl", Preference))
    right = [one for one in rightly_chosen(rows) if one is not None]
    return sorted({row.prompt.domain for row in rows}), [round(sum(right) / len(right), 4), len(rows)]


def one_run(run: Path, seed: int, ought: tuple[str, ...]) -> dict[str, Any]:
    sheet = read_run(labelled(run, seed, JUDGES[ought])).sheet
    fair = fair_shares(run, sheet)
    found, (domains, before) = held_back(sheet, fair, CHECKED, READERS), exported(run)
    kept = quarantine(checked(sheet, fair, CHECKED, READERS, 10_000 + seed))
    assert kept is not None
    write_quarantine(run, kept)
    left, after = exported(run)
    domain, sure = sheet.prompts.domain[sheet.matchups.prompt], np.abs(sheet.mean_opinion - 0.5)
    doubtful = min(sheet.domains, key=lambda name: np.nanmean(sure[domain == sheet.domains.index(name)]))
    row = {"seed": seed, "ought": ought, "right": found.pop(ought, 0), "null": (doubtful,) == ought}
    row |= {"others": {" and ".join(names) or "none": n for names, n in found.items()}, "before": before}
    row |= {name: held_back(sheet, fair, *how)[ought] for name, how in LESS.items()}
    row |= {"held back": kept.domains, "clean": left == sorted({*domains} - {*ought}), "after": after}
    print(row, flush=True)
    return row


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folders = {key: Path(name) / f"run-{key[0]}-{len(key[1])}" for key in product(SEEDS, JUDGES)}
        runs = [one_run(folder, *key) for key, folder in folders.items()]
    caught, n = sum(run["right"] for run in runs), len(runs) * SAMPLES
    null = sum(run["null"] for run in runs) / len(runs)
    better = all(run["after"][0] > run["before"][0] for run in runs if run["ought"])
    record(
        "ceiling_quarantine",
        share((caught, n)),
        null={"the domain that the judge is least sure of": null},
        bar=f"with {CHECKED} labels, read by three humans, the audit quarantines the domain the judge does"
        " not know, and no other, in at least 95 of 100 samples; and the export has no row of it",
        holds=caught / n >= 0.95 > null and all(run["clean"] for run in runs) and better,
        unit="share of samples that quarantine what ought to be",
        with_less={name: round(sum(run[name] for run in runs) / n, 4) for name in LESS},
        more={"wanted": WANTED, "runs": runs},
    )


if __name__ == "__main__":
    main()
