"""Count numbers and distinct texts exactly, in bounded memory."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import Counter
from itertools import accumulate, chain, repeat
from typing import TYPE_CHECKING, Any

from distask.report.compare.spill import SortedRuns, Span, SpillFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from distask.report.bins import Ordered

MAX_IN_MEMORY = 1 << 14
"""Distinct values kept in memory; more are stored on disk."""


class Distribution:
    """Count numbers and their distinct values.

    Args:
        typecode: the type of the numbers, as in `array`. NaN is not allowed.
        file: where numbers are stored if there are many distinct ones.
    """

    def __init__(self, typecode: str, file: SpillFile) -> None:
        self._typecode = typecode
        self._file = file
        self._counts: Counter[Any] = Counter()
        self._runs = SortedRuns(typecode, file)
        self._ordered: Ordered | None = None

    def update(self, numbers: Iterable[float]) -> None:
        """Count numbers."""
        self._ordered = None
        self._counts.update(numbers)
        if len(self._counts) > MAX_IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        self._runs.add(sorted(self._counts.elements()))
        self._counts.clear()

    def ordered(self) -> Ordered:
        """Return all numbers in ascending order."""
        if self._ordered is None:
            self._ordered = self._stored() if self._runs else Repeated(self._counts)
        return self._ordered

    def _stored(self) -> Ordered:
        if self._counts:
            self._spill()
        spans = [self._file.append(array(self._typecode, block)) for block in self._runs.merged()]
        whole = Span(self._typecode, spans[0].start, sum(span.count for span in spans))  # they are adjacent
        return Stored(self._file, whole)

    def total(self) -> int:
        """Return the sum, rounded."""
        return round(math.fsum(self.ordered()))


class Repeated:
    """A sorted sequence of numbers, many of them equal."""

    def __init__(self, counts: Counter[Any]) -> None:
        self._values = sorted(counts)
        self._counts = [counts[value] for value in self._values]
        self._ends = list(accumulate(self._counts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, place: int) -> float:
        found: float = self._values[bisect_right(self._ends, place if place >= 0 else place + len(self))]
        return found

    def __iter__(self) -> Iterator[float]:
        return chain.from_iterable(map(repeat, self._values, self._counts))


class Stored:
    """A sorted sequence of numbers on disk."""

    def __init__(self, file: SpillFile, span: Span) -> None:
        self._file, self._span = file, span

    def __len__(self) -> int:
        return self._span.count

    def __getitem__(self, place: int) -> float:
        number: float = self._file.read(self._span, place if place >= 0 else place + len(self), 1)[0]
        return number

    def __iter__(self) -> Iterator[float]:
        return chain.from_iterable(self._file.blocks(self._span))


class DistinctTexts:
    """Count distinct texts by their 64-bit hashes."""

    def __init__(self, file: SpillFile) -> None:
        self._recent: set[int] = set()
        self._runs = SortedRuns("q", file)

    def update(self, texts: Iterable[str]) -> None:
        """Add texts."""
        self._recent.update(map(hash, texts))
        if len(self._recent) > MAX_IN_MEMORY:
            self._runs.add(sorted(self._recent))
            self._recent.clear()

    def count(self, most: int) -> int | None:
        """Return how many there are; None if more than `most`."""
        if not self._runs:
            return len(self._recent) if len(self._recent) <= most else None
        if most < MAX_IN_MEMORY:
            return None
        if self._recent:
            self._runs.add(sorted(self._recent))
            self._recent.clear()
        found = 0
        for block in self._runs.merged():
            found += len(set(block))
            if found > most:
                return None
        return found
