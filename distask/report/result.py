"""Read what a run wrote: its rows, the metadata of each reply, and the run's record."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from distask.data.compression import kind_of
from distask.data.input import Input, open_input
from distask.data.readers.jsonl import read_jsonl
from distask.data.row import untabled
from distask.data.writers.base import json_bytes
from distask.errors import InputError
from distask.llm.request import Usage
from distask.runner.generations import METADATA_COLUMN, MODEL_COLUMN
from distask.runner.record import record_path

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Mapping

    from distask.data.row import Row

PARTIAL = ".partial"
"""Suffix of an incomplete output: JSON Lines, whatever the final format."""
TABLES = (".csv", ".tsv")


class Reply(Struct, frozen=True):
    """The metadata of one generation."""

    kind: str | None
    """The kind of its failure; None if it succeeded."""
    message: str | None
    raw: str | None
    """Its text, if it failed."""
    usage: Usage
    finish_reason: str
    row: int | None
    """The number of its input row, if rows have several replies."""
    sample: int | None


class ResultRow(Struct, frozen=True):
    """A row of the output, as in the file."""

    values: dict[str, Any]
    """Its columns without the metadata; CSV texts that are JSON are parsed."""
    replies: list[Reply]
    group: int | None
    """How many generations the row holds, in lists; None if it is a row for one generation."""
    line: bytes
    """The complete row as JSON."""
    failed: bool = False
    """Whether one of its replies failed."""

    @property
    def grouped(self) -> bool:
        """Whether the row holds lists with an item for each generation."""
        return self.group is not None

    @property
    def size(self) -> int:
        """Bytes of the row."""
        return len(self.line)


class Result:
    """An output and its record.

    Args:
        source: what `distask run` wrote: a file, or any other source of rows.

    Raises:
        InputError: the source does not exist, or has no rows.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.name = Path(source).name
        path = Path(source)
        self.partial = path.suffix == PARTIAL
        self.skipped = 0
        """Lines of an incomplete output that can't be read: its last one may be truncated."""
        self.record: dict[str, Any] | None = _record(path)
        self.lines: array[int] | None = None
        """If set to an array, the line of each row is added to it."""
        self._rows = self._partial_input(path) if self.partial else open_input(source)
        self._is_table = kind_of(path) in TABLES
        columns = (self.record or {}).get("columns") or {}
        self.metadata_column: str = columns.get("metadata") or METADATA_COLUMN
        self.inputs: list[str] | None = columns.get("input")
        """The columns of the input; None if unknown."""
        self.task: str | None = ((self.record or {}).get("identity") or {}).get("task")
        self._statistics, self._error = f"statistics_{self.task}", f"error_{self.task}"
        self._finish_reason = f"finish_reason_{self.task}"

    def _partial_input(self, path: Path) -> Input:
        if not path.is_file():
            raise InputError(f"{path}: file not found")
        return Input(str(path), lambda: read_jsonl(path, str(path)))

    @property
    def outputs(self) -> list[str]:
        """The columns that the task adds; empty if unknown."""
        spec = (self.record or {}).get("spec") or {}
        mapped = spec.get("output_mappings") or {}
        return [str(mapped.get(name, name)) for name in spec.get("outputs") or ()]

    def role(self, name: str) -> str:
        """Return whether a column comes from the input (`input`) or from the run (`output`)."""
        if self.inputs is not None:
            return "input" if name in self.inputs else "output"
        return "output" if not self.outputs or name in self.outputs else "input"

    def count(self) -> int:
        """Return the number of rows, from the record or by counting."""
        count = ((self.record or {}).get("counts") or {}).get("rows_out")
        return count if isinstance(count, int) else sum(1 for _ in self._rows)

    def __iter__(self) -> Iterator[ResultRow]:
        self.skipped = 0
        for row in self._rows:
            if row.error is not None:
                if not self.partial:
                    raise row.error
                self.skipped += 1
                continue
            if self.lines is not None:
                self.lines.append(row.line)
            yield self._read(row)

    def _read(self, row: Row) -> ResultRow:
        values = row.values
        line = row.raw
        if self._is_table:
            values = {name: untabled(value) for name, value in values.items()}
        if line is None:
            line = json_bytes(values)
        metadata = values.pop(self.metadata_column, None)
        values.pop(MODEL_COLUMN, None)
        if isinstance(metadata, str):  # from a table whose rows have no common type
            metadata = untabled(metadata)
        replies: list[Reply] = []
        group = None
        if isinstance(metadata, dict):
            good = self._good_reply(metadata)
            if good is not None:
                return ResultRow(values, [good], None, line)
            replies = self._replies(metadata, None)
        elif isinstance(metadata, list):
            of_each = (self._replies(part, sample) for sample, part in enumerate(metadata) if isinstance(part, dict))
            replies, group = list(chain.from_iterable(of_each)), len(metadata)
        return ResultRow(values, replies, group, line, any(reply.kind is not None for reply in replies))

    def _good_reply(self, metadata: Mapping[str, Any]) -> Reply | None:
        """Return the only reply of a row, if it succeeded: the same as `_replies`, several times faster."""
        statistics = metadata.get(self._statistics)
        if type(statistics) is not dict or self._error in metadata:
            return None
        ended = metadata.get("finish_reason", metadata.get(self._finish_reason))
        if type(ended) is list:
            return None
        row, sample = _whole(metadata.get("row")), _whole(metadata.get("sample"))
        return Reply(None, None, None, _usage(statistics), str(ended or "stop"), row, sample)

    def _replies(self, metadata: Mapping[str, Any], sample: int | None) -> list[Reply]:
        """Return the replies to a row: one for a task, one for each call of each step for a task with steps."""
        row = _whole(metadata.get("row"))
        if sample is None:
            sample = _whole(metadata.get("sample"))
        replies = []
        for name in self._tasks(metadata):
            spent = _flat(metadata.get(f"statistics_{name}")) or [{}]
            failed = [error for error in _flat(metadata.get(f"error_{name}")) if isinstance(error, dict)]
            raw = _flat(metadata.get(f"raw_output_{name}"))
            ended = _flat(metadata.get("finish_reason", metadata.get(f"finish_reason_{name}")))
            good = max(0, len(spent) - len(failed))
            for place, statistics in enumerate(spent):
                error = failed[place - good] if place >= good else None
                known = statistics if isinstance(statistics, dict) else {}
                text = raw[place] if error is not None and place < len(raw) else None
                replies.append(
                    Reply(
                        kind=None if error is None else str(error.get("kind")),
                        message=None if error is None else str(error.get("message")),
                        raw=text if isinstance(text, str) else None,
                        usage=_usage(known),
                        finish_reason=str((ended[place] if place < len(ended) else None) or "stop"),
                        row=row,
                        sample=sample,
                    )
                )
        return replies

    def _tasks(self, metadata: Mapping[str, Any]) -> list[str]:
        """Return the tasks in the metadata: the task itself, or all steps of a task with steps."""
        if self._statistics in metadata:
            return [str(self.task)]
        found = (name.partition("_")[2] for name in metadata if name.startswith(("statistics_", "error_")))
        return list(dict.fromkeys(found))


def _record(path: Path) -> dict[str, Any] | None:
    """Return the record of an output; None if there is none that can be read."""
    try:
        read = orjson.loads(record_path(path).read_bytes())
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) and isinstance(read.get("counts"), dict) else None


def _flat(value: Any) -> list[Any]:
    """Return the items of a list, including nested lists; None gives no items, any other value is the only item."""
    if value is None:
        return []
    if not isinstance(value, list):
        return [value]
    return [leaf for item in value for leaf in _flat(item)]


def _usage(statistics: Mapping[str, Any]) -> Usage:
    if len(statistics) == 2:
        chat, answer = statistics.get("input_tokens"), statistics.get("output_tokens")
        if type(chat) is int and type(answer) is int:
            return Usage(chat, answer)
    cost = statistics.get("cost_usd")
    return Usage(
        _whole(statistics.get("input_tokens")),
        _whole(statistics.get("output_tokens")),
        _whole(statistics.get("cached_tokens")) or 0,
        _whole(statistics.get("cache_write_tokens")) or 0,
        _whole(statistics.get("reasoning_tokens")) or 0,
        cost if isinstance(cost, int | float) else None,
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None
