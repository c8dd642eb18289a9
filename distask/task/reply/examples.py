"""Generate values that fit a column, for example replies that the task's parser accepts."""

from __future__ import annotations

import json
import random
import re
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from distask.task.templates.limits import METER, LimitError, fits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distask.task.column_types import ColumnType

_LARGEST = 1_000
"""Maximum size in a schema passed to jsf, which has no limit of its own."""
_REPEATED = re.compile(r"\{\d{3}|\}\)*\{")
"""A pattern that repeats something hundreds of times, or nests repetitions."""

_WORDS = (  # plain words that are not a label or marker of any task
    *("amber", "basil", "cedar", "delta", "ember", "fable", "grove", "harbor", "island", "juniper", "kernel"),
    *("lantern", "meadow", "nectar", "orchard", "pebble", "quartz", "river", "saffron", "timber", "willow"),
)
_LONGEST_LIST = 5
_DRAWS_PER_ITEM = 20
"""Maximum number of draws per item of a list whose items are distinct."""


def sentence(rng: random.Random) -> str:
    """A sentence of random plain words."""
    words = [rng.choice(_WORDS) for _ in range(rng.randint(4, 12))]
    return " ".join(words).capitalize() + "."


def instance(schema: dict[str, Any], rng: random.Random) -> Any:
    """A value that a JSON Schema accepts; simple types are generated here, the rest by jsf."""
    METER.step()
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), kind[0])
    if kind == "string" and not {"pattern", "format", "$ref"} & schema.keys():
        text = sentence(rng)
        fits(schema.get("minLength", 0))
        text = text * (schema.get("minLength", 0) // len(text) + 1)
        return text[: schema.get("maxLength", len(text) if schema.get("minLength") else len(sentence(rng)) + 80)]
    if kind in ("integer", "number"):
        return _number(schema, rng, whole=kind == "integer")
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "null":
        return None
    if (
        kind == "array"
        and isinstance(schema.get("items", {}), dict)
        and not {"prefixItems", "contains"} & schema.keys()
    ):
        low = schema.get("minItems", 1)
        count = rng.randint(low, max(low, schema.get("maxItems", low + 2)))
        draws = (instance(schema.get("items") or {"type": "string"}, rng) for _ in range(count * _DRAWS_PER_ITEM))
        if not schema.get("uniqueItems"):
            return list(islice(draws, count))
        distinct: dict[str, Any] = {}
        for item in draws:
            distinct.setdefault(json.dumps(item), item)
            if len(distinct) == count:
                break
        return list(distinct.values())
    if kind == "object" and not {"$ref", "$defs", "patternProperties", "allOf", "anyOf", "oneOf"} & schema.keys():
        return {key: instance(value, rng) for key, value in schema.get("properties", {}).items()}
    if kind == "string" and "pattern" in schema:
        return matching(schema["pattern"], rng)
    if not schema:
        return sentence(rng)
    return _by_jsf(schema, rng)


def simulated(column: ColumnType, rng: random.Random, given: Mapping[str, Any]) -> Any:
    """A value for a column: the given one, or else one that fits the column's type."""
    return given[column.name] if column.name in given else instance(column.schema, rng)


def matching(pattern: str, rng: random.Random) -> str:
    """A text that matches a pattern."""
    return str(_writer()(rng).xeger(pattern))


@cache
def _writer() -> Any:
    import rstr

    class Writer(rstr.Rstr):
        """Generates text like rstr, within the time limit for a reply."""

        def _handle_state(self, state: Any) -> Any:
            METER.step()
            return super()._handle_state(state)

    return Writer


def _number(schema: dict[str, Any], rng: random.Random, *, whole: bool) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        low = 0 if high is None else high - 10
    if high is None:
        high = low + 10
    step = schema.get("multipleOf")
    if whole:
        first = int(-(-low // 1)) + ("exclusiveMinimum" in schema and low == int(low))
        last = int(high // 1) - ("exclusiveMaximum" in schema and high == int(high))
        value = rng.randint(first, max(first, last))
        return int(value // step * step) if step else value
    real = round(rng.uniform(low, high), 3)
    real = round(real / step) * step if step else real
    return min(max(real, low), high) if low <= high else low


def _by_jsf(schema: dict[str, Any], rng: random.Random) -> Any:
    from jsf import JSF

    if _is_large(schema):
        raise LimitError("the schema requires too large a value")
    bounded = _with_short_lists(schema, 1)
    state = random.getstate()
    try:
        random.seed(rng.random())
        return JSF(bounded).generate()
    finally:
        random.setstate(state)


def _is_large(schema: Any) -> bool:
    """Whether a schema requires huge values, or a pattern for which jsf could generate text of any length."""
    if isinstance(schema, list):
        return any(map(_is_large, schema))
    if not isinstance(schema, dict):
        return False
    sizes = (schema.get(key) for key in ("minItems", "minLength", "minProperties"))
    if any(isinstance(size, int | float) and size > _LARGEST for size in sizes):
        return True
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and _REPEATED.search(pattern):
        return True
    return any(map(_is_large, schema.values()))


def _with_short_lists(schema: Any, outer: int) -> Any:
    """Return a schema whose lists have few items, since the items of lists in lists multiply.

    Args:
        schema: the schema, or a part of it.
        outer: the number of lists that may hold this part.

    Raises:
        LimitError: lists in lists require too many items.
    """
    if isinstance(schema, list):
        return [_with_short_lists(each, outer) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kind, bounds = schema.get("type"), {}
    if kind == "array" or (isinstance(kind, list) and "array" in kind):
        least = int(schema.get("minItems", 0))
        most = max(least, min(int(schema.get("maxItems", _LONGEST_LIST)), _LONGEST_LIST if outer == 1 else 1))
        outer *= max(most, 1)
        if outer > _LARGEST:
            raise LimitError("the schema requires too large a value")
        bounds = {"maxItems": most}
    inner = 2 if outer == 1 else outer
    return {
        key: _with_short_lists(value, inner if key in ("$defs", "definitions") else outer)  # may refer to themselves
        for key, value in schema.items()
    } | bounds


def written(value: Any) -> str:
    """A value as it is written in a reply."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
