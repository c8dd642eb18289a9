"""Make rows from Arrow record batches, as Parquet files and `datasets` provide them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.data.cells import Cells
from distask.data.row import Row, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


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
