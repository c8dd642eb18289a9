"""JSON Schemas that a spec brings: within bounds, and reading nothing but themselves.

A schema is as much a program as a template is: a `$ref` may name a file or an address, references may multiply
without end, and a pattern may backtrack.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PARTS = 20_000
"""Parts of a schema, each counted as often as references lead to it."""
MAX_DEPTH = 100
"""References in each other."""
_STEPS = 1 << 20
"""How often a value may be gone through for a schema that refers to itself in several ways."""
_BACKTRACKS = 1_000_000
_PATTERN_BYTES = 32 << 20
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

Path = tuple[str | int, ...]


class SchemaError(ValueError):
    """A schema that is refused; `path` leads to what is wrong in it."""

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        super().__init__(message)


class Schema:
    """A schema that values are held against."""

    def __init__(self, schema: Any) -> None:
        """Compile it; raises `ValueError`."""
        self._deepest = check_schema(schema)
        patterns = jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS, size_limit=_PATTERN_BYTES)
        self._validator = jsonschema_rs.validator_for(
            schema, retriever=_retrieve, pattern_options=patterns, validate_formats=True
        )

    def error_of(self, value: Any) -> jsonschema_rs.ValidationError | None:
        """The first thing that is wrong with a value; raises `ValueError` where it can't be told."""
        if self._deepest is not None and _is_deeper(value, self._deepest):
            raise ValueError(f"the value is nested deeper than {self._deepest} levels, too deep for its schema")
        if self._validator.is_valid(value):
            return None
        return next(self._validator.iter_errors(value))

    def errors_of(self, value: Any) -> Iterator[jsonschema_rs.ValidationError]:
        """Everything that is wrong with a value that is no deeper than `error_of` allows."""
        return self._validator.iter_errors(value)


def check_schema(schema: Any) -> int | None:
    """Raise `SchemaError` for a schema that reads other files or grows beyond its bounds.

    Returns:
        Levels that a value may have, where the schema refers to itself in several ways: each level takes as many times
        longer to check.
    """
    for path, node in _nodes(schema, ()):
        for key in _REFERENCES:
            target = node.get(key)
            if isinstance(target, str) and not target.startswith("#"):
                raise SchemaError((*path, key), f"`{key}` leads out of the schema; write out what is there")
    counter = _Counter(schema)
    if counter.count(schema, 0) > MAX_PARTS:
        raise SchemaError((), f"the references of the schema stand for more than {MAX_PARTS:,} parts")
    ways = counter.returns
    return None if ways < 2 else max(6, int(math.log(_STEPS, ways)))


class _Counter:
    """Counts what references stand for."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._open: set[int] = set()
        self._known: dict[int, int] = {}
        self.returns = 0
        """References that lead back into what they stand in."""

    def count(self, node: Any, depth: int) -> int:
        """The parts of a node; beyond the bound it is not counted on."""
        if not isinstance(node, dict | list):
            return 0
        if id(node) in self._open:
            self.returns += 1
            return 0
        if id(node) in self._known:
            return self._known[id(node)]
        if depth > MAX_DEPTH:
            return MAX_PARTS + 1
        self._open.add(id(node))
        total = 1
        for child in node.values() if isinstance(node, dict) else node:
            total += self.count(child, depth + 1)
            if total > MAX_PARTS:
                break
        if isinstance(node, dict):
            for key in _REFERENCES:
                total += self.count(self._target(node.get(key)), depth + 1)
        self._open.discard(id(node))
        self._known[id(node)] = total
        return total

    def _target(self, reference: Any) -> Any:
        if not isinstance(reference, str):
            return None
        node = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict):
                node = node.get(key)
            elif isinstance(node, list) and key.isascii() and key.isdigit() and int(key[:9]) < len(node):
                node = node[int(key[:9])]
            else:
                return None
        return node


def _nodes(node: Any, path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    if isinstance(node, dict):
        yield path, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        if key not in ("const", "enum", "default", "examples"):
            yield from _nodes(child, (*path, key))


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(
        _is_deeper(child, levels - 1) for child in (value.values() if isinstance(value, dict) else value)
    )


def _retrieve(_address: str) -> Any:
    raise ValueError("a schema reads nothing but itself")
