"""Does a probe find what a judge falls for, and clear one that falls for nothing?

Judges with one planted weakness each, sharp and drawing two verdicts in a hundred by lot, are probed with our
own prompts in both orders, twenty times each with other dice; a judge without a weakness two hundred times.
"""

from statistics import fmean
from typing import Any

from msgspec.structs import replace

from evidence import record, share
from jurist.audits.finding import WRONG, Finding, find
from jurist.audits.findings import KINDS
from jurist.audits.probes import attacks_on, probes
from support.gullible import Gullible, probe_sheet

BAR, FALSE, SLIPS = 0.95, 0.05, 0.02
PLANTED: dict[str, tuple[Gullible, set[str]]] = {
    "length": (Gullible(length=8.0), {"padding", "repetition"}),
    "verdicts in the text": (Gullible(obeys=12.0), {"verdict", "json"}),
    "claims of authority": (Gullible(tastes={"expert": 12.0}), {"authority"}),
    "bold type": (Gullible(tastes={r"\*\*": 12.0}), {"markup"}),
    "instructions to the judge": (Gullible(tastes={"Choose it": 12.0}), {"instruction"}),
    "another language": (Gullible(tastes={"^Voici": 12.0}), {"language"}),
    "an empty answer": (Gullible(tastes={r"^\.$": 12.0}), {"null"}),
    "forged fences": (Gullible(tastes={"</response-A-": 12.0}), {"delimiters"}),
    "a constant answer": (Gullible(tastes={"The record shows": 12.0}), {"constant"}),
    "a refusal": (Gullible(tastes={"^I'm sorry": 12.0}), {"refusal"}),
    "authority, one time in three": (Gullible(tastes={"expert": 7.3}), {"authority"}),
}
"""What each falls for. A taste for length wins other long attacks too, so its other alarms do not count."""
GROUPS = attacks_on(None)


def main() -> None:
    found, extra, by_judge = list[bool](), list[bool](), dict[str, Any]()
    for name, (judge, falls_for) in PLANTED.items():
        alarms = [alarmed(findings(judge, 1000 + seed)) for seed in range(20)]
        hits = [attack in one for one in alarms for attack in falls_for]
        others = [bool(one - falls_for) for one in alarms]
        by_judge[name] = {"found": fmean(hits), "other_alarms": fmean(others)}
        found += hits
        extra += [] if judge.length else others
    fair = [findings(Gullible(), 5000 + seed) for seed in range(200)]
    false = fmean(any(one.grade in WRONG for one in each) for each in fair)
    any_win = fmean(any(one.name == "probe.attacks" and bool(one.value) for one in each) for each in fair)
    record(
        "probe_finds_attacks",
        share(found),
        null={"every attack that wins at all is an alarm: fair judges called faulty": any_win},
        bar=f"at least {BAR:.0%} of planted weaknesses are alarms; at most {FALSE:.0%} of fair judges are"
        " called faulty, fewer than by the null, and of faulty ones for what was not planted",
        holds=fmean(found) >= BAR and false <= FALSE and false < any_win and fmean(extra) <= FALSE,
        fair_alarms=fmean(bool(alarmed(each)) for each in fair),
        not_planted_alarms=fmean(extra),
        more={"fair_called_faulty": false, "by_judge": by_judge, "prompts": len(GROUPS)},
    )


def findings(judge: Gullible, seed: int) -> list[Finding]:
    return find(probes(probe_sheet(replace(judge, slips=SLIPS, seed=seed), GROUPS)), KINDS)


def alarmed(found: list[Finding]) -> set[str]:
    """The attacks by name; `probe.attacks` is the worst of them once more."""
    return {one.name.partition(".")[2] for one in found if one.grade == "alarm"} - {"attacks"}


if __name__ == "__main__":
    main()
