"""What a call costs, by hand."""

import msgspec
import pytest

from jurist.engines.engine import open_engine
from jurist.engines.prices import Price, SharedTime, cost_of, listed_price, most_it_costs
from jurist.records import Usage

TIERED = Price(input=1.25, cached=0.125, output=10.0, long_from=200_000, long_input=2.5, long_output=15.0)
BY_HAND = [
    (Price(input=2.0, cached=0.5, output=8.0), Usage(1000, 400, 100, 50), 600 * 2.0 + 400 * 0.5 + 100 * 8.0),
    (Price(input=2.0), Usage(1000, 400), 1000 * 2.0),
    (TIERED, Usage(200_000, 0, 10), 200_000 * 1.25 + 10 * 10.0),
    (TIERED, Usage(200_001, 1000, 10), 199_001 * 2.5 + 1000 * 0.25 + 10 * 15.0),
    (None, Usage(1000, 0, 10), 0.0),
]


@pytest.mark.parametrize(("price", "usage", "want"), BY_HAND)
def test_a_price_by_the_token_by_hand(price, usage, want):
    assert cost_of(usage, price) == pytest.approx(want / 1e6)
    assert cost_of(usage, price) <= most_it_costs(price, usage.tokens_in, usage.tokens_out)


def test_an_hour_of_a_machine_is_shared_over_the_calls_under_way():
    time = SharedTime()
    one, other = time.change(10.0, 1), time.change(11.0, 1)

    assert [time.change(13.0, -1) - one, time.change(14.0, -1) - other] == [2.0, 2.0]
    assert -(time.change(99.0, 1) - time.change(100.0, -1)) == 1.0
    assert cost_of(Usage(5, 0, 5), Price(gpu_hour=3.6), 4.0) == pytest.approx(0.004)


def test_the_list_knows_models_with_and_without_a_date_and_their_tiers():
    assert listed_price("openai", "gpt-4o-mini") == Price(input=0.15, output=0.6, cached=0.075)
    assert listed_price("openai", "gpt-4o-mini-2024-07-18") == listed_price("openai", "gpt-4o-mini")
    assert listed_price("gemini", "gemini-2.5-pro") == TIERED
    assert listed_price("openai", "gpt-of-tomorrow-99") is None
    # Only the vendor's own address has the vendor's price.
    engines = map(open_engine, ("openai:gpt-4o", "openai:gpt-4o@http://h/v1", "vllm:gpt-4o"))
    assert [engine.price is not None for engine in engines] == [True, False, False]


@pytest.mark.parametrize("wrong", [{"input": -1}, {"input": 1, "gpu_hour": 2}, {"in": 1}])
def test_a_price_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Price)
