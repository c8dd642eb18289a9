"""Share one whole among those who are there: the limits of an endpoint among the engines of a run.

Pure bookkeeping, with the time given from outside. What holds at every moment: the fractions that members may still be
using sum to 1 at the most. A member that is silent for a lease is taken for gone; it knows that, and stops by itself
when it has heard nothing for half of one.
"""

from __future__ import annotations

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
