"""Compile the outputs of a task: which are active, their types, and the parsers that read them from a reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distask.errors import RowError, UsageError
from distask.spec.language.aggregation import OF_NUMBERS, aggregate_columns, holds_numbers, is_aligned, is_entrywise
from distask.spec.language.parsers import JsonParser
from distask.task.aggregate import REDUCERS, Aggregate, entrywise, schema_of_reduced
from distask.task.column_types import ColumnType
from distask.task.parsers import Context, parser_class
from distask.task.reply.parse import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from distask.spec.language.columns import Output
    from distask.spec.language.model import TaskSpec
    from distask.spec.language.parsers import Parser
    from distask.task.params import Constants
    from distask.task.templates.compiler import Expression, Place


class Outputs:
    """The active outputs of a task.

    Attributes:
        names: the name of each output in the spec and in the data.
        drawn: the outputs that are drawn values.
        columns: output to its type, for those that a reply fills.
        aggregates: the columns computed from grouped generations.
        parsers: the active parsers, in order.
        readers: a reader for each of them.
        examples: output to its values for simulated replies, or an expression for them.

    Raises:
        UsageError: with these params, nothing is active, a schema is invalid or two outputs share a column.
    """

    def __init__(self, spec: TaskSpec, constants: Constants, *, allow_code: bool) -> None:
        self._spec, self._constants = spec, constants
        active = {
            name: self._resolved(name, output)
            for name, output in spec.outputs.items()
            if constants.hold(output.when, ("outputs", name, "when"))
        }
        if not active:
            raise UsageError(f"{constants.path}: no output is active with these params; check each output's `when`")
        self.names = tuple((name, spec.output_mappings.get(name, name)) for name in active)
        placed = self._active_parsers()
        self.parsers: tuple[Parser, ...] = tuple(parser for parser, _ in placed)
        self.aggregates = tuple(self._aggregates(active))
        added = self.added
        if twice := [column for column in added if added.count(column) > 1]:
            raise UsageError(f"{constants.path}: two outputs share a column with these params, `{twice[0]}`")
        self.drawn = tuple(name for name in active if name in spec.draw)
        filled = {name: output for name, output in active.items() if name not in spec.draw}
        self.columns = {name: ColumnType(o, name, padded=is_aligned(name, self.parsers)) for name, o in filled.items()}
        self.examples: dict[str, list[Any] | Expression] = {
            name: o.examples
            if isinstance(o.examples, list)
            else self._expression(o.examples, ("outputs", name, "examples"))
            for name, o in filled.items()
            if o.examples is not None
        }
        self.readers = tuple(self._reader(parser, place, filled, allow_code) for parser, place in placed)

    @property
    def in_data(self) -> tuple[str, ...]:
        """The columns that a reply fills, by their names in the data."""
        return tuple(column for _, column in self.names)

    @property
    def added(self) -> tuple[str, ...]:
        """The columns of `in_data` and the aggregates."""
        return (*self.in_data, *(a.column for a in self.aggregates))

    def requested(self) -> tuple[dict[str, ColumnType], dict[str, str]]:
        """The columns to request from the model, and their JSON pointers, for the first parser that reads JSON."""
        first = next((p for p in self.parsers if isinstance(p, JsonParser)), self.parsers[0])
        named = first.columns or {}
        pointers = {name: value for name, value in named.items() if _is_pointer(first, value)}
        asked = {n: c for n, c in self.columns.items() if n not in named or n in pointers}
        return asked, pointers

    def schemas(self, *, grouped: bool) -> dict[str, Any]:
        """The JSON Schemas of the columns, not counting nulls; drawn values only if the spec types them.

        Args:
            grouped: whether a row holds lists with one item per generation.
        """
        schemas: dict[str, Any] = {}
        for name, column in self.names:
            if name in self.columns:
                schemas[column] = self.columns[name].schema
            elif (output := self._spec.outputs[name]).type or output.choices:
                schemas[column] = ColumnType(output, name).schema
        if not grouped:
            return schemas
        lists = {name: {"type": "array", "items": schema} for name, schema in schemas.items()}
        return {**lists, **{a.column: a.schema for a in self.aggregates}}

    def _expression(self, source: str, place: Place) -> Expression:
        return self._constants.compiler.expression(source, place)

    def _resolved(self, name: str, output: Output) -> Output:
        """The output, with its schema expression evaluated."""
        if not isinstance(output.schema_, str):
            return output
        path = self._constants.path
        try:
            schema = self._constants.value(output.schema_, ("outputs", name, "schema"))
        except RowError as error:
            raise UsageError(f"{path}: the schema of `{name}` can't be evaluated: {error.message}") from None
        import jsonschema_rs

        from distask.spec.check.json_schemas import check_schema

        try:
            jsonschema_rs.meta.validate(schema)
            check_schema(schema)
        except (jsonschema_rs.ValidationError, ValueError) as error:
            reason = getattr(error, "message", error)
            raise UsageError(f"{path}: the schema of `{name}` is not a valid JSON Schema: {reason}") from None
        return output.model_copy(update={"schema_": schema})

    def _active_parsers(self) -> list[tuple[Parser, Place]]:
        """The active parsers, with their places in the spec."""
        parsers = self._spec.format_output
        found: list[tuple[Parser, Place]] = []
        for index, parser in enumerate(parsers):
            place: Place = ("format_output", index) if len(parsers) > 1 else ("format_output",)
            if self._constants.hold(parser.when, (*place, "when")):
                found.append((parser, place))
        if not found:
            path = self._constants.path
            raise UsageError(f"{path}: no parser in `format_output` is active with these params; check each `when`")
        return found

    def _aggregates(self, active: Mapping[str, Output]) -> Iterable[Aggregate]:
        names = dict(self.names)
        for column, name, how in aggregate_columns(self._spec, active):
            output = active[name]
            if how in OF_NUMBERS and not holds_numbers(output):
                path = self._constants.path
                raise UsageError(f"{path}: `{how}` needs numbers, but `{name}` does not hold numbers with these params")
            reduce, schema = REDUCERS[how], ColumnType(output, name).schema
            if not is_entrywise(name, output, self.parsers):
                yield Aggregate(column, names[name], reduce, schema_of_reduced(how, schema))
            else:
                entries = schema_of_reduced(how, schema.get("items") or {})
                yield Aggregate(column, names[name], entrywise(reduce), {"type": "array", "items": entries})

    def _reader(self, options: Parser, place: Place, outputs: Mapping[str, Output], allow_code: bool) -> Reader:
        computed = {
            name: self._computed(value, (*place, "columns", name))
            for name, value in (options.columns or {}).items()
            if not _is_pointer(options, value)
        }
        context = Context(
            outputs={name: output for name, output in outputs.items() if name not in computed},
            columns=self.columns,
            expression=lambda source: self._expression(source, place),
            folder=self._constants.path.resolve().parent,
            allow_code=allow_code,
            tools=self._tools(),
        )
        in_force = {name: expression for name, expression in computed.items() if name in outputs}
        return Reader(options.parser, parser_class(options.parser)(options, context), in_force, self.columns)

    def _tools(self) -> Callable[[Mapping[str, Any]], Any] | None:
        tools = self._spec.tools
        if isinstance(tools, str):
            return self._expression(tools, ("tools",))
        return (lambda _scope: tools) if tools else None

    def _computed(self, value: Any, place: Place) -> Expression:
        return self._expression(value, place) if isinstance(value, str) else lambda _scope: value


def _is_pointer(options: Parser, value: Any) -> bool:
    return isinstance(options, JsonParser) and isinstance(value, str) and (value == "" or value.startswith("/"))
