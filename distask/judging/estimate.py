"""Estimate a mean or a pass rate of a pool from a judge on all rows and people's labels on some.

The labelled rows must be a random sample of the pool, or their inclusion probabilities must be known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.judging.measures.sums import MAX_BLOCK, divide
from distask.judging.resampling import RESAMPLES, Z95, wilson_interval

if TYPE_CHECKING:
    from distask.judging.measures.sums import Codes, Floats


class Estimated(Struct, frozen=True):
    """An estimate with its 95 % interval; the bounds are None if there are too few labels for one."""

    value: float
    low: float | None
    high: float | None


class Corrected(Struct, frozen=True):
    """The corrected estimate and how much it relies on the judge."""

    estimate: Estimated
    reliance: float
    """Lambda: 0 uses the labels only, 1 trusts the judge as far as prediction-powered inference can."""


def prediction_powered_mean(
    labels: Floats, judged: Floats, unlabelled: Floats, clusters: tuple[Codes, Codes] | None = None
) -> Corrected:
    """Estimate a mean with prediction-powered inference whose lambda minimises the variance (PPI++).

    theta = mean(lambda f over the unlabelled rows) + mean(y - lambda f over the labelled rows), with a normal interval.
    With f averaged over all rows in place of the unlabelled ones, lambda is smaller and theta the same; as the two
    terms are independent here, their variances add up. Angelopoulos et al. 2023, arXiv:2301.09633 and
    arXiv:2311.01453.

    Args:
        labels: y, people's labels, of shape (n,).
        judged: f, the judge's values of the same rows.
        unlabelled: f of all other rows of the pool, of shape (N,). With N = 0 the estimate is the mean of the labels.
        clusters: the cluster of each labelled and of each unlabelled row, from 0; None if rows are independent. The
            variance is then that of the sums over clusters.
    """
    import numpy as np

    n, others = len(labels), len(unlabelled)
    reliance = 0.0
    if n > 1 and others:
        spread = float(np.var(np.concatenate([judged, unlabelled]), ddof=1))
        shared = float(np.mean((labels - labels.mean()) * (judged - judged.mean())))
        if spread > 0:
            reliance = min(1.0, max(0.0, shared / ((1 + n / others) * spread)))
    rest = labels - reliance * judged
    value = float(rest.mean())
    parts = [(rest - value) / n, np.zeros(0)]
    if others:
        mean = float(unlabelled.mean())
        value += reliance * mean
        parts[1] = reliance * (unlabelled - mean) / others
    return Corrected(_normal(value, _standard_error(parts, clusters), n), reliance)


def weighted_mean(
    labels: Floats,
    judged: Floats,
    probabilities: Floats,
    pool: Floats,
    clusters: tuple[Codes, Codes] | None = None,
) -> Corrected:
    """Estimate the mean of a pool from labelled rows with known, unequal inclusion probabilities.

    theta = mean(lambda f over the pool) + sum(w (y - lambda f)) / sum(w) with w = 1 / probability. The variance of the
    second term is that of a ratio of weighted sums (Hájek 1971), treating rows as drawn independently; that of the
    first term is as in prediction-powered inference. Lambda minimises their sum.

    Args:
        labels: y, people's labels, of shape (n,).
        judged: f, the judge's values of the same rows.
        probabilities: the inclusion probabilities of these rows.
        pool: f of all rows, of shape (N,).
        clusters: the cluster of each labelled row and of each row of the pool; None if rows are independent.
    """
    weights = 1 / probabilities
    share = weights / weights.sum()
    of_labels, of_judge = labels - share @ labels, judged - share @ judged
    squares = share**2
    pool_square = float(pool.var()) / len(pool)
    spread = float(squares @ of_judge**2) + pool_square
    reliance = min(1.0, max(0.0, float(squares @ (of_labels * of_judge)) / spread)) if spread > 0 else 0.0
    rest = of_labels - reliance * of_judge
    mean = float(pool.mean())
    value = reliance * mean + float(share @ (labels - reliance * judged))
    error = _standard_error([share * rest, reliance * (pool - mean) / len(pool)], clusters)
    return Corrected(_normal(value, error, len(labels)), reliance)


def _standard_error(parts: list[Floats], clusters: tuple[Codes, Codes] | None) -> float:
    """Return the standard error of a sum of independent rows, or of clusters of rows, from what each row adds to it."""
    import numpy as np

    added = np.concatenate(parts)
    if clusters is not None:
        added = np.bincount(np.concatenate(clusters[: len(parts)]), added).astype(float)
    return math.sqrt(float(added @ added))


def rogan_gladen(
    labels: Floats,
    judged: Floats,
    pool: Floats,
    *,
    seed: int,
    weights: Floats | None = None,
    resamples: int = RESAMPLES,
) -> Estimated | None:
    """Estimate a pass rate from the judge's sensitivity and specificity; None if they sum to 1 or less.

    (observed + specificity - 1) / (sensitivity + specificity - 1), clipped to [0, 1], with a percentile interval of a
    bootstrap of the labelled rows and of the pool. Rogan & Gladen 1978.

    Args:
        labels: 1 for each labelled row that passes and 0 for the others.
        judged: the judge's verdicts on the same rows, 1 or 0.
        pool: the judge's verdicts on all rows.
        seed: the seed of the bootstrap.
        weights: the weights of the labelled rows; None if they are equal.
        resamples: the number of resamples.
    """
    import numpy as np

    own = np.ones(len(labels)) if weights is None else weights
    cells = np.column_stack(
        [labels * judged, labels * (1 - judged), (1 - labels) * judged, (1 - labels) * (1 - judged)]
    )
    observed = np.array([pool.mean()])
    value = _corrected_rate((own @ cells)[None], observed)[0]
    if math.isnan(value):
        return None
    rng = np.random.default_rng(seed)
    n = len(labels)
    drawn = np.empty((resamples, 4))
    step = max(1, MAX_BLOCK // n)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn[start : start + size] = _resampled_cells(rng, own, cells, size)
    rates = rng.binomial(len(pool), observed[0], resamples) / len(pool)
    found = _corrected_rate(drawn, rates)
    defined = found[~np.isnan(found)]
    low, high = np.percentile(defined, (2.5, 97.5)) if len(defined) > resamples / 2 else (None, None)
    return Estimated(float(value), None if low is None else float(low), None if high is None else float(high))


def _resampled_cells(rng: Any, weights: Floats, cells: Floats, size: int) -> Floats:
    """Return the weighted counts of the four cells of labels against verdicts in resamples of the labelled rows."""
    import numpy as np

    n = len(weights)
    drawn = rng.integers(0, n, (size, n))
    counts = np.zeros((size, n))
    for number, places in enumerate(drawn):
        counts[number] = np.bincount(places, minlength=n)
    made: Floats = (counts * weights) @ cells
    return made


def _corrected_rate(cells: Floats, observed: Floats) -> Floats:
    import numpy as np

    hit, missed, false_alarm, rejected = cells.T
    sensitivity, specificity = divide(hit, hit + missed), divide(rejected, rejected + false_alarm)
    informed = sensitivity + specificity - 1
    return np.clip(divide(observed + specificity - 1, np.where(informed > 1e-12, informed, 0)), 0, 1)


def naive_mean(values: Floats, clusters: Codes | None = None) -> Estimated:
    """Return the mean with an interval for independent rows or clusters, which ignores the errors of the values.

    The interval is Wilson's if the rows are independent and all values are 0 or 1, and normal otherwise.
    """
    import numpy as np

    value, count = float(np.mean(values)), len(values)
    if clusters is None and bool(np.isin(values, (0, 1)).all()):
        return Estimated(value, *wilson_interval(float(np.sum(values)), count))
    parts = [(values - value) / count]
    return _normal(value, _standard_error(parts, None if clusters is None else (clusters, clusters)), count)


def _normal(value: float, error: float, count: int) -> Estimated:
    if count < 2:
        return Estimated(value, None, None)
    return Estimated(value, value - Z95 * error, value + Z95 * error)
