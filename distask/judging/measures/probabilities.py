"""Measure the probabilities that a judge gives to labels: Brier score, calibration error, AUROC, reliability curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.judging.measures.ranks import MAX_EXACT_UNITS
from distask.judging.measures.sums import Measure, divide, grouped

if TYPE_CHECKING:
    from collections.abc import Callable

    from distask.judging.measures.sums import Floats

BINS = 10
"""Number of bins of the calibration error, each with the same number of items."""


def probability_measures(probabilities: Floats, outcomes: Floats, counts: Floats) -> Measure:
    """Return `brier`, `ece` and `auroc`.

    The Brier score is summed over the labels; the calibration error and the AUROC (one label against the others) are
    averaged over them. The calibration error has 10 bins of equal mass (Nixon et al. 2019, arXiv:1904.01685). With more
    than 1,024 units, the bins of a resample are those of the data, and its AUROC comes from the first-order expansion
    of the U-statistic.

    Args:
        probabilities: the probability of each label for each unit, of shape (units, labels); one label if there are
            two that exclude each other.
        outcomes: 1 for the gold label and 0 for the others, of the same shape.
        counts: how often each unit was observed.
    """
    import numpy as np

    brier = ((probabilities - outcomes) ** 2).sum(axis=1)
    labels = range(probabilities.shape[1])
    sides = [(probabilities[:, label], outcomes[:, label]) for label in labels]
    errors = [_calibration_error(*side, counts) for side in sides]
    areas = [_auroc(*side, counts) for side in sides]

    def measure(weights: Floats) -> dict[Any, Floats]:
        return {
            "brier": divide(weights @ brier, weights.sum(axis=1)),
            "ece": np.mean([error(weights) for error in errors], axis=0),
            "auroc": np.mean([area(weights) for area in areas], axis=0),
        }

    return measure


def _calibration_error(probability: Floats, outcome: Floats, counts: Floats) -> Callable[[Floats], Floats]:
    """Return a function from weights to the calibration error; equal probabilities share their outcomes evenly."""
    import numpy as np

    _, groups = grouped(probability)
    order = np.argsort(probability, kind="stable")
    if len(probability) > MAX_EXACT_UNITS:
        ends = _edges(counts[order][None])[0]
        middle = np.cumsum(counts[order]) - counts[order] / 2
        gaps = np.zeros((len(probability), BINS))
        gaps[order, np.searchsorted(ends[1:-1], middle)] = (outcome - probability)[order]

        def binned(weights: Floats) -> Floats:
            return divide(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))

        return binned

    def exact(weights: Floats) -> Floats:
        shares = divide(groups.sums(weights * outcome), groups.sums(weights))[:, groups.codes]
        ordered = weights[:, order]
        total = _before(np.cumsum(ordered, axis=1))
        gaps = _before(np.cumsum(np.nan_to_num(ordered * (shares - probability)[:, order]), axis=1))
        made = np.empty(len(weights))
        for number, edges in enumerate(_edges(ordered)):
            made[number] = np.abs(np.diff(np.interp(edges, total[number], gaps[number]))).sum() / edges[-1]
        return made

    return exact


def _before(sums: Floats) -> Floats:
    import numpy as np

    return np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)


def _edges(ordered: Floats) -> Floats:
    """Return where bins of equal mass begin and end; the first ones get one item more if the items do not divide."""
    import numpy as np

    totals = np.rint(ordered.sum(axis=1)).astype(int)
    sizes = totals[:, None] // BINS + (np.arange(BINS) < (totals % BINS)[:, None])
    return _before(np.cumsum(sizes, axis=1).astype(float))


def _auroc(probability: Floats, outcome: Floats, counts: Floats) -> Callable[[Floats], Floats]:
    """Return a function from weights to the area under the ROC curve, ties as half; NaN if all outcomes are equal."""
    import numpy as np

    _, groups = grouped(probability)

    def below(weights: Floats) -> Floats:
        sums = groups.sums(weights)
        made: Floats = (np.cumsum(sums, axis=1) - sums / 2)[:, groups.codes]
        return made

    if len(probability) > MAX_EXACT_UNITS:
        negatives = below((counts * (1 - outcome))[None])[0]
        positives = below((counts * outcome)[None])[0]
        wins = float(counts @ (outcome * negatives))
        slope = outcome * negatives + (1 - outcome) * (float(counts @ outcome) - positives)
        features = np.column_stack([slope, outcome, 1 - outcome])
        observed = counts @ features

        def linear(weights: Floats) -> Floats:
            found = weights @ features
            return np.clip(divide(wins + found[:, 0] - observed[0], found[:, 1] * found[:, 2]), 0, 1)

        return linear

    def exact(weights: Floats) -> Floats:
        positive, negative = weights * outcome, weights * (1 - outcome)
        wins = np.einsum("ij,ij->i", positive, below(negative))
        return divide(wins, positive.sum(axis=1) * negative.sum(axis=1))

    return exact


def reliability_curve(probability: Floats, outcome: Floats) -> list[dict[str, float]]:
    """Return for each bin of equal mass its number of items, mean probability and share of positive outcomes."""
    import numpy as np

    order = np.argsort(probability, kind="stable")
    return [
        {"n": len(part), "mean": float(probability[part].mean()), "share": float(outcome[part].mean())}
        for part in np.array_split(order, BINS)
        if len(part)
    ]
