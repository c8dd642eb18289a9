"""Intervals cover the true value at their nominal rate, in simulations whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from distask.judging.estimate import prediction_powered_mean, rogan_gladen, weighted_mean
from distask.judging.measures.labels import label_measures, mean_measures
from distask.judging.measures.scores import interval_alpha, ordinal_alpha, score_measures, weighted_kappa
from distask.judging.resampling import Units, bootstrap, percentile_interval, wilson_interval

pytestmark = pytest.mark.battery

RUNS = 400
RESAMPLES = 400
LEAST, MOST = 0.92, 0.975
"""Bounds of a rate of 95 % over 400 runs (its standard error is 0.011), less a point for the percentile bootstrap."""
_STEPS = 5


def joint():
    """How often each of five scores of the judge meets each gold score: skewed, and lenient by a fifth of a step."""
    gold = np.array([0.1, 0.1, 0.2, 0.35, 0.25])
    shift = {-1: 0.12, 0: 0.6, 1: 0.23, 2: 0.05}
    table = np.zeros((_STEPS, _STEPS))
    for true, share in enumerate(gold):
        for by, probability in shift.items():
            table[min(_STEPS - 1, max(0, true + by)), true] += share * probability
    return table


def measures(judge, gold, counts):
    a, b = judge.astype(float), gold.astype(float)
    return [
        label_measures(judge, gold, _STEPS),
        weighted_kappa(a, b),
        score_measures(a, b, counts),
        ordinal_alpha(a, b),
    ]


def values(found):
    return {name: v for one in found for name, v in one.items() if isinstance(name, str)}


def covered(draw, truth, runs=RUNS):
    """How often the interval of each metric holds its true value."""
    hits = dict.fromkeys(truth, 0)
    for run in range(runs):
        units, made = draw(np.random.default_rng(run))
        found = values(bootstrap(units, made, RESAMPLES, run))
        for name, true in truth.items():
            low, high = percentile_interval(found[name])
            hits[name] += low <= true <= high
    return {name: count / runs for name, count in hits.items()}


def test_intervals_of_labels_and_scores():
    table = joint()
    judge, gold = np.divmod(np.arange(_STEPS**2), _STEPS)
    truth = values(m(1e7 * table.reshape(1, -1)) for m in measures(judge, gold, 1e7 * table.ravel()))
    names = ("kappa", "kappa_quadratic", "alpha", "ac1", "spearman", "kendall", "pearson", "mae", "bias", "f1_macro")

    def draw(rng):
        cells = rng.choice(_STEPS**2, 200, p=table.ravel())
        units = Units([judge[cells], gold[cells]])
        first = cells[units.first]
        return units, measures(judge[first], gold[first], units.counts)

    rates = covered(draw, {name: float(truth[name][0]) for name in names})

    assert {name: rate for name, rate in rates.items() if not LEAST <= rate <= MOST} == {}


def test_intervals_of_numbers():
    """Bivariate normal with r = 0.8, where rho is 6/pi asin(r/2) and tau is 2/pi asin(r)."""
    r = 0.8
    truth = {"pearson": r, "spearman": 6 / np.pi * np.arcsin(r / 2), "kendall": 2 / np.pi * np.arcsin(r), "bias": 0.0}

    def draw(rng):
        gold = rng.normal(size=150)
        judge = r * gold + (1 - r * r) ** 0.5 * rng.normal(size=150)
        units = Units([judge, gold])
        a, b = judge[units.first], gold[units.first]
        return units, [interval_alpha(a, b), score_measures(a, b, units.counts)]

    rates = covered(draw, {**truth, "alpha": r})

    assert {name: rate for name, rate in rates.items() if not LEAST <= rate <= MOST} == {}


def test_intervals_of_clusters():
    """200 documents with 4 rows each: the error of a document is shared by its rows, and only clusters know it."""

    def draw(rng, *, clustered=True):
        error = np.repeat(rng.normal(size=200), 4) + 0.3 * rng.normal(size=800)
        units = Units([error], np.repeat(np.arange(200), 4) if clustered else None)
        return units, [mean_measures({"bias": error[units.first]})]

    rate = covered(draw, {"bias": 0.0})["bias"]
    ignoring = covered(lambda rng: draw(rng, clustered=False), {"bias": 0.0}, runs=100)["bias"]

    assert LEAST <= rate <= MOST
    assert ignoring < 0.75


@pytest.mark.parametrize("true", [0.5, 0.9])
def test_wilsons_intervals(true):
    rng = np.random.default_rng(0)
    found = [wilson_interval(count, 100) for count in rng.binomial(100, true, 4000)]

    assert np.mean([low <= true <= high for low, high in found]) == pytest.approx(0.95, abs=0.025)


def pool_of(rng, size=3000):
    true = (rng.random(size) < 0.3).astype(float)
    judged = np.where(rng.random(size) < np.where(true == 1, 0.9, 0.8), true, 1 - true)
    return true, judged


def test_the_corrected_rate_covers_and_the_naive_one_does_not():
    hits, naive, narrower = {"ppi": 0, "rogan": 0}, 0, 0
    for run in range(RUNS):
        rng = np.random.default_rng(run)
        true, judged = pool_of(rng)
        labelled = rng.permutation(3000)[:200]
        corrected = prediction_powered_mean(true[labelled], judged[labelled], np.delete(judged, labelled)).estimate
        rate = rogan_gladen(true[labelled], judged[labelled], judged, seed=run, resamples=RESAMPLES)
        hits["ppi"] += corrected.low <= 0.3 <= corrected.high
        hits["rogan"] += rate.low <= 0.3 <= rate.high
        naive += abs(judged.mean() - 0.3) < 1.96 * judged.std() / 3000**0.5
        alone = 2 * 1.96 * true[labelled].std() / 200**0.5
        narrower += corrected.high - corrected.low < alone

    assert {name: count / RUNS for name, count in hits.items() if not LEAST <= count / RUNS <= 0.98} == {}
    assert naive == 0
    assert narrower > 0.95 * RUNS


def test_weighted_labels_cover():
    """Rows that the judge is unsure of are labelled ten times as often."""
    hits = unweighted = 0
    for run in range(RUNS):
        rng = np.random.default_rng(run)
        true = rng.normal(2, 1, 3000)
        judged = true + rng.normal(0.5, 0.7, 3000)
        probability = np.where(judged > 3, 0.3, 0.03)
        chosen = rng.random(3000) < probability
        found = weighted_mean(true[chosen], judged[chosen], probability[chosen], judged).estimate
        hits += found.low <= 2 <= found.high
        plain = prediction_powered_mean(true[chosen], judged[chosen], judged[~chosen]).estimate
        unweighted += plain.low <= 2 <= plain.high

    assert LEAST <= hits / RUNS <= MOST
    assert unweighted < 0.5 * RUNS
