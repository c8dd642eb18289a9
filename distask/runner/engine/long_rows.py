"""Find rows whose chat exceeds the model's context, during the scan of the data before the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distask.errors import RowError
from distask.llm.tokens import estimate_tokens

if TYPE_CHECKING:
    from distask.data.row import Row
    from distask.task.task import Task

PLACES_KEPT = 3
CHARACTERS_PER_TOKEN = 2
"""Rows with fewer characters than this per context token are not rendered, since they are almost never too long."""


class LongRows:
    """Counts rows that are too long; `context` is the model's context in tokens, None if unknown."""

    def __init__(self, task: Task, context: int | None) -> None:
        self.context = context
        self.count = 0
        self._task = task
        self._places: list[str] = []

    def look(self, row: Row) -> None:
        """Count the row if its chat is too long."""
        assert self.context is not None
        if _characters(row) < self.context * CHARACTERS_PER_TOKEN:
            return
        try:
            tokens = estimate_tokens(self._task.format_input(row.values, row.index))
        except RowError:
            return
        if tokens > self.context:
            self.count += 1
            if len(self._places) < PLACES_KEPT:
                self._places.append(f"{row.place} (about {tokens:,} tokens)")

    def told(self) -> str:
        """Return the warning for the user."""
        more = f" and {self.count - len(self._places):,} more" if self.count > len(self._places) else ""
        rows = "1 row is" if self.count == 1 else f"{self.count:,} rows are"
        return (
            f"{rows} longer than the model's context of {self.context:,} tokens, and will probably fail: "
            f"{', '.join(self._places)}{more}"
        )


def _characters(row: Row) -> int:
    if row.raw is not None:
        return len(row.raw)
    return sum(len(value) for value in row.values.values() if isinstance(value, str))
