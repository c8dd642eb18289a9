"""Find the tasks and configs that come with distask."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping


_PACKAGE = Path(__file__).resolve().parent.parent


def _folder(name: str) -> Path:
    """Return the folder: inside the package in a wheel, next to the package in a checkout."""
    packed = _PACKAGE / "gallery" / name
    return packed if packed.is_dir() else _PACKAGE.parent / name


@cache
def gallery() -> dict[str, Path]:
    """Return the built-in tasks: name to file."""
    return {path.stem: path for path in sorted(_folder("tasks").glob("*.yaml"))}


@cache
def configs() -> dict[str, Path]:
    """Return the built-in LLM configs: name to file."""
    return {path.stem: path for path in sorted(_folder("configs").glob("*.yaml"))}


NO_KIND = "other"
"""The kind of a task without tags."""


class Entry(Struct, frozen=True):
    """A built-in task in the list, read without pydantic to keep the list fast."""

    name: str
    kind: str
    description: str
    columns: str
    words: str
    """The text to search, in lower case."""


def entries() -> list[Entry]:
    """Return the built-in tasks, sorted by kind and name."""
    return sorted((_entry(name, path) for name, path in gallery().items()), key=lambda e: (e.kind, e.name))


def _entry(name: str, path: Path) -> Entry:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:  # skip the golden cases at the end, which are most of a file
        head = re.split(r"^cases:", path.read_text(encoding="utf-8"), maxsplit=1, flags=re.MULTILINE)[0]
        spec = yaml.load(head, loader)  # noqa: S506 - a safe loader, in C if available
    except (yaml.YAMLError, ValueError):
        spec = {"description": "(the file has errors: run distask validate)"}
    description = str(spec.get("description") or "")
    tags = [str(tag) for tag in spec.get("tags") or [NO_KIND]]
    columns = _columns(spec)
    words = " ".join([name, description, *tags, columns, str(spec.get("reference") or "")])
    return Entry(name, tags[0], description, columns, words.lower())


def _columns(spec: Mapping[str, Any]) -> str:
    inputs = [
        f"{name}?" if isinstance(column, dict) and (column.get("required") is False or "when" in column) else str(name)
        for name, column in (spec.get("inputs") or {}).items()
    ]
    mapped = spec.get("output_mappings") or {}
    outputs = dict.fromkeys(str(mapped.get(name, name)) for name in spec.get("outputs") or ())
    return f"{', '.join(inputs) or 'nothing'} → {', '.join(outputs)}"
