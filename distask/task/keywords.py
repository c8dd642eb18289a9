"""Build request parameters from a spec: structured output and tools."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from distask.errors import RowError
from distask.spec.language.model import StructuredOutput

if TYPE_CHECKING:
    import random

    from distask.spec.language.model import TaskSpec
    from distask.task.column_types import ColumnType
    from distask.task.templates.compiler import Compiler, Expression, Place, Scope

MakeKeywords = Callable[["Scope"], dict[str, Any]]


def compile_keywords(
    spec: TaskSpec, columns: Mapping[str, ColumnType], pointers: Mapping[str, str], compiler: Compiler
) -> MakeKeywords | None:
    """A function from a row's scope to its request parameters; None if the spec sets none.

    Args:
        spec: the spec.
        columns: the columns that the reply fills, with their types.
        pointers: JSON pointers of columns that are not top-level keys of the reply.
        compiler: compiles the expressions of the spec.
    """
    makers = []
    if spec.tools:
        makers.append(_tools(spec.tools, compiler))
    asked = spec.structured_output
    if asked is True:
        fixed = _response_format(spec.name, outputs_schema(columns, pointers))
        makers.append(lambda _scope: fixed)
    elif isinstance(asked, StructuredOutput):
        makers.append(_structured(spec.name, asked, compiler))
    if not makers:
        return None

    def make(scope: Scope) -> dict[str, Any]:
        return {key: value for maker in makers for key, value in maker(scope).items()}

    return make


def fixed_schema(
    spec: TaskSpec, columns: Mapping[str, ColumnType], pointers: Mapping[str, str]
) -> dict[str, Any] | None:
    """The schema for every reply; None if there is none, or if each row has its own."""
    asked = spec.structured_output
    if asked is True:
        return outputs_schema(columns, pointers)
    fixed = asked.schema_ if isinstance(asked, StructuredOutput) else None
    return fixed if isinstance(fixed, dict) else None


def outputs_schema(columns: Mapping[str, ColumnType], pointers: Mapping[str, str]) -> dict[str, Any]:
    """The JSON Schema of a reply with exactly these columns."""
    schema = _closed_object()
    for name, column in columns.items():
        *folders, last = _steps(pointers.get(name, f"/{name}"))
        place = schema
        for step in folders:
            place = place["properties"].setdefault(step, _closed_object())
            place.setdefault("properties", {})
        own = column.schema
        place["properties"][last] = {"anyOf": [own, {"type": "null"}]} if column.nullable else own
    _require_all(schema)
    return schema


def _closed_object() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


def _require_all(schema: dict[str, Any]) -> None:
    if schema.get("required") == [] and schema.get("additionalProperties") is False:
        schema["required"] = list(schema["properties"])
        for inner in schema["properties"].values():
            if isinstance(inner, dict):
                _require_all(inner)


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _tools(tools: list[dict[str, Any]] | str, compiler: Compiler) -> MakeKeywords:
    if not isinstance(tools, str):
        return lambda _scope: {"tools": tools}
    expression = compiler.expression(tools, ("tools",))

    def make(scope: Scope) -> dict[str, Any]:
        value = expression(scope)
        if value is not None and not isinstance(value, list):
            raise RowError("template", f"`tools` needs a list, got {type(value).__name__}")
        return {"tools": value} if value else {}

    return make


def _structured(name: str, asked: StructuredOutput, compiler: Compiler) -> MakeKeywords:
    """Use the first kind of constraint that is not null for the row."""
    place: Place = ("structured_output",)
    ways: list[tuple[str, Expression]] = []
    for way, field in (("schema", "schema_"), ("regex", "regex"), ("choice", "choice"), ("grammar", "grammar")):
        value = getattr(asked, field)
        if value is None:
            continue
        is_expression = isinstance(value, str) and (way in ("schema", "choice") or "{{" in value) and way != "grammar"
        ways.append((way, compiler.expression(value, (*place, way)) if is_expression else _constant(value)))

    def make(scope: Scope) -> dict[str, Any]:
        for way, value_of in ways:
            value = value_of(scope)
            if value is not None:
                return _response_format(name, value) if way == "schema" else _guided(way, value)
        return {}

    return make


def _constant(value: Any) -> Expression:
    return lambda _scope: value


def _guided(way: str, value: Any) -> dict[str, Any]:
    """The fields for vLLM (with the old names, which new servers ignore) and llama-server (a grammar)."""
    if way == "choice":
        if not isinstance(value, list) or not value:
            raise RowError("template", "`structured_output.choice` needs a list")
        value = [str(choice) for choice in value]
    elif not isinstance(value, str):
        raise RowError("template", f"`structured_output.{way}` needs text, got {type(value).__name__}")
    extra = {"structured_outputs": {way: value}, f"guided_{way}": value}
    if way == "grammar":
        extra["grammar"] = value
    elif way == "choice":
        extra["grammar"] = _grammar_of(value)
    return {"extra_body": extra}


def _grammar_of(choices: list[str]) -> str:
    """A GBNF grammar that allows only these replies."""
    return "root ::= " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)


def _response_format(name: str, schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict):
        raise RowError("template", f"`structured_output.schema` needs a mapping, got {type(schema).__name__}")
    known = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]
    return {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": known, "schema": schema, "strict": is_closed(schema)},
        }
    }


def held_reply(keywords: Mapping[str, Any]) -> Callable[[random.Random], str] | None:
    """A function that simulates replies under the constraints in `keywords`; None if there are none."""
    from distask.task.reply.examples import instance, matching

    extra = keywords.get("extra_body", {})
    if "response_format" in keywords:
        schema = keywords["response_format"]["json_schema"]["schema"]
        return lambda rng: json.dumps(instance(schema, rng), ensure_ascii=False)
    if "guided_choice" in extra:
        return lambda rng: str(rng.choice(extra["guided_choice"]))
    if "guided_regex" in extra:
        return lambda rng: matching(extra["guided_regex"], rng)
    return None


def is_closed(schema: Any) -> bool:
    """Whether a schema works in strict mode: each object is closed and requires all of its properties."""
    if isinstance(schema, list):
        return all(is_closed(each) for each in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(properties) != set(schema.get("required", ())):
            return False
        if not all(is_closed(inner) for inner in properties.values()):
            return False
    within = ("items", "anyOf", "oneOf", "allOf", "prefixItems")
    inner = [schema[key] for key in within if key in schema]
    inner += [each for key in ("$defs", "definitions") for each in schema.get(key, {}).values()]
    return all(is_closed(each) for each in inner)
