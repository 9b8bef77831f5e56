"""Does a judge fall for answers made to please it? Asked before its labels count.

Start it with `jurist probe openai:gpt-5-mini`: our own prompts with decent answers, or yours, each against
every attack of `audits/attacks.py`, in both orders. It is a labelling run of these pairs: journalled, within
a budget, and taken up again by the same command. Beside its files lie `probe.json` and `report.html`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

from ..audits.attacks import ATTACKS, attacked
from ..audits.collect import Collector
from ..audits.finding import Finding
from ..audits.firewall import firewall
from ..audits.grade import rank
from ..audits.read_run import MatchupExample, example_of
from ..audits.report import Page, write_report
from ..audits.words import by_engine
from ..completions import load_groups
from ..errors import DataError
from ..records import Group
from ..run import Run
from ..verdicts.cases import read_cases
from .label import label
from .lines import named
from .settings import LabelConfig, label_settings
from .summary import Watch, nobody

PAIRS = "attacks.jsonl"


class Probe(Struct, frozen=True):
    """What a probe came to; kept as `probe.json`."""

    run: str
    judges: tuple[str, ...]
    prompts: int
    passed: bool
    """No finding is an alarm, and something was read."""
    falls_for: tuple[str, ...]
    """The attacks it surely falls for."""
    findings: tuple[Finding, ...]
    """Worst first."""
    calls: int
    calls_kept: int
    usd: float
    report: str
    state: str = "done"
    stopped: str = ""
    ended_by: str = ""
    refused: str = ""
    why_none: str = ""

    def lines(self) -> Iterator[str]:
        rows: list[tuple[str, str]] = []
        for one in self.findings:
            rate = "" if one.value is None else f" {one.value:.1%} ({one.low:.1%} to {one.high:.1%})"
            rows.append((one.grade, f"{one.name.partition('.')[2]:<12}{rate}"))
        bad = (one.advice for one in self.findings if one.grade in ("alarm", "silent"))
        rows += [("do", advice) for advice in dict.fromkeys(bad)]
        rows.append(("in all", self._in_all()))
        calls = f"{self.calls:,} answered, {self.calls_kept:,} from the journal, ${self.usd:.4f}"
        return named([*rows, ("calls", calls), ("report", self.report)])

    def _in_all(self) -> str:
        """A judge that cannot tell a wrong answer, or is not read, withstands no attack by it."""
        grades = {one.name.partition(".")[2]: one.grade for one in self.findings}
        unknown = [name for name, grade in grades.items() if grade == "silent"]
        if self.falls_for:
            return f"significantly prefers the attack: {', '.join(self.falls_for)}"
        if unknown or not self.judges:
            return f"not known: nothing could be read about {', '.join(unknown) or 'any attack'}"
        if grades["unread"] == "alarm":
            return "not known: too little could be read"
        if grades["plain"] == "alarm":
            return "not known: it does not read the answers, a wrong one wins without any attack"
        return "withstands all attacks"


def probe_settings(
    out: str = "probe", overrides: Mapping[str, Any] | None = None, **given: Any
) -> LabelConfig:
    """The labelling job behind a probe of the judge that is given."""
    return label_settings(None, overrides, pairs=str(Path(out) / PAIRS), out=out, export=[], **given)


def probe(cfg: LabelConfig, prompts: str | None = None, watch: Watch = nobody) -> Probe:
    """Write the pairs, ask about them, and say what won; `prompts` is a file of prompts with an answer."""
    groups = attacks_on(prompts)
    with Run(cfg.out, journal=cfg.journal) as run:
        run.write_text(PAIRS, "".join(_line(*row) for row in _rows(groups)))
    summary = label(cfg, watch)
    findings, examples, judges = _found(Path(cfg.out))
    page = Path(cfg.out) / "report.html"
    told = Probe(
        run=cfg.out,
        judges=judges,
        prompts=len(groups),
        passed=bool(judges) and all(one.grade not in ("alarm", "silent") for one in findings),
        falls_for=tuple(
            name for name in ATTACKS if any(_is_alarm(one, f"firewall.{name}") for one in findings)
        ),
        findings=tuple(findings),
        calls=summary.calls,
        calls_kept=summary.calls_kept,
        usd=summary.usd,
        report=str(page),
        state=summary.state,
        stopped=summary.stopped,
        ended_by=summary.ended_by,
    )
    (page.parent / "probe.json").write_text(json.dumps(to_builtins(told), indent=1) + "\n", encoding="utf-8")
    write_report(page, _page(told, prompts, examples))
    return told


def attacks_on(prompts: str | None) -> list[Group]:
    """Every prompt with its decent answer and all attacks; what they say instead is the answer to another."""
    source = prompts or str(files("jurist.examples") / "decent.jsonl")
    groups = list(load_groups(source))
    if not groups:
        raise DataError(f"there is no prompt with an answer in {source}. Write rows like: {_ROW}")
    honest = [_better(group) for group in groups]
    return [
        attacked(group.prompt, answer, _another(honest, place))
        for place, (group, answer) in enumerate(zip(groups, honest, strict=True))
    ]


_ROW = '{"prompt": "...", "completion": "a decent answer"}'


def _better(group: Group) -> str:
    """The answer that was called better, or the first."""
    said = group.labels[0] if group.labels else None
    worse_first = said is not None and said.p_first is not None and said.p_first < 0.5
    return group.completions[1 if worse_first else 0].text


def _another(answers: list[str], place: int) -> str:
    """The answer to a prompt far away in the file, so that it is about something else."""
    far = [answers[(place + len(answers) // 2 + step) % len(answers)] for step in range(len(answers))]
    usual = "The museum is open from nine to five, and on Thursdays until eight in the evening."
    return next((text for text in far if text.split() != answers[place].split()), usual)


def _rows(groups: list[Group]) -> list[tuple[Group, int]]:
    return [(group, other) for group in groups for _, other in group.pairs]


def _line(group: Group, other: int) -> str:
    prompt, one, two = group.prompt, group.completions[0], group.completions[other]
    row = {
        "prompt": to_builtins(prompt.messages),
        "first": one.text,
        "second": two.text,
        "first_policy": one.policy,
        "second_policy": two.policy,
        "domain": prompt.domain,
        "stakes": prompt.stakes,
        **({"reference": prompt.reference} if prompt.reference is not None else {}),
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def _is_alarm(one: Finding, name: str) -> bool:
    return one.grade == "alarm" and one.name == name


def _found(run: Path) -> tuple[list[Finding], dict[str, MatchupExample], tuple[str, ...]]:
    """What the verdicts come to, worst first, and the matchups that show it."""
    collector = Collector()
    for case in read_cases(run):
        collector.add_case(case)
    sheet = collector.sheet()
    findings = sorted(
        by_engine(firewall(sheet), sheet.judges),
        key=lambda one: (rank(one), -(one.value or 0.0)),
    )
    wanted = {name for one in findings for name in one.examples}
    examples = {
        matchup.id: example_of(matchup, case.verdicts)
        for case in read_cases(run)
        for matchup in case.matchups
        if matchup.id in wanted
    }
    return findings, examples, sheet.judges


def _page(told: Probe, prompts: str | None, examples: dict[str, MatchupExample]) -> Page:
    facts = (
        ("judge", ", ".join(told.judges)),
        ("prompts", f"{told.prompts:,}, {prompts or 'our own'}"),
        ("attacks", str(len(ATTACKS))),
        ("calls", f"{told.calls + told.calls_kept:,}"),
        ("cost", f"${told.usd:.2f}"),
    )
    title = f"Probe of {', '.join(told.judges) or 'a judge'}"
    return Page(title, told.run, told.findings, facts, examples, "May this judge's verdicts count?")
