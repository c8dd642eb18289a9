"""Krippendorff's alpha of any number of raters, with missing values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from distask.judging.measures.sums import MAX_BLOCK, Groups, Measure, divide, middle_ranks, variance

if TYPE_CHECKING:
    from distask.judging.measures.sums import Codes, Floats

Level = Literal["nominal", "ordinal", "interval"]


def alpha_of_raters(items: Codes, values: Floats, count: int, level: Level) -> Measure:
    """Return `alpha` as a function of the weights of items. Items with one rating do not count.

    Krippendorff 2011, "Computing Krippendorff's alpha-reliability".

    Args:
        items: the item of each rating, from 0.
        values: the value of each rating; for labels and ordered scores, a code from 0.
        count: the number of items.
        level: how values are compared.
    """
    import numpy as np

    ratings = np.bincount(items, minlength=count)
    kept = ratings[items] > 1
    items, values = items[kept], values[kept]
    if level == "interval":
        return _interval(items, values - (values[0] if len(values) else 0), ratings, count)
    codes = values.astype(np.intp)
    table = np.zeros((count, int(codes.max(initial=0)) + 1))
    np.add.at(table, (items, codes), 1)
    table, of_item = np.unique(table, axis=0, return_inverse=True)
    patterns = Groups(of_item.reshape(-1), len(table))
    sizes = table.sum(axis=1)
    inside = np.where(sizes > 1, 1 / np.maximum(sizes - 1, 1), 0)

    def measure(weights: Floats) -> dict[Any, Floats]:
        of_patterns = patterns.sums(weights)
        totals = of_patterns @ table
        n = totals.sum(axis=1)
        if level == "nominal":
            observed = of_patterns @ (inside * (sizes**2 - (table**2).sum(axis=1)))
            return {"alpha": _alpha(observed, n * n - (totals**2).sum(axis=1), n)}
        ranks = middle_ranks(totals) - (n[:, None] + 1) / 2  # their weighted mean is 0
        expected = 2 * n * (totals * ranks * ranks).sum(axis=1)
        return {"alpha": _alpha(_within(of_patterns * inside, table, sizes, ranks), expected, n)}

    return measure


def _within(weights: Floats, table: Floats, sizes: Floats, ranks: Floats) -> Floats:
    """Return the sum over ordered pairs of ratings of an item of their squared distance in ranks."""
    import numpy as np

    made = np.empty(len(weights))
    step = max(1, MAX_BLOCK // len(table))
    for start in range(0, len(weights), step):
        block = slice(start, start + step)
        sums, squares = ranks[block] @ table.T, (ranks[block] ** 2) @ table.T
        made[block] = 2 * (weights[block] * (sizes * squares - sums * sums)).sum(axis=1)
    return made


def _interval(items: Codes, values: Floats, ratings: Codes, count: int) -> Measure:
    import numpy as np

    sums, squares = np.bincount(items, values, count), np.bincount(items, values * values, count)
    sizes = np.where(ratings > 1, ratings, 0).astype(float)
    within = np.where(sizes > 1, 2 * (sizes * squares - sums * sums) / np.maximum(sizes - 1, 1), 0)
    features = np.column_stack([within, sizes, sums, squares])

    def measure(weights: Floats) -> dict[Any, Floats]:
        observed, n, total, square = (weights @ features).T
        return {"alpha": _alpha(observed, 2 * n * variance(square, total, n), n)}

    return measure


def _alpha(observed: Floats, expected: Floats, count: Floats) -> Floats:
    import numpy as np

    return 1 - divide((count - 1) * observed, np.where(expected < 1e-9, 0, expected))
