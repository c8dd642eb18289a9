"""Readers, one module for each format: functions that take a path and its name in messages, and yield rows."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, cast

from msgspec import Struct

from distask.data.compression import kind_of
from distask.data.documents import ARCHIVES, KINDS

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
    **dict.fromkeys(KINDS, "distask.data.documents:read_document"),
    **dict.fromkeys(ARCHIVES, "distask.data.documents.archives:read_archive"),
}
"""File name ending (`.gz` and `.zst` may follow) to its reader: module (in this package, or in full) and function."""


def is_lines(path: Path) -> bool:
    """Return whether a file's name implies JSON Lines."""
    return READERS.get(kind_of(path)) == READERS[".jsonl"]


class ReadOptions(Struct, frozen=True):
    """The user's choices for reading files."""

    on_nan: Literal["stop", "null"] = "stop"
    """NaN and infinities in JSON: "stop" makes their row unreadable, "null" reads them as null."""
    delimiter: str | None = None
    """Column separator of CSV files; None to detect it."""
    pages: bool = False
    """Whether each page of a document is a row."""


DEFAULT_OPTIONS = ReadOptions()


def reader_of(kind: str, options: ReadOptions = DEFAULT_OPTIONS, notify: Callable[[str], None] | None = None) -> Reader:
    """Return the reader of a known format; imports its module.

    `notify` is called with sentences for the user about how a file is read.
    """
    module, _, name = READERS[kind].partition(":")
    read = cast("Reader", getattr(import_module(module if "." in module else f"{__name__}.{module}"), name))
    chosen: dict[str, dict[str, Any]] = {
        "jsonl": {"on_nan": options.on_nan},
        "json": {"on_nan": options.on_nan},
        "csv": {"delimiter": options.delimiter, "notify": notify},
        "distask.data.documents": {"pages": options.pages},
        "distask.data.documents.archives": {"pages": options.pages, "notify": notify},
    }
    return partial(read, **chosen[module]) if module in chosen else read
