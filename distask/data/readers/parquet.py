"""Read Parquet, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.data.readers.arrow import duplicate_name, rows_of
from distask.data.readers.lines import fault
from distask.data.row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH = 256
BATCH_BYTES = 4 << 20
"""Uncompressed bytes of a batch, estimated from the footer; a single row may be larger."""


def read_parquet(path: Path, file: str, start: int = 0, stop: int | None = None) -> Iterator[Row]:
    """Yield the rows of a file, or those from number `start` up to `stop`; a row's `line` is its number, from 1."""
    import pyarrow as pa
    from pyarrow import parquet

    number = 0
    try:
        with path.open("rb") as opened, parquet.ParquetFile(opened) as source:
            schema = source.schema_arrow
            if (name := duplicate_name(schema)) is not None:
                yield Row({}, file, 1, error=fault(file, 1, f"the column `{name}` appears twice"))
                return
            groups, number = _groups(source, start, stop)
            batches = source.iter_batches(batch_size=_batch_rows(source), row_groups=groups)
            for row in rows_of(batches, schema, file, number):
                number = row.line
                if stop is not None and number > stop:
                    return
                if number > start:
                    yield row
    except (pa.ArrowException, OSError) as error:
        yield Row({}, file, number + 1, error=fault(file, number + 1, f"this is not Parquet: {error}"))


def row_count(path: Path) -> int:
    """Return the number of rows in the file's footer; 0 if it is not Parquet, which reading reports."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with path.open("rb") as opened, parquet.ParquetFile(opened) as source:
            return int(source.metadata.num_rows)
    except (pa.ArrowException, OSError):
        return 0


def _batch_rows(source: Any) -> int:
    metadata = source.metadata
    size: int = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    rows: int = metadata.num_rows
    return max(1, min(BATCH, BATCH_BYTES * rows // max(1, size)))


def _groups(source: Any, start: int, stop: int | None) -> tuple[list[int], int]:
    """Return the row groups that hold rows from `start` up to `stop`, and how many rows precede the first group."""
    groups: list[int] = []
    first = begin = 0
    for group in range(source.num_row_groups):
        end = begin + source.metadata.row_group(group).num_rows
        if end > start and (stop is None or begin < stop):
            first = first if groups else begin
            groups.append(group)
        begin = end
    return groups, first
