"""Servers in virtual time that work on some calls at once and let the others wait, refuse them or slow down."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from random import Random

from distask.llm.client import Client
from distask.llm.pacing.pace import Pace
from distask.llm.request import CallFailed, Completion, Failure, Request

LIMITED = Failure("rate_limit", "slow down", "retry", 429)
LATE = Failure("timeout", "the server did not respond in time", "retry", max_retries=2)


class Queue:
    """A server with slots and a queue, first come, first served.

    Args:
        slots: calls that are worked on at once, or a function of the time.
        seconds: a call's service time, or a function that draws one.
        speed: how many times slower a call is while `n` are worked on, a function of n.
        cold: seconds before the first call is worked on.
        notices: whether a call whose client has gone is left out; else it is worked on all the same.
    """

    def __init__(self, slots, seconds, *, speed=None, cold=0.0, notices=False, room=None):
        self.slots = slots if callable(slots) else lambda now: slots
        self.seconds = seconds if callable(seconds) else lambda: seconds
        self.speed = speed or (lambda n: 1.0)
        self.cold, self.notices, self.room = cold, notices, room
        self.waiting = deque()
        self.busy = self.received = self.worked = 0
        self.most_busy = 0
        self.received_of = Counter()
        self.answered_of = Counter()
        self.times = []

    async def call(self, whose=None):
        loop = asyncio.get_running_loop()
        self.received += 1
        self.received_of[whose] += 1
        if self.room is not None and len(self.waiting) >= self.room:
            await asyncio.sleep(0.02)
            raise CallFailed(LIMITED)
        done = loop.create_future()
        self.waiting.append((done, whose))
        self._next()
        await done

    def _next(self):
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now < self.cold:
            loop.call_at(self.cold, self._next)
            return
        while self.waiting and self.busy < self.slots(now):
            done, whose = self.waiting.popleft()
            if self.notices and done.cancelled():
                continue
            self.busy += 1
            self.most_busy = max(self.most_busy, self.busy)
            loop.call_later(self.seconds() * self.speed(self.busy), self._finish, done, whose)

    def _finish(self, done, whose):
        self.busy -= 1
        self.worked += 1
        if not done.done():
            self.answered_of[whose] += 1
            self.times.append((asyncio.get_running_loop().time(), whose))
            done.set_result(None)
        self._next()


class Window:
    """A server that takes so many calls in each window of time, and refuses the others at once."""

    def __init__(self, calls, window, seconds, *, retry_after=False, slides=False):
        self.calls, self.window, self.seconds = calls, window, seconds
        self.retry_after, self.slides = retry_after, slides
        self.accepted = deque()
        self.received = self.refused = 0

    async def call(self, whose=None):
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.received += 1
        since = now - self.window if self.slides else now // self.window * self.window
        while self.accepted and self.accepted[0] < since:
            self.accepted.popleft()
        if len(self.accepted) >= self.calls:
            self.refused += 1
            await asyncio.sleep(0.01)
            wait = (self.accepted[0] if self.slides else since) + self.window - now
            raise CallFailed(
                Failure("rate_limit", "slow down", "retry", 429, retry_after=wait if self.retry_after else None)
            )
        self.accepted.append(now)
        await asyncio.sleep(self.seconds)


class Provider:
    """Sends calls to a server, and gives each up after the time-out."""

    def __init__(self, server, timeout, whose=None):
        self.server, self.timeout, self.whose = server, timeout, whose

    async def complete(self, request, samples):
        try:
            async with asyncio.timeout(self.timeout):
                await self.server.call(self.whose)
        except TimeoutError:
            raise CallFailed(LATE) from None
        return [Completion("x") for _ in samples]

    async def close(self):
        pass


async def send_rows(
    server,
    rows,
    timeout=600.0,
    limit=256,
    whose=None,
    read_ahead=2,
    delay=0.0,
    is_fixed=False,
    is_local=True,
    on_start=None,
):
    """Send rows as the engine does; the client, and how many rows ended well."""
    await asyncio.sleep(delay)
    pace = Pace(limit, timeout=None if is_fixed else timeout, is_local=is_local)
    client = Client(Provider(server, timeout, whose), pace, random=Random(3))
    left, done = iter(range(rows)), 0
    if on_start is not None:
        on_start(client)

    async def worker():
        nonlocal done
        for row in left:
            try:
                await client.ask(Request("http://h", "m", [{"role": "user", "content": str(row)}]), [0])
            except CallFailed as error:
                client.last = error.failure
                continue
            done += 1

    begun = asyncio.get_running_loop().time()
    await asyncio.gather(*(worker() for _ in range(min(rows, read_ahead * limit))))
    client.done, client.seconds = done, asyncio.get_running_loop().time() - begun
    return client
