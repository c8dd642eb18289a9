"""Write tables: rows are first written as JSON Lines, and become a table once all columns are known. Includes CSV."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from distask.data.writers.base import PartialFile
from distask.data.writers.jsonl import Lines
from distask.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from distask.data.row import Row
    from distask.data.writers.base import OnWhole


class TableWriter(ABC):
    """Base class of table writers: `OUT.partial` is JSON Lines until the end."""

    def __init__(self, path: Path, on_whole: OnWhole | None = None) -> None:
        self._file = PartialFile(path, on_whole)
        self._lines = Lines()
        self.partial: Path | None = self._file.partial
        self.checksum: str | None = None
        self.notes: list[str] = []
        self._columns: dict[str, None] = {}

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Write a row."""
        self._columns.update(dict.fromkeys(row.values))
        self._columns.update(dict.fromkeys(new))
        self._file.write(self._lines.line(row, new))

    @property
    def size(self) -> int:
        """Bytes of the rows so far, as JSON Lines."""
        return self._file.size

    def commit(self) -> None:
        """Make the table and rename it. If that fails, all rows stay as JSON Lines; raises `OutputError`."""
        made = self._file.path.with_name(self._file.path.name + ".table")
        try:
            self._file.flush()
            self._convert(made)
        except OSError as error:
            raise self._file.explained(error) from None
        except Exception as error:
            made.unlink(missing_ok=True)
            self.partial = rows = self._file.keep_rows()
            raise OutputError(
                f"{self._file.path}: can't create the table: {_words(error)}\n"
                f"All rows are complete in {rows}, as JSON Lines. Use that file, or run again with another --output."
            ) from error
        self.checksum = self._file.commit(made)

    def abort(self) -> None:
        """Keep the rows as JSON Lines."""
        self._file.abort()

    @abstractmethod
    def _convert(self, made: Path) -> None:
        """Write the table from the spooled rows."""

    def _ordered(self) -> list[str]:
        """Return the columns, those of the task last."""
        return list(self._columns)

    def _rows(self) -> Iterator[dict[str, Any]]:
        with self._file.partial.open("rb") as lines:
            for line in lines:
                row: dict[str, Any] = json.loads(line)
                yield row


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of text that a spreadsheet treats as a formula."""


class CsvWriter(TableWriter):
    """Writes CSV, with lists and mappings as JSON text.

    Counts cells that a spreadsheet would run as formulas, and on request puts `'` before them.
    """

    escapes_formulas = False
    _formulas = 0

    def _convert(self, made: Path) -> None:
        with made.open("wb") as raw, io.TextIOWrapper(raw, "utf-8", newline="") as text:
            writer = csv.writer(text)
            columns = self._ordered()
            writer.writerow([self._safe(name) for name in columns])
            for row in self._rows():
                writer.writerow([self._safe(_cell(row.get(c))) for c in columns])
        if self._formulas and not self.escapes_formulas:
            cells = "1 cell begins" if self._formulas == 1 else f"{self._formulas:,} cells begin"
            self.notes.append(
                f"{cells} with = + - or @, which a spreadsheet runs as a formula; --escape-formulas puts ' before it"
            )

    def _safe(self, cell: Any) -> Any:
        if not isinstance(cell, str) or not cell.startswith(FORMULA):
            return cell
        self._formulas += 1
        return f"'{cell}" if self.escapes_formulas else cell


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list | bool):
        return json.dumps(value, ensure_ascii=False)
    return value


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
