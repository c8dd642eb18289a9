"""Steps that work on the columns of a row without a model: filter, check, set, explode, keep, drop, rename, python."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from distask.errors import RowError
from distask.task.steps.flow import Count, Fault, Work, fail, just

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distask.task.column_types import ColumnType
    from distask.task.steps.flow import Flow, Step
    from distask.task.steps.item import Item
    from distask.task.steps.scope import Assignment, Value


class Filter:
    """Drops rows; a row whose condition fails to evaluate is dropped too, and counted as failed."""

    def __init__(self, count: Count, holds: Value) -> None:
        self.count = count
        self._holds = holds

    def flow(self, item: Item) -> Flow:
        """The row, or nothing."""
        try:
            return [item] if self._holds(item) else []
        except RowError as error:
            if not item.failed:  # a failed row is already counted
                self.count.failed += 1
                yield Fault(self.count.name, item.place, error)
            return []


class Check:
    """Fails the rows whose condition is false."""

    def __init__(self, count: Count, holds: Value, reason: Value) -> None:
        self.count = count
        self._holds = holds
        self._reason = reason

    def direct(self, item: Item) -> list[Item] | None:
        """The row if the condition is true; else None."""
        try:
            return [item] if item.failed or self._holds(item) else None
        except RowError:
            return None

    def flow(self, item: Item) -> Flow:
        """The row, which has failed if the condition is false or can't be evaluated."""
        if item.failed:
            return [item]
        try:
            if self._holds(item):
                return [item]
            error = RowError("check", self._reason(item))
        except RowError as wrong:
            error = wrong
        self.count.failed += 1
        item.rejected = len(item.frames)
        return (yield from fail(self.count.name, item, error))


class Set:
    """Computes columns; each may use the ones before it."""

    def __init__(self, count: Count, columns: Assignment) -> None:
        self.count = count
        self._columns = columns

    def direct(self, item: Item) -> list[Item] | None:
        """The row with its new columns; None if one fails."""
        before = item.values
        if self._columns.apply(item) is None:
            return [item]
        item.values = before
        return None

    def flow(self, item: Item) -> Flow:
        """The row with its new columns; if one fails, it and the rest are null."""
        error = self._columns.apply(item)
        if error is None or item.failed:
            return [item]
        self.count.failed += 1
        return (yield from fail(self.count.name, item, error))


class Explode:
    """Turns each item of a list, or of several parallel lists, into a row."""

    def __init__(self, count: Count, columns: Sequence[str]) -> None:
        self.count = count
        self._columns = columns

    def flow(self, item: Item) -> Flow:
        """A row for each item; a row whose list is null stays unchanged."""
        lists = [item.values.get(name) for name in self._columns]
        if all(each is None for each in lists) or (item.failed and None in lists):
            return [item]
        try:
            length = _length(self._columns, lists)
        except RowError as error:
            self.count.failed += 1
            return (yield from fail(self.count.name, item, error))
        exploded = [(name, each) for name, each in zip(self._columns, lists, strict=True) if each is not None]
        several = ({**item.values, **{name: each[i] for name, each in exploded}} for i in range(length))
        return item.children(several, self.count.name)


def _length(names: Sequence[str], lists: Sequence[Any]) -> int:
    for name, each in zip(names, lists, strict=True):
        if not isinstance(each, list):
            raise RowError("wrong_type", f"`{name}` is not a list")
    lengths = {len(each) for each in lists}
    if len(lengths) > 1:
        failure = ", ".join(f"`{name}` has {len(each)}" for name, each in zip(names, lists, strict=True))
        raise RowError("wrong_type", f"the lists differ in length: {failure}")
    return lengths.pop()


class Columns:
    """Removes or renames columns: `keep`, `drop`, `rename`."""

    def __init__(
        self,
        count: Count,
        *,
        keep: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        rename: Mapping[str, str] | None = None,
    ) -> None:
        self.count = count
        self._keep = keep
        self._drop = frozenset(drop)
        self._rename = rename or {}

    def flow(self, item: Item) -> Flow:
        """See `direct`."""
        return just(self.direct(item))

    def direct(self, item: Item) -> list[Item]:
        """The row with the remaining or renamed columns."""
        values = item.values
        if self._keep is not None:
            item.values = {name: values.get(name) for name in self._keep}
        elif not self._rename:
            item.values = dict(values)
            for name in self._drop:
                item.values.pop(name, None)
        else:
            item.values = {self._rename.get(n, n): value for n, value in values.items() if n not in self._drop}
            item.origins = item.origins | {new: item.origins.get(n, n) for n, new in self._rename.items()}
        return [item]


class When:
    """Skips a step for rows whose condition is false; the columns that it would add are null."""

    def __init__(self, step: Step, holds: Value, added: Sequence[str]) -> None:
        self.count = step.count
        self._step = step
        self._holds = holds
        self._added = added

    def flow(self, item: Item) -> Flow:
        """The step's rows, or the unchanged row."""
        try:
            holds = self._holds(item)
        except RowError as error:
            item.values = {**item.values, **{name: None for name in self._added if name not in item.values}}
            if item.failed:
                return [item]
            self.count.failed += 1
            return (yield from fail(self.count.name, item, error))
        if not holds:
            self.count.skipped += 1
            item.values = {**item.values, **{name: None for name in self._added if name not in item.values}}
            return [item]
        return (yield from self._step.flow(item))


class Compute:
    """Calls `function(row, **args)`, in a separate thread during a run, and adds the columns that it returns.

    Args:
        count: the counts of the step.
        name: the name of the function, for messages.
        function: the function.
        args: its arguments in addition to the row.
        columns: the types of the columns that it returns.
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
        """The row with the function's columns; null if it fails or returns invalid values."""
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
        except Exception as error:  # noqa: BLE001 - any exception fails only this row
            return RowError("python", f"{self._name}: {type(error).__name__}: {error}")
        if not isinstance(made, dict):
            return RowError("python", f"{self._name} returned {type(made).__name__}, not a dict of columns")
        try:
            return {name: column.read(made.get(name)) for name, column in self._columns.items()}
        except ValueError as error:
            return RowError("python", f"{self._name} returned invalid columns: {error}")
