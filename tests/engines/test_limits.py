"""How many requests may be under way, and how many per minute: against servers simulated event by event."""

import asyncio
import heapq
import random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurist.engines.limits import START, AdaptiveLimit, Bucket, Gate


def simulate(latency, calls, ceiling=256, refused=lambda n: 0.0):
    """Keep as many requests under way as the limit allows; what happens to one depends on how many."""
    limit, dice, now, sent, under_way, history = AdaptiveLimit(ceiling), random.Random(0), 0.0, 0, [], []
    while len(history) < calls:
        while len(under_way) < int(limit.limit):
            n = len(under_way) + 1
            sent += 1
            heapq.heappush(under_way, (now + latency(n), sent, now, dice.random() < refused(n), limit.limit))
        now, _, started, turned_away, then = heapq.heappop(under_way)
        if turned_away:
            limit.refused(started, now)
        else:
            limit.answered(now - started, started, now, True, then)
        history.append((now, limit.limit))
    return history


def test_the_limit_doubles_each_round_trip_while_latency_does_not_grow():
    history = simulate(lambda n: 0.05, 1000)

    reached = {limit: at for at, limit in reversed(history)}
    assert {4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0} <= reached.keys()
    assert reached[256.0] <= 6.5 * 0.05


SERVERS = {
    "four slots that queue": (lambda n: 4.0 * max(1.0, n / 4), None, 3, 10),
    "forty slots that queue": (lambda n: max(1.0, n / 40), None, 30, 130),
    "latency grows with less than the root": (lambda n: 1.0 * n**0.45, None, 256, 256),
    "one refusal in twenty is bad luck": (lambda n: 1.0, lambda n: 0.05, 256, 256),
    "most are turned away": (lambda n: 1.0, lambda n: 0.8, 1, 9),
    "turned away above thirty": (lambda n: 1.0, lambda n: max(0.0, 1 - 30 / n), 12, 60),
    "differences too short to matter": (lambda n: 0.001 * n, None, 16, 256),
}


@pytest.mark.parametrize("server", SERVERS)
def test_the_limit_finds_what_a_server_can_take(server):
    latency, refused, least, most = SERVERS[server]

    history = simulate(latency, 6000, refused=refused or (lambda n: 0.0))

    assert least <= median(limit for _, limit in history[len(history) // 2 :]) <= most


def test_a_limit_that_nobody_reaches_does_not_grow_and_a_server_slower_by_itself_is_the_new_normal():
    unused, used = AdaptiveLimit(64), AdaptiveLimit(64)
    for n in range(20_000):
        unused.answered(1.0, float(n), n + 1.0, False, unused.limit)
        used.answered(0.1 if n < 4_000 else 0.5, float(n), float(n), True, used.limit)

    assert (unused.limit, used.limit) == (START, 64)


REPLIES = st.lists(st.tuples(st.booleans(), st.floats(0.0, 1e6), st.booleans()), max_size=300)


@settings(max_examples=40)
@given(REPLIES, st.integers(1, 300))
def test_the_limit_stays_between_one_and_its_ceiling(replies, ceiling):
    limit = AdaptiveLimit(ceiling)
    for n, (answered, seconds, busy) in enumerate(replies):
        now = float(n)
        limit.answered(seconds, now, now, busy, limit.limit) if answered else limit.refused(now, now)

        assert 1 <= limit.limit <= ceiling


def test_a_gate_lets_in_as_many_as_the_limit_and_those_that_try_again_first():
    async def go():
        gate, order = Gate(2), []
        await gate.enter()
        await gate.enter()

        async def wait(name, again=False):
            await gate.enter(again)
            order.append(name)

        tasks = [asyncio.create_task(wait("one")), asyncio.create_task(wait("two"))]
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(wait("again", True)))
        await asyncio.sleep(0)
        assert (gate.in_flight, order) == (2, [])
        for _ in range(3):
            gate.leave()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(go()) == ["again", "one", "two"]


def test_a_gate_opens_again_by_itself_and_whoever_stops_waiting_takes_no_place():
    async def go():
        gate, clock = Gate(1), asyncio.get_running_loop().time
        gate.pause(0.05)
        started = clock()
        await gate.enter()
        waited = clock() - started
        waiting = asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        waiting.cancel()
        gate.leave()
        await asyncio.gather(waiting, return_exceptions=True)
        return waited, gate.in_flight

    waited, in_flight = asyncio.run(go())
    assert (waited >= 0.045, in_flight) == (True, 0)


@settings(max_examples=40)
@given(st.lists(st.floats(0.1, 50), min_size=1, max_size=60), st.floats(1, 6000))
def test_no_minute_sees_more_than_its_cap(amounts, cap):
    bucket, now, taken = Bucket(cap), 0.0, []
    for amount in amounts:
        now += bucket.take(amount, now)
        taken.append((now, amount))

    start = taken[0][0]
    total = sum(amount for at, amount in taken if at <= start + 60)
    assert total <= cap + max(1.0, cap / 60) + max(amounts) + 1e-6
    bucket = Bucket(60)
    bucket.take(61, 0.0)
    bucket.give_back(60)  # what was reserved and not used
    assert bucket.take(0.5, 0.0) == 0.5
