"""Intervals: bootstrap over items or clusters, Wilson's for a proportion, and McNemar's exact test."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from distask.judging.measures.sums import MAX_BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distask.judging.measures.sums import Codes, Floats, Measure

RESAMPLES = 2000
Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
_FEWEST_DEFINED = 0.5
"""Smallest share of resamples in which a measure must be defined for an interval."""
_ITEMS_PER_UNIT = 16
"""With at least as many items per unit, drawing counts of units is faster than drawing items."""


class Units:
    """Items that are equal in every column are one unit, so that a measure looks at each once.

    Args:
        columns: what is known of each item, as codes or numbers; arrays of the same length.
        clusters: the cluster of each item, from 0; None if items are independent.
    """

    def __init__(self, columns: Sequence[Any], clusters: Codes | None = None) -> None:
        import numpy as np

        self.items = len(columns[0])
        codes = np.zeros(self.items, dtype=np.intp)
        for column in columns:
            _, of_column = np.unique(column, return_inverse=True)
            _, codes = np.unique(codes * (int(of_column.max(initial=0)) + 1) + of_column, return_inverse=True)
        _, self.first, self.of_item = np.unique(codes, return_index=True, return_inverse=True)
        """`first` is an item of each unit; `of_item` is the unit of each item."""
        self.counts: Floats = np.bincount(self.of_item, minlength=len(self.first)).astype(float)
        self.clusters = clusters
        self.independent = self.items if clusters is None else int(clusters.max(initial=-1)) + 1
        """Number of independent draws: the clusters, or the items."""

    def weights(self, resamples: int, seed: int) -> Iterator[Floats]:
        """Yield the weights of resamples in blocks of shape (some resamples, units), always the same for a seed."""
        import numpy as np

        rng = np.random.default_rng(seed)
        units = len(self.counts)
        counted = self.clusters is None and units * _ITEMS_PER_UNIT <= self.items
        widest = units if counted else max(units, self.items)
        step = max(1, MAX_BLOCK // max(1, widest))
        for start in range(0, resamples, step):
            size = min(step, resamples - start)
            if self.clusters is not None:
                yield self._of_clusters(size, rng)
            elif counted:
                yield rng.multinomial(self.items, self.counts / self.items, size).astype(float)
            else:
                yield self._of_items(size, rng)

    def _of_items(self, size: int, rng: Any) -> Floats:
        import numpy as np

        units = len(self.counts)
        made = np.empty((size, units))
        for number in range(size):
            drawn = rng.integers(0, self.items, self.items, dtype=np.int32)
            made[number] = np.bincount(drawn if units == self.items else self.of_item[drawn], minlength=units)
        return made

    def _of_clusters(self, size: int, rng: Any) -> Floats:
        import numpy as np

        made = np.empty((size, len(self.counts)))
        for number in range(size):
            drawn = rng.integers(0, self.independent, self.independent, dtype=np.int32)
            of_cluster = np.bincount(drawn, minlength=self.independent).astype(float)
            made[number] = np.bincount(self.of_item, of_cluster[self.clusters], len(self.counts))
        return made


def bootstrap(units: Units, measures: Sequence[Measure], resamples: int, seed: int) -> list[dict[Any, Floats]]:
    """Return the values of measures in the same resamples: a dictionary of arrays for each of the measures."""
    import numpy as np

    found: list[dict[Any, list[Floats]]] = [{} for _ in measures]
    for block in units.weights(resamples, seed):
        for measure, lists in zip(measures, found, strict=True):
            for name, values in measure(block).items():
                lists.setdefault(name, []).append(values)
    return [{name: np.concatenate(values) for name, values in lists.items()} for lists in found]


def percentile_interval(values: Floats) -> tuple[float, float] | None:
    """Return the 2.5 % and 97.5 % percentiles, or None if most resamples are undefined."""
    import numpy as np

    defined = values[~np.isnan(values)]
    if len(defined) < _FEWEST_DEFINED * len(values) or not len(defined):
        return None
    low, high = np.percentile(defined, (2.5, 97.5))
    return float(low), float(high)


def wilson_interval(successes: float, count: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion (Wilson 1927)."""
    share, square = successes / count, Z95 * Z95
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = Z95 / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    low = 0.0 if successes <= 0 else max(0.0, middle - half)
    return low, 1.0 if successes >= count else min(1.0, middle + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value of McNemar's exact test: two-sided, from the items that only one of two judges got right."""
    count, least = only_first + only_second, min(only_first, only_second)
    if not count:
        return 1.0
    half = math.log(2) * count
    terms = (math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) - half for k in range(least + 1))
    return min(1.0, 2 * math.fsum(map(math.exp, terms)))
