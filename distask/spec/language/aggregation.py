"""Check `aggregate`: which columns hold numbers, and which lists are aggregated entry by entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.diagnostics import did_you_mean
from distask.spec.language.parsers import ListParser, RegexParser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from distask.spec.document import Document
    from distask.spec.language.columns import Output
    from distask.spec.language.model import TaskSpec
    from distask.spec.language.parsers import Parser

OF_NUMBERS = frozenset({"mean", "median", "min", "max", "std"})
"""Reductions that need numbers; true and false count as 1 and 0."""

_NUMBERS = frozenset({"number", "integer", "boolean"})


def aggregate_columns(spec: TaskSpec, outputs: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield (column, output, how) for each aggregate of these outputs, with the dataset name of the column."""
    for name in outputs:
        for how in dict.fromkeys(spec.aggregate.get(name, ())):
            column = f"{name}_{how}"
            yield spec.output_mappings.get(column, f"{spec.output_mappings.get(name, name)}_{how}"), name, how


def holds_numbers(output: Output) -> bool:
    """Return whether all values of a column are numbers or lists of numbers."""
    kinds = _kinds(output)
    return bool(kinds) and set(kinds) <= _NUMBERS


def is_entrywise(name: str, output: Output, parsers: Iterable[Parser]) -> bool:
    """Return whether lists are aggregated entry by entry: lists of numbers, and lists aligned to a column."""
    return is_aligned(name, parsers) or (_is_list(output) and holds_numbers(output))


class Fault(Struct, frozen=True):
    """An error in a spec's `aggregate`."""

    path: tuple[Any, ...]
    message: str
    hint: str | None = None
    key: bool = False
    """Whether the error is in the key at the path, not in its value."""


def aggregation_faults(spec: TaskSpec, document: Document) -> Iterator[Fault]:
    """Yield the errors in a spec's `aggregate`."""
    if spec.aggregate and not spec.group_generations:
        message = "`aggregate` needs grouped generations"
        yield Fault(("aggregate",), message, "add `group_generations: true`", key=True)
    for name, reductions in spec.aggregate.items():
        output = spec.outputs.get(name)
        if output is None:
            yield Fault(("aggregate", name), f"`{name}` is not an output", did_you_mean(name, spec.outputs), key=True)
            continue
        in_list = isinstance(document.data["aggregate"][name], list)
        for index, how in enumerate(reductions):
            place = ("aggregate", name, index) if in_list else ("aggregate", name)
            if how in reductions[:index]:
                yield Fault(place, f"`{how}` is repeated")
            elif how in OF_NUMBERS and not isinstance(output.schema_, str) and not holds_numbers(output):
                hint = f"set `type: number` for `{name}`, or use majority or agreement"
                yield Fault(place, f"`{how}` needs numbers, but `{name}` holds {_described(output)}", hint)


def is_aligned(name: str, parsers: Iterable[Parser]) -> bool:
    """Return whether a parser aligns the column to another one and pads it with nulls."""
    for parser in parsers:
        if isinstance(parser, ListParser) and parser.align_to is not None and parser.column in (None, name):
            return True
        if isinstance(parser, RegexParser) and parser.align_to is not None and f"<{name}>" in parser.pattern:
            return True
    return False


def _described(output: Output) -> str:
    kinds = [k for k in dict.fromkeys(_kinds(output)) if k not in _NUMBERS]
    return " and ".join({"string": "text", "any": "anything", "object": "objects"}.get(k, f"{k}s") for k in kinds) or (
        "values of unknown type"
    )


def _is_list(output: Output) -> bool:
    if isinstance(output.schema_, dict):
        return output.schema_.get("type") == "array"
    return (output.type or "").startswith("list")


def _kinds(output: Output) -> list[str]:
    """Return the JSON types of a column's values, or of the entries of its lists; empty if unknown."""
    if isinstance(output.schema_, dict):
        return _of_schema(output.schema_)
    if output.schema_ is not None:
        return []
    kind = output.type or ("enum" if output.choices else "string")
    if kind == "list":
        return _of_schema(output.items if isinstance(output.items, dict) else {})
    kind = kind.removeprefix("list[").removesuffix("]")
    if kind == "enum":
        return ["number" if _is_number(c) else "string" for c in output.choices or ()]
    return [kind]


def _of_schema(schema: Mapping[str, Any]) -> list[str]:
    kind = schema.get("type")
    kinds = [k for k in (kind if isinstance(kind, list) else [kind]) if k not in (None, "null")]
    if kinds == ["array"]:
        items = schema.get("items")
        return [k for k in _of_schema(items) if k != "array"] if isinstance(items, dict) else []
    if not kinds:
        return ["number" if _is_number(c) else "string" for c in schema.get("enum", ()) if c is not None]
    return kinds


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float)
