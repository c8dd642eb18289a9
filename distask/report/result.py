"""Read what a run wrote: its rows, what the metadata says of each reply, and the record beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from distask.data.compression import kind_of
from distask.data.input import Input, open_input
from distask.data.readers.jsonl import read_jsonl
from distask.data.writers.base import json_bytes
from distask.errors import InputError
from distask.runner.generations import METADATA_COLUMN, MODEL_COLUMN
from distask.runner.record import record_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distask.data.row import Row

PARTIAL = ".partial"
"""What the file of a run is called that is not at its end: JSON Lines, whatever the output will be."""
TABLES = (".csv", ".tsv")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the metadata says of one generation."""

    kind: str | None
    """Of its failure; None where it is good."""
    message: str | None
    raw: str | None
    input_tokens: int | None
    output_tokens: int | None
    finish_reason: str
    row: int | None
    """The input row that it is of, where there are several replies for each."""
    sample: int | None


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A row of the output, as the file has it."""

    values: dict[str, Any]
    """Its columns, but for the metadata; texts of CSV that are JSON are read."""
    replies: list[Reply]
    grouped: bool
    """Whether the row holds lists, an item for each reply."""
    line: bytes
    """The whole row as JSON."""


class Result:
    """An output and its record.

    Args:
        source: what `distask run` wrote: a file, or any other source of rows.

    Raises:
        InputError: there is no such thing, or it holds no rows.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.name = Path(source).name
        path = Path(source)
        self.partial = path.suffix == PARTIAL
        self.skipped = 0
        """Lines of an unfinished output that can't be read: its last one may be cut."""
        self.record: dict[str, Any] | None = _record(path)
        self._rows = self._partial_input(path) if self.partial else open_input(source)
        self._is_table = kind_of(path) in TABLES
        columns = (self.record or {}).get("columns") or {}
        self.metadata_column: str = columns.get("metadata") or METADATA_COLUMN
        self.inputs: list[str] | None = columns.get("input")
        """The columns that the rows had before; None where nobody knows."""
        self.task: str | None = ((self.record or {}).get("identity") or {}).get("task")
        self.has_metadata = False

    def _partial_input(self, path: Path) -> Input:
        if not path.is_file():
            raise InputError(f"{path}: there is no such file")
        return Input(str(path), lambda: read_jsonl(path, str(path)))

    @property
    def size(self) -> int | None:
        """Rows, where the record says how many."""
        counts = (self.record or {}).get("counts") or {}
        return counts.get("rows_out")

    @property
    def outputs(self) -> list[str]:
        """The columns that the task says it adds; none where nobody knows."""
        spec = (self.record or {}).get("spec") or {}
        mapped = spec.get("output_mappings") or {}
        return [str(mapped.get(name, name)) for name in spec.get("outputs") or ()]

    def role(self, name: str) -> str:
        """Whether a column was there before the run (`input`), or was made by it (`output`)."""
        if self.inputs is not None:
            return "input" if name in self.inputs else "output"
        return "output" if not self.outputs or name in self.outputs else "input"

    def count(self) -> int:
        """Rows: as the record says, or counted."""
        return self.size if self.size is not None else sum(1 for _ in self._rows)

    def __iter__(self) -> Iterator[ResultRow]:
        self.skipped = 0
        for row in self._rows:
            if row.error is not None:
                if not self.partial:
                    raise row.error
                self.skipped += 1
                continue
            yield self._read(row)

    def _read(self, row: Row) -> ResultRow:
        values = row.values
        line = row.raw
        if self._is_table:
            values = {name: untabled(value) for name, value in values.items()}
        if line is None:
            line = json_bytes(values)
        metadata = values.get(self.metadata_column)
        if isinstance(metadata, str):  # a table's, whose rows have no type in common
            metadata = untabled(metadata)
        grouped = isinstance(metadata, list)
        parts = metadata if isinstance(metadata, list) else [metadata]
        replies = [self._reply(part) for part in parts if isinstance(part, dict)]
        self.has_metadata = self.has_metadata or bool(replies)
        kept = {name: value for name, value in values.items() if name not in (self.metadata_column, MODEL_COLUMN)}
        return ResultRow(kept, replies, grouped, line)

    def _reply(self, metadata: Mapping[str, Any]) -> Reply:
        error = self._of(metadata, "error_")
        statistics = [s for s in self._all_of(metadata, "statistics_") if isinstance(s, dict)]
        raw = self._of(metadata, "raw_output_")
        row, sample = metadata.get("row"), metadata.get("sample")
        has_error = isinstance(error, dict)
        return Reply(
            kind=str(error.get("kind")) if has_error else None,
            message=str(error.get("message")) if has_error else None,
            raw=raw if isinstance(raw, str) else None,
            input_tokens=_sum(s.get("input_tokens") for s in statistics),
            output_tokens=_sum(s.get("output_tokens") for s in statistics),
            finish_reason=str(metadata.get("finish_reason") or "stop"),
            row=row if isinstance(row, int) else None,
            sample=sample if isinstance(sample, int) else None,
        )

    def _of(self, metadata: Mapping[str, Any], prefix: str) -> Any:
        return next((value for value in self._all_of(metadata, prefix) if value is not None), None)

    def _all_of(self, metadata: Mapping[str, Any], prefix: str) -> list[Any]:
        """The task's own part; where that is not there, all that earlier steps left."""
        if self.task is not None and f"statistics_{self.task}" in metadata:
            return [metadata.get(f"{prefix}{self.task}")]
        return [value for name, value in metadata.items() if name.startswith(prefix)]


def untabled(value: Any) -> Any:
    """What a cell of a CSV file stands for: nothing, a number, true or false, a list, a mapping, else its text."""
    if not isinstance(value, str):
        return value
    if value == "":
        return None
    if value[0] in "[{" or value in ("true", "false", "null") or _NUMBER.fullmatch(value):
        try:
            return orjson.loads(value)
        except ValueError:
            return value
    return value


def _record(path: Path) -> dict[str, Any] | None:
    """The record beside an output; None where there is none that can be read."""
    try:
        read = orjson.loads(record_path(path).read_bytes())
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) and isinstance(read.get("counts"), dict) else None


def _sum(parts: Any) -> int | None:
    numbers = [part for part in parts if isinstance(part, int)]
    return sum(numbers) if numbers else None
