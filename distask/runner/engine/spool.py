"""Store rows that wait for a barrier in private temporary files, and read them in the barrier's order."""

from __future__ import annotations

import os
import pickle
import sqlite3
import struct
import tempfile
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

from distask.data.cells import Cells
from distask.errors import OutputError
from distask.runner.engine.steps import CarriedRow
from distask.task.steps.item import Item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import IO

    from distask.data.row import Row
    from distask.task.steps.barriers import Barrier

SHARED_CHARACTERS = 1_024
"""Texts from this length on are stored once if rows in sequence share them, as chunks share their document."""
_SHARED_TEXTS = 16
"""Number of such texts to remember."""
_READ_BYTES = 1 << 16
"""Bytes to read at a time if rows are read in the order in which they were written."""
_PLACE = struct.Struct("=QQ")
_PLACES = 2_048
"""Number of starts and ends to write at a time."""


class _Place(NamedTuple):
    """Where a long text is in a file."""

    start: int
    length: int
    """Bytes."""
    is_text: bool


class Spool:
    """Stores rows that wait for a barrier; its files are deleted at the end."""

    partial: Path | None = None
    checksum: str | None = None

    def __init__(self, barrier: Barrier) -> None:
        self.notes: list[str] = []
        self._barrier = barrier
        self._rows = _RowFile()
        self._places = tempfile.TemporaryFile(prefix="distask-")  # noqa: SIM115 - closed by `abort`
        """The start and the end of each row in `_rows`."""
        self._new_places = array("Q")
        """The last places, which are not in the file yet."""

    def write(self, row: Row, _new: Mapping[str, Any]) -> None:
        """Store a row and pass it to the barrier."""
        assert isinstance(row, CarriedRow)
        assert row.item is not None
        try:
            self._add(self._rows.write(row, row.item), row.item.values)
        except (OSError, sqlite3.Error) as error:
            raise self._explained(error) from None

    def rows(self) -> Iterator[CarriedRow]:
        """Yield the rows that pass the barrier, in its order."""
        for several in self._passed():
            rows = [self._rows.read(*place) for place in several]
            first = rows[0]
            first.item = self._barrier.joined([row.item for row in rows if row.item is not None])
            yield first

    def pass_to(self, spool: Spool, is_stopped: Callable[[], bool]) -> None:
        """Pass the rows on to an empty spool, whose barrier comes directly after this one.

        Rows that the barrier does not change are not written again: the spools share the file.
        """
        if self._barrier.changes_rows:
            for row in self.rows():
                if is_stopped():
                    return
                spool.write(row, {})
            self.abort()
            return
        spool._rows.close()
        spool._rows = self._rows
        for (place,) in self._passed():
            if is_stopped():
                return
            try:
                spool._add(place, self._rows.read_values(*place))
            except (OSError, sqlite3.Error) as error:
                raise spool._explained(error) from None
        self._places.close()
        self._barrier.close()

    def commit(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Close and delete the files."""
        self._rows.close()
        self._places.close()
        self._barrier.close()

    def _add(self, place: tuple[int, int], values: Mapping[str, Any]) -> None:
        """Add a row by its place and its columns."""
        self._new_places.extend(place)
        if len(self._new_places) >= _PLACES:
            self._write_places()
        self._barrier.count.came += 1
        self._barrier.look(values)

    def _passed(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the places of the rows that pass the barrier, several for rows that become one."""
        try:
            self._write_places()
            self._places.flush()
            self._rows.flush()
            read = _Reader(self._places).read
            for numbers in self._barrier.order():
                self._barrier.count.went += 1
                yield [_PLACE.unpack(read(number * _PLACE.size, _PLACE.size)) for number in numbers]
        except (OSError, sqlite3.Error) as error:
            raise self._explained(error) from None

    def _write_places(self) -> None:
        self._places.write(self._new_places.tobytes())
        del self._new_places[:]

    def _explained(self, error: OSError | sqlite3.Error) -> OutputError:
        """Return an error for rows or keys that can't be written."""
        folder = tempfile.gettempdir()
        message = f"can't write rows for the step {self._barrier.count.name} to {folder}: "
        message += getattr(error, "strerror", None) or str(error)
        return OutputError(f"{message}; free some space or set TMPDIR to another folder")


class _RowFile:
    """Rows in a temporary file, each as a pickle. A long text that rows in sequence share is in it once."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="distask-")  # noqa: SIM115 - closed by `close`
        self._reader = _Reader(self._file)
        self._size = 0
        self._written: dict[int, tuple[str | bytes, _Place]] = {}
        """The identity of a long text to the text and its place in the file, for the last texts."""
        self._texts: dict[_Place, str | bytes] = {}
        """The place of a long text to the text, for the last texts that were read."""
        self._schemas: list[Any] = []
        """Arrow schemas of the sources, each stored once because it may be as large as a row."""

    def write(self, row: CarriedRow, item: Item) -> tuple[int, int]:
        """Write a row and return where it begins and ends."""
        values, raw = row.values, row.raw
        inner, frames, *rest = item.packed()
        cells = None if row.cells is None else self._packed_cells(row.cells)
        state = (row.file, row.line, row.index, row.sample, cells, *rest)
        data = pickle.dumps((False, inner, frames, values, raw, state), protocol=pickle.HIGHEST_PROTOCOL)
        if len(data) >= SHARED_CHARACTERS and (_is_long(raw) or any(map(_has_long, (values, inner, *frames)))):
            frames = tuple(map(self._without_texts, frames))
            inner, values, raw = self._without_texts(inner), self._without_texts(values), self._share(raw)
            data = pickle.dumps((True, inner, frames, values, raw, state), protocol=pickle.HIGHEST_PROTOCOL)
            _keep_last(self._written)
        start = self._size
        self._append(data)
        return start, self._size

    def read(self, start: int, end: int) -> CarriedRow:
        """Return a row."""
        shares, inner, frames, values, raw, state = self._record(start, end)
        file, line, index, sample, cells, *rest = state
        if shares:
            frames = tuple(map(self._with_texts, frames))
            inner, values, raw = self._with_texts(inner), self._with_texts(values), self._text(raw)
            _keep_last(self._texts)
        item = Item.unpacked((inner, frames, *rest))
        row = CarriedRow(values, file, line, raw, index=index, item=item, sample=sample)
        if cells is not None:
            schema, data = cells
            row.cells = Cells.unpacked(self._schemas[schema], data)
        return row

    def read_values(self, start: int, end: int) -> dict[str, Any]:
        """Return a row's columns between the steps."""
        shares, inner, *_ = self._record(start, end)
        if shares:
            inner = self._with_texts(inner)
            _keep_last(self._texts)
        values: dict[str, Any] = inner
        return values

    def flush(self) -> None:
        """Make all rows readable."""
        self._file.flush()

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    def _record(self, start: int, end: int) -> Any:
        return pickle.loads(self._reader.read(start, end - start))  # noqa: S301 - written by this process

    def _append(self, data: bytes) -> None:
        self._file.write(data)
        self._size += len(data)

    def _without_texts(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return columns with places instead of long texts."""
        return {name: self._share(value) for name, value in values.items()}

    def _with_texts(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return columns with their long texts; equal places give the same object."""
        return {name: self._text(value) for name, value in values.items()}

    def _share(self, value: Any) -> Any:
        """Write a long text, unless it was just written, and return its place; return any other value."""
        if not _is_long(value):
            return value
        known = self._written.get(id(value))
        if known is None:
            data = value.encode(errors="surrogatepass") if isinstance(value, str) else value
            place = _Place(self._size, len(data), isinstance(value, str))
            self._append(data)
            known = self._written[id(value)] = value, place
        return known[1]

    def _text(self, value: Any) -> Any:
        """Read the text at a place; return any other value."""
        if type(value) is not _Place:
            return value
        text = self._texts.get(value)
        if text is None:
            data = os.pread(self._file.fileno(), value.length, value.start)
            text = self._texts[value] = data.decode(errors="surrogatepass") if value.is_text else data
        return text

    def _packed_cells(self, cells: Cells) -> tuple[int, bytes]:
        """Return a row's Arrow values with the number of their schema."""
        number = next((n for n, schema in enumerate(self._schemas) if schema is cells.schema), len(self._schemas))
        if number == len(self._schemas):
            self._schemas.append(cells.schema)
        return number, cells.packed()


class _Reader:
    """Reads parts of a file; if each part follows the one before, it reads many of them at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file.fileno()
        self._start = self._next = 0
        self._data = b""

    def read(self, start: int, size: int) -> bytes:
        """Return bytes of the file."""
        at = start - self._start
        if at < 0 or at + size > len(self._data):
            is_near = 0 <= start - self._next < _READ_BYTES
            self._data = os.pread(self._file, max(size, _READ_BYTES) if is_near else size, start)
            self._start, at = start, 0
        self._next = start + size
        return self._data[at : at + size]


def _is_long(value: Any) -> bool:
    return type(value) in (str, bytes) and len(value) >= SHARED_CHARACTERS


def _has_long(values: Mapping[str, Any]) -> bool:
    return any(map(_is_long, values.values()))


def _keep_last(texts: dict[Any, Any]) -> None:
    """Forget all but the last texts. While a row is packed or read, all of its texts are kept."""
    for key in list(texts)[:-_SHARED_TEXTS]:
        del texts[key]
