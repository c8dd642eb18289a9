"""What the engines of one run on many machines know of each other: shares, counts, and whether to stop.

There is one coordinator for a run. An engine's governor sends it a beat twice a second, with its counts, and is told
its share of the limits; an engine that fails for good stops all of them by it.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from distask.errors import RunError
from distask.runner.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distask.runner.engine.shared import Shared
    from distask.task.steps.flow import Count


BEAT_SECONDS = 0.5
"""How often an engine is heard of."""


class Stopped(RunError):  # noqa: N818 - it was; the part itself did nothing wrong
    """The whole run was stopped, from outside or by another part; what was paid for is in the store."""


class Told(Struct, frozen=True):
    """What an engine is told."""

    share: float
    """The fraction of the run's limits that it may use."""
    stop: str | None = None
    """Why it is to stop, where it is."""


class Coordinator:
    """Keeps it all in one process; see the module."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shares = Shares()
        self._stats: dict[int, Stats] = {}
        self._stop: str | None = None

    def beat(self, member: str, part: int, stats: Stats) -> Told:
        """Note a part's counts so far."""
        self._stats[part] = stats
        return Told(self._shares.beat(member, self._clock()), self._stop)

    def leave(self, member: str, part: int, stats: Stats) -> None:
        """Note a part's last counts; its share is free."""
        stats.in_flight = stats.ceiling = 0
        stats.pace = ""
        self._stats[part] = stats
        self._shares.leave(member)

    def stop(self, reason: str) -> None:
        """Let all engines stop; the first reason stands."""
        self._stop = self._stop or reason

    def progress(self) -> Stats:
        """The counts of all parts together."""
        return summed(self._stats.values())


def summed(parts: Iterable[Stats]) -> Stats:
    """The counts of several runs as those of one."""
    total = Stats()
    for stats in parts:
        for name in Stats.__struct_fields__:
            value, so_far = getattr(stats, name), getattr(total, name)
            if name in ("total", "started", "ended"):
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
    """The counts of the same steps, added up."""
    if not so_far or not more:
        return [replace(count) for count in so_far or more]
    counted = ("came", "went", "asked", "failed", "skipped", "reasons")
    return [
        replace(a, **{name: getattr(a, name) + getattr(b, name) for name in counted})
        for a, b in zip(so_far, more, strict=True)
    ]


class Line(Protocol):
    """A governor's line to the coordinator; it never waits."""

    def send(self, stats: Stats) -> None:
        """Send a beat."""

    def answer(self) -> Told | None:
        """What was told to the last beat; None while there is no answer."""


class Governor:
    """Keeps one engine within its share; `govern` is called ten times a second, from the engine's loop."""

    def __init__(self, line: Line, clock: Callable[[], float] = time.monotonic) -> None:
        self._line = line
        self._clock = clock
        self._heard = self._sent = float("-inf")
        self._waits = False
        self._applied: tuple[float, int] | None = None

    def govern(self, shared: Shared) -> None:
        """Apply what was told; before the first answer, and when none has come for long, no call begins."""
        now = self._clock()
        if self._waits and (told := self._line.answer()) is not None:
            self._waits, self._heard = False, now
            if told.stop is not None:
                shared.halt(Stopped(told.stop))
            self._apply(shared, told.share)
        elif now - self._heard > LEASE_SECONDS / 2:
            self._apply(shared, 0.0)
        if not self._waits and now - self._sent >= BEAT_SECONDS:
            self._line.send(shared.stats)
            self._waits, self._sent = True, now

    def watching(self, shared: Shared, observe: Callable[[Stats], None] | None) -> Callable[[Stats], None]:
        """What an engine calls with its counts: it governs, then lets `observe` see them."""
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
"""A member that is not heard of for so long is gone: a machine that is lost gives its share back after it."""


class Shares:
    """Who uses which fraction."""

    def __init__(self, lease: float = LEASE_SECONDS) -> None:
        self._lease = lease
        self._granted: dict[str, float] = {}
        self._heard: dict[str, float] = {}

    @property
    def members(self) -> int:
        """How many there are."""
        return len(self._granted)

    def beat(self, member: str, now: float) -> float:
        """The fraction that a member may use until its next beat: an equal one, once the others have made room."""
        self._heard[member] = now
        for other, heard in list(self._heard.items()):
            if now - heard > self._lease:
                self.leave(other)
        self._granted.setdefault(member, 0.0)
        others = sum(fraction for other, fraction in self._granted.items() if other != member)
        self._granted[member] = max(0.0, min(1 / len(self._granted), 1.0 - others))
        return self._granted[member]

    def leave(self, member: str) -> None:
        """Give a member's fraction back."""
        self._granted.pop(member, None)
        self._heard.pop(member, None)
