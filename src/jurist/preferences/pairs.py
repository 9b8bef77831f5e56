"""From opinions to preferences.

Every opinion ends as a preference or as a dropped row with its reason. Only pairs that a judge was asked
about become preferences, so each has its evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from msgspec.structs import replace

from ..completions.matchups import same_words
from ..records import Completion, Dropped, Preference, Prompt, content_id
from ..verdicts.settle import Opinion
from .hygiene import is_refusal, is_truncated, near_duplicates
from .ranking import length_terms, strengths, without_length
from .rules import RULES, Compared
from .settings import PreferConfig

__all__ = ["PreferConfig", "choose"]


def choose(
    prompt: Prompt,
    completions: Sequence[Completion],
    opinions: Sequence[Opinion],
    cfg: PreferConfig,
) -> tuple[list[Preference], list[Dropped]]:
    """The preferences of one prompt. Preferences and dropped rows together are as many as the opinions."""
    known = {c.id: c for c in completions}
    read, dropped = readable(opinions, known)
    if not read:
        return [], dropped
    turned = {opinion.matchup_id for opinion in read if opinion.flipped}  # before p is touched
    read = weighed(read, completions, cfg.length_penalty)
    worth = ranked(read)
    pairs: list[Compared] = []
    for opinion in read:
        pair = _told(opinion, known, worth, opinion.matchup_id in turned, cfg)
        if reason := _reason_to_drop(pair, cfg):
            dropped.append(_drop(pair, reason))
        else:
            pairs.append(pair)
    kept, left = _selected(pairs, worth, prompt.id, cfg)
    return [_preference(prompt, pair, cfg.rule) for pair in kept], dropped + left


def readable(
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


def weighed(
    opinions: Sequence[Opinion], completions: Sequence[Completion], penalty: float = 0.0
) -> list[Opinion]:
    """The opinions after the length penalty."""
    terms = length_terms(completions) if penalty else {}
    return [without_length(opinion, terms, penalty) for opinion in opinions]


def ranked(opinions: Sequence[Opinion]) -> dict[str, float]:
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


def _told(
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


def _selected(
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
    taken, tied = RULES[cfg.rule](agreeing, worth, cfg, lambda name: _lot(cfg.seed or 0, prompt_id, name))
    left += [_drop(pair, "not_selected") for pair in agreeing if pair is not taken]
    if cfg.rule == "west_of_n" and taken.p < cfg.sure:
        return [], [*left, _drop(taken, "below_threshold", f"p = {taken.p:.3f}")]
    return [replace(taken, flags=(*taken.flags, "tie_broken")) if tied else taken], left


def _lot(seed: int, prompt_id: str, name: str) -> bytes:
    return blake2b(f"lot {seed} {prompt_id} {name}".encode(), digest_size=8).digest()


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
