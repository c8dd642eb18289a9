"""Read and check the definitions of tools, and check calls of tools against them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from distask.errors import RowError
from distask.task.chat.messages import kind_of

_REMEMBERED = 512
_LONGEST_ERROR = 300
"""Maximum characters of a schema's error, which may quote the value."""


_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The names of functions that OpenAI's and Mistral's services accept."""
_SCHEMAS = ("parameters", "input_schema")


def tool_definitions(tools: Any, form: str = "object", complete: bool = False) -> list[dict[str, Any]] | str | None:
    """Definitions of tools in OpenAI's format, `{type: function, function: {name, …}}`; null if there are none.

    Args:
        tools: definitions, as a list or JSON text: in this format, or functions alone, `[{name, description,
            parameters}]`, also with Anthropic's `input_schema`.
        form: whether to return a list (`object`) or JSON text (`text`).
        complete: whether to add empty descriptions and parameters where they are missing, which mistral-finetune and
            LLaMA-Factory need, and to check the names as OpenAI's and Mistral's services do.

    Raises:
        RowError: the tools are in another format, or the parameters are not a JSON Schema.
    """
    if isinstance(tools, str):
        try:
            tools = json.loads(tools or "[]")
        except (ValueError, RecursionError):
            raise RowError("tools", "the tools are text that is not valid JSON") from None
    if tools is None or tools in ([], ()):
        return None
    if isinstance(tools, Mapping):
        tools = [tools]
    made = [_definition(tool) for tool in tools] if isinstance(tools, list | tuple) else tools
    if (problem := tools_problem(made)) is not None:
        raise RowError("tools", problem)
    if complete:
        made = [_completed(tool) for tool in made]
    return json.dumps(made, ensure_ascii=False) if form == "text" else made


def _definition(tool: Any) -> Any:
    """A definition in OpenAI's format; the value itself if it is not a definition in a known format."""
    if not isinstance(tool, Mapping) or "function" in tool or not isinstance(tool.get("name"), str):
        return tool
    function = {"name": tool["name"]}
    if tool.get("description") is not None:
        function["description"] = tool["description"]
    schema = next((tool[key] for key in _SCHEMAS if tool.get(key) is not None), None)
    if schema is not None:
        function["parameters"] = schema
    return {"type": "function", "function": function}


def _completed(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool["function"]
    check_name(function["name"])
    parameters = {"type": "object", "properties": {}, **(function.get("parameters") or {})}
    rest = {key: value for key, value in function.items() if key not in ("name", "description", "parameters")}
    completed = {"name": function["name"], "description": function.get("description") or "", "parameters": parameters}
    return {"type": "function", "function": completed | rest}


def check_name(name: Any, what: str = "a function's name") -> None:
    """Raise `RowError` if OpenAI's and Mistral's services would refuse the name of a function or message."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise RowError("tools", f"{what} must be 1 to 64 letters of a to z, digits, `_` and `-`, not `{name!s:.80}`")


def tools_problem(tools: Any) -> str | None:
    """The first reason why tools can't be given to a model; null if there is none.

    Args:
        tools: definitions, `[{type: function, function: {name, description, parameters}}]`, in OpenAI's format.
    """
    if not isinstance(tools, list | tuple) or not tools:
        return "there are no tools" if not tools else f"the tools are {kind_of(tools)}, not a list"
    names: set[str] = set()
    for number, tool in enumerate(tools):
        function = _function_of(tool)
        if function is None:
            return f"tools[{number}] is not of the form {{type: function, function: {{name, description, parameters}}}}"
        name = function["name"]
        if name in names:
            return f"two tools have the name {name}"
        names.add(name)
        parameters = function.get("parameters")
        if parameters is None:
            continue
        if not isinstance(parameters, Mapping):
            return f"the parameters of {name} are {kind_of(parameters)}, not a JSON Schema"
        problem = _schema_problem(_key(parameters))
        if problem is not None:
            return f"the parameters of {name} are not a valid JSON Schema: {problem}"
    return None


def call_problem(call: Any, tools: Any) -> str | None:
    """The reason why a call does not fit the definitions of tools; null if it does.

    Args:
        call: `{name, arguments}`, with arguments as a mapping.
        tools: definitions as for `tools_problem`, which are valid.
    """
    functions = [function for tool in tools or () if (function := _function_of(tool)) is not None]
    name, arguments = (call.get("name"), call.get("arguments")) if isinstance(call, Mapping) else (None, None)
    function = next((each for each in functions if each["name"] == name), None)
    if function is None:
        known = ", ".join(each["name"] for each in functions)
        return f"there is no tool {name!s:.60}; the tools are: {known}"
    if not isinstance(arguments, Mapping):
        return f"the arguments of {name} are {kind_of(arguments)}, not an object"
    parameters = function.get("parameters")
    if parameters is None:
        return f"{name} takes no arguments" if arguments else None
    validator = _validator(_key(parameters))
    try:
        error = None if validator is None else validator.error_of(dict(arguments))
    except ValueError as too_deep:
        return f"the arguments of {name} can't be checked: {too_deep}"
    if error is None:
        return None
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
    where = f"{path.removeprefix('.')}: " if path else ""
    message = str(error.message).replace("\n", " ")
    return f"the arguments of {name} don't fit its parameters: {where}{message:.{_LONGEST_ERROR}}"


def _function_of(tool: Any) -> Mapping[str, Any] | None:
    function = (
        tool.get("function") if isinstance(tool, Mapping) and tool.get("type", "function") == "function" else None
    )
    is_named = isinstance(function, Mapping) and isinstance(function.get("name"), str) and function["name"]
    return function if is_named else None


def _key(schema: Mapping[str, Any]) -> str:
    return json.dumps(schema, default=str)


@lru_cache(_REMEMBERED)
def _schema_problem(schema: str) -> str | None:
    import jsonschema_rs

    try:
        jsonschema_rs.meta.validate(json.loads(schema))
    except (jsonschema_rs.ValidationError, ValueError) as error:
        return str(getattr(error, "message", error)).splitlines()[0][:_LONGEST_ERROR]
    return None if _validator(schema) is not None else "it refers to another schema, or has an invalid pattern"


@lru_cache(_REMEMBERED)
def _validator(schema: str) -> Any:
    """The validator of a schema; None if it can't be compiled."""
    from distask.spec.check.json_schemas import Schema

    try:
        return Schema(json.loads(schema))
    except ValueError:
        return None
