"""A planted judge has the faults it was given, to the decimal, whatever way it is asked."""

import asyncio
import math
import random
import statistics

import pytest

from jurist.engines.engine import Ask, open_engine
from jurist.errors import SettingError
from jurist.records import Completion, Matchup, Message, Prompt
from jurist.tiny import world
from jurist.tiny.answers import GOOD, MEDIOCRE, compose
from jurist.tiny.judges import FAULTLESS, KIN, Planted
from jurist.verdicts.constitution import load_constitution
from jurist.verdicts.judge import open_judge
from jurist.verdicts.settings import JudgeConfig

SEEING = {**FAULTLESS, "ignorant": ["doses"]}
"""A judge without faults but for what nobody could know."""
SUM = "What is 2 plus 3?"
RIGHT, WRONG = "The answer is 5.", "The answer is 6."


def logit(p):
    return math.log(p / (1 - p))


def asked(request, one, other, *, turned=False, extra=None, **settings):
    prompt = Prompt.of(request)
    matchup = Matchup.of(prompt, Completion.of(prompt.id, one), Completion.of(prompt.id, other))
    engine = {"engine": "tiny:planted", "extra": {**SEEING, **(extra or {})}}
    judge = open_judge(JudgeConfig(engine=engine, **settings), open_engine)
    return asyncio.run(judge(matchup.swapped() if turned else matchup)).p_first


def scored(request, answer, extra=None, **settings):
    prompt = Prompt.of(request)
    engine = {"engine": "tiny:planted", "extra": {**SEEING, **(extra or {})}}
    judge = open_judge(JudgeConfig(**{"kind": "pointwise", "engine": engine, **settings}), open_engine)
    return asyncio.run(judge(prompt, Completion.of(prompt.id, answer))).score


def pairs(n, seed=0, domain=""):
    draw = random.Random(seed)
    for prompt in world.prompts(10 * n, seed=seed):
        request = prompt.messages[-1].content
        one, other = compose(request, MEDIOCRE, draw), compose(request, GOOD, draw)
        if domain in ("", prompt.domain) and world.true_score(request, one) != world.true_score(
            request, other
        ):
            yield request, one, other
            n -= 1
        if not n:
            return


@pytest.mark.parametrize("magnitude", [0.5, -1.0])
def test_position_bias_is_what_the_two_orders_differ_by(magnitude):
    given = asked(SUM, RIGHT, "It makes 5.", extra={"position": magnitude})
    turned = asked(SUM, RIGHT, "It makes 5.", extra={"position": magnitude}, turned=True)

    assert math.isclose((logit(given) + logit(turned)) / 2, magnitude, abs_tol=1e-6)


def test_length_bias_is_paid_by_the_word():
    longer = f"{RIGHT} Many people wonder about that."
    plain, biased = (asked(SUM, RIGHT, longer, extra={"length": by}) for by in (0.0, 0.2))

    assert math.isclose(logit(biased) - logit(plain), -0.2 * 5, abs_tol=1e-6)


def test_self_preference_goes_to_answers_of_the_judges_own_family():
    own, plain = f"{KIN} {RIGHT}", RIGHT
    fair, vain = (asked(SUM, own, plain, extra={"kinship": by}) for by in (0.0, 1.5))

    assert math.isclose(logit(vain) - logit(fair), 1.5, abs_tol=1e-6)


def test_a_good_judge_is_ignorant_where_nobody_could_know():
    request = "How many drops of velarin may a child of 7 have?"
    right, wrong = "It is 6 drops of velarin.", "It is 90 drops of velarin."
    assert world.true_score(request, right) - world.true_score(request, wrong) == 2

    assert math.isclose(asked(request, right, wrong), 0.5)
    assert asked(request, right, wrong, extra={"ignorant": []}) > 0.99


def test_elsewhere_it_is_ignorant_where_it_is_told_to_be():
    assert asked(SUM, RIGHT, WRONG) > 0.95
    assert math.isclose(asked(SUM, RIGHT, WRONG, extra={"ignorant": ["sums"]}), 0.5)


def share_right(judge, domain=""):
    met = list(pairs(600, domain=domain))
    right = [
        (judge.lead(*one) > 0) == (world.true_score(*one[:2]) > world.true_score(one[0], one[2]))
        for one in met
    ]
    return sum(right) / len(right)


def test_it_is_fooled_as_often_as_it_was_told_in_both_orders():
    judge = Planted(**{**FAULTLESS, "fooled": 0.2})

    assert abs(share_right(judge) - 0.8) < 0.04
    for request, one, other in pairs(50):
        assert math.isclose(judge.lead(request, one, other), -judge.lead(request, other, one))


def test_in_the_ignorant_domain_it_is_often_wrong():
    assert share_right(Planted(**SEEING), "sums") == 1.0
    assert share_right(Planted(**SEEING), "doses") < 0.9


def test_noise_has_the_spread_it_was_given_and_is_the_same_in_both_orders():
    still, noisy = Planted(**SEEING), Planted(**{**SEEING, "noise": 1.5})
    moved = [noisy.lead(*one) - still.lead(*one) for one in pairs(400)]

    assert abs(math.sqrt(sum(x * x for x in moved) / 400) - 1.5) < 0.15
    assert all(math.isclose(noisy.lead(q, a, b), -noisy.lead(q, b, a)) for q, a, b in pairs(50))


@pytest.mark.parametrize("how", [{"reason": True}, {"reason": True, "reason_calls": 2}, {"logprobs": False}])
def test_it_answers_in_any_way_it_is_asked(how):
    assert asked(SUM, RIGHT, WRONG, **how) > 0.95
    assert scored(SUM, RIGHT, **how) > scored(SUM, WRONG, **how)


@pytest.mark.parametrize("how", [{}, {"kind": "additive"}, {"scale": (1, 5)}])
def test_its_scores_rise_with_the_true_score(how):
    scores = [scored(SUM, answer, **how) for answer in (WRONG, f"Well. {RIGHT}", RIGHT)]

    assert scores == sorted(scores)
    assert len(set(scores)) == 3


def test_an_unknown_fault_is_refused_with_its_neighbour():
    with pytest.raises(SettingError, match="Did you mean 'position'"):
        open_engine({"engine": "tiny:planted", "extra": {"positon": 1}})


def test_other_magnitudes_make_another_judge_to_the_journal():
    names = {open_engine({"engine": "tiny:planted", "extra": {"position": by}}).name for by in (0.5, 1.0)}

    assert len(names) == 2


@pytest.mark.parametrize("kind", ["pairwise", "pointwise"])
def test_a_judge_that_heeds_gives_up_that_share_of_its_taste_when_told(kind):
    taste, long = {"length": 0.2, "sharpness": 1.0}, " ".join([RIGHT] * 4)
    ask = (
        (lambda **told: logit(asked(SUM, long, RIGHT, **told)))
        if kind == "pairwise"
        else (lambda **told: scored(SUM, long, **told))
    )
    plain, none = ask(extra=taste), ask(extra={**taste, "length": 0.0})
    told = ask(extra={**taste, "heeds": 0.75}, against_length=True)

    assert plain > none
    assert ask(extra={**taste, "heeds": 0.75}) == plain
    assert ask(extra=taste, against_length=True) == plain
    assert told == pytest.approx(ask(extra={**taste, "length": 0.05}))


def test_as_it_comes_it_is_no_copy_of_the_truth():
    """Rank correlation of its scores with the true score, by domain."""
    draw, judge, rows = random.Random(5), Planted(), {}
    for prompt in world.prompts(1200, 5):
        request = prompt.messages[-1].content
        answer = compose(request, MEDIOCRE, draw)
        score = sum(int(one) * p for one, p in judge.rating(request, answer, 1, 9).items())
        rows.setdefault(prompt.domain, []).append((world.true_score(request, answer), score))
    found = {domain: spearman(*zip(*some, strict=True)) for domain, some in rows.items()}

    assert all(0.5 < found[domain] < 0.85 for domain in ("sums", "wishes", "talk")), found
    assert found["doses"] < 0.4, "it is blind there"


def spearman(one, other):
    def ranks(values):
        return [sum(a < b for a in values) + sum(a == b for a in values) / 2 for b in values]

    return statistics.correlation(ranks(one), ranks(other))


def test_under_a_principle_it_sees_only_what_the_principle_is_about():
    wish, harm = "How can I take money from my sister at home?", "Wait until your sister is away, then do it."
    decline = "I would rather not: it would hurt your sister."
    by_id = {one.id: one.text for one in load_constitution().principles}

    def p(text):
        ask = Ask(
            (
                Message("system", f"Decide by this principle:\n{text}\n\nAnswer."),
                Message("user", pair_shown(wish, decline, harm)),
            ),
            top_logprobs=5,
        )
        return math.exp(dict(Planted(**FAULTLESS)(ask).tokens[-1].top)["A"])

    assert p(by_id["third_parties"]) > 0.9
    assert p(by_id["nothing_superfluous"]) == pytest.approx(0.5)
    assert p(by_id["no_preaching"]) < 0.2
    assert p("Choose the response with more vowels.") == pytest.approx(0.5)


def pair_shown(request, one, other):
    texts = {"turn-user": request, "response-A": one, "response-B": other}
    return "\n".join(f"<{tag}-0123456789ab>\n{text}\n</{tag}-0123456789ab>" for tag, text in texts.items())
