"""Enforce the cost limit of one engine in a run of many: it spends what the run's coordinator leases to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from distask.runner.engine.budget import UNLIMITED_REPLY, Budget, CostReached

if TYPE_CHECKING:
    from distask.llm.request import Request
    from distask.runner.stats import Stats


class Learned(Struct, frozen=True):
    """What replies show about costs; see `Budget`."""

    has_replies: bool = False
    longest: int = UNLIMITED_REPLY
    off: float | None = None
    surcharge: float = 1.0

    def joined(self, other: Learned) -> Learned:
        """Return what both show together."""
        offs = [off for off in (self.off, other.off) if off is not None]
        return Learned(
            self.has_replies or other.has_replies,
            max(self.longest, other.longest),
            max(offs, default=None),
            max(self.surcharge, other.surcharge),
        )


class Demand(Struct, frozen=True):
    """What an engine holds of the cost limit and what it needs, in USD."""

    spent: float
    reserved: float
    """Maximum cost of the calls in flight."""
    held: float
    """The most that it may spend until it hears of another lease."""
    wanted: float = 0.0
    """Maximum cost of the cheapest call that waits for money; 0 if none waits."""
    assumed: int | None = None
    """Assumed output tokens of that call, if it has no max_tokens."""
    learned: Learned = Learned()

    @property
    def is_blocked(self) -> bool:
        """Whether a call waits for money and no call is in flight that could give some back."""
        return self.wanted > 0 and self.reserved <= 0


class Lease(Struct, frozen=True):
    """The answer to a demand."""

    most: float
    """The most that the engine may spend in all, in USD."""
    learned: Learned = Learned()


class LeasedBudget(Budget):
    """The budget of one engine; nothing is leased to it at first.

    A call that does not fit waits for calls in flight or for a larger lease. `end` ends all waiting calls.
    """

    def __init__(self, stats: Stats) -> None:
        super().__init__(0.0, stats)
        self._waiting: dict[int, tuple[float, int | None]] = {}
        """Maximum cost and assumed tokens of each call that waits."""
        self._number = 0
        self._end: str | None = None

    def demand(self) -> Demand:
        """Return what the engine holds and needs."""
        spent, reserved = self._stats.cost, self._reserved * self._surcharge
        wanted, assumed = min(self._waiting.values(), key=lambda waiting: waiting[0], default=(0.0, None))
        learned = Learned(self._has_replies, self._longest, self._off, self._surcharge)
        return Demand(spent, reserved, max(self.most, spent + reserved), wanted, assumed, learned)

    def renew(self, lease: Lease) -> None:
        """Apply a lease; one that is smaller than what is spent and reserved takes effect as calls end."""
        learned = lease.learned
        self._has_replies = self._has_replies or learned.has_replies
        self._longest = max(self._longest, learned.longest)
        self._off = max((off for off in (self._off, learned.off) if off is not None), default=None)
        self._surcharge = max(self._surcharge, learned.surcharge)
        self.most = max(lease.most, self._stats.cost + self._reserved * self._surcharge)
        self._given_back.set()

    def end(self, reason: str) -> None:
        """End the calls that wait for money."""
        self._end = reason
        self._given_back.set()

    async def _room(self, request: Request, amount: float) -> None:
        if self._end is not None:
            raise CostReached(self._end)
        self._number += 1
        number = self._number
        self._waiting[number] = amount, self._assumed(request)
        self._given_back.clear()
        try:
            await self._given_back.wait()
        finally:
            del self._waiting[number]
