"""Check the inputs of every row during a scan, much faster than by rendering it: what a plan needs to count exactly."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson

from distask.errors import RowError
from distask.llm.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distask.data.readers.blocks import Block
    from distask.data.row import Row
    from distask.task.task import Task

CHARACTERS_PER_TOKEN = 2
"""Rows with fewer bytes than this per context token are not rendered, since they are almost never too long."""
PLACES_KEPT = 3


class InputCheck:
    """Counts the rows whose inputs can't be used, the chats that are too long, and the rows with equal inputs.

    Args:
        task: the task.
        context: the model's context in tokens; None if unknown.
        distinct: whether to count rows with equal inputs once.
    """

    def __init__(self, task: Task, context: int | None = None, *, distinct: bool = False) -> None:
        self.rows = 0
        """Number of rows whose inputs can be used."""
        self.failures: Counter[str] = Counter()
        """Number of other rows, by kind of error."""
        self.too_long = 0
        self.longest: list[tuple[str, int]] = []
        """The first rows that are too long: place and tokens."""
        self._task, self._context = task, context
        self._columns = [task.dataset_name(name) for name in task.input_columns]
        self._seen: set[int] | None = set() if distinct else None

    @property
    def requests(self) -> int:
        """Number of different requests, if each row with other inputs has one."""
        return self.rows if self._seen is None else len(self._seen)

    def row(self, row: Row) -> None:
        """Check one row."""
        if self._check(row.values):
            self._note_inputs(row.values)
            self._note_length(row)

    def block(self, block: Block) -> None:
        """Check the rows of a block; most need no check one by one."""
        if self._task.needs_check(block.kinds):
            for number in range(len(block.values)):
                self.row(block.row(number))
            return
        self.rows += len(block.values)
        if self._seen is not None:
            self._note_inputs_of(block)
        if self._context is not None and len(block.data) >= self._context * CHARACTERS_PER_TOKEN:
            for number in range(len(block.values)):
                if len(block.raw(number)) >= self._context * CHARACTERS_PER_TOKEN:
                    self._note_length(block.row(number))

    def _check(self, values: Mapping[str, Any]) -> bool:
        try:
            self._task.check_inputs(values)
        except RowError as error:
            self.failures[error.kind] += 1
            return False
        self.rows += 1
        return True

    def _note_inputs(self, values: Mapping[str, Any]) -> None:
        if self._seen is not None:
            self._seen.add(hash(tuple([_hashed(values.get(column)) for column in self._columns])))

    def _note_inputs_of(self, block: Block) -> None:
        assert self._seen is not None
        if len(self._columns) == 1 and block.kinds(self._columns[0]) == {str}:
            (column,) = self._columns
            self._seen.update([hash((values[column],)) for values in block.values])
            return
        for values in block.values:
            self._note_inputs(values)

    def _note_length(self, row: Row) -> None:
        if self._context is None or row.size < self._context * CHARACTERS_PER_TOKEN:
            return
        try:
            tokens = estimate_tokens(self._task.format_input(row.values, row.index))
        except RowError:
            return
        if tokens > self._context:
            self.too_long += 1
            if len(self.longest) < PLACES_KEPT:
                self.longest.append((row.place, tokens))


def _hashed(value: Any) -> Any:
    """Return a hashable value that is equal for equal JSON only: "1", 1, 1.0 and true all differ."""
    return value if type(value) is str else (orjson.dumps(value, default=repr),)
