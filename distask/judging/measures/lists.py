"""Measure how far two raters give the same lists: sets of labels, and rankings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.judging.measures.labels import MAX_LABELS_SHOWN, corrected, mean_measures
from distask.judging.measures.ranks import rank_correlations
from distask.judging.measures.sums import Groups, Measure, divide, grouped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.judging.measures.sums import Codes, Floats


def set_measures(judge: Sequence[Sequence[int]], gold: Sequence[Sequence[int]], count: int) -> Measure:
    """Return measures of sets of labels.

    `accuracy` is the share of equal sets, `jaccard` the mean overlap (1 for two empty sets), `f1_micro` counts the
    labels of all units together. `kappa`, `alpha` and `ac1` are those of each label, given or not, averaged over the
    labels for which they are defined. `f1_macro` is over the labels that occur.

    Args:
        judge: the codes of the labels that the judge gave each unit.
        gold: the same for gold.
        count: the number of labels.
    """
    import numpy as np

    first, second = [set(codes) for codes in judge], [set(codes) for codes in gold]
    overlap = [len(a & b) / len(a | b) if a or b else 1.0 for a, b in zip(first, second, strict=True)]
    equal = [float(a == b) for a, b in zip(first, second, strict=True)]
    means = mean_measures({"accuracy": np.array(equal), "jaccard": np.array(overlap)})
    sides = [_entries(sets, count) for sets in (first, second, [a & b for a, b in zip(first, second, strict=True)])]

    def measure(weights: Floats) -> dict[Any, Floats]:
        given, true, hits = (groups.sums(weights[:, units]) for units, groups in sides)
        made: dict[Any, Floats] = dict(means(weights))
        for name, values in _of_each(given, true, hits, weights.sum(axis=1)[:, None]).items():
            made[name] = divide(np.nan_to_num(values).sum(axis=1), (~np.isnan(values)).sum(axis=1))
        f1, present = divide(2 * hits, given + true), given + true > 0
        made["f1_micro"] = divide(2 * hits.sum(axis=1), (given + true).sum(axis=1))
        made["f1_macro"] = divide(np.where(present, np.nan_to_num(f1), 0).sum(axis=1), present.sum(axis=1))
        if count <= MAX_LABELS_SHOWN:
            for name, values in (("precision", divide(hits, given)), ("recall", divide(hits, true)), ("f1", f1)):
                made.update({(name, k): values[:, k] for k in range(count)})
        return made

    return measure


def _entries(sets: Sequence[set[int]], count: int) -> tuple[Codes, Groups]:
    """Return the unit of each label that occurs in a set, and these labels as groups."""
    import numpy as np

    units = np.repeat(np.arange(len(sets)), [len(codes) for codes in sets])
    return units, Groups(np.array([code for codes in sets for code in codes], dtype=np.intp), count)


def _of_each(given: Floats, true: Floats, hits: Floats, total: Floats) -> dict[str, Floats]:
    """Return kappa, alpha and AC1 of each label, given or not, of shape (resamples, labels)."""
    equal = total - given - true + 2 * hits
    observed = divide(equal, total)
    by_chance = divide(given * true + (total - given) * (total - true), total * total)
    pairs, both = 2 * total, given + true
    different = 2 * both * (pairs - both)
    share = divide(both, pairs)
    return {
        "kappa": corrected(observed, by_chance),
        "alpha": 1 - divide((pairs - 1) * 2 * (total - equal), different),
        "ac1": corrected(observed, 2 * share * (1 - share)),
    }


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
