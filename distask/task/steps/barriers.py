"""Steps that wait for all rows: group, dedup, sort, sample, limit, split.

A barrier looks at each row once and keeps only what it needs (a key, a digest, a signature), on disk where there is
one for each row. Then it decides which rows continue, and in which order. The caller stores the rows.
"""

from __future__ import annotations

import json
import random
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from distask.errors import RowError
from distask.task.steps.item import Item, side_by_side

if TYPE_CHECKING:
    from distask.spec.language.steps import Dedup
    from distask.task.steps.flow import Count
    from distask.task.steps.key_table import KeyTable
    from distask.task.text.minhash import NearDuplicates

SIMILAR_TEXTS = 0.8
SIMILAR_VECTORS = 0.95
"""The default similarity from which two rows count as duplicates."""


class Barrier(ABC):
    """A step that needs to see all rows; `seen` is the number of rows so far."""

    changes_rows = False
    """Whether `joined` returns other rows than those that it gets."""

    def __init__(self, count: Count) -> None:
        self.count = count
        self.seen = 0

    def prepare(self, notify: Callable[[str], None] | None = None) -> None:  # noqa: B027 - most need nothing
        """Load what the step needs, before the first request; raises `UsageError`."""

    def simulate(self) -> None:  # noqa: B027 - most do the same
        """Load nothing large: the rows are simulated."""

    @abstractmethod
    def look(self, values: Mapping[str, Any]) -> None:
        """Record what is needed from the columns of the next row."""

    @abstractmethod
    def order(self) -> Iterator[Sequence[int]]:
        """The rows that continue, by number from 0; rows in the same sequence are merged into one."""

    def joined(self, items: Sequence[Item]) -> Item:
        """Merge rows into one; most barriers pass single rows unchanged."""
        return items[0]

    def close(self) -> None:  # noqa: B027 - most keep nothing
        """Delete what was kept."""


class KeyedBarrier(Barrier):
    """A barrier that keeps a few values for each row in a table on disk."""

    columns: tuple[str, ...] = ("key",)

    def __init__(self, count: Count) -> None:
        super().__init__(count)
        self._opened: KeyTable | None = None

    @property
    def _table(self) -> KeyTable:
        if self._opened is None:
            from distask.task.steps.key_table import KeyTable

            self._opened = KeyTable(*self.columns)
        return self._opened

    def keep(self, *values: bytes | int | None) -> None:
        """Store the values of the next row."""
        self._table.add(self.seen, *values)
        self.seen += 1

    def close(self) -> None:
        """Delete the table."""
        if self._opened is not None:
            self._opened.close()


class Group(KeyedBarrier):
    """Merges rows with equal values in some columns, in the order in which the groups first appear."""

    changes_rows = True

    def __init__(self, count: Count, by: Sequence[str]) -> None:
        super().__init__(count)
        self._by = by

    def look(self, values: Mapping[str, Any]) -> None:
        """Record the group of the row."""
        self.keep(digest([values.get(name) for name in self._by]))

    def order(self) -> Iterator[Sequence[int]]:
        """The groups."""
        firsts = "SELECT min(number) OVER (PARTITION BY key) AS first, number FROM seen ORDER BY first, number"
        for _, members in groupby(self._table.select(firsts), key=itemgetter(0)):
            yield array("Q", map(itemgetter(1), members))

    def joined(self, items: Sequence[Item]) -> Item:
        """The columns that are grouped by, and a list for each other column."""
        first = items[0]
        others = dict.fromkeys(n for each in items for n in each.values if n not in self._by)
        shared = {name: first.values.get(name) for name in first.values if name in self._by}
        first.values = {**shared, **{name: [each.values.get(name) for each in items] for name in others}}
        first.frames = tuple({n: v for n, v in frame.items() if n in self._by} for frame in first.frames)
        first.metadata = side_by_side([each.metadata for each in items])
        first.model = next((each.model for each in reversed(items) if each.model is not None), None)
        first.failed = all(each.failed for each in items)
        return first


class Exact(KeyedBarrier):
    """Keeps the first of rows with equal values; rows that lack a value are always kept."""

    def __init__(self, count: Count, by: Sequence[str]) -> None:
        super().__init__(count)
        self._by = by

    def look(self, values: Mapping[str, Any]) -> None:
        """Record the values of the row."""
        wanted = [values.get(name) for name in self._by]
        self.keep(None if any(value is None for value in wanted) else digest(wanted))

    def order(self) -> Iterator[Sequence[int]]:
        """The rows that are kept."""
        return self._table.select(
            "SELECT min(number) FROM seen WHERE key NOTNULL GROUP BY key "
            "UNION ALL SELECT number FROM seen WHERE key ISNULL ORDER BY 1"
        )


class MinHash(Barrier):
    """Keeps the first of texts that share most of their word sequences, estimated by MinHash."""

    def __init__(self, count: Count, dedup: Dedup, threshold: float | None) -> None:
        super().__init__(count)
        self._dedup = dedup
        self._threshold = SIMILAR_TEXTS if threshold is None else threshold
        self._opened: NearDuplicates | None = None

    @property
    def _texts(self) -> NearDuplicates:
        if self._opened is None:
            from distask.task.text.minhash import NearDuplicates

            self._opened = NearDuplicates(self._dedup.words, self._dedup.permutations, self._threshold)
        return self._opened

    def look(self, values: Mapping[str, Any]) -> None:
        """Record the row's text."""
        wanted = [values.get(name) for name in self._dedup.by]
        if None in wanted:
            self._texts.add(None)
        else:
            texts = [value if isinstance(value, str) else json.dumps(value, default=str) for value in wanted]
            self._texts.add("\n".join(texts))
        self.seen += 1

    def order(self) -> Iterator[Sequence[int]]:
        """The rows that are kept."""
        for number in self._texts.firsts():
            yield (number,)

    def close(self) -> None:
        """Delete the signatures."""
        if self._opened is not None:
            self._opened.close()


class Cosine(Barrier):
    """Keeps the first of vectors with similar directions (DEITA's diversity filter, arXiv:2312.15685)."""

    def __init__(self, count: Count, dedup: Dedup, threshold: float | None) -> None:
        super().__init__(count)
        self._by = dedup.by[0]
        self._threshold = SIMILAR_VECTORS if threshold is None else threshold
        self._vectors: Any = None
        self._filled = 0
        self._kept = array("Q")

    def look(self, values: Mapping[str, Any]) -> None:
        """Keep the row unless a similar vector was kept before."""
        import numpy as np

        number, value = self.seen, values.get(self._by)
        self.seen += 1
        vector = None
        if isinstance(value, list) and value and all(isinstance(x, int | float) for x in value):
            vector = np.asarray(value, dtype=np.float32)
            length = float(np.linalg.norm(vector))
            vector = vector / length if length else None
        if vector is None or (self._vectors is not None and vector.shape[0] != self._vectors.shape[1]):
            self._kept.append(number)
            return
        if self._vectors is None:
            self._vectors = np.empty((256, vector.shape[0]), dtype=np.float32)
        if self._filled and float((self._vectors[: self._filled] @ vector).max()) >= self._threshold:
            return
        if self._filled == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.empty_like(self._vectors)])
        self._vectors[self._filled] = vector
        self._filled += 1
        self._kept.append(number)

    def order(self) -> Iterator[Sequence[int]]:
        """The rows that are kept."""
        for number in self._kept:
            yield (number,)


class Sort(KeyedBarrier):
    """Sorts rows, stably: numbers, then texts, then other values, then rows without a value."""

    def __init__(self, count: Count, by: Sequence[str], *, descending: bool) -> None:
        super().__init__(count)
        self._by = by
        self._descending = descending
        self.columns = tuple(f"key{place}" for place in range(len(by)))

    def look(self, values: Mapping[str, Any]) -> None:
        """Record the row's values."""
        from distask.task.steps.key_table import sort_key

        self.keep(*[sort_key(values.get(name)) for name in self._by])

    def order(self) -> Iterator[Sequence[int]]:
        """All rows, in order."""
        way = "DESC" if self._descending else "ASC"
        keys = ", ".join(f"{key} ISNULL, {key} {way}" for key in self.columns)
        return self._table.select(f"SELECT number FROM seen ORDER BY {keys}, number")  # noqa: S608 - our own names


class Sample(Barrier):
    """Draws a number or a fraction of the rows with the run's seed."""

    def __init__(self, count: Count, seed: str, *, n: int | None = None, fraction: float | None = None) -> None:
        super().__init__(count)
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._n = n
        self._fraction = fraction

    def look(self, _values: Mapping[str, Any]) -> None:
        """Count the row."""
        self.seen += 1

    def order(self) -> Iterator[Sequence[int]]:
        """The drawn rows, in their original order."""
        n = round(self.seen * self._fraction) if self._fraction is not None else min(self._n or 0, self.seen)
        for number in sorted(self._rng.sample(range(self.seen), n)):
            yield (number,)


class Limit(Barrier):
    """Keeps the first rows."""

    def __init__(self, count: Count, n: int) -> None:
        super().__init__(count)
        self._n = n

    def look(self, _values: Mapping[str, Any]) -> None:
        """Count the row."""
        self.seen += 1

    def order(self) -> Iterator[Sequence[int]]:
        """The first rows."""
        for number in range(min(self._n, self.seen)):
            yield (number,)


class Split(Barrier):
    """Assigns rows to parts. Rows with equal values in some columns are a group, and a group is in one part only.

    The groups are put in an order that depends on the seed and their values only. The parts are filled in that order,
    so that their numbers of rows are as close to their shares as the groups allow.

    Args:
        count: the counts of the step.
        seed: the seed.
        shares: the parts and their shares, which are relative.
        by: the columns of a group; None for all columns.
        column: the column for the name of the part.
        stable: whether a group's part depends on its own values only, so that the shares are approximate.
    """

    changes_rows = True

    def __init__(
        self,
        count: Count,
        seed: str,
        shares: Mapping[str, float],
        *,
        by: Sequence[str] | None,
        column: str,
        stable: bool,
    ) -> None:
        super().__init__(count)
        self._seed = seed.encode(errors="surrogatepass")
        self._names = list(shares)
        total = sum(shares.values())
        self._shares = [share / total for share in shares.values()]
        self._by, self._column, self._stable = by, column, stable
        self._sizes: dict[bytes, int] = {}
        """Rows of each group."""
        self._parts: dict[bytes, int] = {}
        """The part of each group."""

    def look(self, values: Mapping[str, Any]) -> None:
        """Count the row in its group."""
        self.seen += 1
        if not self._stable:
            key = self._key(values)
            self._sizes[key] = self._sizes.get(key, 0) + 1

    def order(self) -> Iterator[Sequence[int]]:
        """All rows, in their order."""
        self._parts = _filled(sorted(self._sizes.items()), self._shares)
        self._sizes = {}
        for number in range(self.seen):
            yield (number,)

    def joined(self, items: Sequence[Item]) -> Item:
        """The row with its part."""
        (item,) = items
        key = self._key(item.values)
        part = _drawn(key, self._shares) if self._stable else self._parts[key]
        item.values = {**item.values, self._column: self._names[part]}
        return item

    def _key(self, values: Mapping[str, Any]) -> bytes:
        """Return a hash of the row's group, evenly distributed."""
        wanted = values if self._by is None else [values.get(name) for name in self._by]
        return blake2b(self._seed + digest(wanted), digest_size=16).digest()


def _filled(groups: Sequence[tuple[bytes, int]], shares: Sequence[float]) -> dict[bytes, int]:
    """Assign each group to the part that lacks the most rows; no part stays empty if there are enough groups."""
    total = sum(size for _, size in groups)
    missing = [share * total for share in shares]
    empty = set(range(len(shares)))
    parts: dict[bytes, int] = {}
    for number, (key, size) in enumerate(groups):
        known = empty if empty and len(groups) - number <= len(empty) else range(len(shares))
        part = max(known, key=lambda each: missing[each])
        parts[key] = part
        missing[part] -= size
        empty.discard(part)
    return parts


def _drawn(key: bytes, shares: Sequence[float]) -> int:
    """Return the part in which a hash falls."""
    place = int.from_bytes(key[:8], "big") / (1 << 64)
    for part, share in enumerate(shares):
        place -= share
        if place < 0:
            return part
    return len(shares) - 1


_ENCODER = json.JSONEncoder(sort_keys=True, default=repr)


def digest(values: Sequence[Any] | Mapping[str, Any]) -> bytes:
    """A 16-byte hash of values: 1 and 1.0 are equal, 1 and true are not."""
    try:
        texts = isinstance(values, list) and all(type(value) is str for value in values)
        data = _ENCODER.encode(values if texts else _hashable(values))
    except (TypeError, ValueError) as error:
        raise RowError("wrong_type", f"a value can't be compared: {error}") from None
    return blake2b(data.encode(errors="surrogatepass"), digest_size=16).digest()


def _hashable(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bytes | bytearray):
        return blake2b(value).hexdigest()
    if isinstance(value, Mapping):
        return {str(key): _hashable(each) for key, each in value.items()}
    return [_hashable(each) for each in value] if isinstance(value, list | tuple) else value
