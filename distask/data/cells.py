"""Hold the Arrow values of an input row next to the plain values that templates use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Cells(Struct):
    """One row of an Arrow table. Table writers take the row's values from here, with their types."""

    schema: Any
    """The source's schema: the same object for all rows of a source."""
    batch: Any
    place: int
    """The row's index in `batch`."""
    names: dict[str, str] | None = None
    """Output column to source column; None to keep all of the row's columns under their names."""

    def renamed(self, names: dict[str, str]) -> Cells:
        """Return the same row with only these columns."""
        return replace(self, names=names)

    def copied(self) -> Cells:
        """Return the same row in its own batch, so that it keeps no other rows in memory."""
        return replace(self, batch=copy_of(self.batch, self.place, 1), place=0)

    def columns(self, values: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
        """Return output column to source column, for a row of `values` to which `new` columns are added."""
        return {name: name for name in values if name not in new} if self.names is None else self.names

    def packed(self) -> bytes:
        """Return the row without its schema metadata, which may be larger than the row."""
        data: bytes = _streamed(self.batch.slice(self.place, 1)).to_pybytes()
        return data

    @classmethod
    def unpacked(cls, schema: Any, data: bytes) -> Cells:
        """Restore a row from the output of `packed`."""
        import pyarrow as pa

        return cls(schema, pa.ipc.open_stream(data).read_next_batch(), 0)


def copy_of(batch: Any, first: int, rows: int) -> Any:
    """Copy some rows of a record batch into new memory."""
    import pyarrow as pa

    try:
        return batch.take(list(range(first, first + rows)))
    except pa.ArrowNotImplementedError:  # string views, among others
        return pa.ipc.open_stream(_streamed(batch.slice(first, rows))).read_next_batch()


def taken(column: Any, places: Sequence[int]) -> Any:
    """Take values from a chunked array, in the order of `places`."""
    import pyarrow as pa

    try:
        return column.take(pa.array(places, pa.int64()))
    except pa.ArrowNotImplementedError:
        return pa.chunked_array([array for place in places for array in column.slice(place, 1).chunks], column.type)


def _streamed(batch: Any) -> Any:
    import pyarrow as pa

    batch = batch.replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue()
