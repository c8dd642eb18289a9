"""Determine the Arrow type of a column: start from its JSON Schema and widen until every value fits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import types

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MAX_FIELDS = 1_000
"""Maximum fields of a struct. A mapping with more keys holds data in its keys and becomes JSON text."""
MAX_DEPTH = 32
"""Maximum nesting of a type; readers of Arrow's formats stop at 64."""
_EXACT = 2**53
"""Every integer up to this one is exact as a float64."""
_BARE = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}


class MixedError(ValueError):
    """No type can hold all values of a column without loss."""


def declared_type(schema: Any) -> Any:
    """Return the type that a JSON Schema declares. `null` marks what it leaves open, also inside lists and structs."""
    return _declared(schema, schema, 0)


def _declared(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return pa.null()
    if isinstance(reference := schema.get("$ref"), str):
        return _declared(_target(root, reference), root, depth + 1)
    choices = schema["enum"] if isinstance(schema.get("enum"), list) else [schema["const"]] if "const" in schema else []
    if choices:
        return _of_choices(choices)
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(branches := schema.get(key), list):
            found = {_declared(branch, root, depth + 1) for branch in branches if not _is_null(branch)}
            return found.pop() if len(found) == 1 else pa.null()
    kind = schema.get("type")
    kinds = {kind} if isinstance(kind, str) else set(kind or ()) - {"null"}
    if kinds == {"integer", "number"}:
        return pa.float64()
    if len(kinds) != 1:
        return pa.null()
    kind = kinds.pop()
    if kind == "array":
        return _list_of(pa.null() if "prefixItems" in schema else _declared(schema.get("items"), root, depth + 1))
    properties = schema.get("properties")
    if kind == "object" and isinstance(properties, dict) and 0 < len(properties) <= MAX_FIELDS:
        return pa.struct([(name, _declared(inner, root, depth + 1)) for name, inner in properties.items()])
    return _BARE.get(kind, pa.null())


def _list_of(item: Any) -> Any:
    """Return a list type whose items have the name used by Parquet."""
    return pa.list_(pa.field("element", item))


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"


def _target(root: Any, reference: str) -> Any:
    node = root
    for step in reference.removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        node = node.get(key) if isinstance(node, dict) else None
    return node


def _of_choices(choices: Sequence[Any]) -> Any:
    seen = Seen()
    seen.add(choices)
    try:
        return seen.type()
    except MixedError:
        return pa.null()


class Seen:
    """What is known about the values of a column, or about those at one place inside them."""

    __slots__ = ("bools", "fields", "floats", "high", "item", "low", "texts", "unlike_floats")

    def __init__(self) -> None:
        self.bools = self.floats = self.texts = False
        self.low: int | None = None
        """The smallest integer; None if there are no integers."""
        self.high = 0
        self.unlike_floats = False
        """Whether some integer is not exact as a float64."""
        self.item: Seen | None = None
        """For lists: what their items are."""
        self.fields: dict[str, Seen] | None = None
        """For mappings: what each field is."""

    def add(self, values: Iterable[Any], depth: int = 0) -> None:
        """Record JSON values; raises `MixedError` if they are nested too deeply."""
        if depth > MAX_DEPTH:
            raise MixedError
        several = list(values)
        for kind in set(map(type, several)):
            if kind is str or kind is bytes:
                self.texts = True
            elif kind is float:
                self.floats = True
            elif kind is bool:
                self.bools = True
            elif kind is int:
                self._integers([value for value in several if type(value) is int])
            elif kind is list:
                self.item = self.item or Seen()
                self.item.add((item for value in several if type(value) is list for item in value), depth + 1)
            elif kind is dict:
                self._mappings([value for value in several if type(value) is dict], depth)

    def _integers(self, values: Sequence[int]) -> None:
        low, high = min(values), max(values)
        self.high = high if self.low is None else max(high, self.high)
        self.low = low if self.low is None else min(low, self.low)
        if not self.unlike_floats and (low < -_EXACT or high > _EXACT):
            self.unlike_floats = any(_unlike_float(value) for value in values)

    def _mappings(self, values: Sequence[Mapping[str, Any]], depth: int) -> None:
        if self.fields is None:
            self.fields = {}
        for name in dict.fromkeys(name for value in values for name in value):
            if name not in self.fields and len(self.fields) >= MAX_FIELDS:
                raise MixedError
            self.fields.setdefault(name, Seen()).add((v[name] for v in values if name in v), depth + 1)

    @property
    def nothing(self) -> bool:
        """Whether all values are null."""
        return not self._kinds()

    def _kinds(self) -> set[str]:
        numbers = self.floats or self.low is not None
        found = {"bool": self.bools, "number": numbers, "text": self.texts}
        found |= {"list": self.item is not None, "struct": self.fields is not None}
        return {kind for kind, is_there in found.items() if is_there}

    def type(self, declared: Any = None) -> Any:
        """Return the type that holds all values: the declared one, or the narrowest wider one. Raises `MixedError`."""
        declared = pa.null() if declared is None else declared
        kinds = self._kinds()
        if not kinds:
            return declared
        if len(kinds) > 1:
            raise MixedError
        kind = kinds.pop()
        if kind == "bool":
            return pa.bool_()
        if kind == "text":
            return declared if types.is_large_string(declared) or types.is_string_view(declared) else pa.string()
        if kind == "number":
            return self._number(declared)
        if self.item is not None:
            return _list_of(self.item.type(declared.value_type if types.is_list(declared) else None))
        return self._struct(declared)

    def _number(self, declared: Any) -> Any:
        if self.low is None or self.floats or types.is_floating(declared):
            if self.unlike_floats:
                raise MixedError
            return pa.float64()
        if self.low >= -(2**63) and self.high < 2**63:
            return pa.int64()
        if self.low >= 0 and self.high < 2**64:
            return pa.uint64()
        largest = max(-self.low, self.high)
        if largest < 10**38:
            return pa.decimal128(38, 0)
        if largest < 10**76:
            return pa.decimal256(76, 0)
        raise MixedError

    def _struct(self, declared: Any) -> Any:
        seen = self.fields or {}
        known = {field.name: field.type for field in declared} if types.is_struct(declared) else {}
        names = dict.fromkeys([*known, *seen])
        if not names or len(names) > MAX_FIELDS:  # Parquet has no struct without fields
            raise MixedError
        return pa.struct([(name, seen.get(name, Seen()).type(known.get(name))) for name in names])


def _unlike_float(value: int) -> bool:
    try:
        return int(float(value)) != value
    except OverflowError:
        return True


def has_decimals(kind: Any) -> bool:
    """Return whether a type holds integers as decimals at any level."""
    if types.is_struct(kind):
        return any(has_decimals(field.type) for field in kind)
    return has_decimals(kind.value_type) if types.is_list(kind) else bool(types.is_decimal(kind))


def array_of(values: Sequence[Any], kind: Any) -> Any:
    """Convert JSON values to an array of a type; raises `ArrowException` or `OverflowError`."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowException, OverflowError):
        return pa.array([_fitted(value, kind) for value in values], kind)


def _fitted(value: Any, kind: Any) -> Any:
    """Convert large integers in a value to floats where the type requires it."""
    if value is None:
        return None
    if types.is_floating(kind) and isinstance(value, int):
        return float(value)
    if types.is_struct(kind) and isinstance(value, dict):
        return {field.name: _fitted(value.get(field.name), field.type) for field in kind}
    if types.is_list(kind) and isinstance(value, list):
        return [_fitted(item, kind.value_type) for item in value]
    return value


def common_type(several: Sequence[Any]) -> Any:
    """Return the type that can hold the values of all given types; None if there is none."""
    first, *others = several
    if all(other.equals(first) for other in others):
        return first
    try:
        schemas = [pa.schema([("c", kind)]) for kind in several]
        return pa.unify_schemas(schemas, promote_options="permissive").field("c").type
    except pa.ArrowException:
        return None


def json_text(value: Any) -> str | None:
    """Return a value as text, for a column whose values have no common type."""
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
