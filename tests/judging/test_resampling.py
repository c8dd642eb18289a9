"""Intervals: resamples are those of the plain bootstrap, only faster; proportions have Wilson's, two judges McNemar's test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from distask.judging.measures import ranks, sums
from distask.judging.measures.labels import label_measures
from distask.judging.measures.probabilities import probability_measures
from distask.judging.measures.scores import score_measures
from distask.judging.resampling import Units, bootstrap, mcnemar, percentile_interval, wilson_interval


def scores(n, seed=0):
    rng = np.random.default_rng(seed)
    gold = rng.normal(size=n)
    return gold + rng.normal(size=n), gold


def resampled(judge, gold, clusters=None, resamples=2000, seed=0):
    units = Units([judge, gold], clusters)
    measure = score_measures(judge[units.first], gold[units.first], units.counts)
    return bootstrap(units, [measure], resamples, seed)[0]


def test_resamples_are_those_of_the_plain_bootstrap():
    """Every resample counts units; the same draws, expanded to rows, give the same values."""
    rng = np.random.default_rng(1)
    judge, gold = rng.integers(0, 4, 60).astype(float), rng.integers(0, 4, 60).astype(float)
    units = Units([judge, gold])
    measure = score_measures(judge[units.first], gold[units.first], units.counts)
    weights = np.concatenate(list(units.weights(40, seed=3)))

    found = measure(weights)

    assert weights.shape == (40, len(units.counts))
    assert (weights.sum(axis=1) == 60).all()
    for number, row in enumerate(weights):
        rows = np.repeat(units.first, row.astype(int))
        expected = stats.kendalltau(judge[rows], gold[rows]).statistic
        assert found["kendall"][number] == pytest.approx(expected, abs=1e-9)
        assert found["spearman"][number] == pytest.approx(stats.spearmanr(judge[rows], gold[rows]).statistic, abs=1e-9)
        assert found["pearson"][number] == pytest.approx(np.corrcoef(judge[rows], gold[rows])[0, 1], abs=1e-9)


@pytest.mark.parametrize("n", [40, 3000])
def test_resamples_have_the_spread_of_drawn_rows(n):
    """Both ways of drawing, counts of units and rows, give each unit a mean of its count and a binomial variance."""
    codes = np.arange(n) % 5
    units = Units([codes])

    weights = np.concatenate(list(units.weights(4000, seed=0)))

    assert weights.mean(axis=0) == pytest.approx(np.full(5, n / 5), rel=0.02)
    assert weights.var(axis=0) == pytest.approx(np.full(5, n * 0.2 * 0.8), rel=0.1)


def test_clusters_are_drawn_as_a_whole():
    clusters = np.repeat(np.arange(20), 6)
    units = Units([np.arange(120)], clusters)

    for weights in units.weights(50, seed=0):
        assert (weights.reshape(-1, 20, 6) == weights.reshape(-1, 20, 6)[:, :, :1]).all()
        assert (weights.sum(axis=1) == 120).all()


def test_intervals_of_clustered_rows_are_wider():
    judge, gold = scores(60)
    clusters = np.repeat(np.arange(60), 10)
    judge, gold = np.repeat(judge, 10), np.repeat(gold, 10)

    narrow = percentile_interval(resampled(judge, gold)["bias"])
    wide = percentile_interval(resampled(judge, gold, clusters)["bias"])

    assert wide[1] - wide[0] > 2.5 * (narrow[1] - narrow[0])


def test_a_seed_gives_the_same_resamples_however_large_the_blocks_are(monkeypatch):
    judge, gold = scores(300)
    first = resampled(judge, gold, resamples=50)["mae"]
    monkeypatch.setattr("distask.judging.resampling.MAX_BLOCK", 1000)

    assert resampled(judge, gold, resamples=50)["mae"] == pytest.approx(first, abs=1e-12)
    assert not (abs(resampled(judge, gold, resamples=50, seed=1)["mae"] - first) < 1e-12).any()


@pytest.mark.parametrize("name", ["spearman", "kendall"])
def test_linearised_rank_correlations_have_the_intervals_of_exact_ones(monkeypatch, name):
    judge, gold = scores(1200)
    judge[:200] = judge[0]  # ties
    linear = resampled(judge, gold, resamples=400)[name]
    monkeypatch.setattr(ranks, "MAX_EXACT_UNITS", 5000)
    exact = resampled(judge, gold, resamples=400)[name]

    assert np.corrcoef(linear, exact)[0, 1] > 0.995
    assert percentile_interval(linear) == pytest.approx(percentile_interval(exact), abs=0.004)


def test_linearised_measures_of_probabilities_have_the_intervals_of_exact_ones(monkeypatch):
    rng = np.random.default_rng(0)
    p = rng.random(1500)
    y = (rng.random(1500) < p**1.5).astype(float)
    units = Units([p, y])
    columns = p[units.first][:, None], y[units.first][:, None], units.counts
    linear = bootstrap(units, [probability_measures(*columns)], 400, 0)[0]
    monkeypatch.setattr("distask.judging.measures.probabilities.MAX_EXACT_UNITS", 5000)
    exact = bootstrap(units, [probability_measures(*columns)], 400, 0)[0]

    assert percentile_interval(linear["auroc"]) == pytest.approx(percentile_interval(exact["auroc"]), abs=0.002)
    assert percentile_interval(linear["ece"]) == pytest.approx(percentile_interval(exact["ece"]), abs=0.01)


def test_memory_is_bounded_by_the_block(monkeypatch):
    """No array of weights is larger than a block, and large groups are summed without a table of indicators."""
    monkeypatch.setattr("distask.judging.resampling.MAX_BLOCK", 50_000)
    monkeypatch.setattr(sums, "_MAX_INDICATORS", 100)
    judge, gold = scores(2000)
    units = Units([judge, gold])
    sizes = [weights.size for weights in units.weights(200, seed=0)]

    assert max(sizes) <= 50_000
    codes = np.arange(300) % 7
    weights = np.random.default_rng(0).random((3, 300))
    expected = np.stack([np.bincount(codes, row, 9) for row in weights])
    assert sums.Groups(codes, 9).sums(weights) == pytest.approx(expected)


def test_most_resamples_undefined_means_no_interval():
    assert percentile_interval(np.array([np.nan] * 6 + [0.5] * 4)) is None
    assert percentile_interval(np.array([np.nan] * 4 + [0.5] * 6)) == (0.5, 0.5)


@pytest.mark.parametrize(("successes", "count"), [(0, 1), (1, 1), (0, 12), (12, 12), (7, 12), (431, 1000)])
def test_wilsons_interval(successes, count):
    expected = stats.binomtest(successes, count).proportion_ci(method="wilson")

    assert wilson_interval(successes, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (0, 5), (3, 3), (2, 9), (41, 22), (700, 500)])
def test_mcnemars_exact_test(only_first, only_second):
    total = only_first + only_second
    expected = stats.binomtest(only_first, total).pvalue if total else 1.0

    assert mcnemar(only_first, only_second) == pytest.approx(expected, abs=1e-9)


def test_labels_with_many_rows_need_few_units():
    rng = np.random.default_rng(0)
    judge, gold = rng.integers(0, 3, 50_000), rng.integers(0, 3, 50_000)
    units = Units([judge, gold])

    assert len(units.counts) == 9
    found = bootstrap(units, [label_measures(judge[units.first], gold[units.first], 3)], 2000, 0)[0]
    low, high = percentile_interval(found["accuracy"])
    assert high - low == pytest.approx(2 * 1.96 * (1 / 3 * 2 / 3 / 50_000) ** 0.5, rel=0.1)
