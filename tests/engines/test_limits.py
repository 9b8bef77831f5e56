"""How many requests may be under way, and how many a minute."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jurist.engines.limits import START, Adaptive, Bucket, Gate


def round_trip(adaptive, latency, refused=0.0):
    """One round at the present limit; `latency` is a function of it."""
    for number in range(int(max(16, adaptive.limit)) + 1):
        if refused and (number * 7919) % 100 < refused * 100:
            adaptive.refused()
        else:
            adaptive.answered(latency(adaptive.limit), busy=True)


def test_the_limit_grows_to_its_ceiling_while_all_is_well():
    adaptive = Adaptive(256)
    assert adaptive.limit == START

    for _ in range(5):
        round_trip(adaptive, lambda limit: 1.0)

    assert adaptive.limit == 256


def test_a_limit_nobody_reaches_does_not_grow():
    adaptive = Adaptive(256)
    for _ in range(1000):
        adaptive.answered(1.0, busy=False)

    assert adaptive.limit == START


def test_a_server_that_turns_most_away_is_asked_for_less_down_to_one():
    adaptive = Adaptive(256)
    for _ in range(40):
        round_trip(adaptive, lambda limit: 1.0, refused=0.8)
    assert adaptive.limit < 10
    for _ in range(40):
        round_trip(adaptive, lambda limit: 1.0, refused=1.0)

    assert adaptive.limit == 1.0


def test_one_refusal_in_twenty_is_bad_luck():
    adaptive = Adaptive(256)
    for _ in range(20):
        round_trip(adaptive, lambda limit: 1.0, refused=0.05)

    assert adaptive.limit == 256


def test_a_round_trip_shrinks_the_limit_only_once():
    adaptive = Adaptive(64)
    adaptive.limit = 64.0
    for _ in range(32 + 64):
        adaptive.refused()

    assert adaptive.limit == 32.0


def test_a_server_that_only_queues_is_found_out_without_a_single_429():
    adaptive = Adaptive(1024)
    for _ in range(150):
        round_trip(adaptive, lambda limit: max(1.0, limit / 40))

    assert 40 <= adaptive.limit <= 130


def test_a_batching_server_may_take_its_time():
    adaptive = Adaptive(256)
    for _ in range(60):
        round_trip(adaptive, lambda limit: (limit / 8) ** 0.45)

    assert adaptive.limit == 256


def test_longer_questions_are_not_mistaken_for_load():
    adaptive = Adaptive(256)
    for _ in range(30):
        round_trip(adaptive, lambda limit: 1.0)
    low = 256.0
    for _ in range(60):
        round_trip(adaptive, lambda limit: 4.0)
        low = min(low, adaptive.limit)

    assert low > 100
    assert adaptive.limit == 256


@given(st.lists(st.floats(0, 100) | st.none(), max_size=400), st.integers(1, 300))
def test_the_limit_stays_between_one_and_its_ceiling(outcomes, ceiling):
    adaptive = Adaptive(ceiling)
    for seconds in outcomes:
        if seconds is None:
            adaptive.refused()
        else:
            adaptive.answered(seconds, busy=True)
        assert 1.0 <= adaptive.limit <= ceiling


def test_never_more_are_let_in_than_the_limit_says_and_those_trying_again_go_first():
    async def main():
        gate = Gate(1)
        order = []

        async def call(name, again):
            await gate.enter(again)
            order.append(name)
            assert gate.in_flight == 1
            await asyncio.sleep(0)
            gate.leave()

        await gate.enter()
        calls = [asyncio.create_task(call(name, again)) for name, again in [("a", False), ("b", True)]]
        await asyncio.sleep(0)
        gate.leave()
        await asyncio.gather(*calls)
        return order, gate.in_flight

    assert asyncio.run(main()) == (["b", "a"], 0)


def test_a_call_cancelled_as_it_is_let_in_gives_its_place_back():
    async def main():
        gate = Gate(1)
        await gate.enter()
        waiting = asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        gate.leave()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return gate.in_flight

    assert asyncio.run(main()) == 0


def test_a_pause_holds_everybody_back():
    async def main():
        gate = Gate(4)
        gate.pause(0.05)
        gate.pause(0.01)
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(gate.enter() for _ in range(4)))
        return asyncio.get_running_loop().time() - started

    assert asyncio.run(main()) >= 0.049


@given(st.lists(st.floats(0.1, 50), min_size=1, max_size=200), st.floats(30, 6000))
def test_no_minute_sees_more_than_its_cap_and_one_second(amounts, per_minute):
    bucket, now, sent = Bucket(per_minute), 0.0, []
    for amount in amounts:
        now += bucket.take(amount, now)
        sent.append((now, amount))

    for start, _ in sent:
        # The last to leave may overdraw by its own size, as a single request cannot be cut up.
        inside = [amount for at, amount in sent if start <= at < start + 60.0]
        assert sum(inside[:-1]) <= per_minute * 61 / 60 + max(1.0, max(amounts)) + 1e-6


def test_what_was_reserved_and_not_used_is_there_for_the_next():
    bucket = Bucket(60.0)
    assert bucket.take(31.0, 0.0) == pytest.approx(30.0)
    bucket.give_back(30.0)

    assert bucket.take(1.0, 0.0) == pytest.approx(1.0)
