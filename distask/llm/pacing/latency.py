"""Measure how long an endpoint's calls took, in a histogram of fixed size, whatever the number of calls."""

from __future__ import annotations

from math import inf, log
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LEAST_SECONDS = 0.001
GROWTH = 1.05
"""Ratio of a bucket's bounds: a percentile is accurate to 2.5 %."""
BUCKETS = 320
"""From a millisecond to over an hour and a half: longer than any timeout."""
_STEP = log(GROWTH)


class Latency:
    """The seconds that calls took, from being sent to their response, without the time in our queue."""

    __slots__ = ("_counts", "count", "longest")

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Count a call."""
        bucket = int(log(seconds / LEAST_SECONDS) / _STEP) if seconds > LEAST_SECONDS else 0
        self._counts[bucket if bucket < BUCKETS else BUCKETS - 1] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def percentile(self, share: float) -> float | None:
        """Return the seconds within which this share of the calls (0.5: half of them) ended; None without calls."""
        if not self.count:
            return None
        wanted, seen = share * self.count, 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if seen >= wanted and count and bucket < BUCKETS - 1:
                return float(min(LEAST_SECONDS * GROWTH ** (bucket + 0.5), self.longest))
        return self.longest

    def buckets(self) -> list[tuple[float, int]]:
        """Return each bucket that holds calls: its upper bound in seconds, and its count."""
        last = BUCKETS - 1
        return [
            (inf if bucket == last else LEAST_SECONDS * GROWTH ** (bucket + 1), count)
            for bucket, count in enumerate(self._counts)
            if count
        ]

    @classmethod
    def together(cls, parts: Iterable[Latency]) -> Latency:
        """Merge the calls of all parts."""
        made = cls()
        for part in parts:
            made._counts = [a + b for a, b in zip(made._counts, part._counts, strict=True)]  # noqa: SLF001 - same class
            made.count += part.count
            made.longest = max(made.longest, part.longest)
        return made
