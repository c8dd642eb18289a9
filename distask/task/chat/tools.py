"""Check the definitions of tools, and calls of tools against them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from distask.task.chat.messages import kind_of

_REMEMBERED = 512
_LONGEST_ERROR = 300
"""Maximum characters of a schema's error, which may quote the value."""


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
