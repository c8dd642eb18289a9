"""Estimates of a pool: those of ppi-python to 1e-9, Rogan-Gladen's, and weights for rows that were not drawn evenly."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from distask.judging.estimate import naive_mean, prediction_powered_mean, rogan_gladen, weighted_mean

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from ppi_py import ppi_mean_ci, ppi_mean_pointestimate


def data(seed, n, others, noise=0.5):
    rng = np.random.default_rng(seed)
    true = rng.normal(3, 1, n + others)
    judged = true + rng.normal(0.4, noise, n + others)
    return true[:n], judged[:n], judged[n:]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "others", "noise"), [(10, 50, 0.5), (100, 40, 0.1), (200, 5000, 1.0), (60, 600, 20.0)])
def test_the_corrected_mean_is_that_of_ppi_python(seed, n, others, noise):
    labels, judged, unlabelled = data(seed, n, others, noise)

    found = prediction_powered_mean(labels, judged, unlabelled).estimate

    # With the best lambda, ppi-python centres the gradients on its own first estimate; given lambda it is closed.
    value = ppi_mean_pointestimate(labels, judged, unlabelled)
    low, high = ppi_mean_ci(labels, judged, unlabelled, alpha=0.05)
    assert (found.value, found.low, found.high) == pytest.approx(
        (float(value.item()), low.item(), high.item()), abs=1e-9
    )


def test_a_rate_is_corrected_as_ppi_python_does():
    rng = np.random.default_rng(0)
    true = (rng.random(2000) < 0.3).astype(float)
    judged = np.where(rng.random(2000) < 0.85, true, 1 - true)

    found = prediction_powered_mean(true[:150], judged[:150], judged[150:]).estimate

    low, high = ppi_mean_ci(true[:150], judged[:150], judged[150:], alpha=0.05)
    assert (found.low, found.high) == pytest.approx((low.item(), high.item()), abs=1e-9)


def test_a_judge_that_knows_nothing_is_not_relied_on():
    rng = np.random.default_rng(1)
    labels, noise = rng.normal(size=400), rng.normal(size=10_400)

    found = prediction_powered_mean(labels, noise[:400], noise[400:])

    assert found.reliance < 0.15
    assert found.estimate.value == pytest.approx(labels.mean(), abs=0.02)


def test_a_constant_judge_or_a_fully_labelled_pool_leaves_the_mean_of_the_labels():
    labels = np.array([1.0, 2.0, 4.0])

    for judged, others in ((np.ones(3), np.ones(5)), (labels + 1, np.array([]))):
        found = prediction_powered_mean(labels, judged, others)
        assert (found.reliance, found.estimate.value) == (0, pytest.approx(7 / 3))


def test_one_label_has_no_interval():
    found = prediction_powered_mean(np.array([1.0]), np.array([0.5]), np.array([0.5, 0.7])).estimate

    assert (found.value, found.low, found.high) == (1.0, None, None)


def test_equal_probabilities_weigh_like_a_random_sample():
    labels, judged, unlabelled = data(2, 300, 30_000)
    pool = np.concatenate([judged, unlabelled])

    weighted = weighted_mean(labels, judged, np.full(300, 0.01), pool).estimate
    plain = prediction_powered_mean(labels, judged, unlabelled).estimate

    assert weighted.value == pytest.approx(plain.value, abs=0.01)
    assert weighted.high - weighted.low == pytest.approx(plain.high - plain.low, rel=0.05)


def test_unequal_probabilities_are_undone():
    """Rows with a high value are labelled ten times as often: unweighted labels are far off, weighted ones are not."""
    rng = np.random.default_rng(3)
    true = rng.normal(0, 1, 20_000)
    judged = true + rng.normal(0, 1, 20_000)
    probability = np.where(judged > 0.5, 0.1, 0.01)
    chosen = rng.random(20_000) < probability

    found = weighted_mean(true[chosen], judged[chosen], probability[chosen], judged).estimate

    assert true[chosen].mean() > 0.4
    assert found.low < true.mean() < found.high
    assert abs(found.value - true.mean()) < 0.1


def test_rogan_and_gladens_rate():
    """(observed + specificity - 1) / (sensitivity + specificity - 1) with sensitivity 0.9, specificity 0.8, observed 0.4."""
    labels = np.array([1.0] * 10 + [0.0] * 10)
    judged = np.array([1.0] * 9 + [0.0] + [0.0] * 8 + [1.0] * 2)
    pool = np.array([1.0] * 40 + [0.0] * 60)

    found = rogan_gladen(labels, judged, pool, seed=0)

    assert found.value == pytest.approx((0.4 + 0.8 - 1) / 0.7)
    assert 0 <= found.low < found.value < found.high <= 1
    assert found == rogan_gladen(labels, judged, pool, seed=0)


def test_rogan_and_gladens_rate_is_clipped_and_undefined_for_a_judge_that_guesses():
    labels = np.array([1.0] * 10 + [0.0] * 10)
    judged = np.array([1.0] * 9 + [0.0] + [0.0] * 8 + [1.0] * 2)

    assert rogan_gladen(labels, judged, np.zeros(50), seed=0).value == 0
    assert rogan_gladen(labels, 1 - judged, np.ones(50), seed=0) is None
    assert rogan_gladen(labels, np.tile([1.0, 0.0], 10), np.ones(50), seed=0) is None
    assert rogan_gladen(np.ones(20), judged, np.ones(50), seed=0) is None


def test_the_naive_mean_has_the_interval_that_ignores_errors():
    pool = np.arange(10.0)

    found = naive_mean(pool)
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * pool.std() / 10**0.5, rel=1e-6)
    assert naive_mean(np.ones(5)).high == 1.0


def test_clusters_of_one_row_change_nothing_and_repeated_rows_add_no_certainty():
    labels, judged, unlabelled = data(4, 60, 500)
    rows = np.arange(560)
    plain = prediction_powered_mean(labels, judged, unlabelled).estimate

    alone = prediction_powered_mean(labels, judged, unlabelled, (rows[:60], rows[60:])).estimate
    assert (alone.low, alone.high) == pytest.approx((plain.low, plain.high), abs=1e-12)

    tripled = [np.repeat(side, 3) for side in (labels, judged, unlabelled, rows[:60], rows[60:])]
    wide = prediction_powered_mean(*tripled[:3], (tripled[3], tripled[4])).estimate
    assert wide.high - wide.low == pytest.approx(plain.high - plain.low, rel=0.01)
    assert naive_mean(tripled[2]).high - naive_mean(tripled[2]).low < 0.6 * (
        naive_mean(tripled[2], tripled[4]).high - naive_mean(tripled[2], tripled[4]).low
    )


def test_weighted_labels_of_clusters():
    labels, judged, unlabelled = data(5, 80, 400)
    pool, rows, chance = np.concatenate([judged, unlabelled]), np.arange(480), np.full(80, 0.2)
    plain = weighted_mean(labels, judged, chance, pool).estimate
    doubled = [np.repeat(side, 2) for side in (labels, judged, chance, pool, rows[:80], rows)]

    wide = weighted_mean(*doubled[:4], (doubled[4], doubled[5])).estimate

    assert wide.value == pytest.approx(plain.value, abs=0.01)
    assert wide.high - wide.low > 0.95 * (plain.high - plain.low)
