"""A planted judge has the faults it was given, to the decimal, whatever way it is asked."""

import asyncio
import math
import random

import pytest

from jurist.engines.engine import open_engine
from jurist.errors import SettingError
from jurist.records import Completion, Matchup, Prompt
from jurist.tiny import world
from jurist.tiny.policies import GOOD, MEDIOCRE, compose
from jurist.tiny.judges import KIN, Planted
from jurist.verdicts.judge import open_judge
from jurist.verdicts.settings import JudgeConfig

SUM = "What is 2 plus 3?"
RIGHT, WRONG = "The answer is 5.", "The answer is 6."


def logit(p):
    return math.log(p / (1 - p))


def asked(request, one, other, *, turned=False, extra=None, **settings):
    prompt = Prompt.of(request)
    matchup = Matchup.of(prompt, Completion.of(prompt.id, one), Completion.of(prompt.id, other))
    judge = open_judge(
        JudgeConfig(engine={"engine": "tiny:planted", "extra": extra or {}}, **settings), open_engine
    )
    return asyncio.run(judge(matchup.swapped() if turned else matchup)).p_first


def scored(request, answer, extra=None, **settings):
    prompt = Prompt.of(request)
    engine = {"engine": "tiny:planted", "extra": extra or {}}
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
    right, wrong = "It is 10 drops.", "It is 90 drops."
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
    judge = Planted(fooled=0.2, ignorant=())

    assert abs(share_right(judge) - 0.8) < 0.04
    for request, one, other in pairs(50):
        assert math.isclose(judge.lead(request, one, other), -judge.lead(request, other, one))


def test_in_the_ignorant_domain_it_does_little_better_than_chance():
    assert share_right(Planted(), "sums") == 1.0
    assert share_right(Planted(), "doses") < 0.75


def test_noise_has_the_spread_it_was_given_and_is_the_same_in_both_orders():
    still, noisy = Planted(), Planted(noise=1.5)
    moved = [noisy.lead(*one) - still.lead(*one) for one in pairs(400)]

    assert abs(math.sqrt(sum(x * x for x in moved) / 400) - 1.5) < 0.15
    assert all(math.isclose(noisy.lead(q, a, b), -noisy.lead(q, b, a)) for q, a, b in pairs(50))


def test_wavering_is_different_in_the_two_orders():
    given = asked(SUM, RIGHT, WRONG, extra={"wavering": 1.0})
    turned = asked(SUM, RIGHT, WRONG, extra={"wavering": 1.0}, turned=True)

    assert abs(logit(given) + logit(turned)) > 1e-3


@pytest.mark.parametrize("how", [{"reason": True}, {"reason": True, "reason_calls": 2}, {"logprobs": False}])
def test_it_answers_in_any_way_it_is_asked(how):
    assert asked(SUM, RIGHT, WRONG, **how) > 0.95
    assert scored(SUM, f"Gladly. {RIGHT}", **how) > scored(SUM, WRONG, **how)


@pytest.mark.parametrize("how", [{}, {"kind": "additive"}, {"scale": (1, 5)}])
def test_its_scores_rise_with_the_true_score(how):
    said = [scored(SUM, answer, **how) for answer in (WRONG, RIGHT, f"Gladly. {RIGHT}")]

    assert said == sorted(said)
    assert len(set(said)) == 3


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
