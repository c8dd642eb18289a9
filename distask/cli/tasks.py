"""`distask tasks`: what comes with distask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from distask.cli.console import out, plain
from distask.errors import SpecError, UsageError
from distask.spec.diagnostics import did_you_mean
from distask.spec.document import Document
from distask.spec.gallery import gallery

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def command(
    action: Annotated[
        str | None, typer.Argument(metavar="[show]", help="Print a task's file, to read it or to start from it.")
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Which task `show` prints.")] = None,
) -> None:
    """List the built-in tasks, or print one."""
    if action is None:
        _print_list()
    elif action != "show":
        mend = f"distask tasks show {action}" if action in gallery() else "distask tasks, or distask tasks show NAME"
        raise UsageError(f"there is no `distask tasks {action}`; write {mend}")
    elif name is None:
        raise UsageError("which task? write distask tasks show NAME")
    else:
        print(_file(name).read_text(encoding="utf-8"), end="")  # noqa: T201


def _file(name: str) -> Path:
    known = gallery()
    if name not in known:
        raise UsageError(f"there is no built-in task `{name}`; {did_you_mean(name, known)}")
    return known[name]


def _print_list() -> None:
    console = out()
    for name, path in gallery().items():
        try:
            spec: Any = Document.parse(path.read_text(encoding="utf-8"), str(path)).data
        except SpecError:
            spec = {"description": "(its file has errors: distask validate says which)"}
        console.print(Text.assemble((name, "bold"), "  ", plain(str(spec.get("description") or ""))))
        console.print(plain(f"    {_columns(spec)}", "dim"))


def _columns(spec: Mapping[str, Any]) -> str:
    inputs = [
        f"{name}?" if isinstance(column, dict) and column.get("required") is False else str(name)
        for name, column in (spec.get("inputs") or {}).items()
    ]
    return f"{', '.join(inputs) or 'nothing'} → {', '.join(map(str, spec.get('outputs') or ()))}"
