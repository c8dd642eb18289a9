"""The step that computes columns with a function of the user's own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from distask.errors import RowError
from distask.task.steps.flow import Count, Work, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distask.task.column_types import ColumnType
    from distask.task.steps.flow import Flow
    from distask.task.steps.item import Item
    from distask.task.steps.scope import Value


class Compute:
    """Calls `function(row, **args)`, in a thread of its own in a run, and takes the columns that it gives.

    Args:
        count: the step's.
        name: what the function is called, for messages.
        function: it.
        args: what it is given beside the row.
        columns: what it gives.
    """

    def __init__(
        self, count: Count, name: str, function: Callable[..., Any], args: Value, columns: Mapping[str, ColumnType]
    ) -> None:
        self.count = count
        self._name = name
        self._function = function
        self._args = args
        self._columns = columns

    def flow(self, item: Item) -> Flow:
        """The row with the function's columns; null where it fails, or gives what they do not hold."""
        if item.failed:
            self.count.skipped += 1
            item.values = {**item.values, **{n: None for n in self._columns if n not in item.values}}
            return [item]
        try:
            made = yield Work(partial(self._called, dict(item.values), self._args(item)))
            if isinstance(made, RowError):
                raise made
            item.values = {**item.values, **made}
        except RowError as error:
            self.count.failed += 1
            item.values = {**item.values, **dict.fromkeys(self._columns)}
            return (yield from fail(self.count.name, item, error))
        return [item]

    def _called(self, row: dict[str, Any], args: Mapping[str, Any]) -> dict[str, Any] | RowError:
        try:
            made = self._function(row, **args)
        except Exception as error:  # noqa: BLE001 - whatever it raises is its row's own failure
            return RowError("python", f"{self._name}: {type(error).__name__}: {error}")
        if not isinstance(made, dict):
            return RowError("python", f"{self._name} gave {type(made).__name__}, not a dict of columns")
        try:
            return {name: column.read(made.get(name)) for name, column in self._columns.items()}
        except ValueError as error:
            return RowError("python", f"{self._name} gave {error}")
