"""Some hundred endpoints in virtual time: each row has one end, and never is more asked than may be."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest

from distask.llm.client import Client
from distask.llm.pacing.pace import Pace
from distask.llm.request import CallFailed, Completion, Failure, Request
from tests.crash.scale import scaled
from tests.crash.simulation import Simulation
from tests.llm import virtual

SEEDS = 300
PARTS = 6


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_an_endpoint_does_every_row_ends_once_and_its_limits_are_held(part):
    """Bursts of 429, outages, hangs, resets, short answers, limits of its own and of the config, a key that is withdrawn."""
    ends = Counter()
    for seed in range(part, scaled(SEEDS), PARTS):
        simulation = Simulation(seed)
        try:
            simulation.check()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        ends.update(end.split()[0] for end in simulation.ends)

    assert set(ends) == {"done", "row", "run"}  # the seeds have all of it
    assert ends["done"] > ends["run"]


class Burst:
    """A server that refuses all that comes within some seconds, and counts what the ceiling did."""

    def __init__(self, begins, ends, seconds=1.0):
        self.begins, self.ends, self.seconds, self.ceilings = begins, ends, seconds, [256]
        self.client = None

    async def complete(self, request, samples):
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self.seconds)
        if self.ceilings[-1] != self.client.ceiling:
            self.ceilings.append(self.client.ceiling)
        if self.begins <= loop.time() < self.ends:
            raise CallFailed(Failure("rate_limit", "slow down", "retry", 429))
        return [Completion("x") for _ in samples]

    async def close(self):
        pass


def ceilings(server, rows):
    """The ceiling's heights, one after another, over a run."""

    async def run():
        server.client = client = Client(server, Pace(256))
        requests = [Request("http://h", "m", [{"role": "user", "content": str(i)}]) for i in range(rows)]
        await asyncio.gather(*(client.ask(r, [0]) for r in requests))
        server.ceilings.append(client.ceiling)

    virtual.run(run())
    return server.ceilings


def test_a_burst_of_429_cuts_the_concurrency_once_and_it_grows_back_to_the_whole():
    """256 calls in flight are refused at once: half as many from then on, and all of them again in the end."""
    heights = ceilings(Burst(2.5, 3.5), 6000)

    assert min(heights) == 128
    assert sum(b < a for a, b in itertools.pairwise(heights)) == 1
    assert heights[-1] == 256


class Unusable:
    """A server whose every reply is paid for and can't be used."""

    def __init__(self):
        self.calls = 0

    async def complete(self, request, samples):
        self.calls += 1
        await asyncio.sleep(0.5)
        raise CallFailed(Failure("bad_reply", "the reply is empty", "retry", 200, max_retries=1))

    async def close(self):
        pass


def ends_of(server, rows):
    """How so many rows end: done, or the scope of their failure."""

    async def run():
        server.client = client = Client(server, Pace(256))
        requests = [Request("http://h", "m", [{"role": "user", "content": str(i)}]) for i in range(rows)]
        results = await asyncio.gather(*(client.ask(r, [0]) for r in requests), return_exceptions=True)
        return Counter(e.failure.scope if isinstance(e, CallFailed) else "done" for e in results)

    return virtual.run(run())


def test_replies_that_can_not_be_used_end_a_run_within_twenty_and_what_is_in_flight():
    """However many rows there are, and whatever a reply takes."""
    server = Unusable()

    assert ends_of(server, 1000) == {"run": 1000}
    assert server.calls <= 20 + 256


def test_a_first_429_or_a_thousand_of_them_never_end_a_run():
    """An hour of nothing else does, and every row can be requested again."""
    assert ends_of(Burst(0, 3000), 300) == {"done": 300}
    assert ends_of(Burst(0, 30_000), 300) == {"run": 300}
