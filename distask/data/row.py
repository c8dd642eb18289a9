"""One row of input: its values, where it came from, and its own bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distask.errors import InputError


@dataclass(frozen=True, slots=True)
class Row:
    """A row as a reader yields it.

    `raw` is the JSON object's own bytes, without the line's end, where the input was JSON: a JSONL writer splices new columns into
    them, so that a user's values pass through untouched. `error` is set, and `values` is empty, for a line that could not be read after the run had begun.
    """

    values: dict[str, Any]
    file: str
    line: int
    raw: bytes | None = None
    error: InputError | None = None

    @property
    def place(self) -> str:
        """`file:line`, for messages."""
        return f"{self.file}:{self.line}"
