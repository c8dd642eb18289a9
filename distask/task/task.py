"""A compiled spec, with two pure functions: from a row to its chat, and from a reply to its columns."""

from __future__ import annotations

import hashlib
import json
import random
import re
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct
from msgspec.structs import replace

from distask.errors import InvalidReply, RowError, UsageError
from distask.llm.request import Completion
from distask.llm.tokens import certain_logprobs
from distask.spec.language.aggregation import OF_NUMBERS, aggregate_columns, holds_numbers, is_aligned, is_entrywise
from distask.spec.language.model import Input, JsonParser, Output, PythonParser, TextParser
from distask.spec.load import Loaded, LoadedSpec, load_spec
from distask.task.aggregate import REDUCERS, Aggregate, entrywise, schema_of_reduced
from distask.task.chat.compose import Chat
from distask.task.chat.media import Media
from distask.task.chat.messages import chat_inputs
from distask.task.chat.prompt import GO_ON, asked_of
from distask.task.column_types import ColumnType
from distask.task.draws import Draws, Index
from distask.task.keywords import compile_keywords, fixed_schema, held_reply
from distask.task.params import param_template, param_values, params_of_parsers
from distask.task.parsers import Context, parser_class
from distask.task.reply.parse import Check, Reader, RowScope
from distask.task.reply.reasoning import split_reasoning
from distask.task.reply.reply_schema import ReplySchema, reply_schema
from distask.task.templates.compiler import Compiler, Expression, Place, Scope
from distask.task.templates.limits import METER, LimitError, together
from distask.task.templates.sandbox import GLOBALS, Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from distask.llm.request import Message
    from distask.spec.language.model import Parser, TaskSpec
    from distask.task.chat.messages import ChatInput

EXAMPLES_TRIED = 20
"""Attempts to simulate a valid reply before an invalid one is returned."""
_DESCRIPTIVE = {"description", "reference", "tags", "cases"}
"""Keys of a spec that do not affect its results."""


def _needed(spec: TaskSpec, parsers: Sequence[Parser]) -> dict[str, str]:
    found: dict[str, str] = {}
    if any(parser.parser == "logprobs" for parser in parsers):
        hint = "the task's `logprobs` parser needs them: choose a model or server that returns logprobs"
        found |= {"logprobs": hint, "top_logprobs": hint}
    if spec.tools:
        found["tools"] = "the task gives the model tools: choose a model that supports tool calls"
    return found


def compiler_of(loaded: Loaded) -> Compiler:
    """The compiler for a spec's templates; tasks of the same spec with other params may share it."""
    return Compiler(Sandbox(loaded.path.resolve().parent), loaded.document)


class Parsed(Struct, frozen=True):
    """A parsed reply."""

    columns: dict[str, Any]
    """The output columns, by their names in the data."""
    error: InvalidReply | None = None
    """Why entries of aligned lists are null; None if every entry is valid."""


class Task:
    """A compiled task.

    Attributes:
        spec: the spec.
        path: the file of the spec.
        name: the name of the task.
        params: the values of its params, with defaults filled in.
        seed: the random seed for drawn values.
        input_columns: input name to input.
        output_columns: the columns that a reply fills, by their names in the data, in order.
        aggregates: the columns computed from grouped generations.
        added_columns: all columns added to a row except metadata and model: `output_columns` and the aggregates.
        draws: the drawn values of rows.
        needed: the request parameters without which no reply can be used, each with a hint if a model rejects it.
    """

    calls_model = True

    @together
    def __init__(
        self,
        loaded: LoadedSpec,
        params: Mapping[str, Any] | None = None,
        *,
        allow_code: bool = False,
        allow_paths: Sequence[Path] = (),
        seed: int = 0,
        compiler: Compiler | None = None,
    ) -> None:
        spec, folder = loaded.spec, loaded.path.resolve().parent
        self._made_of = (loaded, dict(params or {}), allow_code, tuple(allow_paths), seed)
        self.spec: TaskSpec = spec
        self.path: Path = loaded.path
        self.name, self.seed = spec.name, seed
        if not allow_code and (runs := [p.function for p in spec.format_output if isinstance(p, PythonParser)]):
            raise UsageError(f"{self.path} runs Python code, {', '.join(runs)}: review it, then pass --allow-code")
        self.params = param_values(spec, params or {})
        self._base = {**GLOBALS, **spec.vars, **self.params, "vars": spec.vars, "params": self.params}
        self._compiler = compiler or compiler_of(loaded)
        self._media = Media([folder, *allow_paths])

        self.input_columns: dict[str, Input] = {
            name: column for name, column in spec.inputs.items() if self._holds(column.when, ("inputs", name, "when"))
        }
        self._base |= dict.fromkeys(spec.inputs.keys() - self.input_columns.keys())
        self._chats = chat_inputs(spec, self.input_columns)
        self._inputs = tuple(
            _Column(n, self.dataset_name(n), column, self._chats.get(n)) for n, column in self.input_columns.items()
        )
        self.route, self._prompt = asked_of(spec, lambda source, place: self._expression(source, place)(self._base))
        opens_turn = self._prompt is not None and self._prompt.opened is not None
        self._chat = Chat(spec.format_input, self._compiler, self._media, may_be_empty=opens_turn)

        known = {*self._base, *self.input_columns, *spec.draw, "draw", "row"}
        self._templates = {
            name: param_template(name, self.params[name], self._compiler.sandbox, known)
            for name, param in spec.params.items()
            if param.template
        }
        self._column_first = params_of_parsers(spec) if self._templates else frozenset()
        self.draws = Draws(
            spec.draw, self._expression, self._base, f"{seed}/{self.name}", spec.design, spec.input_mappings
        )
        outputs = {
            name: self._resolved(name, output)
            for name, output in spec.outputs.items()
            if self._holds(output.when, ("outputs", name, "when"))
        }
        if not outputs:
            raise UsageError(f"{self.path}: no output is active with these params; check each output's `when`")
        self._names = tuple((name, spec.output_mappings.get(name, name)) for name in outputs)
        self.output_columns = tuple(column for _, column in self._names)
        parsers = self._parsers()
        of_reply = [parser for parser, _ in parsers]
        self.aggregates = tuple(self._aggregates(outputs, of_reply))
        self.added_columns = (*self.output_columns, *(a.column for a in self.aggregates))
        if twice := [column for column in self.added_columns if self.added_columns.count(column) > 1]:
            raise UsageError(f"{self.path}: two outputs share a column with these params, `{twice[0]}`")
        self._drawn = tuple(name for name in outputs if name in spec.draw)
        filled = {name: output for name, output in outputs.items() if name not in spec.draw}
        self._columns = {name: ColumnType(o, name, padded=is_aligned(name, of_reply)) for name, o in filled.items()}
        self._examples = tuple(
            (
                name,
                o.examples
                if isinstance(o.examples, list)
                else self._expression(o.examples, ("outputs", name, "examples")),
            )
            for name, o in filled.items()
            if o.examples is not None
        )
        self._readers = tuple(self._reader(p, place, filled, folder, allow_code) for p, place in parsers)
        self._readers_with_options = tuple(zip(self._readers, of_reply, strict=True))
        self.needed = _needed(spec, of_reply)
        self._drops_reasoning = any(isinstance(p, TextParser) and p.reasoning == "drop" for p, _ in parsers)
        self._takes_tool_calls = any(p.parser in ("tool_calls", "python") for p, _ in parsers)
        self._checks = tuple(Check(c, self._expression(c, ("checks", i))) for i, c in enumerate(spec.checks))
        asked = self._asked(parsers)
        self._keywords = compile_keywords(spec, *asked, self._compiler)
        fixed = fixed_schema(spec, *asked)
        self._fixed_schema = None if fixed is None else reply_schema(fixed)
        self._row_schema = isinstance(getattr(spec.structured_output, "schema_", None), str)
        self._checks_schema = spec.structured_output is not True and not any(
            column.padded for column in self._columns.values()
        )
        """Whether to check replies against the schema too, and not only column types, which may keep part of a list."""

    @classmethod
    def load(
        cls,
        source: str | Path,
        params: Mapping[str, Any] | None = None,
        *,
        allow_code: bool = False,
        allow_paths: Sequence[Path] = (),
        seed: int = 0,
    ) -> Self:
        """Load a built-in task by name, or a task from a file.

        Args:
            source: the file, or the name.
            params: values for its params.
            allow_code: whether the task may run Python code.
            allow_paths: folders, in addition to the spec's own, whose files rows may name.
            seed: the random seed for drawn values.

        Raises:
            SpecError: the spec is invalid; the error lists every fault.
            UsageError: the task does not exist, or a param is invalid.
        """
        loaded = load_spec(source)
        if not isinstance(loaded, LoadedSpec):
            raise UsageError(f"{loaded.path} is a task of steps: use `distask.load` or Pipeline.load")
        return cls(loaded, params, allow_code=allow_code, allow_paths=allow_paths, seed=seed)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a task as its spec and params, and compile it again in the other process."""
        loaded, *given = self._made_of
        return _remade, (type(self), replace(loaded, path=loaded.path.absolute()), *given)

    def allow(self, folder: Path) -> None:
        """Let rows name files in this folder and its subfolders."""
        self._media.allow(folder)

    def limit_prompts(self, characters: int) -> None:
        """Set the maximum length of a chat's text."""
        self._compiler.sandbox.prompt_characters = characters

    def dataset_name(self, name: str) -> str:
        """The name of an input column in the data."""
        return self.spec.input_mappings.get(name, name)

    def missing_columns(self, columns: Iterable[str]) -> list[str]:
        """The required columns of the data that are missing from `columns`."""
        known = set(columns)
        needed = [column.key for column in self._inputs if column.required]
        for _, names in self._templates.values():
            needed += [name for name in names if name not in needed]
        return [name for name in needed if name not in known]

    def chat_input(self, column: str) -> ChatInput | None:
        """The required input that reads a chat from a column of the data, if any."""
        for name, chat in self._chats.items():
            if self.dataset_name(name) == column and self.input_columns[name].required:
                return chat
        return None

    def stand_in(self, column: str, row: Mapping[str, Any]) -> str | None:
        """A description of what the task reads instead of a column missing from a row; None if nothing is."""
        chat = self.chat_input(column)
        return None if chat is None else chat.stand_in(row)

    def check_inputs(self, row: Mapping[str, Any]) -> None:
        """Check the inputs of a row without rendering it.

        Raises:
            RowError: a column is missing, null or of the wrong type.
        """
        for column in self._inputs:
            column.of(row)

    def needs_check(self, kinds: Callable[[str], set[type]]) -> bool:
        """Whether `check_inputs` may fail for values of some types; `kinds` gives the types in a column of the data."""
        return any(column.has_chat or not kinds(column.key) <= column.unchecked for column in self._inputs)

    def renders_only_inputs(self) -> bool:
        """Whether rows with equal inputs have equal requests for certain: nothing else of a row is read or drawn."""
        if self.spec.draw or self._templates or self._chats or self._compiler.sandbox.files_read():
            return False
        data = self.spec.model_dump_json(by_alias=True, exclude_unset=True, exclude=_DESCRIPTIVE | {"format_output"})
        return re.search(r"\b(row|draw)\b", data) is None

    def fingerprint(self) -> str:
        """A hash of everything that can change a result: the spec, the files that it reads, params and seed."""
        spec = self.spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=_DESCRIPTIVE)
        files = self._compiler.sandbox.files_read()
        data = json.dumps([spec, files, self.params, self.seed], sort_keys=True, default=str)
        return hashlib.blake2b(data.encode(errors="surrogatepass"), digest_size=16).hexdigest()

    @together
    def format_input(self, row: Mapping[str, Any], index: Index = 0) -> list[Message]:
        """Build the chat for a row, in the format of the API; `index` is the row's position, for drawn values.

        Raises:
            RowError: a column is missing, null or of the wrong type, or rendering fails.
        """
        chat = self._chat.render(self._scope(row, index))
        return chat if self._prompt is None else [{"role": "prompt", "content": self._prompt.of(chat)}]

    @together
    def format_output(self, reply: str | Completion | None, row: Mapping[str, Any], index: Index = 0) -> dict[str, Any]:
        """Parse a reply into output columns, by their names in the data.

        Raises:
            InvalidReply: the reply can't be used; `kind` and `message` say why.
        """
        return self.parse_reply(reply, row, index).columns

    @together
    def parse_reply(self, reply: str | Completion | None, row: Mapping[str, Any], index: Index = 0) -> Parsed:
        """Parse a reply into output columns, with the error for null entries of aligned lists, if any.

        Raises:
            InvalidReply: no part of the reply can be used.
        """
        completion = reply if isinstance(reply, Completion) else Completion(reply)
        self._refuse_nothing(completion)
        scope = RowScope(lambda: self._scope(row, index, strict=False))
        drawn: dict[str, Any] = {}
        if self._drawn:
            values = self.draws.of(index, row)
            drawn = {name: values[name] for name in self._drawn}
        held = self._held_to(scope)
        completion, fault = (completion, None) if held is None else held.read(completion)
        columns, error = self._read(completion, scope, drawn)
        if fault is not None and self._checks_schema:
            raise fault
        return Parsed({data: columns[name] for name, data in self._names} if self._renames else columns, error)

    def reasoning_of(self, completion: Completion) -> str | None:
        """The model's reasoning: sent separately by the server, or dropped from the reply by the `text` parser."""
        if not self._drops_reasoning:
            return completion.reasoning or None
        written = None
        if self._drops_reasoning and completion.text:
            written = split_reasoning(completion.text).reasoning
        return "\n\n".join(filter(None, (completion.reasoning, written))) or None

    def output_schemas(self, *, grouped: bool) -> dict[str, Any]:
        """The JSON Schemas of the columns that it adds, not counting nulls; drawn values only if the spec types them.

        Args:
            grouped: whether a row holds lists with one item per generation.
        """
        schemas: dict[str, Any] = {}
        for name, column in self._names:
            if name in self._columns:
                schemas[column] = self._columns[name].schema
            elif (output := self.spec.outputs[name]).type or output.choices:
                schemas[column] = ColumnType(output, name).schema
        if not grouped:
            return schemas
        lists = {name: {"type": "array", "items": schema} for name, schema in schemas.items()}
        return {**lists, **{a.column: a.schema for a in self.aggregates}}

    def null_output(self) -> dict[str, None]:
        """The output columns of a failed generation."""
        return dict.fromkeys(self.output_columns)

    def keywords(self, row: Mapping[str, Any], index: Index = 0) -> dict[str, Any]:
        """The request parameters that the spec sets for a row: structured output, tools. Raises `RowError`."""
        made = {} if self._keywords is None else self._of_row(self._keywords, row, index)
        if self._prompt is not None and self._prompt.stop and self.spec.llm.stop is None:
            made["stop"] = list(self._prompt.stop)
        if self.spec.prefill:
            made["extra_body"] = {**made.get("extra_body", {}), **GO_ON}
        return made

    @together
    def _of_row(self, make: Callable[[Scope], dict[str, Any]], row: Mapping[str, Any], index: Index) -> dict[str, Any]:
        return make(self._scope(row, index))

    @together
    def example(self, row: Mapping[str, Any], index: Index = 0, sample: int = 0) -> str:
        """Simulate a reply that `format_output` accepts; deterministic for a row, seed and sample.

        Raises:
            RowError: the `examples` of an output can't be evaluated for the row.
        """
        data = json.dumps(row, sort_keys=True, default=repr)
        rng = random.Random(f"{self.seed}/{index}/{sample}/{data}")  # noqa: S311 - no secret
        scope = RowScope(lambda: self._scope(row, index, strict=False))
        writers = self._writers(scope)
        if self.spec.tools:  # a model that has tools calls one or answers
            rng.shuffle(writers)
        replies: list[str] = []
        for attempt in range(EXAMPLES_TRIED):
            # half of the attempts use the first writer, which follows the format that the prompt asks for
            write = writers[max(0, attempt - EXAMPLES_TRIED // 2) % len(writers)]
            given = self._given(scope, rng)
            try:
                replies.append(write(rng, given=given))
                made = self.parse_reply(Completion(replies[-1], logprobs=certain_logprobs(replies[-1])), row, index)
            except Exception:  # noqa: BLE001, S112 - an invalid reply, or a schema that no value fits
                continue
            if made.error is None:
                return replies[-1]
        return replies[0] if replies else ""

    def _given(self, scope: RowScope, rng: random.Random) -> dict[str, Any]:
        """A value for each output that has `examples`, unless the list is empty; each can read those before it."""
        given: dict[str, Any] = {}
        for name, examples in self._examples:
            try:
                values = examples if isinstance(examples, list) else examples({**scope.names(), **given})
            except RowError as error:
                raise RowError("examples", f"the `examples` of `{name}` fail: {error.message}") from None
            if not isinstance(values, list | tuple):
                raise RowError("examples", f"the `examples` of `{name}` are {type(values).__name__}, not a list")
            if values:
                given[name] = rng.choice(values)
        return given

    def _writers(self, scope: RowScope) -> list[Callable[..., str]]:
        """Functions that simulate a reply: from the request's constraints first, then one for each parser.

        The constraints know nothing of `examples`, so they are last if an output has any.
        """
        writers: list[Callable[..., str]] = [partial(reader.parser.example, scope=scope) for reader in self._readers]
        held = None
        if self._keywords is not None:
            try:
                held = held_reply(self._keywords(scope.names()))
            except RowError:
                held = None
        if held is None:
            return writers
        return [*writers, partial(_unaware, held)] if self._examples else [partial(_unaware, held), *writers]

    @cached_property
    def _renames(self) -> bool:
        """Whether the columns of a reply have other names in the data, or another order."""
        return self._names != tuple((name, name) for name in self._columns)

    # The names that templates see

    def _scope(self, row: Mapping[str, Any], index: Index, *, strict: bool = True) -> dict[str, Any]:
        drawn = self.draws.of(index, row) if self.spec.draw else {}
        scope = {**self._base, **drawn, "draw": drawn, "row": row}
        for column in self._inputs:
            scope[column.name] = column.of(row) if strict else column.roughly_of(row)
        if strict and self._templates:
            seen = {**row, **scope, **{name: row[name] for name in self._column_first if name in row}}
            scope |= {name: render(seen) for name, (render, _) in self._templates.items()}
        return scope

    # Reading replies

    def _refuse_nothing(self, completion: Completion) -> None:
        """Raise `InvalidReply` with the reason if a reply is empty."""
        text = completion.text
        if completion.finish_reason == "content_filter":
            raise InvalidReply("content_filter", "the server's filter withheld the reply")
        if text and not text.isspace():
            return
        if completion.refusal:
            raise InvalidReply("refusal", f"the model refused: {completion.refusal}")
        if completion.tool_calls:
            if self._takes_tool_calls:
                return
            raise InvalidReply("empty", "the reply is empty: the model called a tool instead")
        if completion.finish_reason == "length":
            raise InvalidReply("empty", "the reply is empty: max_tokens were used up before it began")
        raise InvalidReply("empty", "the reply is empty")

    def _held_to(self, scope: RowScope) -> ReplySchema | None:
        """The schema in the row's request."""
        if not self._row_schema or self._keywords is None:
            return self._fixed_schema
        try:
            asked = self._keywords(scope.names()).get("response_format")
        except RowError:
            return None
        return None if asked is None else reply_schema(asked["json_schema"]["schema"])

    def _read(
        self, completion: Completion, scope: RowScope, drawn: Mapping[str, Any]
    ) -> tuple[dict[str, Any], InvalidReply | None]:
        """The columns of the first parser that succeeds, with valid types and checks.

        If none succeeds, use the first parser whose only errors are entries of aligned lists; otherwise raise the error
        of the parser that got furthest, or the first of those in a tie.
        """
        errors: list[InvalidReply] = []
        partial: tuple[dict[str, Any], InvalidReply] | None = None
        for number, (reader, options) in enumerate(self._readers_with_options):
            try:
                if number:
                    METER.step()
                columns, refused = reader.read(completion, scope)
                columns |= drawn
                if self._checks:
                    names = {**reader.names(completion, scope), **columns}
                    for check in self._checks:
                        check(names)
            except InvalidReply as error:
                error.parser = options
                errors.append(error)
                continue
            except LimitError as error:
                raise InvalidReply("parse_timeout", f"the reply can't be read: {error}") from None
            if refused is None:
                return columns, None
            refused.parser = options
            partial = partial or (columns, refused)
        if partial is not None:
            return partial
        raise max(errors, key=lambda error: error.progress)

    # Compilation

    def _expression(self, source: str, place: Place) -> Expression:
        return self._compiler.expression(source, place)

    def _holds(self, when: str | None, place: Place) -> bool:
        if when is None:
            return True
        try:
            return bool(self._expression(when, place)(self._base))
        except RowError as error:
            raise UsageError(f"{self.path}: `when: {when}` can't be evaluated: {error.message}") from None

    def _resolved(self, name: str, output: Output) -> Output:
        """The output, with its schema expression evaluated."""
        if not isinstance(output.schema_, str):
            return output
        place: Place = ("outputs", name, "schema")
        try:
            schema = self._expression(output.schema_, place)(self._base)
        except RowError as error:
            raise UsageError(f"{self.path}: the schema of `{name}` can't be evaluated: {error.message}") from None
        import jsonschema_rs

        from distask.spec.check.json_schemas import check_schema

        try:
            jsonschema_rs.meta.validate(schema)
            check_schema(schema)
        except (jsonschema_rs.ValidationError, ValueError) as error:
            reason = getattr(error, "message", error)
            raise UsageError(f"{self.path}: the schema of `{name}` is not a valid JSON Schema: {reason}") from None
        return output.model_copy(update={"schema_": schema})

    def _aggregates(self, outputs: Mapping[str, Output], parsers: Sequence[Parser]) -> Iterable[Aggregate]:
        names = dict(self._names)
        for column, name, how in aggregate_columns(self.spec, outputs):
            output = outputs[name]
            if how in OF_NUMBERS and not holds_numbers(output):
                raise UsageError(
                    f"{self.path}: `{how}` needs numbers, but `{name}` does not hold numbers with these params"
                )
            reduce, schema = REDUCERS[how], ColumnType(output, name).schema
            if not is_entrywise(name, output, parsers):
                yield Aggregate(column, names[name], reduce, schema_of_reduced(how, schema))
            else:
                entries = schema_of_reduced(how, schema.get("items") or {})
                yield Aggregate(column, names[name], entrywise(reduce), {"type": "array", "items": entries})

    def _parsers(self) -> list[tuple[Parser, Place]]:
        """The active parsers, with their places in the spec."""
        found: list[tuple[Parser, Place]] = []
        for index, parser in enumerate(self.spec.format_output):
            place: Place = ("format_output", index) if len(self.spec.format_output) > 1 else ("format_output",)
            if self._holds(parser.when, (*place, "when")):
                found.append((parser, place))
        if not found:
            raise UsageError(
                f"{self.path}: no parser in `format_output` is active with these params; check each `when`"
            )
        return found

    def _reader(
        self, options: Parser, place: Place, outputs: Mapping[str, Output], folder: Path, allow_code: bool
    ) -> Reader:
        computed = {
            name: self._computed(value, (*place, "columns", name))
            for name, value in (options.columns or {}).items()
            if not _is_pointer(options, value)
        }
        parsed = {name: output for name, output in outputs.items() if name not in computed}
        context = Context(
            outputs=parsed,
            columns=self._columns,
            expression=lambda source: self._expression(source, place),
            folder=folder,
            allow_code=allow_code,
            tools=self._tools_of(),
        )
        in_force = {name: expression for name, expression in computed.items() if name in outputs}
        return Reader(options.parser, parser_class(options.parser)(options, context), in_force, self._columns)

    def _tools_of(self) -> Callable[[Mapping[str, Any]], Any] | None:
        tools = self.spec.tools
        if isinstance(tools, str):
            return self._expression(tools, ("tools",))
        return (lambda _scope: tools) if tools else None

    def _computed(self, value: Any, place: Place) -> Expression:
        return self._expression(value, place) if isinstance(value, str) else lambda _scope: value

    def _asked(self, parsers: Sequence[tuple[Parser, Place]]) -> tuple[dict[str, ColumnType], dict[str, str]]:
        """The columns to request from the model, and their JSON pointers, for the first parser that reads JSON."""
        first = next((p for p, _ in parsers if isinstance(p, JsonParser)), parsers[0][0])
        named = first.columns or {}
        pointers = {name: value for name, value in named.items() if _is_pointer(first, value)}
        asked = {n: c for n, c in self._columns.items() if n not in named or n in pointers}
        return asked, pointers


def _remade(
    kind: type[Task], loaded: LoadedSpec, params: dict[str, Any], allow_code: bool, paths: Sequence[Path], seed: int
) -> Task:
    return kind(loaded, params, allow_code=allow_code, allow_paths=paths, seed=seed)


def _unaware(write: Callable[[random.Random], str], rng: random.Random, given: Mapping[str, Any]) -> str:  # noqa: ARG001
    """A reply that ignores the values of `examples`."""
    return write(rng)


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


def _is_pointer(options: Parser, value: Any) -> bool:
    return isinstance(options, JsonParser) and isinstance(value, str) and (value == "" or value.startswith("/"))
