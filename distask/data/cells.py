"""The Arrow values of an input row, and the plain values that templates see of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Cells(Struct):
    """One row of an Arrow table. A writer of tables takes the row's values from here, with their types."""

    schema: Any
    """The source's schema: one object for all rows of a source."""
    batch: Any
    place: int
    """The row's index in `batch`."""
    names: dict[str, str] | None = None
    """Column of the output to the source's column that it is; None for all of the row's columns under their names."""

    def renamed(self, names: dict[str, str]) -> Cells:
        """The same row with these columns only."""
        return replace(self, names=names)

    def copied(self) -> Cells:
        """The same row in a batch of its own, so that it keeps no other rows in memory."""
        return replace(self, batch=copy_of(self.batch, self.place, 1), place=0)

    def columns(self, values: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
        """Column of the output to the source's column, for a row of `values` to which `new` columns are added."""
        return {name: name for name in values if name not in new} if self.names is None else self.names

    def packed(self) -> bytes:
        """The row without the metadata of its schema, which may be larger than the row."""
        data: bytes = _streamed(self.batch.slice(self.place, 1)).to_pybytes()
        return data

    @classmethod
    def unpacked(cls, schema: Any, data: bytes) -> Cells:
        """What `packed` packed."""
        import pyarrow as pa

        return cls(schema, pa.ipc.open_stream(data).read_next_batch(), 0)


def copy_of(batch: Any, first: int, rows: int) -> Any:
    """Some rows of a record batch in memory of their own."""
    import pyarrow as pa

    try:
        return batch.take(list(range(first, first + rows)))
    except pa.ArrowNotImplementedError:  # string views, among others
        return pa.ipc.open_stream(_streamed(batch.slice(first, rows))).read_next_batch()


def taken(column: Any, places: Sequence[int]) -> Any:
    """Some values of a chunked array, in the order of their places."""
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
