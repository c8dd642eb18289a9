"""Parse the replies to a task, and simulate them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.errors import InvalidReply, RowError
from distask.llm.request import Completion
from distask.llm.tokens import certain_logprobs
from distask.spec.language.parsers import TextParser
from distask.task.keywords import compile_keywords, fixed_schema, held_reply
from distask.task.reply.parse import Check
from distask.task.reply.reasoning import split_reasoning
from distask.task.reply.reply_schema import ReplySchema, reply_schema
from distask.task.templates.limits import METER, LimitError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

    from distask.spec.language.model import TaskSpec
    from distask.spec.language.parsers import Parser
    from distask.task.outputs import Outputs
    from distask.task.reply.parse import RowScope
    from distask.task.templates.compiler import Compiler

ATTEMPTS = 20
"""Attempts to simulate a valid reply before an invalid one is returned."""


class Parsed(Struct, frozen=True):
    """A parsed reply."""

    columns: dict[str, Any]
    """The output columns, by their names in the data."""
    error: InvalidReply | None = None
    """Why entries of aligned lists are null; None if every entry is valid."""


class Replies:
    """How the replies to a task are parsed and simulated.

    Attributes:
        keywords: from a row's scope to the request parameters that the spec sets; None if it sets none.
        needed: the request parameters without which no reply can be used, each with a hint if a model rejects it.
    """

    def __init__(self, spec: TaskSpec, outputs: Outputs, compiler: Compiler) -> None:
        self._spec, self._outputs = spec, outputs
        parsers = outputs.parsers
        self._readers = tuple(zip(outputs.readers, parsers, strict=True))
        self._renames = outputs.names != tuple((name, name) for name in outputs.columns)
        """Whether the columns of a reply have other names in the data, or another order."""
        self._drops_reasoning = any(isinstance(p, TextParser) and p.reasoning == "drop" for p in parsers)
        self._takes_tool_calls = any(p.parser in ("tool_calls", "python") for p in parsers)
        self._checks = tuple(Check(c, compiler.expression(c, ("checks", i))) for i, c in enumerate(spec.checks))
        self.needed = _needed(spec, parsers)
        requested = outputs.requested()
        self.keywords = compile_keywords(spec, *requested, compiler)
        fixed = fixed_schema(spec, *requested)
        self._fixed_schema = None if fixed is None else reply_schema(fixed)
        self._row_schema = isinstance(getattr(spec.structured_output, "schema_", None), str)
        self._checks_schema = spec.structured_output is not True and not any(
            column.padded for column in outputs.columns.values()
        )
        """Whether to check replies against the schema too, and not only column types, which may keep part of a list."""

    def parse(self, completion: Completion, scope: RowScope, drawn: Mapping[str, Any]) -> Parsed:
        """Parse a reply; raises `InvalidReply`.

        Args:
            completion: the reply.
            scope: the names of the row.
            drawn: the outputs that are drawn values.
        """
        self._refuse_nothing(completion)
        held = self._held_to(scope)
        completion, fault = (completion, None) if held is None else held.read(completion)
        columns, error = self._read(completion, scope, drawn)
        if fault is not None and self._checks_schema:
            raise fault
        if self._renames:
            columns = {data: columns[name] for name, data in self._outputs.names}
        return Parsed(columns, error)

    def reasoning_of(self, completion: Completion) -> str | None:
        """The model's reasoning: sent separately by the server, or dropped from the reply by the `text` parser."""
        if not self._drops_reasoning:
            return completion.reasoning or None
        written = split_reasoning(completion.text).reasoning if completion.text else None
        return "\n\n".join(filter(None, (completion.reasoning, written))) or None

    def simulate(self, rng: random.Random, scope: RowScope, drawn: Mapping[str, Any]) -> str:
        """Simulate a reply that `parse` accepts, if one is found in `ATTEMPTS`.

        Raises:
            RowError: the `examples` of an output can't be evaluated for the row.
        """
        writers = self._writers(scope)
        if self._spec.tools:  # a model that has tools calls one or answers
            rng.shuffle(writers)
        replies: list[str] = []
        for attempt in range(ATTEMPTS):
            # half of the attempts use the first writer, which follows the format that the prompt asks for
            write = writers[max(0, attempt - ATTEMPTS // 2) % len(writers)]
            given = self._given(scope, rng)
            try:
                replies.append(write(rng, given=given))
                completion = Completion(replies[-1], logprobs=certain_logprobs(replies[-1]))
                parsed = self.parse(completion, scope, drawn)
            except Exception:  # noqa: BLE001, S112 - an invalid reply, or a schema that no value fits
                continue
            if parsed.error is None:
                return replies[-1]
        return replies[0] if replies else ""

    def _given(self, scope: RowScope, rng: random.Random) -> dict[str, Any]:
        """A value for each output that has `examples`, unless the list is empty; each can read those before it."""
        given: dict[str, Any] = {}
        for name, examples in self._outputs.examples.items():
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
        writers: list[Callable[..., str]] = [partial(r.parser.example, scope=scope) for r in self._outputs.readers]
        held = None
        if self.keywords is not None:
            try:
                held = held_reply(self.keywords(scope.names()))
            except RowError:
                held = None
        if held is None:
            return writers
        unaware = partial(_unaware, held)
        return [*writers, unaware] if self._outputs.examples else [unaware, *writers]

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
        if not self._row_schema or self.keywords is None:
            return self._fixed_schema
        try:
            asked = self.keywords(scope.names()).get("response_format")
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
        for number, (reader, options) in enumerate(self._readers):
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


def _needed(spec: TaskSpec, parsers: Sequence[Parser]) -> dict[str, str]:
    found: dict[str, str] = {}
    if any(parser.parser == "logprobs" for parser in parsers):
        hint = "the task's `logprobs` parser needs them: choose a model or server that returns logprobs"
        found |= {"logprobs": hint, "top_logprobs": hint}
    if spec.tools:
        found["tools"] = "the task gives the model tools: choose a model that supports tool calls"
    return found


def _unaware(write: Callable[[random.Random], str], rng: random.Random, given: Mapping[str, Any]) -> str:  # noqa: ARG001
    """A reply that ignores the values of `examples`."""
    return write(rng)
