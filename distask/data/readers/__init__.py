"""Rows in, one file a format: a function from a path, and the name that messages call it by, to rows."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from distask.data.row import Row

    Reader = Callable[[Path, str], Iterator[Row]]

READERS = {
    ".jsonl": "jsonl:read_jsonl",
    ".ndjson": "jsonl:read_jsonl",
    ".json": "json:read_json",
    ".csv": "csv:read_csv",
    ".tsv": "csv:read_csv",
    ".parquet": "parquet:read_parquet",
}
"""What a name ends with (`.gz` and `.zst` may follow) to the reader: its module here, and its name."""


def reader_of(kind: str) -> Reader:
    """The reader of a format that is known; it is imported when it is needed."""
    module, _, name = READERS[kind].partition(":")
    return cast("Reader", getattr(import_module(f"{__name__}.{module}"), name))
