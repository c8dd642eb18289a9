"""Find the tasks and configs that come with distask."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def _folder(name: str) -> Path:
    """In a wheel they are packed inside of the package; in a checkout they stand beside it."""
    packed = _PACKAGE / "gallery" / name
    return packed if packed.is_dir() else _PACKAGE.parent / name


@cache
def gallery() -> dict[str, Path]:
    """Built-in task's name to its file."""
    return {path.stem: path for path in sorted(_folder("tasks").glob("*.yaml"))}


@cache
def configs() -> dict[str, Path]:
    """Built-in LLM config's name to its file."""
    return {path.stem: path for path in sorted(_folder("configs").glob("*.yaml"))}
