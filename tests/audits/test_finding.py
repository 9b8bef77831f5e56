"""Measures become findings: sentences, grades with their reasons, advice, charts."""

from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as replace_in
from test_diversity import generation
from test_overoptimisation import along, sheet_of_scores
from test_probes import probed

from jurist.audits.advice import About, Advice, settings_of_judges
from jurist.audits.all import audit_sheet
from jurist.audits.diversity import diversity
from jurist.audits.finding import ChartWords, Kind, Measure, Missing, fill, find
from jurist.audits.findings import KINDS, SECTIONS
from jurist.audits.overoptimisation import best_of_n, overoptimisation
from jurist.audits.reading import human_file
from jurist.audits.rules import (
    better_than_nothing,
    by_facts,
    far_from,
    mildest,
    of,
    reported,
    stands_in,
    too_high,
    too_low,
    unusual,
)
from jurist.audits.sheet import Labels
from jurist.stats.intervals import Estimate
from jurist.tiny.answers import MEDIOCRE
from jurist.verdicts.settings import JudgeConfig
from support.gullible import Gullible
from support.simulated import Simulated, World, simulate

SHARE = Kind(
    "Share",
    "{judge} did so in {value} of {n:prompt} ({interval}).",
    too_high(0.2, 0.5),
    (Advice("swap: `{again} --judge.swap always`", "swapped"), "so: `{again}`"),
    fair=0.0,
    chart=ChartWords("How often", mark=0.1, marked="usual"),
    missing={"none": Missing("{judge} said nothing.", "Ask: `{again}`"), "other": Missing("Nothing {why}.")},
)


def share(name, value, half=0.05, n=100, **figures):
    return Measure("share", name, Estimate(value, value - half, value + half, n), figures)


@pytest.mark.parametrize(
    ("template", "figures", "says"),
    [
        ("{a:%} and {b:points}", {"a": 0.256, "b": -0.05}, "25.6% and −5.0 points"),
        ("{n:matchup}, {m:decided verdict}, {k:policy}", {"n": 1367, "m": 1, "k": 2},
         "1,367 matchups, 1 decided verdict, 2 policies"),
        ("{a:usd}; {b:seconds}; {c:number}", {"a": 0.0012, "b": 90.0, "c": 1.2345}, "$0.0012; 90.0 s; 1.23"),
        ("{a:more|less}, {b:more|less}", {"a": 0.1, "b": -0.1}, "more, less"),
        ("{n:,} of them[; {t:%} are ties].", {"n": 1000}, "1,000 of them."),
        ("{n:,} of them[; {t:%} are ties].", {"n": 1000, "t": 0.5}, "1,000 of them; 50.0% are ties."),
        ("Yes[?sure|, surely].", {"sure": False}, "Yes."),
        ("Yes[?sure|, surely].", {"sure": True}, "Yes, surely."),
        ("{who} won.", {"who": "the labels"}, "The labels won."),
        ("{who} won.", {"who": "gpt-4 [new] {x}"}, "gpt-4 [new] {x} won."),
    ],
)  # fmt: skip
def test_a_sentence_is_its_template_with_the_figures(template, figures, says):
    assert fill(template, figures) == says


def test_a_sentence_without_one_of_its_figures_is_an_error_of_ours():
    with pytest.raises(KeyError):
        fill("{nobody} knows", {})


FAR, ABOVE = far_from(0.5, 0.05), far_from(0.5, 0.05, only="above")
CAPPED = far_from(0.5, 0.05, unless={"mended": ("warning", "the labels are free of it")})
ODD = unusual((0.5, 0.65), (0.25, 0.75))
FACTS = by_facts({"first": ("warning", "the first"), "other": ("note", "the other")}, "neither")
SHOWN, TRICKED = too_high(0.1, shown=True), too_high(0.1, few=0, unless={"unrelated": ("note", "unrelated")})
BOTH = mildest(far_from(0.0, 0.05), of("more", far_from(0.0, 0.02), "wins"))


@pytest.mark.parametrize(
    ("rule", "estimate", "figures", "grade", "reason"),
    [
        (reported, (0.9, 0.8, 1.0), {}, "fine", "reported"),
        (FAR, (0.7, 0.65, 0.75), {}, "alarm", "significantly more than 5 points above 50%"),
        (FAR, (0.3, 0.25, 0.35), {}, "alarm", "significantly more than 5 points below 50%"),
        (FAR, (0.56, 0.53, 0.59), {}, "warning", "may be more than 5 points above"),
        (FAR, (0.53, 0.52, 0.54), {}, "note", "no more than 5 points above"),
        (FAR, (0.54, 0.501, 0.58), {}, "fine", "not significantly different from 50% at 99%"),
        (FAR, (0.52, 0.49, 0.55), {}, "fine", "not significantly different from 50%"),
        (FAR, (0.5, float("nan"), float("nan")), {}, "note", "interval is not known"),
        (ABOVE, (0.3, 0.25, 0.35), {}, "note", "significantly below 50%"),
        (ABOVE, (0.51, 0.45, 0.57), {}, "fine", "not significantly above"),
        (CAPPED, (0.7, 0.65, 0.75), {"mended": True}, "warning", "above 50%; the labels are free of it"),
        (CAPPED, (0.7, 0.65, 0.75), {"mended": False}, "alarm", "significantly more than"),
        (CAPPED, (0.53, 0.52, 0.54), {"mended": True}, "note", "no more than 5 points above 50%"),
        (BOTH, (0.2, 0.1, 0.3), {"more": Estimate(0.1, 0.05, 0.15, 9)}, "alarm", "more than 5%"),
        (BOTH, (0.2, 0.1, 0.3), {"more": Estimate(0.0, -0.1, 0.1, 9)}, "fine", "not significantly"),
        (too_high(0.2, 0.5), (0.7, 0.6, 0.8), {}, "alarm", "significantly above 50%"),
        (too_high(0.2, 0.5), (0.4, 0.3, 0.5), {}, "warning", "significantly above the 20% tolerated"),
        (too_high(0.2, 0.5), (0.4, 0.1, 0.7), {}, "note", "not significantly"),
        (too_high(0.2, 0.5), (0.1, 0.0, 0.3), {}, "fine", "not above"),
        (too_high(0.2), (0.4, 0.3, 0.5), {"tolerated": 0.1}, "alarm", "above the 10% you asked for"),
        (too_high(0.2), (0.4, 0.1, 0.7), {}, "warning", "not significantly"),
        (too_low(0.9, 0.6), (0.5, 0.4, 0.59), {}, "alarm", "significantly below 60%"),
        (too_low(0.9, 0.6), (0.8, 0.7, 0.89), {}, "warning", "significantly below the 90% wanted"),
        (too_low(0.9, 0.6), (0.85, 0.8, 0.95), {}, "note", "not shown to reach"),
        (too_low(0.9, 0.6), (0.95, 0.91, 1.0), {}, "fine", "significantly above"),
        (too_low(0.9), (0.8, 0.7, 0.85), {"wanted": 0.95}, "alarm", "below the 95% you asked for"),
        (too_low(0.9), (0.85, 0.8, 0.95), {}, "warning", "not shown to reach"),
        (ODD, (0.8, 0.7, 0.9), {}, "warning", "significantly above 65%, and above 75%"),
        (ODD, (0.7, 0.66, 0.74), {}, "note", "significantly above 65%"),
        (ODD, (0.2, 0.1, 0.3), {}, "warning", "significantly below 50%, and below 25%"),
        (ODD, (0.4, 0.3, 0.49), {}, "note", "significantly below 50%"),
        (ODD, (0.8, 0.6, 1.0), {}, "fine", "not significantly outside 50% to 65%"),
        (FACTS, (0.5, 0.5, 0.5), {"first": True, "other": True}, "warning", "the first"),
        (FACTS, (0.5, 0.5, 0.5), {"other": True}, "note", "the other"),
        (FACTS, (0.5, 0.5, 0.5), {}, "fine", "neither"),
        (SHOWN, (0.3, 0.2, 0.4), {}, "alarm", "significantly above the 10% tolerated"),
        (SHOWN, (0.15, 0.05, 0.25), {"tolerated": 0.12}, "warning", "above the 12% you asked for"),
        (SHOWN, (0.08, 0.02, 0.15), {}, "note", "not shown to be within"),
        (SHOWN, (0.05, 0.02, 0.09), {}, "fine", "significantly within"),
        (TRICKED, (0.5, 0.2, 0.8), {"low": 0.15}, "alarm", "significantly above the 10% tolerated"),
        (TRICKED, (0.5, 0.2, 0.8), {"low": 0.05}, "warning", "not significantly"),
        (TRICKED, (0.5, 0.2, 0.8), {"low": 0.15, "unrelated": True}, "note", "unrelated"),
        (TRICKED, (0.0, 0.0, 0.2), {"low": 0.0}, "fine", "not above"),
        (better_than_nothing(9), (-0.1, -0.2, 0.0), {}, "alarm", "not better"),
        (better_than_nothing(9), (0.1, -0.2, 0.3), {}, "warning", "not significantly better"),
        (better_than_nothing(99), (-0.1, -0.2, 0.0), {}, "note", "too few"),
        (better_than_nothing(9), (0.1, 0.05, 0.3), {}, "fine", "significantly better"),
        (stands_in(0.8), (0.4, 0.3, 0.6), {"passed": -0.1, "power": 0.9}, "warning", "would"),
        (stands_in(0.8), (0.4, 0.3, 0.6), {"passed": -0.1, "power": 0.5}, "note", "may not either"),
        (stands_in(0.8), (0.6, 0.5, 0.7), {"passed": 0.1, "power": 0.5}, "fine", "as good as"),
    ],
)  # fmt: skip
def test_a_grade_has_its_reason(rule, estimate, figures, grade, reason):
    found, why = rule(Measure("share", "judge", Estimate(*estimate, 50), figures))

    assert found == grade
    assert reason in why


def test_of_one_prompt_no_rule_makes_a_grade():
    for rule in (FAR, too_high(0.2), too_low(0.9)):
        assert rule(Measure("share", "judge", Estimate(1.0, 0.9, 1.0, 1))) == ("note", "too few prompts")


def test_advice_is_given_where_something_is_wrong_and_never_to_do_what_the_run_does():
    judges = settings_of_judges([JudgeConfig(engine="hf:a", swap="never"), JudgeConfig(engine="hf:b")], "ab")
    about = About("my run", judges=judges)
    again = "jurist label --recipe 'my run/recipe.yaml' --out NEW"

    a, b, both, fine = find(
        [share("a", 0.9), share("b", 0.9), share("labels", 0.9), share("a", 0.1)], {"share": SHARE}, about
    )
    (asked,) = find([share("b", 0.1, advise=True)], {"share": SHARE})

    assert a.advice == both.advice == f"swap: `{again} --judge.0.swap always`; or so: `{again}`"
    assert b.advice == f"so: `{again}`"
    assert fine.advice == ""
    assert asked.advice.startswith(
        "swap: `jurist label --recipe RUN/recipe.yaml --out NEW --judge.swap always`"
    )


def test_what_is_missing_of_several_judges_for_one_reason_is_said_once():
    none = [Measure("share", name, missing="none") for name in "abcdef"]
    other = [
        Measure("share", name, figures={"why": why}, missing="other") for name, why in ("gx", "hy", "ix")
    ]

    found = find([*none, *other], {"share": SHARE}, About("r", names={"b": "bee"}))

    assert [one.says for one in found] == [
        "a said nothing. The same goes for bee, c, d and 2 more.",
        "Nothing x. The same goes for i.",
        "Nothing y.",
    ]
    assert [one.about for one in found] == ["", "", "h"]
    assert {(one.grade, one.value, one.n) for one in found} == {("silent", None, 0)}


def test_one_chart_of_all_judges_stands_with_the_worst():
    found = find(
        [share("a", 0.1), share("b", 0.9), share("c", 0.8)], {"share": SHARE}, About(names={"b": "bee"})
    )
    (chart,) = [one.chart for one in found if one.chart]

    assert found[1].chart is chart
    assert [(point.x, point.y) for point in chart.series[0].points] == [("a", 0.1), ("bee", 0.9), ("c", 0.8)]
    assert (chart.mark, chart.marked) == (0.1, "usual")


POLICIES = ("gpt-small", "qwen-small", "llama-small")
JUDGES = (
    Simulated("pairwise:gpt-large#abc123", soft=True, slot=1.0, own=1.0, kin="gpt-small", length=1.0),
    Simulated("claude-large", soft=True),
)
SUMMARY = {"calls": 99, "retries": 5, "uncertain_calls": 1, "usd": 3.0}


def labelled(sheet, high, forced):
    """With labels by the judges' mean, prompts of high stakes, and forced verdicts."""
    labels = Labels(np.arange(len(sheet.matchups)), sheet.mean_opinion, np.ones(len(sheet.matchups)))
    verdicts = replace(sheet.verdicts, forced=np.arange(len(sheet.verdicts)) < forced)
    prompts = replace(sheet.prompts, high=np.arange(len(sheet.prompts)) < high)
    return replace(sheet, labels=labels, verdicts=verdicts, prompts=prompts)


def every_audit():
    """Findings of runs with all there can be, and of others with little."""
    full = World(prompts=120, pairs=2, samples=2, domains=("a", "b"), policies=POLICIES, people=3)
    sheets = [
        labelled(simulate(JUDGES, full, 0)[0], high=40, forced=9),
        simulate(JUDGES, World(prompts=60, orders="given", policies=POLICIES, people=0), 0)[0],
        simulate(JUDGES, World(prompts=60, domains=tuple("abcdefgh"), labelled=0.5), 0)[0],
    ]
    scores = np.random.default_rng(0).normal(size=(60, 4))
    rounds = [replace_in(generation(f"round {n}", MEDIOCRE, n), round=n, synthetic=0.5) for n in (1, 2, 3)]
    more = [
        *human_file("labels.jsonl", 10, 5),
        *best_of_n(sheet_of_scores(scores, scores)),
        *overoptimisation(along(0.3, -0.05, 1, 2, 3, 4)),
        *diversity(rounds, encode=lambda texts: np.ones((len(texts), 3))),
    ]
    for sheet in sheets:
        yield from audit_sheet(sheet, summary=SUMMARY, more=more)
    yield from (replace_in(one, name=f"probe.{name}") for name, one in probed(Gullible()).items())


@pytest.mark.slow
def test_every_kind_is_made_by_its_audit_with_all_that_its_words_name():
    never = set(KINDS) - {one.name for one in every_audit()}

    assert not never, "make them in `every_audit`, above"


def test_every_kind_has_a_section_and_every_section_its_kinds():
    assert {name.partition(".")[0] for name in KINDS} <= set(SECTIONS)
