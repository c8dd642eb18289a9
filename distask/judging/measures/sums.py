"""Sum weighted units by group, for many resamples at once.

A measure is a function of weights: an array of shape (resamples, units) that says how often each unit counts. The
weights that were observed give the value of the measure, and the weights of resamples give its interval, so both come
from the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Codes = NDArray[np.intp]

Measure = Callable[["Floats"], dict[Any, "Floats"]]
"""From weights (resamples, units) to the values of each named measure (resamples,); NaN where it is undefined."""

MAX_BLOCK = 1 << 20
"""Maximum number of elements of an array that a measure allocates at once: 8 MiB of floats."""
_MAX_INDICATORS = 1 << 20
_NEARLY_ZERO = 1e-12


class Groups:
    """Units by group: `sums` adds the weights of each group.

    Args:
        codes: the group of each unit, from 0.
        count: the number of groups.
    """

    def __init__(self, codes: Codes, count: int) -> None:
        import numpy as np

        self.codes, self.count = codes, count
        self._indicators: Floats | None = None
        if len(codes) * count <= _MAX_INDICATORS:
            self._indicators = np.zeros((len(codes), count))
            self._indicators[np.arange(len(codes)), codes] = 1
        else:
            self._order = np.argsort(codes, kind="stable")
            self._present, self._starts = np.unique(codes[self._order], return_index=True)
            self._is_sorted = bool(np.all(self._order == np.arange(len(codes))))

    def sums(self, weights: Floats) -> Floats:
        """Return the sums of the weights of each group, of shape (resamples, groups)."""
        import numpy as np

        if not len(self.codes):
            return np.zeros((len(weights), self.count))
        if self._indicators is not None:
            return np.asarray(weights @ self._indicators)
        ordered = weights if self._is_sorted else weights[:, self._order]
        found = np.add.reduceat(ordered, self._starts, axis=1)
        if len(self._present) == self.count:
            return np.asarray(found)
        made = np.zeros((len(weights), self.count))
        made[:, self._present] = found
        return made


def grouped(values: Any) -> tuple[Any, Groups]:
    """Return the sorted distinct values and the units by value."""
    import numpy as np

    distinct, codes = np.unique(values, return_inverse=True)
    return distinct, Groups(codes.reshape(-1), len(distinct))


def middle_ranks(sums: Floats) -> Floats:
    """Return the average rank of each value from how often it occurs, for values in ascending order."""
    import numpy as np

    return np.cumsum(sums, axis=1) - sums / 2 + 0.5


def divide(above: Any, below: Any) -> Floats:
    """Divide, with NaN where the denominator is 0."""
    import numpy as np

    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    made: Floats = np.full(above.shape, np.nan)
    np.divide(above, below, out=made, where=below != 0)
    return made


def variance(squares: Floats, sums: Floats, count: Floats) -> Floats:
    """Return the sum of squared deviations from sums of squares and sums; exactly 0 for a constant."""
    import numpy as np

    found = squares - divide(sums * sums, count)
    return np.where(found <= _NEARLY_ZERO * np.abs(squares), 0.0, found)


def correlation(products: Floats, sums: tuple[Floats, Floats], squares: tuple[Floats, Floats], count: Floats) -> Floats:
    """Return Pearson's r from sums; NaN if one side is constant."""
    import numpy as np

    both = variance(squares[0], sums[0], count) * variance(squares[1], sums[1], count)
    return np.clip(divide(products - divide(sums[0] * sums[1], count), np.sqrt(both)), -1, 1)
