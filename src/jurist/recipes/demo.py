"""The first thing a newcomer runs: all of RLAIF in a world small enough to know what is truly better.

A tiny assistant writes answers; an AI judge with faults compares them in both orders; from its labels one
policy learns by PPO with a reward model, another by DPO. Both are compared with the assistant by the truth,
beside policies that learnt nothing. It is a loop of one round, so a demo that was stopped goes on. What the
page and the terminal show is read back from the loop's folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from textwrap import shorten
from typing import Final

from markupsafe import Markup
from msgspec import Struct

from ..audits.finding import Chart, Point, Series, Unit
from ..audits.report.charts import draw_chart
from ..audits.report.page import templates
from ..config import load_settings
from ..records import Preference
from ..run import read_json, read_records, write_whole
from ..stats.intervals import mean
from ..tiny.answers import null_wins, won
from ..tiny.model import one_thread
from ..tiny.world import SLOTS, substance, true_score, understood
from .catalogue import shipped_file
from .lines import Share, named, share, table
from .loop.compare import Comparison, HeldOutRow, read_held_out
from .loop.folder import LoopRun, OnLoopProgress
from .loop.labels import LabelledRun, preferences_of
from .loop.rounds import Round, Trained
from .rlaif import RlaifConfig
from .summary import Summary

LEARNERS: Final = ("ppo", "dpo")
NAMES: Final = {"initial": "initial policy", "ppo": "PPO", "dpo": "DPO"}
MEASURES: Final[dict[str, tuple[bool, str]]] = {
    "true score": (True, "{:.2f}"),
    **{f"good answers, {domain}": (True, "{:.1%}") for domain in SLOTS},
    "words an answer": (False, "{:.1f}"),
    "different answers to a prompt": (True, "{:.1%}"),
    "distinct word pairs": (True, "{:.3f}"),
    "KL to the initial policy": (False, "{:.2f}"),
}
"""What is measured of a policy: whether more of it is better, and how it is written."""
NOTICED: Final = 0.03
"""A smaller change, of a share or relative to what it was, is not called one."""
CURVES: Final = {
    "ppo": {"reward": "reward", "kl_sequence": "KL to the initial policy, nats an answer"},
    "dpo": {"loss": "loss", "accuracy": "labels it agrees with"},
}
STAGES: Final = {
    "assistant": ("assistant",),
    "labels": ("label",),
    "reward model": ("reward_model",),
    **{name: (name,) for name in LEARNERS},
    "comparison": tuple(
        f"{step}-{name}" for step in ("held_out", "compare", "comparison") for name in LEARNERS
    ),
}
UNKNOWN_SHARE: Final = Share(0.5, 0.0, 1.0, 0)


class Demo(Struct, frozen=True):
    """Kept as `summary.json`."""

    run: str
    report: str
    prompts: int
    held_out: int
    matchups: int
    labels: int
    judge: dict[str, Share]
    """`flips`: pairs whose verdict followed the position; `first`: verdicts for it; `correct`: labels."""
    wins: dict[str, Share]
    """How often an answer is truly better than the initial policy's; for that one, its second answer."""
    nulls: dict[str, Share]
    """The same of policies that learnt nothing: the best of each kind, best first."""
    measures: dict[str, dict[str, float]]
    samples: dict[str, dict[str, str]]
    """By prompt, the first held-out one of each domain, what each policy wrote: nothing is picked."""
    curves: dict[str, dict[str, list[float]]]
    calls: int
    usd: float
    seconds: dict[str, float]
    """By stage."""

    def changes(self, policy: str, for_the_better: bool) -> list[str]:
        """What got better than in the initial policy, or worse."""
        found = []
        for name, (more_is_better, form) in MEASURES.items():
            before, after = self.measures["initial"][name], self.measures[policy][name]
            noticed = abs(after - before) > NOTICED * max(1.0, abs(before))
            if noticed and for_the_better == ((after > before) == more_is_better):
                found.append(f"{name}: {form.format(before)} to {form.format(after)}")
        return found

    def lines(self) -> Iterator[str]:
        judge = f"{self.matchups:,} pairs in both orders: flips {self.judge['flips']},"
        first = f"verdicts for the first position {self.judge['first']}"
        labels = f"{self.labels:,}, correct {self.judge['correct']}"
        yield from named([("judge", judge), (" ", first), ("labels", labels)])
        yield ""
        rows = [("policy", "true win rate against the initial policy")]
        rows += [(NAMES[name], str(rate)) for name, rate in self.wins.items()]
        rows += [(f"null, {shorten(name, 50)}", str(rate)) for name, rate in [*self.nulls.items()][:3]]
        yield from table(rows)
        yield ""
        for name in LEARNERS:
            for title, better in (("better", True), ("worse", False)):
                changes = "; ".join(self.changes(name, better)) or "nothing"
                yield from named([(f"{NAMES[name]} {title}", changes)], 12)
        for prompt, answers in self.samples.items():
            yield f"\n{prompt}"
            for name, text in answers.items():
                yield f"  {NAMES[name]:<15} {shorten(text, 64, placeholder=' ...')}"
        spent = ", ".join(f"{stage} {took:.1f} s" for stage, took in self.seconds.items())
        yield f"\ntime     {spent}; in all {sum(self.seconds.values()):.1f} s"
        yield f"cost     {self.calls:,} calls, ${self.usd:.2f}"
        yield f"report   {self.report}"
        yield f"next     jurist audit {quote(self.run)} && jurist init rlaif && jurist run rlaif.yaml"


def demo_settings(out: Path) -> RlaifConfig:
    return load_settings(RlaifConfig, shipped_file("rlaif"), out=str(out))


def demo(cfg: RlaifConfig, on_progress: OnLoopProgress | None = None) -> Demo:
    """One round, with two ways to learn from it."""
    with LoopRun(cfg, on_progress) as loop, one_thread():
        round = Round(loop, 1)
        loop.once(1, "assistant", Trained, lambda: Trained(loop.checkpoint(), ""))
        initial = loop.checkpoint()
        Round(loop, 0).compare(initial, initial)
        labelled = round.label(initial, cfg.judge)
        pairs = preferences_of(labelled, cfg.stop.flips)
        reward = round.train(cfg.reward_model, initial, pairs, "reward_model")
        ppo = round.reinforce(cfg, initial, initial, reward, step="ppo")
        dpo = round.train(cfg.dpo, initial, pairs, "dpo", reference=initial)
        for name, made in zip(LEARNERS, (ppo, dpo), strict=True):
            round.compare(made.folder, initial, f"-{name}")
        found = outcome_of(round)
        write_whole(loop.path / "report.html", demo_page(found).encode())
        loop.run.write_json("summary.json", found)
        return found


def outcome_of(of: Round) -> Demo:
    """Put together from what the steps left behind."""
    loop, steps = of.loop, of.path / "steps"
    rows = {"initial": read_held_out(loop.path, 0)}
    compared = {"initial": read_json(loop.folder(0) / "steps" / "comparison.json", Comparison)}
    for name in LEARNERS:
        rows[name] = read_held_out(loop.path, of.number, f"held_out-{name}")
        compared[name] = read_json(steps / f"comparison-{name}.json", Comparison)
    requests = [_request(row) for row in rows["initial"]]
    texts = {name: [[one.text for one in row.new] for row in some] for name, some in rows.items()}
    # Every sample meets every sample of the initial policy: one draw of it would decide too much.
    initial = texts["initial"]
    halves = [some[::2] for some in initial], [some[1::2] for some in initial]
    met = {"initial": halves, **{name: (texts[name], initial) for name in LEARNERS}}
    nulls = null_wins(
        (request, text, [one for one in some if one is not text])
        for request, some in zip(requests, initial, strict=True)
        for text in some
    )
    first_of = [[understood(request).domain for request in requests].index(domain) for domain in SLOTS]
    label = Path(read_json(steps / "label.json", LabelledRun).run)
    summary = read_json(label / "summary.json", Summary)
    labels = read_records(label / "preferences.jsonl", Preference)
    return Demo(
        run=str(loop.path),
        report=str(loop.path / "report.html"),
        prompts=len(loop.read_prompts("train")),
        held_out=len(requests),
        matchups=summary.matchups,
        labels=summary.labels,
        judge={
            "flips": summary.flip_rate or UNKNOWN_SHARE,
            "first": summary.first_share or UNKNOWN_SHARE,
            "correct": _win_rate((_request(one), [one.chosen.text], [one.rejected.text]) for one in labels),
        },
        wins={name: _win_rate(zip(requests, *both, strict=True)) for name, both in met.items()},
        nulls=_best_of_each_kind(nulls, len(requests)),
        measures={name: _measures(requests, some, compared[name]) for name, some in texts.items()},
        samples={requests[at]: {name: some[at][0] for name, some in texts.items()} for at in first_of},
        curves={step: _curves(of.path / step / "metrics.jsonl", names) for step, names in CURVES.items()},
        calls=len(loop.run.journal),
        usd=loop.usd,
        seconds={stage: round(sum(_took(steps, one) for one in some), 2) for stage, some in STAGES.items()},
    )


def _request(row: HeldOutRow | Preference) -> str:
    return row.prompt.messages[-1].content


def _measures(requests: Sequence[str], texts: Sequence[Sequence[str]], found: Comparison) -> dict[str, float]:
    answers = [(request, text) for request, some in zip(requests, texts, strict=True) for text in some]
    good = [
        mean(float(substance(*one) == 1) for one in answers if understood(one[0]).domain == domain)
        for domain in SLOTS
    ]
    words = mean(float(len(text.split())) for _, text in answers)
    score = mean(true_score(*one) for one in answers)
    values = (score, *good, words, found.unique or 0.0, found.distinct or 0.0, found.kl or 0.0)
    return {name: round(value, 4) for name, value in zip(MEASURES, values, strict=True)}


def _win_rate(rows: Iterable[tuple[str, Sequence[str], Sequence[str]]]) -> Share:
    """How often an answer is truly better than one to the same request, all with all."""
    wins = [
        mean(won(true_score(request, one) - true_score(request, other)) for one in ours for other in theirs)
        for request, ours, theirs in rows
    ]
    return share(sum(wins), len(wins)) or UNKNOWN_SHARE


def _best_of_each_kind(nulls: dict[str, list[float]], requests: int) -> dict[str, Share]:
    rates = sorted(((mean(wins), name) for name, wins in nulls.items() if name != "untrained"), reverse=True)
    best: dict[str, tuple[str, Share]] = {}
    for rate, name in rates:
        kind = name.partition(":")[0]
        best.setdefault(kind, (name, share(rate * requests, requests) or UNKNOWN_SHARE))
    return dict(best.values())


def _curves(metrics: Path, names: dict[str, str]) -> dict[str, list[float]]:
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return {title: [line[name] for line in lines if "of" not in line] for name, title in names.items()}


def _took(steps: Path, step: str) -> float:
    return float(json.loads((steps / f"{step}.json").read_text()).get("seconds", 0.0))


def demo_page(found: Demo) -> str:
    """A file that needs nothing beside it, for any width, in the dark, and on paper. Texts are escaped."""
    environment = templates(Path(__file__).parent)
    environment.filters |= {"percent": "{:.1%}".format, "bars": _bars, "curve": _curve}
    return environment.get_template("demo.html.jinja").render(
        found=found,
        names=NAMES,
        measures=MEASURES,
        wins={NAMES[name]: rate for name, rate in found.wins.items()},
        seconds={NAMES.get(stage, stage): took for stage, took in found.seconds.items()},
        label=f"{found.run}/round-1/label",
    )


def _bars(
    shares: Mapping[str, Share | float], title: str, mark: float | None = None, marked: str = ""
) -> Markup:
    points = tuple(
        Point(name, one) if isinstance(one, float) else Point(name, one.value, one.low, one.high, one.n)
        for name, one in shares.items()
    )
    unit: Unit = "seconds" if any(isinstance(one, float) for one in shares.values()) else "share"
    return draw_chart(Chart("bars", title, (Series("", points),), unit=unit, mark=mark, marked=marked))


def _curve(values: Sequence[float], title: str) -> Markup:
    points = tuple(Point(step, value) for step, value in enumerate(values, 1))
    return draw_chart(Chart("lines", title, (Series("", points),), "step", unit="number"))
