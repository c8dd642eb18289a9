"""Spearman's rho and Kendall's tau-b for many resamples: exact for few values or units, linearised for many units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.judging.measures.sums import MAX_BLOCK, Groups, Measure, divide, middle_ranks

if TYPE_CHECKING:
    from distask.judging.measures.sums import Codes, Floats

_MAX_CELLS = 1 << 12
"""Largest table of values against values that is counted for every resample."""
MAX_EXACT_UNITS = 1 << 10
"""Largest number of units that are ranked and compared pair by pair for every resample."""


def rank_correlations(judge: Groups, gold: Groups, counts: Floats) -> Measure:
    """Return Spearman's rho with average ranks, and Kendall's tau-b; NaN if one side is constant.

    With more than 1,024 units that have many distinct values, the values of a resample come from the first-order
    expansion of their U-statistics around the observed weights (their influence functions). What that leaves out is
    smaller by a factor of the number of units. The values for the observed weights are always exact.

    Args:
        judge: the units by the judge's value, in ascending order.
        gold: the units by the gold value, in ascending order.
        counts: how often each unit was observed.
    """
    if len(judge.codes) > MAX_EXACT_UNITS and judge.count * gold.count > _MAX_CELLS:
        return _linearised(judge, gold, counts)
    net = _pairwise(judge, gold) if judge.count * gold.count > _MAX_CELLS else None

    def measure(weights: Floats) -> dict[Any, Floats]:
        import numpy as np

        total = weights.sum(axis=1)
        sums = judge.sums(weights), gold.sums(weights)
        first, second = (
            (middle_ranks(s) - (total[:, None] + 1) / 2)[:, group.codes]
            for s, group in zip(sums, (judge, gold), strict=True)
        )
        products = np.einsum("ij,ij,ij->i", weights, first, second)
        spreads = (np.einsum("ij,ij,ij->i", weights, ranks, ranks) for ranks in (first, second))
        untied = (total * (total - 1) - (s * (s - 1)).sum(axis=1) for s in sums)
        concordant = _of_table(weights, judge, gold) if net is None else np.einsum("ij,ij->i", weights @ net, weights)
        return {"spearman": _ratio(products, *spreads), "kendall": _ratio(concordant, *untied)}

    return measure


def _ratio(above: Floats, first: Floats, second: Floats) -> Floats:
    """Divide by the geometric mean of two spreads; NaN where one of them is 0, up to rounding."""
    import numpy as np

    below = (np.sqrt(np.where(spread < 1e-9, 0, spread)) for spread in (first, second))
    return np.clip(divide(above, next(below) * next(below)), -1, 1)


def _linearised(judge: Groups, gold: Groups, counts: Floats) -> Measure:
    import numpy as np

    first, second = _centred_ranks(judge, counts), _centred_ranks(gold, counts)
    values, slopes = [], []
    for one, other, groups, others in (
        (first, second, judge, gold),
        (first, first, judge, judge),
        (second, second, gold, gold),
    ):
        values.append(float(counts @ (one * other)))
        slopes.append(one * other + _moved(groups, counts * other) + _moved(others, counts * one))
    net = concordance(judge.codes, gold.codes, counts)
    values.append(float(counts @ net))
    slopes.append(2 * net)
    total = float(counts.sum())
    for groups in (judge, gold):
        same = groups.sums(counts[None])[0][groups.codes]
        values.append(total * (total - 1) - float(counts @ (same - 1)))
        slopes.append(2 * (total - same))
    observed, features = np.array(values), np.column_stack(slopes)

    def measure(weights: Floats) -> dict[Any, Floats]:
        found = observed + weights @ features - counts @ features
        return {"spearman": _ratio(*found[:, :3].T), "kendall": _ratio(*found[:, 3:].T)}

    return measure


def _centred_ranks(groups: Groups, counts: Floats) -> Floats:
    ranks: Floats = middle_ranks(groups.sums(counts[None]))[0] - (counts.sum() + 1) / 2
    return ranks[groups.codes]


def _moved(groups: Groups, values: Floats) -> Floats:
    """Return how a sum of `values` times ranks changes with the weight of each unit, which moves the ranks above it.

    A unit adds 1 to the rank of greater values and 1/2 to that of equal ones. The centre of the ranks moves as well,
    which makes no difference as long as the values sum to 0.
    """
    import numpy as np

    sums = groups.sums(values[None])[0]
    above = np.cumsum(sums[::-1])[::-1] - sums / 2
    moved: Floats = above[groups.codes] - float(values.sum()) / 2
    return moved


def _pairwise(judge: Groups, gold: Groups) -> Floats:
    """Return for each pair of units 1 if it is concordant, -1 if it is discordant, and 0 if it is tied."""
    import numpy as np

    signs: Floats = np.sign(judge.codes[:, None] - judge.codes).astype(float)
    signs *= np.sign(gold.codes[:, None] - gold.codes)
    return signs


def _of_table(weights: Floats, judge: Groups, gold: Groups) -> Floats:
    """Return twice the number of concordant minus discordant pairs of items, from tables of values against values."""
    import numpy as np

    rows, columns = judge.count, gold.count
    cells = judge.codes * columns + gold.codes
    made = np.empty(len(weights))
    step = max(1, MAX_BLOCK // (rows * columns))
    for start in range(0, len(weights), step):
        block = weights[start : start + step]
        places = (np.arange(len(block))[:, None] * (rows * columns) + cells).ravel()
        table = np.bincount(places, block.ravel(), len(block) * rows * columns).reshape(-1, rows, columns)
        above = np.zeros_like(table)
        above[:, 1:] = np.cumsum(table, axis=1)[:, :-1]
        left = np.cumsum(above, axis=2)
        concordant, discordant = left - above, left[:, :, -1:] - left
        made[start : start + step] = 2 * (table * (concordant - discordant)).sum(axis=(1, 2))
    return made


def concordance(first: Codes, second: Codes, counts: Floats) -> Floats:
    """Return for each unit the weight of units that are concordant with it, minus that of discordant ones.

    Two units with different codes differ in a highest bit. For each bit, units in the same block of higher bits are
    ordered by their second code, so that cumulative sums count the pairs. Takes O(n log² n).
    """
    import numpy as np

    codes = int(second.max()) + 1
    made = np.zeros(len(first))
    for bit in range(max(1, int(first.max()).bit_length())):
        block, upper = first >> (bit + 1), (first >> bit) & 1
        keys = block * codes + second
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        begin, end = np.searchsorted(ordered, block * codes), np.searchsorted(ordered, (block + 1) * codes)
        below, above = np.searchsorted(ordered, keys), np.searchsorted(ordered, keys, "right")
        for side, sign in ((1, 1.0), (0, -1.0)):
            partner = np.concatenate([[0.0], np.cumsum(np.where(upper[order] == 1 - side, counts[order], 0))])
            found = (partner[below] - partner[begin]) - (partner[end] - partner[above])
            made += np.where(upper == side, sign * found, 0)
    return made
