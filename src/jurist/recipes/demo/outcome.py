"""What the demo came to: everything the page and the terminal show, read back from the loop's folder."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from textwrap import shorten
from typing import Any, Final

from msgspec import Struct

from ...errors import RunError
from ...records import Completion, Preference
from ...run import read_json, read_records
from ...stats.intervals import mean
from ...tiny.world import domain_of, substance, true_score
from ..lines import Share, named, share, table
from ..loop.compare import Comparison, HeldOutRow, read_held_out
from ..loop.labels import Labelled
from ..loop.round import Round
from ..summary import Summary

START: Final = "start"
LEARNERS: Final = ("ppo", "dpo")
NAMES: Final = {START: "start", "ppo": "PPO", "dpo": "DPO"}
DOMAINS: Final = ("sums", "wishes", "talk", "doses")
SHOWN: Final = DOMAINS[:3]
"""In the fourth, doses, even a good judge cannot tell what is right: nothing is to be learnt there."""


class Judged(Struct, frozen=True):
    """The AI judge, and what it is worth."""

    matchups: int
    labels: int
    flip_rate: Share
    """Matchups on which the verdict followed the position."""
    first_share: Share
    """Verdicts for the first position, of all."""
    right: Share
    """Labels whose chosen answer is truly better."""


class Learner(Struct, frozen=True):
    """A policy on held-out prompts."""

    true_win: Share
    """How often its answer is truly better than the start's; for the start, its second than its first."""
    true_score: float
    good: dict[str, float]
    """Share of its answers that are right, harmless and to the point, by domain."""
    words: float
    distinct: float
    unique: float
    kl: float = 0.0
    """Nats a completion, to the start."""


class Example(Struct, frozen=True):
    """One prompt, with what each policy wrote."""

    domain: str
    prompt: str
    answers: dict[str, str]


class Curve(Struct, frozen=True):
    """What a training wrote down at each step."""

    name: str
    values: list[float]


class Demo(Struct, frozen=True):
    """Kept as `summary.json`."""

    run: str
    report: str
    prompts: int
    held_out: int
    judge: Judged
    policies: dict[str, Learner]
    examples: list[Example]
    """The first held-out prompt of each domain: nothing is picked."""
    curves: dict[str, list[Curve]]
    calls: int
    usd: float
    seconds: dict[str, float]
    """By stage."""

    def lines(self) -> Iterator[str]:
        judge = self.judge
        rows = [
            ("judge", f"{judge.matchups:,} pairs in both orders: flips {judge.flip_rate},"),
            (" ", f"verdicts for the first position {judge.first_share}"),
            ("labels", f"{judge.labels:,}, correct {judge.right}"),
        ]
        yield from named(rows)
        yield ""
        heads = ("policy", "true win rate against initial policy", "true score", "KL", "words", "different")
        cells = []
        for name, one in self.policies.items():
            numbers = (f"{one.true_score:.2f}", f"{one.kl:.2f}", f"{one.words:.1f}", f"{one.unique:.1%}")
            cells.append((NAMES[name], str(one.true_win), *numbers))
        yield from table([heads, *cells])
        for example in self.examples:
            yield f"\n{example.prompt}"
            for name, text in example.answers.items():
                yield f"  {NAMES[name]:<6} {shorten(text, 64, placeholder=' ...')}"
        spent = ", ".join(f"{stage} {took:.1f} s" for stage, took in self.seconds.items())
        yield ""
        yield f"time     {spent}; in all {sum(self.seconds.values()):.1f} s"
        yield f"cost     {self.calls:,} calls, ${self.usd:.2f}"
        yield f"report   {self.report}"
        yield f"next     jurist audit {quote(self.run)} && jurist init rlaif && jurist run rlaif.yaml"


def come_to(of: Round) -> Demo:
    """Put together from what the steps left behind."""
    rows = {name: _rows(of, name) for name in (START, *LEARNERS)}
    compared = {name: _step(of, f"comparison-{name}", Comparison) for name in LEARNERS}
    compared[START] = read_json(of.loop.folder(0) / "steps" / "comparison.json", Comparison)
    loop = of.loop
    return Demo(
        run=str(loop.path),
        report=str(loop.path / "report.html"),
        prompts=len(loop.read_prompts("train")),
        held_out=len(loop.read_prompts("held_out")),
        judge=_judged(_step(of, "label", Labelled)),
        policies={name: _learner(name, rows[name], compared[name]) for name in rows},
        examples=_examples(rows),
        curves={
            "ppo": _curves(of, "ppo", ("reward", "kl_sequence")),
            "dpo": _curves(of, "dpo", ("loss", "right")),
        },
        calls=len(loop.run.journal),
        usd=of.loop.usd,
        seconds=_seconds(of),
    )


def _rows(of: Round, name: str) -> list[HeldOutRow]:
    if name == START:
        return read_held_out(of.loop.path, 0)
    return read_held_out(of.loop.path, of.number, f"held_out-{name}")


def _step(of: Round, step: str, kind: type[Any]) -> Any:
    return read_json(of.path / "steps" / f"{step}.json", kind)


def _judged(labelled: Labelled) -> Judged:
    run = Path(labelled.run)
    summary = read_json(run / "summary.json", Summary)
    pairs = list(read_records(run / "preferences.jsonl", Preference))
    right = sum(truly(one.prompt.messages[-1].content, one.chosen, one.rejected) for one in pairs)
    return Judged(
        matchups=summary.matchups,
        labels=summary.labels,
        flip_rate=_some(summary.flip_rate),
        first_share=_some(summary.first_share),
        right=_some(share(right, len(pairs))),
    )


def truly(request: str, one: Completion, other: Completion) -> float:
    """Whether one answer is truly better than the other; equally good ones count a half."""
    gap = true_score(request, one.text) - true_score(request, other.text)
    return 0.5 if abs(gap) < 1e-9 else float(gap > 0)


def _learner(name: str, rows: Sequence[HeldOutRow], found: Comparison) -> Learner:
    answers = [(row.prompt.messages[-1].content, one) for row in rows for one in row.new]
    good: dict[str, list[bool]] = {domain: [] for domain in DOMAINS}
    for request, one in answers:
        good[domain_of(request)].append(substance(request, one.text) > 0)
    return Learner(
        true_win=_first_draws(rows) if name == START else _won(found),
        true_score=round(mean(true_score(request, one.text) for request, one in answers), 4),
        good={domain: round(mean(map(float, hits)), 4) for domain, hits in good.items()},
        words=round(mean(len(one.text.split()) for _, one in answers), 2),
        distinct=round(found.distinct or 0.0, 4),
        unique=round(found.unique or 0.0, 4),
        kl=round(found.kl or 0.0, 4),
    )


def _first_draws(rows: Sequence[HeldOutRow]) -> Share:
    """The start's second answers beside its first: what chance alone gives."""
    won = [truly(row.prompt.messages[-1].content, row.new[1], row.new[0]) for row in rows]
    return _some(share(sum(won), len(won)))


def _won(found: Comparison) -> Share:
    if found.win_rate is None:
        raise RunError("the demo compares policies, and its settings name nobody to do so: --compare.judge")
    return Share(round(found.win_rate, 4), round(found.low, 4), round(found.high, 4), found.n)


def _some(found: Share | None) -> Share:
    return found or Share(math.nan, 0.0, 1.0, 0)


def _examples(rows: dict[str, list[HeldOutRow]]) -> list[Example]:
    found = []
    for domain in SHOWN:
        at = next(n for n, row in enumerate(rows[START]) if row.prompt.domain == domain)
        answers = {name: some[at].new[0].text for name, some in rows.items()}
        found.append(Example(domain, rows[START][at].prompt.messages[-1].content, answers))
    return found


def _curves(of: Round, step: str, names: Sequence[str]) -> list[Curve]:
    lines = [json.loads(line) for line in (of.path / step / "metrics.jsonl").read_text().splitlines()]
    return [Curve(name, [line[name] for line in lines if "of" not in line]) for name in names]


STAGES: Final = {
    "assistant": ("assistant",),
    "labels": ("label",),
    "reward model": ("reward_model",),
    "ppo": ("ppo",),
    "dpo": ("dpo",),
    "comparison": tuple(
        f"{step}-{name}" for name in LEARNERS for step in ("held_out", "compare", "comparison")
    ),
}


def _seconds(of: Round) -> dict[str, float]:
    def took(step: str) -> float:
        return float(json.loads((of.path / "steps" / f"{step}.json").read_text()).get("seconds", 0.0))

    return {stage: float(f"{sum(map(took, steps)):.2f}") for stage, steps in STAGES.items()}
