"""The evidence behind labels: what was asked, what each judge said in each order, and what came of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ..config import read_recipe
from ..errors import DataError, RunError
from ..preferences.decide import Learnt, opinions_by_matchup, read_judges
from ..recipes.summary import Summary
from ..records import Dropped, Matchup, Preference, Verdict, is_human
from ..run import owner_of, read_json, read_records, unfinished
from ..verdicts.cases import read_cases
from ..verdicts.human import LabelIndex, load_labels
from ..verdicts.read import UNREAD
from .exits import print_result
from .options import Typed

CUT_AT = 400
"""Characters of a text that are shown without --full."""
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal would obey instead of showing it; a reply can hold anything."""


class ShowConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without a filter, the summary; with several, the matchups that pass all of them."""

    run: Annotated[str, Meta(description="The run folder.")]
    disagree: Annotated[bool, Meta(description="Matchups where a judge disagrees with human labels.")] = False
    flips: Annotated[bool, Meta(description="Matchups where the two orders of a judge disagree.")] = False
    unread: Annotated[bool, Meta(description="Matchups with an unread verdict.")] = False
    dropped: Annotated[str, Meta(description="What was dropped for this reason, e.g. tie.")] = ""
    by: Annotated[str, Meta(description="Only verdicts of judges whose name starts so.")] = ""
    pair: Annotated[str, Meta(description="The matchup whose id, or whose label's id, starts so.")] = ""
    labels: Annotated[bool, Meta(description="The labels themselves, one per line.")] = False
    limit: Annotated[int, Meta(ge=1, description="Most matchups or labels to show.")] = 10
    full: Annotated[bool, Meta(description="Do not cut long texts.")] = False


class Evidence(Struct):
    """One matchup with all that was said about it."""

    matchup: Matchup
    verdicts: tuple[Verdict, ...]
    flipped: bool
    human: float | None
    """What human labels say, seen from the first completion."""
    outcome: Preference | Dropped | None = None


def do_show(typed: Typed) -> int:
    cfg = typed.load(ShowConfig)
    run = Path(cfg.run)
    if not run.is_dir():
        raise RunError(f"there is no run at {run}. Make one with: jurist label --out {quote(str(run))} ...")
    if (owner := owner_of(run)) and not typed.as_json:
        print(f"{'working':<13}process {owner} is at work here; below is what an earlier start has left")
    rows: list[Any]
    if cfg.labels:
        rows = list(islice(read_records(run / "preferences.jsonl", Preference), cfg.limit))
    elif cfg.disagree or cfg.flips or cfg.unread or cfg.dropped or cfg.by or cfg.pair:
        rows = _matching(run, cfg)
    else:
        _show_summary(run, typed.as_json)
        return 0
    if cfg.pair and not rows:
        look = f"jurist show {quote(str(run))} --labels"
        raise DataError(f"nothing in {run} has an id that starts with '{cfg.pair}'. List some with: {look}")
    for row in rows:
        print(msgspec.json.encode(row).decode() if typed.as_json else _text(row, cfg.full))
    if not (typed.as_json or cfg.pair):
        more = f"; more with --limit {10 * cfg.limit}" if len(rows) == cfg.limit else ""
        print(f"{len(rows)} shown{more}")
    return 0


def _matching(run: Path, cfg: ShowConfig) -> list[Evidence | Dropped]:
    """Matchups that pass the filters, with what became of them; then what was dropped before it met."""
    dropped = {row.subject_id: row for row in _rows(run, "dropped", Dropped)}
    found = list(islice(_evidence(run, cfg, dropped), cfg.limit))
    by_pair = {frozenset((one.matchup.first.id, one.matchup.second.id)): one for one in found}
    for row in _rows(run, "preferences", Preference):
        if one := by_pair.get(frozenset((row.chosen.id, row.rejected.id))):
            one.outcome = row
    early = [row for row in dropped.values() if row.stage != "preferences" and _is_for(row, cfg.dropped)]
    return [*found, *early[: cfg.limit - len(found)]]


def _rows(run: Path, noun: str, kind: type[Any]) -> Iterator[Any]:
    path = run / f"{noun}.jsonl"
    return read_records(path, kind) if path.exists() else iter(())


def _is_for(row: Dropped | None, reason: str) -> bool:
    return row is not None and reason in (row.reason, row.kind)


def _evidence(run: Path, cfg: ShowConfig, dropped: Mapping[str, Dropped]) -> Iterator[Evidence]:
    """What passes the filters, in the order of the file."""
    pair = cfg.pair
    for row in _rows(run, "preferences", Preference) if pair else ():
        if row.id.startswith(pair):  # a label's id leads to the matchup it was made from
            pair = Matchup.of(row.prompt, row.chosen, row.rejected).id
            break
    recipe = run / "recipe.yaml"
    file = read_recipe(recipe).get("labels") if cfg.disagree and recipe.exists() else None
    labels = LabelIndex(load_labels(file) if file not in (None, "given") else ())
    judges = {one.name: one for one in read_judges(run)}
    learnt = read_json(run / "learnt.json", Learnt) if (run / "learnt.json").exists() else Learnt()
    for case in read_cases(run):
        in_rows = LabelIndex(one for one in case.verdicts if is_human(one.judge))
        for matchup, opinions in opinions_by_matchup(case, judges, learnt):
            verdicts = tuple(one for one in case.verdicts if _is_about(one, matchup, cfg.by))
            opinions = [one for one in opinions if one.judge.startswith(cfg.by)]
            said = [one.p_first or 0.0 for one in (*labels.of(matchup), *in_rows.of(matchup))]
            human = sum(said) / len(said) if said else None
            side = 0.0 if human is None else human - 0.5
            disagrees = any((o.p_first - 0.5) * side < 0 for o in opinions if o.p_first is not None)
            flipped, outcome = any(one.flipped for one in opinions), dropped.get(matchup.id)
            ids = (matchup.id, matchup.first.id, matchup.second.id, case.prompt.id, *(v.id for v in verdicts))
            filters = (
                (cfg.disagree, disagrees),
                (cfg.flips, flipped),
                (cfg.unread, any(one.unread for one in verdicts)),
                (cfg.dropped, _is_for(outcome, cfg.dropped)),
                (cfg.by, opinions),
                (pair, any(id.startswith(pair) for id in ids)),
            )
            if all(passes for asked, passes in filters if asked):
                yield Evidence(matchup, verdicts, flipped, human, outcome)


def _is_about(verdict: Verdict, matchup: Matchup, by: str) -> bool:
    ids = (matchup.first.id, matchup.second.id)
    about = verdict.matchup_id == matchup.id or (not verdict.matchup_id and verdict.first_id in ids)
    return about and (verdict.judge.startswith(by) or is_human(verdict.judge))


def _show_summary(run: Path, as_json: bool) -> None:
    path = run / "summary.json"
    if not path.exists():
        if (run / "model").is_dir():
            raise RunError(
                f"{run} holds a trained model, not labels. How it was made: {run}/model/training.json,"
                f" and how its training went: {run}/metrics.jsonl"
            )
        raise unfinished(run, f"{run} has no summary yet")
    facts = read_json(path, dict[str, Any])
    if as_json:
        return print_result(True, facts)
    kind: type[Any] = Summary
    if "nulls" in facts:
        from ..recipes.demo import Demo as kind
    elif "rounds" in facts:
        from ..recipes.loop.rounds import LoopOutcome as kind
    return print_result(False, msgspec.convert({**facts, "run": str(run)}, kind))


def _text(row: Evidence | Preference | Dropped, full: bool) -> str:
    if isinstance(row, Dropped):
        return _clean(f"{row.kind}: {row.detail or row.subject_id}")
    if isinstance(row, Preference):
        texts = [" ".join(one.text.split()) for one in (row.chosen, row.rejected)]
        shown = " > ".join(text if full else text[:40] for text in texts)
        return _clean(f"{row.id[:12]}  p {row.p:.3f}  {shown}  {', '.join(row.flags)}".rstrip())
    lines = [f"matchup {row.matchup.id}"]
    for name, text in _fields(row):
        if len(text) > CUT_AT and not full:
            text = f"{text[:CUT_AT]} ... ({len(text) - CUT_AT:,} more characters; see --full)"
        lines += [f"{name}: {_clean(text)}"] if text else []
    return "\n".join((*lines, ""))


def _fields(row: Evidence) -> Iterator[tuple[str, str]]:
    matchup, outcome = row.matchup, row.outcome
    yield from ((message.role, message.content) for message in matchup.prompt.messages)
    for position, completion in (("first", matchup.first), ("second", matchup.second)):
        yield position + (f" by {completion.policy}" if completion.policy else ""), completion.text
    for verdict in row.verdicts:
        yield verdict.judge, _said(verdict, matchup)
        yield "  principle", verdict.principle
        yield "  rationale", verdict.rationale if verdict.rationale != verdict.raw else ""
        yield "  reply", verdict.raw
    yield "human labels", "" if row.human is None else f"first is better with p = {row.human:.3f}"
    if isinstance(outcome, Preference):
        position = "first" if outcome.chosen.id == matchup.first.id else "second"
        flags = f" ({', '.join(outcome.flags)})" if outcome.flags else ""
        yield "label", f"{position} is chosen with p = {outcome.p:.3f}{flags}"
    elif outcome is not None:
        yield "label", f"none: {outcome.reason} {outcome.detail}".rstrip()


def _said(verdict: Verdict, matchup: Matchup) -> str:
    """One line: the verdict, seen from the first completion, and how it was come by."""
    first = verdict.first_id == matchup.first.id
    if verdict.unread:
        said = f"unread: {verdict.unread} ({UNREAD.get(verdict.unread, 'unknown reason')})"
    elif verdict.p_first is not None:
        said = f"first is better with p = {verdict.p_first if first else 1 - verdict.p_first:.3f}"
    else:
        said = f"{'first' if first else 'second'} scores {verdict.score}"
    parts = (
        f"{verdict.order} order" if verdict.matchup_id else "",
        "forced" if verdict.forced else "",
        "" if verdict.label_mass is None else f"label mass {verdict.label_mass:.2f}",
        f"${verdict.cost:.5f}" if verdict.cost else "",
        f"{verdict.seconds:.2f} s" if verdict.seconds else "",
    )
    return ", ".join(filter(None, (said, *parts)))


def _clean(text: str) -> str:
    return _COMMANDS.sub(lambda found: repr(found[0])[1:-1], text)
