"""Compare each vector with all earlier ones that were kept, in blocks, with the vectors on disk.

The vectors are rounded to integers that are so small that all sums of their products are exact in 32-bit floats. So a
similarity does not depend on the size of a block, on the order of additions or on the processor. Rounding changes a
similarity by less than 0.001.
"""

from __future__ import annotations

import math
import os
import tempfile
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MAX_LENGTH = 4_096
"""The maximum length of a rounded vector. By the Cauchy-Schwarz inequality, every partial sum of the products of two
vectors is at most its square, 2^24, up to which 32-bit floats hold all integers."""
BLOCK_ROWS = 1_024
"""Number of vectors that are compared at a time; they and their similarities to `KEPT_ROWS` others are in memory."""
KEPT_ROWS = 4_096
BOUND_ERROR = 1e-4
"""More than the rounding errors of the bound of a similarity in 32-bit floats."""


class Match(NamedTuple):
    """The kept vector that another one repeats."""

    number: int
    similarity: float
    """The cosine of the angle between them, from the threshold to 1."""


class ArrayFile:
    """The rows of an array in a private temporary file, which is deleted when it is closed.

    Args:
        dtype: the type of the numbers, as numpy names it.
        columns: the number of columns.
    """

    def __init__(self, dtype: str, columns: int) -> None:
        import numpy as np

        self._dtype, self.columns = np.dtype(dtype), columns
        self._row_bytes = self._dtype.itemsize * columns
        self._file = tempfile.TemporaryFile(prefix="distask-")  # noqa: SIM115 - closed by `close`
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows, shape (any, columns); raises `OSError` if the disk is full."""
        self._file.write(rows.astype(self._dtype).tobytes())
        self._rows += len(rows)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows, shape (stop - start, columns)."""
        import numpy as np

        self._file.flush()
        data = os.pread(self._file.fileno(), (stop - start) * self._row_bytes, start * self._row_bytes)
        return np.frombuffer(data, dtype=self._dtype).reshape(-1, self.columns)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


def rounded(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return vectors of the same directions, with integers as components and a length of at most `MAX_LENGTH`.

    Args:
        vectors: finite numbers, shape (vectors, dimensions).
    """
    import numpy as np

    wide = vectors.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    longest = MAX_LENGTH - math.sqrt(wide.shape[1]) / 2  # rounding adds at most the rest
    return np.rint(wide * (longest / np.where(lengths > 0, lengths, 1.0))).astype(np.int16)


def find_matches(
    vectors: ArrayFile, threshold: float, *, nearest: bool, block_rows: int = BLOCK_ROWS, kept_rows: int = KEPT_ROWS
) -> Iterator[Match | None]:
    """Yield for each vector, in order, the kept one that it repeats; None if it is kept itself.

    A vector is kept unless its similarity to an earlier kept one is at least the threshold. Zero vectors are always
    kept, and nothing is compared with them.

    Args:
        vectors: what `rounded` returned.
        threshold: the minimum similarity, more than 0.
        nearest: whether to yield the most similar of the kept vectors, and of these the first; otherwise, any of them.
        block_rows: number of vectors that are compared at a time.
        kept_rows: number of kept vectors with which they are compared at a time.
    """
    kept = _Kept(vectors.columns)
    try:
        for start in range(0, len(vectors), block_rows):
            rows = vectors.read(start, min(start + block_rows, len(vectors)))
            block = _Block(kept.reordered(rows), threshold, nearest=nearest)
            for first in range(0, len(kept), kept_rows):
                block.compare(kept, first, min(first + kept_rows, len(kept)))
            kept.append(block, block.compare_within(len(kept)), start)
            for place, similarity in zip(block.places.tolist(), block.similarities.tolist(), strict=True):
                yield None if place < 0 else Match(kept.number(place), min(similarity, 1.0))
    finally:
        kept.close()


class _Kept:
    """The vectors that are kept, on disk.

    Their components are in another order: the largest ones of the first block come first, so that the bound of a
    similarity is close to it.
    """

    def __init__(self, dimensions: int) -> None:
        self.rows = ArrayFile("int16", dimensions)
        self.bounds = ArrayFile("float32", _head_of(dimensions) + 1)
        self._numbers = ArrayFile("int64", 1)
        self._order: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def reordered(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return vectors with their components in the order of the kept ones."""
        import numpy as np

        if self._order is None:
            self._order = np.argsort(-(rows.astype(np.float64) ** 2).sum(axis=0), kind="stable")
        return rows[:, self._order]

    def append(self, block: _Block, is_kept: NDArray[Any], start: int) -> None:
        """Add some vectors of a block; `start` is the number of its first vector."""
        self.rows.append(block.rows[is_kept])
        self.bounds.append(block.bounds[is_kept])
        self._numbers.append(is_kept.nonzero()[0].reshape(-1, 1) + start)

    def number(self, place: int) -> int:
        """Return the number of the vector at a place."""
        return int(self._numbers.read(place, place + 1)[0, 0])

    def close(self) -> None:
        """Delete the files."""
        for file in (self.rows, self.bounds, self._numbers):
            file.close()


class _Block:
    """Some vectors, and the best match of each so far.

    Attributes:
        rows: the vectors.
        bounds: for each, a vector whose products with those of others are upper bounds of the similarities.
        places: for each, the place of its match among the kept vectors; -1 if there is none.
        similarities: for each, the similarity to its match; 0 if there is none.
    """

    def __init__(self, rows: NDArray[Any], threshold: float, *, nearest: bool) -> None:
        import numpy as np

        self.rows = rows
        self._vectors = rows.astype(np.float32)
        self._squares = _squares(self._vectors)
        self.bounds = _bounds(self._vectors, self._squares)
        self._threshold, self._nearest = threshold, nearest
        self.places = np.full(len(rows), -1, dtype=np.int64)
        self.similarities = np.zeros(len(rows))
        self._compared = self._squares.nonzero()[0]
        """The vectors that still need to be compared."""

    def compare(self, kept: _Kept, first: int, stop: int) -> None:
        """Compare with the kept vectors from the place `first` to before `stop`."""
        import numpy as np

        bounds = self.bounds[self._compared] @ kept.bounds.read(first, stop).T
        least = self._threshold - BOUND_ERROR
        near = bounds.max(axis=1) >= least
        chosen = self._compared[near]
        if not len(chosen):
            return
        others = (bounds[near].max(axis=0) >= least).nonzero()[0]
        vectors = kept.rows.read(first, stop)[others].astype(np.float32)
        squares = _squares(vectors)
        squares[squares == 0] = MAX_LENGTH**2  # nothing is similar to zeros
        products = self._vectors[chosen] @ vectors.T
        limits = self._threshold * np.sqrt(self._squares[chosen] * squares.min())
        near = products.max(axis=1) >= limits * (1 - 1e-6)
        chosen = chosen[near]
        if not len(chosen):
            return
        similarities = products[near] / np.sqrt(self._squares[chosen, None] * squares)
        best = similarities.argmax(axis=1)
        found = similarities[np.arange(len(chosen)), best]
        better = (found >= self._threshold) & (found > self.similarities[chosen])
        self.places[chosen[better]] = first + others[best[better]]
        self.similarities[chosen[better]] = found[better]
        if not self._nearest:
            self._compared = self._compared[self.places[self._compared] < 0]

    def compare_within(self, first: int) -> NDArray[Any]:
        """Compare the vectors with each other, and return which are kept; `first` is the place of the first."""
        import numpy as np

        is_kept = self.places < 0
        squares = np.where(self._squares == 0, MAX_LENGTH**2, self._squares)
        similarities = (self._vectors @ self._vectors.T) / np.sqrt(squares[:, None] * squares)
        near = np.tril(similarities >= self._threshold, -1)
        for row in near.any(axis=1).nonzero()[0]:
            earlier = (near[row] & is_kept).nonzero()[0]
            if not len(earlier) or not (is_kept[row] or self._nearest):
                continue
            best = earlier[similarities[row, earlier].argmax()]
            is_kept[row] = False
            if similarities[row, best] > self.similarities[row]:
                self.similarities[row] = similarities[row, best]
                self.places[row] = first + np.count_nonzero(is_kept[:best])
        return is_kept


def _squares(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return the square of each vector's length."""
    import numpy as np

    squares: NDArray[Any] = np.einsum("ij,ij->i", vectors, vectors).astype(np.float64)
    return squares


def _head_of(dimensions: int) -> int:
    return -(-dimensions // 3)


def _bounds(vectors: NDArray[Any], squares: NDArray[Any]) -> NDArray[Any]:
    """Return the first components of the unit vectors, and the length of the rest.

    The product of two of these is at least the cosine, because the product of the rests is at most that of their
    lengths (Cauchy-Schwarz). So most pairs are excluded with a third of the multiplications.
    """
    import numpy as np

    head = vectors[:, : _head_of(vectors.shape[1])]
    rests = np.sqrt(squares - _squares(head))
    lengths = np.sqrt(np.where(squares == 0, 1.0, squares))
    made: NDArray[Any] = np.column_stack([head, rests]) / lengths[:, None]
    return made.astype(np.float32)
