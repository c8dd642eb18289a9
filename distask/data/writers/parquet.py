"""Write Parquet: columns from a typed source keep their Arrow types and values; the others get the type that fits."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from msgspec import Struct
from pyarrow import parquet

from distask.data.cells import taken
from distask.data.writers.cell_spool import CellSpool
from distask.data.writers.column_types import (
    MixedError,
    Seen,
    array_of,
    common_type,
    declared_type,
    has_decimals,
    json_text,
)
from distask.data.writers.media import FEATURES, feature_of, features_in, holds_files, media_type, with_bytes
from distask.data.writers.tables import TableWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from distask.data.row import Row
    from distask.data.writers.base import OnWhole
    from distask.data.writers.cell_spool import Chunk

FAULTS = (pa.ArrowException, OverflowError, TypeError, ValueError)
"""Exceptions that pyarrow raises for a value that does not fit."""
TEXT_NOTE = "these Parquet columns are JSON text because their values have no common type: "


class _Unfit(Exception):  # noqa: N818 - makes the caller choose another type for the column
    def __init__(self, column: str, cause: Exception) -> None:
        super().__init__(f"column `{column}`: {cause}")
        self.column = column
        self.cause = cause


class _Column(Struct, frozen=True):
    """A column of the table."""

    field: Any
    from_source: bool
    """Whether rows take it from their source."""
    is_text: bool
    """Whether its values are written as JSON text."""


class ParquetWriter(TableWriter):
    """Writes Parquet. A column whose values have no common type becomes JSON text, with a note."""

    schemas: Mapping[str, Any]
    """JSON Schemas of the columns that the task adds."""

    def __init__(self, path: Path, on_whole: OnWhole | None = None) -> None:
        super().__init__(path, on_whole)
        self.schemas = {}
        self._spool = CellSpool(self._file.path.parent / ".distask")
        self._media: dict[str, str] = {}
        """Columns whose values are files, with their `datasets` feature."""
        self._plain: set[str] = set()
        """Source columns that are written with JSON types, because other values were added to them."""
        self._texts: set[str] = set()

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Write a row."""
        columns = {} if row.cells is None else row.cells.columns(row.values, new)
        for name, value in row.values.items():
            if name not in self._media and (feature := feature_of(value, is_typed=name in columns)) is not None:
                self._media[name] = feature
        size = self._file.size
        super().write(row, new)
        try:
            self._spool.add(row.cells, columns, self._file.size - size)
        except OSError as error:
            raise self._file.explained(error) from None

    def abort(self) -> None:
        """Leave the rows as JSON Lines."""
        self._spool.close()
        super().abort()

    def _convert(self, made: Path) -> None:
        chunks = self._spool.chunks()
        while True:  # each turn drops the type of one column, until all fit
            columns = self._resolved(chunks)
            try:
                self._write_table(made, columns, chunks)
                break
            except _Unfit as unfit:
                self._give_up_type(columns[unfit.column], unfit)
        self._spool.close()
        self._note(columns)

    def _give_up_type(self, column: _Column, unfit: _Unfit) -> None:
        name = column.field.name
        if column.from_source:
            self._plain.add(name)
        elif not column.is_text:
            self._texts.add(name)
        else:
            raise unfit.cause

    def _note(self, columns: Mapping[str, _Column]) -> None:
        texts = [name for name, column in columns.items() if column.is_text]
        if texts:
            self.notes.append(TEXT_NOTE + ", ".join(texts))
        decimals = [n for n, c in columns.items() if not c.is_text and not c.from_source and has_decimals(c.field.type)]
        if decimals:
            self.notes.append(
                "these Parquet columns are decimals without a fraction because 64 bits can't hold their "
                f"integers: {', '.join(decimals)}"
            )
        if changed := sorted(self._plain):
            self.notes.append(
                "these Parquet columns do not have the input's types because not all of their values "
                f"fit them: {', '.join(changed)}"
            )

    # Which type each column has

    def _resolved(self, chunks: Sequence[Chunk]) -> dict[str, _Column]:
        fields: dict[str, list[Any]] = {}
        for schema, layout in self._spool.sources():
            for name, of in layout.items():
                if name not in self._plain and name not in self._texts:
                    fields.setdefault(name, []).append(self._spool.schemas[schema].field(of).with_name(name))
        seen, gaps = self._seen(chunks, fields)
        columns = {}
        for name in self._columns:
            if name in fields:
                columns[name] = self._typed_by_source(name, fields[name], seen[name], gap=name in gaps)
            else:
                columns[name] = self._typed_by_values(name, seen[name])
        if not self._plain.isdisjoint(fields):  # their values have not been scanned yet
            return self._resolved(chunks)
        return columns

    def _seen(self, chunks: Sequence[Chunk], fields: Mapping[str, Any]) -> tuple[dict[str, Seen | None], set[str]]:
        """Scan the values that come from no source (None if mixed), and return the columns that have such rows too."""
        seen: dict[str, Seen | None] = {name: Seen() for name in self._columns}
        gaps: set[str] = set()
        for chunk, rows in self._with_rows(chunks):
            for name, found in seen.items():
                places = chunk.without(name, self._spool.layouts) if name in fields else range(chunk.rows)
                if not places:
                    continue
                gaps.add(name)
                if found is not None:
                    try:
                        found.add(rows[place].get(name) for place in places)
                    except MixedError:
                        seen[name] = None
        return seen, gaps

    def _typed_by_source(self, name: str, fields: Sequence[Any], seen: Seen | None, *, gap: bool) -> _Column:
        kind = None
        try:
            if seen is not None:
                kind = common_type([*(field.type for field in fields), *([] if seen.nothing else [seen.type()])])
        except MixedError:
            pass
        if name in self._media and all(holds_files(field.type) for field in fields):
            kind = media_type()
        if kind is None or not is_writable(kind):
            self._plain.add(name)
            return _Column(fields[0], from_source=True, is_text=False)
        nullable = gap or any(field.nullable for field in fields)
        return _Column(fields[0].with_type(kind).with_nullable(nullable), from_source=True, is_text=False)

    def _typed_by_values(self, name: str, seen: Seen | None) -> _Column:
        kind = None
        if name in self._media:
            kind = media_type()
        elif seen is not None and name not in self._texts:
            try:
                kind = seen.type(declared_type(self.schemas.get(name)))
            except MixedError:
                kind = None
        field = pa.field(name, pa.string() if kind is None else kind)
        return _Column(field, from_source=False, is_text=kind is None)

    # The table

    def _write_table(self, made: Path, columns: Mapping[str, _Column], chunks: Sequence[Chunk]) -> None:
        schema = pa.schema([column.field for column in columns.values()], self._metadata(columns))
        with parquet.ParquetWriter(made, schema) as writer:
            for chunk, rows in self._with_rows(chunks):
                pieces = self._spool.pieces(chunk)
                arrays = [self._array(column, chunk, rows, pieces) for column in columns.values()]
                table = pa.table(arrays, schema=schema)
                try:
                    writer.write_table(table)
                except FAULTS as error:
                    raise _culprit(table, error) from None

    def _array(
        self, column: _Column, chunk: Chunk, rows: Sequence[Mapping[str, Any]], tables: Mapping[int, Any]
    ) -> Any:
        name, kind = column.field.name, column.field.type
        try:
            if not column.from_source:
                return array_of([self._value(column, row.get(name)) for row in rows], kind)
            pieces, order = list[Any](), list[int]()
            for group in chunk.groups:
                of = self._spool.layouts[group.layout].get(name)
                if of is None:
                    continue
                piece = tables[group.schema].column(of)
                if len(group.rows) < piece.length():
                    piece = taken(piece, chunk.places(group))
                pieces.append(cast_column(piece, kind))
                order += group.rows
            if without := chunk.without(name, self._spool.layouts):
                pieces.append(pa.chunked_array([array_of([rows[place].get(name) for place in without], kind)]))
                order += without
            if len(pieces) == 1:
                return pieces[0]
            joined = pa.chunked_array([array for piece in pieces for array in piece.chunks], kind)
            return taken(joined, sorted(range(len(order)), key=order.__getitem__))
        except FAULTS as error:
            raise _Unfit(name, error) from None

    def _value(self, column: _Column, value: Any) -> Any:
        if column.is_text:
            return json_text(value)
        return with_bytes(value) if column.field.name in self._media else value

    def _metadata(self, columns: Mapping[str, _Column]) -> dict[bytes, bytes]:
        """Return the first source's metadata, such as that of pandas, and the `datasets` features of each column."""
        made: dict[bytes, bytes] = {}
        features: dict[str, Any] = {}
        for schema, layout in self._spool.sources():
            known = self._spool.schemas[schema].metadata or {}
            made = made or {key: value for key, value in known.items() if key != FEATURES}
            of_source = features_in(known)
            for name, of in layout.items():
                column = columns[name]
                is_same = column.from_source and column.field.type.equals(self._spool.schemas[schema].field(of).type)
                if is_same and of in of_source:
                    features.setdefault(name, of_source[of])
        for name, feature in self._media.items():
            if columns[name].field.type.equals(media_type()):
                features.setdefault(name, {"_type": feature})
        if features:
            made[FEATURES] = json.dumps({"info": {"features": features}}).encode()
        return made

    def _with_rows(self, chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, list[dict[str, Any]]]]:
        rows = self._rows()
        for chunk in chunks:
            yield chunk, list(islice(rows, chunk.rows))


def cast_column(piece: Any, kind: Any) -> Any:
    """Return a column with another type; raises `ArrowException` and others if a value does not fit."""
    if piece.type.equals(kind):
        return piece
    try:
        return piece.cast(kind)
    except pa.ArrowException:
        return pa.chunked_array([pa.array(piece.to_pylist(), kind)])


def is_writable(kind: Any) -> bool:
    """Return whether Parquet supports the type."""
    try:
        parquet.write_table(pa.table({"c": pa.array([], kind)}), pa.BufferOutputStream())
    except FAULTS:
        return False
    return True


def _culprit(table: Any, error: Exception) -> Exception:
    """Return the column that can't be written, as `_Unfit`, or the error itself if each can be written alone."""
    for name in table.schema.names:
        try:
            parquet.write_table(table.select([name]), pa.BufferOutputStream())
        except FAULTS as fault:
            return _Unfit(name, fault)
    return error
