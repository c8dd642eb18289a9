"""Limit calls per minute: by the user's limits, and by the limit learned from a server's refusals."""

from __future__ import annotations

from collections import deque

SMOOTHING_SECONDS = 1.0
"""A limit per minute is spread evenly: after a pause, at most this many seconds' worth is sent at once."""
FIRST_PROBE_S, PROBE_GROWTH, MAX_PROBE_S = 0.2, 1.5, 60.0
"""Waits between probes of a server that refuses everything."""
MIN_DECISION_S, MAX_DECISION_S = 0.05, 2.0
"""A call counts as accepted after four times the time of a refusal, within these bounds."""
GROWTH_PER_S = 0.05
"""Initial growth of a learned rate per second while nothing is refused."""
MAX_GROWTH = 0.02
"""Maximum growth per call: if calls are rare, each refusal costs as many of them."""
CALM_S = 5.0
"""After this time without a refusal the rate grows twice as fast, after twice this time three times, and so on."""
SOFT_CUT = 0.9
"""Share of the rate that remains after a refusal while other calls are accepted."""
BURST_S = 0.25
"""Seconds' worth of calls that may be sent at once at a learned rate."""


class TokenBucket:
    """A limit of units per minute, spread evenly; a charge larger than the balance is paid off before the next one."""

    __slots__ = ("_paid_until", "_per_minute", "_seconds_each", "_slack")

    def __init__(self, per_minute: float) -> None:
        self._per_minute = per_minute
        self._paid_until = float("-inf")
        self.share(1.0)

    def share(self, fraction: float) -> None:
        """Use only a fraction of the limit."""
        self._seconds_each = 60 / (self._per_minute * fraction)
        self._slack = max(SMOOTHING_SECONDS - self._seconds_each, 0.0)

    def ready_at(self) -> float:
        """Return the earliest time of the next charge."""
        return self._paid_until - self._slack

    def charge(self, now: float, units: float) -> None:
        """Charge units."""
        self._paid_until = max(self._paid_until, now) + units * self._seconds_each

    def refund(self, units: float) -> None:
        """Refund units."""
        self._paid_until -= units * self._seconds_each


class LearnedRate:
    """A limit per second that a server does not announce, learned from its 429s.

    A cycle is the time from the first accepted call to the end of the refusals that follow. The calls accepted in a
    cycle, divided by its length, are the rate; this fits windows of any length, token buckets and limits on concurrent
    calls. While everything is refused, single calls probe the server at growing intervals. Afterwards calls are spread
    evenly at the rate, which grows until the next refusal.
    """

    def __init__(self) -> None:
        self.per_second: float | None = None
        """The current rate; None while nothing was refused."""
        self.is_closed = False
        """Whether the server refuses everything at the moment."""
        self._next = float("-inf")
        self._cycle_start: float | None = None
        self._accepted = self._accepted_at_cut = 0
        self._undecided: deque[float] = deque()
        """Start times of calls that may still be refused."""
        self._cut_at = float("-inf")
        self._grown_at = 0.0
        self._decision_s = MIN_DECISION_S
        self._probe: float | None = None
        self._probe_wait = FIRST_PROBE_S

    def ready_at(self, now: float) -> float:
        """Return the earliest time of the next call."""
        if self.is_closed and self._probe is not None:
            accepted_at = self._probe + self._decision_s
            if now < accepted_at:
                return accepted_at
            self._open(now)
        return self._next

    def holds(self, now: float) -> bool:
        """Return whether the rate is what limits the calls."""
        return self.is_closed or (self.per_second is not None and now - self._next <= BURST_S)

    def begun(self, now: float) -> None:
        """Count a call that begins."""
        if self._cycle_start is None:
            self._cycle_start = now
        self._undecided.append(now)
        self._settle(now)
        if self.is_closed:
            self._probe = now
        elif self.per_second is not None:
            if self.holds(now):
                growth = GROWTH_PER_S * (1 + (now - self._cut_at) / CALM_S) * (now - self._grown_at)
                self.per_second *= 1 + min(growth, MAX_GROWTH)
            self._grown_at = now
            self._next = max(self._next, now - BURST_S) + 1 / self.per_second

    def refused(self, begun: float, now: float) -> None:
        """Count a 429 of a call that began at `begun`."""
        self._decision_s = max(MIN_DECISION_S, min(4 * (now - begun), MAX_DECISION_S))
        if begun in self._undecided:
            self._undecided.remove(begun)
        elif self._cycle_start is not None and begun >= self._cycle_start:
            self._accepted -= 1  # it was refused late
        if self.is_closed and begun == self._probe:
            self._probe = None
            self._probe_wait = min(PROBE_GROWTH * self._probe_wait, MAX_PROBE_S)
            self._next = now + self._probe_wait
        if self.is_closed or begun <= self._cut_at:
            return
        self._settle(now)
        if self.per_second is not None and self._accepted > self._accepted_at_cut:
            self.per_second *= SOFT_CUT
        else:
            self.is_closed = True
            self._next = now + self._probe_wait
        self._cut_at, self._accepted_at_cut = now, self._accepted

    def _settle(self, now: float) -> None:
        """Count calls that began long enough ago as accepted."""
        undecided = self._undecided
        while undecided and undecided[0] <= now - self._decision_s:
            undecided.popleft()
            self._accepted += 1

    def _open(self, now: float) -> None:
        """Handle an accepted probe: the cycle ends, and its accepted calls set the rate."""
        assert self._cycle_start is not None
        assert self._probe is not None
        self._settle(now)
        elapsed = self._probe - self._cycle_start
        self.per_second = max(self._accepted - 1, 1) / max(elapsed, 1e-3)
        self._cycle_start, self._accepted = self._probe, 1
        self.is_closed, self._probe, self._probe_wait = False, None, FIRST_PROBE_S
        self._cut_at, self._accepted_at_cut, self._grown_at, self._next = now, 1, now, now
