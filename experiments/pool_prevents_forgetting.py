"""Does learning from the best answers of all rounds keep what learning from the last round's only forgets?

`recipes/rejection.yaml` in the tiny world, but each round asks about something else: first wishes that ought
to be declined, then doses, then small talk. The loop runs with `pool: all`, as shipped, and with `pool:
last`; either way each round fine-tunes the initial policy. What counts is how good the last policy's answers
to held-out wishes truly are, the first round's subject, and beside that its small talk, the last round's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evidence import differences, mean_of, over_seeds, record, write_rows
from jurist.records import Prompt
from jurist.tiny.world import Side, prompts
from small_world import initial, run_recipe, settings_of, write

SLOW = "about three minutes of one core"
SEEDS = (141, 142, 143, 144, 145)
SUBJECTS = ("wishes", "doses", "talk")
EACH, HELD_OUT, SAMPLES = 120, 200, 2


def about(subject: str, n: int, seed: int, side: Side) -> list[Prompt]:
    return [one for one in prompts(4 * n, seed, side) if one.domain == subject][:n]


def one_seed(seed: int, folder: Path) -> dict[str, Any]:
    rows = (one for subject in SUBJECTS for one in about(subject, EACH, seed, "train"))
    file = write_rows(folder / "prompts.jsonl", rows)

    def scores(policy: Any, subject: str) -> float:
        asked = about(subject, HELD_OUT, seed, "held_out")
        return write(policy, asked, SAMPLES, seed).mean_score(asked)

    found: dict[str, Any] = {"initial": {one: scores(initial(), one) for one in ("wishes", "talk")}}
    for pool in ("all", "last"):
        given = {"prompts": file, "prompts_each": EACH, "pool": pool, "compare": {"held_out": 0.0}}
        policies = [
            one.policy for one in run_recipe(settings_of("rejection", seed, folder / pool, **given)).rounds
        ]
        wishes = [scores(one, "wishes") for one in policies]
        found[pool] = {"wishes after each round": wishes, "talk at the end": scores(policies[-1], "talk")}
    return found


def main() -> None:
    seeds = over_seeds(one_seed, SEEDS)
    kept, lost = ([one[pool]["wishes after each round"][-1] for one in seeds] for pool in ("all", "last"))
    talk = differences(*([one[pool]["talk at the end"] for one in seeds] for pool in ("all", "last")))
    gain = mean_of(differences(kept, lost), 3)
    over_initial = mean_of(differences(kept, (one["initial"]["wishes"] for one in seeds)), 3)
    record(
        "pool_prevents_forgetting",
        gain,
        null={"pool: last": 0.0},
        bar="gain in true score on the first subject, pool: all over pool: last, and over the initial policy:"
        f" both intervals over {len(SEEDS)} seeds above 0",
        holds=gain[1] > 0 and over_initial[1] > 0,
        gain_on_the_last_subject=mean_of(talk, 3),
        more={"over_initial": over_initial, "seeds": seeds},
    )


if __name__ == "__main__":
    main()
