"""Does a plain audit see answers that win by an attack, and leave honest answers alone?

Attacks are planted in files of 300 judged pairs, where they take 5, 20 or 60% of the wins: a constant answer,
a copied prompt, a forged verdict, padding around the other answer. The judge is a formula: an attack wins 95
of 100 matchups. The other answers are those of two policies of CJE where that data is, else made here.

Honest are 200 files with other mixtures of what repeats honestly (`tests/support/answers.py`), and GPT-4's
verdicts on eight systems (QLoRA, Dettmers et al. 2023), a file for each system against the others. The nulls
are rules that look at one thing only.
"""

import random
import tempfile
from collections import Counter
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from evidence import record, share, write_rows
from jurist.audits.all import audit_sheet
from jurist.audits.attacks import NAMES, wins_of
from jurist.audits.read_file import read_source
from jurist.audits.sheet import Sheet
from jurist.stats.intervals import clustered_share
from support.answers import DISGUISES, PLANTED, honest_pairs, planted, rows_of, tiny, topical
from support.cli import timed
from support.recorded import DATA, cje_pairs, eight_systems

SLOW = "some three minutes of one core"
SHARES, SEEDS, PAIRS, HONEST = (0.05, 0.2, 0.6), 6, 300, 200
SEEN, FALSE = 0.95, 0.05
OF_ATTACKS = {f"attacks.{name}" for name in NAMES}


@cache
def recorded() -> list[dict[str, Any]]:
    """Two honest policies of CJE."""
    return cje_pairs("base", "parallel_universe_prompt") if DATA.is_dir() else []


def attacked(seed: str, name: str, part: float) -> list[dict[str, Any]]:
    draw = random.Random(f"second {seed}")
    attack = PLANTED[name] if name in PLANTED else DISGUISES[name][0]
    if recorded():
        rows = draw.sample(recorded(), PAIRS)
        answers = [(row["prompt"], row["first"], row["second"], draw.gauss(0, 1.5)) for row in rows]
    else:
        answers = [topical(draw) for _ in range(PAIRS)]
    return rows_of(planted(answers, attack, part, draw), draw)


def is_seen(file: str) -> bool:
    """By the command a user types, which exits with 1 where there is any alarm."""
    done, _ = timed("audit", file, "--fail-on", "alarm", "--json")
    alarms = {one["name"] for one in done.json["findings"] if one.get("grade") == "alarm"}
    assert done.code == bool(alarms), done.err
    return bool(alarms & OF_ATTACKS)


def alarms_in(sheet: Sheet) -> set[str]:
    return {one.name for one in audit_sheet(sheet) if one.grade == "alarm"}


def nulls(sheet: Sheet) -> dict[str, bool]:
    """Whether each simple rule calls it attacked."""
    wins, text = wins_of(sheet), np.unique(sheet.answers.text, return_inverse=True)[1]
    prompts = np.bincount(np.unique(np.stack([text, sheet.answers.prompt]), axis=1)[0])
    copies = clustered_share((prompts[text] > 1)[wins.winner] * 1.0, wins.prompt)
    chars, loser = sheet.answers.chars, np.where(wins.first_won, wins.second, wins.first)
    longer = clustered_share(0.5 + np.sign(chars[wins.winner] - chars[loser]) / 2, wins.prompt)
    return {
        "exact copies take more than 1% of the wins": bool(copies.low > 0.01),
        "longer answers win above 55% or below 45%": bool(longer.low > 0.55 or longer.high < 0.45),
    }


def honest_files() -> dict[str, list[dict[str, Any]]]:
    files: dict[str, list[dict[str, Any]]] = {}
    for row in eight_systems() if DATA.is_dir() else ():
        for name in (row["model_a"], row["model_b"]):
            files.setdefault(f"system {name}", []).append(row)
    for seed in range(HONEST):
        draw = random.Random(f"second honest {seed}")
        chat, n = draw.choice([topical, tiny]), draw.choice([100, 200, 300, 600])
        files[f"file {seed}"] = rows_of(list(honest_pairs(draw, n, chat)), draw)
    return files


def main() -> None:
    seen, disguised = dict[str, list[bool]](), Counter[str]()
    found, called, alarmed = Counter[str](), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.jsonl"
        for name, part, seed in product(PLANTED, SHARES, range(SEEDS)):
            path = write_rows(file, attacked(f"{name} {part} {seed}", name, part))
            seen.setdefault(f"{name} {part:.0%}", []).append(is_seen(path))
            found.update(nulls(read_source(path).sheet))
        for name, seed in product(DISGUISES, range(SEEDS)):
            sheet = read_source(write_rows(file, attacked(f"{name} {seed}", name, 0.2))).sheet
            disguised[name] += bool(alarms_in(sheet) & OF_ATTACKS)
        honest = honest_files()
        for name, rows in honest.items():
            sheet = read_source(write_rows(file, rows)).sheet
            alarms = alarms_in(sheet)
            alarmed.update({"attacks": bool(alarms & OF_ATTACKS), "any": bool(alarms)})
            alarmed["any of a system"] += bool(alarms) and name.startswith("system")
            called.update(nulls(sheet))
    hits, n = [hit for some in seen.values() for hit in some], len(honest)
    beaten = all(found[rule] < sum(hits) or called[rule] > FALSE * n for rule in found)
    by_rule = {rule: round(found[rule] / len(hits), 4) for rule in found}
    record(
        "attacks_are_seen",
        share(hits),
        bar=f"plain `jurist audit --fail-on alarm` sees >= {SEEN:.0%} of the attacked files, and calls"
        f" <= {FALSE:.0%} of the honest ones attacked; no null does as well",
        holds=sum(hits) >= SEEN * len(hits) and alarmed["attacks"] <= FALSE * n and beaten,
        null={f"{rule}; of honest files {called[rule] / n:.1%}": part for rule, part in by_rule.items()},
        by_attack={name: sum(some) / len(some) for name, some in seen.items()},
        disguises_of_a_constant_answer={name: hits / SEEDS for name, hits in disguised.items()},
        answers="CJE" if recorded() else f"made here: nothing at {DATA}",
        real_systems=n - HONEST or f"skipped: nothing at {DATA}",
        honest_called_attacked=share((alarmed["attacks"], n)),
        systems_with_any_alarm=alarmed["any of a system"],
        more={"honest_files": n, "honest_with_any_alarm": share((alarmed["any"], n))},
    )


if __name__ == "__main__":
    main()
