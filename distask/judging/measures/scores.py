"""Measure how far two raters give the same scores: errors, correlations, weighted kappa and alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.judging.measures.ranks import rank_correlations
from distask.judging.measures.sums import Measure, correlation, divide, grouped, middle_ranks, variance

if TYPE_CHECKING:
    from distask.judging.measures.sums import Floats


def score_measures(judge: Floats, gold: Floats, counts: Floats) -> Measure:
    """Return MAE, RMSE, mean difference (`bias`, judge - gold), Pearson's r, Spearman's rho and Kendall's tau-b.

    Args:
        judge: the judge's score of each unit.
        gold: the gold score of each unit.
        counts: how often each unit was observed.
    """
    import numpy as np

    a, b = judge - judge[0], gold - gold[0]  # a constant becomes exactly zero
    error = judge - gold
    features = np.column_stack([np.ones_like(error), a, b, a * a, b * b, a * b, error, error**2, np.abs(error)])
    ranked = rank_correlations(grouped(judge)[1], grouped(gold)[1], counts)

    def measure(weights: Floats) -> dict[Any, Floats]:
        n, a, b, aa, bb, ab, e, ee, size = (weights @ features).T
        return {
            "mae": divide(size, n),
            "rmse": np.sqrt(divide(ee, n)),
            "bias": divide(e, n),
            "pearson": correlation(ab, (a, b), (aa, bb), n),
            **ranked(weights),
        }

    return measure


def weighted_kappa(judge: Floats, gold: Floats) -> Measure:
    """Return Cohen's kappa with quadratic weights, `kappa_quadratic` (Cohen 1968).

    Args:
        judge: the place of the judge's score on the scale, for each unit.
        gold: the place of the gold score.
    """
    import numpy as np

    features = np.column_stack([np.ones_like(judge), judge, gold, judge**2, gold**2, (judge - gold) ** 2])

    def measure(weights: Floats) -> dict[Any, Floats]:
        n, a, b, aa, bb, observed = (weights @ features).T
        expected = aa + bb - divide(2 * a * b, n)
        return {"kappa_quadratic": 1 - divide(observed, np.where(expected < 1e-9 * (aa + bb), 0, expected))}

    return measure


def interval_alpha(judge: Floats, gold: Floats) -> Measure:
    """Return Krippendorff's alpha of two raters for interval data."""
    import numpy as np

    start = judge[0]
    a, b = judge - start, gold - start
    features = np.column_stack([np.ones_like(a), a + b, a * a + b * b, (a - b) ** 2])

    def measure(weights: Floats) -> dict[Any, Floats]:
        n, sums, squares, observed = (weights @ features).T
        return {"alpha": _alpha(observed, variance(squares, sums, 2 * n), n)}

    return measure


def ordinal_alpha(judge: Floats, gold: Floats) -> Measure:
    """Return Krippendorff's alpha of two raters for ordinal data.

    The ordinal distance of two values is the distance of their average ranks among all values of both raters.
    """
    import numpy as np

    _, both = grouped(np.concatenate([judge, gold]))
    units = len(judge)

    def measure(weights: Floats) -> dict[Any, Floats]:
        n = weights.sum(axis=1)
        sums = both.sums(np.concatenate([weights, weights], axis=1))
        ranks = middle_ranks(sums) - (n + 0.5)[:, None]  # the mean is 0
        distance = ranks[:, both.codes[:units]] - ranks[:, both.codes[units:]]
        observed = np.einsum("ij,ij,ij->i", weights, distance, distance)
        spread = (sums * ranks * ranks).sum(axis=1)
        return {"alpha": _alpha(observed, np.where(spread < 1e-9, 0, spread), n)}

    return measure


def _alpha(observed: Floats, spread: Floats, count: Floats) -> Floats:
    """Return alpha from the sums of squared distances within units and from the mean of all values."""
    return 1 - divide((2 * count - 1) * observed, 2 * count * spread)
