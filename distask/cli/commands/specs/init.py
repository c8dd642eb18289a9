"""`distask init`: write a starter task, from scratch, from another task, or from the columns of data."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from distask.cli import candidates
from distask.cli import options as o
from distask.cli.commands.specs.schema import schema_text
from distask.cli.display.console import err, out, plain
from distask.cli.events.emit import Events
from distask.cli.scaffold import Start, from_columns, from_nothing, from_task
from distask.errors import OutputError, UsageError
from distask.spec.check.faults import slugified

if TYPE_CHECKING:
    from distask.data.readers import ReadOptions

SCHEMA = Path(".distask", "task.schema.json")
"""Where editors find the schema, next to the task; the installed distask writes it, so no network is needed."""


def command(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the task; writes NAME.yaml.")] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="TASK",
            help="Start from a built-in task or an existing spec.",
            autocompletion=candidates.tasks,
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--input", "-i", metavar="DATA", help="Use the columns of this data as inputs.")
    ] = None,
    delimiter: o.Delimiter = None,
    on_nan: o.OnNan = o.OnNaN.STOP,
    on_bad_row: o.OnBadRow = o.BadRow.STOP,
    json_: o.Json = False,
) -> None:
    """Write a starter task that is valid, has a test case, and supports completion in editors.

    Existing files are never replaced.
    """
    if from_ is not None and source is not None:
        raise UsageError("--from and --input can't be combined; remove one of them")
    path = task_path(name or _named_after(from_))
    if path.exists():
        raise UsageError(f"{path} already exists and was not changed; choose another name")
    start = _start(path, from_, source, o.read_options(on_nan, delimiter), skip=on_bad_row is o.BadRow.SKIP)
    files = {path: start.text, **{path.parent / file: data for file, data in start.files.items()}}
    schema = path.parent / SCHEMA
    taken = [str(file) for file in files if file.exists()]
    if taken:
        raise UsageError(f"{', '.join(taken)} already exists and was not changed; write to another folder")
    for file, text in files.items():
        write(file, text, new=True)
    write(schema, schema_text())
    if json_:
        Events("init").result(path=str(path), schema=str(schema), files=[str(f) for f in files])
        return
    _print_next_steps(path, start, source)


def task_path(name: str) -> Path:
    """Return the path for a task with this name."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = path.with_name(f"{path.name}.yaml")
    if not slugified(path.stem):
        raise UsageError(f"`{name}` is not a valid task name; use at least one letter or digit")
    return path


def _named_after(task: str | None) -> str:
    if task is None:
        raise UsageError("the task name is missing; run distask init NAME")
    return Path(task).stem


def _start(path: Path, task: str | None, source: str | None, options: ReadOptions, *, skip: bool) -> Start:
    name = slugified(path.stem)
    if task is not None:
        return from_task(task, name, path)
    return from_nothing(name, path) if source is None else from_columns(source, name, path, options, skip=skip)


def write(path: Path, text: str, *, new: bool = False) -> None:
    """Write a file and create its folders; with `new`, an existing file is an error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if path.parent.name == SCHEMA.parent.name else 0o777)
        with path.open("x" if new else "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror or error}") from None


def _print_next_steps(path: Path, start: Start, source: str | None) -> None:
    console, notes = out(), err()
    console.print(Text.assemble(plain(str(path), "bold"), plain(f"  {start.message}")))
    for note in start.notes:
        notes.print(plain(note, "yellow"))
    next_steps(path, source)


def next_steps(path: Path, source: str | None) -> None:
    """Print the next commands for a new task."""
    console = out()
    file = shlex.quote(os.fspath(path))
    test, dry = f"distask test {file}", f"distask dry-run {file} -i {shlex.quote(source) if source else 'DATA'}"
    width = max(len(test), len(dry))
    console.print(plain(f"\nnext:  {test.ljust(width)}    run its cases", "dim"))
    console.print(plain(f"       {dry.ljust(width)}    show what would be sent", "dim"))
