"""The card that goes with an exported set: how often its judges are right, what went in and what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from ..records import Dropped, Matchup, Preference, is_label
from ..run import write_whole
from ..verdicts.cases import Case
from ..verdicts.jury import Agreement
from ..verdicts.settle import Opinion

_BINS = 10


class JudgeCounts(Struct):
    """What one judge was asked, and what came back."""

    verdicts: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    """Verdicts without a usable answer, by reason."""
    forced: int = 0
    """Verdicts whose label was forced by a constraint."""
    decided: int = 0
    """Verdicts that name one side."""
    first_position: int = 0
    """Those for the first position."""
    asked_both: int = 0
    """Matchups asked in both orders."""
    read_both: int = 0
    """Those read in both."""
    flipped: int = 0
    """Those in which both orders favoured the same position."""
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
    histogram: list[int] = field(default_factory=lambda: [0] * _BINS)
    """Preferences by p, in ten bins from 0.5 to 1."""
    longer_chosen: int = 0
    equally_long: int = 0
    high_stakes: int = 0
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
        chosen, rejected = len(preference.chosen.text), len(preference.rejected.text)
        self.preferences += 1
        self.histogram[min(int((preference.p - 0.5) * 2 * _BINS), _BINS - 1)] += 1
        self.longer_chosen += chosen > rejected
        self.equally_long += chosen == rejected
        self.high_stakes += preference.prompt.stakes == "high"
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


def card(
    counts: Counts,
    *,
    name: str,
    splits: Mapping[str, str],
    recipe: str = "",
    versions: Mapping[str, str] = {},
    left_out: Mapping[str, int] = {},
) -> str:
    """The card's text; `splits` says which file holds which split. The licence is the user's to write: it
    depends on the prompts and the policies.
    """
    c, total = counts, counts.total()
    rows = {
        "prompts": c.prompts,
        "completions": c.completions,
        "matchups": c.matchups,
        "verdicts": total.verdicts,
        "preferences": c.preferences,
        "on high-stakes prompts": _share(c.high_stakes, c.preferences),
        "chosen is longer": _share(c.longer_chosen, c.preferences),
        "equally long": _share(c.equally_long, c.preferences),
        "dropped": sum(c.dropped.values()),
        "cost of the verdicts": f"${total.usd:.2f}, ${total.usd / max(c.preferences, 1):.5f} a preference",
    }
    bins = {
        f"{0.5 + at / 2 / _BINS:.2f} to {0.5 + (at + 1) / 2 / _BINS:.2f}": _share(n, c.preferences)
        for at, n in enumerate(c.histogram)
    }
    files = "\n".join(f"  - split: {split}\n    path: {_quoted(file)}" for split, file in splits.items())
    parts = [
        f"---\npretty_name: {_quoted(name)}\n"
        "# license: the prompts' and the policies' terms decide; write it here\n"
        f"tags:\n- preference\n- rlaif\nconfigs:\n- config_name: default\n  data_files:\n{files}\n---\n",
        f"# {name}\n\nPreference data labelled by AI judges with Jurist. `p` is the probability that "
        "`chosen` is the better one, after both orders were averaged.\n",
        _table("Agreement with human labels", _agreement(c, "human") or {"unknown": "no human labels"}),
        _table("Agreement with the file's labels", _agreement(c, "file")),
        _table("Rows", rows),
        *(_table(f"Judge `{judge}`", _judge(one)) for judge, one in sorted(c.judges.items())),
        _table("Labels that came with the rows", c.labels),
        _table("Preferences by p", bins if c.preferences else {}),
        _table("Flags", c.flags),
        _table("Dropped, by stage and reason", c.dropped),
        _table("Preferences that are not in these files", left_out),
        f"## Settings\n\n```yaml\n{recipe.strip()}\n```\n" if recipe else "",
        _table("Versions", versions),
    ]
    return "\n".join(part for part in parts if part)


def write_card(folder: Path, text: str) -> None:
    write_whole(folder / "README.md", text.encode())


def _agreement(counts: Counts, kind: str) -> dict[str, str]:
    return {
        judge: f"{one.accuracy:.1%} ({one.low:.1%} to {one.high:.1%}, n = {one.n:,})"
        for judge, one in counts.agreement.get(kind, {}).items()
    }


def _judge(one: JudgeCounts) -> dict[str, Any]:
    return {
        "verdicts": one.verdicts,
        **{f"unread: {reason}": _share(n, one.verdicts) for reason, n in one.unread.items()},
        "label forced by a constraint": _share(one.forced, one.verdicts),
        "that name a side": one.decided,
        "for the first position": _share(one.first_position, one.decided),
        "matchups asked in both orders": one.asked_both,
        "read in both": _share(one.read_both, one.asked_both),
        "flipped: both orders favoured the same position": _share(one.flipped, one.read_both),
    }


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.1%})" if whole else str(part)


def _table(title: str, rows: Mapping[str, Any]) -> str:
    lines = "\n".join(f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items())
    return f"## {title}\n\n| | |\n|---|---|\n{lines}\n" if rows else ""


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
