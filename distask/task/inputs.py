"""Read the inputs of a task from the rows of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.errors import RowError
from distask.task.chat.messages import chat_inputs
from distask.task.column_types import ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distask.spec.language.columns import Input
    from distask.spec.language.model import TaskSpec
    from distask.task.chat.messages import ChatInput
    from distask.task.params import Constants


class Inputs:
    """The active inputs of a task.

    Attributes:
        columns: name to input.
    """

    def __init__(self, spec: TaskSpec, constants: Constants) -> None:
        self._mappings = spec.input_mappings
        self.columns: dict[str, Input] = {
            name: column
            for name, column in spec.inputs.items()
            if constants.hold(column.when, ("inputs", name, "when"))
        }
        self._chats = chat_inputs(spec, self.columns)
        self._readers = tuple(
            _Column(name, self.dataset_name(name), column, self._chats.get(name))
            for name, column in self.columns.items()
        )

    def dataset_name(self, name: str) -> str:
        """The name of an input column in the data."""
        return self._mappings.get(name, name)

    @property
    def required(self) -> list[str]:
        """The columns that the data must have."""
        return [column.key for column in self._readers if column.required]

    @property
    def have_chats(self) -> bool:
        """Whether an input reads a chat, which may be in other columns."""
        return bool(self._chats)

    def chat(self, column: str) -> ChatInput | None:
        """The required input that reads a chat from a column of the data, if any."""
        for name, chat in self._chats.items():
            if self.dataset_name(name) == column and self.columns[name].required:
                return chat
        return None

    def check(self, row: Mapping[str, Any]) -> None:
        """Check a row; raises `RowError` if a column is missing, null or of the wrong type."""
        for column in self._readers:
            column.of(row)

    def need_check(self, kinds: Callable[[str], set[type]]) -> bool:
        """Whether `check` may fail for values of some types; `kinds` gives the types in a column of the data."""
        return any(column.has_chat or not kinds(column.key) <= column.unchecked for column in self._readers)

    def values(self, row: Mapping[str, Any], *, strict: bool = True) -> dict[str, Any]:
        """The name and value of each input; raises `RowError` for an invalid one if `strict`."""
        if strict:
            return {column.name: column.of(row) for column in self._readers}
        return {column.name: column.roughly_of(row) for column in self._readers}


class _Column:
    """Reads an input from a row."""

    __slots__ = ("_any", "_chat", "_convert", "_default", "_plain", "key", "name", "required", "unchecked")

    def __init__(self, name: str, key: str, column: Input, chat: ChatInput | None = None) -> None:
        self.name = name
        self._chat = chat
        self.key = key
        self.required = column.required
        self._default = column.default
        bare = not column.keywords() and column.choices is None and column.schema_ is None
        self._plain = bare and column.type in (None, "string")
        self._any = bare and column.type == "any"
        typed = ColumnType(column, key)
        self._convert = typed.read
        self.unchecked = typed.unchecked | (frozenset() if self.required else {type(None)})
        """The types of JSON values that need no check."""

    @property
    def has_chat(self) -> bool:
        """Whether it reads a chat, which may be in other columns."""
        return self._chat is not None

    def of(self, row: Mapping[str, Any]) -> Any:
        """The value; raises `RowError`."""
        value = row.get(self.key)
        if self._plain and type(value) is str:
            return value
        if self._chat is not None and (self.required or value is not None):
            value = self._chat.read(row)
        if value is None:
            if not self.required:
                return self._default
            if self.key in row:
                raise RowError("null_input", f"the column `{self.key}` is null")
            raise RowError("missing_column", f"the column `{self.key}` is missing")
        if self._any:  # may be bytes, which JSON Schema can't describe
            return value
        try:
            return self._convert(value)
        except ValueError as error:
            raise RowError("wrong_type", str(error)) from None

    def roughly_of(self, row: Mapping[str, Any]) -> Any:
        """The value, even if it is invalid, so that a reply can still be parsed."""
        try:
            return self.of(row)
        except RowError:
            return row.get(self.key)
