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

`west_of_n` keeps a pair when P(best beats worst) reaches `sure`, where the paper takes quantiles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import zip_longest
from math import tanh
from statistics import median, quantiles
from typing import Final

from msgspec.structs import replace

from ..errors import SettingError
from ..prompts.load import words_of
from ..records import Completion, Dropped, Preference, Prompt, content_id, is_tie
from ..stats.fits import bradley_terry, logit, sigmoid
from ..verdicts.settle import Opinion
from . import PreferConfig

STAGE: Final = "preferences"
_EDGE: Final = 0.01  # where certainty is cut off before it becomes log-odds
_RIDGE: Final = 0.1  # a prior on log-strengths of variance 10: whoever never lost stays finite
_REFUSAL: Final = re.compile(
    r"^\W*(?:(?:hi|hello|thanks|thank you)\b[^.!]*[.!]\s*)?"
    r"(?:(?:i(?:'|’)?m|i am) (?:(?:really|very|so) )?sorry\b|sorry,|i apologi[sz]e\b|unfortunately, i\b"
    r"|(?:as an ai\b[^.]{0,60}, )?i (?:can(?:'|’)t|cannot|can not|won(?:'|’)t|will not|must decline"
    r"|have to decline|am unable|am not able|don(?:'|’)t feel comfortable)\b"
    r"|i(?:'|’)m (?:unable|not able|not comfortable)\b)",
    re.IGNORECASE,
)


def check_margin(prefer: PreferConfig, kinds: Collection[str]) -> None:
    """Refuse a `min_margin` that no pair can have."""
    if prefer.min_margin > 1 and list(kinds) != ["pointwise"]:
        said = f"min_margin is {prefer.min_margin:g}; of judges of pairs, and of juries, margins are |2p - 1|"
        raise SettingError(f"{said}. Write e.g. min_margin: 0.2")


Pairs = Sequence[Preference]
Scores = Mapping[str, float]  # how good each completion is, by its id


def choose(
    prompt: Prompt, completions: Sequence[Completion], opinions: Sequence[Opinion], cfg: PreferConfig
) -> tuple[list[Preference], list[Dropped]]:
    """The preferences of one prompt. Preferences and dropped rows together are as many as the opinions."""
    known = {c.id: c for c in completions}
    read, dropped = usable(opinions)
    read = penalize_length(read, completions, cfg.length_penalty)
    scores = rank(read)
    pairs: dict[str, Preference] = {}
    for opinion in read:
        pair = _orient(prompt, opinion, known, scores, cfg)
        if reason := _reason_to_drop(pair, cfg):
            dropped.append(Dropped(opinion.matchup_id, STAGE, reason))
        else:
            pairs[opinion.matchup_id] = pair
    if cfg.rule == "all_pairs":
        return [*pairs.values()], dropped
    taken, kept = _take(pairs.values(), scores, prompt.id, cfg), []
    for name, pair in pairs.items():
        if taken is None or pair.id != taken.id:
            against = scores[pair.chosen.id] < scores[pair.rejected.id]
            why = "the ranking has them the other way round" if against else ""
            dropped.append(Dropped(name, STAGE, "not_selected", why))
        elif cfg.rule == "west_of_n" and taken.p < cfg.sure:
            dropped.append(Dropped(name, STAGE, "below_threshold", f"p = {taken.p:.3f}"))
        else:
            kept.append(taken)
    return kept, dropped


def usable(opinions: Iterable[Opinion]) -> tuple[list[Opinion], list[Dropped]]:
    """The opinions that can be used, seen from the same side however they came, and the others."""
    read: list[Opinion] = []
    dropped: list[Dropped] = []
    for one in opinions:
        one = one if one.first_id < one.second_id else one.swapped()
        if one.p_first is None:
            dropped.append(Dropped(one.matchup_id, STAGE, f"unread: {one.unread}"))
        elif not 0.0 <= one.p_first <= 1.0:  # a judge of the user's may return any verdict
            dropped.append(Dropped(one.matchup_id, STAGE, "unread: no_probability", f"p is {one.p_first}"))
        else:  # rounded: seen from the other side and back, a float is not quite what it was
            read.append(replace(one, p_first=round(one.p_first, 9)))
    return read, dropped


def penalize_length(
    opinions: Sequence[Opinion], completions: Sequence[Completion], penalty: float
) -> list[Opinion]:
    """The opinions after s - penalty * tanh((length - median) / IQR) of both completions.

    Without scores s are the log-odds. With scores, the log-odds change in proportion to their difference.
    """
    if not penalty:
        return list(opinions)
    terms, penalised = length_terms(completions), []
    for opinion in opinions:
        one, other = penalty * terms[opinion.first_id], penalty * terms[opinion.second_id]
        odds, scores = logit(opinion.p_first or 0.0, _EDGE), opinion.scores
        if scores is None:
            odds += other - one
        else:
            before, after = scores[0] - scores[1], scores[0] - one - scores[1] + other
            odds = odds * after / before if before else after
            scores = scores[0] - one, scores[1] - other
        penalised.append(replace(opinion, p_first=round(sigmoid(odds), 9), scores=scores))
    return penalised


def length_terms(completions: Sequence[Completion]) -> dict[str, float]:
    """tanh((length - median) / IQR) in characters, among the completions of one prompt.

    The spread is at least a tenth of the median: a few characters are no difference.
    """
    lengths = [len(c.text) for c in completions]
    middle = median(lengths)
    low, _, high = quantiles(lengths, n=4, method="inclusive") if len(lengths) > 1 else (0.0, 0.0, 0.0)
    spread = max(high - low, middle / 10, 1.0)
    return {c.id: tanh((len(c.text) - middle) / spread) for c in completions}


def rank(opinions: Sequence[Opinion]) -> dict[str, float]:
    """How good each completion is: its mean score where all have some, else how it fares in its pairs.

    That is the mean win probability where everyone met everyone, which has the order of a Bradley-Terry fit
    (Ford 1957), and that fit where pairs are missing. Rounded, so that equal ones are equal.
    """
    scored = all(opinion.scores is not None for opinion in opinions)
    points: dict[str, list[float]] = {}
    wins: list[tuple[str, str, float]] = []
    for one in opinions:
        p = one.p_first or 0.0
        first, second = (one.scores if scored else None) or (p, 1.0 - p)
        points.setdefault(one.first_id, []).append(first)
        points.setdefault(one.second_id, []).append(second)
        wins += [(one.first_id, one.second_id, p), (one.second_id, one.first_id, 1.0 - p)]
    if scored or len(opinions) == len(points) * (len(points) - 1) // 2:
        found = {name: sum(some) / len(some) for name, some in points.items()}
    else:
        found = bradley_terry(wins, _RIDGE)
    return {name: round(score, 9) for name, score in found.items()}


def _orient(
    prompt: Prompt, opinion: Opinion, known: Mapping[str, Completion], scores: Scores, cfg: PreferConfig
) -> Preference:
    """The pair with the better one as chosen. An exact tie goes by rank, then by id, which is chance."""
    p = opinion.p_first or 0.0
    chosen, rejected = known[opinion.first_id], known[opinion.second_id]
    if p < 0.5 or (is_tie(p) and scores[chosen.id] < scores[rejected.id]):
        chosen, rejected, p = rejected, chosen, round(1.0 - p, 9)
    short, long = sorted((len(chosen.text), len(rejected.text)))
    flags = {
        "tie": is_tie(p),
        "flipped": opinion.flipped,
        "length_gap": cfg.max_length_ratio > 0 and long >= cfg.max_length_ratio * short,
        "truncated": "length" in (chosen.finish, rejected.finish),
        "refusal": is_refusal(chosen.text) or is_refusal(rejected.text),
    }
    source = f"{cfg.rule}:{opinion.judge}"
    return Preference(
        id=content_id("preference", prompt.id, chosen.id, rejected.id, source),
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        p=p,
        margin=round(2 * p - 1, 9) if opinion.scores is None else abs(opinion.scores[0] - opinion.scores[1]),
        source=source,
        verdict_ids=opinion.verdict_ids,
        flags=tuple(name for name, holds in flags.items() if holds),
    )


def _reason_to_drop(pair: Preference, cfg: PreferConfig) -> str:
    """Why a pair that was read is no good; empty when it is."""
    if cfg.consistent_only and "flipped" in pair.flags:
        return "inconsistent"
    if is_tie(pair.p) and cfg.ties == "drop":
        return "tie"
    if pair.margin < cfg.min_margin:
        return "below_margin"
    if cfg.truncated == "drop" and pair.chosen.finish == "length":
        return "truncated"
    if cfg.refusals == "drop" and is_refusal(pair.chosen.text):
        return "refusal"
    if cfg.near_duplicates and near_duplicates(pair.chosen.text, pair.rejected.text, cfg.near_duplicates):
        return "near_duplicate"
    return ""


def _take(
    pairs: Iterable[Preference], scores: Scores, prompt_id: str, cfg: PreferConfig
) -> Preference | None:
    """The pair that the rule chooses among those that go with the ranking."""

    def chance(pair: Preference) -> bytes:
        return blake2b(f"lot {cfg.seed or 0} {prompt_id} {pair.rejected.id}".encode(), digest_size=8).digest()

    agreeing = [pair for pair in pairs if scores[pair.chosen.id] >= scores[pair.rejected.id]]
    if not agreeing:
        return None
    taken = RULES[cfg.rule](sorted(agreeing, key=chance), scores, cfg)
    places = [(scores[pair.chosen.id], scores[pair.rejected.id]) for pair in agreeing]
    equals = places.count((scores[taken.chosen.id], scores[taken.rejected.id]))
    return replace(taken, flags=(*taken.flags, "tie_broken")) if equals > 1 else taken


def best_vs_worst(pairs: Pairs, scores: Scores, cfg: PreferConfig) -> Preference:
    """The widest pair. Of equally good ones the shortest is chosen, so that a tie does not teach length."""
    return _worst(_of_the_best(pairs, scores), scores)


def best_vs_random_lower(pairs: Pairs, scores: Scores, cfg: PreferConfig) -> Preference:
    mine = _of_the_best(pairs, scores)
    return next((pair for pair in mine if scores[pair.rejected.id] < scores[pair.chosen.id]), mine[0])


def worst_of_5(pairs: Pairs, scores: Scores, cfg: PreferConfig) -> Preference:
    """With many samples the very worst is a strange text; the worst of five is a likely mistake."""
    return _worst(_of_the_best(pairs, scores)[:5], scores)


def rho(pairs: Pairs, scores: Scores, cfg: PreferConfig) -> Preference:
    """Chosen within rho of the top, rejected within rho of the bottom, and the lengths opposed."""
    top = max(scores[pair.chosen.id] for pair in pairs)
    bottom = min(scores[pair.rejected.id] for pair in pairs)
    near = cfg.rho * (top - bottom) + 1e-9
    mine = [pair for pair in pairs if scores[pair.chosen.id] >= top - near]
    mine = [pair for pair in mine if scores[pair.rejected.id] <= bottom + near]
    return min(
        mine or _of_the_best(pairs, scores),
        key=lambda pair: (len(pair.chosen.text), -len(pair.rejected.text), pair.id),
    )


RULES: Final[dict[str, Callable[[Pairs, Scores, PreferConfig], Preference]]] = {
    "best_vs_worst": best_vs_worst,
    "best_vs_random_lower": best_vs_random_lower,
    "worst_of_5": worst_of_5,
    "rho": rho,
    "west_of_n": best_vs_worst,
}
"""Each takes the pairs in a random order, which follows from the seed and the prompt."""


def _of_the_best(pairs: Pairs, scores: Scores) -> list[Preference]:
    """The pairs of the best completion that won any: all the choices there are for its rejected."""
    top = max(scores[pair.chosen.id] for pair in pairs)
    best = shortest(pair.chosen for pair in pairs if scores[pair.chosen.id] == top)
    return [pair for pair in pairs if pair.chosen.id == best.id]


def _worst(pairs: Pairs, scores: Scores) -> Preference:
    return min(pairs, key=lambda pair: (scores[pair.rejected.id], pair.rejected.id))


def shortest(completions: Iterable[Completion]) -> Completion:
    """How ties for the best are broken."""
    return min(completions, key=lambda c: (len(c.text), c.id))


def is_refusal(text: str) -> bool:
    """Whether an answer opens by declining: by its first words, in English only. An apology counts too."""
    return _REFUSAL.match(text[:240]) is not None


def near_duplicates(one: str, other: str, threshold: float) -> bool:
    """Whether two texts share at least this part of their word triples (Jaccard, as in Broder 1997).

    At 1.0 they have equal words. Texts with different numbers are never near-duplicates.
    """
    short, long = sorted((len(one), len(other)))
    if short < threshold * long * 0.8:  # cannot share so much; spares most pairs the counting
        return False
    if threshold >= 1.0:
        return all(word == its for word, its in zip_longest(words_of(one), words_of(other)))
    both = [list(words_of(text)) for text in (one, other)]
    numbers, others = ([word for word in words if any(c.isdigit() for c in word)] for words in both)
    if numbers != others:
        return False
    mine, its = ({tuple(words[i : i + 3]) for i in range(max(len(words) - 2, 1))} for words in both)
    return len(mine & its) >= threshold * len(mine | its)
