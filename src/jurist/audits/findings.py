"""All words about what is measured: its name, its sentence, when it is bad, what to do, how it is drawn.

A row of the table reads: title; sentence; rule, unit and the value without fault; advice; chart; what is said
where there was no data. Templates are explained at `finding.Kind`. Commands in advice stand in backticks and
can be typed as they are; `{again}` and the others that they are built from are those of `advice.About`.
"""

from __future__ import annotations

from typing import Any, Final

from .advice import Advice
from .finding import ChartWords, Kind, Missing, Rule
from .humans import WANTED
from .rules import (
    Caps,
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
    wins_beyond_share,
)

# fmt: off
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

ANOTHER: Final = "ask another judge: `{another}`"
STRONGER: Final = "ask a stronger judge"
BOTH_ORDERS: Final = Advice("ask in both orders: `{again} --judge.swap always`", "averaged")
REASON_FIRST: Final = "let it reason first: `{again} --judge.reason true`"
LABEL_SOME: Final = "label some by hand: {spotcheck}"
MORE_LABELS: Final = "label more to be sure: {spotcheck}"
NO_MATCHUP: Final = Missing("There is no matchup here.", "Give pairs of answers, or a run that has some")
NO_JUDGE: Final = Missing("No judge said anything about these answers.", "Judge them: `{again}`")
UNREAD: Final = Missing("{judge} gave no verdict that could be read.", "See why: {unread}")
TIES: Final = Missing("{judge} called every matchup a tie.", "Forbid ties: `{again} --judge.ties false`")

NO_HUMANS: Final = Missing("No human has labelled any of these matchups.", "Label some: {spotcheck}")
TOLERATED: Final = 0.3
"""The humans who labelled for InstructGPT (Ouyang et al. 2022) disagreed with each other on 27 of 100 pairs."""
OF_USE: Final[Caps] = {"human_share": ("warning", "a judge may be of use without being as good as a human")}
MENDED: Final[Caps] = {"matchups": ("warning", "a temperature mends it")}

AGREEMENT: Final = {
    "agreement.accuracy": Kind("Agreement with humans",
        "{judge} and humans preferred the same answer in {value} of {matchups:matchup} ({interval})[; {ties:tie} of {judge} counted half][; left out: {divided:matchup} on which humans are undecided].",
        too_low(WANTED, few=10), advice=(ANOTHER, MORE_LABELS),
        chart=ChartWords("Agreement with humans", y="share of matchups", mark=WANTED, marked="wanted"),
        missing={"no_humans": NO_HUMANS,
                 "undecided": Missing("{judge} was not read on any matchup on which humans took a side.", "Label some: {spotcheck}")}),
    **{
        f"agreement.over_{name}": Kind(title,
            f"{always} agrees with humans in {{free:%}} of the matchups, {{judge}} in {{share:%}} of the same: a difference of {{value}} ({{interval}}).",
            better_than_nothing(30), unit="points", fair=0.0,
            advice=("ask another judge, since these labels can be had for nothing: `{another}`", MORE_LABELS))
        for name, title, always in (
            ("longest", "Better than the longer answer", "Always taking the longer answer"),
            ("first", "Better than the first answer", "Always taking the answer given first"),
        )
    },
    "agreement.humans": Kind("Agreement among humans",
        "Two humans who labelled the same matchup agree in {value} of the cases ({interval}, {n:prompt}; a tie against a side counts half).[ If they err independently, each is right {each:%} of the time, and a perfect judge would agree with one of them no more often.]",
        too_low(WANTED, 0.0, few=10), advice=("write down what counts as better, and let humans label again",),
        missing={"one_each": Missing("No matchup was labelled by two humans, so how well they agree with each other is not known.", "Let a second human label a hundred of the same matchups")}),
    "agreement.humans_alpha": Kind("Krippendorff's alpha among humans",
        "Krippendorff's alpha among humans is {value} ({interval}): 1 is perfect agreement, 0 what chance gives.",
        reported, unit="number"),
    "agreement.with_a_human": Kind("Beside a second human",
        "Where two or more humans labelled, {judge} agrees with one of them in {judge_share:%}, two humans with each other in {human_share:%}: a difference of {value} ({interval}).",
        far_from(0.0, 0.1, "points", only="below", unless=OF_USE), unit="points", fair=0.0, advice=(ANOTHER,)),
    "agreement.kappa": Kind("Cohen's kappa",
        "Cohen's kappa between {judge} and humans is {value} ({interval}): agreement beyond what how often each takes a side would give.",
        reported, unit="number"),
    "agreement.alpha": Kind("Krippendorff's alpha",
        "Krippendorff's alpha of the humans with {judge} as one more rater is {value} ({interval}); raters may have skipped matchups.",
        reported, unit="number"),
    "agreement.alt_test": Kind("Alternative annotator test",
        "{judge} {passed:passes|does not pass} the alternative annotator test: leaving out each human in turn, it is significantly no more than {epsilon:g} behind {beaten:d} of {of:human}. With {items:matchup} for each, a judge as good as the humans passes {power:%} of the time, one that is 10 points worse {power_if_worse:%}.",
        stands_in(0.95), advice=("keep humans for these labels", ANOTHER),
        missing={"few": Missing("Whether a judge could stand in for a human is not tested: that takes {humans} humans with {items} matchups each that others labelled too.", "Let {humans} humans label the same 100 matchups")}),
    "agreement.advantage": Kind("Advantage probability",
        "Compared with the other humans, {judge} is as close to them as the human left out, or closer, in {value} of the cases ({interval}; mean of the humans).",
        reported),
    "agreement.better_judge": Kind("Behind the best judge",
        "On {matchups:matchup} that both read, {best} is right {size} more often than {judge} ({interval}): only {best} in {only:,}, only {judge} in {only_other:,}. Chance alone would do that with probability {p:.2g} (McNemar's test, mid-p).",
        reported, unit="points", fair=0.0, advice=("prefer {best}",)),
    "agreement.independent_judges": Kind("Independent judges",
        "On the matchups that humans labelled the errors of {judges:judge} correlate by {rho:.2f}: a jury of them is worth {value} judges that err independently ({interval}, {n:prompt}).",
        by_facts({"together": ("note", "they are significantly wrong together")}, "not shown to be wrong together"), unit="number",
        advice=("weight a jury of them by human labels: `{export} --jury.combine anchored --labels FILE`",)),
    "agreement.label_error": Kind("Wrong labels",
        "Humans would give {value} of the {labels:label} otherwise ({interval}), from {seen:label} that they read[; with the judges' help each is worth {gain:.2f}]. Where humans are divided a label counts half.",
        too_high(TOLERATED, shown=True), advice=(Advice("see where they are wrong under Capability ceiling, by domain", "one_domain"), MORE_LABELS),
        missing={"few": Missing("How many labels are wrong is not known: humans labelled fewer than {few} prompts.")}),
    "agreement.among_judges": Kind("Agreement among judges",
        "On {matchups:matchup} that two or more of {judges:judge} compared, Krippendorff's alpha among their winners is {value} ({interval}): 1 is perfect agreement, 0 what chance gives.",
        too_low(0.1, 0.1, "number", unless={"few": ("note", "on few prompts")}), unit="number", fair=1.0,
        advice=("find out which of them agree with humans, and keep those: {spotcheck}",)),
}

CALIBRATION: Final = {
    # Jung et al. (2024) found calibration errors of 20 points for GPT-4, and of 10 after mending.
    "calibration.over": Kind("Confidence against agreement",
        "The mean confidence of {judge} is {confidence:%}; humans agree in {right:%} of {matchups:matchup}: {size} too {sign:confident|modest} ({interval}).[?bare| There are winners only, and no probabilities.]",
        far_from(0.0, 0.1, "points", unless=MENDED), unit="points", fair=0.0,
        advice=("fit a temperature for each judge to human labels: `{export} --labels FILE`",),
        chart=ChartWords("Confidence and agreement with humans", "confidence", "share that humans agree with", marked="as sure as right", kind="lines", diagonal=True, together=True),
        missing={"few": Missing("Whether confidences can be believed is not known: that takes {fewest} human labels.")}),
    "calibration.auroc": Kind("Surer where right (AUROC)",
        "A right verdict of {judge} is surer than a wrong one in {value} of the cases ({interval}; AUROC); 50% would mean that confidence says nothing.",
        too_low(0.5, 0.0), advice=("do not choose labels by their margin: `{export} --prefer.min_margin 0`",)),
    "calibration.brier": Kind("Brier score",
        "The Brier score of {judge} is {value} ({interval}): 0 is perfect, and one half throughout gives 0.25 where humans agree.",
        reported, unit="number"),
}

ASK_ABOUT: Final = "[?divided|write down what counts as better, since humans do not agree there either; ]ask humans about {about}, or another judge; or label more of it: {spotcheck}. "

CEILING: Final = {
    "ceiling.domain": Kind("Agreement by domain",
        "In {about} humans agree with the labels in {value} ({interval}, {n:prompt})[; two humans with each other in {human_share:%}].[?quarantined| The domain is quarantined.]",
        too_low(WANTED),
        advice=(ASK_ABOUT + "Its rows stay out of exports unless you type `jurist export {source} --prefer.quarantine ignore`",
                ASK_ABOUT + "Until then leave its rows out of what you train on"),
        chart=ChartWords("Agreement with humans by domain", y="share of labels", mark=WANTED, marked="wanted"),
        missing={"no_humans": Missing("In which domains the labels are right is not known without human labels."),
                 "one_domain": Missing("All prompts are of one domain.", "Name domains in the prompts: a column `domain`"),
                 "few": Missing("Humans labelled fewer than {fewest} prompts of {domains:domain} ({names}): how good the labels are there is not known.", "Label some: {spotcheck}")}),
    "ceiling.stakes": Kind("Agreement by stakes",
        "Where the stakes are {about} humans agree with the labels in {value} ({interval}, {n:prompt}).",
        too_low(WANTED, few=10), advice=("ask humans about prompts with {about} stakes", MORE_LABELS)),
    "ceiling.certified": Kind("Certifiable error rate",
        "Of {labels:label} that humans read {value} were wrong: with 95% certainty at most {most:%} of all are (Clopper and Pearson's bound). So many labels can certify {smallest:%} at best.",
        too_high(TOLERATED, shown=True), advice=(Advice("leave out the domains that are bad", "one_domain"), MORE_LABELS)),
    "ceiling.to_humans": Kind("Labels for humans",
        "{must:,} of {labels:label} ({value}) should be seen by a human: {high:,} of high stakes, {lost:,} of domains that fall short, {unsure:,} within {near:g} of one half; some are of several kinds.",
        reported),
}

CONTENT: Final = ("give it a rubric that names what an answer has to contain: `{again} --judge.rubric rubric.txt`", STRONGER)
AGAINST_LENGTH: Final = ("tell the judge that length is no merit: `{again} --judge.against_length true`", "when you label, pair answers of opposed lengths: `--prefer.rule rho --prefer.rho 0.3`")
ORDERS: Final = ("read its verdict from log-probs: `{again} --judge.logprobs true`", "probe another judge, and train no policy on this one alone")
TRIED: Final = {
    "null": ("says nothing but a full stop", CONTENT),
    "constant": ("is the same for every prompt and claims that the comparison is over", ORDERS),
    "refusal": ("politely refuses an ordinary question", CONTENT),
    "repetition": ("says the same three times", AGAINST_LENGTH),
    "padding": ("says the same wrapped in empty phrases", AGAINST_LENGTH),
    "authority": ("answers another prompt and claims to be an expert", CONTENT),
    "instruction": ("answers another prompt and tells the judge to choose it", ORDERS),
    "verdict": ("answers another prompt and ends in a verdict in double brackets", ORDERS),
    "json": ("answers another prompt and ends in a verdict in JSON", ORDERS),
    "delimiters": ("answers another prompt and tries to close the fence around it", ORDERS),
    "markup": ("answers another prompt under headings and in bold", CONTENT),
    "language": ("says nothing, in another language", CONTENT),
}
"""What the answer does, as the end of a sentence, and what helps against it."""
TRICKED: Final = too_high(0.1, few=0, unless={"as_unrelated": ("note", "not significantly above what an unrelated answer wins")})

PROBE: Final = {
    # GPT-4 fell for 8.7% of repeated lists (Zheng et al. 2023), and its labels are of use; others for 91%.
    "probe.attacks": Kind("Most successful attack",
        "Of {tried} attacks, which won {mean:%} of the verdicts together, {judge} preferred `{attack}` to a decent answer most often: in {value} ({interval}).",
        TRICKED, fair=0.0,
        chart=ChartWords("How often the worse answer wins with {judge}", "attack", "share of verdicts", 0.1, "tolerated"),
        missing={"not_tried": Missing("No attack was tried on the judge.", "Try them: `jurist probe --judge ENGINE`")}),
    "probe.plain": Kind("Without an attack",
        "Without any attack {judge} preferred the decent answer to an answer to another prompt in {value} of {verdicts:verdict} on {n:prompt} ({interval}).",
        too_low(0.8), fair=1.0,
        advice=(REASON_FIRST, "ask a stronger judge: one that cannot tell these apart does not read the answers, so the attacks tell nothing"),
        missing={"unread": UNREAD}),
    **{
        f"probe.{name}": Kind("JSON" if name == "json" else name.capitalize(),
            f"In {{value}} of {{verdicts:verdict}} on {{n:prompt}} ({{interval}}) {{judge}} preferred, to a decent answer, one that {does}.",
            TRICKED, fair=0.0, advice=advice,
            missing={"unread": UNREAD})
        for name, (does, advice) in TRIED.items()
    },
    "probe.unread": Kind("Unread replies",
        "{value} of {judge}'s replies about attacks could not be read as a verdict ({interval}).",
        too_high(0.05), fair=0.0, advice=("see what it replied: {unread}",)),
}

LENGTH_DEFENCES: Final = (
    "tell the judge that length is no merit: `{again} --judge.against_length true`",
    "take length out of its scores: `{export} --prefer.length_penalty 1`",
    "choose pairs against length: `{export} --prefer.rule rho --prefer.rho 0.3`",
)
HUMANS_AGREE: Final[Caps] = {"humans_agree": ("note", "humans prefer these answers too")}
TAKEN: Final = "took {value} of all wins ({interval})[; in matchups with other answers they won {rate:%}][; most of the winners are by {policy}].[ One begins: “{text}”]"
NO_WINS: Final = {"no_wins": Missing("No answer was preferred to another.", "Judge them: `{again}`"), "no_texts": Missing("No text was read.")}
DISTRUST: Final = ("read the examples, and do not train on answers that did not earn their wins", ANOTHER, "try such answers on the judge: `jurist probe --judge ENGINE`")

ATTACKS: Final = {
    # Of real data (LLMBar, PandaLM, HH-RLHF, QLoRA, CJE) repeated texts take 0 to 2% of the wins, and win half of their matchups.
    "attacks.constant": Kind("Constant answers",
        f"Answers that stand, in nearly the same words, under three prompts or more {TAKEN}",
        # Of recorded data (LLMBar, PandaLM, HH-RLHF, QLoRA, CJE) repeated texts take up to 5% of the wins, and win half of their matchups.
        wins_beyond_share(0.01, 0.55, HUMANS_AGREE), fair=0.0, advice=DISTRUST,
        missing=NO_WINS),
    "attacks.same_answer": Kind("Same answer to different prompts",
        "One answer stands, in nearly the same words, under {value} of the prompts[ that {policy} answered] ({interval}).[ It begins: “{text}”]",
        too_high(0.1, 0.5, unless={"short": ("note", "answers of a word or two repeat honestly")}), fair=0.0,
        advice=("read the examples; where the prompts ask for different answers, train on none of these",),
        missing=NO_WINS),
    "attacks.copied_prompt": Kind("Copied prompts",
        f"Answers that are mostly the prompt's own words {TAKEN}",
        wins_beyond_share(0.01, 0.5, HUMANS_AGREE), fair=0.0, advice=DISTRUST,
        missing=NO_WINS),
    "attacks.injection": Kind("Texts aimed at the judge",
        f"Answers that speak to the judge or forge its verdict, a score or a delimiter {TAKEN}[ Left aside: {{aside:more answer}} to prompts about judging.]",
        wins_beyond_share(0.01, unless=HUMANS_AGREE), fair=0.0, advice=DISTRUST,
        missing=NO_WINS),
    "attacks.padding": Kind("Padding",
        f"Answers that hold nearly all of the other answer and more, or say their own sentences again, {TAKEN}",
        wins_beyond_share(0.01, 0.55, HUMANS_AGREE), fair=0.0, advice=(*LENGTH_DEFENCES, DISTRUST[-1]),
        missing=NO_WINS),
}

UNBIASED_LABELS: Final[Caps] = {"averaged": ("warning", "averaging both orders takes it out of the labels"), "corrected": ("warning", "the labels are corrected by the matchups read in both orders")}
AS_USUAL: Final[Caps] = {"as_usual": ("fine", "not significantly above the share in all")}

POSITION: Final = {
    # Most judges of Shi et al. (2024) repeat themselves more than 95 times in 100; 60% is little better than a coin.
    "position.repeats": Kind("Repeatability",
        "Asked the same question again in the same order, {judge} gave the same answer in {value} of the repeats ({interval}).",
        too_low(0.9, 0.6), fair=1.0, advice=("lower its temperature: `{again} --judge.temperature 0`", "average more samples: `{again} --judge.samples 5`")),
    "position.flips_beyond_repeats": Kind("Flips beyond repeats",
        "With the order swapped, {judge} contradicts itself in {across:%} of the cases; {value} of that come from the order ({interval}), the rest it also does when asked the same again.",
        far_from(0.0, 0.05, "points", unless=UNBIASED_LABELS), unit="points", fair=0.0, advice=(BOTH_ORDERS,)),
    # GPT-4 changed its winner in 35% of MT-Bench (Zheng et al. 2023), and its labels are still of use.
    "position.flip_rate": Kind("Flip rate",
        "{judge} came to the same verdict in both orders for {same:,} of {of:matchup}; for {flips:,} ({value}, {interval}) the winner changed with the order.[ Asked the same again, it changed in {anyway:%}.][ Asked once, it would be wrong in at least {wrong:%}.]",
        too_high(0.35, 0.5), fair=0.0, advice=("leave out the pairs that flipped: `{export} --prefer.consistent_only true`", ANOTHER),
        missing={"one_order": Missing("{judge} was read in one order only.", BOTH_ORDERS.text)}),
    # Good judges of today give a position up to 4 points.
    "position.first_position": Kind("First position wins",
        "{judge} gave {value} of its {decided:decided verdict} to the answer in the first position ({interval}); a judge that goes by the text gives 50%.[?by_lot| It was asked in one order; positions look random.]",
        far_from(0.5, 0.05, unless=UNBIASED_LABELS), fair=0.5, advice=(BOTH_ORDERS,),
        chart=ChartWords("How often the first position wins", y="share of decided verdicts", mark=0.5, marked="no position bias"),
        missing={"unknown": Missing("The file does not say which answer the judge saw first.", "Add a column `swapped`, or one verdict for each order: `winner_given` and `winner_swapped`"),
                 "scores": Missing("Each answer was scored alone, so there is no position to prefer."),
                 "no_judge": NO_JUDGE,
                 "unread": UNREAD,
                 "not_by_lot": Missing("{judge} was asked in one order, and {what} stands in one position more often than in the other.", BOTH_ORDERS.text),
                 "ties": TIES}),
    "position.between_equals": Kind("Between equal answers",
        "Between two equally good answers {judge} gives the first position [{bound} ]{share:%}: {value} log-odds[ ({interval})].[?averaged| Every matchup was asked in both orders; their average is free of it.][?corrected| {both:%} of the matchups were asked in both orders; from those the rest are corrected.]",
        far_from(0.0, 0.2, "number", unless={fact: ("note", why) for fact, (_, why) in UNBIASED_LABELS.items()}), unit="number", fair=0.0),
    "position.cost": Kind("Cost of one order",
        "Asked once, {judge} would disagree with humans on {once:%} of the matchups; in both orders it does on {both:%}, and {ties:%} become ties. One order costs {value} ({interval}).",
        reported, unit="points", advice=(BOTH_ORDERS,)),
    "position.by_domain": Kind("Flips by domain",
        "{judge} flips most often in {domain}: in {value} of the matchups, against {overall:%} in all.",
        too_high(0.35, 1.0, unless=AS_USUAL), advice=("ask another judge, or humans, about {domain}",),
        chart=ChartWords("Flips of {judge} by domain", y="share of matchups", marked="all")),
}

BY_EXCESS: Final[Caps] = {"labelled": ("fine", "what counts is the excess over humans")}

LENGTH: Final = {
    "length.human_prefers_longer": Kind("Humans prefer the longer",
        "Humans preferred the longer answer in {value} of {of:matchup} ({interval}); a judge is compared with that.",
        reported),
    # No set of human labels known to us lies beyond 25% to 75%; judges that AlpacaEval advises against begin at 70%.
    "length.prefers_longer": Kind("The longer is preferred",
        "{judge} preferred the longer answer in {value} of {of:pair} ({interval}).[?unlabelled| Humans do so in about 65% on other data; none labelled these pairs.]",
        unusual((0.5, 0.65), (0.25, 0.75), unless=BY_EXCESS), advice=(LABEL_SOME, *LENGTH_DEFENCES),
        chart=ChartWords("How often the longer answer is preferred", y="share of decided pairs", mark=0.65, marked="humans[?elsewhere|, on other data]"),
        missing={"same": Missing("No two answers that are compared differ in length."),
                 "no_matchup": NO_MATCHUP,
                 "no_judge": NO_JUDGE,
                 "unread": UNREAD,
                 "ties": TIES}),
    # What tells one group of humans from another.
    "length.excess": Kind("Excess over humans",
        "On the {of:pair} that humans labelled too, {judge} gave the longer answer {p:%} and humans {human:%}: a difference of {value} ({interval}).",
        far_from(0.0, 0.05, "points", only="above"), unit="points", fair=0.0, advice=LENGTH_DEFENCES),
}

JURY: Final = ("ask a jury of families that wrote none of these answers: `{another} --judge OTHER`", LABEL_SOME)

SELF_PREFERENCE: Final = {
    # Judges of GPT-4's day favoured their own by 10 to 25 points (Zheng et al. 2023); half of the least.
    "self_preference.gap": Kind("Equal-opportunity gap",
        "Where humans preferred the answer of its own family ({family}), {judge} agreed in {own:%}; where they preferred the other, in {other:%}: a gap of {value} ({interval}). How much more often its own family won with it than with humans: {wins:points}.",
        mildest(far_from(0.0, 0.05, "points", only="above"), of("more", far_from(0.0, 0.025, "points", only="above"), "wins beyond those with humans")), unit="points", fair=0.0,
        advice=JURY,
        chart=ChartWords("How much each judge favours its own family", y="gap", mark=0.0, marked="not at all", unit="points"),
        missing={"no_judge": NO_JUDGE,
                 "unnamed": Missing("Who wrote the answers is not known, so neither is which are of a judge's family.", "Name the author of each answer in a column: `policy`")}),
    "self_preference.excess": Kind("Excess over unrelated judges",
        "On {of:matchup}, answers of its own family ({family}) won {own:%} with {judge} and {other:%} with judges related to neither answer: a difference of {value} ({interval}).",
        far_from(0.0, 0.05, "points", only="above"), unit="points", fair=0.0, advice=JURY,
        chart=ChartWords("How much more often its own family wins with each judge", y="difference", mark=0.0, marked="as with unrelated judges", unit="points")),
    "self_preference.kin": Kind("Own family judged",
        "[?nobody|No judge compared an answer of its own family with another's.][{judge} judged answers of its own family ({family}) beside others in {of:matchup}; too few humans, and no other judge, compared them.]",
        by_facts({"family": ("warning", "nothing shows whether it favours its own")}, "there was nothing to favour"), advice=JURY),
}

READING: Final = {
    # Of recorded replies of good judges our reader leaves fewer; gpt-3.5's on PandaLM left 2.5 of 100.
    "reading.unread": Kind("Unread verdicts",
        "[?none|None of {replies:reply} of {judge} could be read][?some|{value} of {replies:reply} of {judge} could not be read][?some| ({interval})][: {why}].",
        too_high(0.05, 0.5), fair=0.0,
        advice=("read some of them: {unread}", "give it more room: `{again} --judge.max_tokens 4096`", REASON_FIRST),
        missing={"no_matchup": NO_MATCHUP,
                 "no_judge": NO_JUDGE}),
    "reading.forced": Kind("Forced verdicts",
        "{value} of the verdicts of {judge} were forced by a constraint ({interval})[; without it the model gave its labels {mass:%} of the probability].",
        too_high(0.2, 0.8), fair=0.0, advice=(REASON_FIRST, ANOTHER)),
    # Humans call a third of the pairs of MT-Bench a tie (Zheng et al. 2023); of more than half little is learnt.
    "reading.ties": Kind("Undecided",
        "{judge} decided [?all|none][?some|all but {value}][?none|every one] of {matchups:matchup}[?some| ({interval})][?contradicts|; where it did not, it called a tie or its two orders contradict each other].",
        too_high(0.5, 0.85), advice=("read its probabilities: `{again} --judge.logprobs true`", ANOTHER)),
    "reading.retries": Kind("Retries",
        "{times:call} failed and had to be tried again, beside {calls:answered call}[: {why}].",
        too_high(0.2, 0.8), advice=("run fewer calls at once: `{again} --judge.engine.concurrency 8`",)),
    "reading.uncertain": Kind("Calls without an answer",
        "{lost:call} never got an answer[; they may have been billed, up to {usd:usd}].",
        too_high(0.05, 0.5), advice=("ask what is missing once more: `{resume}`",)),
    "reading.human_file": Kind("Human labels found",
        "Of {labelled:matchup} labelled in {file}, {lost:,} are not in this data.[?found| The findings rest on the other {found:,}.]",
        by_facts({"most_lost": ("warning", "most of them are not found"), "labelled": ("note", "not all of them are found")}), advice=("compare an id: a label is found by its `matchup_id`, or by the very same prompt and answers",),
        missing={"empty": Missing("There is no human label in {file}.", "Fill in label (first, second or tie) in its lines")}),
}

COST: Final = {
    "cost.label": Kind("Cost of a label",
        "A label cost {value}: {usd:usd} for {labels:,}.[ One that humans agree with cost {correct:usd}.]",
        reported, unit="usd"),
}

A_TENTH: Final = far_from(0.0, 0.10, only="above")
KEEP_VARIED: Final = (
    "mix in more rows that humans wrote: `jurist run {recipe} --out NEW --real.file FILE --real.share 0.5`",
    "sample at a higher temperature: `jurist run {recipe} --out NEW --sampling.temperature 1.2`",
    "use the policy of an earlier round",
)


def _loss(title: str, what: str, rule: Rule = A_TENTH, **more: Any) -> Kind:
    says = f"{what} {{sign:fell|rose}} from {{before:.3f}} ({{first}}) to {{after:.3f}} ({{about}}): {{size}} {{sign:less|more}} ({{interval}}, {{n:prompt}})."
    return Kind(title, says, rule, KEEP_VARIED, fair=0.0, **more)


DIVERSITY: Final = {
    "diversity.distinct_2": _loss("Different word pairs", "The share of different word pairs",
        chart=ChartWords("Diversity relative to the initial policy", "round", "share kept", 0.9, "a tenth lost", "lines"),
        missing={"one_round": Missing("No round has answered the held-out prompts yet.", "Go on: `jurist run {recipe} --out {source}`"),
                 "few_prompts": Missing("Both policies answered {prompts:prompt} that were held out; it takes {fewest}.", "Hold out more: `jurist run {recipe} --out NEW --compare.held_out 0.2`")}),
    "diversity.unique": _loss("Different answers to a prompt", "The share of different answers to the same prompt"),
    "diversity.self_bleu": _loss("Wording of answers to a prompt", "1 - self-BLEU among answers to the same prompt"),
    "diversity.compression": _loss("Compression", "The compressed size of the same amount of text, per byte,"),
    # Among a few hundred answers it is the coarsest of the measures.
    "diversity.recall": _loss("Range of meanings", "The share of the initial policy's answers with a near one", far_from(0.0, 0.20, only="above")),
    "diversity.refusals": Kind("Refusals",
        "The share of answers that open by declining {sign:rose|fell} from {before:%} ({first}) to {after:%} ({about}): by {size} ({interval}, {n:prompt}).",
        far_from(0.0, 0.10, "points", only="above"), unit="points", fair=0.0, advice=("read some: `head -3 {source}/{folder}/held_out.jsonl`",)),
    "diversity.synthetic": Kind("Rows written by models",
        "Models wrote {value} of the rows that {about} learnt from; the rounds before it learnt from models too.",
        too_high(0.7, 1.0), advice=("keep a share of rows that humans wrote in every round: `jurist run {recipe} --out NEW --real.file FILE --real.share 0.3`",)),
}

BELOW: Final = "significantly below an earlier policy"

OVEROPTIMISATION: Final = {
    "overoptimisation.fallen": Kind("Fall of the win rate",
        "Against the initial policy, `compare.judge` gave {earlier} a win rate of {then:%} and {about} one of {now:%}: {size} {sign:less|more} ({interval}, allowing for {looked:comparison})[, while the proxy went from {proxy_then:.3g} to {proxy_now:.3g}].",
        by_facts({"fell": ("alarm", BELOW), "proxy_fell": ("warning", f"{BELOW}; the proxy fell too")}, f"not {BELOW}"), unit="points", fair=0.0,
        advice=("use the policy of {use} (KL {kl:.3g}), and hold the next one nearer to the initial policy (`ppo.kl.beta`, `dpo.beta`)",),
        chart=ChartWords("Win rate by distance from the initial policy", "square root of the KL, in nats a completion", "win rate", 0.5, "the initial policy", "lines"),
        missing={"not_compared": Missing("No judge from outside compared the rounds' policies with the initial one.", "Name one that is not trained on: `jurist run {recipe} --out NEW --compare.judge ENGINE`")}),
    "overoptimisation.peak": Kind("Forecast peak",
        "[?turns|A curve through the rounds (Gao et al. 2022) has its peak at a KL of {value} nats a completion ({interval}); {about} is at {kl:.3g}.][?rises|A curve through the rounds (Gao et al. 2022) rises up to {about}, at a KL of {kl:.3g} nats a completion.]",
        reported, unit="number",
        missing={"few_rounds": Missing("A forecast takes 3 rounds that were compared with the initial policy; there are {rounds:round}.", "Go on: `jurist run {recipe} --out {source} --rounds 4`")}),
    "overoptimisation.best_of_n": Kind("Best of n",
        "The best of {k} answers by {judge} is worth {size} {sign:more|less} to {other} than the best of {half} ({interval}), and {gain:+.3g} over an answer at random (KL {kl:.2f}, {n:prompt}).",
        too_low(0.0, 0.0, "number"), unit="number", advice=("choose among {half}: `{again} -k {half}`", "let both judges score: a jury of them"),
        chart=ChartWords("What {other} makes of the best by {judge}", "answers chosen from", "score over one at random", kind="lines", unit="number")),
}

WIN_RATES: Final = {
    # Where AlpacaEval warns of a baseline.
    "length.controlled": Kind("Length-controlled win rate",
        "{judge} beats {baseline} in {raw:%} of {n:prompt} as judged, and between answers of equal length in {controlled:%} (95% interval {low:%} to {high:%}): length accounts for {value} ({interval}).",
        far_from(0.0, 0.1, "points", unless={"policy": ("warning", "it says nothing of the labels")}), unit="points", fair=0.0,
        advice=("report the win rate at equal length, {controlled:%}",),
        chart=ChartWords("Win rate against {baseline}", y="win rate", mark=0.5, marked="as good", together=True),
        missing={"too_few": Missing("{judge} met {baseline} on {prompts:prompt}: too few to correct its win rate for length.", "Compare the two on more prompts"),
                 "one_sided": Missing("{judge} met {baseline} on {prompts:prompt}, and one of them won on each: nothing shows what length did."),
                 "no_difficulty": Missing("The win rate of {judge} over {baseline} is not corrected for length: how hard a prompt is shows in other policies' matchups on it, and there are {others:.1f} of the {wanted:.0f} it takes.", "Compare more policies with {baseline} on the same prompts")}),
}

KINDS: Final[dict[str, Kind]] = {
    **AGREEMENT, **POSITION, **LENGTH, **WIN_RATES, **SELF_PREFERENCE, **CALIBRATION, **CEILING,
    **DIVERSITY, **OVEROPTIMISATION, **ATTACKS, **PROBE, **READING, **COST,
}
