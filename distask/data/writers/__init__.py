"""Rows out, one class a format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distask.data.writers.base import Writer
from distask.data.writers.jsonl import JsonlWriter, StdoutWriter
from distask.data.writers.tables import CsvWriter, ParquetWriter
from distask.errors import UsageError
from distask.spec.diagnostics import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from distask.data.writers.base import OnWhole

WRITERS: dict[str, Callable[[Path, OnWhole | None], Writer]] = {
    ".jsonl": JsonlWriter,
    ".ndjson": JsonlWriter,
    ".csv": CsvWriter,
    ".parquet": ParquetWriter,
}
"""What a name ends with to the writer."""

__all__ = ["Writer", "open_output"]


def open_output(output: str, on_whole: OnWhole | None = None, *, escape_formulas: bool = False) -> Writer:
    """Open an output: a file by its ending, or `-` for JSON Lines on stdout.

    What is there under the name stays until the new output is whole. `on_whole` is given the SHA-256 of a file that is
    whole, before it gets its name. `escape_formulas` writes `'` before what a spreadsheet would run in a CSV.

    Raises:
        UsageError: the format is not known, the file can't be written, or another run is writing it.
    """
    if output == "-":
        return StdoutWriter()
    path = Path(output)
    if path.suffix.lower() not in WRITERS:
        raise UsageError(f"{output}: the format `{path.suffix}` is not known; {did_you_mean(path.suffix, WRITERS)}")
    writer = WRITERS[path.suffix.lower()](path, on_whole)
    if isinstance(writer, CsvWriter):
        writer.escapes_formulas = escape_formulas
    return writer
