"""Decide when a call may begin: how many at once, how many per minute, and pauses that the server asks for.

`concurrency` finds how many calls the server can process; `rate_limit` keeps to limits per minute, the user's and those
learned from a server's refusals. All calls wait in one queue, first come, first served. Time is the event loop's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

from distask.llm.pacing.concurrency import Concurrency
from distask.llm.pacing.rate_limit import LearnedRate, TokenBucket

if TYPE_CHECKING:
    from types import TracebackType

BURST = 8
"""Server errors in a row, among calls begun since the last pause, that pause the endpoint."""
LONGEST_REST = 60.0
NEARLY_FULL = 0.8
"""Share of the places that must be used for the rate of replies to say something about their number."""


class Pace:
    """The places in flight of one endpoint.

    Args:
        limit: maximum number of calls in flight.
        requests_per_minute: maximum number of calls begun per minute.
        tokens_per_minute: maximum number of tokens of the calls begun per minute.
        timeout: seconds after which a call times out; None for a model in this process, which needs no search for the
            concurrency.
        is_local: whether the server is in the user's own network, and may be a small one.
    """

    def __init__(
        self,
        limit: int = 256,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        *,
        timeout: float | None = 600.0,
        is_local: bool = False,
    ) -> None:
        self._whole = limit
        self.in_flight = 0
        self.concurrency = Concurrency(limit, timeout, is_local=is_local)
        self.rate = LearnedRate()
        self._requests = TokenBucket(requests_per_minute) if requests_per_minute else None
        self._tokens = TokenBucket(tokens_per_minute) if tokens_per_minute else None
        self._buckets = [b for b in (self._requests, self._tokens) if b is not None]
        self._waiting: deque[tuple[asyncio.Future[float], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._paused_until = float("-inf")
        self._rested_at = float("-inf")
        self._troubles = 0
        self._rests = 0
        self._ended = False

    @property
    def limit(self) -> int:
        """Maximum number of calls in flight."""
        return self.concurrency.limit

    @property
    def ceiling(self) -> int:
        """How many calls may be in flight now."""
        return self.concurrency.level

    @property
    def reason(self) -> str:
        """What limits the calls besides the user's own limits; empty if nothing does."""
        if self.rate.is_closed:
            return "the server refuses all requests for now (429)"
        if self.rate.per_second is not None and self._waiting and self.in_flight < self.ceiling:
            return f"the server accepts about {self.rate.per_second:.3g} requests/s (429)"
        return self.concurrency.reason

    @property
    def counts_tokens(self) -> bool:
        """Whether `place` needs the tokens of a call."""
        return self._tokens is not None

    def place(self, tokens: float = 0, *, first: bool = False) -> Place:
        """Return a context manager that waits for a place and releases it; `first` puts it ahead of all others."""
        return Place(self, tokens, first=first)

    def share(self, fraction: float) -> None:
        """Use only a fraction of every limit, since others use the same endpoint for this run; 0 stops new calls."""
        self.concurrency.resize(max(1, int(self._whole * fraction)) if fraction > 0 else 0)
        if fraction > 0:
            for bucket in self._buckets:
                bucket.share(fraction)
        self._pump()

    def pause(self, seconds: float) -> None:
        """Start no call for some seconds."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)

    def end(self) -> None:
        """Let all waiting calls through, so that they see that the run is over."""
        self._ended = True
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():  # not cancelled
                self.in_flight += 1
                future.set_result(asyncio.get_running_loop().time())
        if self._timer is not None:
            self._timer.cancel()

    def enter_at_once(self, tokens: float) -> float | None:
        """Take a place if one is free and no call is waiting; returns the time, or None."""
        now = asyncio.get_running_loop().time()
        if self._waiting or not self.concurrency.has_room(self.in_flight, now) or self._opens(now) > now:
            return None
        self._begin(now, tokens)
        return now

    async def enter(self, tokens: float, *, first: bool = False) -> float:
        """Wait for a place and take it; returns the time."""
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)((future, tokens))
        self._pump()
        try:
            return await future
        except asyncio.CancelledError:
            if not future.cancelled():  # the place was given in the same iteration of the loop
                self.leave()
            raise

    def leave(self) -> None:
        """Release a place."""
        self.in_flight -= 1
        if self._waiting:
            self._pump()
        elif self.in_flight < NEARLY_FULL * self.ceiling:
            self.concurrency.idle()

    def correct(self, estimate: float, tokens: float) -> None:
        """Replace the estimated tokens of a call with the actual count."""
        if self._tokens is not None:
            self._tokens.refund(estimate - tokens)

    # Results of calls

    def succeeded(self, begun: float, *, in_first_cohort: bool = False) -> None:
        """Count a success of a call that began at `begun`."""
        self._troubles = self._rests = 0
        now = asyncio.get_running_loop().time()
        self.concurrency.replied(begun, now, in_first_cohort=in_first_cohort)

    def limited(self, begun: float) -> None:
        """Count a 429 of a call that began at `begun`."""
        now = asyncio.get_running_loop().time()
        if not self.rate.holds(now):
            self.concurrency.limited(begun, now, self.in_flight)
        self.rate.refused(begun, now)

    def timed_out(self, begun: float) -> None:
        """Count a call that began at `begun` and got no response in time."""
        self.concurrency.timed_out(begun, asyncio.get_running_loop().time())

    def troubled(self, begun: float) -> None:
        """Count a server error of a call that began at `begun`: a burst of them pauses the endpoint."""
        if begun <= self._rested_at:
            return
        self._troubles += 1
        if self._troubles >= BURST:
            self._troubles = 0
            self._rested_at = now = asyncio.get_running_loop().time()
            self.concurrency.troubled(now)
            self.pause(min(LONGEST_REST, 2.0**self._rests))
            self._rests += 1

    def _opens(self, now: float) -> float:
        """Return when the time limits allow the next call."""
        if self._ended:
            return float("-inf")
        opens = max(self._paused_until, self.rate.ready_at(now))
        for bucket in self._buckets:
            opens = max(opens, bucket.ready_at())
        return opens

    def _begin(self, now: float, tokens: float) -> None:
        self.in_flight += 1
        self.rate.begun(now)
        if self._requests is not None:
            self._requests.charge(now, 1)
        if self._tokens is not None:
            self._tokens.charge(now, tokens)

    def _pump(self) -> None:
        """Start the calls that may begin now; schedule the next start."""
        waiting = self._waiting
        loop = asyncio.get_running_loop()
        now = loop.time()
        while waiting:
            future, tokens = waiting[0]
            if future.done():
                waiting.popleft()
                continue
            if not self.concurrency.has_room(self.in_flight, now):
                step = self.concurrency.next_step(now)
                if self.concurrency.has_room(self.in_flight, now):
                    continue
                self._come_back(loop, step)
                return
            opens = self._opens(now)
            if opens > now:
                self.concurrency.idle()
                self._come_back(loop, opens)
                return
            waiting.popleft()
            self._begin(now, tokens)
            future.set_result(now)

    def _come_back(self, loop: asyncio.AbstractEventLoop, when: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if when is None else loop.call_at(when, self._pump)


class Place:
    """A place in flight, held during the `async with`."""

    __slots__ = ("_first", "_in_first_cohort", "_pace", "_tokens", "begun")

    def __init__(self, pace: Pace, tokens: float, *, first: bool = False) -> None:
        self._pace = pace
        self._tokens = tokens
        self._first = first
        self.begun = 0.0
        """The event loop's time when the call began."""
        self._in_first_cohort = False

    def used(self, tokens: float) -> None:
        """Replace the estimate with the server's count."""
        self._pace.correct(self._tokens, tokens)
        self._tokens = tokens

    def succeeded(self) -> None:
        """Count a success."""
        self._pace.succeeded(self.begun, in_first_cohort=self._in_first_cohort)
        self._in_first_cohort = False

    async def __aenter__(self) -> Self:
        pace = self._pace
        begun = None if self._first else pace.enter_at_once(self._tokens)
        self.begun = await pace.enter(self._tokens, first=self._first) if begun is None else begun
        self._in_first_cohort = pace.concurrency.begun(self.begun)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._in_first_cohort:
            self._pace.concurrency.lost_of_first_cohort()
        self._pace.leave()
