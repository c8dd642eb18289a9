"""Parquet, a batch at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.data.faults import fault
from distask.data.row import Row, plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BATCH = 256


def read_parquet(path: Path, file: str) -> Iterator[Row]:
    """The rows of a file; its `line` is the row's number, from 1."""
    import pyarrow as pa
    from pyarrow import parquet

    number = 0
    try:
        with path.open("rb") as opened, parquet.ParquetFile(opened) as source:
            for batch in source.iter_batches(batch_size=BATCH):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(plain_row(values), file, number)
    except (pa.ArrowException, OSError) as error:
        yield Row({}, file, number + 1, error=fault(file, number + 1, f"this is not Parquet: {error}"))


def plain_row(values: dict[str, Any]) -> dict[str, Any]:
    """Dates and decimals as text, the rest as it is."""
    return {name: plain(value) for name, value in values.items()}
