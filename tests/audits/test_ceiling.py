"""Where labels do not agree with humans, and what is held back there."""

from dataclasses import replace

import numpy as np
import pytest
from finding import findings

from jurist.audits.ceiling import ceiling, quarantine
from jurist.audits.sheet import HumanLabels, Labels
from support.simulated import Simulated, World, simulate

DOMAINS = ("sums", "talk", "doses")
JUDGE = Simulated("judge", soft=True, ignorant=("doses",))
ABLE = Simulated("judge", soft=True)
WORLD = World(prompts=300, domains=DOMAINS)


def sheet_of(judge=JUDGE, world=WORLD, seed=0):
    sheet = simulate((judge,), world, seed)[0]
    opinions = sheet.opinions
    return replace(sheet, labels=Labels(opinions.matchup, opinions.p, np.ones(len(opinions))))


def audited(sheet, **more):
    return findings(ceiling(sheet, **more))


def the(found, name, about=None):
    return next(one for one in found if one.name == f"ceiling.{name}" and about in (None, one.about))


def test_the_domain_the_judge_does_not_know_is_quarantined_and_no_other():
    found = audited(sheet_of())

    assert quarantine(sheet_of()).domains == ("doses",)
    assert the(found, "domain", "doses").grade in ("alarm", "warning")
    assert "is quarantined" in the(found, "domain", "doses").says
    assert "--prefer.quarantine ignore" in the(found, "domain", "doses").advice
    assert the(found, "domain", "sums").grade == "fine"
    assert "quarantine" not in the(audited(sheet_of(), holds_back=False), "domain", "doses").advice


@pytest.mark.parametrize(
    ("judge", "wanted", "held"),
    [(ABLE, None, ()), (JUDGE, 0.99, tuple(sorted(DOMAINS))), (JUDGE, 0.1, ())],
)
def test_what_is_wanted_decides(judge, wanted, held):
    assert quarantine(sheet_of(judge), wanted).domains == held


def test_a_grade_says_what_was_asked_for():
    found = audited(sheet_of(), wanted=0.99, tolerated=0.1)
    certified = the(found, "certified")

    assert the(found, "domain", "sums").reason == "significantly below the 99% you asked for"
    assert certified.reason == f"{certified.value:.1%} wrong: significantly above the 10% you asked for"


def test_it_is_the_lower_bound_that_has_to_reach_what_is_wanted():
    """Three in four of twelve labels may be luck; of 120 it is not."""
    for n, held in ((12, ("sums",)), (120, ())):
        sheet = sheet_of(ABLE, World(prompts=2 * n, domains=("sums", "talk"), people=1))
        domain = np.arange(2 * n) % 2
        wrong = (domain == 0) & (np.arange(2 * n) % 8 == 0)
        p = np.where(wrong, 1 - sheet.human_p, sheet.human_p)
        sheet = replace(
            sheet, prompts=replace(sheet.prompts, domain=domain), labels=replace(sheet.labels, p=p)
        )
        assert the(audited(sheet), "domain", "sums").value == pytest.approx(0.75)
        assert quarantine(sheet).domains == held


@pytest.mark.parametrize(("same", "told"), [(1.0, False), (0.5, True)])
def test_humans_are_said_to_disagree_only_where_they_do(same, told):
    """Labels that agree with humans more often than humans with each other say nothing against humans."""
    sheet = sheet_of(ABLE, World(prompts=40, domains=("sums", "talk"), people=1))
    first = np.where(np.arange(40) % 2, 1.0, 0.0)
    other = np.where(np.arange(40) < 40 * same, first, 1 - first)
    who, matchup = np.repeat([0, 1], 40), np.tile(np.arange(40), 2)
    sheet = replace(
        sheet,
        human=HumanLabels(who, matchup, np.concatenate([first, other]), np.ones(80)),
        humans=("human:0", "human:1"),
        prompts=replace(sheet.prompts, domain=np.where(np.arange(40) % 4 < 2, 0, 1)),
        labels=Labels(np.arange(40), first, np.ones(40)),
    )
    found = audited(sheet, wanted=0.9)

    assert ("humans do not agree there either" in found[0].advice) == told
    assert found[0].name == "ceiling.domain"


def test_a_domain_with_hardly_a_label_is_named_and_left_alone():
    sheet = sheet_of(world=replace(WORLD, prompts=60))
    few = sheet.prompts.domain[sheet.human.matchup] != 2
    kept = few | (np.cumsum(~few) <= 6)
    columns = (sheet.human.who, sheet.human.matchup, sheet.human.p, sheet.human.weight)
    sheet = replace(sheet, human=HumanLabels(*(column[kept] for column in columns)))

    assert "doses" in the(audited(sheet), "domain", "").says
    assert "doses" not in quarantine(sheet).domains
    assert quarantine(sheet, before=("doses", "elsewhere", "sums")).domains == ("doses", "elsewhere")


def test_many_labels_of_few_prompts_are_few():
    """Forty labels, all of nine prompts: a domain is judged from ten prompts on."""
    sheet = sheet_of(ABLE, World(prompts=40, pairs=4, domains=("sums", "talk")))
    sheet = replace(sheet, prompts=replace(sheet.prompts, domain=(np.arange(40) < 9).astype(int)))
    found = audited(sheet, wanted=0.99)

    assert [one.about for one in found if one.name == "ceiling.domain" and one.n] == ["sums"]
    assert "fewer than 10 prompts of 1 domain (talk)" in the(found, "domain", "").says


def test_without_human_labels_nothing_is_quarantined():
    sheet = sheet_of(world=replace(WORLD, people=0))

    assert the(audited(sheet), "domain").grade == "silent"
    assert quarantine(sheet) is None
    assert the(audited(sheet), "to_humans").n == 300


def test_the_batch_passes_when_clopper_and_pearsons_bound_is_within_what_is_tolerated():
    sheet = sheet_of(ABLE, replace(WORLD, people=1, person=20.0))
    sheet = replace(sheet, labels=replace(sheet.labels, p=np.abs(sheet.human_p - 0.1)))
    found = the(audited(sheet), "certified")

    assert found.value == 0
    assert found.high == pytest.approx(1 - 0.05 ** (1 / 300), abs=1e-9)
    assert found.grade == "fine"
    assert the(audited(sheet_of()), "certified").value > 0.1
    strict = the(audited(sheet, tolerated=0.001), "certified")
    assert strict.grade == "note"
    assert "1.0% at best" in strict.says


def test_high_stakes_and_unsure_labels_go_to_humans():
    sheet = sheet_of()
    high = np.arange(300) < 30
    sheet = replace(
        sheet, prompts=replace(sheet.prompts, high=high), labels=replace(sheet.labels, p=np.full(300, 0.95))
    )
    found = the(audited(sheet, wanted=0.01), "to_humans")

    assert found.value == pytest.approx(0.1)
    assert set(found.examples) <= {f"matchup-{i}" for i in range(30)}


def test_without_labels_and_verdicts_nothing_is_measured():
    sheet = sheet_of(world=World(prompts=1, people=0))
    empty = replace(
        sheet,
        labels=Labels(np.empty(0, int), np.empty(0), np.empty(0)),
        verdicts=replace(sheet.verdicts, p=np.full(2, np.nan)),
    )
    assert [one.grade for one in audited(empty)] == ["silent"]
