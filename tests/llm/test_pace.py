"""When a call may begin, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from distask.llm.pacing.pace import BURST, Pace
from tests.llm.virtual import run


async def calls(pace, count, seconds=1.0, tokens=0):
    """Make calls at once; when each began."""
    begun = []

    async def call():
        async with pace.place(tokens) as place:
            begun.append(place.begun)
            await asyncio.sleep(seconds)
            place.succeeded()

    await asyncio.gather(*(call() for _ in range(count)))
    return begun


@pytest.mark.battery
def test_the_whole_limit_is_used_within_a_second():
    """16 calls of 100 ms begin at first and soon 256: 20,000 of them take little longer than the limit allows."""

    async def work():
        begun = await calls(Pace(256), 20_000, 0.1)
        return Counter(begun)[0.0], asyncio.get_running_loop().time()

    first, seconds = run(work())

    assert first == 16
    assert seconds <= 20_000 / 256 * 0.1 * 1.05 + 0.5


def test_no_more_are_in_flight_than_the_limit():
    """With cancelled waiters in between."""

    async def work():
        pace, most = Pace(4), 0

        async def call(i):
            nonlocal most
            async with pace.place():
                most = max(most, pace.in_flight)
                await asyncio.sleep(1 + i % 3)

        tasks = [asyncio.ensure_future(call(i)) for i in range(60)]
        await asyncio.sleep(2)
        for task in tasks[10::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return most, pace.in_flight

    assert run(work()) == (4, 0)


def test_a_place_given_to_someone_who_is_cancelled_in_that_moment_is_given_back():
    """Else each Ctrl-C or timeout would lose a place for good."""

    async def work():
        pace = Pace(1)
        first = pace.place()
        await first.__aenter__()
        waiting = asyncio.ensure_future(calls(pace, 1))
        await asyncio.sleep(1)
        await first.__aexit__(None, None, None)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        return pace.in_flight

    assert run(work()) == 0


def test_a_burst_of_429_halves_the_ceiling_once():
    """Calls that were in flight at the cut say nothing new; those that begin later are bounded by the learned rate."""

    async def work():
        pace = Pace(64)

        async def limited():
            async with pace.place() as place:
                await asyncio.sleep(1)
                pace.limited(place.begun)

        await asyncio.gather(*(limited() for _ in range(64)))
        first = pace.ceiling
        await asyncio.sleep(1)
        await asyncio.gather(*(limited() for _ in range(32)))
        return first, pace.ceiling

    assert run(work()) == (32, 32)


def test_the_ceiling_never_falls_below_one_and_grows_back():
    """A server that recovers is used to the full again."""

    async def work():
        pace = Pace(64)
        for _ in range(20):
            async with pace.place() as place:
                await asyncio.sleep(1)
                pace.limited(place.begun)
        low = pace.ceiling
        await calls(pace, 3000)
        return low, pace.ceiling

    low, high = run(work())
    assert low == 1
    assert high >= 16


def test_a_pause_holds_the_whole_endpoint():
    """One Retry-After is everyone's."""

    async def work():
        pace = Pace(8)
        pace.pause(30)
        return await calls(pace, 8)

    assert run(work()) == [30.0] * 8


def test_a_burst_of_server_errors_makes_the_endpoint_rest_longer_each_time():
    """1 s, 2 s, 4 s while nothing succeeds; one success starts anew."""

    async def work():
        pace, begun = Pace(BURST), []
        for _ in range(4):
            for _ in range(BURST):
                pace.troubled(asyncio.get_running_loop().time())
            begun += await calls_without_success(pace)
        return begun

    async def calls_without_success(pace):
        async with pace.place() as place:
            await asyncio.sleep(1)
            return [place.begun]

    assert run(work()) == [1.0, 4.0, 9.0, 18.0]


@pytest.mark.parametrize(("per_minute", "count"), [(60, 120), (6000, 3000), (30, 20)])
def test_requests_per_minute_are_spread_evenly(per_minute, count):
    """No second has more than its share, but for the first moment."""

    async def work():
        return await calls(Pace(10_000, requests_per_minute=per_minute), count, 0.1)

    begun = run(work())

    assert max(begun) == pytest.approx((count - per_minute / 60) * 60 / per_minute, rel=0.1, abs=2)
    for second in range(1, int(max(begun))):
        assert sum(second <= t < second + 1 for t in begun) <= per_minute / 60 + 1


def test_tokens_per_minute_count_what_was_used_instead_of_the_estimate():
    """A call estimated at 1,000 tokens that used 100 leaves room for nine more."""

    async def work(right):
        pace = Pace(1, tokens_per_minute=6000)
        for _ in range(60):
            async with pace.place(1000) as place:
                if right:
                    place.used(100)
        return asyncio.get_running_loop().time()

    assert run(work(right=False)) == pytest.approx(590, abs=20)
    assert run(work(right=True)) == pytest.approx(59, abs=12)


def test_a_call_larger_than_the_minute_still_goes():
    """It is paid off before the next one."""

    async def work():
        return await calls(Pace(4, tokens_per_minute=60), 2, 1, tokens=120)

    first, second = run(work())

    assert first == 0
    assert second == pytest.approx(119, abs=2)


def test_the_end_lets_everyone_through():
    """Who waits is to see that the run is over, not to wait for an hour."""

    async def work():
        pace = Pace(2)
        pace.pause(3600)
        waiting = asyncio.gather(calls(pace, 5, 0))
        await asyncio.sleep(1)
        pace.end()
        await waiting
        return asyncio.get_running_loop().time()

    assert run(work()) < 2


@pytest.mark.battery
@pytest.mark.parametrize("seed", range(20))
def test_a_server_with_a_limit_of_its_own_is_kept_busy_and_little_refused(seed):
    """A server that takes 40 at a time: the ceiling settles around it, whatever the order of things."""

    async def work():
        random, pace = Random(seed), Pace(256)
        busy, done, refused = 0, 0, 0

        async def call():
            nonlocal busy, done, refused
            while True:
                async with pace.place() as place:
                    if busy >= 40:
                        await asyncio.sleep(0.02)
                        pace.limited(place.begun)
                        refused += 1
                    else:
                        busy += 1
                        await asyncio.sleep(random.uniform(0.5, 1.5))
                        busy -= 1
                        place.succeeded()
                        done += 1
                        return
                await asyncio.sleep(random.uniform(0, 1))

        await asyncio.gather(*(call() for _ in range(2000)))
        return done, refused, asyncio.get_running_loop().time(), pace.in_flight

    done, refused, seconds, left = run(work())

    assert (done, left) == (2000, 0)
    assert refused < 2000
    assert seconds < 2000 / 40 * 2


def test_a_share_of_the_limits_holds_calls_back_until_it_grows():
    """Other machines use the rest: with nothing, no call begins; what waits goes on as soon as there is more."""

    async def main():
        pace = Pace(8, requests_per_minute=6_000)
        pace.share(0.0)
        waiting = [asyncio.create_task(pace.enter(0)) for _ in range(6)]
        await asyncio.sleep(0)
        held = pace.in_flight
        pace.share(0.5)
        await asyncio.sleep(1)
        return held, pace.in_flight, pace.ceiling, sum(task.done() for task in waiting)

    assert run(main()) == (0, 4, 4, 4)
