"""Read replies constrained by a JSON Schema: undo the changes that servers need, and check what they don't enforce.

A strict server requires every property, so optional properties arrive as null; and it requires an object at the root,
so a list arrives wrapped in one (`distask.llm.schemas.fit`). Both are undone here for every server, so a stored reply
is always read in the same way.
Keywords that are not sent to the server are checked here if the reply has the shape of the schema. A reply with another
shape was not constrained by the schema, and is left to the parser.
"""

from __future__ import annotations

import json
import math
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import orjson
from msgspec.structs import replace

from distask.errors import InvalidReply
from distask.llm.schemas.fit import WRAPPER
from distask.llm.schemas.nodes import OPTIONAL_CONSTRAINTS, allows_null, map_subschemas, target, types_of

if TYPE_CHECKING:
    from distask.llm.request import Completion

_MAX_DEPTH = 100
_MAX_STEPS = 20_000
"""Maximum schema nodes visited while removing nulls from a reply."""
_REMEMBERED = 512
_UNREADABLE = object()


def reply_schema(schema: dict[str, Any]) -> ReplySchema:
    """The cached reader for replies constrained by a schema."""
    try:
        return _remembered(orjson.dumps(schema))
    except TypeError:  # an integer beyond 64 bits, or a lone surrogate
        return ReplySchema(schema)


def _parsed(text: str) -> Any:
    def finite(number: str) -> float:
        value = float(number)
        if not math.isfinite(value):
            raise ValueError(number)
        return value

    def refuse(_: str) -> None:
        raise ValueError

    try:
        return json.loads(text, parse_float=finite, parse_constant=refuse)
    except (ValueError, RecursionError):
        return _UNREADABLE


@lru_cache(_REMEMBERED)
def _remembered(schema: bytes) -> ReplySchema:
    return ReplySchema(orjson.loads(schema))


class ReplySchema:
    """Reads replies constrained by a schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self._constrained = False
        self._optional = False
        self._look(schema, 0)
        kinds = _root_types(schema)
        self._is_object = kinds == ["object"]
        self._may_be_object = not kinds or "object" in kinds
        self._alternatives: dict[int, Any] = {}

    def read(self, completion: Completion) -> tuple[Completion, InvalidReply | None]:
        """The reply in the form that the original schema describes, and the constraint that it breaks, if any."""
        text = completion.text
        if not text or (self._is_object and not self._constrained and not self._optional):
            return completion, None
        if not text.lstrip().startswith(("{", "[", '"')):
            return completion, None
        value = _parsed(text)
        if value is _UNREADABLE:
            return completion, None
        try:
            read = self._as_asked(value)
            fault = self._fault(read)
        except (RecursionError, ValueError):  # nested too deeply
            return completion, None
        except (TypeError, AttributeError, LookupError):  # an invalid schema, such as `properties: 3`
            return completion, None
        if read != value:
            completion = replace(completion, text=json.dumps(read, ensure_ascii=False))
        return completion, fault

    def _as_asked(self, value: Any) -> Any:
        if self._is_object or not isinstance(value, dict) or value.keys() != {WRAPPER}:
            wrapped = False
        else:  # an alternative may have a property with this name
            wrapped = not self._may_be_object or not self._fits(value)
        value = value[WRAPPER] if wrapped else value
        return _Pruning(self).prune(self.schema, value, 0) if self._optional else value

    def _fault(self, value: Any) -> InvalidReply | None:
        loosened, validator = self._loosened, self._validator
        if not self._constrained or loosened is None or validator is None or loosened.error_of(value) is not None:
            return None
        error = validator.error_of(value)
        if error is None:
            return None
        path = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in error.instance_path)
        where = f"{path.removeprefix('.')}: " if path else ""
        explained = str(error.message).replace("\n", " ")
        return InvalidReply("type", f"the reply breaks its JSON Schema: {where}{explained}")

    def _look(self, node: Any, depth: int) -> None:
        if not isinstance(node, dict) or depth > _MAX_DEPTH:
            return
        self._constrained |= not OPTIONAL_CONSTRAINTS.isdisjoint(node) or "oneOf" in node or _is_tuple(node)
        self._constrained |= "anyOf" in node and bool(types_of(node))
        properties, required = node.get("properties"), node.get("required") or []
        if isinstance(properties, dict) and isinstance(required, list):
            self._optional |= any(name not in required for name in properties)
        map_subschemas(node, lambda inner: self._look(inner, depth + 1))

    @cached_property
    def _validator(self) -> Any:
        return _validator(self.schema)

    @cached_property
    def _shape(self) -> Any:
        return _loosened(self.schema)

    @cached_property
    def _loosened(self) -> Any:
        return _validator(self._shape)

    def _fits(self, value: Any) -> bool:
        return self._validator is not None and self._validator.error_of(value) is None

    def alternative(self, option: dict[str, Any]) -> Any:
        """A validator for the shape of one alternative in the schema; None if it can't be compiled."""
        if id(option) not in self._alternatives:
            definitions = {key: self._shape[key] for key in ("$defs", "definitions") if key in self._shape}
            self._alternatives[id(option)] = _validator({**definitions, **_loosened(option)})
        return self._alternatives[id(option)]


class _Pruning:
    """Removes null properties from a reply where the schema makes them optional, but not nullable."""

    def __init__(self, held: ReplySchema) -> None:
        self._held = held
        self._root = held.schema
        self._steps = 0

    def prune(self, node: Any, value: Any, depth: int) -> Any:
        """The value without these nulls; raises `RecursionError` if the schema recurses endlessly."""
        if not isinstance(node, dict) or not isinstance(value, dict | list):
            return value
        self._steps += 1
        if depth > _MAX_DEPTH or self._steps > _MAX_STEPS:
            raise RecursionError
        if "$ref" in node:
            value = self.prune(target(self._root, node["$ref"]), value, depth + 1)
        for part in node.get("allOf") or ():
            value = self.prune(part, value, depth + 1)
        for key in ("anyOf", "oneOf"):
            value = self._alternative(node.get(key) or (), value, depth)
        if isinstance(value, list):
            first, rest = node.get("prefixItems") or (), node.get("items")
            schemas = (first[i] if i < len(first) else rest for i in range(len(value)))
            return [self.prune(schema, each, depth + 1) for schema, each in zip(schemas, value, strict=True)]
        properties, required = node.get("properties") or {}, node.get("required") or ()
        return {
            name: self.prune(properties.get(name), each, depth + 1)
            for name, each in value.items()
            if each is not None
            or name not in properties
            or name in required
            or allows_null(self._root, properties[name])
        }

    def _alternative(self, options: Any, value: Any, depth: int) -> Any:
        """Prune a value by the first alternative that it fits."""
        for option in options:
            if isinstance(option, dict):
                read = self.prune(option, value, depth + 1)
                validator = self._held.alternative(option)
                if validator is not None and validator.error_of(read) is None:
                    return read
        return value


def _validator(schema: Any) -> Any:
    from distask.spec.check.json_schemas import Schema

    try:
        return Schema(schema)
    except ValueError:
        return None


def _root_types(schema: dict[str, Any]) -> list[str]:
    node: Any = schema
    for _ in range(_MAX_DEPTH):
        if not isinstance(node, dict) or "$ref" not in node:
            break
        node = target(schema, node["$ref"])
    return types_of(node) if isinstance(node, dict) else []


def _is_tuple(node: dict[str, Any]) -> bool:
    return "prefixItems" in node or isinstance(node.get("items"), list)


def _loosened(node: Any) -> Any:
    """The shape of a schema, without keywords that only restrict values."""
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key not in OPTIONAL_CONSTRAINTS}
    if _is_tuple(node):
        kept = {key: value for key, value in kept.items() if key not in ("prefixItems", "items", "additionalItems")}
    if "anyOf" in kept and types_of(node):
        del kept["anyOf"]
    if node.get("patternProperties"):
        kept.pop("additionalProperties", None)
    if "oneOf" in kept and "anyOf" not in kept:
        kept["anyOf"] = kept.pop("oneOf")
    return map_subschemas(kept, _loosened)
