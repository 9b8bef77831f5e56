"""Does a judge prefer answers made to please it? Asked before its labels count.

Start it with `jurist probe openai:gpt-5-mini`: our own prompts with decent answers, or yours, each against
every attack of `audits/probes.py`, in both orders. It is a labelling run of these pairs: journalled, within
a budget, and taken up again by the same command. Beside its files lie `probe.json` and `report.html`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, to_builtins

from ..audits.advice import About, settings_of_judges, short_names
from ..audits.collect import Collector
from ..audits.finding import Finding, between, find, grade_rank, written
from ..audits.findings import KINDS, TRIED
from ..audits.probes import attacks_on, probes
from ..audits.read_run import MatchupExample, example_of
from ..audits.report import Page, write_report
from ..records import Group
from ..run import Run
from ..verdicts.cases import read_cases
from .label import label
from .lines import named
from .settings import LabelConfig, judge_configs, label_settings
from .summary import Watch, nobody

PAIRS = "attacks.jsonl"
_OF_SUMMARY = ("calls", "calls_kept", "usd", "state", "stopped", "ended_by")
AGAIN = "jurist probe --judge ENGINE --out NEW"


class Probe(Struct, frozen=True):
    """What a probe came to; kept as `probe.json`."""

    run: str
    judges: tuple[str, ...]
    prompts: int
    passed: bool
    """No finding is an alarm, and something was read."""
    falls_for: tuple[str, ...]
    """The attacks it significantly prefers."""
    findings: tuple[Finding, ...]
    """Worst first."""
    report: str
    calls: int = 0
    calls_kept: int = 0
    usd: float = 0.0
    state: str = "done"
    stopped: str = ""
    ended_by: str = ""

    def lines(self) -> Iterator[str]:
        rows: list[tuple[str, str]] = []
        for one in self.findings:
            around = between(one.low, one.high)
            rate = "" if one.value is None else f" {written(one.value)}{around and f' ({around})'}"
            rows.append((one.grade, f"{_attack(one):<12}{rate}"))
        bad = (one.advice for one in self.findings if one.advice and one.grade in ("alarm", "silent"))
        rows += [("do", advice) for advice in dict.fromkeys(bad)]
        rows.append(("in all", self._in_all()))
        calls = f"{self.calls:,} answered, {self.calls_kept:,} from the journal, ${self.usd:.4f}"
        return named([*rows, ("calls", calls), ("report", self.report)])

    def _in_all(self) -> str:
        """A judge that cannot tell a wrong answer, or is not read, withstands no attack by it."""
        grades = {_attack(one): one.grade for one in self.findings}
        unread = [name for name, grade in grades.items() if grade == "silent"]
        if self.falls_for:
            return f"significantly prefers the attack: {', '.join(self.falls_for)}"
        if unread or not self.judges:
            return f"not known: nothing could be read about {', '.join(unread) or 'any attack'}"
        if "alarm" in (grades["unread"], grades["plain"]):
            return "not known: too little was read, or an answer to another prompt wins without an attack"
        return "withstands all attacks"


def probe_settings(
    out: str = "probe", overrides: Mapping[str, Any] | None = None, **given: Any
) -> LabelConfig:
    """The labelling job behind a probe of the judge that is given."""
    return label_settings(None, overrides, pairs=str(Path(out) / PAIRS), out=out, export=[], **given)


def probe(cfg: LabelConfig, prompts: str | None = None, watch: Watch = nobody, again: str = AGAIN) -> Probe:
    """Write the pairs, ask about them, and say what won; `prompts` is a file of prompts with an answer, and
    `again` the command that probes another time, for advice.
    """
    groups, folder = attacks_on(prompts), Path(cfg.out)
    with Run(cfg.out, journal=cfg.journal) as run:
        run.write_text(PAIRS, "".join(_lines(groups)))
    summary = label(cfg, watch)
    findings, examples, judges = _findings(cfg, again)
    page, alarms = folder / "report.html", [_attack(one) for one in findings if one.grade == "alarm"]
    found = Probe(
        run=cfg.out,
        judges=tuple(judges),
        prompts=len(groups),
        passed=bool(judges) and all(one.grade not in ("alarm", "silent") for one in findings),
        falls_for=tuple(dict.fromkeys(name for name in alarms if name in TRIED)),
        findings=tuple(findings),
        report=str(page),
        **{name: getattr(summary, name) for name in _OF_SUMMARY},
    )
    (folder / "probe.json").write_text(json.dumps(to_builtins(found), indent=1) + "\n", encoding="utf-8")
    facts = (
        ("judge", ", ".join(judges)),
        ("prompts", f"{len(groups):,}, {prompts or 'our own'}"),
        ("attacks", str(len(TRIED))),
        ("calls", f"{found.calls + found.calls_kept:,}"),
        ("cost", f"${found.usd:.2f}"),
    )
    names = [short_names(judges).get(one, one) for one in judges]
    title = f"Probe of {', '.join(names) or 'a judge'}"
    write_report(page, Page(title, cfg.out, found.findings, facts, examples, "Use this judge?"))
    return found


def _lines(groups: list[Group]) -> Iterator[str]:
    """The pairs as rows of a file."""
    for group in groups:
        prompt, first = group.prompt, group.completions[0]
        about = {"domain": prompt.domain, "stakes": prompt.stakes}
        if prompt.reference is not None:
            about["reference"] = prompt.reference
        for second in (group.completions[at] for _, at in group.pairs):
            pair = {"first": first.text, "second": second.text}
            policies = {"first_policy": first.policy, "second_policy": second.policy}
            row = {"prompt": to_builtins(prompt.messages), **pair, **policies, **about}
            yield json.dumps(row, ensure_ascii=False) + "\n"


def _attack(one: Finding) -> str:
    return one.name.partition(".")[2]


def _findings(
    cfg: LabelConfig, again: str
) -> tuple[list[Finding], dict[str, MatchupExample], tuple[str, ...]]:
    """What the verdicts come to, worst first, the matchups that show it, and the judges."""
    run, collector = Path(cfg.out), Collector()
    for case in read_cases(run):
        collector.add_case(case)
    sheet = collector.sheet()
    judges = settings_of_judges(judge_configs(cfg), sheet.judges, "judge", sheet.judges_with_logprobs)
    about = About(cfg.out, judges=judges, names=short_names(sheet.judges), again=again)
    findings = find(probes(sheet), KINDS, about)
    findings.sort(key=lambda one: (grade_rank(one), one.name != "probe.attacks", -(one.value or 0.0)))
    wanted = {name for one in findings for name in one.examples}
    examples = {
        matchup.id: example_of(matchup, case.verdicts)
        for case in read_cases(run)
        for matchup in case.matchups
        if matchup.id in wanted
    }
    return findings, examples, sheet.judges
