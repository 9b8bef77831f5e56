"""From opinions to preferences: which pairs of one prompt are trained on.

Every opinion ends as a preference or as a dropped row with its reason. Only pairs that a judge was asked
about become preferences, so each has its evidence. A rule is a function and a line in `RULES`.

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

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from math import tanh
from statistics import median, quantiles
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ..completions.matchups import same_words
from ..errors import SettingError
from ..records import Completion, Dropped, Preference, Prompt, content_id, is_human
from ..verdicts.settle import Opinion
from .hygiene import is_refusal, is_truncated, near_duplicates
from .settings import PreferConfig

_EDGE: Final = 0.01  # where certainty is cut off before it becomes log-odds
_RIDGE: Final = 0.1  # a prior on log-strengths of variance 10: whoever never lost stays finite


def check_margin(prefer: PreferConfig, kinds: Collection[str]) -> None:
    """Refuse a `min_margin` that no pair can have: judges of pairs give |2p - 1|, which is 1 at most."""
    if prefer.min_margin > 1 and set(kinds) == {"pairwise"}:
        said = f"min_margin is {prefer.min_margin:g}, and margins of judges of pairs are at most 1"
        raise SettingError(f"{said}: every pair would be dropped. Write e.g. min_margin: 0.2")


class Compared(Struct, frozen=True):
    """An opinion told from the better one's side."""

    opinion: Opinion
    chosen: Completion
    rejected: Completion
    p: float
    margin: float
    flags: tuple[str, ...] = ()


Pairs = Sequence[Compared]
Scores = Mapping[str, float]  # how good each completion is, by its id
Order = Callable[[str], bytes]  # a random order of completions that follows from the seed and the prompt
Choice = tuple[Compared, bool]  # the pair, and whether a tie had to be broken to find it


def choose(
    prompt: Prompt, completions: Sequence[Completion], opinions: Sequence[Opinion], cfg: PreferConfig
) -> tuple[list[Preference], list[Dropped]]:
    """The preferences of one prompt. Preferences and dropped rows together are as many as the opinions."""
    known = {c.id: c for c in completions}
    read, dropped = usable(opinions, known)
    if not read:
        return [], dropped
    read = penalize_length(read, completions, cfg.length_penalty)
    scores = rank(read)
    pairs: list[Compared] = []
    for opinion in read:
        pair = _orient(opinion, known, scores, cfg)
        if reason := _reason_to_drop(pair, cfg):
            dropped.append(_drop(pair, reason))
        else:
            pairs.append(pair)
    kept, left = _select(pairs, scores, prompt.id, cfg)
    return [_preference(prompt, pair, cfg.rule) for pair in kept], dropped + left


def usable(
    opinions: Sequence[Opinion], known: Mapping[str, Completion]
) -> tuple[list[Opinion], list[Dropped]]:
    """The opinions that can be used, told from the same side however they came, and the others."""
    read: dict[str, Opinion] = {}
    dropped: list[Dropped] = []
    for opinion in opinions:
        p, first, second = opinion.p_first, opinion.first_id, opinion.second_id
        reason, detail = "", ""
        if first not in known or second not in known:
            reason, detail = "unknown_completion", f"{first} or {second}"
        elif p is None:
            reason = f"unread: {opinion.unread}"
        elif not 0.0 <= p <= 1.0:
            reason, detail = "unread: no_probability", f"p_first is {p}"
        elif first == second:
            reason = "identical"
        elif opinion.matchup_id in read:
            reason, detail = "duplicate", opinion.judge
        if reason:
            dropped.append(Dropped(opinion.matchup_id, "preferences", reason, detail))
        else:
            read[opinion.matchup_id] = opinion if first < second else opinion.swapped()
    return list(read.values()), dropped


def penalize_length(
    opinions: Sequence[Opinion], completions: Sequence[Completion], penalty: float
) -> list[Opinion]:
    """The opinions after s - penalty * tanh((length - median) / IQR) of both completions.

    Without scores the log-odds are what is penalised. With scores p keeps its own scale: its log-odds shrink
    or turn in the proportion in which the difference of scores did. p is rounded in any case: told from the
    other side and back, a float is not quite what it was.
    """
    from ..stats.fits import logit, sigmoid

    terms = length_terms(completions) if penalty else {}
    penalised = []
    for opinion in opinions:
        p, scores = opinion.p_first or 0.0, opinion.scores
        if penalty:
            one, other = penalty * terms[opinion.first_id], penalty * terms[opinion.second_id]
            odds = logit(p, _EDGE)
            if scores is None:
                p = sigmoid(odds - one + other)
            else:
                before, after = scores[0] - scores[1], scores[0] - one - scores[1] + other
                p = sigmoid(odds * after / before if before else after)
                scores = scores[0] - one, scores[1] - other
        penalised.append(replace(opinion, p_first=round(p, 9), scores=scores))
    return penalised


def length_terms(completions: Sequence[Completion]) -> dict[str, float]:
    """tanh((length - median) / IQR) in characters, among the completions of one prompt.

    The spread is taken as at least a tenth of the median: among answers of nearly one length, a few
    characters are no difference.
    """
    lengths = [len(c.text) for c in completions]
    middle = median(lengths)
    low, _, high = quantiles(lengths, n=4, method="inclusive") if len(lengths) > 1 else (0.0, 0.0, 0.0)
    spread = max(high - low, middle / 10, 1.0)
    return {c.id: tanh((len(c.text) - middle) / spread) for c in completions}


def rank(opinions: Sequence[Opinion]) -> dict[str, float]:
    """How good each completion is: its scores where all have some, else a ranking of the pairs.

    Where everyone met everyone the ranking is the mean win probability, which has the order of a
    Bradley-Terry fit (Ford 1957); where some pairs are missing, it is that fit. Rounded, so that equal ones
    are equal.
    """
    scored = all(opinion.scores is not None for opinion in opinions)
    points: dict[str, list[float]] = {}
    wins: list[tuple[str, str, float]] = []
    for one in opinions:
        p = one.p_first or 0.0
        first, second = one.scores if scored and one.scores is not None else (p, 1.0 - p)
        points.setdefault(one.first_id, []).append(first)
        points.setdefault(one.second_id, []).append(second)
        wins += [(one.first_id, one.second_id, p), (one.second_id, one.first_id, 1.0 - p)]
    if scored or len(opinions) == len(points) * (len(points) - 1) // 2:
        found = {name: sum(some) / len(some) for name, some in points.items()}
    else:
        from ..stats.fits import bradley_terry  # numpy is slow to load, and settings are read without it

        found = bradley_terry(wins, _RIDGE)
    return {name: round(score, 9) for name, score in found.items()}


def _orient(opinion: Opinion, known: Mapping[str, Completion], scores: Scores, cfg: PreferConfig) -> Compared:
    """The pair with the better one as chosen. An exact tie goes by rank, then by id, which is chance."""
    p = opinion.p_first or 0.0
    first, second = known[opinion.first_id], known[opinion.second_id]
    if p < 0.5 or (p == 0.5 and scores[first.id] < scores[second.id]):
        first, second, p = second, first, round(1.0 - p, 9)
    margin = round(2 * p - 1, 9) if opinion.scores is None else abs(opinion.scores[0] - opinion.scores[1])
    short, long = sorted((len(first.text), len(second.text)))
    flags = {
        "tie": p == 0.5,
        "flipped": opinion.flipped,
        "length_gap": cfg.max_length_ratio > 0 and long >= cfg.max_length_ratio * short,
        "truncated": is_truncated(first) or is_truncated(second),
        "refusal": is_refusal(first.text) or is_refusal(second.text),
    }
    return Compared(opinion, first, second, p, margin, tuple(name for name, holds in flags.items() if holds))


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
    pairs: list[Compared], scores: Scores, prompt_id: str, cfg: PreferConfig
) -> tuple[list[Compared], list[Dropped]]:
    """The pairs the rule takes, and the others."""
    if cfg.rule == "all_pairs":
        return pairs, []

    def order(name: str) -> bytes:
        return blake2b(f"lot {cfg.seed or 0} {prompt_id} {name}".encode(), digest_size=8).digest()

    agreeing = [pair for pair in pairs if scores[pair.chosen.id] >= scores[pair.rejected.id]]
    against = [pair for pair in pairs if scores[pair.chosen.id] < scores[pair.rejected.id]]
    left = [_drop(pair, "not_selected", "the ranking has them the other way round") for pair in against]
    if not agreeing:
        return [], left
    taken, tied = RULES[cfg.rule](agreeing, scores, cfg, order)
    left += [_drop(pair, "not_selected") for pair in agreeing if pair is not taken]
    if cfg.rule == "west_of_n" and taken.p < cfg.sure:
        return [], [*left, _drop(taken, "below_threshold", f"p = {taken.p:.3f}")]
    return [replace(taken, flags=(*taken.flags, "tie_broken")) if tied else taken], left


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
        flags=(*pair.flags, "human") if is_human(judge) else pair.flags,
    )


def best_vs_worst(pairs: Pairs, scores: Scores, cfg: PreferConfig, order: Order) -> Choice:
    """The widest pair. Of equally good ones the shortest is chosen, so that a tie does not teach length."""
    mine, tied = _of_the_best(pairs, scores)
    return _worst(mine, scores, tied)


def best_vs_random_lower(pairs: Pairs, scores: Scores, cfg: PreferConfig, order: Order) -> Choice:
    mine, tied = _of_the_best(pairs, scores)
    lower = [pair for pair in mine if scores[pair.rejected.id] < scores[pair.chosen.id]] or mine
    return min(lower, key=lambda pair: order(pair.rejected.id)), tied


def worst_of_5(pairs: Pairs, scores: Scores, cfg: PreferConfig, order: Order) -> Choice:
    """With many samples the very worst is a strange text; the worst of five is a likely mistake."""
    mine, tied = _of_the_best(pairs, scores)
    return _worst(sorted(mine, key=lambda pair: order(pair.rejected.id))[:5], scores, tied)


def rho(pairs: Pairs, scores: Scores, cfg: PreferConfig, order: Order) -> Choice:
    """Chosen within rho of the top, rejected within rho of the bottom, and the lengths opposed."""
    top = max(scores[pair.chosen.id] for pair in pairs)
    bottom = min(scores[pair.rejected.id] for pair in pairs)
    near = cfg.rho * (top - bottom) + 1e-9
    mine = [pair for pair in pairs if scores[pair.chosen.id] >= top - near]
    mine = [pair for pair in mine if scores[pair.rejected.id] <= bottom + near]
    mine = mine or _of_the_best(pairs, scores)[0]

    def lengths(pair: Compared) -> tuple[int, int, str]:
        return len(pair.chosen.text), -len(pair.rejected.text), pair.opinion.matchup_id

    return min(mine, key=lengths), False


RULES: dict[str, Callable[[Pairs, Scores, PreferConfig, Order], Choice]] = {
    "best_vs_worst": best_vs_worst,
    "best_vs_random_lower": best_vs_random_lower,
    "worst_of_5": worst_of_5,
    "rho": rho,
    "west_of_n": best_vs_worst,
}


def _of_the_best(pairs: Pairs, scores: Scores) -> tuple[list[Compared], bool]:
    """The pairs of the best completion that won any: all the choices there are for its rejected."""
    top = max(scores[pair.chosen.id] for pair in pairs)
    tops = {pair.chosen.id: pair.chosen for pair in pairs if scores[pair.chosen.id] == top}
    best = shortest(tops.values())
    return [pair for pair in pairs if pair.chosen.id == best.id], len(tops) > 1


def _worst(pairs: Pairs, scores: Scores, tied: bool) -> Choice:
    low = min(scores[pair.rejected.id] for pair in pairs)
    lowest = [pair for pair in pairs if scores[pair.rejected.id] == low]
    return min(lowest, key=lambda pair: pair.rejected.id), tied or len(lowest) > 1


def shortest(completions: Iterable[Completion]) -> Completion:
    """How ties for the best are broken."""
    return min(completions, key=lambda c: (len(c.text), c.id))
