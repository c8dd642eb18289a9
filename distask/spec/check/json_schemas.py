"""Check and apply the JSON Schemas of a spec within limits, without reading other files.

An untrusted schema can be harmful: a `$ref` may name a file or a URL, references may multiply without end, and a
pattern may backtrack.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PARTS = 20_000
"""Maximum number of parts in a schema, with all references expanded."""
MAX_DEPTH = 100
"""Maximum nesting of parts and references."""
_STEPS = 1 << 20
"""Maximum number of passes over a value, for a schema that refers to itself in several places."""
_BACKTRACKS = 1_000_000
_PATTERN_BYTES = 32 << 20
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")

Path = tuple[str | int, ...]


class SchemaError(ValueError):
    """A rejected schema; `path` leads to the error in it."""

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        super().__init__(message)


class Schema:
    """A compiled schema that validates values."""

    def __init__(self, schema: Any) -> None:
        """Compile the schema; raises `ValueError`."""
        self._deepest = check_schema(schema)
        patterns = jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS, size_limit=_PATTERN_BYTES)
        self._validator = jsonschema_rs.validator_for(
            schema, retriever=_retrieve, pattern_options=patterns, validate_formats=True
        )

    def error_of(self, value: Any) -> jsonschema_rs.ValidationError | None:
        """Return the first error in a value; raises `ValueError` if the value is nested too deeply."""
        if self._deepest is not None and _is_deeper(value, self._deepest):
            raise ValueError(f"the value is nested deeper than {self._deepest} levels, too deep for its schema")
        if self._validator.is_valid(value):
            return None
        return next(self._validator.iter_errors(value))

    def errors_of(self, value: Any) -> Iterator[jsonschema_rs.ValidationError]:
        """Yield all errors in a value that is not nested deeper than `error_of` allows."""
        return self._validator.iter_errors(value)


def check_schema(schema: Any) -> int | None:
    """Raise `SchemaError` for a schema that reads other files or is too large.

    Returns:
        The maximum nesting of values, if the schema refers to itself in several places: each level multiplies the
        time of the check.
    """
    for path, node in _nodes(schema, ()):
        for key in _REFERENCES:
            target = node.get(key)
            if isinstance(target, str) and not target.startswith("#"):
                raise SchemaError((*path, key), f"`{key}` points outside the schema; copy its target here")
    counter = _Counter(schema)
    if counter.count(schema, 0) > MAX_PARTS:
        raise SchemaError((), f"the schema's references expand to more than {MAX_PARTS:,} parts")
    ways = counter.returns
    return None if ways < 2 else max(6, int(math.log(_STEPS, ways)))


class _Counter:
    """Counts the parts of a schema with references expanded."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._open: set[int] = set()
        self._known: dict[int, int] = {}
        self.returns = 0
        """Number of recursive references."""

    def count(self, node: Any, depth: int) -> int:
        """Return the number of parts in a node; counting stops at the limit."""
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
    raise ValueError("a schema can't read other files")
