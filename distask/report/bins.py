"""Put numbers into bins with round bounds, and summarize their distribution."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

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
