"""Match the rows of two results by their input columns, and by sample if a row has several."""

from __future__ import annotations

import pickle
import sqlite3
import tempfile
from collections import OrderedDict, deque
from hashlib import blake2b
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from msgspec import Struct

from distask.diagnostics import did_you_mean
from distask.errors import UsageError
from distask.report.compare.agreement import canonical
from distask.report.compare.spill import cannot_spill

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO, Self

    from distask.report.result import Result, ResultRow


class Pair(Struct, frozen=True):
    """A row of each result; None on one side if the other has no matching row."""

    first: ResultRow | None
    second: ResultRow | None

    @property
    def line(self) -> bytes:
        """Return both rows as one JSON list."""
        first, second = self.first, self.second
        return b"[%b,%b]" % (b"null" if first is None else first.line, b"null" if second is None else second.line)

    @property
    def size(self) -> int:
        """Bytes of both rows."""
        first, second = self.first, self.second
        return (0 if first is None else len(first.line)) + (0 if second is None else len(second.line))

    @property
    def is_matched(self) -> bool:
        """Whether both results have the row."""
        return self.first is not None and self.second is not None

    @property
    def grouped(self) -> bool:
        """Whether both rows hold lists with an item for each generation."""
        first, second = self.first, self.second
        return first is not None and first.group is not None and second is not None and second.group is not None

    def has(self, name: str) -> bool:
        """Return whether one of the rows has a column."""
        return any(row is not None and name in row.values for row in (self.first, self.second))


def pairs(first: Result, second: Result, by: Sequence[str] = ()) -> Iterator[Pair]:
    """Yield the matched rows of both results; rows without a match come last.

    The results are read side by side. A row whose match has not come yet waits, in bounded memory.

    Args:
        first: a result.
        second: another.
        by: the columns to match rows by; empty for the columns that both results had as input.

    Raises:
        UsageError: there is no column to match by.
    """
    rows = [iter(first), iter(second)]
    heads = [next(of, None) for of in rows]
    names = _columns(first, second, heads, by)
    sides = [of if head is None else chain([head], of) for head, of in zip(heads, rows, strict=True)]
    with WaitingRows() as of_first, WaitingRows() as of_second:
        for before, after in zip_longest(*sides):
            if not of_first and not of_second and _have_same_key(before, after, names):
                yield Pair(before, after)  # results in the same order need no keys
                continue
            if before is not None:
                key = _key(before, names)
                match = of_second.take(key)
                if match is None:
                    of_first.add(key, before)
                else:
                    yield Pair(before, match)
            if after is not None:
                key = _key(after, names)
                match = of_first.take(key)
                if match is None:
                    of_second.add(key, after)
                else:
                    yield Pair(match, after)
        for row in of_first.rest():
            yield Pair(row, None)
        for row in of_second.rest():
            yield Pair(None, row)


def _columns(
    first: Result, second: Result, heads: Sequence[ResultRow | None], by: Sequence[str]
) -> tuple[str, ...]:  # fmt: skip
    known = [() if head is None else tuple(head.values) for head in heads]
    for name in by:
        for result, names in zip((first, second), known, strict=True):
            if names and name not in names:
                close = did_you_mean(name, names) or f"it has {', '.join(f'`{n}`' for n in names)}"
                raise UsageError(f"{result.source} has no column `{name}` to match rows by; {close}")
    if by:
        return tuple(by)
    found = tuple(
        name for name in known[0] if name in known[1] and first.role(name) == second.role(name) == "input"
    )  # fmt: skip
    if not found and all(known):
        raise UsageError(
            f"{first.name} and {second.name} have no known input column in common, so rows can't be matched; "
            "name the columns that identify a row, such as --by id"
        )
    return found


def _sample(row: ResultRow) -> int:
    return 0 if row.group is not None or not row.replies else row.replies[0].sample or 0


def _have_same_key(before: ResultRow | None, after: ResultRow | None, names: Sequence[str]) -> bool:
    """Return True if the keys of two rows are certainly equal, without computing them."""
    if before is None or after is None:
        return False
    was, now = before.values, after.values
    for name in names:
        value, other = was.get(name), now.get(name)
        if (type(value) is not str and type(value) is not int) or type(value) is not type(other) or value != other:
            return False
    return _sample(before) == _sample(after)


def _key(row: ResultRow, names: Sequence[str]) -> bytes:
    """A hash of what a row is matched by: the sample, and the values of some columns."""
    sample = _sample(row)
    parts = [f"{sample};"]
    for name in names:
        value = row.values.get(name)
        text = value if type(value) is str else str(value) if type(value) is int else canonical(value)
        parts.append(f"{len(text)}:{text}")
    return blake2b("".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


MAX_ROWS = 4096
MAX_BYTES = 8 << 20
"""Rows, and bytes of their lines, kept in memory before the older half is moved to disk."""
_CACHE_KIB = 16 << 10


class WaitingRows:
    """Rows by key; rows with the same key are returned in the order they were added.

    On disk, rows are in a temporary file, and their places in a database without a name, which SQLite puts into another
    one. Both are deleted at the end.
    """

    def __init__(self) -> None:
        self._recent: OrderedDict[bytes, deque[tuple[int, ResultRow]]] = OrderedDict()
        self._rows = self._bytes = 0
        """In memory."""
        self._number = 0
        self._stored = 0
        self._database: sqlite3.Connection | None = None
        self._file: BinaryIO | None = None
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._database is not None:
            self._database.close()
        if self._file is not None:
            self._file.close()

    def __bool__(self) -> bool:
        return bool(self._rows or self._stored)

    def add(self, key: bytes, row: ResultRow) -> None:
        """Add a row."""
        found = self._recent.get(key)
        if found is None:
            found = self._recent[key] = deque()
        found.append((self._number, row))
        self._number += 1
        self._rows += 1
        self._bytes += len(row.line)
        if self._rows > MAX_ROWS or self._bytes > MAX_BYTES:
            self._store(self._rows // 2)

    def take(self, key: bytes) -> ResultRow | None:
        """Remove and return the oldest row with a key; None if there is none."""
        if self._stored:
            row = self._take_stored(key)
            if row is not None:
                return row
        found = self._recent.get(key)
        if found is None:
            return None
        _, row = found.popleft()
        self._rows -= 1
        self._bytes -= len(row.line)
        if not found:
            del self._recent[key]
        return row

    def rest(self) -> Iterator[ResultRow]:
        """Yield the rows that are still waiting, in the order they were added."""
        if self._stored:
            self._store(0)
            for start, size in self._open().execute("SELECT start, size FROM waiting ORDER BY number"):
                yield self._read(start, size)
        else:
            for _, row in sorted(
                (entry for found in self._recent.values() for entry in found), key=lambda entry: entry[0]
            ):
                yield row

    def _store(self, keep: int) -> None:
        """Move the oldest rows to disk, until this many are left in memory."""
        data: list[bytes] = []
        places: list[tuple[bytes, int, int, int]] = []
        end = self._end
        while self._rows > keep:
            key, found = self._recent.popitem(last=False)
            self._rows -= len(found)
            for number, row in found:
                self._bytes -= len(row.line)
                data.append(pickle.dumps(row, pickle.HIGHEST_PROTOCOL))
                places.append((key, number, end, len(data[-1])))
                end += len(data[-1])
        places.sort()  # neighbours in the index are inserted faster
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="distask-report-")  # noqa: SIM115 - closed in `__exit__`
            self._file.seek(self._end)
            self._file.writelines(data)
            self._file.flush()
            self._open().executemany("INSERT INTO waiting VALUES (?, ?, ?, ?)", places)
        except (OSError, sqlite3.Error) as error:
            raise cannot_spill(error) from None
        self._end = end
        self._stored += len(places)

    def _take_stored(self, key: bytes) -> ResultRow | None:
        database = self._open()
        query = "SELECT number, start, size FROM waiting WHERE key = ? ORDER BY number LIMIT 1"
        found = database.execute(query, (key,)).fetchone()
        if found is None:
            return None
        number, start, size = found
        database.execute("DELETE FROM waiting WHERE key = ? AND number = ?", (key, number))
        self._stored -= 1
        return self._read(start, size)

    def _read(self, start: int, size: int) -> ResultRow:
        assert self._file is not None
        self._file.seek(start)
        row: ResultRow = pickle.loads(self._file.read(size))  # noqa: S301 - written by this process
        return row

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = sqlite3.connect("", isolation_level=None)
            self._database.executescript(
                f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE_KIB};"
                "CREATE TABLE waiting (key BLOB, number INTEGER, start INTEGER NOT NULL, size INTEGER NOT NULL,"
                " PRIMARY KEY (key, number)) WITHOUT ROWID;"
                "BEGIN"
            )
        return self._database
