"""JSON Lines: new columns are spliced into the row's own bytes, which are never decoded and encoded again."""

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
    """The line of a row with new columns, its end included."""
    if row.raw is None:
        return json_bytes({**row.values, **new}) + b"\n"
    if not new:
        return row.raw + b"\n"
    before = row.raw.rstrip()[:-1]
    comma = b"" if before.rstrip().endswith(b"{") and not row.values else b","
    return before + comma + json_bytes(new)[1:] + b"\n"


class JsonlWriter:
    """Writes `OUT.partial` as it goes."""

    def __init__(self, path: Path, on_whole: OnWhole | None = None) -> None:
        self._file = PartialFile(path, on_whole)
        self.partial: Path | None = self._file.partial
        self.sha256: str | None = None
        self.notes: list[str] = []

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Write a row."""
        self._file.write(spliced(row, new))

    def commit(self) -> None:
        """Rename it."""
        self.sha256 = self._file.commit()

    def abort(self) -> None:
        """Leave it."""
        self._file.abort()


class StdoutWriter:
    """JSON Lines on stdout."""

    partial: Path | None = None
    sha256: str | None = None

    def __init__(self) -> None:
        self.notes: list[str] = []

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Write a row, and let who reads see it."""
        try:
            sys.stdout.buffer.write(spliced(row, new))
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise OutputError("stdout was closed; run again to go on") from None
        except OSError as error:
            raise unwritable("stdout", error) from None

    def commit(self) -> None:
        """Nothing is left to do."""

    def abort(self) -> None:
        """Nothing is left to do."""
