"""Read Parquet, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.data.cells import Cells
from distask.data.readers.lines import fault
from distask.data.row import Row, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
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


def rows_of(batches: Iterable[Any], schema: Any, file: str, before: int = 0) -> Iterator[Row]:
    """Yield the rows of record batches; `line` is a row's number in the source, and `before` rows precede the first."""
    number = before
    for batch in batches:
        for place, values in enumerate(plain_rows(batch)):
            number += 1
            yield Row(values, file, number, cells=Cells(schema, batch, place))


def duplicate_name(schema: Any) -> str | None:
    """Return a column name that a schema has twice; None if there is none."""
    names: list[str] = schema.names
    return next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None


def plain_rows(batch: Any) -> list[dict[str, Any]]:
    """Return the rows of a record batch with JSON types: dates and decimals as text, bytes unchanged."""
    try:
        return [{name: plain(value) for name, value in values.items()} for values in batch.to_pylist()]
    except (OverflowError, ValueError, NotImplementedError):  # such as dates outside Python's calendar
        columns = [[_plain(scalar) for scalar in column] for column in batch.columns]
        return [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _plain(scalar: Any) -> Any:
    """Convert one value; types that Python lacks become Arrow's text."""
    import pyarrow as pa

    if not scalar.is_valid:
        return None
    try:
        return plain(scalar.as_py())
    except (OverflowError, ValueError, NotImplementedError):
        pass
    if isinstance(scalar, pa.ExtensionScalar | pa.DictionaryScalar):
        return _plain(scalar.value)
    if isinstance(scalar, pa.StructScalar):
        return {name: _plain(scalar[index]) for index, name in enumerate(scalar.type.names)}
    if isinstance(scalar, pa.ListScalar):  # also maps, whose items are pairs
        return [_plain(item) for item in scalar.values]
    try:
        return str(scalar.cast(pa.string()).as_py()).replace(" ", "T")
    except pa.ArrowException:
        return str(scalar.value)
