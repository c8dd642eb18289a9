"""One row of input: its values, where it came from, and its own bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.errors import InputError


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


_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_ANY = 16
"""Estimated bytes of a number, or of any other value."""


class Row(Struct):
    """A row as a reader yields it.

    `raw` is the JSON object's own bytes without the line end, if the input was JSON: a JSONL writer splices new
    columns into them, so the user's values pass through unchanged. For a line that can't be read, `error` is set and
    `values` is empty.
    """

    values: dict[str, Any]
    file: str
    line: int
    raw: bytes | None = None
    error: InputError | None = None
    index: int = 0
    """Its place in the complete input, from 0, whichever rows are selected; sampling depends on it. Set by `Input`."""
    cells: Cells | None = None
    """Its Arrow values, if the source has types: tables are written from these."""

    @property
    def size(self) -> int:
        """Approximate size in bytes."""
        if self.raw is not None:
            return len(self.raw)
        return weight(self.values) * (1 if self.cells is None else 2)

    @property
    def place(self) -> str:
        """`file:line`, for messages."""
        return f"{self.file}:{self.line}"


def weight(value: Any) -> int:
    """Estimate the size of a value in bytes: its JSON, or its texts plus a constant for each other value."""
    try:
        return len(orjson.dumps(value))
    except TypeError:
        return _weight(value)


def _weight(value: Any) -> int:
    kind = type(value)
    if kind is str or kind is bytes:
        return len(value)
    if kind is dict:
        return sum(map(_weight, value.values()))
    return sum(map(_weight, value)) if kind is list else _ANY


def plain(value: Any) -> Any:
    """Convert an Arrow value to JSON types: dates and decimals become text; bytes stay bytes."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool | bytes):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def untabled(value: Any) -> Any:
    """Parse a cell of a CSV file: null, a number, true or false, a list, a mapping, or else its text."""
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


def identical(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON: 1, 1.0 and true all differ."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(identical(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(identical, one, other))
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN
