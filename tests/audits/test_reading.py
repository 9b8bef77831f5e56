"""What could not be read, what was forced, what decides nothing, and calls that went wrong."""

import pytest
from finding import findings
from msgspec.structs import replace
from runs import JUDGE, always, pair, verdict

from jurist.audits.collect import Collector
from jurist.audits.reading import reading
from jurist.verdicts.cases import Case


def found(said, summary=None):
    collector = Collector()
    for matchup, verdicts in said:
        both = (matchup.first, matchup.second)
        collector.add_case(Case(matchup.prompt, both, (matchup,), tuple(verdicts)))
    return {one.name: one for one in findings(reading(collector.sheet(), summary))}


def asked(n, changed, **fields):
    """n matchups asked once; the verdicts of the first `changed` of them have these fields."""
    verdicts = [(one, verdict(one, 0.9)) for one in map(pair, range(n))]
    return [(one, [replace(v, **fields) if at < changed else v]) for at, (one, v) in enumerate(verdicts)]


UNREAD = {"p_first": None, "unread": "cut_off"}


@pytest.mark.parametrize(
    ("said", "name", "grade", "value", "says"),
    [
        (asked(40, 0), "reading.unread", "fine", 0.0, "0.0% of 40 replies"),
        (asked(1, 0), "reading.unread", "note", 0.0, "0.0% of 1 reply of"),
        (asked(40, 0, ), "reading.ties", "fine", 0.0, "decided every one of 40 matchups."),
        (asked(40, 40, **UNREAD), "reading.unread", "alarm", 1.0, "None of 40 replies of openai"),
        (asked(40, 10, **UNREAD), "reading.unread", "warning", 0.25, "10 cut_off (the reply ended"),
        (asked(40, 3, **UNREAD), "reading.unread", "note", 0.075, "7.5% of 40 replies"),
        (asked(40, 20, forced=True, label_mass=0.25), "reading.forced", "warning", 0.5, "its labels 25.0%"),
        (asked(40, 20, forced=True), "reading.forced", "warning", 0.5, "by a constraint (95%"),
        (asked(40, 40, p_first=0.5), "reading.ties", "alarm", 1.0, "decided none of 40 matchups."),
        (always(1.0), "reading.ties", "alarm", 1.0, "none of 30 matchups; where it did not"),
        (asked(40, 10, p_first=0.5), "reading.ties", "fine", 0.25, "all but 25.0% of 40 matchups (95%"),
        ([], "reading.unread", "silent", None, "There is no matchup"),
        ([(pair(1), [])], "reading.unread", "silent", None, "No judge said anything"),
    ],
)  # fmt: skip
def test_verdicts_are_counted_by_what_came_of_them(said, name, grade, value, says):
    one = found(said)[name]

    assert (one.grade, one.value) == (grade, value)
    assert says in one.says
    assert one.advice if grade in ("warning", "alarm", "silent") else not one.advice


def test_what_helps_against_unread_verdicts_hangs_on_why_they_are():
    advice = {
        reason: found(asked(40, 20, p_first=None, unread=reason))["reading.unread"].advice
        for reason in ("cut_off", "low_mass", "refused")
    }

    assert "--judge.max_tokens 4096" in advice["cut_off"]
    assert "--judge.reason true" in advice["low_mass"]
    assert "jurist show RUN --unread" in advice["refused"]


def test_nothing_is_said_of_what_did_not_happen():
    assert found(asked(40, 0), {"calls": 40, "retries": 0, "uncertain_calls": 0}).keys() == {
        "reading.unread",
        "reading.ties",
    }


def test_retries_and_calls_without_an_answer_are_those_of_the_summary():
    engines = [{"name": "x", "retries": {"rate_limit": 30, "timeout": 10}}]
    summary = {"calls": 60, "calls_kept": 30, "retries": 40, "engines": engines}
    summary |= {"uncertain_calls": 10, "uncertain_usd": 0.5}

    one = found(asked(40, 0), summary)

    retries, lost = one["reading.retries"], one["reading.uncertain"]
    assert (retries.value, retries.grade) == (0.4, "warning")
    assert (
        "40 calls failed and had to be tried again, beside 60 answered calls: rate_limit 30" in retries.says
    )
    assert (lost.value, lost.grade) == (0.1, "warning")
    assert lost.says == "10 calls never got an answer; they may have been billed, up to $0.50."
    assert JUDGE in found(asked(40, 10, **UNREAD))["reading.unread"].says
