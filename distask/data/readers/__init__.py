"""Rows in, one file a format: a function from a path, and the name that messages call it by, to rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distask.data.readers.csv import read_csv
from distask.data.readers.json import read_json
from distask.data.readers.jsonl import read_jsonl
from distask.data.readers.parquet import read_parquet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distask.data.row import Row

READERS: dict[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".parquet": read_parquet,
}
"""What a name ends with to the reader (`.gz` and `.zst` may follow)."""
