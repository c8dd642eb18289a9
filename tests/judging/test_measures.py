"""The measures are those of scikit-learn, scipy and krippendorff, on random data, to 1e-9."""

from __future__ import annotations

import itertools
import math
import warnings

import krippendorff
import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from distask.judging.measures.labels import label_measures, pairwise_accuracy
from distask.judging.measures.lists import ranking_measures, set_measures
from distask.judging.measures.probabilities import probability_measures, reliability_curve
from distask.judging.measures.raters import alpha_of_raters
from distask.judging.measures.scores import interval_alpha, ordinal_alpha, score_measures, weighted_kappa
from distask.judging.resampling import Units

CLOSE = 1e-9


def value_of(make, *columns):
    """The measures of columns, computed from units, as a command does it."""
    units = Units(
        [column if column.ndim == 1 else np.unique(column, axis=0, return_inverse=True)[1] for column in columns]
    )
    measure = make(*(column[units.first] for column in columns), units.counts)
    return {name: float(values[0]) for name, values in measure(units.counts[None]).items()}


def labels(seed, n, k, skew=1.0):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(k, skew))
    gold = rng.choice(k, n, p=shares)
    judge = np.where(rng.random(n) < 0.6, gold, rng.choice(k, n, p=shares))
    return judge, gold


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "k"), [(7, 2), (60, 3), (400, 6), (900, 40)])
def test_measures_of_labels(seed, n, k):
    judge, gold = labels(seed, n, k)

    found = value_of(lambda a, b, counts: label_measures(a, b, k), judge, gold)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        precision, recall, f1, _ = sk.precision_recall_fscore_support(gold, judge, average="macro", zero_division=0)
        kappa = sk.cohen_kappa_score(judge, gold)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(gold, judge), abs=CLOSE)
    assert found["kappa"] == pytest.approx(kappa, abs=CLOSE, nan_ok=True)
    assert found["f1_macro"] == pytest.approx(f1, abs=CLOSE)
    assert (found["precision_macro"], found["recall_macro"]) == pytest.approx((precision, recall), abs=CLOSE)
    if len(set(judge) | set(gold)) > 1:
        alpha = krippendorff.alpha(np.array([judge, gold]), level_of_measurement="nominal")
        assert found["alpha"] == pytest.approx(alpha, abs=CLOSE)
    share = (np.bincount(judge, minlength=k) + np.bincount(gold, minlength=k)) / (2 * n)
    chance = sum(p * (1 - p) for p in share) / (k - 1)
    assert found["ac1"] == pytest.approx((np.mean(judge == gold) - chance) / (1 - chance), abs=CLOSE)


def test_precision_recall_and_f1_of_each_label():
    judge, gold = labels(3, 200, 5)

    found = value_of(lambda a, b, counts: label_measures(a, b, 6), judge, gold)

    precision, recall, f1, _ = sk.precision_recall_fscore_support(gold, judge, labels=range(5), zero_division=np.nan)
    for name, expected in (("precision", precision), ("recall", recall), ("f1", f1)):
        assert [found[name, k] for k in range(5)] == pytest.approx(list(expected), abs=CLOSE, nan_ok=True)
        assert math.isnan(found[name, 5])


def test_a_published_example_of_kappa_and_ac1():
    """Gwet 2008's kind of table, where 95 % agreement has a kappa near 0: 118 both yes, 5 and 2 differ, 0 both no."""
    judge = np.array([0] * 118 + [0] * 5 + [1] * 2)
    gold = np.array([0] * 118 + [1] * 5 + [0] * 2)

    found = value_of(lambda a, b, counts: label_measures(a, b, 2), judge, gold)

    assert found["accuracy"] == pytest.approx(0.944)
    assert found["kappa"] == pytest.approx(-0.0234, abs=5e-4)
    assert found["ac1"] == pytest.approx(0.9408, abs=5e-4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "k"), [(5, 3), (80, 5), (500, 11)])
def test_measures_of_ordered_scores(seed, n, k):
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, k, n)
    judge = np.clip(gold + rng.integers(-2, 3, n), 0, k - 1)
    a, b = judge.astype(float), gold.astype(float)

    kappa = value_of(lambda x, y, counts: weighted_kappa(x, y), a, b)["kappa_quadratic"]
    alpha = value_of(lambda x, y, counts: ordinal_alpha(x, y), a, b)["alpha"]
    found = value_of(score_measures, a, b)

    assert kappa == pytest.approx(sk.cohen_kappa_score(judge, gold, weights="quadratic", labels=range(k)), abs=CLOSE)
    assert alpha == pytest.approx(
        krippendorff.alpha(np.array([judge, gold]), level_of_measurement="ordinal"), abs=CLOSE
    )
    assert_scores(found, a, b)


@pytest.mark.parametrize("n", [4, 50, 900, 1500])
def test_measures_of_numbers(n):
    """With more than 1,024 distinct units the rank correlations are linearised; their values are exact all the same."""
    rng = np.random.default_rng(n)
    gold = rng.normal(1e3, 2, n)
    judge = gold + rng.normal(0.3, 1, n)
    gold[: n // 5] = gold[0]  # ties

    assert_scores(value_of(score_measures, judge, gold), judge, gold)
    if n < 100:
        expected = krippendorff.alpha(np.array([judge, gold]), level_of_measurement="interval")
        assert value_of(lambda a, b, counts: interval_alpha(a, b), judge, gold)["alpha"] == pytest.approx(
            expected, abs=CLOSE
        )


def assert_scores(found, judge, gold):
    assert found["spearman"] == pytest.approx(stats.spearmanr(judge, gold).statistic, abs=CLOSE)
    assert found["kendall"] == pytest.approx(stats.kendalltau(judge, gold).statistic, abs=CLOSE)
    assert found["pearson"] == pytest.approx(stats.pearsonr(judge, gold).statistic, abs=CLOSE)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(gold, judge), abs=CLOSE)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(gold, judge), abs=CLOSE)
    assert found["bias"] == pytest.approx(np.mean(judge - gold), abs=CLOSE)


def test_correlations_of_a_constant_are_undefined():
    found = value_of(score_measures, np.full(9, 0.1), np.arange(9.0))

    assert [math.isnan(found[name]) for name in ("pearson", "spearman", "kendall")] == [True] * 3
    assert found["bias"] == pytest.approx(0.1 - 4)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(5))
def test_alpha_of_many_raters_with_missing_values(level, seed):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 5, 40)
    table = np.clip(true + rng.integers(-1, 2, (4, 40)), 0, 4).astype(float)
    table[rng.random((4, 40)) < 0.4] = np.nan
    items, raters = np.nonzero(~np.isnan(table.T))

    measure = alpha_of_raters(items, table[raters, items], 40, level)

    expected = krippendorff.alpha(table, level_of_measurement=level)
    assert measure(np.ones((1, 40)))["alpha"][0] == pytest.approx(expected, abs=CLOSE)


def test_alpha_of_krippendorffs_own_example():
    """Krippendorff 2011, section C: four observers, twelve units, missing values."""
    missing = np.nan
    table = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, missing, missing, missing],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, missing, 3],
            [missing, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, missing],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, missing],
        ]
    )
    items, raters = np.nonzero(~np.isnan(table.T))
    values = table[raters, items] - 1

    found = [
        float(alpha_of_raters(items, values, 12, level)(np.ones((1, 12)))["alpha"][0])
        for level in ("nominal", "ordinal", "interval")
    ]

    assert found == pytest.approx([0.743, 0.815, 0.849], abs=6e-4)


@pytest.mark.parametrize("n", [30, 700, 2500])
def test_probabilities_of_two_labels(n):
    rng = np.random.default_rng(n)
    p = np.round(rng.random(n), 2 if n < 1000 else 8)
    y = (rng.random(n) < p**2).astype(float)

    found = value_of(probability_measures, p[:, None], y[:, None])

    assert found["brier"] == pytest.approx(sk.brier_score_loss(y, p), abs=CLOSE)
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(y, p), abs=CLOSE)
    assert found["ece"] == pytest.approx(calibration_error(p, y), abs=CLOSE)


def calibration_error(p, y):
    """Ten bins of equal mass; within equal probabilities the outcomes are spread evenly."""
    order = np.argsort(p, kind="stable")
    even = np.array([y[p == value].mean() for value in p])
    return sum(abs((even[part] - p[part]).sum()) for part in np.array_split(order, 10)) / len(p)


@pytest.mark.parametrize("n", [60, 2000])
def test_probabilities_of_several_labels(n):
    rng = np.random.default_rng(1)
    p = rng.dirichlet([1, 1, 1, 1], n)
    gold = np.array([rng.choice(4, p=row) for row in p])
    y = np.eye(4)[gold]

    found = value_of(probability_measures, p, y)

    assert found["brier"] == pytest.approx(((p - y) ** 2).sum(axis=1).mean(), abs=CLOSE)
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(gold, p, multi_class="ovr", average="macro"), abs=CLOSE)
    assert found["ece"] == pytest.approx(np.mean([calibration_error(p[:, k], y[:, k]) for k in range(4)]), abs=CLOSE)


def test_the_reliability_curve_has_bins_of_equal_size():
    bins = reliability_curve(np.arange(25) / 25, (np.arange(25) > 12).astype(float))

    assert [b["n"] for b in bins] == [3] * 5 + [2] * 5
    assert (bins[0]["share"], bins[-1]["share"]) == (0, 1)
    assert bins[0]["mean"] == pytest.approx(1 / 25)


def test_sets_of_labels():
    rng = np.random.default_rng(5)
    gold = (rng.random((120, 4)) < 0.4).astype(float)
    judge = np.where(rng.random((120, 4)) < 0.8, gold, 1 - gold)
    judge[0] = gold[0] = 0

    measure = set_measures(*([np.flatnonzero(row).tolist() for row in side] for side in (judge, gold)), 4)
    found = {name: float(values[0]) for name, values in measure(np.ones((1, 120))).items()}

    assert found["accuracy"] == pytest.approx(sk.accuracy_score(gold, judge), abs=CLOSE)
    assert found["jaccard"] == pytest.approx(
        sk.jaccard_score(gold, judge, average="samples", zero_division=1), abs=CLOSE
    )
    for average in ("micro", "macro"):
        assert found[f"f1_{average}"] == pytest.approx(sk.f1_score(gold, judge, average=average), abs=CLOSE)
    kappas = [sk.cohen_kappa_score(judge[:, k], gold[:, k]) for k in range(4)]
    assert found["kappa"] == pytest.approx(np.mean(kappas), abs=CLOSE)
    alphas = [krippendorff.alpha(np.array([judge[:, k], gold[:, k]]), level_of_measurement="nominal") for k in range(4)]
    assert found["alpha"] == pytest.approx(np.mean(alphas), abs=CLOSE)
    of_label = [
        value_of(lambda a, b, c: label_measures(a, b, 2), judge[:, k].astype(int), gold[:, k].astype(int))
        for k in range(4)
    ]
    assert found["ac1"] == pytest.approx(np.mean([label["ac1"] for label in of_label]), abs=CLOSE)
    assert found["recall", 2] == pytest.approx(sk.recall_score(gold[:, 2], judge[:, 2]), abs=CLOSE)


def test_empty_sets_only():
    found = set_measures([[], []], [[], []], 0)(np.ones((1, 2)))

    assert (found["accuracy"][0], found["jaccard"][0]) == (1, 1)
    assert math.isnan(found["f1_macro"][0])


def test_rankings_are_compared_row_by_row():
    orders = list(itertools.permutations([1.0, 2.0, 3.0, 4.0]))
    rng = np.random.default_rng(2)
    judge = [orders[i] for i in rng.integers(0, 24, 50)]
    gold = [orders[i] for i in rng.integers(0, 24, 50)]

    measure = ranking_measures(judge, gold)
    found = {name: float(values[0]) for name, values in measure(np.ones((1, 50))).items()}

    assert found["kendall"] == pytest.approx(
        np.mean([stats.kendalltau(a, b)[0] for a, b in zip(judge, gold, strict=True)])
    )
    assert found["spearman"] == pytest.approx(
        np.mean([stats.spearmanr(a, b)[0] for a, b in zip(judge, gold, strict=True)])
    )
    assert found["top_accuracy"] == np.mean([a.index(1) == b.index(1) for a, b in zip(judge, gold, strict=True)])


def test_a_tie_on_one_side_of_a_preference_counts_as_half():
    judge, gold = np.array([0, 1, 2, 2, 0]), np.array([0, 0, 0, 2, 2])

    found = value_of(lambda a, b, counts: pairwise_accuracy(a, b, tie=2), judge, gold)

    assert found["pairwise_accuracy"] == (1 + 0 + 0.5 + 1 + 0.5) / 5
