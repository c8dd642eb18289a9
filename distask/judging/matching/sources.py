"""Read the columns of a dataset that a comparison needs: values, keys to match rows by, failures and generations."""

from __future__ import annotations

import json
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
from msgspec import Struct

from distask.data.compression import kind_of
from distask.data.input import open_input
from distask.data.readers import DEFAULT_OPTIONS, READERS, ReadOptions
from distask.data.row import untabled
from distask.diagnostics import did_you_mean
from distask.errors import InputError, UsageError
from distask.runner.generations import METADATA_COLUMN, MODEL_COLUMN
from distask.runner.record import record_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LABEL_COLUMN = "label"
"""Column in which `distask label` writes who labelled a row, and how the row was chosen."""
_TABLES = (".csv", ".tsv")
_PEEKED_ROWS = 100
"""Rows that show which columns a dataset has."""
_ENCODER = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str)


class Column(Struct, frozen=True):
    """A column of a dataset: of the result that is judged if `source` is None."""

    source: str | None
    name: str

    def __str__(self) -> str:
        """Return the column as the user wrote it."""
        return self.name if self.source is None else f"{self.source}:{self.name}"


def parse_column(text: str) -> Column:
    """Parse `COLUMN` or `FILE:COLUMN`; raises `UsageError` if a part is missing."""
    source, colon, name = text.rpartition(":")
    if not colon or not (Path(source).exists() or "://" in source or kind_of(Path(source)) in READERS):
        if not text:
            raise UsageError("the name of a column is empty; write a column, or FILE:COLUMN")
        if not colon and kind_of(Path(text)) in READERS and Path(text).exists():
            raise UsageError(f"{text} is a file; name one of its columns: {text}:COLUMN")
        return Column(None, text)
    if not name:
        raise UsageError(f"{text}: the name of the column is missing; write {source}:COLUMN")
    return Column(source, name)


class SourceRow(Struct, frozen=True):
    """What is kept of a row."""

    line: int
    key: bytes
    """A hash of the columns that match rows."""
    values: tuple[Any, ...]
    """The values of the columns that were asked for, in their order; None if the row lacks one."""
    failure: str | None
    """The kind of the row's failure; None if it succeeded, or if nothing is known."""
    group: int | None
    """How many generations the row holds in lists; None if it holds one generation."""
    index: int | None
    """The number of the input row, if rows have several generations."""


class Source:
    """A dataset, and the record of the run that made it if there is one.

    Args:
        name: a file or any other source of rows.
        options: how files are read.
        on_bad_row: whether a row that can't be read is an error, or is skipped.
    """

    def __init__(
        self, name: str, options: ReadOptions = DEFAULT_OPTIONS, on_bad_row: Literal["stop", "skip"] = "stop"
    ) -> None:
        self.name = name
        self.record = _record(Path(name))
        self._input = open_input(name, options, on_bad_row=on_bad_row)
        self._is_table = kind_of(Path(name)) in _TABLES
        columns = (self.record or {}).get("columns") or {}
        self._metadata: str = columns.get("metadata") or METADATA_COLUMN
        self.inputs: list[str] | None = columns.get("input")
        """Columns of the run's input; None if unknown."""
        self.columns: dict[str, None] = {}
        """Columns of the rows read so far."""
        self.has_sessions = False
        """Whether `distask label` wrote the rows: its column `label` holds objects."""
        for values, _ in islice(self._rows(), _PEEKED_ROWS):
            self.columns.update(dict.fromkeys(values))
            label = values.get(LABEL_COLUMN)
            self.has_sessions |= isinstance(untabled(label) if self._is_table else label, dict)

    @property
    def outputs(self) -> dict[str, Any]:
        """The columns that the run's task adds, as in its spec; empty if unknown."""
        spec = (self.record or {}).get("spec") or {}
        mapped = spec.get("output_mappings") or {}
        outputs = spec.get("outputs") or {}
        return {str(mapped.get(name, name)): declared for name, declared in outputs.items()}

    def candidates(self) -> list[str]:
        """Return the columns that can identify a row: its input if known, or else all that the run did not add."""
        if self.inputs is not None:
            return self.inputs
        added = {self._metadata, MODEL_COLUMN, LABEL_COLUMN, *self.outputs}
        return [name for name in self.columns if name not in added]

    def rows(self, wanted: Sequence[str], by: Sequence[str]) -> Iterator[SourceRow]:
        """Yield what is kept of each row.

        Args:
            wanted: the columns whose values are kept.
            by: the columns that match rows.

        Raises:
            InputError: a row can't be read, or there are none.
            UsageError: no row has one of the columns.
        """
        missing = dict.fromkeys([*wanted, *by])
        columns: dict[str, None] = dict.fromkeys(self.columns)
        line = 0
        for values, line in self._rows():
            if missing:
                missing = {name: None for name in missing if name not in values}
                columns.update(dict.fromkeys(values))
            metadata = values.get(self._metadata)
            if self._is_table and isinstance(metadata, str):
                metadata = untabled(metadata)
            group = len(metadata) if isinstance(metadata, list) else None
            of_row = metadata if isinstance(metadata, dict) else {}
            kept = (untabled(values.get(name)) if self._is_table else values.get(name) for name in wanted)
            index = of_row.get("row") if "sample" in of_row else None
            failure = _failure(metadata) if metadata else None
            yield SourceRow(line, _key(values, by) if by else b"", tuple(kept), failure, group, index)
        if not line:
            raise InputError(f"{self.name}: the input has no rows")
        if missing:
            name = next(iter(missing))
            hint = did_you_mean(name, [column for column in columns if column not in (self._metadata, MODEL_COLUMN)])
            raise UsageError(f"{self.name}: no row has the column `{name}`; {hint or 'the rows have no columns'}")

    def _rows(self) -> Iterator[tuple[dict[str, Any], int]]:
        for row in self._input:
            if row.error is not None:
                raise row.error
            yield row.values, row.line


def _failure(metadata: Any) -> str | None:
    """Return the kind of a row's failure, or of the first one of its generations; None if there is none."""
    for part in metadata if isinstance(metadata, list) else [metadata]:
        for name, error in part.items() if isinstance(part, dict) else ():
            if name.startswith("error_") and error:
                if not isinstance(error, dict):
                    return "unknown"
                if any(value is not None for value in error.values()):  # a table has nulls in every row
                    return str(error.get("kind") or "unknown")
    return None


def _key(values: Mapping[str, Any], by: Sequence[str]) -> bytes:
    """Return a hash of some columns; numbers and their texts, as in CSV files, are equal."""
    parts = []
    for name in by:
        value = values.get(name)
        if isinstance(value, str):
            text = value
        elif value is None:
            text = ""
        elif isinstance(value, float) and value.is_integer():
            text = str(int(value))
        else:
            text = _ENCODER.encode(value)
        parts.append(f"{len(text)}:{text}")
    return blake2b("".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _record(path: Path) -> dict[str, Any] | None:
    """Return the record of a run's output; None if there is none that can be read."""
    try:
        read = orjson.loads(record_path(path).read_bytes())
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None


def matching_columns(first: Source, second: Source, by: Sequence[str], not_by: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that match the rows of two datasets.

    Args:
        first: a dataset.
        second: another.
        by: the columns that the user names; empty for the input columns that both have.
        not_by: columns that hold judgements.

    Raises:
        UsageError: a named column is missing, or there is none in common.
    """
    for name in by:
        for source in (first, second):
            if source.columns and name not in source.columns:
                hint = did_you_mean(name, source.columns)
                raise UsageError(f"{source.name} has no column `{name}` to match rows by; {hint}")
    if by:
        return tuple(by)
    known = first.candidates(), second.candidates()
    outputs = {*first.outputs, *second.outputs, *not_by}
    found = tuple(name for name in known[0] if name in known[1] and name not in outputs)
    if not found:
        raise UsageError(
            f"{first.name} and {second.name} have no input column in common, so their rows can't be matched; "
            "name the columns that identify a row, such as --by id"
        )
    return found
