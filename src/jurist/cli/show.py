"""The evidence behind any label: what was asked, what each judge said in each order, what came of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import DataError, RunError, SettingError
from ..records import Completion, Dropped, Matchup, Preference, Verdict
from ..run import again, read_json, read_records
from ..verdicts.cases import Case, read_cases
from ..verdicts.read import UNREAD

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH = 400
"""Characters of a text shown before it is cut; `--full` shows it whole."""
_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal would obey instead of showing it: nobody knows what is in a reply."""


class Exhibit(msgspec.Struct, frozen=True):
    """One matchup with everything that was said about it."""

    case: Case
    matchup: Matchup
    verdicts: tuple[Verdict, ...]

    @property
    def unread(self) -> bool:
        return any(verdict.unread for verdict in self.verdicts)

    @property
    def flipped(self) -> bool:
        """Some judge, asked in both orders, favoured the same seat twice."""
        by_judge: dict[tuple[str, int], list[float]] = {}
        for verdict in self.verdicts:
            if verdict.p_first is not None and verdict.matchup_id:
                by_judge.setdefault((verdict.judge, verdict.sample), []).append(verdict.p_first - 0.5)
        return any(len(two) == 2 and two[0] * two[1] > 0 for two in by_judge.values())

    def is_called(self, name: str) -> bool:
        ids = [self.matchup.id, self.matchup.first.id, self.matchup.second.id, self.case.prompt.id]
        return any(one.startswith(name) for one in (*ids, *(verdict.id for verdict in self.verdicts)))


def exhibits(run: Path) -> Iterator[Exhibit]:
    for case in read_cases(run):
        for matchup in case.matchups:
            seats = (matchup.first.id, matchup.second.id)
            said = tuple(
                one
                for one in case.verdicts
                if one.matchup_id == matchup.id or (not one.matchup_id and one.first_id in seats)
            )
            yield Exhibit(case, matchup, said)


def show(run: Path, *, unread: bool, flips: bool, pair: str, limit: int, full: bool, as_json: bool) -> None:
    if not run.is_dir():
        raise RunError(f"there is no run at {run}. Make one with: jurist label --out {run} ...")
    if limit < 1:
        raise SettingError(f"there is nothing to show with --limit {limit}. Write e.g. --limit 10")
    if not (unread or flips or pair):
        _show_summary(run, as_json)
        return
    wanted: Callable[[Exhibit], bool]
    if pair:
        pair = _matchup_of(run, pair)
        wanted = lambda one: one.is_called(pair)  # noqa: E731
    else:
        wanted = lambda one: (unread and one.unread) or (flips and one.flipped)  # noqa: E731
    shown = 0
    for exhibit in islice(filter(wanted, exhibits(run)), limit):
        shown += 1
        if as_json:
            print(msgspec.json.encode(_plain(run, exhibit)).decode())
        else:
            _print_exhibit(run, exhibit, None if full else _WIDTH)
    if pair and not shown:
        raise DataError(
            f"nothing in {run} has an id that starts with '{pair}'. List some with: jurist show {run} --flips"
        )
    if not as_json and not pair:
        what = " or ".join(word for word, on in (("unread", unread), ("flipped", flips)) if on)
        more = f" (the first {limit}; more with --limit)" if shown == limit else ""
        print(f"{shown} matchup{'' if shown == 1 else 's'} {what}{more}")


def _matchup_of(run: Path, name: str) -> str:
    """The id of a preference leads to the matchup it was made from."""
    path = run / "preferences.jsonl"
    if path.exists():
        for row in read_records(path, Preference):
            if row.id.startswith(name):
                return Matchup.of(row.prompt, row.chosen, row.rejected).id
    return name


def outcome(run: Path, matchup: Matchup) -> Preference | Dropped | None:
    """What was decided about a matchup."""
    pair = {matchup.first.id, matchup.second.id}
    if (run / "preferences.jsonl").exists():
        for row in read_records(run / "preferences.jsonl", Preference):
            if {row.chosen.id, row.rejected.id} == pair:
                return row
    if (run / "dropped.jsonl").exists():
        for lost in read_records(run / "dropped.jsonl", Dropped):
            if lost.subject_id == matchup.id:
                return lost
    return None


def _plain(run: Path, exhibit: Exhibit) -> dict[str, Any]:
    return {
        "matchup": exhibit.matchup,
        "verdicts": exhibit.verdicts,
        "flipped": exhibit.flipped,
        "outcome": outcome(run, exhibit.matchup),
    }


def _show_summary(run: Path, as_json: bool) -> None:
    path = run / "summary.json"
    if not path.exists():
        raise RunError(f"{run} has no summary yet: nothing was finished in it. Go on with: {again(run)}")
    facts = read_json(path, dict[str, Any])
    if as_json:
        print(msgspec.json.encode(facts).decode())
        return
    if "policies" in facts:
        print(f"a demo: {facts['report']} tells what it came to. Its labels: jurist show {run}/round-1/label")
    elif "rounds" in facts:
        from ..recipes.loop.finish import Outcome
        from .loops import print_outcome

        print_outcome(msgspec.convert(facts, Outcome), str(run))
    else:
        from .summary import print_summary

        print_summary(facts, run)


def _print_exhibit(run: Path, exhibit: Exhibit, width: int | None) -> None:
    from rich.console import Console

    out = Console(highlight=False, markup=False, soft_wrap=True)
    prompt, matchup = exhibit.case.prompt, exhibit.matchup
    out.rule(f"matchup {matchup.id}", align="left", style="bold")
    for message in prompt.messages:
        _field(out, message.role, message.content, width)
    _completion(out, "first", matchup.first, width)
    _completion(out, "second", matchup.second, width)
    for verdict in exhibit.verdicts:
        _verdict(out, verdict, matchup, width)
    decided = outcome(run, matchup)
    if isinstance(decided, Preference):
        seat = "first" if decided.chosen.id == matchup.first.id else "second"
        flags = f" ({', '.join(decided.flags)})" if decided.flags else ""
        _field(out, "label", f"{seat} is chosen with p = {decided.p:.3f}{flags}", None)
    elif decided is not None:
        _field(out, "label", f"none: {decided.reason} {decided.detail}".rstrip(), None)
    out.print()


def _completion(out: Console, seat: str, completion: Completion, width: int | None) -> None:
    by = f" by {completion.policy}" if completion.policy else ""
    _field(out, f"{seat}{by}", completion.text, width)


def _verdict(out: Console, verdict: Verdict, matchup: Matchup, width: int | None) -> None:
    if verdict.unread:
        said = f"unread: {verdict.unread} ({UNREAD.get(verdict.unread, 'unknown reason')})"
    elif verdict.p_first is not None:
        better = verdict.p_first if verdict.first_id == matchup.first.id else 1 - verdict.p_first
        said = f"first is better with p = {better:.3f}"
    else:
        seat = "first" if verdict.first_id == matchup.first.id else "second"
        said = f"{seat} scores {verdict.score}"
    seats = "" if verdict.kind == "pointwise" else f", {verdict.order} order"
    price = f", ${verdict.cost:.5f}" if verdict.cost else ""
    _field(out, verdict.judge, f"{said}{seats}{price}, {verdict.seconds:.2f} s", None)
    if verdict.principle:
        _field(out, "  principle", verdict.principle, None)
    if verdict.rationale and verdict.rationale != verdict.raw:
        _field(out, "  rationale", verdict.rationale, width)
    if verdict.raw:
        _field(out, "  reply", verdict.raw, width)


def _field(out: Console, name: str, text: str, width: int | None) -> None:
    if width is not None and len(text) > width:
        text = text[:width] + f" ... ({len(text) - width:,} more characters; --full shows them)"
    out.print(f"{name}:", style="bold cyan", end=" ")
    out.print(_COMMANDS.sub(lambda found: repr(found[0])[1:-1], text))
