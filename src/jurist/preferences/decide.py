"""From the verdicts of a run to its preferences. No model is asked: change a setting and decide again.

`learn` reads the run and learns what labels and swapped positions teach about its judges. Then, prompt by
prompt, `opinions_by_matchup` settles what each judge said, `combine_opinions` makes one opinion of several,
and `choose` picks the pairs to train on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Final, Literal

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from ..records import Dropped, IdSet, Matchup, Preference, Verdict, is_label
from ..run import Run, read_json, read_records
from ..stats.fits import Array, expit, log_odds
from ..verdicts.calibrate import (
    Calibration,
    PositionBias,
    calibrate,
    debias,
    fit_calibration,
    fit_position_biases,
)
from ..verdicts.cases import Case, read_cases
from ..verdicts.human import LabelIndex, load_weighted
from ..verdicts.jury import (
    Agreement,
    Labelled,
    LabelTable,
    Weights,
    combine,
    fit_jury,
    measure_agreement,
    measure_agreements,
)
from ..verdicts.settings import JuryConfig
from ..verdicts.settle import Opinion, ScoreScale, settle, settle_scores
from . import PreferConfig
from .pairs import STAGE, choose

FEWEST_LABELS: Final = 30
"""Labels from which a temperature is learnt, and a judge refused: with fewer, chance decides."""
POOR: Final = 0.6
"""Agreement with humans below which there is a warning."""
JURY: Final = "jury"


class JudgeCounts(Struct):
    """What one judge was asked, and what came back."""

    verdicts: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    """Verdicts without a usable answer, by reason."""
    forced: int = 0
    decided: int = 0
    """Verdicts that name one side."""
    first_position: int = 0
    asked_both: int = 0
    """Matchups asked in both orders."""
    read_both: int = 0
    flipped: int = 0
    usd: float = 0.0


class Counts(Struct):
    """What a labelling run came to. Fed prompt by prompt; takes the same memory for any number of them."""

    prompts: int = 0
    completions: int = 0
    matchups: int = 0
    judges: dict[str, JudgeCounts] = field(default_factory=dict)
    agreement: dict[str, dict[str, Agreement]] = field(default_factory=dict)
    """With `human` labels and with `file` labels, of each judge and of the jury."""
    labels: Counter[str] = field(default_factory=Counter)
    """Labels that came with the rows, by annotator."""
    preferences: int = 0
    longer_chosen: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    """By stage and reason, e.g. `preferences: tie`."""

    def add(self, case: Case, opinions: Iterable[tuple[Matchup, Sequence[Opinion]]] = ()) -> None:
        """One prompt, and what each judge's verdicts on its matchups come to."""
        self.prompts += 1
        self.completions += len(case.completions)
        self.matchups += len(case.matchups)
        orders: dict[tuple[str, str], set[str]] = {}
        for verdict in case.verdicts:
            if is_label(verdict.judge):
                self.labels[verdict.judge] += 1
                continue
            judge = self.judges.setdefault(verdict.judge, JudgeCounts())
            judge.verdicts += 1
            judge.forced += verdict.forced
            judge.usd += verdict.cost
            if verdict.unread:
                judge.unread[verdict.unread] += 1
            elif verdict.p_first not in (None, 0.5):
                judge.decided += 1
                judge.first_position += (verdict.p_first or 0.0) > 0.5
            if verdict.matchup_id:
                orders.setdefault((verdict.judge, verdict.matchup_id), set()).add(verdict.order)
        for (name, _), asked in orders.items():
            self.judges[name].asked_both += len(asked) == 2
        for opinion in (one for _, each in opinions for one in each):
            self.judges[opinion.judge].read_both += opinion.position_gap is not None
            self.judges[opinion.judge].flipped += opinion.flipped

    def preference(self, preference: Preference) -> None:
        self.preferences += 1
        self.longer_chosen += len(preference.chosen.text) > len(preference.rejected.text)
        self.flags.update(preference.flags)

    def drop(self, row: Dropped) -> None:
        self.dropped[row.kind] += 1

    def total(self) -> JudgeCounts:
        """All judges together."""
        found = JudgeCounts()
        for one in self.judges.values():
            found.unread.update(one.unread)
            for name in JudgeCounts.__struct_fields__:
                if name != "unread":
                    setattr(found, name, getattr(found, name) + getattr(one, name))
        return found


class JudgeInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """What deciding has to know about a judge of the run; kept as `judges.json`."""

    name: str
    kind: Literal["pairwise", "pointwise"]
    both_orders: Literal["all", "some", "none"] = "all"
    clamp: tuple[float, float] | None = None
    scale: ScoreScale | None = None
    """Of its scores; None: the lowest and the highest that the run has."""


class Learnt(Struct, frozen=True):
    """What deciding had to learn first; kept in the run folder as `learnt.json`."""

    position_biases: dict[str, PositionBias] = {}
    scales: dict[str, tuple[float, float]] = {}
    """The lowest and the highest score of judges whose scale is not known."""
    calibrations: dict[str, Calibration] = {}
    weights: Weights | None = None
    labels: int = 0
    """Matchups with a label to learn from."""
    human_agreement: float | None = None
    """How often two humans who labelled the same matchup said the same."""
    agreement: dict[str, dict[str, Agreement]] = {}
    """With `human` labels and with `file` labels, of each judge and of the `jury`."""
    warnings: tuple[str, ...] = ()
    refused: str = ""
    """Why these preferences should not be exported, and what to do; empty where nothing speaks against it."""


def decide(
    run: Run, judges: Iterable[JudgeInfo], prefer: PreferConfig, jury: JuryConfig, labels: str | None
) -> tuple[Counts, Learnt]:
    """Write `preferences.jsonl`, and each matchup that came to none into `dropped.jsonl` with its reason."""
    known = {judge.name: judge for judge in judges}
    learnt = learn(run.path, known, jury, labels)
    run.write_json("learnt.json", learnt)
    counts, labelled = Counts(agreement=learnt.agreement), IdSet()
    every_pair = replace(prefer, rule="all_pairs")
    with run.writing("preferences", "dropped") as files:

        def drop(row: Dropped) -> None:
            files["dropped"].add(row)
            counts.drop(row)

        before = run.file("dropped")
        for row in read_records(before, Dropped) if before.exists() else ():
            if row.stage != STAGE:
                drop(row)
        for case in read_cases(run.path):
            opinions = opinions_by_matchup(case, known, learnt)
            counts.add(case, opinions)
            # Another annotator's label on a pair that was decided already is no more data to train on.
            with_label = case.paired and any(is_label(one.judge) for one in case.verdicts)
            preferences: list[Preference] = []
            if with_label and any(not labelled.add(matchup.id) for matchup in case.matchups):
                dropped = [Dropped(one.id, STAGE, "duplicate") for one in case.matchups]
            else:
                joined = combine_opinions(opinions, learnt, jury)
                # Pairs that the user's file named are questions of their own: no rule picks among them.
                rule = every_pair if case.paired else prefer
                preferences, dropped = choose(case.prompt, case.completions, joined, rule)
            for preference in preferences:
                files["preferences"].add(preference)
                counts.preference(preference)
            for row in dropped:
                drop(row)
    return counts, learnt


def opinions_by_matchup(
    case: Case, known: Mapping[str, JudgeInfo], learnt: Learnt
) -> list[tuple[Matchup, list[Opinion]]]:
    """Each matchup with one opinion a judge, without position bias and not yet calibrated; without labels."""
    said: dict[tuple[str, str], list[Verdict]] = {}
    for verdict in case.verdicts:
        if not is_label(verdict.judge):
            said.setdefault((verdict.matchup_id, verdict.judge), []).append(verdict)
    judges = dict.fromkeys(name for _, name in said)
    found = []
    for matchup in case.matchups:
        opinions = []
        for name in judges:
            judge = known.get(name, JudgeInfo(name, "pairwise"))
            if verdicts := said.get((matchup.id, name)):
                bias = learnt.position_biases.get(name)
                corrects = {} if bias is None else {"debias": partial(debias, bias=bias)}
                opinions.append(settle(verdicts, matchup, clamp=judge.clamp, **corrects))
            elif verdicts := said.get(("", name)):
                scale = judge.scale or learnt.scales.get(name) or "logits"
                opinions.append(settle_scores(verdicts, matchup, scale))
        found.append((matchup, opinions))
    return found


def combine_opinions(
    by_matchup: Iterable[tuple[Matchup, Sequence[Opinion]]], learnt: Learnt, jury: JuryConfig
) -> list[Opinion]:
    """One opinion for each matchup, of those of its judges at their temperatures."""
    none, found = Calibration(""), []
    for matchup, opinions in by_matchup:
        each = [calibrate(one, learnt.calibrations.get(one.judge, none).temperature) for one in opinions]
        if len(each) > 1:
            found.append(combine(each, learnt.weights, jury))
        else:
            unasked = Opinion(matchup.id, matchup.first.id, matchup.second.id, unread="not_asked")
            found.append(each[0] if each else unasked)
    return found


def learn(folder: Path, known: Mapping[str, JudgeInfo], jury: JuryConfig, labels: str | None) -> Learnt:
    """What the run and its labels teach: `labels` is a file, or `given` for those in the rows.

    Agreement is measured with all labels there are; temperatures and weights are learnt from those named.
    """
    biases, scales, warnings = _learn_scales(folder, known)
    so_far = Learnt(position_biases=biases, scales=scales)
    table = LabelTable(known, count_patterns=len(known) > 1 and jury.combine == "dawid_skene")
    index = LabelIndex(load_weighted(labels) if labels not in (None, "given") else ())
    for case in read_cases(folder):
        own = LabelIndex(verdict for verdict in case.verdicts if is_label(verdict.judge))
        if own or index or table.counts_patterns:
            for matchup, opinions in opinions_by_matchup(case, known, so_far):
                found = [(label, labels == "given") for label in own.of(matchup)]
                named = index.weighted(matchup)
                weight = max((weight for _, weight in named), default=1.0)
                table.add(case.prompt.id, opinions, found + [(label, True) for label, _ in named], weight)
    seen = table.labelled()
    n = int((~np.isnan(seen.fit)).sum())
    if labels == "given" and not n:
        warnings.append("labels: given, but no row came with one")
    elif labels is not None and not n:
        warnings.append(f"none of the {len(index)} matchups labelled in {labels} is one of this run's")
    calibrations, seen = _learn_temperatures(seen, known)
    warnings += [one.warning for one in calibrations.values() if one.warning]
    leans = {judge: seen.p[:, j] - 0.5 for j, judge in enumerate(seen.judges)}
    weights = None
    if len(known) > 1 and (len(seen.p) or jury.combine not in ("mean", "vote")):
        weights, leans[JURY] = fit_jury(seen, jury, table.patterns)
        warnings += [weights.warning] if weights.warning else []
    refused, warning = _compare_with_humans(folder, seen, leans)
    return replace(
        so_far,
        calibrations=calibrations,
        weights=weights,
        labels=n,
        human_agreement=seen.human_agreement,
        agreement=measure_agreements(seen, leans),
        warnings=(*warnings, *([warning] if warning else [])),
        refused=refused or (weights.refused if weights else ""),
    )


def _learn_scales(
    folder: Path, known: Mapping[str, JudgeInfo]
) -> tuple[dict[str, PositionBias], dict[str, tuple[float, float]], list[str]]:
    """Position biases where only some matchups were asked in both orders, and scales that nobody named."""
    some = {name for name, one in known.items() if one.both_orders == "some"}
    unscaled = {name for name, one in known.items() if one.kind == "pointwise" and one.scale is None}
    scales: dict[str, tuple[float, float]] = {}

    def verdicts() -> Iterator[Verdict]:
        for case in read_cases(folder) if some or unscaled else ():
            for v in case.verdicts:
                if v.judge in unscaled and v.score is not None:
                    low, high = scales.get(v.judge, (v.score, v.score))
                    scales[v.judge] = min(low, v.score), max(high, v.score)
                elif v.judge in some:
                    yield v

    biases, warnings = fit_position_biases(verdicts())
    return biases, scales, warnings


def _learn_temperatures(
    seen: Labelled, known: Mapping[str, JudgeInfo]
) -> tuple[dict[str, Calibration], Labelled]:
    """The temperature of each judge with enough labels; and the judges at these temperatures."""
    found, p = {}, seen.p.copy()
    for j, judge in enumerate(seen.judges):
        rows = ~np.isnan(p[:, j]) & ~np.isnan(seen.fit)
        clamped = judge in known and known[judge].clamp is not None  # a temperature would let it out again
        if rows.sum() >= FEWEST_LABELS and not clamped:
            found[judge] = one = fit_calibration(judge, p[rows, j], seen.fit[rows], seen.prompt[rows])
            if one.temperature != 1.0:
                p[:, j] = expit(log_odds(p[:, j]) / one.temperature)
    return found, seen._replace(p=p)


def _compare_with_humans(run: Path, seen: Labelled, leans: Mapping[str, Array]) -> tuple[str, str]:
    """Why the judge, or the jury, is refused; and a warning where it is better than chance but poor."""
    who = JURY if JURY in leans else next(iter(leans), "")
    one = measure_agreement(leans[who], seen.human, seen.prompt, seen.weight, 0.9) if who else None
    if one is None:
        return "", ""
    found = f"{who} agrees with {one.accuracy:.1%} of {one.n} human labels"
    if one.n < FEWEST_LABELS:
        few = f"{found}: too few to tell whether that is better than chance"
        more = f"jurist spotcheck {quote(str(run))} -n 100 --out spot.jsonl"
        return "", f"{few}; label {FEWEST_LABELS} or more: {more}"
    if one.low <= 0.5:
        return f"{found}, no better than chance: use another judge, or export all the same: --force true", ""
    return "", f"{found}: little better than chance; use another judge" if one.accuracy < POOR else ""


def read_judges(folder: Path) -> list[JudgeInfo]:
    """The judges of a run, as they were when it was labelled."""
    path = folder / "judges.json"
    return read_json(path, list[JudgeInfo]) if path.exists() else []
