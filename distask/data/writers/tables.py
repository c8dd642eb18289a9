"""CSV and Parquet: rows are spooled as JSON Lines, and made a table once all columns are known."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from distask.data.writers.base import PartialFile
from distask.data.writers.jsonl import spliced
from distask.data.writers.media import feature_of, with_bytes, with_features

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from distask.data.row import Row
    from distask.data.writers.base import OnWhole

BATCH = 1_000


class _Spooled(ABC):
    """What both have in common: `OUT.partial` is JSON Lines until the end."""

    def __init__(self, path: Path, on_whole: OnWhole | None = None) -> None:
        self._file = PartialFile(path, on_whole)
        self.partial: Path | None = self._file.partial
        self.sha256: str | None = None
        self.notes: list[str] = []
        self._columns: dict[str, None] = {}
        self._media: dict[str, str] = {}
        """Columns whose values are files, as `datasets` has images and sounds, to the feature that they are."""

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Write a row."""
        for name, value in row.values.items():
            if name not in self._media and (feature := feature_of(value)) is not None:
                self._media[name] = feature
        self._columns.update(dict.fromkeys(row.values))
        self._columns.update(dict.fromkeys(new))
        self._file.write(spliced(row, new))

    def commit(self) -> None:
        """Make the table, and rename it."""
        self._file.flush()
        made = self._file.path.with_name(self._file.path.name + ".table")
        try:
            self._convert(made)
        except OSError as error:
            raise self._file.explained(error) from None
        self.sha256 = self._file.commit(made)

    def abort(self) -> None:
        """Leave the rows as JSON Lines."""
        self._file.abort()

    @abstractmethod
    def _convert(self, made: Path) -> None:
        """Make the table of the spooled rows."""

    def _ordered(self) -> list[str]:
        """The columns, those of the task last."""
        return list(self._columns)

    def _rows(self) -> Iterator[dict[str, Any]]:
        with self._file.partial.open("rb") as lines:
            for line in lines:
                row: dict[str, Any] = json.loads(line)
                for name in self._media:
                    row[name] = with_bytes(row.get(name))
                yield row


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet takes for a formula."""


class CsvWriter(_Spooled):
    """CSV; lists and mappings as JSON text.

    A text that a spreadsheet would run as a formula is counted, and begins with a `'` where that is asked for.
    """

    escapes_formulas = False
    _formulas = 0

    def _convert(self, made: Path) -> None:
        with made.open("wb") as raw, io.TextIOWrapper(raw, "utf-8", newline="") as text:
            writer = csv.writer(text)
            columns = self._ordered()
            writer.writerow([self._safe(name) for name in columns])
            for row in self._rows():
                writer.writerow([self._safe(_cell(row.get(c))) for c in columns])
        if self._formulas and not self.escapes_formulas:
            cells = "1 cell begins" if self._formulas == 1 else f"{self._formulas:,} cells begin"
            self.notes.append(
                f"{cells} as a formula does (= + - @), which a spreadsheet runs; --escape-formulas writes ' before it"
            )

    def _safe(self, cell: Any) -> Any:
        if not isinstance(cell, str) or not cell.startswith(FORMULA):
            return cell
        self._formulas += 1
        return f"'{cell}" if self.escapes_formulas else cell


class ParquetWriter(_Spooled):
    """Parquet; a column whose values have no common type becomes JSON text, and that is said."""

    def _convert(self, made: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        schema, texts = self._schema()
        if texts:
            self.notes.append(
                f"in the Parquet file these columns are JSON text, their types differ: {', '.join(texts)}"
            )
        if self._media:
            schema = with_features(schema, self._media)
        with parquet.ParquetWriter(made, schema) as writer:
            for batch in self._batches():
                columns = [
                    pa.array([_text(v) for v in values] if name in texts else values, schema.field(name).type)
                    for name, values in batch.items()
                ]
                writer.write_batch(pa.record_batch(columns, schema=schema))

    def _batches(self) -> Iterator[dict[str, list[Any]]]:
        columns, batch = self._ordered(), list[dict[str, Any]]()
        for row in self._rows():
            batch.append(row)
            if len(batch) == BATCH:
                yield {c: [r.get(c) for r in batch] for c in columns}
                batch = []
        if batch:
            yield {c: [r.get(c) for r in batch] for c in columns}

    def _schema(self) -> tuple[Any, set[str]]:
        """The columns' types over all rows, and those that have none in common."""
        import pyarrow as pa

        types: dict[str, Any] = dict.fromkeys(self._ordered(), pa.null())
        texts: set[str] = set()
        for batch in self._batches():
            for name, values in batch.items():
                if name in texts:
                    continue
                try:
                    found = pa.infer_type(values)
                    both = [pa.schema([("c", t)]) for t in (types[name], found)]
                    types[name] = pa.unify_schemas(both, promote_options="permissive").field("c").type
                except (pa.ArrowException, OverflowError):
                    texts.add(name)
                    types[name] = pa.string()
        empty = {n for n, t in types.items() if _has_empty_struct(t)}
        return pa.schema([(n, pa.string() if n in empty else t) for n, t in types.items()]), texts | empty


def _has_empty_struct(kind: Any) -> bool:
    """Whether Parquet can't hold the type: a mapping without keys."""
    from pyarrow import types

    if types.is_struct(kind):
        return kind.num_fields == 0 or any(_has_empty_struct(kind.field(i).type) for i in range(kind.num_fields))
    return bool(types.is_list(kind)) and _has_empty_struct(kind.value_type)


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list | bool):
        return json.dumps(value, ensure_ascii=False)
    return value


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
