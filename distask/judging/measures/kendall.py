"""Kendall's tau-b for many resamples: exact for few values or few units, linearised for many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distask.judging.measures.sums import MAX_BLOCK, divide

if TYPE_CHECKING:
    from collections.abc import Callable

    from distask.judging.measures.sums import Codes, Floats, Groups

_MAX_CELLS = 1 << 12
"""Largest table of values against values that is counted for every resample."""
_MAX_UNITS = 1 << 10
"""Largest number of units that are compared pair by pair for every resample."""


def kendall_measure(judge: Groups, gold: Groups, counts: Floats) -> Callable[[Floats], Floats]:
    """Return a function from weights to tau-b, NaN if one side is constant.

    With more than 1,024 units that have many distinct values, the number of concordant pairs of a resample comes from
    the first-order (Hájek) expansion of this U-statistic around the observed weights: the part that is left out is
    smaller by a factor of the number of units. The value for the observed weights is always exact.

    Args:
        judge: the units by the judge's value, in ascending order.
        gold: the units by the gold value, in ascending order.
        counts: how often each unit was observed.
    """
    difference = _difference(judge, gold, counts)

    def measure(weights: Floats) -> Floats:
        import numpy as np

        total = weights.sum(axis=1)
        pairs = total * (total - 1)
        untied = [pairs - (s * (s - 1)).sum(axis=1) for s in (judge.sums(weights), gold.sums(weights))]
        below = np.sqrt(np.maximum(untied[0], 0)) * np.sqrt(np.maximum(untied[1], 0))
        return np.clip(divide(difference(weights), below), -1, 1)

    return measure


def _difference(judge: Groups, gold: Groups, counts: Floats) -> Callable[[Floats], Floats]:
    """Return a function from weights to twice the number of concordant minus discordant pairs."""
    import numpy as np

    if judge.count * gold.count <= _MAX_CELLS:
        return lambda weights: _of_table(weights, judge, gold)
    if len(judge.codes) <= _MAX_UNITS:
        signs = np.sign(judge.codes[:, None] - judge.codes) * np.sign(gold.codes[:, None] - gold.codes)
        of_pairs = signs.astype(float)
        return lambda weights: np.einsum("ij,ij->i", weights @ of_pairs, weights)
    scores = concordance(judge.codes, gold.codes, counts)
    observed = float(counts @ scores)
    return lambda weights: observed + 2 * (weights - counts) @ scores


def _of_table(weights: Floats, judge: Groups, gold: Groups) -> Floats:
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
