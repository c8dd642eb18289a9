"""Vectors that repeat earlier ones: the same matches as one by one, in blocks of any size."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distask.task.text import similarity
from distask.task.text.similarity import MAX_LENGTH, ArrayFile, Match, find_matches, rounded


def matches(vectors, threshold, **options):
    """The matches of vectors that are rounded already."""
    file = ArrayFile("int16", vectors.shape[1])
    file.append(vectors)
    try:
        return list(find_matches(file, threshold, **{"nearest": True, **options}))
    finally:
        file.close()


def one_by_one(vectors, threshold):
    """The matches by definition, with exact integers."""
    rows = [[int(x) for x in row] for row in vectors]
    kept, found = [], []
    for number, row in enumerate(rows):
        best = None
        for other in kept:
            squares = sum(x * x for x in row) * sum(x * x for x in rows[other])
            if not squares:
                continue
            cosine = sum(x * y for x, y in zip(row, rows[other], strict=True)) / math.sqrt(squares)
            if cosine >= threshold and (best is None or cosine > best.similarity):
                best = Match(other, cosine)
        if best is None:
            kept.append(number)
        found.append(None if best is None else Match(best.number, min(best.similarity, 1.0)))
    return found


def vectors_of(dimensions):
    """A few clusters: random directions of few kinds, some of them zero, some equal."""
    component = st.integers(-4, 4)
    return st.lists(st.lists(component, min_size=dimensions, max_size=dimensions), min_size=1, max_size=40)


@given(
    rows=st.integers(1, 6).flatmap(vectors_of),
    threshold=st.sampled_from([0.05, 0.5, 0.8, 0.9, 0.95, 1.0]),
    block_rows=st.integers(1, 12),
    kept_rows=st.integers(1, 12),
)
def test_matches_are_those_of_a_comparison_one_by_one(rows, threshold, block_rows, kept_rows):
    vectors = rounded(np.array(rows, dtype=float))
    wanted = one_by_one(vectors, threshold)

    assert matches(vectors, threshold, block_rows=block_rows, kept_rows=kept_rows) == wanted
    some = matches(vectors, threshold, block_rows=block_rows, kept_rows=kept_rows, nearest=False)
    assert [match is None for match in some] == [match is None for match in wanted]


@settings(max_examples=40)
@given(seed=st.integers(0, 1000), threshold=st.floats(0.3, 0.99), dimensions=st.sampled_from([2, 16, 256]))
def test_matches_of_random_directions_are_the_same_in_blocks_of_any_size(seed, threshold, dimensions):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(8, dimensions))
    vectors = rounded(centers[rng.integers(8, size=60)] + rng.normal(scale=0.4, size=(60, dimensions)))
    wanted = one_by_one(vectors, threshold)

    for block_rows, kept_rows in ((7, 5), (1, 100), (100, 1), (512, 4096)):
        assert matches(vectors, threshold, block_rows=block_rows, kept_rows=kept_rows) == wanted


@pytest.mark.parametrize("dimensions", [1, 3, 256, 4096])
def test_rounding_changes_a_similarity_by_less_than_a_thousandth(dimensions):
    rng = np.random.default_rng(dimensions)
    first = rng.normal(size=(200, dimensions))
    second = first + rng.normal(size=first.shape) * rng.uniform(0, 2, size=(200, 1))

    def cosines(a, b):
        return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))

    whole = cosines(rounded(first).astype(float), rounded(second).astype(float))
    assert np.abs(whole - cosines(first, second)).max() < 0.001


@pytest.mark.parametrize("dimensions", [1, 2, 255, 1024, 8192])
def test_sums_of_products_are_exact_in_32_bit_floats(dimensions):
    """Also where all components have the same sign, as the sums are largest then."""
    rng = np.random.default_rng(0)
    for vectors in (np.ones((2, dimensions)), rng.uniform(size=(50, dimensions)), rng.normal(size=(50, dimensions))):
        whole = rounded(vectors)
        squares = (whole.astype(np.int64) ** 2).sum(axis=1)
        assert squares.max() <= MAX_LENGTH**2
        products = whole.astype(np.float32) @ whole.astype(np.float32).T
        assert (products == whole.astype(np.int64) @ whole.astype(np.int64).T).all()


@pytest.mark.parametrize("dimensions", [1, 2, 7, 256])
def test_bounds_are_at_least_the_similarities(dimensions):
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(5, dimensions))
    rows = rounded(centers[rng.integers(5, size=300)] + rng.normal(size=(300, dimensions)) * rng.uniform(size=(300, 1)))
    block = similarity._Block(rows, 0.9, nearest=False)
    lengths = np.linalg.norm(rows.astype(float), axis=1)

    similarities = rows.astype(float) @ rows.T.astype(float) / np.outer(lengths, lengths)
    bounds = block.bounds @ block.bounds.T

    assert (bounds >= similarities - similarity.BOUND_ERROR).all()
    assert dimensions < 256 or (bounds < 0.9).mean() > 0.5


def test_equal_vectors_of_any_length_have_the_similarity_1():
    vectors = np.array([[1e-30, 2e-30], [3.0, 6.0], [1e30, 2e30], [6.0, 3.0]])

    assert matches(rounded(vectors), 1.0) == [None, Match(0, 1.0), Match(0, 1.0), None]


def test_zeros_are_kept_and_match_nothing():
    vectors = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])

    assert matches(rounded(vectors), 0.01, block_rows=1) == [None, None, None, Match(1, 1.0)]
    assert matches(rounded(vectors), 0.01) == [None, None, None, Match(1, 1.0)]


def test_a_vector_is_compared_with_kept_ones_only():
    """The second repeats the first, and the third the second only: the third is kept."""
    angles = np.radians([0, 20, 40, 30])
    vectors = rounded(np.stack([np.cos(angles), np.sin(angles)], axis=1))

    found = matches(vectors, math.cos(math.radians(25)))

    assert [match and match.number for match in found] == [None, 0, None, 2]


def test_vectors_are_on_disk(monkeypatch):
    """Memory holds a block of vectors and a block of kept ones, however many there are."""
    reads = []
    read = ArrayFile.read

    def counted(file, start, stop):
        reads.append(stop - start)
        return read(file, start, stop)

    monkeypatch.setattr(ArrayFile, "read", counted)
    vectors = rounded(np.random.default_rng(0).normal(size=(500, 8)))

    matches(vectors, 0.99, block_rows=50, kept_rows=40)

    assert max(reads) == 50


def test_memory_does_not_grow_with_the_rows():
    def peak(count):
        file = ArrayFile("int16", 64)
        for seed in range(count // 500):
            file.append(rounded(np.random.default_rng(seed).normal(size=(500, 64))))
        tracemalloc.start()
        try:
            assert (
                sum(match is None for match in find_matches(file, 0.9, nearest=True, block_rows=100, kept_rows=100))
                == count
            )
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            file.close()

    assert peak(4000) < 1.2 * peak(500)
