"""Keys of the rows that wait at a barrier, on disk: SQLite sorts and groups them in bounded memory."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CACHE_KIB = 8192
"""Memory of SQLite for pages and for sorting; the rest is in a temporary file."""
BATCH_ROWS = 1_000
_EXACT = 1 << 53
"""Integers up to this one are doubles without rounding."""
_DOUBLE, _BITS, _EXACT_KEY = struct.Struct(">d"), struct.Struct(">Q"), struct.Struct(">QB")


class KeyTable:
    """A table `seen` with a `number` for each row, from 0, and the columns that are named here.

    The file is private, in the folder for temporary files, and disappears with the connection. A disk that is full
    raises `sqlite3.Error`.
    """

    def __init__(self, *columns: str) -> None:
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", f"cache_size = -{CACHE_KIB}"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(f"CREATE TABLE seen ({', '.join(('number INTEGER PRIMARY KEY', *columns))})")
        self._connection.execute("BEGIN")
        self._columns = len(columns) + 1
        self._batch: list[tuple[Any, ...]] = []

    def insert(self, table: str, columns: int, rows: Iterable[tuple[Any, ...]]) -> None:
        """Add rows to a table that `execute` made."""
        marks = ", ".join("?" * columns)
        self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 - our own names

    def add(self, number: int, *values: bytes | int | None) -> None:
        """Add a row's values."""
        self._batch.append((number, *values))
        if len(self._batch) >= BATCH_ROWS:
            self._flush()

    def select(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield the result of a query over all rows."""
        self._flush()
        yield from self._connection.execute(query, values)

    def execute(self, statement: str) -> None:
        """Run a statement without a result."""
        self._connection.execute(statement)

    def close(self) -> None:
        """Close the table and delete its file."""
        self._connection.close()

    def _flush(self) -> None:
        if self._batch:
            self.insert("seen", self._columns, self._batch)
            self._batch.clear()


def sort_key(value: Any) -> bytes | None:
    """Return bytes that compare as the values do; None for null and NaN.

    Numbers come first (true as 1), then texts by code point, then lists, then other values by their JSON. Numbers
    compare exactly, whether they are integers of any size or floats.
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return None
    if isinstance(value, bool | int | float):
        return b"\1" + _number_key(value)
    if isinstance(value, str):
        return b"\2" + _text_key(value)
    if isinstance(value, list):
        return b"\3" + b"".join(sort_key(each) or b"\5" for each in value) + b"\0"
    return b"\4" + _text_key(json.dumps(value, sort_keys=True, default=str))


def _text_key(text: str) -> bytes:
    return text.encode(errors="surrogatepass").replace(b"\0", b"\0\xff") + b"\0\0"


def _number_key(number: float) -> bytes:
    """The nearest double in an order-preserving form, then what rounding an integer left out."""
    try:
        double = float(number)
    except OverflowError:
        double = math.copysign(sys.float_info.max, 1 if number > 0 else -1)
    (bits,) = _BITS.unpack(_DOUBLE.pack(double + 0.0))
    bits = bits ^ 0xFFFF_FFFF_FFFF_FFFF if bits >> 63 else bits | 1 << 63
    if -_EXACT <= number <= _EXACT or not isinstance(number, int):
        return _EXACT_KEY.pack(bits, 0x80)
    return _BITS.pack(bits) + _integer_key(number - int(double))


def _integer_key(rest: int) -> bytes:
    if not rest:
        return b"\x80"
    size = (abs(rest).bit_length() + 7) // 8
    data = size.to_bytes(4) + abs(rest).to_bytes(size)
    return b"\x81" + data if rest > 0 else b"\x7f" + bytes(255 - byte for byte in data)
