"""Coordinate the engines of one run on many machines: limits, counts and stopping.

A run has one coordinator. Each engine's governor sends it a heartbeat with its counts twice a second and receives its
share of the limits. An engine that fails for good stops all others through the coordinator.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from distask.errors import RunError
from distask.runner.engine.budget import FIRST_SHARE, cost_reached
from distask.runner.engine.leased_budget import Demand, Learned, Lease, LeasedBudget
from distask.runner.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from distask.runner.engine.shared import Shared
    from distask.task.steps.flow import Count


SMALLEST = 1 / 32
"""Smallest lease as a fraction of an equal share, so that an engine can start calls before it says what it needs."""


class Leases:
    """The cost limit of a run, in USD.

    A lost engine's lease counts as spent, because nobody knows which of its last calls were billed.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._ended = 0.0
        """What engines that have left spent."""
        self._held: dict[str, float] = {}
        self._demands: dict[str, Demand] = {}
        self._learned = Learned()
        self.reached: str | None = None
        """Why no further call fits; None if one may fit."""

    def renew(self, member: str, demand: Demand, live: Collection[str]) -> Lease:
        """Return an engine's lease until its next demand; `live` names the engines that are not lost."""
        before = self._demands.get(member)
        self._demands[member], self._held[member] = demand, demand.held
        self._learned = self._learned.joined(demand.learned)
        target = demand.spent + self._room(member, demand, before, {*live, member})
        free = self._limit - self._ended - sum(self._held.values())
        most = min(target, demand.held + max(0.0, free))
        self._held[member] = max(demand.held, most)
        return Lease(most, self._learned)

    def leave(self, member: str, spent: float) -> None:
        """Count what an engine spent, and free the rest of its lease."""
        self._held.pop(member, None)
        self._demands.pop(member, None)
        self._ended += spent

    def _room(self, member: str, demand: Demand, before: Demand | None, live: Collection[str]) -> float:
        """Return how much an engine may spend from now on, were nothing leased to the others."""
        demands = {name: each for name, each in self._demands.items() if name in live}
        lost = sum(held for name, held in self._held.items() if name not in live)
        spent = self._ended + lost + sum(each.spent for each in demands.values())
        left = max(0.0, self._limit - spent)
        pool = left if self._learned.has_replies else left * FIRST_SHARE
        share = pool / len(demands)
        blocked = {
            name: each
            for name, each in demands.items()
            if each.is_blocked and each.wanted > max(share, self._held[name] - each.spent)
        }
        if len(blocked) == len(demands):
            chosen = min(blocked, key=lambda name: (blocked[name].wanted, name))
            cheapest = blocked[chosen]
            if cheapest.wanted > left:
                self.reached = cost_reached(cheapest.wanted, spent, self._limit, cheapest.assumed)
            return left if member == chosen else 0.0
        if member in blocked:
            return 0.0
        share = pool / (len(demands) - len(blocked))
        recently = demand.spent - (0.0 if before is None else before.spent)
        return min(share, max(share * SMALLEST, 2 * (demand.reserved + demand.wanted + recently)))


BEAT_SECONDS = 0.5
"""Interval between an engine's heartbeats."""


class Stopped(RunError):  # noqa: N818 - not an error of this part
    """The complete run was stopped, by the user or by another part; replies received so far are in the store."""


class Instructions(Struct, frozen=True):
    """The coordinator's answer to a heartbeat."""

    share: float
    """Fraction of the run's limits that the engine may use."""
    stop: str | None = None
    """Why the engine must stop; None to continue."""
    lease: Lease | None = None
    """What the engine may spend; None without a cost limit."""


class Coordinator:
    """Holds the state of a run in one process; see the module docstring."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_cost: float | None = None) -> None:
        self._clock = clock
        self._shares = Shares()
        self._leases = None if max_cost is None else Leases(max_cost)
        self._lock = threading.Lock()
        self._stats: dict[Any, Stats] = {}
        self._stop: str | None = None

    def beat(self, member: str, part: Any, stats: Stats, demand: Demand | None = None) -> Instructions:
        """Record a part's counts; returns its share of the limits and whether to stop."""
        with self._lock:  # an actor answers several engines at a time
            self._stats[part] = stats
            share, lease = self._shares.beat(member, self._clock()), None
            if self._leases is not None and demand is not None:
                lease = self._leases.renew(member, demand, self._shares.members)
                if self._leases.reached is not None:
                    self.stop(self._leases.reached)
            return Instructions(share, self._stop, lease)

    def leave(self, member: str, part: Any, stats: Stats) -> None:
        """Record a part's final counts and free its share."""
        stats.in_flight = stats.ceiling = 0
        stats.pace = ""
        with self._lock:
            self._stats[part] = stats
            self._shares.leave(member)
            if self._leases is not None:
                self._leases.leave(member, stats.cost)

    def stop(self, reason: str) -> None:
        """Stop all engines; only the first reason is kept."""
        self._stop = self._stop or reason

    def cost_reached(self) -> bool:
        """Return whether the cost limit stopped the run."""
        return self._leases is not None and self._leases.reached is not None and self._stop == self._leases.reached

    def progress(self) -> Stats:
        """Return the summed counts of all parts."""
        return summed(self._stats.values())


def summed(parts: Iterable[Stats]) -> Stats:
    """Sum the counts of several runs."""
    total = Stats()
    for stats in parts:
        for name in Stats.__struct_fields__:
            value, so_far = getattr(stats, name), getattr(total, name)
            if name in ("total", "started", "ended", "layout", "most_runs"):
                continue
            if name == "models":
                for use in stats.models.values():
                    total.note_model(use)
                continue
            if name == "steps":
                total.steps = _together(total.steps, stats.steps)
                continue
            if name == "adaptations":  # each worker learns them
                total.adaptations += [each for each in stats.adaptations if each not in total.adaptations]
                continue
            if isinstance(value, bool | str):
                setattr(total, name, value or so_far)
            elif isinstance(value, int | float | Counter | list):
                setattr(total, name, so_far + value)
    return total


def _together(so_far: list[Count], more: list[Count]) -> list[Count]:
    """Sum the counts of each step."""
    if not so_far or not more:
        return [replace(count) for count in so_far or more]
    counted = ("came", "went", "asked", "failed", "skipped", "reasons")
    return [
        replace(a, **{name: getattr(a, name) + getattr(b, name) for name in counted})
        for a, b in zip(so_far, more, strict=True)
    ]


class Line(Protocol):
    """A governor's non-blocking connection to the coordinator."""

    def send(self, stats: Stats, demand: Demand | None = None) -> None:
        """Send a heartbeat; `demand` is what the engine needs of a cost limit."""

    def answer(self) -> Instructions | None:
        """Return the answer to the last heartbeat; None if there is none yet."""


class Governor:
    """Keeps one engine within its share; the engine's loop calls `govern` ten times a second."""

    def __init__(self, line: Line, clock: Callable[[], float] = time.monotonic) -> None:
        self._line = line
        self._clock = clock
        self._heard = self._sent = float("-inf")
        self._waits = False
        self._applied: tuple[float, int] | None = None

    def govern(self, shared: Shared) -> None:
        """Apply the last answer; starts no calls before the first answer, or when answers stop coming."""
        now = self._clock()
        budget = shared.budget if isinstance(shared.budget, LeasedBudget) else None
        if budget is not None and shared.error is not None:
            budget.end(str(shared.error))
        if self._waits and (instructions := self._line.answer()) is not None:
            self._waits, self._heard = False, now
            if instructions.stop is not None:
                shared.halt(Stopped(instructions.stop))
            self._apply(shared, instructions.share)
            if instructions.lease is not None and budget is not None:
                budget.renew(instructions.lease)
        elif now - self._heard > LEASE_SECONDS / 2:
            self._apply(shared, 0.0)
        if not self._waits and now - self._sent >= BEAT_SECONDS:
            self._line.send(shared.stats, None if budget is None else budget.demand())
            self._waits, self._sent = True, now

    def watching(self, shared: Shared, observe: Callable[[Stats], None] | None) -> Callable[[Stats], None]:
        """Return the engine's callback for its counts: it governs, then calls `observe`."""
        self.govern(shared)

        def watch(stats: Stats) -> None:
            self.govern(shared)
            if observe is not None:
                observe(stats)

        return watch

    def _apply(self, shared: Shared, share: float) -> None:
        if (share, len(shared.clients)) != self._applied:
            self._applied = share, len(shared.clients)
            for client in shared.clients:
                client.share(share)


LEASE_SECONDS = 20.0
"""Time without a heartbeat after which a member is considered lost and its share is freed."""


class Shares:
    """Divides the limits among the members."""

    def __init__(self, lease: float = LEASE_SECONDS) -> None:
        self._lease = lease
        self._granted: dict[str, float] = {}
        self._heard: dict[str, float] = {}

    @property
    def members(self) -> Collection[str]:
        """The members that are not lost."""
        return self._granted.keys()

    def beat(self, member: str, now: float) -> float:
        """Return a member's fraction until its next heartbeat: an equal share, once the others have reduced theirs."""
        self._heard[member] = now
        for other, heard in list(self._heard.items()):
            if now - heard > self._lease:
                self.leave(other)
        self._granted.setdefault(member, 0.0)
        others = sum(fraction for other, fraction in self._granted.items() if other != member)
        self._granted[member] = max(0.0, min(1 / len(self._granted), 1.0 - others))
        return self._granted[member]

    def leave(self, member: str) -> None:
        """Free a member's fraction."""
        self._granted.pop(member, None)
        self._heard.pop(member, None)
