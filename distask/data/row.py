"""One row of input: its values, where it came from, and its own bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

if TYPE_CHECKING:
    from distask.data.cells import Cells
    from distask.errors import InputError

_ANY = 16
"""Bytes of a number, or of whatever else."""


class Row(Struct):
    """A row as a reader yields it.

    `raw` is the JSON object's own bytes, without the line's end, where the input was JSON: a JSONL writer splices new
    columns into them, so that a user's values pass through untouched. `error` is set, and `values` is empty, for a line
    that can't be read.
    """

    values: dict[str, Any]
    file: str
    line: int
    raw: bytes | None = None
    error: InputError | None = None
    index: int = 0
    """Its place in the whole input, from 0, whichever rows are chosen: drawn values hang on it. `Input` counts."""
    cells: Cells | None = None
    """Its values as Arrow has them, where the source is typed: tables are written from these."""

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        if self.raw is not None:
            return len(self.raw)
        return weight(self.values) * (1 if self.cells is None else 2)

    @property
    def place(self) -> str:
        """`file:line`, for messages."""
        return f"{self.file}:{self.line}"


def weight(value: Any) -> int:
    """About how many bytes a value holds: as many as its JSON has, or its texts and some for each other one."""
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
    """A value of Arrow as JSON has it: dates and decimals as text; bytes stay bytes."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool | bytes):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def identical(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true all differ."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(identical(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(identical, one, other))
    return bool(one == other) or (one != one and other != other)  # noqa: PLR0124 - NaN
