"""Write a folder of Parquet parts: each part appears when it is complete, so the folder can be read during the run.

Only the rows of the last two parts are on disk as JSON Lines, so a large table needs no second copy. All parts have the
same columns and types: when a later part needs a wider type, the earlier parts are rewritten first. Numbers widen, and
a column whose values have no common type becomes JSON text, as in a single file.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from distask.data.checksums import checksum_of, joined_checksum
from distask.data.row import plain
from distask.data.writers.base import output_lock, sync_folder, unwritable
from distask.data.writers.column_types import common_type, json_text
from distask.data.writers.media import FEATURES, features_in
from distask.data.writers.parquet import FAULTS, TEXT_NOTE, ParquetWriter, cast_column, is_writable
from distask.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from distask.data.row import Row

PART_ROWS = 100_000
PART_BYTES = 256 << 20
"""Rows, and bytes of them as JSON Lines, after which a part ends."""
WIDER = {pa.int64(): pa.uint64(), pa.uint64(): pa.decimal128(38, 0)}
"""What holds integers that a type does not hold; see `column_types`."""
PRIVATE = ".distask"
"""Where parts are written before they are complete; readers of a folder skip hidden names."""


class PartsWriter:
    """Writes `OUT/part-00000.parquet` and so on.

    Parts of an interrupted run stay until they are written again. If one differs, the parts after it are removed before
    it is replaced, so that readers never see a row twice.

    Args:
        folder: the output. It is created; its parent must exist.
        schemas: JSON Schemas of the columns that the task adds.

    Raises:
        UsageError: the folder contains other files, can't be written, or another run is writing it.
    """

    def __init__(self, folder: Path, schemas: Mapping[str, Any] | None = None) -> None:
        self.checksum: str | None = None
        self.notes: list[str] = []
        self._noted: dict[str, dict[str, None]] = {}
        """What parts note, with the columns."""
        self._folder, self._schemas = folder, schemas or {}
        self._lock = output_lock(folder)
        self._private = folder / PRIVATE
        try:
            _check(folder)
            shutil.rmtree(self._private, ignore_errors=True)
            self._private.mkdir(parents=True, mode=0o755)
        except OSError as error:
            self._lock.release()
            raise UsageError(f"{folder}: can't be written: {error.strerror}") from None
        except UsageError:
            self._lock.release()
            raise
        self._shape = _Shape()
        self._checksums: dict[str, str] = {}
        """Published parts."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._number = -1
        self._begin()

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Write a row; a full part is completed in a thread, so that calls continue."""
        self._part.write(row, new)
        self._rows += 1
        if self._rows >= PART_ROWS or self._part.size >= PART_BYTES:
            self._end_part()
            self._begin()

    def commit(self) -> None:
        """Complete the last part, and remove parts of an earlier run after it."""
        if self._rows or not self._number:
            self._end_part()
        else:
            self._part.abort()
        self._wait()
        try:
            self._remove_after(self._number if self._rows else max(0, self._number - 1))
            sync_folder(self._folder)
            shutil.rmtree(self._private, ignore_errors=True)
        except OSError as error:
            raise unwritable(str(self._folder), error) from None
        self.checksum = joined_checksum(self._checksums)
        self._lock.release()

    def abort(self) -> None:
        """Keep the complete parts, and the other rows as JSON Lines."""
        with contextlib.suppress(Exception):  # the run's own error is reported
            self._wait()
        self._part.abort()
        self._lock.release()

    def _begin(self) -> None:
        self._number += 1
        self._rows = 0
        self._part = ParquetWriter(self._private / _name(self._number))
        self._part.schemas = self._schemas
        self.partial: Path | None = self._part.partial

    def _end_part(self) -> None:
        self._wait()
        part, number = self._part, self._number

        def publish() -> None:
            try:
                self._publish(part, number)
            except OSError as error:
                self._error = unwritable(str(self._folder), error)
            except BaseException as error:  # noqa: BLE001 - raised by the next call
                self._error = error

        self._thread = threading.Thread(target=publish, name="distask-part", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()
        self._thread, error, self._error = None, self._error, None
        if error is not None:
            raise error

    def _publish(self, part: ParquetWriter, number: int) -> None:
        """Complete a part, give all parts the same schema, and give the part its name."""
        part.commit()
        made = self._private / _name(number)
        schema = _schema_of(made)
        shape, published = self._shape.widened(schema), list(self._checksums)
        while (column := self._unfit([made, *(self._folder / name for name in published)], shape)) is not None:
            shape = shape.with_wider(column)
        target = shape.schema()
        if not target.equals(self._shape.schema(), check_metadata=True):
            for name in published:
                self._checksums[name] = self._rewrite(self._folder / name, target, shape)
                self._replace(self._private / name)
        is_same = target.equals(schema, check_metadata=True)
        self._checksums[made.name] = str(part.checksum) if is_same else self._rewrite(made, target, shape)
        self._replace(made)
        self._note(part, shape)
        self._shape = shape

    def _note(self, part: ParquetWriter, shape: _Shape) -> None:
        new = sorted(shape.texts - self._shape.texts)
        for note in [*part.notes, *([TEXT_NOTE + ", ".join(new)] if new else [])]:
            parts, _, names = note.rpartition(": ")
            self._noted.setdefault(parts, {}).update(dict.fromkeys(names.split(", ")))
        self.notes[:] = [f"{parts}: {', '.join(names)}" for parts, names in self._noted.items()]

    def _unfit(self, parts: Sequence[Path], shape: _Shape) -> str | None:
        """Return a column whose values can't be converted to its new type; reads only columns that change."""
        for path in parts:
            with parquet.ParquetFile(path) as source:
                old = {field.name: field.type for field in source.schema_arrow}
                for name, field in shape.fields.items():
                    if name not in old or name in shape.texts or old[name].equals(field.type):
                        continue
                    for group in range(source.num_row_groups):
                        try:
                            cast_column(source.read_row_group(group, [name]).column(name), field.type)
                        except FAULTS:
                            return name
        return None

    def _rewrite(self, source: Path, schema: Any, shape: _Shape) -> str:
        """Write a part with another schema to the private folder, one row group at a time; returns its checksum."""
        made = self._private / source.name
        wide = made.with_suffix(".wide")
        with parquet.ParquetFile(source) as read, parquet.ParquetWriter(wide, schema) as writer:
            for number in range(read.num_row_groups):
                table = read.read_row_group(number)
                arrays = [_column(table, field, as_text=field.name in shape.texts) for field in schema]
                writer.write_table(pa.table(arrays, schema=schema))
        wide.replace(made)
        return checksum_of(made)

    def _replace(self, made: Path) -> None:
        """Give a part its name; first removes later parts of an earlier run if it does not continue in them."""
        final = self._folder / made.name
        later = [path for path in _parts(self._folder) if path.name > made.name and path.name not in self._checksums]
        if later and (not final.exists() or checksum_of(final) != self._checksums[made.name]):
            self._remove(later)
        made.replace(final)
        sync_folder(self._folder)

    def _remove_after(self, number: int) -> None:
        self._remove([path for path in _parts(self._folder) if path.name > _name(number)])

    def _remove(self, parts: list[Path]) -> None:
        for path in reversed(parts):
            path.unlink()


class _Shape:
    """The columns of all parts so far."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.texts: set[str] = set()
        """Columns that are text because parts have no common type."""
        self.features: dict[str, Any] = {}
        self.metadata: dict[bytes, bytes] = {}

    def copied(self) -> _Shape:
        """Return a copy."""
        made = _Shape()
        made.fields, made.texts = dict(self.fields), set(self.texts)
        made.features, made.metadata = dict(self.features), dict(self.metadata)
        return made

    def widened(self, schema: Any) -> _Shape:
        """Return columns that hold these as well."""
        made = self.copied()
        metadata = {**(schema.metadata or {})}
        features = features_in(metadata)
        metadata.pop(FEATURES, None)
        for name in set(self.fields) - set(schema.names):
            made.fields[name] = made.fields[name].with_nullable(True)
        for column in schema:
            known = self.fields.get(column.name)
            if known is None:
                made.fields[column.name] = column.with_nullable(column.nullable or bool(self.fields))
                if column.name in features:
                    made.features[column.name] = features[column.name]
                continue
            kind = pa.string() if column.name in self.texts else common_type([known.type, column.type])
            if kind is None or not is_writable(kind):
                made = made.with_text(column.name)
                continue
            if features.get(column.name) != made.features.get(column.name) or not kind.equals(known.type):
                made.features.pop(column.name, None)
            made.fields[column.name] = known.with_type(kind).with_nullable(known.nullable or column.nullable)
        if not self.fields:
            made.metadata = metadata
        return made

    def with_wider(self, column: str) -> _Shape:
        """Return the same columns with one of a type that holds more values."""
        kind = WIDER.get(self.fields[column].type)
        if kind is None:
            return self.with_text(column)
        made = self.copied()
        made.fields[column] = self.fields[column].with_type(kind)
        return made

    def with_text(self, column: str) -> _Shape:
        """Return the same columns with one as JSON text."""
        made = self.copied()
        made.texts.add(column)
        made.features.pop(column, None)
        made.fields[column] = pa.field(column, pa.string())
        return made

    def schema(self) -> Any:
        """Return the schema of every part."""
        metadata = dict(self.metadata)
        if self.features:
            metadata[FEATURES] = json.dumps({"info": {"features": self.features}}).encode()
        return pa.schema(list(self.fields.values()), metadata or None)


def _schema_of(part: Path) -> Any:
    """Return a part's schema without the field numbers that Parquet adds."""
    schema = parquet.read_schema(part)
    fields = []
    for field in schema:
        metadata = {key: value for key, value in (field.metadata or {}).items() if key != b"PARQUET:field_id"}
        fields.append(field.remove_metadata().with_metadata(metadata) if metadata else field.remove_metadata())
    return pa.schema(fields, schema.metadata)


def _column(table: Any, field: Any, *, as_text: bool) -> Any:
    if field.name not in table.schema.names:
        return pa.nulls(table.num_rows, field.type)
    column = table.column(field.name)
    if as_text and not column.type.equals(pa.string()):
        return pa.array([json_text(plain(value)) for value in column.to_pylist()], pa.string())
    return cast_column(column, field.type)


def _name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def _check(folder: Path) -> None:
    """Raise `UsageError` if the output is not a folder of parts, or can't become one."""
    if folder.is_file():
        raise UsageError(f"{folder} is a file; remove the trailing slash, or name a folder")
    if not folder.parent.is_dir():
        raise UsageError(f"{folder}: the folder {folder.parent} does not exist; create it or choose another")
    if folder.is_dir():
        known = {path.name for path in _parts(folder)} | {PRIVATE}
        strange = sorted(path.name for path in folder.iterdir() if path.name not in known)
        if strange:
            raise UsageError(f"{folder} contains other files ({strange[0]}); remove them or name another folder")
