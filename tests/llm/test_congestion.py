"""Concurrency that follows the server: some hundred servers in virtual time, calls counted where they arrive."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from tests.llm import virtual
from tests.llm.servers import Queue, Window, send_rows

pytestmark = pytest.mark.battery

SERVERS = 240
PARTS = 8


def lognormal(random, mean, sigma):
    return lambda: mean * random.lognormvariate(-sigma * sigma / 2, sigma)


def draw(seed):
    """A server, its rows, the time-out, whether it is of the own network, a reply's mean time; drawn from a seed."""
    random = Random(seed)
    slots = round(2 ** random.uniform(0, 8.5))
    mean = random.choice([0.05, 0.3, 1.0, 4.0])
    sigma = random.choice([0.0, 0.3, 0.7])
    timeout = max(random.choice([5.0, 20.0, 120.0, 600.0]), 12 * mean * (1 + 2 * sigma))
    rows = random.choice([300, 600, 1200])
    kind = random.choice(["steady", "steady", "steady", "changes", "cold", "shares"])
    speed, cold, steps = None, 0.0, slots
    if kind == "shares":  # as an engine that batches: each call is slower while others are worked on
        half = random.choice([32, 64, 256])
        slots, steps, speed = 4096, 4096, lambda n: 1 + n / half
    elif kind == "cold":
        cold = random.uniform(0, timeout / 3)
    elif kind == "changes":
        at, later = random.uniform(1, 30), max(1, round(slots * random.choice([0.25, 0.5, 3])))
        timeout = max(timeout, 60 * mean)
        steps = lambda now: slots if now < at else later  # noqa: E731
    notices, is_local = random.random() < 0.5, slots < 8 or random.random() < 0.5

    def make():
        return Queue(steps, lognormal(Random(seed), mean, sigma), speed=speed, cold=cold, notices=notices)

    return make, rows, timeout, is_local, mean


def run(make, rows, timeout=600.0, **options):
    async def main():
        server = make()
        return server, await send_rows(server, rows, timeout, **options)

    return virtual.run(main())


@pytest.mark.parametrize("part", range(PARTS))
def test_no_server_is_sent_much_more_than_its_rows_and_none_is_left_idle(part):
    """At most 1.2 requests per row, and 1.5 times the time of a client that never gives a call up.

    Beyond that, a short run is granted the time in which the level is found: a few seconds, a few replies.
    """
    for seed in range(part, SERVERS, PARTS):
        make, rows, timeout, is_local, mean = draw(seed)
        server, client = run(make, rows, timeout, is_local=is_local)
        _, patient = run(make, rows, 1e9, is_fixed=True)

        assert client.done == rows, seed
        assert server.received <= 1.2 * rows, seed
        assert client.seconds <= 1.5 * patient.seconds + 5 + 5 * mean, seed


@pytest.mark.parametrize(
    ("slots", "seconds", "rows", "timeout"),
    [(1, 0.05, 600, 5), (4, 0.3, 600, 8), (4, 5, 600, 120), (4, 5, 200, 8), (4, 5, 600, 600), (1, 0.5, 100, 20)],
)
def test_a_server_that_queues_is_not_driven_into_collapse(slots, seconds, rows, timeout):
    """Calls that time out are worked on all the same, and would be sent again: the queue must not grow that long."""
    server, client = run(lambda: Queue(slots, seconds), rows, timeout)

    assert client.done == rows
    assert server.received <= 1.2 * rows
    assert client.seconds <= 1.5 * rows * seconds / slots


@pytest.mark.parametrize(
    ("seconds", "is_local"),
    [(0.01, False), (0.4, False), (2, False), (30, False), (0.01, True), (0.1, True), (0.4, True)],
)
def test_a_server_that_keeps_up_gets_all_calls_within_a_second(seconds, is_local):
    """A far server whatever a reply takes; a server of the own network once it has answered."""

    async def main():
        server = Queue(10_000, seconds)
        rows = 30_000 if seconds < 0.1 else 2000
        sending = asyncio.ensure_future(send_rows(server, rows, is_local=is_local))
        await asyncio.sleep(1)
        sending.cancel()
        return server.most_busy

    assert virtual.run(main()) == 256


def test_an_engine_that_batches_gets_many_calls_though_each_takes_longer():
    """The rate grows with the calls in flight, so that each takes longer does not matter."""
    _, client = run(lambda: Queue(10_000, 2, speed=lambda n: 1 + n / 128), 3000)

    assert client.ceiling >= 96  # of 256, where the rate would be at most a third higher


def test_the_level_follows_a_server_whose_capacity_changes():
    """Down to what two slots need, and up again, with a word about the reason."""
    levels = {}

    async def main():
        server = Queue(lambda now: 2 if 20 < now < 80 else 64, 0.5)
        sending = asyncio.ensure_future(client_of(server))
        for at in (19, 79, 140):
            await asyncio.sleep(at - asyncio.get_running_loop().time())
            levels[at] = clients[0].ceiling, clients[0].pace.reason
        sending.cancel()

    clients = []

    async def client_of(server):
        await send_rows(server, 100_000, on_start=clients.append)

    virtual.run(main())

    assert levels[19][0] >= 64
    assert levels[79][0] <= 32
    assert levels[79][1]
    assert levels[140][0] >= 48


@pytest.mark.parametrize("later", [0.0, 20.0])
@pytest.mark.parametrize("slots", [2, 8, 64])
def test_two_runs_share_a_server(slots, later):
    """Neither is starved, whoever came first: each gets a fair part of the replies while both are at work."""

    async def main():
        server = Queue(slots, 0.4)
        rows = slots * 400
        await asyncio.gather(send_rows(server, rows, whose="a"), send_rows(server, rows, whose="b", delay=later))
        return server

    server = virtual.run(main())
    last = {whose: max(t for t, w in server.times if w == whose) for whose in "ab"}
    until = min(last.values())
    shares = Counter(whose for t, whose in server.times if later + 30 < t <= until)

    assert min(shares["a"], shares["b"]) >= shares.total() / 4
    assert sum(server.received_of.values()) <= 1.2 * slots * 800


RATES = [
    (20, 1, 0.05, 800), (20, 1, 0.5, 800), (20, 1, 6, 800), (5, 1, 0.3, 300), (100, 1, 0.3, 4000),
    (100, 10, 0.3, 1000), (600, 60, 1, 3000),
]  # fmt: skip


@pytest.mark.parametrize("slides", [False, True])
@pytest.mark.parametrize(("calls", "window", "seconds", "rows"), RATES)
def test_a_limit_per_second_is_learned_from_refusals(calls, window, seconds, rows, slides):
    """A gateway that says 429 and no more: few calls are refused, and the limit is used to the full."""
    server, client = run(lambda: Window(calls, window, seconds, slides=slides), rows, is_local=False)

    assert client.done == rows
    assert server.refused <= 0.3 * rows
    assert client.seconds <= 1.25 * (rows / calls - 1) * window + window + seconds


def test_a_wait_that_the_server_names_teaches_the_rate_as_well():
    """After the first window, calls are spread over the next ones."""
    server, client = run(lambda: Window(600, 60, 1, retry_after=True), 3000)

    assert client.done == 3000
    assert server.refused <= 0.05 * 3000
    assert client.seconds <= 1.25 * 241


def test_a_server_that_refuses_what_does_not_fit_its_queue_is_used_to_the_full():
    """A bound on calls that wait, instead of a rate."""
    server, client = run(lambda: Queue(4, 0.3, room=8), 400)

    assert client.done == 400
    assert server.received <= 1.3 * 400
    assert client.seconds <= 1.5 * 400 * 0.3 / 4


def test_a_burst_of_time_outs_halves_the_level_once():
    """A server that hangs for a moment: all that it had been sent times out together."""
    levels = []

    async def main():
        loop = asyncio.get_running_loop()
        clients = []
        server = Queue(10_000, lambda: 1e6 if 20 <= loop.time() < 20.6 else 0.5)
        sending = asyncio.ensure_future(send_rows(server, 100_000, 5.0, on_start=clients.append))
        for at in range(10, 40):
            await asyncio.sleep(at - loop.time())
            levels.append(clients[0].ceiling)
        sending.cancel()

    virtual.run(main())

    assert max(levels[:10]) == 256
    assert min(levels[10:]) >= 64


def test_rows_that_take_very_long_are_no_sign_of_a_queue():
    """One call in a hundred never ends: the others keep their concurrency."""

    def make():
        random = Random(1)
        return Queue(10_000, lambda: 1e6 if random.random() < 0.01 else 1.0)

    clients = []

    async def main():
        sending = asyncio.ensure_future(send_rows(make(), 100_000, 20.0, on_start=clients.append))
        await asyncio.sleep(120)
        sending.cancel()

    virtual.run(main())

    assert clients[0].ceiling >= 128
