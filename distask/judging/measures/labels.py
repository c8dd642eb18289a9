"""Measure how far two raters give the same labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.judging.measures.sums import Groups, Measure, divide

if TYPE_CHECKING:
    from distask.judging.measures.sums import Codes, Floats

MAX_LABELS_SHOWN = 100
"""Maximum number of labels with a precision, recall and F1 of their own."""


def label_measures(judge: Codes, gold: Codes, count: int) -> Measure:
    """Return raw agreement, Cohen's kappa, Krippendorff's nominal alpha, Gwet's AC1, and F1.

    Args:
        judge: the judge's label of each unit, from 0 to `count` - 1.
        gold: the gold label of each unit.
        count: the number of labels on the scale, including those that do not occur.

    Sources: Cohen 1960; Krippendorff 2011, "Computing Krippendorff's alpha-reliability"; Gwet 2008. Precision, recall
    and F1 are those of `count` tasks of one label against the others, and the macro averages are over the labels that
    occur. Names are texts, or pairs of a text and a label's code.
    """
    judges, golds = Groups(judge, count), Groups(gold, count)
    equal = judge == gold
    hits = Groups(gold[equal], count)

    def measure(weights: Floats) -> dict[Any, Floats]:
        return chancecorrected(judges.sums(weights), golds.sums(weights), hits.sums(weights[:, equal]))

    return measure


def chancecorrected(judge: Floats, gold: Floats, hits: Floats) -> dict[Any, Floats]:
    """Return the measures of labels from the counts of each label, each of shape (resamples, labels).

    Args:
        judge: how often the judge gave it.
        gold: how often it is the gold label.
        hits: how often both gave it.
    """
    import numpy as np

    count = gold.shape[1]
    total = gold.sum(axis=1)
    observed = divide(hits.sum(axis=1), total)
    expected = divide((judge * gold).sum(axis=1), total * total)
    both = judge + gold
    pairs = 2 * total
    different = pairs * pairs - (both * both).sum(axis=1)
    share = divide(both, pairs[:, None])
    by_chance = (share * (1 - share)).sum(axis=1) / (count - 1) if count > 1 else np.full(len(total), np.nan)
    precision, recall = divide(hits, judge), divide(hits, gold)
    f1 = divide(2 * hits, both)
    made: dict[Any, Floats] = {
        "accuracy": observed,
        "kappa": corrected(observed, expected),
        "alpha": 1 - divide((pairs - 1) * 2 * (total - hits.sum(axis=1)), different),
        "ac1": corrected(observed, by_chance),
        "precision_macro": _mean_of_present(precision, both),
        "recall_macro": _mean_of_present(recall, both),
        "f1_macro": _mean_of_present(f1, both),
    }
    if count <= MAX_LABELS_SHOWN:
        for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
            made.update({(name, code): values[:, code] for code in range(count)})
    return made


def corrected(observed: Floats, expected: Floats) -> Floats:
    """Return the agreement above chance as a share of what is possible; NaN if chance alone agrees always."""
    import numpy as np

    return divide(observed - expected, np.where(1 - expected < 1e-12, 0, 1 - expected))


def _mean_of_present(values: Floats, both: Floats) -> Floats:
    """Return the mean over the labels that one side gave; an undefined value counts as 0."""
    import numpy as np

    return divide(np.where(both > 0, np.nan_to_num(values), 0).sum(axis=1), (both > 0).sum(axis=1))


def pairwise_accuracy(judge: Codes, gold: Codes, tie: int) -> Measure:
    """Return the agreement of preferences where a tie on one side only counts as half: `pairwise_accuracy`.

    Zheng et al. 2023, arXiv:2306.05685. `tie` is the code of a tie.
    """
    import numpy as np

    points = np.where(judge == gold, 1.0, np.where((judge == tie) | (gold == tie), 0.5, 0.0))
    return mean_measures({"pairwise_accuracy": points})


def mean_measures(columns: dict[str, Floats]) -> Measure:
    """Return the weighted mean of each column, over the units where it is not NaN."""
    import numpy as np

    known = {name: ~np.isnan(values) for name, values in columns.items()}

    def measure(weights: Floats) -> dict[Any, Floats]:
        return {
            name: divide(
                weights[:, known[name]] @ values[known[name]], weights[:, known[name]].sum(axis=1)
            )
            for name, values in columns.items()
        }  # fmt: skip

    return measure
