"""Read a reply with one parser: parse raw values, compute further columns, and check types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from distask.errors import InvalidReply, Progress, RowError
from distask.task.reply.json_values import plain
from distask.task.reply.reasoning import split_reasoning
from distask.task.templates.limits import LimitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from distask.llm.request import Completion
    from distask.task.column_types import ColumnType
    from distask.task.parsers.base import Parser
    from distask.task.templates.compiler import Expression


MAX_MESSAGES = 5
"""Maximum entries of aligned lists that one error lists."""


class RowScope(Mapping[str, Any]):
    """The names of a row, built on first access, since most replies need none."""

    __slots__ = ("_make", "_names")

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make
        self._names: dict[str, Any] | None = None

    def names(self) -> dict[str, Any]:
        """All names."""
        if self._names is None:
            self._names = self._make()
        return self._names

    def __getitem__(self, name: str) -> Any:
        return self.names()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())


class Reader:
    """A parser of the spec, with the columns that are computed from its values.

    Args:
        name: the name of the parser, for messages.
        parser: parses the raw values.
        computed: column to an expression over the row, the parsed values, and the columns computed before it.
        columns: the types of the required columns.
    """

    def __init__(
        self, name: str, parser: Parser, computed: Mapping[str, Expression], columns: Mapping[str, ColumnType]
    ) -> None:
        self.name = name
        self.parser = parser
        self._computed = tuple(computed.items())
        self._columns = tuple(columns.items())

    def read(self, completion: Completion, scope: RowScope) -> tuple[dict[str, Any], InvalidReply | None]:
        """The typed columns, and the error for null entries of aligned lists, if any; raises `InvalidReply`."""
        try:
            values = self.parser.parse(completion, scope)
        except InvalidReply:
            raise
        except RowError as error:  # from an expression in the parser's options
            raise InvalidReply("invalid", error.message) from None
        except LimitError as error:
            raise InvalidReply("parse_timeout", f"the reply can't be read: {error}", Progress.PART) from None
        refused: list[str] = []
        made: dict[str, Any] = {}
        try:
            if self._computed:
                values = self._compute(values, completion, scope, refused)
            for name, column in self._columns:
                value = values.get(name)
                if type(value) is not str or not value.isascii():
                    value = _plain(name, value)
                made[name] = column.read(value, refused)
        except ValueError as error:
            raise InvalidReply("type", str(error), Progress.VALUES) from None
        if not refused:
            return made, None
        partial = InvalidReply("type", _listed(refused), Progress.VALUES)
        if not any(column.has_entries(made[name]) for name, column in self._columns):
            raise partial
        return made, partial

    def names(self, completion: Completion, scope: RowScope) -> dict[str, Any]:
        """The names of a row and its reply; `reply` excludes reasoning that the parser skips."""
        reply = completion.text
        if reply is not None and self.parser.reasoning_tags is not None:
            reply = split_reasoning(reply, self.parser.reasoning_tags).answer
        return {**scope.names(), "reply": reply, "finish_reason": completion.finish_reason}

    def _compute(
        self, values: dict[str, Any], completion: Completion, scope: RowScope, refused: list[str]
    ) -> dict[str, Any]:
        done = {name for name, _ in self._computed}
        converted = {
            name: column.read(values[name], refused) for name, column in self._columns if name in values.keys() - done
        }
        seen = {**self.names(completion, scope), **values, **converted}
        made = {**values, **converted}
        for name, expression in self._computed:
            try:
                made[name] = seen[name] = expression(seen)
            except RowError as error:
                raise InvalidReply("invalid", f"{name}: {error.message}", Progress.VALUES) from None
        return made


def _listed(messages: list[str]) -> str:
    """The first messages, and how many more there are."""
    more = f"; and {len(messages) - MAX_MESSAGES} more" if len(messages) > MAX_MESSAGES else ""
    return "; ".join(messages[:MAX_MESSAGES]) + more


def _plain(name: str, value: Any) -> Any:
    try:
        return plain(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class Check:
    """An expression over a row and its new columns that must be true."""

    def __init__(self, source: str, expression: Expression) -> None:
        self._source = " ".join(source.split())
        self._holds = expression

    def __call__(self, scope: Mapping[str, Any]) -> None:
        """Raise `InvalidReply` if the check fails."""
        try:
            holds = self._holds(scope)
        except RowError as error:
            message = f"check failed: {self._source} ({error.message})"
            raise InvalidReply("check", message, Progress.VALUES) from None
        if not holds:
            raise InvalidReply("check", f"check failed: {self._source}", Progress.VALUES)
