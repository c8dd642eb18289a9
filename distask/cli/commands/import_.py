"""`distask import`: a task out of a prompt that was written for another tool."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer
from rich.text import Text

from distask.cli import options as o  # noqa: TC001 - typer reads the annotations
from distask.cli.commands.init import SCHEMA, next_steps, task_path, write
from distask.cli.commands.schema import schema_text
from distask.cli.display.console import err, out, plain
from distask.cli.events.emit import Events
from distask.cli.scaffold import EDITOR
from distask.errors import SpecError, UsageError
from distask.spec.check.faults import slugified
from distask.spec.foreign import read_foreign
from distask.spec.load import load_text
from distask.task.try_cases import run_cases


def command(
    source: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A .prompty, a .prompt.yml of GitHub Models, or a folder of Prompt Flow."),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What the task is called; NAME.yaml is written.")
    ] = None,
    node: Annotated[
        str | None, typer.Option("--node", metavar="NODE", help="The llm node of a flow that has several.")
    ] = None,
    json_: o.Json = False,
) -> None:
    """Write a task out of a prompt that was made for another tool; what a task can't say is told.

    A file that is there already is never replaced.
    """
    draft = read_foreign(source, node)
    path = task_path(name or slugified(draft.name) or source.name.partition(".")[0])
    if path.exists():
        raise UsageError(f"{path} is there already, and is left as it is; choose another name with --name")
    text = EDITOR + draft.text(path.stem)
    try:
        loaded = load_text(text, path)
        faults = run_cases(loaded)
    except SpecError as error:
        faults = list(error.diagnostics)
    if faults:
        wrong = SpecError(faults)
        wrong.add_note(f"{source} can't be a task as it stands; the lines above are of what it would become")
        raise wrong
    write(path, text, new=True)
    write(path.parent / SCHEMA, schema_text())
    if json_:
        Events("import").result(path=str(path), notes=draft.notes)
        return
    out().print(Text.assemble(plain(str(path), "bold"), plain(f"  from {source}")))
    for note in draft.notes:
        err().print(plain(f"- {note}", "yellow"))
    next_steps(path, None)
