"""Does a share of human rows, raised when answers grow alike, keep a loop that feeds on itself varied?

Five rounds of `recipes/rejection.yaml` in the tiny world: without human rows (the null), with a constant
share (`real.share`), and with the controller as shipped (`real.alarm`), which may raise it. Humans write as
those did whom the initial policy learnt from. How varied answers are is counted without the audit: how often
two answers to one held-out question differ. The price stands beside: such humans are mediocre, and true
scores fall.
"""

from __future__ import annotations

import json
import random
import statistics
from itertools import combinations
from pathlib import Path
from typing import Any

from evidence import mean_of, over_seeds, record
from jurist.recipes.loop.compare import read_held_out
from jurist.tiny.answers import MEDIOCRE, compose
from jurist.tiny.world import prompts, true_score
from small_world import request, run_recipe, settings_of

SLOW = "about ten minutes of one core"
SEEDS, ROUNDS, HUMAN_ROWS = (241, 242, 243, 244), 5, 2000
ARMS: dict[str, dict[str, Any]] = {"no human rows": {}, "constant share": {"alarm": 0.0}, "controller": {}}


def human_rows(file: Path, seed: int) -> str:
    draw = random.Random(seed)
    asked = [request(one) for one in prompts(HUMAN_ROWS, 700 + seed)]
    turns = ([("user", one), ("assistant", compose(one, MEDIOCRE, draw))] for one in asked)
    rows = ({"messages": [{"role": role, "content": text} for role, text in some]} for some in turns)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def varied(folder: Path, number: int) -> tuple[float, float]:
    """How often two answers to one question differ, and their mean true score."""
    rows = read_held_out(folder, number)
    pairs = [one.text != two.text for row in rows for one, two in combinations(row.new, 2)]
    scores = [true_score(request(row.prompt), one.text) for row in rows for one in row.new]
    return round(statistics.fmean(pairs), 4), round(statistics.fmean(scores), 3)


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    file, found = human_rows(folder / "human.jsonl", seed), {}
    for arm, how in ARMS.items():
        real = {"real": {"file": file, **how}} if arm != "no human rows" else {}
        # Nothing stops these loops: what they would come to is what is asked.
        cfg = settings_of("rejection", seed, folder / arm, {"stop.lost": 0.0}, rounds=ROUNDS, **real)
        rounds = run_recipe(cfg).rounds
        differ, scores = zip(*(varied(folder / arm, number) for number in range(ROUNDS + 1)), strict=True)
        found[arm] = {
            "lost": round(1 - differ[-1] / differ[0], 4),
            "differ": differ,
            "true score": scores,
            "human share": [round(one.real_share, 2) for one in rounds],
        }
    return {"seed": seed, **found}


def main() -> None:
    seeds = over_seeds(one_seed, SEEDS)
    lost = {arm: [one[arm]["lost"] for one in seeds] for arm in ARMS}
    null = statistics.fmean(lost["no human rows"])
    less = mean_of([a - b for a, b in zip(lost["no human rows"], lost["controller"], strict=True)])
    record(
        "real_fraction_controller",
        (statistics.fmean(lost["controller"]), min(lost["controller"]), max(lost["controller"])),
        null={arm: statistics.fmean(lost[arm]) for arm in ARMS if arm != "controller"},
        bar="lost after five rounds of how often two answers to a question differ: without human rows more"
        " than a tenth; with the controller at most a tenth in every seed, and significantly less",
        holds=max(lost["controller"]) <= 0.1 < null and less[1] > 0,
        unit="share lost, mean over seeds; least and most",
        less_lost_than_without_human_rows=less,
        true_score_at_the_end={arm: [one[arm]["true score"][-1] for one in seeds] for arm in ARMS},
        seeds=seeds,
    )


if __name__ == "__main__":
    main()
