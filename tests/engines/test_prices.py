"""What a call costs, by hand."""

import math

import msgspec
import pytest

from jurist.engines.prices import Price, SharedTime, cost_of, known_price, price_list
from jurist.records import Usage


def test_a_price_by_the_token_by_hand():
    price = Price(input=2.0, cached=0.5, output=8.0)

    got = cost_of(Usage(tokens_in=1000, cached_in=400, tokens_out=100, reasoning=50), price)

    assert math.isclose(got, (600 * 2.0 + 400 * 0.5 + 100 * 8.0) / 1e6)


def test_cached_input_costs_what_input_costs_where_nothing_else_is_said():
    assert math.isclose(cost_of(Usage(1000, 400), Price(input=2.0)), 1000 * 2.0 / 1e6)


def test_an_hour_of_a_machine_is_shared_over_the_calls_under_way():
    time = SharedTime()
    one = time.enter(10.0)
    other = time.enter(11.0)
    shares = [time.leave(13.0, one), time.leave(14.0, other)]
    later = time.leave(100.0, time.enter(99.0))

    assert shares == [2.0, 2.0]
    assert later == 1.0
    assert math.isclose(cost_of(Usage(5, 0, 5), Price(gpu_hour=3.6), sum(shares)), 0.004)


def test_list_prices_are_found_with_and_without_a_date():
    mini = price_list().models["openai:gpt-4o-mini"]

    assert known_price("openai:gpt-4o-mini") == mini
    assert known_price("openai:gpt-4o-mini-2024-07-18") == mini
    assert (
        known_price("anthropic:claude-sonnet-4-20250514") == price_list().models["anthropic:claude-sonnet-4"]
    )


@pytest.mark.parametrize("name", ["vllm:gpt-4o", "openai:gpt-4o-9", "anthropic:claude-opus-4-99", "nothing"])
def test_an_unknown_price_is_none_and_not_zero(name):
    assert known_price(name) is None


def test_every_list_price_is_whole():
    for name, price in price_list().models.items():
        assert 0 < price.cached < price.input < price.output, name


@pytest.mark.parametrize("wrong", [{"input": -1}, {"input": 1, "gpu_hour": 2}, {"in": 1}])
def test_a_price_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Price)
