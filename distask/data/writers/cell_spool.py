"""Keep the Arrow values of output rows in a temporary file until the table is written."""

from __future__ import annotations

import tempfile
from array import array
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.data.cells import copy_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from distask.data.cells import Cells

CHUNK_ROWS = 1_000
CHUNK_BYTES = 32 << 20
"""JSON bytes of a chunk's rows; a single row may be larger."""

Layout = dict[str, str]
"""Output column to source column."""


class Group(Struct, frozen=True):
    """The rows of a chunk that take the same columns from the same source."""

    schema: int
    layout: int
    rows: Sequence[int]
    """Their places in the chunk."""


class _Part(Struct, frozen=True):
    """Where the values that a chunk's rows take from one source are."""

    offset: int
    size: int


class Chunk(Struct):
    """Consecutive rows of the output."""

    rows: int
    groups: list[Group] = field(default_factory=list)
    parts: dict[int, _Part] = field(default_factory=dict)

    def without(self, column: str, layouts: list[Layout]) -> list[int]:
        """Return the places of the rows that do not take this column from a source."""
        taken = {row for group in self.groups if column in layouts[group.layout] for row in group.rows}
        return [row for row in range(self.rows) if row not in taken]

    def places(self, group: Group) -> list[int]:
        """Return where a group's rows are in the table of their source."""
        if len(group.rows) == self.rows:
            return list(range(self.rows))
        of_source = sorted(row for other in self.groups if other.schema == group.schema for row in other.rows)
        place = {row: number for number, row in enumerate(of_source)}
        return [place[row] for row in group.rows]


class _Run(Struct):
    """Consecutive rows of one batch."""

    schema: int
    batch: Any
    first: int
    rows: int = 0

    def copied(self) -> Any:
        """Return the rows, copied if most of the batch is not needed."""
        if self.rows * 2 >= self.batch.num_rows:
            return self.batch.slice(self.first, self.rows)
        return copy_of(self.batch, self.first, self.rows)


class CellSpool:
    """The Arrow values of the rows of one output, in row order.

    Args:
        folder: where the temporary file is; it has no name and ends with the process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Any = None
        self.schemas: list[Any] = []
        self.layouts: list[Layout] = []
        self._layout_numbers: dict[tuple[tuple[str, str], ...], int] = {}
        self._chunks: list[Chunk] = []
        self._reset()

    def _reset(self) -> None:
        self._rows = self._bytes = 0
        self._run: _Run | None = None
        self._batches: dict[int, list[Any]] = {}
        self._grouped: dict[tuple[int, int], list[int]] = {}

    def add(self, cells: Cells | None, columns: Mapping[str, str], size: int) -> None:
        """Keep the next row's columns; `size` is the length of its JSON in bytes. Raises `OSError`."""
        if cells is not None and columns:
            self._keep(cells, columns)
        self._rows += 1
        self._bytes += size
        if self._rows >= CHUNK_ROWS or self._bytes >= CHUNK_BYTES:
            self._end_chunk()

    def _keep(self, cells: Cells, columns: Mapping[str, str]) -> None:
        schema = self._schema(cells.schema)
        names = tuple(columns.items())
        if (layout := self._layout_numbers.get(names)) is None:
            layout = self._layout_numbers[names] = len(self.layouts)
            self.layouts.append(dict(columns))
        self._grouped.setdefault((schema, layout), []).append(self._rows)
        run = self._run
        if run is None or run.batch is not cells.batch or run.first + run.rows != cells.place:
            self._end_run()
            run = self._run = _Run(schema, cells.batch, cells.place)
        run.rows += 1

    def _schema(self, schema: Any) -> int:
        for number, known in enumerate(self.schemas):
            if known is schema:
                return number
        for number, known in enumerate(self.schemas):
            if known.equals(schema, check_metadata=True):
                return number
        self.schemas.append(schema)
        return len(self.schemas) - 1

    def _end_run(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            self._batches.setdefault(run.schema, []).append(run.copied())

    def _end_chunk(self) -> None:
        self._end_run()
        groups = [Group(schema, layout, _compact(rows)) for (schema, layout), rows in self._grouped.items()]
        chunk = Chunk(self._rows, groups)
        for schema, batches in self._batches.items():
            chunk.parts[schema] = self._written(batches)
        self._chunks.append(chunk)
        self._reset()

    def _written(self, batches: list[Any]) -> _Part:
        import pyarrow as pa

        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="cells-", dir=self._folder)  # noqa: SIM115 - see `close`
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batches[0].schema.remove_metadata()) as stream:
            for batch in _joined(batches):
                stream.write_batch(batch.replace_schema_metadata(None))
        data = sink.getvalue()
        offset = self._file.tell()
        self._file.write(data)
        return _Part(offset, data.size)

    def chunks(self) -> list[Chunk]:
        """Return all chunks; call it after the last row."""
        if self._rows:
            self._end_chunk()
        return self._chunks

    def pieces(self, chunk: Chunk) -> dict[int, Any]:
        """Return the tables of a chunk, keyed by schema number."""
        import pyarrow as pa

        tables = {}
        for schema, part in chunk.parts.items():
            self._file.seek(part.offset)
            tables[schema] = pa.ipc.open_stream(self._file.read(part.size)).read_all()
        return tables

    def sources(self) -> Iterator[tuple[int, Layout]]:
        """Yield each schema with each layout it was used with."""
        for schema, layout in dict.fromkeys((g.schema, g.layout) for chunk in self.chunks() for g in chunk.groups):
            yield schema, self.layouts[layout]

    def close(self) -> None:
        """Close the file and free its space."""
        if self._file is not None:
            self._file.close()


def _compact(rows: list[int]) -> Sequence[int]:
    """Return the same numbers in less memory."""
    return range(rows[0], rows[-1] + 1) if rows[-1] - rows[0] + 1 == len(rows) else array("I", rows)


FEW_ROWS = 8
"""Average rows of a batch below which batches are joined, because each batch has a fixed cost."""


def _joined(batches: list[Any]) -> list[Any]:
    """Join the batches if they are small."""
    import pyarrow as pa

    if len(batches) * FEW_ROWS < sum(batch.num_rows for batch in batches):
        return batches
    try:
        joined: list[Any] = pa.Table.from_batches(batches).combine_chunks().to_batches()
    except pa.ArrowException:  # such as dictionaries inside unions
        return batches
    return joined
