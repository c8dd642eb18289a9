"""Count the rows that each file of an input gives, and the documents among them, while the rows are read in order."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


class FileCounts:
    """The rows read from each file of an input; takes eight bytes a file.

    Args:
        files: the files of the input, in the order in which they are read.
    """

    def __init__(self, files: Collection[Path] = ()) -> None:
        self.files = tuple(files)
        self.rows = array("Q", bytes(8 * len(self.files)))
        """Number of rows from each of `files`."""
        self.total = 0
        """Number of rows, also of those that come from no file."""
        self.sources = 0
        """Number of names under which rows were read: for documents, the documents, also those in archives."""
        self._name: str | None = None
        self._place = 0

    @property
    def last(self) -> tuple[Path, int] | None:
        """The file of the last row and the number of rows read from it; None if rows come from no file."""
        return (self.files[self._place], self.rows[self._place]) if self.rows else None

    def add(self, name: str) -> None:
        """Count a row; `name` is the file that it comes from, as in `Row.file`."""
        self.total += 1
        if name is not self._name:
            self._enter(name)
        if self.rows:
            self.rows[self._place] += 1

    def _enter(self, name: str) -> None:
        """Move to the file of this name; a document in an archive has the archive's name and `/` before its own."""
        if name == self._name:
            self._name = name  # the same file under another object
            return
        self._name = name
        self.sources += 1
        for place in range(self._place, len(self.files)):
            file = str(self.files[place])
            if name == file or name.startswith(f"{file}/"):
                self._place = place
                return
