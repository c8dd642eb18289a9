"""The names that the expressions of steps see, and a compiler for these expressions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from distask.errors import RowError
from distask.spec.check.expressions import read_expression, read_template
from distask.task.reply.json_values import plain
from distask.task.steps.item import UNCOUNTED_SECONDS

if TYPE_CHECKING:
    from distask.task.steps.item import Item
    from distask.task.templates.compiler import Compiler, Expression, Place

T = TypeVar("T")
Value = Callable[["Item"], Any]
"""Computes a value from a row; raises `RowError`."""


class Scope:
    """Compiles the expressions of one spec's steps.

    Args:
        compiler: the compiler of the spec.
        base: the names that every row sees: params, vars.
        drawn: the spec's drawn columns.
    """

    def __init__(self, compiler: Compiler, base: Mapping[str, Any], drawn: tuple[str, ...]) -> None:
        self._compiler = compiler
        self._base = base
        self._drawn = drawn
        self._fixed = frozenset(base)

    def names(self, item: Item) -> dict[str, Any]:
        """The names for a row."""
        values = item.values
        made = {**self._base, **values, "row": values}
        if self._drawn:
            made["draw"] = {name: values.get(name) for name in self._drawn}
        return made

    def note(self, names: dict[str, Any], name: str, value: Any) -> None:
        """Change the names for a row whose column has a new value."""
        if self._drawn:
            if name in self._drawn:
                names["draw"][name] = value
            elif name == "draw":
                return
        if name != "row":
            names[name] = value

    def expression(self, source: str, place: Place) -> Value:
        """Compile an expression over a row."""
        return self._timed(self._compiler.expression(source, place))

    def text(self, source: str, place: Place) -> Value:
        """Compile a template over a row."""
        return self._timed(self._compiler.template(source, place))

    def value(self, written: Any, place: Place) -> Value:
        """Compile a value of any shape, in which texts with braces are templates."""
        made = self._shape(written, place)
        return self._timed(lambda names: _plain(made(names)))

    def columns(self, written: Mapping[str, Any], place: Place) -> Assignment:
        """Compile columns, each of which may use the ones before it."""
        return Assignment(self, {name: self._shape(value, (*place, name)) for name, value in written.items()})

    def is_fixed(self, written: Any) -> bool:
        """Whether a value depends only on params and vars, and so is the same for every row."""
        if isinstance(written, str):
            if "{" not in written:
                return True
            return all(name.name in self._fixed for name in read_template(written).names)
        if isinstance(written, Mapping):
            return all(map(self.is_fixed, written.values()))
        return not isinstance(written, list) or all(map(self.is_fixed, written))

    def is_fixed_expression(self, source: str) -> bool:
        """Whether an expression depends only on params and vars."""
        return all(name.name in self._fixed for name in read_expression(source).names)

    def fixed(self, written: Any, place: Place, more: Mapping[str, Any] | None = None) -> Any:
        """Evaluate a value that depends only on params, vars and `more`; raises `RowError`."""
        return _plain(self._shape(written, place)({**self._base, **(more or {})}))

    def fixed_expression(self, source: str, place: Place) -> Any:
        """Evaluate an expression that depends only on params and vars; raises `RowError`."""
        return self._compiler.expression(source, place)(self._base)

    def _timed(self, compiled: Expression) -> Value:
        names = self.names

        def compute(item: Item) -> Any:
            return compiled(names(item))

        return lambda item: _timed(item, compute)

    def _shape(self, written: Any, place: Place) -> Expression:
        if isinstance(written, str) and "{" in written:
            return self._compiler.value(written, place)
        if isinstance(written, Mapping):
            members = {key: self._shape(value, (*place, key)) for key, value in written.items()}
            return lambda names: {key: member(names) for key, member in members.items()}
        if isinstance(written, list):
            items = [self._shape(value, (*place, index)) for index, value in enumerate(written)]
            return lambda names: [item(names) for item in items]
        return lambda _names: written


class Assignment:
    """Columns that are computed one after the other, with the names of a row made only once."""

    def __init__(self, scope: Scope, columns: Mapping[str, Expression]) -> None:
        self._scope = scope
        self._columns = columns

    def apply(self, item: Item) -> RowError | None:
        """Add the columns to a row; from the first that fails on, they are null, and its error is returned."""
        return _timed(item, self._apply)

    def _apply(self, item: Item) -> RowError | None:
        values = item.values = dict(item.values)
        scope = self._scope
        names = scope.names(item)
        try:
            for name, compute in self._columns.items():
                values[name] = _plain(compute(names))
                scope.note(names, name, values[name])
        except RowError as error:
            columns = list(self._columns)
            values |= dict.fromkeys(columns[columns.index(name) :])
            return RowError(error.kind, f"{name}: {error.message}")
        return None


def _timed(item: Item, compute: Callable[[Item], T]) -> T:
    """Compute, and add the time to the limit that all expressions of an input row share.

    The CPU clock of a thread needs a system call. It is read only if the row's expressions have taken long by the
    monotonic clock, which never counts less.
    """
    spent = item.spent
    if spent.elapsed < UNCOUNTED_SECONDS:
        began = time.perf_counter()
        try:
            return compute(item)
        finally:
            spent.elapsed += time.perf_counter() - began
    began = time.thread_time()
    try:
        return compute(item)
    finally:
        spent.seconds += time.thread_time() - began


def _plain(value: Any) -> Any:
    if value is None or value is True or value is False:
        return value
    try:
        return plain(value)
    except ValueError as error:
        raise RowError("template", str(error)) from None
