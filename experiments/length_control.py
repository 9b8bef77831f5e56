"""Is the win rate at equal length nearer the truth than as judged, and no harm where length did nothing?

Seven policies and a baseline answer 300 prompts. What each truly wins between answers of equal length comes
from the simulation's formula, by integration (`tests/support/policies.py`). The judge likes length in the
form of AlpacaEval's model (tanh of the difference in characters), in another form (by the logarithm of the
lengths' ratio), or not at all. A draw is nearer where the root mean squared error over its policies is
smaller. The nulls are the rates as judged and the correction of version 0.1 (each policy alone, prompts'
difficulty as a mean of results). Beside them stand each policy alone with the published L1 penalty, and the
eight systems of QLoRA (Dettmers et al. 2023) as GPT-4 judged them, with ChatGPT as the baseline.
"""

import json
import sys
import warnings
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from evidence import ROOT, record, share
from jurist.audits.win_rates import AgainstBaseline, against_baseline, difficulty, fit_win_rates, squash
from jurist.stats.fits import expit, fit_logistic
from support.policies import simulate_policies
from support.recorded import DATA

CASES: dict[str, dict[str, Any]] = {
    "likes length": {"taste": 1.2},
    "likes length, in another form": {"taste": 1.0, "form": "log"},
    "does not care": {},
}
DRAWS, L1_DRAWS, FIRST_SEED = 200, 40, 20_000
NEARER, RATIO, COVER = 0.95, 1.15, (0.93, 0.97)


def before(rows: AgainstBaseline) -> np.ndarray:
    """The correction of version 0.1: three columns for each policy, and a ridge of a hundredth."""
    usual = np.bincount(rows.policy, rows.p) / np.bincount(rows.policy)
    ease = rows.sum_of_others(rows.p - usual[rows.policy]) / np.maximum(rows.others, 1)
    rates = []
    for own in (rows.policy == policy for policy in range(rows.policies)):
        x = np.stack([np.ones(own.sum()), squash(rows.longer[own]), ease[own]], axis=1)
        rates.append(expit((x * (1, 0, 1)) @ fit_logistic(x, rows.p[own], 0.01)).mean())
    return np.array(rates)


def alone_by_l1(rows: AgainstBaseline) -> np.ndarray:
    """As AlpacaEval fits, from the same difficulty: L1, five folds of prompts, a p as two weighted rows."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import GroupKFold

    length = np.concatenate([squash(rows.longer[rows.policy == one]) for one in range(rows.policies)])
    x = np.stack([np.ones(len(length)), length, difficulty(rows, length)], axis=1)
    how = {"penalty": "l1", "solver": "liblinear", "fit_intercept": False, "scoring": "neg_log_loss"}
    rates = []
    for own in (rows.policy == policy for policy in range(rows.policies)):
        both, p = np.concatenate([x[own], x[own]]), rows.p[own]
        folds = list(GroupKFold(5).split(both, groups=np.tile(rows.prompt[own], 2)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names that will change
            model = LogisticRegressionCV(cv=folds, **how)
            model.fit(both, np.repeat([1, 0], own.sum()), sample_weight=np.concatenate([p, 1 - p]))
        rates.append(model.predict_proba(x[own] * (1, 0, 1))[:, 1].mean())
    return np.array(rates)


def simulated(case: str) -> dict[str, float]:
    errors: dict[str, list[np.ndarray]] = {"raw": [], "controlled": [], "before": [], "alone by L1": []}
    covered = []
    for draw in range(DRAWS):
        rows, truth = simulate_policies(FIRST_SEED + draw, **CASES[case])
        rates = fit_win_rates(rows)
        value, low, high, _ = np.array([rate.controlled for rate in rates], dtype=float).T
        covered += list((low <= truth) & (truth <= high))
        found = {"raw": [rate.raw.value for rate in rates], "controlled": value, "before": before(rows)}
        if draw < L1_DRAWS:
            found["alone by L1"] = alone_by_l1(rows)
        for name, rate in found.items():
            errors[name].append(rate - truth)
    by_draw = {name: np.sqrt(np.mean(np.square(some), axis=1)) for name, some in errors.items()}
    found = {f"error, {name}": np.sqrt(np.mean(np.square(some))) for name, some in by_draw.items()}
    found["error to raw's"] = found["error, controlled"] / found["error, raw"]
    ours = by_draw.pop("controlled")
    found |= {f"nearer than {name}": (ours[: len(some)] < some).mean() for name, some in by_draw.items()}
    return {name: round(float(one), 4) for name, one in {**found, "cover": np.mean(covered)}.items()}


def of_systems() -> dict[str, Any]:
    """Win rates over ChatGPT, and the Bradley-Terry strengths from all matchups."""
    if not (DATA / "qlora_vicuna").is_dir():
        return {"skipped": f"no recorded judgements at {DATA}"}
    sys.path.append(str(ROOT / "tests" / "real"))
    from test_audits_qlora import reviews_of_systems, sheet_of

    elo = json.loads((DATA / "EXPECTED.json").read_text())["qlora_vicuna"]["bt"]
    _, names, rows = against_baseline(sheet_of(reviews_of_systems()), "gpt35")
    rates = [(rate.raw.value, *(rate.controlled or rate.raw)[:3]) for rate in fit_win_rates(rows)]
    columns = np.column_stack([[elo[name] for name in names], rates, before(rows)]).round(4)
    head = ("Elo", "raw", "controlled", "low", "high", "before")
    by = dict(zip(head, columns.T, strict=True))

    def spearman(one: str, other: str) -> float:
        return round(float(spearmanr(by[one], by[other]).statistic), 3)

    systems = {
        name: dict(zip(head, row, strict=True)) for name, row in zip(names, columns.tolist(), strict=True)
    }
    found = {"systems": systems, "spearman with raw": spearman("raw", "controlled")}
    return found | {
        "spearman with Elo": {how: spearman("Elo", how) for how in ("raw", "controlled", "before")}
    }


def main() -> None:
    found = {case: simulated(case) for case in CASES}
    *planted, none = found.values()
    worst = min(planted, key=lambda one: one["nearer than raw"])
    names = {"error as judged": "raw", "by the correction before": "before", "now": "controlled"}
    smaller = all(one["error, controlled"] < one["error, before"] for one in found.values())
    harmless = none["error to raw's"] <= RATIO and COVER[0] <= none["cover"] <= COVER[1]
    record(
        "length_control",
        share((round(worst["nearer than raw"] * DRAWS), DRAWS)),
        null={name: worst[f"error, {how}"] for name, how in names.items()},
        bar=f"length planted, in either form: nearer the truth than raw in {NEARER:.0%} of {DRAWS} draws; not"
        f" planted: error at most {RATIO} x raw's, intervals cover {COVER[0]:.0%} to {COVER[1]:.0%}; in all"
        " three a smaller error than the correction before",
        holds=worst["nearer than raw"] >= NEARER and smaller and harmless,
        unit="share of draws nearer than raw, of the worse of two forms",
        more={"simulated": found, "qlora_vicuna": of_systems()},
    )


if __name__ == "__main__":
    main()
