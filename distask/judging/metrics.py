"""Compute and name the measures that fit a kind of judgement, with their intervals or why they have no value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.judging.measures.labels import label_measures, pairwise_accuracy
from distask.judging.measures.lists import ranking_measures, set_measures
from distask.judging.measures.probabilities import probability_measures
from distask.judging.measures.scores import interval_alpha, ordinal_alpha, score_measures, weighted_kappa
from distask.judging.resampling import RESAMPLES, Units, bootstrap, percentile_interval, wilson_interval
from distask.judging.scales import number_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.judging.encoding import Ratings
    from distask.judging.measures.sums import Codes, Floats, Measure
    from distask.judging.scales import Kind


METRIC_NAMES = {
    "accuracy": "raw agreement",
    "pairwise_accuracy": "agreement, ties half",
    "kappa": "Cohen's kappa",
    "kappa_quadratic": "weighted kappa",
    "alpha": "Krippendorff's alpha",
    "ac1": "Gwet's AC1",
    "spearman": "Spearman's rho",
    "kendall": "Kendall's tau-b",
    "pearson": "Pearson's r",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "bias": "bias, judge - gold",
    "precision_macro": "macro precision",
    "recall_macro": "macro recall",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "jaccard": "mean overlap of sets",
    "top_accuracy": "same first place",
    "brier": "Brier score",
    "ece": "calibration error",
    "auroc": "AUROC",
    "flip_rate": "flips with the order",
    "first_position_rate": "wins of first position",
}
"""The measures of an agreement, as people read them."""
REASONS = {
    "gold_missing": "without gold",
    "gold_skipped": "skipped by people",
    "gold_unreadable": "gold not on the scale",
    "gold_unmatched": "labels without a judged row",
    "judge_failed": "judge failed",
    "judge_null": "judge gave null",
    "judge_unreadable": "judge not on the scale",
    "judge_unmatched": "not in the judge's file",
    "lengths_differ": "lists of different lengths",
    "different_candidates": "rankings of different candidates",
}
"""Why a row is left out of a comparison."""


Metric = dict[str, float | None]
"""`value`, `low` and `high`; the last two are None if there are too few items for an interval."""

CORE = (
    "accuracy",
    "kappa",
    "kappa_quadratic",
    "alpha",
    "ac1",
    "spearman",
    "kendall",
    "pearson",
    "mae",
    "bias",
    "f1_macro",
)
"""Metrics that every kind reports; those that do not fit are null, with the reason."""
METRICS: dict[Kind, tuple[str, ...]] = {
    "nominal": ("accuracy", "kappa", "alpha", "ac1", "precision_macro", "recall_macro", "f1_macro"),
    "ordinal": (
        "accuracy",
        "kappa",
        "kappa_quadratic",
        "alpha",
        "ac1",
        "spearman",
        "kendall",
        "pearson",
        "mae",
        "rmse",
        "bias",
        "precision_macro",
        "recall_macro",
        "f1_macro",
    ),
    "number": ("alpha", "spearman", "kendall", "pearson", "mae", "rmse", "bias"),
    "preference": (
        "pairwise_accuracy",
        "accuracy",
        "kappa",
        "alpha",
        "ac1",
        "precision_macro",
        "recall_macro",
        "f1_macro",
        "flip_rate",
        "first_position_rate",
    ),
    "multilabel": ("accuracy", "jaccard", "kappa", "alpha", "ac1", "f1_micro", "f1_macro"),
    "ranking": ("accuracy", "top_accuracy", "spearman", "kendall"),
    "probability": (
        "brier",
        "ece",
        "auroc",
        "accuracy",
        "kappa",
        "alpha",
        "ac1",
        "precision_macro",
        "recall_macro",
        "f1_macro",
    ),
}
"""The metrics of each kind, in the order in which they are shown."""
PRIMARY: dict[Kind, tuple[str, ...]] = {
    "nominal": ("kappa", "accuracy"),
    "ordinal": ("kappa_quadratic", "kappa", "accuracy"),
    "number": ("spearman", "pearson", "mae"),
    "preference": ("pairwise_accuracy",),
    "multilabel": ("f1_macro", "accuracy"),
    "ranking": ("kendall", "accuracy"),
    "probability": ("brier",),
}
"""The metrics that judges are ranked by: the first one that is defined for all of them."""
LOWER_IS_BETTER = frozenset({"mae", "rmse", "brier", "ece", "flip_rate"})
ALL_METRICS = tuple(dict.fromkeys([*CORE, *(name for names in METRICS.values() for name in names)]))

_UNFIT = {
    "kappa_quadratic": "needs an ordered scale",
    "spearman": "needs scores",
    "kendall": "needs scores",
    "pearson": "needs scores",
    "mae": "needs scores",
    "bias": "needs scores",
    "accuracy": "numbers are rarely equal; see `mae`",
    "kappa": "needs labels",
    "ac1": "needs labels",
    "f1_macro": "needs labels",
    "alpha": "is not defined for rankings",
}
_UNDEFINED = {
    "kappa": "one side gave a single label that the other always gave too, so chance alone explains all agreement",
    "kappa_quadratic": "both sides gave the same single score to every row",
    "alpha": "all values of both sides are equal",
    "ac1": "the scale has a single label",
    "spearman": "the scores of one side are constant",
    "kendall": "the scores of one side are constant",
    "pearson": "the scores of one side are constant",
    "auroc": "a label is always or never the gold label",
    "flip_rate": "the judge gave no preference in both orders; name the other order with --swapped",
    "first_position_rate": "the judge gave no preference in both orders; name the other order with --swapped",
}
_FEWEST = 2


class Settings(Struct, frozen=True):
    """How agreement is measured."""

    kind: Kind | None = None
    steps: tuple[str, ...] = ()
    positive: str | None = None
    seed: int = 0
    resamples: int = RESAMPLES
    clustered: bool = False
    slices: tuple[str, ...] = ()


class Measured(Struct):
    """Metrics of some pairs."""

    metrics: dict[str, Metric | None]
    by_label: dict[tuple[str, int], Metric | None]
    """For (`precision`, `recall` or `f1`; code of a label) its metric."""
    undefined: dict[str, str]
    """Why a metric is null."""


def measures_of(ratings: Ratings, pairs: Any, counts: Floats) -> list[Measure]:
    """Return the measures that fit, for one pair of each unit.

    Args:
        ratings: the encoded judgements.
        pairs: the number of a pair of each unit.
        counts: how often each unit was observed.
    """
    import numpy as np

    kind, labels = ratings.scale.kind, ratings.labels
    judge, gold = ratings.sides(pairs)
    if kind == "number":
        a, b = np.array(judge, float), np.array(gold, float)
        return [score_measures(a, b, counts), interval_alpha(a, b)]
    if kind == "multilabel":
        return [set_measures(judge, gold, len(labels))]
    if kind == "ranking":
        return [ranking_measures([ranks for _, ranks in judge], [ranks for _, ranks in gold])]
    if kind == "probability":
        given, true = np.array(judge, float), np.array(gold, dtype=np.intp)
        outcomes = np.zeros_like(given)
        outcomes[np.arange(len(true)), true] = 1
        chosen = slice(1, 2) if len(labels) == 2 else slice(None)
        likely = given.argmax(axis=1)
        return [
            label_measures(likely, true, len(labels)),
            probability_measures(given[:, chosen], outcomes[:, chosen], counts),
        ]
    first, second = np.array(judge, dtype=np.intp), np.array(gold, dtype=np.intp)
    found = [label_measures(first, second, len(labels))]
    if kind == "preference":
        found.append(pairwise_accuracy(first, second, tie=2))
    if kind == "ordinal":
        scores = np.array(scores_of(labels))
        found += [
            weighted_kappa(first.astype(float), second.astype(float)),
            score_measures(scores[first], scores[second], counts),
            ordinal_alpha(first.astype(float), second.astype(float)),
        ]
    return found


def scores_of(labels: Sequence[str]) -> list[float]:
    """Return the score of each step of an ordered scale: its number, or its place from 1 if the steps are words."""
    numbers = [number_of(label) for label in labels]
    known = [number for number in numbers if number is not None]
    return known if len(known) == len(numbers) else [float(place) for place in range(1, len(labels) + 1)]


def measure_ratings(
    ratings: Ratings, clusters: Codes | None, *, seed: int, resamples: int = RESAMPLES, pairs: Any = None
) -> Measured:
    """Compute every metric that fits, with its 95 % interval.

    Intervals are percentiles of a bootstrap over items, or over clusters; those of proportions are Wilson's, if items
    are independent.

    Args:
        ratings: the encoded judgements.
        clusters: the cluster of each pair, from 0; None if pairs are independent.
        seed: the seed of the resamples.
        resamples: their number.
        pairs: the pairs to look at; None for all.
    """
    import numpy as np

    chosen = np.arange(len(ratings)) if pairs is None else pairs
    if not len(chosen):
        return Measured({}, {}, {})
    of_pairs = None if clusters is None else np.unique(clusters[chosen], return_inverse=True)[1]
    units = Units([side[chosen] for side in ratings.codes], of_pairs)
    measures = measures_of(ratings, chosen[units.first], units.counts)
    observed: dict[Any, float] = {}
    for measure in measures:
        observed |= {name: float(values[0]) for name, values in measure(units.counts[None]).items()}
    resampled: dict[Any, Floats] = {}
    if units.independent >= _FEWEST:
        for found in bootstrap(units, measures, resamples, seed):
            resampled |= found
    proportions = _proportions(ratings, chosen, observed) if clusters is None else {}
    made = {name: metric(value, resampled.get(name), proportions.get(name)) for name, value in observed.items()}
    names = METRICS[ratings.scale.kind]
    metrics = {name: made.get(name) for name in names}
    undefined = {
        name: _UNDEFINED.get(name, "there are no pairs for it") for name, found in metrics.items() if found is None
    }
    for name in CORE:
        if name not in names:
            metrics[name], undefined[name] = None, _UNFIT[name]
    return Measured(metrics, {name: found for name, found in made.items() if isinstance(name, tuple)}, undefined)


def metric(value: float, resampled: Floats | None, proportion: tuple[float, float] | None = None) -> Metric | None:
    """Return a metric with its interval; None if it is undefined.

    Args:
        value: its value.
        resampled: its values in resamples; None if there are too few items.
        proportion: the numbers of successes and of trials, if it is a proportion of independent items.
    """
    if math.isnan(value):
        return None
    interval = None
    if proportion is not None and proportion[1] >= 1:
        interval = wilson_interval(*proportion)
    elif resampled is not None:
        interval = percentile_interval(resampled)
    low, high = (None, None) if interval is None else interval
    return {"value": value, "low": low, "high": high}


def _proportions(ratings: Ratings, pairs: Any, observed: Mapping[Any, float]) -> dict[Any, tuple[float, float]]:
    """Return the successes and trials of the metrics that are proportions of independent items."""
    import numpy as np

    total = len(pairs)
    made: dict[Any, tuple[float, float]] = {}
    for name in ("accuracy", "top_accuracy"):
        if name in observed:
            made[name] = (round(observed[name] * total), total)
    if ratings.scale.kind in ("multilabel", "ranking", "number"):
        return made
    judge, gold = ratings.sides(pairs)
    likely = np.array(judge, float).argmax(axis=1) if ratings.scale.kind == "probability" else np.array(judge)
    for side, name in ((likely, "precision"), (np.array(gold), "recall")):
        trials = np.bincount(side.astype(np.intp), minlength=len(ratings.labels))
        made |= {
            (name, code): (round(observed[name, code] * count), int(count))
            for code, count in enumerate(trials)
            if count and not math.isnan(observed.get((name, code), math.nan))
        }
    return made
