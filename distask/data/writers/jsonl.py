"""Write JSON Lines: new columns are spliced into the row's own bytes, which are never decoded and encoded again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import orjson

from distask.data.writers.base import PartialFile, json_bytes, plain_value, unwritable
from distask.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from distask.data.row import Row
    from distask.data.writers.base import OnWhole


def spliced(row: Row, new: Mapping[str, Any]) -> bytes:
    """Return a row with new columns as a line, including its line end."""
    if row.raw is None:
        return json_bytes({**row.values, **new}) + b"\n"
    if not new:
        return row.raw + b"\n"
    before = row.raw.rstrip()
    comma = b"," if row.values or not before[:-1].rstrip().endswith(b"{") else b""
    return b"".join((memoryview(before)[:-1], comma, memoryview(json_bytes(new))[1:], b"\n"))  # copies each byte once


class Lines:
    """Makes lines of rows. A row that has many lines, as a document has chunks, is encoded only once."""

    def __init__(self) -> None:
        self._row: Row | None = None
        """The row of the last line."""
        self._beginning: bytes | None = None
        """Its columns as JSON, without the last brace; empty if the line must be encoded as one; None if not known."""

    def line(self, row: Row, new: Mapping[str, Any]) -> bytes:
        """Return a row with new columns as a line, including its line end; the same as `spliced`."""
        if row.raw is None and not row.values:
            return json_bytes(new) + b"\n"
        if row is not self._row:
            self._row, self._beginning = row, None
            return spliced(row, new)
        if row.raw is not None or not row.values.keys().isdisjoint(new):
            return spliced(row, new)
        try:
            if self._beginning is None:
                self._beginning = b""
                self._beginning = orjson.dumps(row.values, default=plain_value)[:-1]
            added = memoryview(orjson.dumps(new, default=plain_value))[1:]
        except (TypeError, ValueError):
            return spliced(row, new)
        if not self._beginning or not new:
            return spliced(row, new)
        return b"".join((self._beginning, b",", added, b"\n"))


class JsonlWriter:
    """Writes each row to `OUT.partial` at once."""

    def __init__(self, path: Path, on_whole: OnWhole | None = None) -> None:
        self._file = PartialFile(path, on_whole)
        self._lines = Lines()
        self.partial: Path | None = self._file.partial
        self.checksum: str | None = None
        self.notes: list[str] = []

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Write a row."""
        self._file.write(self._lines.line(row, new))

    def commit(self) -> None:
        """Rename the file to its final name."""
        self.checksum = self._file.commit()

    def abort(self) -> None:
        """Keep the partial file."""
        self._file.abort()


class StdoutWriter:
    """Writes JSON Lines to stdout."""

    partial: Path | None = None
    checksum: str | None = None

    def __init__(self) -> None:
        self._lines = Lines()
        self.notes: list[str] = []

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Write a row and flush, so that readers see it."""
        try:
            sys.stdout.buffer.write(self._lines.line(row, new))
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise OutputError("stdout was closed. Run the same command to resume") from None
        except OSError as error:
            raise unwritable("stdout", error) from None

    def commit(self) -> None:
        """Do nothing: all rows are written."""

    def abort(self) -> None:
        """Do nothing: there is no partial file."""
