"""A policy compared with the initial one on held-out prompts, by a judge that had no part in the training.

The first answers of both meet in both orders: equal answers count a half, an unread verdict counts as
nothing, and is counted. All answers together say how varied they are. At the end of the file, a loop's folder
as the audits read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from ...completions.load import same_words
from ...errors import SettingError
from ...records import Completion, Matchup, Prompt
from ...run import read_records
from ...stats.intervals import clustered_share, mean, weighted_mean
from ..lines import Share

V = TypeVar("V")

if TYPE_CHECKING:
    from ...audits.diversity import Generation
    from ...audits.overoptimisation import Checkpoint
    from ...audits.sheet import Sheet


class HeldOutRow(Struct, frozen=True):
    """A held-out prompt with the answers of both policies: a line of `held_out.jsonl`."""

    prompt: Prompt
    new: tuple[Completion, ...]
    old: tuple[Completion, ...] = ()
    """Those of the initial policy."""
    p: float | None = None
    """Probability that the new policy's first answer is better."""


class Comparison(Struct, frozen=True, omit_defaults=True):
    """What a comparison came to. None: not measured."""

    win_rate: float | None = None
    """Mean probability that the new policy's answer is better; equal answers count a half."""
    se: float = 0.0
    """Its standard error, with the prompt as the unit: the interval is cut off at 0 and 1."""
    low: float = 0.0
    high: float = 1.0
    """Its 95% interval."""
    n: int = 0
    unread: int = 0
    """Prompts on which the judge gave nothing usable; they are not among the n."""
    words: float = 0.0
    """Mean length of the new policy's first answers, and of the initial policy's."""
    words_before: float = 0.0
    at_equal_length: float | None = None
    """The win rate between answers of equal length, see `audits.win_rates`; not measured in the first two
    rounds, since it takes two others to tell how hard each prompt is."""
    distinct: float | None = None
    """Different pairs of neighbouring words, among as many pairs of both policies."""
    distinct_before: float | None = None
    unique: float | None = None
    """Different answers among as many of both policies to the same prompt."""
    unique_before: float | None = None
    flips: Share | None = None
    """Of the prompts, those on which the judge followed the position and not the answer."""
    kl: float | None = None
    """KL(new policy | initial policy), in nats a completion."""
    seconds: float = 0.0


class Facts(Struct, frozen=True, omit_defaults=True):
    """What a round came to: a line of `rounds.jsonl`."""

    round: int
    policy: str
    """Folder of the policy the round ended with."""
    policy_hash: str = ""
    real_share: float = 0.0
    """Of the rows it was trained on, those that humans wrote."""
    missing: int = 0
    """How many more human rows the share would have taken that was wanted."""
    proxy: float | None = None
    """Mean score of its held-out answers by one scorer, the same in all rounds: the first round's reward
    model, or the judge where it scores single answers."""
    tied: float | None = None
    """Of the prompts with two answers or more that were read, the share on which all came out level."""
    flips: float | None = None
    """Of the matchups read in both orders, the share whose verdict followed the position."""
    agreement: Share | None = None
    """How often the loop's judge labelled a pair as `compare.judge` did."""
    compared: Comparison = Comparison()
    """With the initial policy."""
    usd: float = 0.0
    seconds: float = 0.0


def with_verdict(row: HeldOutRow, ps: Mapping[tuple[str, str], float]) -> HeldOutRow:
    """The row with p, from those of pairs of ids, the lesser first."""
    if not row.new or not row.old:
        return row
    new, old = row.new[0], row.old[0]
    if same_words(new.text, old.text):
        return replace(row, p=0.5)
    p = ps.get((min(new.id, old.id), max(new.id, old.id)))
    return replace(row, p=1 - p if p is not None and new.id > old.id else p)


def comparison_of(
    rows: Sequence[HeldOutRow], earlier: Sequence[Sequence[HeldOutRow]] = (), *, judged: bool = True
) -> Comparison:
    """The win rate with its interval over prompts, and how varied the answers of both policies are; `earlier`
    are the rows of other rounds on the same prompts."""
    varied: dict[str, Any] = diversity_of(rows)
    if not judged:
        return Comparison(**varied)
    met = [(row.p, row.new[0].text, row.old[0].text) for row in rows if row.p is not None]
    if not met:
        raise SettingError(
            "the judge that compares policies gave nothing usable on any held-out prompt."
            " Try another with: --compare.judge JUDGE, or set: --compare.judge ''"
        )
    p, new, old = zip(*met, strict=True)
    prompts = np.arange(len(p))
    value, low, high, n = clustered_share(np.array(p), prompts)
    return Comparison(
        win_rate=value,
        se=max(weighted_mean(np.array(p), prompts)[1], 0.5 / n),  # a few equal verdicts are not certain
        low=low,
        high=high,
        n=n,
        unread=len(rows) - n,
        words=mean(len(text.split()) for text in new),
        words_before=mean(len(text.split()) for text in old),
        at_equal_length=at_equal_length([rows, *earlier]),
        **varied,
    )


def at_equal_length(rounds: Sequence[Sequence[HeldOutRow]]) -> float | None:
    """The win rate of the first of these rounds between answers of equal length."""
    from ...audits.win_rates import AgainstBaseline, fit_win_rates

    read = [[row for row in rows if row.p is not None] for rows in rounds]
    met = [(policy, row) for policy, rows in enumerate(filter(None, read)) for row in rows]
    place = {prompt: i for i, prompt in enumerate(dict.fromkeys(row.prompt.id for _, row in met))}
    against = AgainstBaseline(
        np.array([row.p for _, row in met]),
        np.array([float(len(row.new[0].text) - len(row.old[0].text)) for _, row in met]),
        np.array([policy for policy, _ in met]),
        np.array([place[row.prompt.id] for _, row in met]),
    )
    rate = fit_win_rates(against)[0]
    return rate.controlled.value if rate.controlled else None


def diversity_of(rows: Sequence[HeldOutRow]) -> dict[str, float]:
    """How varied the answers of both policies are at equal amounts, as in `audits.diversity`."""
    from ...audits.diversity import AMONG, Generation, match, unique, word_pairs

    new = {row.prompt.id: [one.text for one in row.new] for row in rows if row.new}
    # The initial policy is compared with itself.
    old = {row.prompt.id: [one.text for one in row.old] for row in rows if row.old} or new
    matched = match(Generation("", old), Generation("", new))
    pairs = [word_pairs(texts) for texts in matched.cut]
    among, everywhere = min(AMONG, *map(len, pairs)), np.ones(matched.prompts, dtype=bool)
    found: dict[str, float] = {}
    for end, texts, said in zip(("_before", ""), matched.whole, pairs, strict=True):
        if among:
            found[f"distinct{end}"] = said.distinct(everywhere, among)
        if matched.k > 1:
            found[f"unique{end}"] = mean(unique(texts))
    return found


def generations(folder: Path) -> list[Generation]:
    """The answers of the initial policy, where there are some, then of each round's."""
    from ...audits.diversity import Generation

    found = []
    for one in (Facts(0, ""), *read_rounds(folder)):
        rows = read_held_out(folder, one.round)
        if texts := {row.prompt.id: [text.text for text in row.new] for row in rows if row.new}:
            name = f"round {one.round}" if one.round else "the initial policy"
            found.append(Generation(name, texts, one.round, 1 - one.real_share if one.round else 0.0))
    return found


def checkpoints(folder: Path, facts: Sequence[Facts] | None = None) -> list[Checkpoint]:
    """The rounds that were compared with the initial policy, with their verdicts."""
    found = []
    for one in read_rounds(folder) if facts is None else facts:
        rows = read_held_out(folder, one.round)
        found.append(checkpoint_of(one, {row.prompt.id: row.p for row in rows if row.p is not None}))
    return [one for one in found if one is not None]


def checkpoint_of(one: Facts, by_prompt: Mapping[str, float] | None = None) -> Checkpoint | None:
    """A round as a step away from the initial policy; None where it was not compared with it."""
    from ...audits.overoptimisation import Checkpoint

    found, name = one.compared, f"round {one.round}"
    if found.win_rate is None or found.kl is None:
        return None
    return Checkpoint(name, found.kl, found.win_rate, found.se, found.n, one.proxy, by_prompt or {})


def comparisons(folder: Path) -> Sheet:
    """The verdicts of `compare.judge` about each round's answers beside the initial policy's."""
    from ...audits.collect import Collector, VerdictRow

    collector = Collector()
    for one in read_rounds(folder):
        for row in read_held_out(folder, one.round):
            if row.p is None:
                continue
            old = Completion.of(row.prompt.id, row.old[0].text, "start")
            new = Completion.of(row.prompt.id, row.new[0].text, f"round {one.round}")
            name = Matchup.of(row.prompt, old, new).id
            said = VerdictRow("the outside judge", name, old.id, new.id, p_first=1 - row.p)
            collector.add(row.prompt, (old, new), ((name, old.id, new.id),), (said,))
    return collector.sheet()


def read_rounds(folder: Path) -> list[Facts]:
    return read_there(folder / "rounds.jsonl", Facts)


def read_held_out(folder: Path, number: int, name: str = "held_out") -> list[HeldOutRow]:
    return read_there(folder / f"round-{number}" / f"{name}.jsonl", HeldOutRow)


def read_there(file: Path, kind: type[V]) -> list[V]:
    """The records of a file, if there is one."""
    return [*read_records(file, kind)] if file.exists() else []
