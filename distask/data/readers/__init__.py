"""Readers, one module for each format: a function from a path, and the name that messages use for it, to rows."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, cast

from msgspec import Struct

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


class ReadOptions(Struct, frozen=True):
    """Choices of the user about how files are read."""

    on_nan: Literal["stop", "null"] = "stop"
    """NaN and infinities in JSON: "stop" makes their row unreadable, "null" reads them as null."""
    delimiter: str | None = None
    """What separates the columns of CSV; None finds it."""


DEFAULT_OPTIONS = ReadOptions()


def reader_of(kind: str, options: ReadOptions = DEFAULT_OPTIONS, notify: Callable[[str], None] | None = None) -> Reader:
    """The reader of a known format; its module is imported here.

    `notify` is called with sentences that the user should know about how a file is read.
    """
    module, _, name = READERS[kind].partition(":")
    read = cast("Reader", getattr(import_module(f"{__name__}.{module}"), name))
    chosen: dict[str, dict[str, Any]] = {
        "jsonl": {"on_nan": options.on_nan},
        "json": {"on_nan": options.on_nan},
        "csv": {"delimiter": options.delimiter, "notify": notify},
    }
    return partial(read, **chosen[module]) if module in chosen else read
