"""An endpoint that is simulated in virtual time, with every trouble that endpoints have, and a run of rows against it.

All is by a seed, so that a seed that fails can be looked at again. What is wrong is raised where it happens.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from random import Random

from msgspec.structs import replace

from distask.llm.client import Client
from distask.llm.pacing.pace import Pace
from distask.llm.request import CallFailed, Completion, Failure, Request, Usage
from tests.llm import virtual

LIMITED = Failure("rate_limit", "slow down", "retry", 429)
BROKEN = [
    Failure("server_error", "oops", "retry", 500),
    Failure("server_error", "overloaded", "retry", 529),
    Failure("connection", "reset", "retry"),
    Failure("bad_reply", "empty", "retry", 200),
]
LATE = Failure("timeout", "late", "retry")
TOO_LONG = Failure("context_length", "too long", "row", 400)
ENDS = [Failure("auth", "who are you?", "run", 401), Failure("quota", "no credit", "run", 402)]
READ_AHEAD = 2


class Endpoint:
    """A server whose capacity, limits, moods and end are drawn from a seed."""

    def __init__(self, random: Random, concurrency: int) -> None:
        self.random = random
        self.client: Client = None  # type: ignore[assignment] - set by `simulate`
        self.concurrency = concurrency
        self.capacity = random.choice([None, None, max(1, concurrency // 2), 3])
        """Calls at a time; more of them are refused."""
        self.a_minute = random.choice([None, None, 120, 600])
        """Calls in any minute; more of them are refused, with the time to wait."""
        self.latency = random.choice([0.05, 0.5, 3.0])
        self.faults = random.choice([0, 0, 0.02, 0.2])
        self.short = random.choice([False, False, True])
        self.outage = (at := random.uniform(1, 60), at + random.choice([0, 5, 60]))
        self.outage_is = random.choice([LIMITED, replace(LIMITED, retry_after=7.0), BROKEN[0]])
        self.fatal_at = random.choice([None, None, None, random.uniform(0, 60)])
        self.fatal = random.choice(ENDS)
        self.ended_at = math.inf
        self.paused_until = -math.inf
        self.now_at_work = self.most_at_work = self.calls = 0
        self.begun: deque[float] = deque()

    async def complete(self, request, samples):
        loop = asyncio.get_running_loop()
        now = loop.time()
        assert now <= self.ended_at, "a call was begun after the run's end was known"
        assert now >= self.paused_until, "a call was begun while the endpoint had asked for a rest"
        assert self.client.in_flight <= self.client.ceiling, "more calls are in flight than are allowed"
        self.calls += 1
        self.begun.append(now)
        self.now_at_work += 1
        self.most_at_work = max(self.most_at_work, self.now_at_work)
        assert self.now_at_work <= self.concurrency
        try:
            return await self._answer(loop, now, request, samples)
        except CallFailed as error:
            if error.failure.scope == "run":
                self.ended_at = min(self.ended_at, loop.time())
            elif error.failure.retry_after:
                self.paused_until = max(self.paused_until, loop.time() + error.failure.retry_after)
            raise
        finally:
            self.now_at_work -= 1

    async def _answer(self, loop, now, request, samples):
        random = self.random
        if (wait := self._over_a_minute(now)) is not None:
            await asyncio.sleep(0.02)
            raise CallFailed(replace(LIMITED, retry_after=wait))
        if self.capacity is not None and self.now_at_work > self.capacity:
            await asyncio.sleep(0.02)
            raise CallFailed(LIMITED)
        late = random.random() < self.faults / 10
        await asyncio.sleep(120 if late else self.latency * random.lognormvariate(0, 0.7))
        if self.fatal_at is not None and loop.time() >= self.fatal_at:
            raise CallFailed(self.fatal)
        if late:
            raise CallFailed(LATE)
        if self.outage[0] <= loop.time() < self.outage[1]:
            raise CallFailed(self.outage_is)
        if random.random() < self.faults:
            raise CallFailed(random.choice(BROKEN))
        if request.messages[0]["content"].endswith("7 is long"):
            raise CallFailed(TOO_LONG)
        count = random.randint(1, len(samples)) if self.short else len(samples)
        return [Completion("x", usage=Usage(10, 40)) for _ in range(count)]

    def _over_a_minute(self, now):
        """Seconds until the next call may begin, where too many have begun already."""
        if self.a_minute is None:
            return None
        while self.begun and self.begun[0] <= now - 60:
            self.begun.popleft()
        return self.begun[0] + 60 - now if len(self.begun) > self.a_minute else None

    async def close(self):
        pass


class Simulation:
    """How a simulated run ended."""

    def __init__(self, seed: int, rows: int = 120) -> None:
        random = Random(seed)
        self.seed, self.rows = seed, rows
        self.concurrency = random.choice([1, 4, 16, 64])
        self.samples = random.choice([1, 1, 3])
        self.endpoint = Endpoint(random, self.concurrency)
        self.requests_per_minute = random.choice([None, None, 90, 900])
        self.tokens_per_minute = random.choice([None, None, 60_000])
        self.ends: list[str] = []
        virtual.run(self._run())

    async def _run(self):
        pace = Pace(self.concurrency, self.requests_per_minute, self.tokens_per_minute)
        self.endpoint.client = self.client = Client(self.endpoint, pace, random=Random(self.seed))
        rows, begun = iter(range(self.rows)), []

        async def worker():
            for row in rows:
                begun.append(row)
                self.ends.append(await self._row(row))

        await asyncio.gather(*(worker() for _ in range(READ_AHEAD * self.concurrency)))
        self.seconds = asyncio.get_running_loop().time()
        assert begun == list(range(self.rows))

    async def _row(self, row):
        got = 0
        words = f"row {row}{' is long' if row % 10 == 7 else ''}"
        request = Request("http://host/v1", "m", [{"role": "user", "content": words}], {"max_tokens": 50})
        while got < self.samples:
            try:
                for group in self.client.groups(range(got, self.samples)):
                    got += len(await self.client.ask(request, group))
            except CallFailed as error:
                return f"{error.failure.scope} {error.failure.kind}"
        assert got == self.samples, "more replies than were asked for"
        return "done"

    def check(self):
        """What holds for every seed."""
        endpoint = self.endpoint
        assert len(self.ends) == self.rows, "a row has no end, or two"
        assert self.client.in_flight == 0
        ended = [end for end in self.ends if end.startswith("run")]
        if endpoint.fatal_at is None:
            assert not ended, f"nothing fatal happened, and the run was ended: {ended[0]}"
        assert bool(ended) is (endpoint.ended_at < math.inf)
        for limit, what in (
            (self.requests_per_minute, endpoint.calls),
            (self.tokens_per_minute, 50 * self.ends.count("done")),
        ):
            if limit is not None:  # spread evenly: a second's worth may go at once, and what was in flight
                assert what <= limit * (self.seconds + 1) / 60 + 50 * self.concurrency
