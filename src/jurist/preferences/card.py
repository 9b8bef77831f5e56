"""The card that goes with an exported set: what went in, what came out, and where the rest went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from ..records import Completion, Dropped, Matchup, Preference, Verdict, is_label
from ..verdicts.opinion import Opinion

_BINS = 10


class Counts(Struct):
    """What one labelling run came to. Fed record by record; takes the same memory for any number of them."""

    prompts: int = 0
    completions: int = 0
    matchups: int = 0
    verdicts: int = 0
    unread: int = 0
    turned: int = 0
    """Verdicts asked with the seats exchanged."""
    cost: float = 0.0
    """US dollars."""
    judges: dict[str, int] = field(default_factory=dict)
    opinions: int = 0
    in_both_orders: int = 0
    flipped: int = 0
    """Opinions that went with the seat, among those in both orders."""
    preferences: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * _BINS)
    """Preferences by p, in ten bins from 0.5 to 1."""
    chosen_characters: int = 0
    rejected_characters: int = 0
    longer_chosen: int = 0
    equally_long: int = 0
    high_stakes: int = 0
    flags: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    """By stage and reason, e.g. `preferences: tie`."""

    def case(
        self, completions: Sequence[Completion], matchups: Sequence[Matchup], verdicts: Sequence[Verdict]
    ) -> None:
        self.prompts += 1
        self.completions += len(completions)
        self.matchups += len(matchups)
        for verdict in verdicts:
            self.verdict(verdict)

    def verdict(self, verdict: Verdict) -> None:
        self.judges[verdict.judge] = self.judges.get(verdict.judge, 0) + 1
        if is_label(verdict.judge):  # a person was asked nothing by us
            return
        self.verdicts += 1
        self.unread += bool(verdict.unread)
        self.turned += verdict.order == "swapped"
        self.cost += verdict.cost

    def opinion(self, opinion: Opinion) -> None:
        self.opinions += 1
        if opinion.position_gap is not None:
            self.in_both_orders += 1
            self.flipped += opinion.flipped

    def preference(self, preference: Preference) -> None:
        chosen, rejected = len(preference.chosen.text), len(preference.rejected.text)
        self.preferences += 1
        self.histogram[min(int((preference.p - 0.5) * 2 * _BINS), _BINS - 1)] += 1
        self.chosen_characters += chosen
        self.rejected_characters += rejected
        self.longer_chosen += chosen > rejected
        self.equally_long += chosen == rejected
        self.high_stakes += preference.prompt.stakes == "high"
        for flag in preference.flags:
            self.flags[flag] = self.flags.get(flag, 0) + 1

    def drop(self, row: Dropped) -> None:
        self.dropped[row.kind] = self.dropped.get(row.kind, 0) + 1


def write_card(
    folder: Path,
    counts: Counts,
    *,
    name: str,
    splits: Mapping[str, str],
    settings: Mapping[str, Any] = {},
    versions: Mapping[str, str] = {},
    left_out: Mapping[str, int] = {},
) -> Path:
    """`README.md` beside the files; `splits` says which file holds which split."""
    path = folder / "README.md"
    draft = path.with_name(".README.md.part")
    draft.write_text(
        card(counts, name=name, splits=splits, settings=settings, versions=versions, left_out=left_out)
    )
    return draft.replace(path)


def card(
    counts: Counts,
    *,
    name: str,
    splits: Mapping[str, str],
    settings: Mapping[str, Any] = {},
    versions: Mapping[str, str] = {},
    left_out: Mapping[str, int] = {},
) -> str:
    """The card's text. The licence is the user's to write: it hangs on the prompts and the policies."""
    parts = [
        _header(name, splits),
        f"# {name}\n\nPreference data labelled by AI judges with Jurist. `p` is the probability that "
        "`chosen` is the better one, after both seat orders were averaged.\n",
        _table("Rows", _rows(counts)),
        _table("Judges", {f"`{judge}`, verdicts": n for judge, n in sorted(counts.judges.items())}),
        _table("Preferences by p", _bins(counts)),
        _table("Lengths", _lengths(counts)),
        _table("Flags", dict(sorted(counts.flags.items()))),
        _table("Dropped, by stage and reason", dict(sorted(counts.dropped.items()))),
        _table("Preferences that are not in these files", dict(sorted(left_out.items()))),
        _table("Settings", {key: f"`{value}`" for key, value in settings.items()}),
        _table("Versions", dict(versions)),
    ]
    return "\n".join(part for part in parts if part)


def _header(name: str, splits: Mapping[str, str]) -> str:
    files = "\n".join(f"  - split: {split}\n    path: {file!r}" for split, file in splits.items())
    return (
        f"---\npretty_name: {name!r}\n# license: the prompts' and the policies' terms decide; write it here\n"
        f"tags:\n- preference\n- rlaif\nconfigs:\n- config_name: default\n  data_files:\n{files}\n---\n"
    )


def _rows(c: Counts) -> dict[str, Any]:
    rows: dict[str, Any] = {
        "prompts": c.prompts,
        "completions": c.completions,
        "matchups": c.matchups,
        "verdicts": c.verdicts,
        "unread verdicts": _share(c.unread, c.verdicts),
        "verdicts with the seats exchanged": _share(c.turned, c.verdicts),
        "opinions": c.opinions,
        "asked in both orders": _share(c.in_both_orders, c.opinions),
        "of these, went with the seat (flip rate)": _share(c.flipped, c.in_both_orders),
        "preferences": c.preferences,
        "on high-stakes prompts": _share(c.high_stakes, c.preferences),
        "dropped": sum(c.dropped.values()),
        "cost of the verdicts, US dollars": f"{c.cost:.2f}",
    }
    if c.preferences:
        rows["the same a preference"] = f"{c.cost / c.preferences:.5f}"
    return rows


def _share(part: int, whole: int) -> str:
    return f"{part} ({part / whole:.1%})" if whole else str(part)


def _bins(c: Counts) -> dict[str, Any]:
    width = 0.5 / _BINS
    return {
        f"{0.5 + i * width:.2f} to {0.5 + (i + 1) * width:.2f}": _share(n, c.preferences)
        for i, n in enumerate(c.histogram)
        if c.preferences
    }


def _lengths(c: Counts) -> dict[str, Any]:
    if not c.preferences:
        return {}
    return {
        "mean characters, chosen": round(c.chosen_characters / c.preferences),
        "mean characters, rejected": round(c.rejected_characters / c.preferences),
        "chosen is longer": _share(c.longer_chosen, c.preferences),
        "equally long": _share(c.equally_long, c.preferences),
    }


def _table(title: str, rows: Mapping[str, Any]) -> str:
    if not rows:
        return ""
    lines = "\n".join(f"| {_cell(key)} | {_cell(value)} |" for key, value in rows.items())
    return f"## {title}\n\n| | |\n|---|---|\n{lines}\n"


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
