"""One row of input: its values, where it came from, and its own bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

if TYPE_CHECKING:
    from distask.data.cells import Cells
    from distask.errors import InputError

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
