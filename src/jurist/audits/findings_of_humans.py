"""The words of the audits that compare with human labels; the rest of the table is `findings.py`."""

from __future__ import annotations

from typing import Final

from .finding import ChartWords, Kind, Missing
from .humans import WANTED
from .rules import Caps, better_than_nothing, far_from, reported, shown_low, stands_in, too_low

NO_HUMANS: Final = Missing("No human has labelled any of these matchups.", "Label some: {spotcheck}")
MORE_LABELS: Final = "label more to be sure: {spotcheck}"
TOLERATED: Final = 0.3
"""The humans who labelled for InstructGPT (Ouyang et al. 2022) disagreed with each other on 27 of 100 pairs."""
OF_USE: Final[Caps] = {"human_share": ("warning", "a judge may be of use without being as good as a human")}
MENDED: Final[Caps] = {"matchups": ("warning", "a temperature mends it")}

AGREEMENT: Final = {
    "agreement.accuracy": Kind(
        "Agreement with humans",
        "{judge} and humans preferred the same answer in {value} of {matchups:matchup} ({interval})[; {ties:tie} of {judge} count half][; {divided:matchup} on which humans were divided in halves left out].",
        too_low(WANTED, few=10),
        ("ask another judge: `{another}`", MORE_LABELS),
        missing={
            "no_humans": NO_HUMANS,
            "undecided": Missing(
                "{judge} was not read on any matchup on which humans took a side.", "Label more: {spotcheck}"
            ),
        },
        chart=ChartWords("Agreement with humans", y="share of matchups", mark=WANTED, marked="wanted"),
    ),
    "agreement.over_longest": Kind(
        "Better than the longer answer",
        "Always taking the longer answer agrees with humans in {free:%} of the matchups, {judge} in {share:%} of the same: a difference of {value} ({interval}).",
        better_than_nothing(30),
        ("ask another judge, since these labels can be had for nothing: `{another}`", MORE_LABELS),
        "points",
        fair=0.0,
    ),
    "agreement.over_first": Kind(
        "Better than the first answer",
        "Always taking the answer given first agrees with humans in {free:%} of the matchups, {judge} in {share:%} of the same: a difference of {value} ({interval}).",
        better_than_nothing(30),
        ("ask another judge, since these labels can be had for nothing: `{another}`", MORE_LABELS),
        "points",
        fair=0.0,
    ),
    "agreement.humans": Kind(
        "Agreement among humans",
        "Two humans who labelled the same matchup agree in {value} of the cases ({interval}, {n:prompt}; a tie against a side counts half).[ If they err independently, each is right {each:%} of the time, and a perfect judge would agree with one of them no more often.]",
        too_low(WANTED, 0.0, few=10),
        ("write down what counts as better, and let humans label again",),
        missing={
            "one_each": Missing(
                "No matchup was labelled by two humans, so how well they agree with each other is not known.",
                "Let a second human label a hundred of the same matchups",
            )
        },
    ),
    "agreement.humans_alpha": Kind(
        "Krippendorff's alpha among humans",
        "Krippendorff's alpha among humans is {value} ({interval}): 1 is perfect agreement, 0 what chance gives.",
        reported,
        unit="number",
    ),
    "agreement.with_a_human": Kind(
        "Beside a second human",
        "Where two or more humans labelled, {judge} agrees with one of them in {judge_share:%}, two humans with each other in {human_share:%}: a difference of {value} ({interval}).",
        far_from(0.0, 0.1, "points", only="below", unless=OF_USE),
        ("ask another judge: `{another}`",),
        "points",
        fair=0.0,
    ),
    "agreement.kappa": Kind(
        "Cohen's kappa",
        "Cohen's kappa between {judge} and humans is {value} ({interval}): agreement beyond what how often each takes a side would give.",
        reported,
        unit="number",
    ),
    "agreement.ac1": Kind(
        "Gwet's AC1",
        "Gwet's AC1 between {judge} and humans is {value} ({interval}): unlike kappa it holds where nearly all labels are the same.",
        reported,
        unit="number",
    ),
    "agreement.alpha": Kind(
        "Krippendorff's alpha",
        "Krippendorff's alpha of the humans with {judge} as one more rater is {value} ({interval}); raters may have skipped matchups.",
        reported,
        unit="number",
    ),
    "agreement.alt_test": Kind(
        "Alternative annotator test",
        "{judge} {passed:passes|does not pass} the alternative annotator test: leaving out each human in turn, it is significantly no more than {epsilon:g} behind {beaten:d} of {of:human}. With {items:matchup} for each, a judge as good as the humans passes {power:%} of the time, one that is 10 points worse {power_if_worse:%}.",
        stands_in(0.95),
        ("keep humans for these labels", "ask another judge: `{another}`"),
        missing={
            "few": Missing(
                "Whether a judge could stand in for a human is not tested: that takes {humans} humans with {items} matchups each that others labelled too.",
                "Let {humans} humans label the same 100 matchups",
            )
        },
    ),
    "agreement.advantage": Kind(
        "Advantage probability",
        "Compared with the other humans, {judge} is as close to them as the human left out, or closer, in {value} of the cases ({interval}; mean of the humans).",
        reported,
    ),
    "agreement.better_judge": Kind(
        "Better judge",
        "On {matchups:matchup} that both read, {best} is right {size} more often than {judge} ({interval}): only {best} in {only:,}, only {judge} in {only_other:,}. Chance alone would do that with probability {p:.2g} (McNemar's test, mid-p).",
        reported,
        ("prefer {best}",),
        "points",
        fair=0.0,
    ),
    "agreement.label_error": Kind(
        "Wrong labels",
        "Humans would give {value} of the {labels:label} otherwise ({interval}), from {seen:label} that they read[; with the judges' help each is worth {gain:.2f}]. Where humans are divided a label counts half.",
        shown_low(TOLERATED),
        ("see where they are wrong under Capability ceiling, by domain", MORE_LABELS),
        missing={
            "few": Missing(
                "How many labels are wrong is not known: humans labelled fewer than {few} prompts."
            )
        },
    ),
    "agreement.among_judges": Kind(
        "Agreement among judges",
        "On {matchups:matchup} that two or more of {judges:judge} compared, Krippendorff's alpha among their winners is {value} ({interval}): 1 is perfect agreement, 0 what chance gives.[ Least alike are {one} and {other}: {least:.3f}.]",
        too_low(0.1, 0.1, "number", unless={"few": ("note", "on few prompts")}),
        ("find out which of them agree with humans, and keep those: {spotcheck}",),
        "number",
        fair=1.0,
    ),
}

CALIBRATION: Final = {
    "calibration.over": Kind(
        "Confidence against agreement",
        "The mean confidence of {judge} is {confidence:%}; humans agree in {right:%} of {matchups:matchup}: {size} too {sign:confident|modest} ({interval}).[?bare| There are winners only, and no probabilities.]",
        # Jung et al. (2024) found calibration errors of 20 points for GPT-4, and of 10 after mending.
        far_from(0.0, 0.1, "points", unless=MENDED),
        ("fit a temperature for each judge to human labels: `{export} --labels FILE`",),
        "points",
        fair=0.0,
        chart=ChartWords(
            "Confidence and agreement with humans",
            "confidence",
            "share that humans agree with",
            marked="as sure as right",
            kind="lines",
            diagonal=True,
            together=True,
        ),
        missing={
            "few": Missing(
                "Whether confidences can be believed is not known: that takes {fewest} human labels."
            )
        },
    ),
    "calibration.ece": Kind(
        "Calibration error (ECE)",
        "The calibration error (ECE, 10 bins) of {judge} is {value}; with as many labels chance alone gives a perfectly calibrated judge {by_chance:%}.",
        reported,
    ),
    "calibration.auroc": Kind(
        "Surer where right (AUROC)",
        "A right verdict of {judge} is surer than a wrong one in {value} of the cases ({interval}; AUROC); 50% would mean that confidence says nothing.",
        too_low(0.5, 0.0),
        ("do not choose labels by their margin: `{export} --prefer.min_margin 0`",),
    ),
    "calibration.aurc": Kind(
        "Risk and coverage (AURC)",
        "Of the surest half of {judge} {half:%} are wrong, of all {everything:%}; the mean over all shares kept is {value} (AURC).",
        reported,
        chart=ChartWords(
            "Wrong where only the surest are kept", "share kept", "share wrong", kind="lines", together=True
        ),
    ),
    "calibration.brier": Kind(
        "Brier score",
        "The Brier score of {judge} is {value} ({interval}): 0 is perfect, and one half throughout gives 0.25 where humans agree.",
        reported,
        unit="number",
    ),
    "calibration.temperature": Kind(
        "Temperature",
        "Log-odds of {judge} divided by {value} fit the human labels best; at 1 they fit as they are. That changes no winner.",
        reported,
        unit="number",
        fair=1.0,
    ),
}

CEILING: Final = {
    "ceiling.domain": Kind(
        "Agreement by domain",
        "In {about} humans agree with the labels in {value} ({interval}, {n:prompt})[; two humans with each other in {human_share:%}].[?quarantined| The domain is quarantined.]",
        too_low(WANTED),
        (
            "[?divided|write down what counts as better, since humans do not agree there either; ]ask humans about {about}, or another judge; or label more of it: {spotcheck}. Its rows stay out of exports unless you type `jurist export {source} --prefer.quarantine ignore`",
            "[?divided|write down what counts as better, since humans do not agree there either; ]ask humans about {about}, or another judge; or label more of it: {spotcheck}. Until then leave its rows out of what you train on",
        ),
        chart=ChartWords(
            "Agreement with humans by domain", y="share of labels", mark=WANTED, marked="wanted"
        ),
        missing={
            "no_humans": Missing("In which domains the labels are right is not known without human labels."),
            "one_domain": Missing(
                "All prompts are of one domain.", "Name domains in the prompts: a column `domain`"
            ),
        },
    ),
    "ceiling.unlabelled": Kind(
        "Domains without labels",
        "",
        reported,
        missing={
            "few": Missing(
                "Humans labelled fewer than {fewest} prompts of {domains:domain} ({names}): how good the labels are there is not known.",
                "Label some: {spotcheck}",
            )
        },
    ),
    "ceiling.stakes": Kind(
        "Agreement by stakes",
        "Where the stakes are {about} humans agree with the labels in {value} ({interval}, {n:prompt}).",
        too_low(WANTED, few=10),
        ("ask humans about prompts with {about} stakes", MORE_LABELS),
    ),
    "ceiling.certified": Kind(
        "Certifiable error rate",
        "Of {labels:label} that humans read {value} were wrong: with 95% certainty at most {most:%} of all are (Clopper and Pearson's bound). So many labels can certify {smallest:%} at best.",
        shown_low(TOLERATED),
        ("leave out the domains that are bad", MORE_LABELS),
    ),
    "ceiling.to_humans": Kind(
        "Labels for humans",
        "{must:,} of {labels:label} ({value}) should be seen by a human: {high:,} of high stakes, {lost:,} of domains that fall short, {unsure:,} within {near:g} of one half; some are of several kinds.",
        reported,
    ),
}
