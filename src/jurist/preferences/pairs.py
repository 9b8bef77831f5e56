"""From opinions to preferences.

Every opinion ends as a preference or as a dropped row with its reason. Only pairs that a judge was asked
about become preferences, so each has its evidence.

Which of the pairs of one prompt is trained on. A rule is a function and a line in `RULES`.

| rule | chosen and rejected | from |
|---|---|---|
| best_vs_worst | the best and the worst | Self-Rewarding, Yuan 2024 (2401.10020) |
| best_vs_random_lower | the best and a random one below it | Tulu 3, Lambert 2024 (2411.15124) |
| worst_of_5 | the best and the worst of five random others | Xiao 2025 (2502.16825) |
| rho | the shortest near the top, the longest near the bottom | Meta-Rewarding, Wu 2024 (2407.19594) |
| west_of_n | best and worst, where the judge is sure of them | West-of-N, Pace 2024 (2401.12086) |
| all_pairs | every pair | InstructGPT, Ouyang 2022 (2203.02155) |

`west_of_n` keeps a pair when P(best beats worst) reaches `sure`. The paper sets that bar at a quantile of the
whole set, which takes a second pass: read it off the histogram on the card and set `sure` to it. It also asks
for a quantile of likelihood under the policy, which a judge cannot tell us; that half is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from math import tanh
from statistics import median, quantiles
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from ..completions.matchups import same_words
from ..errors import SettingError
from ..records import Completion, Dropped, Preference, Prompt, content_id
from ..stats import bradley_terry, logit, sigmoid
from ..verdicts.opinion import Opinion
from .hygiene import is_refusal, is_truncated, near_duplicates

Rule = Literal["best_vs_worst", "best_vs_random_lower", "worst_of_5", "rho", "all_pairs", "west_of_n"]


class PreferConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Which pairs of one prompt are kept, and what is left out by name."""

    rule: Rule = "best_vs_worst"
    """Which pairs of several completions are trained on; pairs that a file names are all decided."""
    ties: Literal["drop", "soft"] = "drop"
    """An exact tie leaves by name, or stays as a row with p = 0.5."""
    min_margin: float = 0.0
    """Pairs nearer to each other than this, on the judge's own scale, leave by name."""
    consistent_only: bool = False
    """Pairs whose verdict turned with the seats leave by name."""
    rho: float = 0.0
    """How much of the range counts as the top and as the bottom, for the rule `rho`."""
    sure: float = 0.8
    """The probability that best beats worst which the rule `west_of_n` asks for."""
    length_penalty: float = 0.0
    """b in s - b * tanh((length - median) / IQR); on scores, or on log-odds where there are none."""
    truncated: Literal["drop", "flag"] = "drop"
    """What becomes of a pair whose better one was cut off; a worse one that was cut off is only flagged."""
    refusals: Literal["flag", "drop"] = "flag"
    """What becomes of a pair whose better one is a refusal; drop only where nothing should be declined."""
    near_duplicates: float = 1.0
    """Pairs that share this part of their word triples leave by name; 0 keeps them all."""
    max_length_ratio: float = 3.0
    """Pairs with one this many times as long as the other are flagged `length_gap`; 0 flags none."""
    quarantine: Literal["honour", "ignore"] = "honour"
    """Whether domains that the audit has quarantined stay out of what is exported and trained on."""
    seed: int | None = None
    """For the rules that draw; the run's seed when empty."""

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise SettingError(
                    f"{name} is {value}; it lies between {low} and {high}. Write e.g. {name}: {low}"
                )


_RANGES = (
    ("rho", 0.0, 1.0),
    ("sure", 0.5, 1.0),
    ("near_duplicates", 0.0, 1.0),
    ("min_margin", 0.0, float("inf")),
    ("length_penalty", 0.0, float("inf")),
    ("max_length_ratio", 0.0, float("inf")),
)


def choose(
    prompt: Prompt,
    completions: Sequence[Completion],
    opinions: Sequence[Opinion],
    cfg: PreferConfig,
) -> tuple[list[Preference], list[Dropped]]:
    """The preferences of one prompt. Preferences and dropped rows together are as many as the opinions."""
    known = {c.id: c for c in completions}
    read, dropped = usable(opinions, known)
    if not read:
        return [], dropped
    turned = {opinion.matchup_id for opinion in read if opinion.flipped}  # before p is touched
    read = penalize_length(read, completions, cfg.length_penalty)
    worth = rank(read)
    pairs: list[Compared] = []
    for opinion in read:
        pair = _orient(opinion, known, worth, opinion.matchup_id in turned, cfg)
        if reason := _reason_to_drop(pair, cfg):
            dropped.append(_drop(pair, reason))
        else:
            pairs.append(pair)
    kept, left = _select(pairs, worth, prompt.id, cfg)
    return [_preference(prompt, pair, cfg.rule) for pair in kept], dropped + left


def usable(
    opinions: Sequence[Opinion], known: Mapping[str, Completion]
) -> tuple[list[Opinion], list[Dropped]]:
    """The opinions that can be used, told from the same side however they came; the others by name."""
    read: list[Opinion] = []
    dropped: list[Dropped] = []
    seen: set[str] = set()
    for opinion in opinions:
        if opinion.first_id not in known or opinion.second_id not in known:
            reason, detail = "unknown_completion", f"{opinion.first_id} or {opinion.second_id}"
        elif opinion.p_first is None:
            reason, detail = f"unread: {opinion.unread}", ""
        elif not 0.0 <= opinion.p_first <= 1.0:
            reason, detail = "unread: no_probability", f"p_first is {opinion.p_first}"
        elif opinion.first_id == opinion.second_id:
            reason, detail = "identical", ""
        elif opinion.matchup_id in seen:
            reason, detail = "duplicate", opinion.judge
        else:
            seen.add(opinion.matchup_id)
            read.append(opinion if opinion.first_id < opinion.second_id else opinion.swapped())
            continue
        dropped.append(Dropped(opinion.matchup_id, "preferences", reason, detail))
    return read, dropped


def penalize_length(
    opinions: Sequence[Opinion], completions: Sequence[Completion], penalty: float = 0.0
) -> list[Opinion]:
    """The opinions after the length penalty."""
    terms = length_terms(completions) if penalty else {}
    return [without_length(opinion, terms, penalty) for opinion in opinions]


def rank(opinions: Sequence[Opinion]) -> dict[str, float]:
    """How good each completion is, rounded so that equal ones are equal."""
    scores: dict[str, list[float]] = {}
    wins: dict[tuple[str, str], float] = {}
    for opinion in opinions:
        if opinion.scores is not None:
            scores.setdefault(opinion.first_id, []).append(opinion.scores[0])
            scores.setdefault(opinion.second_id, []).append(opinion.scores[1])
        if opinion.p_first is not None:
            wins[opinion.first_id, opinion.second_id] = opinion.p_first
    scored = all(opinion.scores is not None for opinion in opinions)
    means = {name: sum(values) / len(values) for name, values in scores.items()} if scored else {}
    return {name: round(worth, 9) for name, worth in strengths(wins, means).items()}


def _orient(
    opinion: Opinion,
    known: Mapping[str, Completion],
    worth: Mapping[str, float],
    flipped: bool,
    cfg: PreferConfig,
) -> Compared:
    """The pair with the better one as chosen. An exact tie goes by rank, then by name, which is chance."""
    p = round(opinion.p_first or 0.0, 9)  # sums of probabilities leave dust beside 0.5, which is no opinion
    first, second = known[opinion.first_id], known[opinion.second_id]
    if p < 0.5 or (p == 0.5 and worth[first.id] < worth[second.id]):
        first, second, p = second, first, round(1.0 - p, 9)
    margin = round(2 * p - 1, 9) if opinion.scores is None else abs(opinion.scores[0] - opinion.scores[1])
    flags = ["tie"] if p == 0.5 else []
    if flipped:
        flags.append("flipped")
    short, long = sorted((len(first.text), len(second.text)))
    if cfg.max_length_ratio and long >= cfg.max_length_ratio * short:
        flags.append("length_gap")
    if is_truncated(first) or is_truncated(second):
        flags.append("truncated")
    if is_refusal(first.text) or is_refusal(second.text):
        flags.append("refusal")
    return Compared(opinion, first, second, p, margin, tuple(flags))


def _reason_to_drop(pair: Compared, cfg: PreferConfig) -> str:
    """Why a pair that was read is no good; empty when it is."""
    chosen, rejected = pair.chosen, pair.rejected
    if same_words(chosen.text, rejected.text):
        return "identical"
    if not chosen.text.strip() or not rejected.text.strip():
        return "empty"
    if cfg.consistent_only and "flipped" in pair.flags:
        return "inconsistent"
    if pair.p == 0.5 and cfg.ties == "drop":
        return "tie"
    if pair.margin < cfg.min_margin:
        return "below_margin"
    if cfg.truncated == "drop" and is_truncated(chosen):
        return "truncated"
    if cfg.refusals == "drop" and "refusal" in pair.flags and is_refusal(chosen.text):
        return "refusal"
    if cfg.near_duplicates and near_duplicates(chosen.text, rejected.text, cfg.near_duplicates):
        return "near_duplicate"
    return ""


def _select(
    pairs: list[Compared], worth: Mapping[str, float], prompt_id: str, cfg: PreferConfig
) -> tuple[list[Compared], list[Dropped]]:
    """The pairs the rule takes; the others by name."""
    if cfg.rule == "all_pairs":
        return pairs, []
    against = [pair for pair in pairs if worth[pair.chosen.id] < worth[pair.rejected.id]]
    left = [_drop(pair, "not_selected", "the ranking has them the other way round") for pair in against]
    agreeing = [pair for pair in pairs if worth[pair.chosen.id] >= worth[pair.rejected.id]]
    if not agreeing:
        return [], left
    taken, tied = RULES[cfg.rule](
        agreeing, worth, cfg, lambda name: _random_order(cfg.seed or 0, prompt_id, name)
    )
    left += [_drop(pair, "not_selected") for pair in agreeing if pair is not taken]
    if cfg.rule == "west_of_n" and taken.p < cfg.sure:
        return [], [*left, _drop(taken, "below_threshold", f"p = {taken.p:.3f}")]
    return [replace(taken, flags=(*taken.flags, "tie_broken")) if tied else taken], left


def _random_order(seed: int, prompt_id: str, name: str) -> bytes:
    return blake2b(f"order {seed} {prompt_id} {name}".encode(), digest_size=8).digest()


def _drop(pair: Compared, reason: str, detail: str = "") -> Dropped:
    return Dropped(pair.opinion.matchup_id, "preferences", reason, detail)


def _preference(prompt: Prompt, pair: Compared, rule: str) -> Preference:
    judge = pair.opinion.judge
    source = f"{rule}:{judge}" if judge else rule
    return Preference(
        id=content_id("preference", prompt.id, pair.chosen.id, pair.rejected.id, source),
        prompt=prompt,
        chosen=pair.chosen,
        rejected=pair.rejected,
        p=pair.p,
        margin=pair.margin,
        source=source,
        verdict_ids=pair.opinion.verdict_ids,
        flags=(*pair.flags, "human") if judge.startswith("human") else pair.flags,
    )


Pair = tuple[str, str]
_EDGE = 0.01  # where certainty is cut off before it becomes log-odds
PULL = 0.1
"""The ridge of the fit: a prior on log-strengths of variance 10, so that who never lost stays in sight."""


def strengths(wins: Mapping[Pair, float], scores: Mapping[str, float]) -> dict[str, float]:
    """Higher is better: the scores when the judge gave scores, else a ranking of the pairs.

    `wins` has the probability that the first of each pair is better. Where everyone met everyone the ranking
    is the mean win probability, which then has the order of a Bradley-Terry fit (Ford 1957); where some pairs
    are missing, it is that fit.
    """
    if scores:
        return dict(scores)
    names = list(dict.fromkeys(name for pair in wins for name in pair))
    if len(wins) == len(names) * (len(names) - 1) // 2:
        total = dict.fromkeys(names, 0.0)
        for (one, other), p in wins.items():
            total[one] += p
            total[other] += 1.0 - p
        return {name: won / (len(names) - 1) for name, won in total.items()}
    both = [row for (one, other), p in wins.items() for row in ((one, other, p), (other, one, 1.0 - p))]
    return bradley_terry(both, PULL)


def length_terms(completions: Sequence[Completion]) -> dict[str, float]:
    """tanh((length - median) / IQR) in characters, among the completions of one prompt.

    The spread is taken as at least a tenth of the median: among answers of nearly one length, a few
    characters are no difference.
    """
    lengths = [len(c.text) for c in completions]
    middle = median(lengths)
    spread = 0.0
    if len(lengths) > 1:
        low, _, high = quantiles(lengths, n=4, method="inclusive")
        spread = high - low
    spread = max(spread, middle / 10, 1.0)
    return {c.id: tanh((len(c.text) - middle) / spread) for c in completions}


def without_length(opinion: Opinion, terms: Mapping[str, float], penalty: float) -> Opinion:
    """An opinion after s - penalty * tanh((length - median) / IQR) of both completions.

    Without scores the log-odds are what is penalised. With scores p keeps its own scale: its log-odds shrink
    or turn in the proportion in which the difference of scores did. p is rounded in any case: told from the
    other seat and back, a float is not quite what it was.
    """
    p = opinion.p_first
    if p is None:
        return opinion
    if not penalty:
        return replace(opinion, p_first=round(p, 9))
    one, other = penalty * terms[opinion.first_id], penalty * terms[opinion.second_id]
    odds = logit(p, _EDGE)
    if opinion.scores is None:
        return replace(opinion, p_first=round(sigmoid(odds - one + other), 9))
    before = opinion.scores[0] - opinion.scores[1]
    after = before - one + other
    turned = sigmoid(odds * after / before) if before else sigmoid(after)
    scores = (opinion.scores[0] - one, opinion.scores[1] - other)
    return replace(opinion, p_first=round(turned, 9), scores=scores)


class Compared(Struct, frozen=True):
    """An opinion told from the better one's side."""

    opinion: Opinion
    chosen: Completion
    rejected: Completion
    p: float
    margin: float
    flags: tuple[str, ...] = ()


Scores = Mapping[str, float]
Order = Callable[[str], bytes]
"""A random order of completions that follows from the seed and the prompt."""
Choice = tuple[Compared, bool]
"""The pair, and whether a tie had to be broken to find it."""


def best_vs_worst(pairs: Sequence[Compared], worth: Scores, cfg: PreferConfig, order: Order) -> Choice:
    """The widest pair. Of equally good ones the shortest is chosen, so that a tie does not teach length."""
    mine, tied = _of_the_best(pairs, worth)
    return _worst(mine, worth, tied)


def best_vs_random_lower(pairs: Sequence[Compared], worth: Scores, cfg: PreferConfig, order: Order) -> Choice:
    mine, tied = _of_the_best(pairs, worth)
    lower = [pair for pair in mine if worth[pair.rejected.id] < worth[pair.chosen.id]] or mine
    return min(lower, key=lambda pair: order(pair.rejected.id)), tied


def worst_of_5(pairs: Sequence[Compared], worth: Scores, cfg: PreferConfig, order: Order) -> Choice:
    """With many samples the very worst is a strange text; the worst of five is a likely mistake."""
    mine, tied = _of_the_best(pairs, worth)
    return _worst(sorted(mine, key=lambda pair: order(pair.rejected.id))[:5], worth, tied)


def rho(pairs: Sequence[Compared], worth: Scores, cfg: PreferConfig, order: Order) -> Choice:
    """Chosen within rho of the top, rejected within rho of the bottom, and the lengths opposed."""
    top = max(worth[pair.chosen.id] for pair in pairs)
    bottom = min(worth[pair.rejected.id] for pair in pairs)
    room = cfg.rho * (top - bottom) + 1e-9
    mine = [pair for pair in pairs if worth[pair.chosen.id] >= top - room]
    mine = [pair for pair in mine if worth[pair.rejected.id] <= bottom + room] or _of_the_best(pairs, worth)[
        0
    ]
    return min(
        mine, key=lambda pair: (len(pair.chosen.text), -len(pair.rejected.text), pair.opinion.matchup_id)
    ), False


RULES: dict[str, Callable[[Sequence[Compared], Scores, PreferConfig, Order], Choice]] = {
    "best_vs_worst": best_vs_worst,
    "best_vs_random_lower": best_vs_random_lower,
    "worst_of_5": worst_of_5,
    "rho": rho,
    "west_of_n": best_vs_worst,
}


def _of_the_best(pairs: Sequence[Compared], worth: Scores) -> tuple[list[Compared], bool]:
    """The pairs of the best completion that won any: all the choices there are for its rejected."""
    top = max(worth[pair.chosen.id] for pair in pairs)
    tops = {pair.chosen.id: pair.chosen for pair in pairs if worth[pair.chosen.id] == top}
    best = shortest(tops.values())
    return [pair for pair in pairs if pair.chosen.id == best.id], len(tops) > 1


def _worst(pairs: Sequence[Compared], worth: Scores, tied: bool) -> Choice:
    low = min(worth[pair.rejected.id] for pair in pairs)
    lowest = [pair for pair in pairs if worth[pair.rejected.id] == low]
    return min(lowest, key=lambda pair: pair.rejected.id), tied or len(lowest) > 1


def shortest(completions: Iterable[Completion]) -> Completion:
    """How ties for the best are broken."""
    return min(completions, key=lambda c: (len(c.text), c.id))
