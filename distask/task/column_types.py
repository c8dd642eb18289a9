"""Column types: convert a value if the conversion is lossless, then check it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from distask.task.reply.escapes import restored

if TYPE_CHECKING:
    from distask.spec.check.json_schemas import Schema
    from distask.spec.language.columns import Typed

_BARE = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "object": dict}


class ColumnType:
    """The type of a column.

    Args:
        typed: the input, param or output in the spec.
        name: the name of the column, for messages.
        padded: whether list entries may be null (for a list that is aligned to another column).
    """

    def __init__(self, typed: Typed, name: str = "", *, padded: bool = False) -> None:
        self.name = name
        self.type = typed.type or ("enum" if typed.choices else "any" if typed.schema_ is not None else "string")
        self.choices = typed.choices
        self.nullable = bool(getattr(typed, "nullable", False))
        self.padded = padded
        self.schema = _schema(typed, self.type)
        self._bounds = _bounds(self.schema)
        self._takes_any_text = self.type == "string" and self.choices is None and not self._bounds
        self._validator: Schema | None = None

    @property
    def unchecked(self) -> frozenset[type]:
        """The Python types of JSON values that `read` returns unchanged, so that they need no check."""
        if not self.schema and self.type == "any":
            return frozenset((str, bool, int, float, list, dict))
        if self.type not in _BARE or self._bounds or self.choices is not None:
            return frozenset()
        wanted = _BARE[self.type]
        return frozenset(wanted if isinstance(wanted, tuple) else (wanted,))

    def has_entries(self, value: Any) -> bool:
        """Whether an aligned list has an entry that its type could have rejected."""
        typed = self.schema.get("items") not in (None, True, {}, {"type": "string"})
        return self.padded and typed and isinstance(value, list) and any(entry is not None for entry in value)

    def read(self, value: Any, refused: list[str] | None = None) -> Any:
        """The value, converted if that is lossless; raises `ValueError` with the fault and its place.

        With `refused`, an entry of an aligned list that has the wrong type becomes null, and its message is added to
        `refused`.
        """
        if value is None:
            if self.nullable or self.type == "any":
                return None
            raise ValueError(f"{self.name}: there is no value")
        if self._takes_any_text and type(value) is str:
            return value
        value = self._convert(self.type, value)
        if self.choices is not None and self.type == "enum":
            return self._chosen(value)
        if not self.schema:  # any value is allowed, even one that JSON can't represent
            return value
        if self.type in _BARE and not self._bounds:
            self._check_bare(value)
            return value
        return self._checked(value, refused)

    def _convert(self, kind: str, value: Any) -> Any:
        if isinstance(value, str) and kind not in ("string", "any", "enum"):
            return _from_text(kind, value)
        if kind == "integer" and isinstance(value, float) and value.is_integer():
            return int(value)
        if kind == "string" and isinstance(value, int | float) and not isinstance(value, bool):
            return json.dumps(value)
        if kind.startswith("list[") and isinstance(value, list):
            return [self._convert(kind[5:-1], item) for item in value]
        return value

    def _chosen(self, value: Any) -> Any:
        assert self.choices is not None
        if value in self.choices:
            return value
        close = [c for c in self.choices if str(c).lower() == str(value).strip().lower()]
        if len(close) == 1:
            return close[0]
        shown = ", ".join(_shown(c) for c in self.choices)
        raise ValueError(f"{self.name}: {_shown(value)} is not one of {shown}")

    def _check_bare(self, value: Any) -> None:
        wanted: Any = _BARE[self.type]
        good = isinstance(value, wanted) and (self.type == "boolean" or not isinstance(value, bool))
        if not good or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(f"{self.name}: {_shown(value)} is not {_article(self.type)}")

    def _checked(self, value: Any, refused: list[str] | None) -> Any:
        if self._validator is None:
            from distask.spec.check.json_schemas import Schema

            try:
                self._validator = Schema(self.schema)
            except ValueError as unfit:
                raise ValueError(f"{self.name}: its schema can't be used: {unfit}") from None
        kept: list[int] | None = None
        checked = value
        if self.padded and isinstance(value, list):
            kept = [index for index, item in enumerate(value) if item is not None]
            checked = [value[index] for index in kept]
        try:
            error = self._validator.error_of(checked)
        except ValueError as unfit:
            raise ValueError(f"{self.name}: {unfit}") from None
        if error is None:
            return value
        if kept is None:
            raise ValueError(self._message(error, list(error.instance_path)))
        faults: dict[Any, str] = {}
        for error in self._validator.errors_of(checked):
            steps = list(error.instance_path)
            if steps:
                steps[0] = kept[int(steps[0])]
            if not steps or refused is None:
                raise ValueError(self._message(error, steps))
            faults.setdefault(steps[0], self._message(error, steps))
        if refused is not None:
            refused += faults.values()
        return [None if index in faults else entry for index, entry in enumerate(value)]

    def _message(self, error: Any, steps: list[Any]) -> str:
        path = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps)
        return f"{self.name}{path}: {_explained(error)}"


def _from_text(kind: str, text: str) -> Any:
    stripped = text.strip()
    if kind == "boolean":
        return {"true": True, "false": False}.get(stripped.lower(), text)
    try:
        value = json.loads(restored(stripped))
    except (ValueError, RecursionError):
        return text
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    wanted: Any = list if kind.startswith("list") else _BARE.get(kind)
    return value if isinstance(value, wanted) and not isinstance(value, bool) else text


def type_schema(name: str, choices: list[Any] | None = None) -> dict[str, Any]:
    """The JSON Schema for the name of a type."""
    if name == "any":
        return {}
    if name == "enum":
        return {"enum": choices or []}
    if name == "list":
        return {"type": "array"}
    if name.startswith("list["):
        return {"type": "array", "items": type_schema(name[5:-1], choices)}
    return {"type": name}


def _schema(typed: Typed, name: str) -> dict[str, Any]:
    if isinstance(typed.schema_, dict):
        return typed.schema_
    schema = type_schema(name, typed.choices) | typed.keywords()
    if name.startswith("list[") and typed.keywords():
        # bounds of numbers and texts on a list apply to its items
        inner = {k: v for k, v in typed.keywords().items() if k in _OF_ITEMS}
        items = type_schema(name[5:-1], typed.choices) | inner | (typed.items if isinstance(typed.items, dict) else {})
        schema = {k: v for k, v in schema.items() if k not in inner} | {"items": items}
    return schema


_OF_ITEMS = {
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
    "pattern", "format",
}  # fmt: skip


def _bounds(schema: dict[str, Any]) -> bool:
    return set(schema) != {"type"}


def _explained(error: Any) -> str:
    kind, value = error.kind, error.instance
    name = kind.name if hasattr(kind, "name") else type(kind).__name__
    limit = getattr(kind, "limit", None)
    explained = {
        "maximum": f"{_shown(value)} is more than {limit:g}" if isinstance(limit, int | float) else None,
        "minimum": f"{_shown(value)} is less than {limit:g}" if isinstance(limit, int | float) else None,
        "maxItems": f"there are {len(value)} entries, more than {limit}" if isinstance(value, list) else None,
        "minItems": f"there are {len(value)} entries, fewer than {limit}" if isinstance(value, list) else None,
        "enum": f"{_shown(value)} is not one of {_options(kind)}",
        "type": f"{_shown(value)} is not {_article(_types(kind))}",
    }.get(name)
    return explained or str(error.message).replace("\n", " ")


def _options(kind: Any) -> str:
    options = getattr(kind, "options", None)
    options = json.loads(options) if isinstance(options, str) else options
    return ", ".join(_shown(o) for o in options) if isinstance(options, list) else str(options)


def _types(kind: Any) -> str:
    types = getattr(kind, "types", None) or getattr(kind, "expected", "")
    return " or ".join(types) if isinstance(types, list | tuple) else str(types)


def _article(name: str) -> str:
    return f"an {name}" if name[:1] in "aio" else f"a {name}"


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
