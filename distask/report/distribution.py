"""Count numbers and distinct texts exactly, in bounded memory."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from itertools import accumulate, chain, pairwise, repeat
from typing import TYPE_CHECKING, Any, Protocol

from distask.report.compare.spill import SortedRuns, Span, SpillFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


MOST_BINS = 40
FEWEST_BINS = 10
LONG_TAIL = 2.5
"""Values above the 99th percentile share the last bin if the maximum exceeds that percentile this many times."""
SMALLEST_SPAN = 1e-200
"""Numbers closer together than this count as one number."""
_EXACT = 2**53
"""Every integer up to this one is exact as a float64."""
_ROUND = (1, 2, 5, 10)


class Ordered(Protocol):
    """Numbers in ascending order: a sorted list, or numbers that are not all in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> float: ...

    def __iter__(self) -> Iterator[float]: ...


def histogram(ordered: Ordered, *, whole: bool) -> dict[str, Any]:
    """Return the bins of sorted numbers.

    A bin holds values from its lower bound up to, but not including, its upper bound. The last bin includes its upper
    bound or, if it is open, everything above.

    Args:
        ordered: at least one number, all finite.
        whole: whether all of them are integers.
    """
    least, most = ordered[0], ordered[-1]
    top = quantile(ordered, 0.99)
    is_open = top > 0 and most > LONG_TAIL * top
    wanted = min(MOST_BINS, max(FEWEST_BINS, round(2 * len(ordered) ** (1 / 3))))  # Rice's rule, within bounds
    width = _width(least, top if is_open else most, wanted, whole=whole)
    first = math.floor(least / width)
    single = whole and width == 1
    end = (top if is_open else most) / width
    last = math.floor(end) + 1 if single else max(first + 1, math.ceil(end))
    digits = max(0, -math.floor(math.log10(width)))
    edges = [_edge(round(i * width, digits)) for i in range(first, last + 1)]
    is_open = is_open and most > edges[-1]  # with large negative numbers, a round bound may exceed the tail
    at = [bisect_left(ordered, edge) for edge in edges]
    at[0], at[-1] = 0, len(ordered) if not is_open else at[-1]
    counts = [b - a for a, b in pairwise(at)]
    if is_open:
        counts.append(len(ordered) - at[-1])
        edges.append(most)
    return {"edges": edges, "counts": counts, "open": is_open, "single": single}


def _edge(value: float) -> float:
    """Return a bound for JSON: an integer of more than 64 bits becomes a float."""
    return float(value) if abs(value) > _EXACT else value


def _width(least: float, most: float, wanted: int, *, whole: bool) -> float:
    span = most - least
    if span < SMALLEST_SPAN:
        span = abs(most) if abs(most) > SMALLEST_SPAN else 1.0
    if whole and span < FEWEST_BINS * 3:
        return 1
    rough = span / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(factor * power for factor in _ROUND if factor * power >= rough * (1 - 1e-9))
    return max(1, round(width)) if whole else width


def quantile(ordered: Ordered, share: float) -> float:
    """Return the number below which this share of the numbers lies, interpolated between two of them if needed."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def spread(ordered: Ordered) -> dict[str, Any]:
    """Summarize sorted numbers: minimum, maximum, percentiles, mean and deviation."""
    count = len(ordered)
    mean = math.fsum(ordered) / count
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in ordered) / count)
    return {
        "min": ordered[0],
        "p5": quantile(ordered, 0.05),
        "median": quantile(ordered, 0.5),
        "mean": mean,
        "p95": quantile(ordered, 0.95),
        "max": ordered[-1],
        "deviation": deviation,
    }


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
