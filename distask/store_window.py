"""Read completions ahead in the order in which they were stored, which is about the order that a rerun needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distask.store_file import FAULTS, completion_checksum

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

Record = tuple[bytes, int, bytes, bytes, int | None, int | None, int]
"""Key, limit, completion, model, checksum, source and row number of a stored completion."""

COLUMNS = "key, max_tokens, completion, CAST(model AS BLOB), checksum, source, rowid"
SLACK = 512
"""Records to read beyond the ones that are needed next: replies are stored as they arrive, not in the order of rows."""
MOST_RECORDS = 4 * SLACK
"""Maximum number of records in the window."""
MOST_BYTES = 4 << 20
"""Approximate maximum bytes of completions in the window."""
FEWEST_FOUND = 16
"""Number of completions that must be found together before the ones after them are read ahead."""
MOST_APART = 4
"""Maximum distance between the completions of a group, in records for each completion."""

_FROM = f"SELECT {COLUMNS} FROM completions WHERE rowid >= ? ORDER BY rowid"  # noqa: S608


class Window:
    """Stored completions that are probably looked up next.

    A look-up by key searches an index that is as large as the store has keys. Reading the next records of the file
    takes a third of the time. It begins when completions that are looked up together are close together in the file,
    and ends when most of the next ones are not among those read.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._records: dict[bytes, Record] = {}
        self._size = 0
        self._limit = 0
        self._next: int | None = None
        """The number of the next record to read; None to read none."""

    def take(self, keys: Sequence[bytes], limit: int) -> list[Record]:
        """Return the intact records among those read ahead that have these keys and this limit; each is returned once.

        A damaged record is left to the look-up by key, which counts it.
        """
        if limit != self._limit:
            self._end()
            self._limit = limit
        if self._next is not None:
            self._read(self._next, len(keys) + SLACK)
        records = self._records
        if not records:
            return []
        taken = [records.pop(key) for key in keys if key in records]
        self._size -= sum([len(record[2]) for record in taken])
        if 2 * len(taken) < len(keys):
            self._end()
        return [record for record in taken if is_intact(record, record[0])]

    def found(self, records: Collection[Record]) -> None:
        """Begin to read ahead if records that were looked up together are close together."""
        if self._next is None and not self._records and len(records) >= FEWEST_FOUND:
            numbers = [record[6] for record in records]
            first = min(numbers)
            if max(numbers) - first < MOST_APART * len(numbers):
                self._read(first, SLACK)
                for record in records:
                    if self._records.pop(record[0], None) is not None:
                        self._size -= len(record[2])

    def _read(self, first: int, most: int) -> None:
        """Read records up to `most` in the window; errors are left to the look-ups that need the damaged part."""
        records, size, left = self._records, self._size, most - len(self._records)
        self._next = None
        try:
            cursor = self._connection.execute(_FROM, (first,))
            for record in cursor:
                if left <= 0 or size >= MOST_BYTES:
                    self._next = record[6]
                    break
                left -= 1
                if record[1] == self._limit:
                    records[record[0]] = record
                    size += len(record[2])
            cursor.close()  # ends the transaction
        except FAULTS:
            self._end()
            return
        self._size = size
        while len(records) > MOST_RECORDS or self._size > MOST_BYTES:
            self._size -= len(records.pop(next(iter(records)))[2])

    def _end(self) -> None:
        self._records.clear()
        self._size, self._next = 0, None


def is_intact(record: Record, key: bytes) -> bool:
    """Return whether a record is the one of this key, and has its checksum."""
    _, limit, data, model, checksum, _, _ = record
    return checksum is not None and checksum == completion_checksum(key, limit, data, model)
