"""Fit the JSON Schema of a request to what its server accepts.

Removing parts only makes the schema wider: replies are still checked against the original. For a strict server, every
object is closed and every property required; an optional property becomes nullable, and a null that the original does
not allow is treated as an absent property (`distask.task.reply.reply_schema`).
"""

from __future__ import annotations

import json
import re
from itertools import count
from typing import TYPE_CHECKING, Any, TypeGuard

from msgspec import Struct

from distask.llm.schemas.nodes import (
    ARRAY_KEYWORDS,
    NUMBER_KEYWORDS,
    OBJECT_KEYWORDS,
    OPTIONAL_CONSTRAINTS,
    STRING_KEYWORDS,
    Schema,
    allows_null,
    json_type,
    target,
    types_of,
)

if TYPE_CHECKING:
    from distask.llm.schemas.dialects import Dialect, Limits

WRAPPER = "value"
"""The only property of the object that wraps a list, a string or an alternative for servers that require an object."""
_LONG_ENUM = 250
_ANY = ["object", "array", "string", "number", "boolean", "null"]
_NULL: Schema = {"type": "null"}
_ABOUT = {
    **dict.fromkeys(STRING_KEYWORDS, "string"),
    **dict.fromkeys(NUMBER_KEYWORDS, "number"),
    **dict.fromkeys(ARRAY_KEYWORDS, "array"),
    **dict.fromkeys(OBJECT_KEYWORDS, "object"),
}
"""Keyword to the type of the values that it constrains."""
_NO_CONSTRAINT: tuple[tuple[str, Any], ...] = (
    ("uniqueItems", False),
    ("minItems", 0),
    ("minLength", 0),
    ("minProperties", 0),
    ("unevaluatedProperties", True),
    ("unevaluatedItems", True),
    ("patternProperties", {}),
    ("dependentRequired", {}),
    ("dependentSchemas", {}),
    ("propertyNames", True),
    ("propertyNames", {}),
)


class Fitted(Struct, frozen=True):
    """A schema as it is sent."""

    schema: Schema
    strict: bool | None = None
    """The value of `strict`; None if the server does not need it."""
    left_out: tuple[str, ...] = ()
    """Constraints that are not sent."""
    loose: str | None = None
    """Why the schema can't be strict."""


class _Loose(Exception):  # noqa: N818 - the schema is valid but can't be strict
    """Raised with the reason if no strict schema means the same."""


def fit_schema(schema: Schema, dialect: Dialect) -> Fitted:
    """Return the schema to send to a server of this dialect; the given one is not changed."""
    if dialect.as_written:
        return Fitted(schema)
    work = _Fit(schema, dialect)
    try:
        made = work.whole()
        _check_limits(made, dialect)
    except _Loose as error:
        return _as_it_is(schema, dialect, str(error))
    except RecursionError:
        return _as_it_is(schema, dialect, "it is nested too deep")
    except (TypeError, AttributeError, LookupError):  # `properties: 3`: the server reports what is wrong
        return _as_it_is(schema, dialect, "it is not a valid JSON Schema")
    return Fitted(made, True if dialect.closed else None, tuple(sorted(work.left_out)))


def _as_it_is(schema: Schema, dialect: Dialect, loose: str) -> Fitted:
    if not dialect.closed:
        return Fitted(schema)
    try:
        return Fitted(_wrapped(schema) if dialect.object_root else schema, strict=False, loose=loose)
    except (RecursionError, TypeError):
        return Fitted(schema, strict=False, loose=loose)


class _Fit:
    """Fits one schema."""

    def __init__(self, root: Schema, dialect: Dialect) -> None:
        self.left_out: set[str] = set()
        self._root = root
        self._dialect = dialect
        self._definitions: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._open: list[Any] = ["#"]
        """References that are being followed."""
        self._optional = 0
        self._nodes = 0

    def whole(self) -> Schema:
        """Return the fitted schema; raises `_Loose`."""
        made = self._node(_without_definitions(self._root), "")
        if self._dialect.object_root:
            if "$ref" in made:
                made = dict(self._definitions[made["$ref"].rpartition("/")[2]])
            if made.get("type") != "object":
                made = _object_of(made)
        return {**made, "$defs": self._definitions} if self._definitions else made

    def _node(self, node: Any, path: str) -> Any:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise _Loose(f"its references stand for more than {_MAX_NODES:,} parts")
        if self._dialect.closed and node in (True, False, {}):
            raise _Loose(f"{_at(path)} may be {'nothing' if node is False else 'anything'}")
        if self._dialect.any_as_types and node in (True, {}):
            return {"type": _ANY}
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return self._reference(node, path)
        if "allOf" in node:
            only = node["allOf"][0] if len(_list(node["allOf"])) == 1 else None
            if _is_reference(only) and not _constraints(node, but="allOf"):
                return self._reference(only, path)
            inlined: list[Any] = []
            merged = self._merged(node, inlined)
            if merged is not None:
                return self._followed(inlined, merged, path)
            if self._dialect.closed:
                raise _Loose(f"{_at(path)} combines schemas with `allOf`")
        return self._plain(dict(node), path)

    # References and combined schemas

    def _reference(self, node: Schema, path: str) -> Any:
        pointer = node["$ref"]
        found = target(self._root, pointer)
        if found is None:
            if self._dialect.closed:
                raise _Loose(f"{_at(path)} refers to `{pointer}`, which is not in the schema")
            return node
        beside = _constraints(node, but="$ref")
        if beside and pointer not in self._open:
            inlined: list[Any] = []
            merged = self._merged({"allOf": [{"$ref": pointer}], **beside}, inlined)
            if merged is not None:
                return self._followed(inlined, merged, path)
        self.left_out.update(beside)
        if pointer in self._open and not self._dialect.recursive:
            raise _Loose(f"{_at(path)} is defined by itself")
        if pointer not in self._names:
            name = self._names[pointer] = self._free_name(pointer)
            self._definitions[name] = {}
            self._definitions[name] = self._followed([pointer], _without_definitions(found), path)
        return {"$ref": f"#/$defs/{self._names[pointer]}"}

    def _followed(self, pointers: list[Any], node: Any, path: str) -> Any:
        """Fit the targets of references; the same reference inside them is not expanded again."""
        before = len(self._open)
        self._open += pointers
        try:
            return self._node(node, path)
        finally:
            del self._open[before:]

    def _free_name(self, pointer: str) -> str:
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", pointer.rpartition("/")[2].removeprefix("#")) or "root"
        names = (plain if number == 1 else f"{plain}_{number}" for number in count(1))
        return next(name for name in names if name not in self._definitions)

    def _merged(self, node: Schema, inlined: list[Any], depth: int = 0) -> Schema | None:
        """Merge a node with the schemas of its `allOf`; None if they overlap, or refer to themselves.

        The expanded references are added to `inlined`.
        """
        parts: list[Schema] = []
        for part in [{key: value for key, value in node.items() if key != "allOf"}, *_list(node.get("allOf"))]:
            inner = self._part(part, inlined, depth)
            if inner is None:
                return None
            parts.append(inner)
        if any("additionalProperties" in part for part in parts) and sum("properties" in part for part in parts) > 1:
            return None
        made: Schema = {}
        for key, value in ((key, value) for part in parts for key, value in part.items()):
            if key not in made or key in _NOTES:
                made.setdefault(key, value)
            elif key == "required":
                made[key] = list(dict.fromkeys([*made[key], *value]))
            elif key == "properties":
                both = {n: {"allOf": [made[key][n], s]} for n, s in value.items() if made[key].get(n, s) != s}
                made[key] = {**made[key], **value, **both}
            elif made[key] != value:
                return None
        return made

    def _part(self, part: Any, inlined: list[Any], depth: int) -> Schema | None:
        """Return one schema of an `allOf` without references or nested `allOf`s."""
        self._nodes += 1
        if depth > _MAX_MERGED or self._nodes > _MAX_NODES:
            return None
        if part is True:
            return {}
        if _is_reference(part):
            if part["$ref"] in self._open:
                return None
            inlined.append(part["$ref"])
            return self._part(target(self._root, part["$ref"]), inlined, depth + 1)
        if not isinstance(part, dict) or "$ref" in part:
            return None
        return self._merged(part, inlined, depth + 1) if "allOf" in part else part

    # Single schemas

    def _plain(self, node: Schema, path: str) -> Schema:
        """Fit a node without references."""
        dialect = self._dialect
        self._rename(node)
        types = types_of(node)
        if dialect.closed and "anyOf" in node and types:
            del node["anyOf"]
            self.left_out.add("anyOf")
        if dialect.typed and types and "type" not in node and "anyOf" not in node:
            node = {"type": types[0] if len(types) == 1 else types, **node}
        if dialect.closed and len(types) > 1 and not {"object", "array"}.isdisjoint(types):
            about = {key: value for key, value in node.items() if key in _NOTES}
            rest = {key: value for key, value in node.items() if key not in _NOTES}
            return self._plain({"anyOf": [_of_type(rest, each) for each in types], **about}, path)
        if dialect.closed:
            self._refuse_open(node, types, path)
        if "prefixItems" in node:
            self._tuple(node)
        if dialect.plain_enums and "enum" in node:
            node = self._plain_enum(node)
        made = {k: self._inner(k, v, path) for k, v in node.items() if self._takes(k, v, node, types)}
        if dialect.closed and "object" in types:
            self._close(node, made)
        return made

    def _rename(self, node: Schema) -> None:
        """Replace keywords with this dialect's equivalents."""
        if "oneOf" in node and "anyOf" not in node:
            node["anyOf"] = node.pop("oneOf")
        if "const" in node and "const" not in self._dialect.keywords:
            node["enum"] = [node.pop("const")]
        if isinstance(node.get("items"), list):  # tuples, as in drafts before 2020
            node["prefixItems"] = node.pop("items")
            if "additionalItems" in node:
                node["items"] = node.pop("additionalItems")

    def _refuse_open(self, node: Schema, types: list[str], path: str) -> None:
        """Raise `_Loose` if a strict schema can't express a node."""
        if "anyOf" not in node and not types:
            raise _Loose(f"{_at(path)} may be anything")
        if "array" in types and "items" not in node and "prefixItems" not in node and "enum" not in node:
            raise _Loose(f"{_at(path)} is a list of anything")
        if any(isinstance(value, list | dict) for value in [*_list(node.get("enum")), node.get("const")]):
            raise _Loose(f"{_at(path)} has a list or an object among its values")
        if "object" not in types:
            return
        properties, others = node.get("properties") or {}, node.get("additionalProperties")
        if node.get("patternProperties") or (others is None and not properties):
            raise _Loose(f"{_at(path)} may have any properties")
        if others not in (None, False):
            raise _Loose(f"{_at(path)} may have other properties")
        if absent := [name for name in _list(node.get("required")) if name not in properties]:
            raise _Loose(f"`{absent[0]}` of {_at(path)} is required, and has no schema")

    def _close(self, node: Schema, made: Schema) -> None:
        """Close an object, and require all of its properties if the server needs that."""
        properties = node.get("properties") or {}
        required = _list(node.get("required"))
        optional = [name for name in properties if name not in required]
        self._optional += len(optional)
        if self._dialect.most_optional is not None and self._optional > self._dialect.most_optional:
            raise _Loose(f"it has more than {self._dialect.most_optional} optional properties")
        made["properties"] = made.get("properties", {})
        made["additionalProperties"] = False
        if self._dialect.all_required:
            made["required"] = list(properties)
            for name in optional:
                if not allows_null(self._root, properties[name]):
                    made["properties"][name] = _nullable(made["properties"][name])

    def _tuple(self, node: Schema) -> None:
        """Express a tuple in this dialect: unchanged, or as a list of any of its entries' schemas."""
        first, rest = _list(node["prefixItems"]), node.get("items", True)
        most = node.get("maxItems")
        ends = rest is False or (isinstance(most, int) and most <= len(first))
        if ends:
            node.pop("items", None)
            node["maxItems"] = len(first) if most is None else most
        if "prefixItems" in self._dialect.keywords and (ends or not self._dialect.any_as_types):
            return
        del node["prefixItems"]
        self.left_out.add("prefixItems")
        options: list[Any] = []
        for each in first if ends else [*first, rest]:
            if each not in options:
                options.append(each)
        node["items"] = options[0] if len(options) == 1 else {"anyOf": options} if options else {"type": "null"}

    def _plain_enum(self, node: Schema) -> Schema:
        """Reduce an enum to strings and numbers: null becomes an alternative, other values are removed."""
        values = [value for value in _list(node["enum"]) if isinstance(value, str | int | float) and value is not True]
        values = [value for value in values if value is not False]
        rest = {key: value for key, value in node.items() if key not in ("enum", "type")}
        if len(values) == len(node["enum"]):
            return node
        if not values or any(isinstance(value, bool | list | dict) for value in node["enum"]):
            if node["enum"] not in ([None], [True, False], [False, True]):
                self.left_out.add("enum")
            return {key: value for key, value in node.items() if key != "enum"}
        return {"anyOf": [{"enum": values}, _NULL], **rest}

    def _inner(self, key: str, value: Any, path: str) -> Any:
        if key == "properties" and isinstance(value, dict):
            return {name: self._node(inner, f"{path}.{name}" if path else name) for name, inner in value.items()}
        if key in ("anyOf", "allOf") and isinstance(value, list):
            return [self._node(each, path) for each in value]
        if key == "prefixItems" and isinstance(value, list):
            return [self._node(each, f"{path}[]") for each in value]
        if key == "items":
            return self._node(value, f"{path}[]")
        if key == "additionalProperties" and isinstance(value, dict) and not self._dialect.closed:
            return self._node(value, f"{path}.*")
        return value

    def _takes(self, key: str, value: Any, node: Schema, types: list[str]) -> bool:
        """Return whether a keyword is sent to the server; a constraint that is not sent is recorded."""
        kinds = {"number" if kind == "integer" else kind for kind in types}
        if kinds and _ABOUT.get(key, "") and _ABOUT[key] not in kinds:
            return False  # it does not constrain these types
        if key in self._dialect.keywords and self._takes_value(key, value, node):
            return True
        if key in OPTIONAL_CONSTRAINTS | {"enum", "oneOf", "allOf"} and (key, value) not in _NO_CONSTRAINT:
            self.left_out.add(key)
        return False

    def _takes_value(self, key: str, value: Any, node: Schema) -> bool:
        dialect = self._dialect
        if key == "pattern":
            anchored = isinstance(value, str) and value.startswith("^") and value.endswith("$")
            beyond = dialect.pattern is not None and re.search(dialect.pattern, str(value)) is not None
            return not beyond and (anchored or not dialect.anchored)
        if key == "format":
            return value in dialect.formats
        if key in ("exclusiveMinimum", "exclusiveMaximum"):  # drafts before 6 use booleans here
            return not isinstance(value, bool)
        if key == "additionalProperties":
            return not node.get("patternProperties")
        if key in ("minLength", "maxLength") and dialect.length_or_pattern and not node.keys().isdisjoint(_FORMS):
            return False
        if key == "minItems" and dialect.one_min_item:
            return value in (0, 1)
        if key in ("minLength", "maxLength", "minItems", "maxItems") and dialect.most_repeats is not None:
            return isinstance(value, int) and value <= dialect.most_repeats
        return True


_FORMS = ("pattern", "format")
_NOTES = ("title", "description", "default", "examples", "$comment", "$defs", "definitions")
"""Keywords that constrain nothing."""
_MAX_NODES = 20_000
"""Maximum number of parts to fit, with every expanded reference counted."""
_MAX_MERGED = 20
"""Maximum nesting of references and `allOf`s that are merged."""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _at(path: str) -> str:
    return f"`{path}`" if path else "the reply"


def _is_reference(node: Any) -> TypeGuard[Schema]:
    return isinstance(node, dict) and node.keys() == {"$ref"}


def _without_definitions(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    return {key: value for key, value in node.items() if key not in ("$defs", "definitions")}


def _constraints(node: Schema, but: str) -> Schema:
    """Return a node's constraints except one keyword."""
    known = _ABOUT.keys() | {"type", "enum", "const", "anyOf", "oneOf", "allOf", "not", "if", "then", "else"}
    return {key: value for key, value in node.items() if key in known and key != but}


def _of_type(node: Schema, kind: str) -> Schema:
    """Return a node of several types, reduced to one of them."""
    made = {**node, "type": kind}
    if isinstance(node.get("enum"), list):
        made["enum"] = [value for value in node["enum"] if json_type(value) == kind]
    return made


def _nullable(node: Any) -> Schema:
    if isinstance(node, dict) and node.keys() <= {"anyOf", "title", "description"} and "anyOf" in node:
        return {**node, "anyOf": [*node["anyOf"], _NULL]}
    return {"anyOf": [node, _NULL]}


def _object_of(node: Schema) -> Schema:
    return {"type": "object", "properties": {WRAPPER: node}, "required": [WRAPPER], "additionalProperties": False}


def _wrapped(schema: Schema) -> Schema:
    """Wrap a schema whose root is not an object into an object; its references keep their targets."""
    top = target(schema, schema["$ref"]) if "$ref" in schema else schema
    types = types_of(top) if isinstance(top, dict) else []
    if types == ["object"] or not (types or {"anyOf", "oneOf"} & schema.keys()):
        return schema
    definitions = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    moved = json.loads(json.dumps(_without_definitions(schema)))
    return {**_object_of(_moved(moved)), **{key: _moved(value) for key, value in definitions.items()}}


def _moved(node: Any) -> Any:
    """Adjust references in a part of a schema to its new place."""
    if isinstance(node, list):
        return [_moved(each) for each in node]
    if not isinstance(node, dict):
        return node
    pointer = node.get("$ref")
    made = {key: _moved(value) for key, value in node.items()}
    if isinstance(pointer, str) and (pointer == "#" or pointer.startswith("#/")):
        inside = pointer.startswith(("#/$defs/", "#/definitions/"))
        made["$ref"] = pointer if inside else f"#/properties/{WRAPPER}{pointer[1:]}"
    return made


def _check_limits(schema: Schema, dialect: Dialect) -> None:
    """Raise `_Loose` if a schema exceeds the limits of a strict one."""
    if dialect.limits is None:
        return
    limits: Limits = dialect.limits
    size = _Size()
    size.add(schema, 0)
    for name in schema.get("$defs", {}):
        size.characters += len(name)
    for what, found, most in (
        ("properties", size.properties, limits.properties),
        ("levels of objects", size.depth, limits.depth),
        ("enum values", size.enum_values, limits.enum_values),
        ("characters in names and values", size.characters, limits.characters),
        ("characters in one enum", size.long_enum, limits.long_enum_characters),
    ):
        if found > most:
            raise _Loose(f"it has more than {most:,} {what}")


class _Size:
    """What servers count in a schema."""

    def __init__(self) -> None:
        self.properties = self.depth = self.enum_values = self.characters = self.long_enum = 0

    def add(self, node: Any, depth: int) -> None:
        """Count a fitted schema."""
        if not isinstance(node, dict):
            return
        values = [*_list(node.get("enum")), *([node["const"]] if "const" in node else [])]
        texts = sum(len(value) for value in values if isinstance(value, str))
        self.enum_values += len(values)
        self.characters += texts
        if len(values) > _LONG_ENUM:
            self.long_enum = max(self.long_enum, texts)
        properties = node.get("properties") or {}
        depth += "properties" in node
        self.depth = max(self.depth, depth)
        self.properties += len(properties)
        self.characters += sum(map(len, properties))
        for inner in (*properties.values(), *_list(node.get("anyOf")), node.get("items")):
            self.add(inner, depth)
        for inner in (node.get("$defs") or {}).values():
            self.add(inner, depth - 1)
