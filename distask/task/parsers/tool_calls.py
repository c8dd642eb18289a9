"""`tool_calls`: the tool calls in a reply."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from distask.errors import Progress
from distask.task.chat.tools import tools_problem
from distask.task.parsers.base import Context, Given, Parser, Scope, invalid, text_of
from distask.task.parsers.json import first_json
from distask.task.reply.examples import instance
from distask.task.reply.lenient_json import loads

if TYPE_CHECKING:
    import random

    from distask.llm.request import Completion
    from distask.spec.language.parsers import ToolCallsParser as Options


class ToolCallsParser(Parser):
    """Returns `[{name, arguments}]` with parsed arguments; text that contains such a list works too."""

    def __init__(self, options: Options, context: Context) -> None:
        self._column = context.only(options.column)
        self._tools = context.tools

    def parse(self, completion: Completion, scope: Scope) -> dict[str, Any]:  # noqa: ARG002 - a parser's interface
        calls = completion.tool_calls or first_json(text_of(completion), wanted=(list,))
        return {self._column: [_call(call) for call in calls]}

    def example(self, rng: random.Random, scope: Scope, given: Given) -> str:  # noqa: ARG002
        tools = None if self._tools is None else self._tools(scope)
        if tools and tools_problem(tools) is None:
            function = rng.choice(tools)["function"]
            arguments = instance(dict(function.get("parameters") or {"type": "object", "properties": {}}), rng)
            return json.dumps([{"name": function["name"], "arguments": arguments}], ensure_ascii=False)
        return json.dumps([{"name": "lookup", "arguments": {"query": f"item {rng.randint(1, 99)}"}}])


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise invalid("a tool call has no name", Progress.PART)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = loads(arguments or "{}")
        except ValueError:
            raise invalid(
                f"the arguments of the call of {function['name']} are not valid JSON", Progress.PART
            ) from None
    return {"name": function["name"], "arguments": arguments}
