"""Measure how far two raters give the same lists: sets of labels, and rankings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.judging.measures.labels import chance_corrected, mean_measures
from distask.judging.measures.ranks import rank_correlations
from distask.judging.measures.sums import Measure, divide, grouped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.judging.measures.sums import Floats


def set_measures(judge: Floats, gold: Floats) -> Measure:
    """Return measures of sets of labels.

    `accuracy` is the share of equal sets, `jaccard` the mean overlap (1 for two empty sets), `f1_micro` counts the
    labels of all units together. `kappa`, `alpha` and `ac1` are those of each label, given or not, averaged over the
    labels for which they are defined. `f1_macro` is over the labels that occur.

    Args:
        judge: 1 for each label that the judge gave a unit and 0 for the others, of shape (units, labels).
        gold: the same for gold.
    """
    import numpy as np

    labels = judge.shape[1]
    both, either = judge * gold, np.maximum(judge, gold)
    size = either.sum(axis=1)
    overlap = np.where(size > 0, both.sum(axis=1) / np.maximum(size, 1), 1.0)
    means = mean_measures({"accuracy": (judge == gold).all(axis=1).astype(float), "jaccard": overlap})
    features = np.concatenate([judge, gold, both], axis=1)

    def measure(weights: Floats) -> dict[Any, Floats]:
        total = weights.sum(axis=1)
        given, true, hits = np.split(weights @ features, 3, axis=1)
        of_labels = [
            chance_corrected(
                np.column_stack([total - given[:, k], given[:, k]]),
                np.column_stack([total - true[:, k], true[:, k]]),
                np.column_stack([total - given[:, k] - true[:, k] + hits[:, k], hits[:, k]]),
            )
            for k in range(labels)
        ]
        f1 = divide(2 * hits, given + true)
        present = given + true > 0
        made: dict[Any, Floats] = dict(means(weights))
        for name in ("kappa", "alpha", "ac1"):
            values = np.column_stack([found[name] for found in of_labels])
            made[name] = divide(np.nan_to_num(values).sum(axis=1), (~np.isnan(values)).sum(axis=1))
        made["f1_micro"] = divide(2 * hits.sum(axis=1), (given + true).sum(axis=1))
        made["f1_macro"] = divide(np.where(present, np.nan_to_num(f1), 0).sum(axis=1), present.sum(axis=1))
        for name, values in (("precision", divide(hits, given)), ("recall", divide(hits, true)), ("f1", f1)):
            made.update({(name, k): values[:, k] for k in range(labels)})
        return made

    return measure


def ranking_measures(judge: Sequence[Sequence[float]], gold: Sequence[Sequence[float]]) -> Measure:
    """Return the mean `kendall` (tau-b) and `spearman` of two rankings of a row, and the share of equal winners.

    `accuracy` is the share of equal rankings and `top_accuracy` that of rows where both have the same first place.

    Args:
        judge: for each unit, the rank of each candidate, 1 being the best; ties have equal ranks.
        gold: the same for gold.
    """
    import numpy as np

    found: dict[str, list[float]] = {"kendall": [], "spearman": [], "accuracy": [], "top_accuracy": []}
    for first, second in zip(judge, gold, strict=True):
        a, b = np.asarray(first, float), np.asarray(second, float)
        ones = np.ones(len(a))
        of_row = rank_correlations(grouped(a)[1], grouped(b)[1], ones)(ones[None])
        for name in ("kendall", "spearman"):
            found[name].append(float(of_row[name][0]))
        found["accuracy"].append(float((a == b).all()))
        found["top_accuracy"].append(float(((a == a.min()) == (b == b.min())).all()))
    return mean_measures({name: np.array(values) for name, values in found.items()})
