"""Keep rows of one result until their match in the other comes: the latest in memory, older ones on disk."""

from __future__ import annotations

import pickle
import sqlite3
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from distask.report.compare.spill import cannot_spill

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from distask.report.result import ResultRow

MAX_ROWS = 4096
MAX_BYTES = 8 << 20
"""Rows, and bytes of their lines, kept in memory before the older half is moved to disk."""
_CACHE_KIB = 2048


class WaitingRows:
    """Rows by key; rows with the same key are returned in the order they were added.

    On disk, rows are in a database without a name, which SQLite puts into a temporary file and deletes.
    """

    def __init__(self) -> None:
        self._recent: OrderedDict[bytes, deque[tuple[int, ResultRow]]] = OrderedDict()
        self._rows = self._bytes = 0
        """In memory."""
        self._number = 0
        self._stored = 0
        self._database: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._database is not None:
            self._database.close()

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
            for (data,) in self._open().execute("SELECT row FROM waiting ORDER BY number"):
                yield pickle.loads(data)  # noqa: S301 - written by this process
        else:
            for _, row in sorted(
                (entry for found in self._recent.values() for entry in found), key=lambda entry: entry[0]
            ):
                yield row

    def _store(self, keep: int) -> None:
        """Move the oldest rows to disk, until this many are left in memory."""
        moved = []
        while self._rows > keep:
            key, found = self._recent.popitem(last=False)
            self._rows -= len(found)
            for number, row in found:
                self._bytes -= len(row.line)
                moved.append((number, key, pickle.dumps(row, pickle.HIGHEST_PROTOCOL)))
        try:
            self._open().executemany("INSERT INTO waiting VALUES (?, ?, ?)", moved)
        except sqlite3.Error as error:
            raise cannot_spill(error) from None
        self._stored += len(moved)

    def _take_stored(self, key: bytes) -> ResultRow | None:
        database = self._open()
        query = "SELECT number, row FROM waiting WHERE key = ? ORDER BY number LIMIT 1"
        found = database.execute(query, (key,)).fetchone()
        if found is None:
            return None
        number, data = found
        database.execute("DELETE FROM waiting WHERE number = ?", (number,))
        self._stored -= 1
        row: ResultRow = pickle.loads(data)  # noqa: S301 - written by this process
        return row

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = sqlite3.connect("", isolation_level=None)
            self._database.executescript(
                f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE_KIB};"
                "CREATE TABLE waiting (number INTEGER PRIMARY KEY, key BLOB NOT NULL, row BLOB NOT NULL);"
                "CREATE INDEX by_key ON waiting (key, number);"
                "BEGIN"
            )
        return self._database
