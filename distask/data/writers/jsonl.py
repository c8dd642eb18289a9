"""Write JSON Lines: new columns are spliced into the row's own bytes, which are never decoded and encoded again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from distask.data.writers.base import PartialFile, json_bytes, unwritable
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


class JsonlWriter:
    """Writes each row to `OUT.partial` at once."""

    def __init__(self, path: Path, on_whole: OnWhole | None = None) -> None:
        self._file = PartialFile(path, on_whole)
        self.partial: Path | None = self._file.partial
        self.checksum: str | None = None
        self.notes: list[str] = []

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Write a row."""
        self._file.write(spliced(row, new))

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
        self.notes: list[str] = []

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Write a row and flush, so that readers see it."""
        try:
            sys.stdout.buffer.write(spliced(row, new))
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise OutputError("stdout was closed. Run the same command to resume") from None
        except OSError as error:
            raise unwritable("stdout", error) from None

    def commit(self) -> None:
        """Do nothing: all rows are written."""

    def abort(self) -> None:
        """Do nothing: there is no partial file."""
