"""Decide when a call may begin: how many at a time, how many a minute, and not while the server asks for rest.

The ceiling starts at what the run may have in flight. A burst of 429 halves it once: calls that were under way when it
was cut say nothing new. It grows back while the server keeps up (additive increase, multiplicative decrease). All
waiting is in one queue, in the order of asking. Time is the event loop's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

GROWTH = 1 / 32
"""How much of the whole limit the ceiling regains while one ceiling of calls succeeds."""
BURST = 8
"""Server errors in a row, among calls begun since the last rest, that make the whole endpoint rest."""
LONGEST_REST = 60.0
SMOOTHING_SECONDS = 1.0
"""A limit a minute is spread evenly: after a rest, no more than this many seconds' worth goes out at once."""


class _Bucket:
    """So many units a minute, spread evenly; a charge larger than what is there is paid off before the next one."""

    __slots__ = ("_paid_until", "_per_minute", "_seconds_each", "_slack")

    def __init__(self, per_minute: float) -> None:
        self._per_minute = per_minute
        self._paid_until = float("-inf")
        self.share(1.0)

    def share(self, fraction: float) -> None:
        self._seconds_each = 60 / (self._per_minute * fraction)
        self._slack = max(SMOOTHING_SECONDS - self._seconds_each, 0.0)

    def ready_at(self) -> float:
        return self._paid_until - self._slack

    def charge(self, now: float, units: float) -> None:
        self._paid_until = max(self._paid_until, now) + units * self._seconds_each

    def refund(self, units: float) -> None:
        self._paid_until -= units * self._seconds_each


class Pace:
    """The places in flight of one endpoint.

    Args:
        limit: calls in flight at the most.
        requests_per_minute: calls begun in a minute at the most.
        tokens_per_minute: tokens of calls begun in a minute at the most.
    """

    def __init__(
        self, limit: int = 256, requests_per_minute: float | None = None, tokens_per_minute: float | None = None
    ) -> None:
        self.limit = limit
        self._whole = limit
        self.in_flight = 0
        self._ceiling = float(limit)
        self._requests = _Bucket(requests_per_minute) if requests_per_minute else None
        self._tokens = _Bucket(tokens_per_minute) if tokens_per_minute else None
        self._buckets = [b for b in (self._requests, self._tokens) if b is not None]
        self._waiting: deque[tuple[asyncio.Future[None], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._paused_until = float("-inf")
        self._cut_at = float("-inf")
        self._rested_at = float("-inf")
        self._troubles = 0
        self._rests = 0
        self._ended = False

    @property
    def ceiling(self) -> int:
        """How many calls may be in flight now."""
        return int(self._ceiling)

    @property
    def counts_tokens(self) -> bool:
        """Whether `place` needs to know the tokens of a call."""
        return self._tokens is not None

    def place(self, tokens: float = 0) -> Place:
        """`async with pace.place(tokens):` waits for a place, and gives it back."""
        return Place(self, tokens)

    def share(self, fraction: float) -> None:
        """Keep to a fraction of every limit, since others use the same endpoint for this run; 0 lets no call begin."""
        height = self._ceiling / self.limit if self.limit else 1.0
        self.limit = max(1, int(self._whole * fraction)) if fraction > 0 else 0
        self._ceiling = self.limit * height
        if fraction > 0:
            for bucket in self._buckets:
                bucket.share(fraction)
        self._pump()

    def pause(self, seconds: float) -> None:
        """Let no call begin for some seconds."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    def succeeded(self) -> None:
        """Count a good answer."""
        self._troubles = self._rests = 0
        if self._ceiling < self.limit:
            self._ceiling = min(self.limit, self._ceiling + max(1.0, self.limit * GROWTH) / self._ceiling)

    def limited(self, begun: float) -> None:
        """Count a 429 of a call that began at `begun`: the first of a burst halves the ceiling."""
        if begun > self._cut_at:
            self._cut_at = asyncio.get_running_loop().time()
            self._ceiling = min(self.limit, max(1.0, min(self._ceiling, max(1, self.in_flight)) / 2))

    def troubled(self, begun: float) -> None:
        """Count a server error of a call that began at `begun`: a burst of them makes the whole endpoint rest."""
        if begun <= self._rested_at:
            return
        self._troubles += 1
        if self._troubles >= BURST:
            self._troubles = 0
            self._rested_at = asyncio.get_running_loop().time()
            self.pause(min(LONGEST_REST, 2.0**self._rests))
            self._rests += 1

    def end(self) -> None:
        """Let everyone through who waits: the run is over, and they are to see that."""
        self._ended = True
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():  # not cancelled
                self.in_flight += 1
                future.set_result(None)
        if self._timer is not None:
            self._timer.cancel()

    def enter_at_once(self, tokens: float) -> float | None:
        """Take a place if one is free and nobody waits: the time, or None."""
        now = asyncio.get_running_loop().time()
        if self._waiting or self.in_flight >= self.ceiling or self._opens() > now:
            return None
        self._begin(now, tokens)
        return now

    async def enter(self, tokens: float) -> float:
        """Wait for a place and take it: the time."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((future, tokens))
        self._pump()
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():  # the place was given in the same turn of the loop
                self.leave()
            raise
        return loop.time()

    def leave(self) -> None:
        """Give a place back."""
        self.in_flight -= 1
        if self._waiting:
            self._pump()

    def correct(self, estimate: float, tokens: float) -> None:
        """Charge a call's tokens instead of what was estimated for it."""
        if self._tokens is not None:
            self._tokens.refund(estimate - tokens)

    def _opens(self) -> float:
        """When the next call may begin, as far as time goes."""
        if self._ended:
            return float("-inf")
        opens = self._paused_until
        for bucket in self._buckets:
            opens = max(opens, bucket.ready_at())
        return opens

    def _begin(self, now: float, tokens: float) -> None:
        self.in_flight += 1
        if self._requests is not None:
            self._requests.charge(now, 1)
        if self._tokens is not None:
            self._tokens.charge(now, tokens)

    def _pump(self) -> None:
        """Let those begin whose turn it is; come back when the clock lets the next one."""
        waiting = self._waiting
        if not waiting:
            return
        loop = asyncio.get_running_loop()
        while waiting and self.in_flight < self.ceiling:
            future, tokens = waiting[0]
            if future.done():
                waiting.popleft()
                continue
            now = loop.time()
            opens = self._opens()
            if opens > now:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = loop.call_at(opens, self._pump)
                return
            waiting.popleft()
            self._begin(now, tokens)
            future.set_result(None)


class Place:
    """A place in flight, while the `async with` lasts."""

    __slots__ = ("_pace", "_tokens", "begun")

    def __init__(self, pace: Pace, tokens: float) -> None:
        self._pace = pace
        self._tokens = tokens
        self.begun = 0.0
        """The loop's time when the call began."""

    def used(self, tokens: float) -> None:
        """Set the estimate right once the server has counted."""
        self._pace.correct(self._tokens, tokens)
        self._tokens = tokens

    async def __aenter__(self) -> Self:
        pace = self._pace
        begun = pace.enter_at_once(self._tokens)
        self.begun = await pace.enter(self._tokens) if begun is None else begun
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pace.leave()
