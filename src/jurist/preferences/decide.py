"""From the verdicts of a run to its preferences, in one pass, or two where something has to be learnt first.

The first pass, when there is one, learns what a seat is worth to each judge (where only some matchups were
asked in both orders), how sure each judge may be (from people's labels) and what each juror's word is
worth. The second pass decides. Nothing is asked of any model: change a setting and decide again for
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from ..records import Dropped, IdSet, Matchup, Preference, Verdict, is_label
from ..run import Run, read_json, read_records
from ..verdicts.calibrate import Calibration, calibrate, fit_calibration
from ..verdicts.cases import Case, read_cases
from ..verdicts.human import Labels, gather, load_labels
from ..verdicts.jury import JuryConfig, Weights, combine, fit_jury
from ..verdicts.opinion import Opinion
from ..verdicts.read import NOT_ASKED
from ..verdicts.settle import SlotBias as Correction
from ..verdicts.settle import settle, settle_scores
from ..verdicts.slot_bias import SlotBias, correct, fit_slot_biases
from .card import Counts
from .pairs import PreferConfig, choose

FEWEST_LABELS: Final = 30
"""People's labels on which a judge's temperature is learnt; fewer would swing it by more than they mend."""
STAGE: Final = "preferences"


class Member(Struct, frozen=True, forbid_unknown_fields=True):
    """What deciding has to know about a judge of the run."""

    name: str
    kind: Literal["pairwise", "pointwise"]
    both_orders: Literal["all", "some", "none"] = "all"
    clamp: tuple[float, float] | None = None


class Learnt(Struct, frozen=True):
    """What the first pass found; kept in the run folder as `learnt.json`."""

    slot_biases: dict[str, SlotBias] = {}
    calibrations: dict[str, Calibration] = {}
    weights: Weights | None = None
    labels: int = 0
    """Matchups that people had labelled."""
    human_agreement: float | None = None
    """How often two people who saw the same matchup said the same."""
    warning: str = ""


def decide(
    run: Run,
    members: Iterable[Member],
    prefer: PreferConfig,
    jury: JuryConfig,
    labels: str | None = None,
) -> tuple[Counts, Learnt]:
    """Write `preferences.jsonl`, and the rows that came to none into `dropped.jsonl`, by name."""
    known = {member.name: member for member in members}
    learnt = learn(run.path, known, jury, labels)
    run.write_json("learnt.json", learnt)
    counts, labelled = Counts(), IdSet()
    with run.writing("preferences", "dropped") as files:

        def drop(row: Dropped) -> None:
            files["dropped"].add(row)
            counts.drop(row)

        for row in _dropped_before(run.path):
            if row.stage != STAGE:
                drop(row)
        for case in read_cases(run.path):
            counts.case(case.completions, case.matchups, case.verdicts)
            if _labelled_again(case, labelled):
                for matchup in case.matchups:
                    drop(Dropped(matchup.id, STAGE, "duplicate"))
                continue
            kept, lost = judged(case, known, learnt, prefer, jury, counts.opinion)
            for preference in kept:
                files["preferences"].add(preference)
                counts.preference(preference)
            for row in lost:
                drop(row)
    return counts, learnt


def _labelled_again(case: Case, labelled: IdSet) -> bool:
    """Another person's label on a pair that stands in the file already: one more word, and no more data."""
    by_people = case.paired and any(is_label(one.judge) for one in case.verdicts)
    return by_people and any(not labelled.add(matchup.id) for matchup in case.matchups)


def judged(
    case: Case,
    known: Mapping[str, Member],
    learnt: Learnt,
    prefer: PreferConfig,
    jury: JuryConfig,
    told: Callable[[Opinion], None],
) -> tuple[list[Preference], list[Dropped]]:
    """The preferences of one prompt, and the matchups that came to none; each judge's opinion is `told`."""
    opinions = settled(case, known, learnt, jury, told)
    # Pairs that the user's file named are questions of their own: no rule picks among them.
    rule = replace(prefer, rule="all_pairs") if case.paired and prefer.rule != "all_pairs" else prefer
    return choose(case.prompt, case.completions, opinions, rule)


def settled(
    case: Case,
    known: Mapping[str, Member],
    learnt: Learnt,
    jury: JuryConfig,
    told: Callable[[Opinion], None] = lambda _: None,
) -> list[Opinion]:
    """One opinion for each matchup of a prompt, whoever was asked; each judge's own is `told`."""
    opinions = []
    for matchup, said in hearings(case, known, learnt.slot_biases):
        for opinion in said:
            told(opinion)
        opinions.append(_joined(matchup, said, learnt, jury))
    return opinions


def hearings(
    case: Case, known: Mapping[str, Member], slot_biases: Mapping[str, SlotBias]
) -> Iterator[tuple[Matchup, list[Opinion]]]:
    """Each matchup with one opinion a judge; people's labels are not among them."""
    pairwise: dict[str, dict[str, list[Verdict]]] = {}
    scores: dict[str, list[Verdict]] = {}
    for verdict in case.verdicts:
        if is_label(verdict.judge):
            continue
        if verdict.matchup_id:
            pairwise.setdefault(verdict.matchup_id, {}).setdefault(verdict.judge, []).append(verdict)
        else:
            scores.setdefault(verdict.judge, []).append(verdict)
    for matchup in case.matchups:
        opinions = []
        for judge, said in pairwise.get(matchup.id, {}).items():
            member = known.get(judge)
            opinions.append(
                settle(
                    said,
                    matchup,
                    clamp=member.clamp if member else None,
                    slot_bias=_correction(slot_biases.get(judge)),
                )
            )
        opinions += [settle_scores(said, matchup) for said in scores.values()]
        yield matchup, opinions


def _correction(bias: SlotBias | None) -> Correction | None:
    return None if bias is None else lambda p: correct(p, bias)


def _joined(matchup: Matchup, opinions: list[Opinion], learnt: Learnt, jury: JuryConfig) -> Opinion:
    sure = [
        calibrate(one, learnt.calibrations[one.judge]) if one.judge in learnt.calibrations else one
        for one in opinions
    ]
    if not sure:
        return Opinion(matchup.id, matchup.first.id, matchup.second.id, unread=NOT_ASKED)
    if len(sure) == 1:
        return sure[0]
    joined = combine(sure, learnt.weights, jury)
    return joined if joined.first_id == matchup.first.id else joined.swapped()


def learn(folder: Path, known: Mapping[str, Member], jury: JuryConfig, labels: str | None) -> Learnt:
    """The first pass; nothing is read where there is nothing to learn."""
    slot_biases: dict[str, SlotBias] = {}
    if any(member.both_orders == "some" for member in known.values()):
        some = {name for name, member in known.items() if member.both_orders == "some"}
        slot_biases = fit_slot_biases(
            verdict for case in read_cases(folder) for verdict in case.verdicts if verdict.judge in some
        )
    people = _people(folder, labels)
    lost = _lost_labels(labels, len(people.opinions))
    if not people.opinions and (len(known) < 2 or jury.combine in ("mean", "vote")):
        return Learnt(slot_biases, warning=lost)
    gold: dict[str, Opinion | float] = {}
    calibrations = _calibrations(folder, known, slot_biases, people, gold)
    weights = None
    if len(known) > 1:
        weights = fit_jury(_by_matchup(folder, known, Learnt(slot_biases, calibrations)), gold, jury)
    return Learnt(slot_biases, calibrations, weights, len(gold), people.agreement, "" if gold else lost)


def _lost_labels(labels: str | None, n: int) -> str:
    """What to say where people's labels were given and none was found again."""
    if labels is None:
        return ""
    if labels == "given":
        return "labels: given, but no row came with one"
    return f"none of the {n} matchups labelled in {labels} is one of this run's"


def _people(folder: Path, labels: str | None) -> Labels:
    if labels is None:
        return gather(())
    if labels == "given":
        said = (one for case in read_cases(folder) for one in case.verdicts if is_label(one.judge))
        return gather(said)
    return gather(load_labels(labels))


def _calibrations(
    folder: Path,
    known: Mapping[str, Member],
    slot_biases: Mapping[str, SlotBias],
    people: Labels,
    gold: dict[str, Opinion | float],
) -> dict[str, Calibration]:
    """A temperature for each judge with enough labels; `gold` is filled with the labels that were found."""
    pairs: dict[str, tuple[list[float], list[float]]] = {}
    for case in read_cases(folder) if people.opinions else ():
        for matchup, opinions in hearings(case, known, slot_biases):
            said = people.find(matchup)
            if said is None or said.p_first is None:
                continue
            gold[matchup.id] = said
            for opinion in opinions:
                if opinion.p_first is not None:
                    ps, ys = pairs.setdefault(opinion.judge, ([], []))
                    ps.append(opinion.p_first)
                    ys.append(said.p_first)
    clamped = {name for name, member in known.items() if member.clamp}  # a temperature would let it out again
    return {
        judge: fit_calibration(judge, ps, ys)
        for judge, (ps, ys) in pairs.items()
        if len(ps) >= FEWEST_LABELS and judge not in clamped
    }


def _by_matchup(folder: Path, known: Mapping[str, Member], learnt: Learnt) -> Iterator[list[Opinion]]:
    for case in read_cases(folder):
        for _, opinions in hearings(case, known, learnt.slot_biases):
            yield [
                calibrate(one, learnt.calibrations[one.judge]) if one.judge in learnt.calibrations else one
                for one in opinions
            ]


def _dropped_before(folder: Path) -> Iterator[Dropped]:
    path = folder / "dropped.jsonl"
    return read_records(path, Dropped) if path.exists() else iter(())


def read_members(folder: Path) -> list[Member]:
    """The judges of a run, as they were when it was labelled."""
    path = folder / "judges.json"
    return read_json(path, list[Member]) if path.exists() else []


def write_members(run: Run, members: list[Member]) -> None:
    run.write_json("judges.json", members)
