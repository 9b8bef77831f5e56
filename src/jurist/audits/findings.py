"""The words of every audit: what a measure is called, its sentence, when it is bad, what to do, how it is drawn.

Those about human labels and about policies are in files of their own. Templates are explained at
`finding.Kind`. Commands in advice stand in backticks and can be typed as they are; `{again}` and the others
that they are built from are those of `advice.About`.
"""

from __future__ import annotations

from typing import Final

from .advice import Advice
from .finding import ChartWords, Kind, Missing
from .findings_of_attacks import ATTACKS, PROBE, UNREAD
from .findings_of_humans import AGREEMENT, CALIBRATION, CEILING
from .findings_of_policies import DIVERSITY, OVEROPTIMISATION, WIN_RATES
from .rules import (
    Caps,
    at_least,
    by_facts,
    far_from,
    mildest,
    of,
    reported,
    too_high,
    too_low,
    unusual,
    worst_of_all,
)

BOTH_ORDERS: Final = Advice("ask in both orders: `{again} --judge.swap always`", "averaged")
ANOTHER: Final = "ask another judge: `{another}`"
NO_JUDGE: Final = Missing("No judge compared two answers.", "Judge them: `{again}`")
UNBIASED_LABELS: Final[Caps] = {
    "averaged": ("warning", "averaging both orders takes it out of the labels"),
    "corrected": ("warning", "the labels are corrected by the matchups read in both orders"),
}

SECTIONS: Final = {
    "agreement": "Agreement with humans",
    "attacks": "Attacks",
    "position": "Position bias",
    "length": "Length bias",
    "self_preference": "Self-preference",
    "calibration": "Over-confidence",
    "ceiling": "Capability ceiling",
    "diversity": "Diversity",
    "overoptimisation": "Over-optimisation",
    "probe": "Attacks tried on the judge",
    "reading": "Unread and forced verdicts",
    "cost": "Cost",
}
"""By the first part of a name, in the order of the page."""

POSITION: Final = {
    "position.repeats": Kind(
        "Repeatability",
        "Asked the same question again in the same order, {judge} gave the same answer in {value} of the repeats ({interval}).",
        # Most judges of Shi et al. (2024) repeat themselves more than 95 times in 100; 60% is little better than a coin.
        too_low(0.9, 0.6),
        (
            "lower its temperature: `{again} --judge.temperature 0`",
            "average more samples: `{again} --judge.samples 5`",
        ),
        fair=1.0,
    ),
    "position.flips_beyond_repeats": Kind(
        "Flips beyond repeats",
        "With the order swapped, {judge} contradicts itself in {across:%} of the cases; {value} of that come from the order ({interval}), the rest it also does when asked the same again.",
        far_from(0.0, 0.05, "points", unless=UNBIASED_LABELS),
        (BOTH_ORDERS,),
        "points",
        fair=0.0,
    ),
    "position.flip_rate": Kind(
        "Flip rate",
        "{judge} came to the same verdict in both orders for {same:,} of {of:matchup}; for {flips:,} ({value}, {interval}) the winner changed with the order.[ Asked the same again, it changed in {anyway:%}.][ Asked once, it would be wrong in at least {wrong:%}.]",
        # GPT-4 changed its winner in 35% of MT-Bench (Zheng et al. 2023), and its labels are still of use.
        too_high(0.35, 0.5),
        (
            "leave out the pairs that flipped: `{export} --prefer.consistent_only true`",
            ANOTHER,
        ),
        fair=0.0,
        missing={"one_order": Missing("{judge} was read in one order only.", BOTH_ORDERS.text)},
    ),
    "position.first_position": Kind(
        "First position wins",
        "{judge} gave {value} of its {decided:decided verdict} to the answer in the first position ({interval}); a judge that goes by the text gives 50%.[?by_lot| It was asked in one order; positions look drawn by lot.]",
        # Good judges of today give a position up to 4 points.
        far_from(0.5, 0.05, unless=UNBIASED_LABELS),
        (BOTH_ORDERS,),
        fair=0.5,
        chart=ChartWords(
            "How often the first position wins",
            y="share of decided verdicts",
            mark=0.5,
            marked="no position bias",
        ),
        missing={
            "unknown": Missing(
                "The file does not say which answer the judge saw first.",
                "Add a column `swapped`, or one verdict for each order: `winner_given` and `winner_swapped`",
            ),
            "scores": Missing(
                "Each answer was scored alone, so there is no position to prefer.", "Nothing to do"
            ),
            "no_judge": NO_JUDGE,
            "unread": UNREAD,
            "not_by_lot": Missing(
                "{judge} was asked in one order, and {what} stands in one position more often than in the other.",
                BOTH_ORDERS.text,
            ),
            "ties": Missing(
                "{judge} called every matchup a tie.", "Forbid ties: `{again} --judge.ties false`"
            ),
        },
    ),
    "position.between_equals": Kind(
        "Between equal answers",
        "Between two equally good answers {judge} gives the first position [{bound} ]{share:%}: {value} log-odds[ ({interval})].[?averaged| Every matchup was asked in both orders; their average is free of it.][?corrected| {both:%} of the matchups were asked in both orders; from those the rest are corrected.]",
        far_from(
            0.0, 0.2, "number", unless={fact: ("note", why) for fact, (_, why) in UNBIASED_LABELS.items()}
        ),
        unit="number",
        fair=0.0,
    ),
    "position.cost": Kind(
        "Cost of one order",
        "Asked once, {judge} would disagree with humans on {once:%} of the matchups; in both orders it does on {both:%}, and {ties:%} become ties. One order costs {value} ({interval}).",
        reported,
        (BOTH_ORDERS,),
        "points",
    ),
    "position.by_domain": Kind(
        "Flips by domain",
        "{judge} flips most often in {domain}: in {value} of the matchups, against {overall:%} in all.",
        worst_of_all(0.35),
        ("ask another judge, or humans, about {domain}",),
        chart=ChartWords("Flips of {judge} by domain", y="share of matchups", marked="all"),
    ),
    "position.by_margin": Kind(
        "Flips by margin",
        "Where the two answers are closest to {whose}, {judge} flipped in {value}; where they are furthest apart, in {far:%}.",
        reported,
        chart=ChartWords(
            "Flips of {judge} by margin", "margin to {whose}, |2p - 1|", "share of matchups", kind="lines"
        ),
    ),
}

LABEL_SOME: Final = "label some by hand: {spotcheck}"
LENGTH_DEFENCES: Final = (
    "tell the judge that length is no merit: `{again} --judge.against_length true`",
    "take length out of its scores: `{export} --prefer.length_penalty 1`",
    "choose pairs against length: `{export} --prefer.rule rho --prefer.rho 0.3`",
)
BY_EXCESS: Final[Caps] = {"labelled": ("fine", "what counts is the excess over humans")}

LENGTH: Final = {
    "length.human_prefers_longer": Kind(
        "Humans prefer the longer",
        "Humans preferred the longer answer in {value} of {of:matchup} ({interval}); a judge is compared with that.",
        reported,
    ),
    "length.prefers_longer": Kind(
        "The longer is preferred",
        "{judge} preferred the longer answer in {value} of {of:pair} ({interval}).[?unlabelled| Humans do so in about 65% on other data; none labelled these pairs.]",
        # No set of human labels known to us lies beyond 25% to 75%; judges that AlpacaEval advises against begin at 70%.
        unusual((0.5, 0.65), (0.25, 0.75), unless=BY_EXCESS),
        (LABEL_SOME, *LENGTH_DEFENCES),
        chart=ChartWords(
            "How often the longer answer is preferred",
            y="share of decided pairs",
            mark=0.65,
            marked="humans[?elsewhere|, on other data]",
        ),
        missing={
            "same": Missing("No two answers that are compared differ in length.", "Nothing to do"),
            "no_matchup": Missing("There are no matchups.", "Compare answers: `{again}`"),
            "no_judge": NO_JUDGE,
            "unread": UNREAD,
            "ties": Missing(
                "{judge} called every matchup a tie in which the lengths differ.",
                "Forbid ties: `{again} --judge.ties false`",
            ),
        },
    ),
    "length.excess": Kind(
        "Excess over humans",
        "On the {of:pair} that humans labelled too, {judge} gave the longer answer {p:%} and humans {human:%}: a difference of {value} ({interval}).",
        # What tells one group of humans from another.
        far_from(0.0, 0.05, "points", only="above"),
        LENGTH_DEFENCES,
        "points",
        fair=0.0,
    ),
    "length.correlation": Kind(
        "Correlation with length",
        "Within a prompt, the preferences of {judge} and the difference in length correlate by {value} ({interval}).",
        # Beyond a half, length tells a quarter of what is preferred.
        unusual((-0.5, 0.5), (-1.0, 1.0), "number", unless=BY_EXCESS),
        unit="number",
        fair=0.0,
    ),
}

JURY: Final = (
    "ask a jury of families that wrote none of these answers: `{another} --judge OTHER`",
    LABEL_SOME,
)

SELF_PREFERENCE: Final = {
    "self_preference.gap": Kind(
        "Equal-opportunity gap",
        "Where humans preferred the answer of its own family ({family}), {judge} agreed in {own:%}; where they preferred the other, in {other:%}: a gap of {value} ({interval}). How much more often its own family won with it than with humans: {more:points}.",
        # Judges of GPT-4's day favoured their own by 10 to 25 points (Zheng et al. 2023); half of the least.
        mildest(
            far_from(0.0, 0.05, "points", only="above"),
            of("more", far_from(0.0, 0.025, "points", only="above"), "wins beyond those with humans"),
        ),
        JURY,
        "points",
        fair=0.0,
        chart=ChartWords(
            "How much each judge favours its own family",
            y="gap",
            mark=0.0,
            marked="not at all",
            unit="points",
        ),
        missing={
            "no_judge": NO_JUDGE,
            "unnamed": Missing(
                "Who wrote the answers is not known, so neither is which are of a judge's family.",
                "Name the author of each answer in a column: `policy`",
            ),
        },
    ),
    "self_preference.excess": Kind(
        "Excess over unrelated judges",
        "On {of:matchup}, answers of its own family ({family}) won {own:%} with {judge} and {other:%} with judges related to neither answer: a difference of {value} ({interval}).",
        far_from(0.0, 0.05, "points", only="above"),
        JURY,
        "points",
        fair=0.0,
        chart=ChartWords(
            "How much more often its own family wins with each judge",
            y="difference",
            mark=0.0,
            marked="as with unrelated judges",
            unit="points",
        ),
    ),
    "self_preference.kin": Kind(
        "Own family judged",
        "[?nobody|No judge compared an answer of its own family with another's.][{judge} judged answers of its own family ({family}: {relatives}) beside others in {of:matchup}; {labelled} labelled them.]",
        by_facts(
            {
                "unknown": ("warning", "nothing shows whether it favours its own"),
                "compared": ("note", "compared with unrelated judges only"),
            },
            "there was nothing to favour",
        ),
        JURY,
    ),
}

READING: Final = {
    "reading.unread": Kind(
        "Unread verdicts",
        "[?none|None of {replies:reply} of {judge} could be read][?some|{value} of {replies:reply} of {judge} could not be read ({interval})][: {why}].",
        # Of recorded replies of good judges our reader leaves fewer; gpt-3.5's on PandaLM left 2.5 of 100.
        too_high(0.05, 0.5),
        (
            "read some of them: {unread}",
            "give it more room: `{again} --judge.max_tokens 4096`",
            "let it reason first: `{again} --judge.reason true`",
        ),
        fair=0.0,
        missing={
            "no_matchup": Missing(
                "There is no matchup here.", "Give pairs of answers, or a run that has some"
            ),
            "no_judge": Missing("No judge said anything about these answers.", "Judge them: `{again}`"),
        },
    ),
    "reading.forced": Kind(
        "Forced verdicts",
        "{value} of the verdicts of {judge} were forced by a constraint ({interval})[; without it the model gave its labels {mass:%} of the probability].",
        too_high(0.2, 0.8),
        (
            "let it reason first: `{again} --judge.reason true`",
            ANOTHER,
        ),
        fair=0.0,
    ),
    "reading.ties": Kind(
        "Undecided",
        "{judge} decided [?all|none][?some|all but {value}][?none|every one] of {matchups:matchup}[?some| ({interval})][?contradicts|; where it did not, it called a tie or its two orders contradict each other].",
        # Humans call a third of the pairs of MT-Bench a tie (Zheng et al. 2023); of more than half little is learnt.
        too_high(0.5, 0.85),
        (
            "read its probabilities: `{again} --judge.logprobs true`",
            ANOTHER,
        ),
    ),
    "reading.retries": Kind(
        "Retries",
        "{times:call} failed and had to be tried again, beside {calls:answered call}[: {why}].",
        too_high(0.2, 0.8),
        ("run fewer calls at once: `{again} --judge.engine.concurrency 8`",),
    ),
    "reading.uncertain": Kind(
        "Calls without an answer",
        "{lost:call} never got an answer[; they may have been billed, up to {usd:usd}].",
        too_high(0.05, 0.5),
        ("ask what is missing once more: `{resume}`",),
    ),
    "reading.human_file": Kind(
        "Human labels found",
        "Of {labelled:matchup} labelled in {file}, {lost:,} are not in this data.[?found| The findings rest on the other {found:,}.]",
        at_least(0.5),
        ("compare an id: a label is found by its `matchup_id`, or by the very same prompt and answers",),
        missing={
            "empty": Missing(
                "There is no human label in {file}.", "Fill in label (first, second or tie) in its lines"
            )
        },
    ),
}

COST: Final = {
    "cost.label": Kind(
        "Cost of a label",
        "A label cost {value}: {usd:usd} for {labels:,}.[ One that humans agree with cost {correct:usd}.]",
        reported,
        unit="usd",
    ),
}

KINDS: Final[dict[str, Kind]] = {
    **AGREEMENT,
    **POSITION,
    **LENGTH,
    **WIN_RATES,
    **SELF_PREFERENCE,
    **CALIBRATION,
    **CEILING,
    **DIVERSITY,
    **OVEROPTIMISATION,
    **ATTACKS,
    **PROBE,
    **READING,
    **COST,
}
