"""Find how many calls an endpoint can process at once, using only its responses.

The method searches for the best throughput. An epoch measures the rate of replies at one level of concurrency. A higher
level is kept only if the rate grew with it; if calls take longer but no more of them finish, they are waiting in the
server's queue, and the level goes back. By Little's law the time in the system is concurrency / rate, so if it is far
above the shortest one seen, a lower level is tested too. At the start there is no evidence: the level doubles on a
clock, as far as the timeout allows, so that a fast server soon gets everything; a server in the user's own network,
which may process one call at a time, has to respond first. Timeouts and 429s cut the level at once.

Related methods: additive increase and multiplicative decrease (Chiu and Jain, 1989), TCP Vegas (Brakmo and Peterson,
1995), BBR (Cardwell et al., 2016) and the gradient limits of Netflix's concurrency-limits.
"""

from __future__ import annotations

from collections import deque

START, LOCAL_START = 16, 8
"""Calls in flight at first; with a timeout of a few seconds, one for each second, but at least `LEAST_START`."""
LEAST_START = 4
RAMP_STEP_S = 0.1
"""The level doubles at this interval while nothing is known about the server: 16 become 256 in 0.4 s."""
BLIND_TIMEOUT_S = 600.0
"""The timeout at which `BLIND` calls may be in flight before any reply; half of it allows a quarter of them."""
BLIND = 300
LATE_SHARE = 0.1
"""Share of an epoch's calls that must time out to count against the level rather than the rows."""
TOGETHER, SOON_S = 1.5, 1.1
"""Most of the first cohort must reply within this multiple of the first reply's time, or within these seconds."""
QUEUE_SHARE = 0.25
"""Share of the timeout that a call may be expected to take before the level is limited."""
STRETCH, MAX_STRETCH = 2.0, 4.0
"""Multiples of the shortest time in the system seen so far: above the first a lower level is tried, above the second no
higher one."""
PROFIT = 0.4
"""A level that is k times higher must raise the rate k**PROFIT times, or else it only makes a queue."""
LOSS = 0.85
"""Share of the rate that a lower level must keep to be preferred."""
MIN_ROUNDS = 1.25
"""Minimum duration of an epoch, as a multiple of the time in the system."""
GAP = 0.02
"""Share of an epoch's time without a reply that separates two waves."""
MIN_REPLIES, MAX_REPLIES = 16, 64
"""Number of replies that an epoch waits for: about as many as are in flight, within these bounds."""
STEP, FAST_STEP, CAREFUL_STEP = 2.0, 4.0, 1.25
"""Growth of a level: normally, while the rate grows in proportion, and after the server dropped calls."""
PROPORTIONAL = 0.8
"""Share of the level's growth that the rate must keep to grow in proportion."""
MAX_HOLD = 4
"""Maximum epochs until a higher level is tried again; the wait doubles with each try without benefit."""


class Concurrency:
    """The number of calls that may be in flight.

    Args:
        limit: the user's limit.
        timeout: seconds after which a call times out; None for a model in this process, which gets all calls at once.
        is_local: whether the server may be small, so that nothing is assumed before it responds.
    """

    def __init__(self, limit: int, timeout: float | None = 600.0, *, is_local: bool = False) -> None:
        self.limit = limit
        self._is_fixed = timeout is None
        self._is_local = is_local
        self._timeout = timeout or 0.0
        start = min(LOCAL_START if is_local else START, max(LEAST_START, int(self._timeout)))
        self._start = limit if self._is_fixed else min(limit, start)
        self._level = float(self._start)
        self.reason = "starting" if self._level < limit else ""
        """Why the level is below the limit; empty if it is not."""
        self._ramping = self._level < limit
        self._started: float | None = None
        self._stepped = 0.0
        self._begun = self._replied = 0
        self._first_cohort = int(self._level)
        self._first_replies = 0
        self._first_reply_at = 0.0
        self._known: tuple[float, float] | None = None
        """The level known to be good, and its rate of replies per second."""
        self._shortest = float("inf")
        """Shortest time in the system of an epoch, in seconds."""
        self._hold = self._wait = 2
        self._careful = False
        self._cut_at = float("-inf")
        self._epoch_start: float | None = None
        self._last_reply = 0.0
        self._epoch_replies = self._epoch_late = 0
        self._epoch_longest = 0.0
        self._epoch_is_full = True
        self._ghosts: deque[tuple[float, float]] = deque()
        """Timed-out calls that may still be in the server's queue: when they began, and until when they count."""

    @property
    def level(self) -> int:
        """How many calls may be in flight now."""
        return int(self._level)

    def resize(self, limit: int) -> None:
        """Set another limit, keeping the used share of it."""
        share = self._level / self.limit if self.limit else 1.0
        self.limit = limit
        self._level = limit * share if self._started is not None else float(min(self._start, limit))
        if limit:
            self._level = max(1.0, self._level)
        self._measure_anew()

    def has_room(self, in_flight: int, now: float) -> bool:
        """Return whether another call may begin. Timed-out calls count while the server may still process them."""
        ghosts = self._ghosts
        while ghosts and ghosts[0][1] <= now:
            ghosts.popleft()
        return in_flight + len(ghosts) < self.level or (in_flight == 0 and self.limit > 0)

    def next_step(self, now: float) -> float | None:
        """Return when a ramp on the clock may continue while calls are waiting; None if there is none."""
        if not self._ramping or self._started is None:
            return None
        due = self._stepped + RAMP_STEP_S
        if due > now:
            return due
        self._stepped = now
        elapsed = now - self._started
        # Calls in flight must finish within the timeout at the rate seen so far.
        if self._is_local and self._known is None:
            safe = 0.0
        elif self._replied:
            safe = QUEUE_SHARE * self._timeout * self._replied / elapsed
        else:
            safe = min(BLIND * (self._timeout / BLIND_TIMEOUT_S) ** 2, self._timeout / elapsed)
        self._set(min(2 * self._level, max(self._level, safe)), "starting")
        if self._known is not None and safe <= self._level < self.limit:
            self._ramping = False
            self._measure_anew()
        return now + RAMP_STEP_S if self._ramping else None

    def begun(self, now: float) -> bool:
        """Count a call that begins; returns whether it is in the first cohort, which gives the first estimate."""
        if self._started is None:
            self._started = self._stepped = now
        if self._epoch_start is None:  # calls that end with the previous one belong to the last epoch
            self._epoch_start = self._last_reply = now + 0.05 * self._time_in_system()
        self._begun += 1
        return self._begun <= self._first_cohort

    def idle(self) -> None:
        """Note that the level is not fully used, so this epoch says nothing about it."""
        self._epoch_is_full = False

    def replied(self, begun: float, now: float, *, in_first_cohort: bool) -> None:
        """Count a reply to a call that began at `begun`."""
        self._replied += 1
        ghosts = self._ghosts
        while ghosts and ghosts[0][0] < begun:  # the server is done with them
            ghosts.popleft()
        if self._started is None or self._is_fixed:
            return
        if self._known is None and not self._careful:
            self._first_replies += in_first_cohort
            self._first_reply_at = self._first_reply_at or now
            if 4 * self._first_replies >= 3 * self._first_cohort:
                self._learn_first(now - self._started, self._first_reply_at - self._started)
            return
        if self._epoch_start is None or now < self._epoch_start or self._ramping:
            return
        if self._may_end_epoch(now):
            self._end_epoch(self._epoch_replies / (self._last_reply - self._epoch_start))
        self._epoch_replies += 1
        self._epoch_longest = max(self._epoch_longest, now - begun)
        self._last_reply = now

    def _may_end_epoch(self, now: float) -> bool:
        """Return whether the replies up to the last one measure the rate.

        Calls that begin together end together, in waves: an epoch that ends within a wave would measure only a part of
        it. So it ends at a gap between replies, or after three times as long.
        """
        assert self._epoch_start is not None
        elapsed, replies = self._last_reply - self._epoch_start, self._epoch_replies
        wanted = min(max(MIN_REPLIES, int(self._level)), MAX_REPLIES)
        needed = MIN_ROUNDS * min(self._time_in_system(), self._epoch_longest)  # shorter after a cold start
        has_slowed = replies >= MIN_REPLIES / 2 and self._known is not None and elapsed >= 3 * wanted / self._known[1]
        if elapsed <= 0 or elapsed < needed or (replies < wanted and not has_slowed):
            return False
        return now - self._last_reply >= GAP * elapsed or elapsed >= 3 * needed

    def lost_of_first_cohort(self) -> None:
        """Remove a call without a reply from the first cohort."""
        self._first_cohort = max(1, self._first_cohort - 1)

    def limited(self, begun: float, now: float, in_flight: int) -> None:
        """Count a 429 of a call that began at `begun`: the first of a burst halves the level.

        It may grow back fast, since the rate learned from the refusals limits the calls that follow.
        """
        if begun > self._cut_at:
            careful, ramping = self._careful, self._ramping
            self._cut(min(self._level, max(1, in_flight)) / 2, now, "the server refuses more (429)")
            self._careful, self._ramping = careful, ramping

    def timed_out(self, begun: float, now: float) -> None:
        """Count a timed-out call: the first of a burst halves the level, and all keep their place for a while."""
        self._ghosts.append((begun, now + self._timeout))
        self._epoch_late += 1
        is_crowd = self._known is None or self._epoch_late > 1 + LATE_SHARE * self._epoch_replies
        if begun > self._cut_at and is_crowd:
            self._cut(self._level / 2, now, "requests time out")

    def troubled(self, now: float) -> None:
        """Restart from a low level: the server failed many calls in a row."""
        self._cut(min(self._level, float(self._start)), now, "the server is in trouble")

    def _learn_first(self, elapsed: float, first: float) -> None:
        """Judge the level at the start of the run by its first calls.

        If their replies come soon and together, none of them waited for another, and the clock may continue.
        """
        are_together = elapsed <= TOGETHER * first
        replies = self._first_cohort if are_together else self._first_replies  # the others are due now
        self._accept(float(self._first_cohort), replies / max(elapsed, 1e-9))
        self._ramping = self._ramping and are_together and elapsed <= SOON_S
        if self._level > self._first_cohort:
            self._measure_anew()  # the clock went ahead: the level it reached is judged next
        else:
            self._raise(FAST_STEP if are_together else STEP)

    def _end_epoch(self, rate: float) -> None:
        level = self._level
        if not self._epoch_is_full:
            self._measure_anew()
            return
        if self._known is None:
            self._accept(level, rate)
            self._raise()
            return
        known, known_rate = self._known
        if level > known:
            if rate >= known_rate * (level / known) ** PROFIT:
                self._accept(level, rate)
                self._wait = 2
                self._raise(FAST_STEP if rate >= PROPORTIONAL * known_rate * level / known else STEP)
            else:
                self._ramping = False
                self._hold = self._wait = min(2 * self._wait, MAX_HOLD)
                self._set(self._bounded(known, known_rate), "more requests at once do not finish sooner")
        elif level < known:
            if rate >= LOSS * known_rate:
                self._accept(level, rate)
                self._settle()
            else:  # the longer time comes from the rows, or from other clients in the queue
                self._shortest = known / known_rate
                self._hold = 1
                self._set(known, self.reason)
        else:
            self._accept(level, rate)
            self._settle()
        self._measure_anew()

    def _settle(self) -> None:
        """After an epoch at a good level: go down if there seems to be a queue, and up from time to time."""
        stretch = self._time_in_system() / (STRETCH * self._shortest)
        if stretch > 1 and self._level > 1:
            self._set(max(1.0, self._level * min(0.5, stretch**-0.5)), "replies take longer, and no more of them come")
            return
        self._hold -= 1
        if self._hold <= 0:
            self._raise()

    def _accept(self, level: float, rate: float) -> None:
        self._known = level, rate
        self._shortest = min(self._shortest, level / rate)

    def _raise(self, step: float = STEP) -> None:
        assert self._known is not None
        step = CAREFUL_STEP if self._careful else step
        self._set(self._bounded(max(self._level + 1, step * self._level), self._known[1]), self.reason)
        self._measure_anew()

    def _bounded(self, level: float, rate: float) -> float:
        """Return the level, or the one at which a call is expected to take too long at this rate."""
        longest = min(MAX_STRETCH * self._shortest, max(QUEUE_SHARE * self._timeout, 1.25 * self._shortest))
        return max(1.0, min(level, rate * longest))

    def _time_in_system(self) -> float:
        """Return the seconds that a call takes at the known level, by Little's law."""
        return 0.0 if self._known is None else self._known[0] / self._known[1]

    def _cut(self, level: float, now: float, reason: str) -> None:
        self._cut_at = now
        self._careful = True
        self._ramping = False
        self._known = None
        self._wait = self._hold = 2
        self._set(max(1.0, level), reason)
        self._measure_anew()

    def _set(self, level: float, reason: str) -> None:
        self._level = min(level, float(self.limit))
        if self._ramping and self._level >= self.limit:
            self._ramping = False
            self._measure_anew()
        self.reason = reason if self.level < self.limit else ""

    def _measure_anew(self) -> None:
        """Begin an epoch with the next call; after a cut, once enough of the calls in flight have ended."""
        self._epoch_start = None
        self._epoch_replies = self._epoch_late = 0
        self._epoch_longest = 0.0
        self._epoch_is_full = True
