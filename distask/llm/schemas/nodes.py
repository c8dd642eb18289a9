"""Inspect JSON Schemas: resolve references, find subschemas, and check whether null is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

STRING_KEYWORDS = frozenset({"minLength", "maxLength", "pattern", "format"})
NUMBER_KEYWORDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
ARRAY_KEYWORDS = frozenset(
    {
        "items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems",
        "contains", "minContains", "maxContains", "unevaluatedItems",
    }
)  # fmt: skip
OBJECT_KEYWORDS = frozenset(
    {
        "properties", "required", "additionalProperties", "patternProperties", "propertyNames",
        "minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "unevaluatedProperties",
    }
)  # fmt: skip
OPTIONAL_CONSTRAINTS = (
    STRING_KEYWORDS
    | NUMBER_KEYWORDS
    | (ARRAY_KEYWORDS - {"items", "prefixItems", "additionalItems"})
    | (OBJECT_KEYWORDS - {"properties", "required", "additionalProperties"})
    | {"not", "if", "then", "else"}
)
"""Keywords that constrain a value without shaping it: they can be checked in the reply instead."""

_HOLD_ONE = frozenset(
    {
        "items", "additionalItems", "contains", "unevaluatedItems", "additionalProperties", "propertyNames",
        "unevaluatedProperties", "not", "if", "then", "else",
    }
)  # fmt: skip
_HOLD_LIST = frozenset({"anyOf", "oneOf", "allOf", "prefixItems", "items"})
_HOLD_MAP = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})

Schema = dict[str, Any]


def target(root: Any, reference: Any) -> Any:
    """Resolve a reference within the schema (`#`, `#/$defs/a`); None if there is no target."""
    if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
        return None
    node = root
    for step in reference.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isascii() and key.isdigit() and int(key[:9]) < len(node):
            node = node[int(key)]
        else:
            return None
    return node


def map_subschemas(node: Schema, change: Callable[[Any], Any]) -> Schema:
    """Return the schema with each of its direct subschemas replaced by the result of `change`."""
    made: Schema = {}
    for key, value in node.items():
        if key in _HOLD_MAP and isinstance(value, dict):
            made[key] = {name: change(inner) for name, inner in value.items()}
        elif key in _HOLD_LIST and isinstance(value, list):
            made[key] = [change(inner) for inner in value]
        elif key in _HOLD_ONE and isinstance(value, dict | bool):
            made[key] = change(value)
        else:
            made[key] = value
    return made


def json_type(value: Any) -> str:
    """Return the JSON Schema type of a value."""
    if value is None:
        return "null"
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "object"


def types_of(node: Schema) -> list[str]:
    """Return the types that a schema allows: those it names, else those implied by other keywords; empty if unknown."""
    named = node.get("type")
    if isinstance(named, str):
        return [named]
    if isinstance(named, list):
        return [name for name in named if isinstance(name, str)]
    values = [node["const"]] if "const" in node else node.get("enum")
    if isinstance(values, list):
        return list(dict.fromkeys(json_type(value) for value in values))
    groups = (
        ("object", OBJECT_KEYWORDS),
        ("array", ARRAY_KEYWORDS),
        ("string", STRING_KEYWORDS),
        ("number", NUMBER_KEYWORDS),
    )
    return [name for name, keywords in groups if not keywords.isdisjoint(node)]


def allows_null(root: Any, node: Any, known: dict[Any, bool] | None = None) -> bool:
    """Return whether a schema's types, values and alternatives allow null; `known` caches references."""
    if not isinstance(node, dict):
        return node is not False
    known = {} if known is None else known
    if "$ref" in node and not _reference_allows_null(root, node["$ref"], known):
        return False
    named = node.get("type")
    if named is not None and "null" not in ([named] if isinstance(named, str) else named):
        return False
    if "const" in node and node["const"] is not None:
        return False
    if isinstance(node.get("enum"), list) and None not in node["enum"]:
        return False
    for key in ("anyOf", "oneOf"):
        if isinstance(node.get(key), list) and not any(allows_null(root, each, known) for each in node[key]):
            return False
    every = node.get("allOf")
    if isinstance(every, list) and not all(allows_null(root, each, known) for each in every):
        return False
    return not ("not" in node and node["not"] != {} and allows_null(root, node["not"], known))


def _reference_allows_null(root: Any, reference: Any, known: dict[Any, bool]) -> bool:
    if not isinstance(reference, str):
        return True
    if reference not in known:
        known[reference] = True  # for a reference to itself
        known[reference] = allows_null(root, target(root, reference) or {}, known)
    return known[reference]
