"""A spec made ready: two pure functions, from a row to its chat and from a reply to its columns."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Self

from distask.errors import InvalidReply, RowError, UsageError
from distask.llm.request import Completion
from distask.spec.diagnostics import did_you_mean
from distask.spec.load import LoadedSpec, load_spec
from distask.spec.model import PythonParser, StructuredOutput, TaskSpec
from distask.task.chat import Chat
from distask.task.columns import ColumnType
from distask.task.media import Media
from distask.task.parsers import PARSERS, Context
from distask.task.sandbox import Sandbox
from distask.task.templates import Compiler, compile_expression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from distask.llm.request import Message
    from distask.spec.model import Input, Output
    from distask.task.parsers.base import Parser

Scope = dict[str, Any]
_EXAMPLES_TRIED = 20


class Task:
    """A task that is ready to be run.

    Attributes:
        spec: what its file says.
        path: the file.
        name: its name.
        params: the values of its params, the defaults filled in.
        seed: what drawn values are drawn from.
        input_columns: task column to its input.
        output_columns: the columns that are added, under the data's names, in order.
    """

    def __init__(
        self,
        loaded: LoadedSpec,
        params: Mapping[str, Any] | None = None,
        *,
        allow_code: bool = False,
        allow_paths: Sequence[Path] = (),
        seed: int = 0,
        mappings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        spec = _mapped(loaded, mappings or {})
        self.spec, self.path, self.name, self.seed = spec, loaded.path, spec.name, seed
        self.params = _params(loaded, params or {})
        self.input_columns: dict[str, Input] = dict(spec.inputs)
        folder = loaded.path.resolve().parent
        self._sandbox = Sandbox(folder)
        self._media = Media([folder, *allow_paths])
        self._base: Scope = {
            **self._sandbox.globals,
            **spec.vars,
            **self.params,
            "vars": spec.vars,
            "params": self.params,
        }
        self._inputs = [
            (name, self.dataset_name(name), i.required, i.default, ColumnType(i, name))
            for name, i in spec.inputs.items()
        ]
        outputs = {n: o for n, o in spec.outputs.items() if o.when is None or self._expression(o.when)(self._base)}
        self._drawn = [name for name in spec.draw if name in outputs]
        self._mapped = {name: spec.output_mappings.get(name, name) for name in outputs}
        self.output_columns = tuple(self._mapped.values())
        aligned = {c for p in spec.format_output if getattr(p, "align_to", None) for c in outputs}
        self._columns = {name: ColumnType(o, name, padded=name in aligned) for name, o in outputs.items()}
        self._chat = Chat(spec.format_input, Compiler(self._sandbox, loaded.document), self._media)
        if not allow_code and any(isinstance(p, PythonParser) for p in spec.format_output):
            raise UsageError(f"{self.path}: the parser runs code; read it, and allow it with --allow-code")
        self._examples: list[Parser] = []
        self._readers = self._compile_parsers(
            {n: o for n, o in outputs.items() if n not in self._drawn}, folder, allow_code
        )
        self._checks = [(text, self._expression(text)) for text in spec.checks]
        self._keywords = self._compile_keywords()

    @classmethod
    def load(
        cls,
        source: str | Path,
        params: Mapping[str, Any] | None = None,
        *,
        allow_code: bool = False,
        allow_paths: Sequence[Path] = (),
        seed: int = 0,
        mappings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Self:
        """Load a task from a file or by a built-in task's name.

        Args:
            source: the file, or the name.
            params: values for its params.
            allow_code: whether a `python` parser may run.
            allow_paths: folders whose files rows may name, beside the spec's own.
            seed: what drawn values are drawn from.
            mappings: `input_mappings` and `output_mappings`, laid over the spec's.

        Raises:
            SpecError: the spec is wrong; all its faults are there.
            UsageError: there is no such task, or a param is wrong.
        """
        return cls(
            load_spec(source), params, allow_code=allow_code, allow_paths=allow_paths, seed=seed, mappings=mappings
        )

    def allow(self, folder: Path) -> None:
        """Let rows name files of this folder and below."""
        self._media.allow(folder)

    def dataset_name(self, name: str) -> str:
        """What an input column is called in the data."""
        return self.spec.input_mappings.get(name, name)

    def needed_columns(self) -> list[str]:
        """The data's columns that every row must have."""
        return [data for _, data, required, _, _ in self._inputs if required]

    def missing_columns(self, columns: Iterable[str]) -> list[str]:
        """The data's columns that the task needs and that are not among `columns`."""
        known = set(columns)
        return [name for name in self.needed_columns() if name not in known]

    def format_input(self, row: Mapping[str, Any], index: int = 0) -> list[Message]:
        """The chat of a row, as the API takes it; `index` is its place in the data, for drawn values.

        Raises:
            RowError: the row lacks a column, holds null or a wrong type, or can't be rendered.
        """
        return self._chat.render(self._scope(row, index))

    def format_output(self, reply: str | Completion | None, row: Mapping[str, Any], index: int = 0) -> dict[str, Any]:
        """The output columns that a reply becomes, under the data's names.

        Raises:
            InvalidReply: the reply can't be used; `kind` and `message` say why.
        """
        completion = reply if isinstance(reply, Completion) else Completion(reply)
        self._refuse_nothing(completion)
        scope = self._scope(row, index, strict=False)
        drawn = scope["draw"]
        first: InvalidReply | None = None
        for read in self._readers:
            try:
                columns = read(completion, scope)
                self._hold(columns, completion, scope)
            except InvalidReply as error:
                first = first or error
                continue
            return {data: drawn[name] if name in self._drawn else columns[name] for name, data in self._mapped.items()}
        assert first is not None
        raise first

    def null_output(self) -> dict[str, Any]:
        """The output columns of a generation that failed."""
        return dict.fromkeys(self.output_columns)

    def keywords(self, row: Mapping[str, Any], index: int = 0) -> dict[str, Any]:
        """The keywords of the row's request that the spec makes: structured output, tools."""
        if self._keywords is None:
            return {}
        return self._keywords(self._scope(row, index, strict=False))

    def example(self, row: Mapping[str, Any], index: int = 0, sample: int = 0) -> str:
        """A reply that `format_output` accepts, the same for the same row, seed and sample."""
        rng = random.Random(f"{self.seed}/{index}/{sample}")  # noqa: S311 - no secret
        scope = self._scope(row, index, strict=False)
        reply = ""
        for attempt in range(_EXAMPLES_TRIED):
            reply = self._examples[attempt % len(self._examples)].example(rng, scope)
            try:
                self.format_output(reply, row, index)
            except InvalidReply:
                continue
            return reply
        return reply

    def _scope(self, row: Mapping[str, Any], index: int, *, strict: bool = True) -> Scope:
        """The names that templates see."""
        scope = dict(self._base)
        for name, data, required, default, column in self._inputs:
            value = row.get(data)
            if value is None:
                if required and strict:
                    if data in row:
                        raise RowError("null_input", f"`{data}` is null")
                    raise RowError("missing_column", f"`{data}` is missing")
                value = default
            elif strict or column.type != "string":
                try:
                    value = column.read(value)
                except ValueError as error:
                    if strict:
                        raise RowError("wrong_type", str(error)) from None
            scope[name] = value
        draw = self._draw(index) if self.spec.draw else {}
        scope.update(draw)
        scope["draw"] = draw
        scope["row"] = row
        return scope

    def _draw(self, index: int) -> dict[str, Any]:
        drawn = {}
        for name, draw in self.spec.draw.items():
            rng = random.Random(f"{self.seed}/{name}/{index}")  # noqa: S311 - no secret
            if draw.range is not None:
                low, high = draw.range
                whole = isinstance(low, int) and isinstance(high, int)
                drawn[name] = rng.randint(int(low), int(high)) if whole else rng.uniform(low, high)
            else:
                drawn[name] = rng.choices(draw.options or [None], draw.weights)[0]
        return drawn

    def _expression(self, text: str) -> Callable[[Mapping[str, Any]], Any]:
        return compile_expression(self._sandbox, text)

    def _compile_parsers(
        self, outputs: dict[str, Output], folder: Path, allow_code: bool
    ) -> list[Callable[[Completion, Scope], dict[str, Any]]]:
        readers = []
        for options in self.spec.format_output:
            if options.when is not None and not self._expression(options.when)(self._base):
                continue
            computed = {
                name: self._expression(text)
                for name, text in (options.columns or {}).items()
                if not (isinstance(text, str) and text.startswith("/"))
            }
            filled = {n: o for n, o in outputs.items() if n not in computed}
            context = Context(filled or outputs, self._columns, self._expression, folder, allow_code)
            parser = PARSERS[options.parser](options, context)
            self._examples.append(parser)
            readers.append(self._reader(parser, computed))
        if not readers:
            raise UsageError(f"{self.path}: no parser of format_output is used with these params")
        return readers

    def _reader(
        self, parser: Parser, computed: dict[str, Callable[[Mapping[str, Any]], Any]]
    ) -> Callable[[Completion, Scope], dict[str, Any]]:
        columns = [(n, c) for n, c in self._columns.items() if n not in self._drawn]

        def read(completion: Completion, scope: Scope) -> dict[str, Any]:
            values = parser.parse(completion, scope)
            if computed:
                seen = {**scope, **values, "reply": completion.text, "finish_reason": completion.finish_reason}
                values = {**values, **{n: _evaluated(value, seen) for n, value in computed.items()}}
            try:
                return {name: column.read(values.get(name)) for name, column in columns}
            except ValueError as error:
                raise InvalidReply("type", str(error)) from None

        return read

    def _hold(self, columns: dict[str, Any], completion: Completion, scope: Scope) -> None:
        if not self._checks:
            return
        seen = {**scope, **columns, "reply": completion.text, "finish_reason": completion.finish_reason}
        for text, check in self._checks:
            if not _evaluated(check, seen):
                raise InvalidReply("check", f"the check does not hold: {text}")

    def _refuse_nothing(self, completion: Completion) -> None:
        """A reply that says nothing is a failed generation, with its reason."""
        if completion.finish_reason == "content_filter":
            raise InvalidReply("content_filter", "the server's filter withheld the reply")
        if completion.refusal:
            raise InvalidReply("refusal", f"the model refused: {completion.refusal}")
        if completion.text is None and not completion.tool_calls:
            raise InvalidReply("empty", "the reply has no text")
        if not completion.tool_calls and not (completion.text or "").strip():
            raise InvalidReply("empty", "the reply is empty")

    def _compile_keywords(self) -> Callable[[Scope], dict[str, Any]] | None:
        tools, structured = self.spec.tools, self.spec.structured_output
        if not tools and not structured:
            return None
        tools_of = self._expression(tools) if isinstance(tools, str) else None
        shape = self._structured(structured) if structured else None

        def keywords(scope: Scope) -> dict[str, Any]:
            made: dict[str, Any] = {}
            if tools:
                made["tools"] = tools if tools_of is None else tools_of(scope)
            if shape is not None:
                made |= shape(scope)
            return made

        return keywords

    def _structured(self, wanted: bool | StructuredOutput) -> Callable[[Scope], dict[str, Any]]:
        if isinstance(wanted, bool):
            asked = {n: c for n, c in self._columns.items() if n not in self._drawn}
            whole = {
                "type": "object",
                "properties": {n: c.schema for n, c in asked.items()},
                "required": list(asked),
                "additionalProperties": False,
            }
            fixed = self._response_format(whole)
            return lambda _scope: fixed
        if wanted.schema_ is not None:
            if isinstance(wanted.schema_, dict):
                fixed = self._response_format(wanted.schema_)
                return lambda _scope: fixed
            schema_of = self._expression(wanted.schema_)
            return lambda scope: self._response_format(schema_of(scope))
        name, value = next((n, v) for n in ("regex", "choice", "grammar") if (v := getattr(wanted, n)) is not None)
        is_expression = isinstance(value, str) and value.strip().startswith("{{")
        value_of = self._expression(value) if is_expression or (name == "choice" and isinstance(value, str)) else None
        return lambda scope: {"extra_body": {f"guided_{name}": value if value_of is None else value_of(scope)}}

    def _response_format(self, schema: Any) -> dict[str, Any]:
        if not isinstance(schema, dict):
            raise RowError("template", "the schema of the structured output is not a mapping")
        named = {"name": self.name.replace("-", "_"), "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": named}}


def _evaluated(expression: Callable[[Mapping[str, Any]], Any], scope: Mapping[str, Any]) -> Any:
    try:
        return expression(scope)
    except RowError as error:
        raise InvalidReply("check", error.message) from None


def _mapped(loaded: LoadedSpec, mappings: Mapping[str, Mapping[str, str]]) -> TaskSpec:
    spec = loaded.spec
    for key, known in (("input_mappings", spec.inputs), ("output_mappings", spec.outputs)):
        for name in mappings.get(key, {}):
            if name not in known:
                raise UsageError(f"{key}: the task {spec.name} has no column `{name}`; {did_you_mean(name, known)}")
    changed = {key: {**getattr(spec, key), **given} for key, given in mappings.items()}
    return spec.model_copy(update=changed)


def _params(loaded: LoadedSpec, given: Mapping[str, Any]) -> dict[str, Any]:
    spec, values = loaded.spec, {}
    for name in given:
        if name not in spec.params:
            hint = did_you_mean(name, spec.params) or "it has none"
            raise UsageError(f"the task {spec.name} has no param `{name}`; {hint}")
    for name, param in spec.params.items():
        if name not in given:
            if "default" not in param.model_fields_set:
                raise UsageError(f"the task {spec.name} needs the param `{name}`: --param {name}=VALUE")
            values[name] = param.default
            continue
        try:
            values[name] = given[name] if given[name] is None else ColumnType(param, name).read(given[name])
        except ValueError as error:
            raise UsageError(f"param {error}") from None
    return values
