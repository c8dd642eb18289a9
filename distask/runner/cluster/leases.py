"""Divide the cost limit of a run among its engines: what all of them may spend is never more than the limit.

An engine gets a little more than it needs at the moment, at most an equal share of what is left. A call that costs more
than a share waits until the others are blocked as well; then one of them gets all that is left. The run ends when
even the cheapest waiting call does not fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distask.runner.engine.budget import FIRST_SHARE, cost_reached
from distask.runner.engine.leased_budget import Demand, Learned, Lease

if TYPE_CHECKING:
    from collections.abc import Collection

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
