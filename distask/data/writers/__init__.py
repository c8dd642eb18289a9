"""Writers, one class for each format."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from distask.data.writers.base import Writer
from distask.diagnostics import did_you_mean
from distask.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distask.data.writers.base import OnWhole

WRITERS = {
    ".jsonl": "jsonl:JsonlWriter",
    ".ndjson": "jsonl:JsonlWriter",
    ".csv": "tables:CsvWriter",
    ".parquet": "parquet:ParquetWriter",
}
"""File name ending to its writer: module and class."""

__all__ = ["Writer", "open_output"]


def open_output(
    output: str,
    on_whole: OnWhole | None = None,
    *,
    escape_formulas: bool = False,
    schemas: Mapping[str, Any] | None = None,
) -> Writer:
    """Open an output: a file, with the format from its ending, or `-` for JSON Lines on stdout.

    An existing file stays until the new output is complete. `on_whole` gets the checksum of the complete file before it
    is renamed to its final name. `escape_formulas` writes `'` before CSV cells that a spreadsheet would run. `schemas`
    are the JSON Schemas of columns, which set the types of Parquet columns.

    Raises:
        UsageError: the format is unknown, the file can't be written, or another run is writing it.
    """
    if output == "-":
        from distask.data.writers.jsonl import StdoutWriter

        return StdoutWriter()
    path = Path(output)
    kind = path.suffix.lower()
    if kind not in WRITERS:
        raise UsageError(f"{output}: unknown format `{path.suffix}`; {did_you_mean(path.suffix, WRITERS)}")
    module, _, name = WRITERS[kind].partition(":")
    writer: Any = getattr(import_module(f"{__name__}.{module}"), name)(path, on_whole)
    if kind == ".csv":
        writer.escapes_formulas = escape_formulas
    if kind == ".parquet":
        writer.schemas = schemas or {}
    return cast("Writer", writer)
