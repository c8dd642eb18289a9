"""`distask import`: convert another tool's prompt to a task."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer
from rich.text import Text

from distask.cli import options as o  # noqa: TC001 - typer reads the annotations
from distask.cli.commands.specs.init import SCHEMA, next_steps, task_path, write
from distask.cli.commands.specs.schema import schema_text
from distask.cli.display.console import err, out, plain
from distask.cli.events.emit import Events
from distask.cli.scaffold import EDITOR
from distask.errors import SpecError, UsageError
from distask.spec.check.faults import slugified
from distask.spec.foreign import read_foreign
from distask.spec.load import load_text
from distask.task.load import run_cases


def command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A .prompty file, a GitHub Models .prompt.yml file, or a Prompt Flow folder."
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the task; writes NAME.yaml.")
    ] = None,
    node: Annotated[
        str | None, typer.Option("--node", metavar="NODE", help="LLM node to import if the flow has several.")
    ] = None,
    json_: o.Json = False,
) -> None:
    """Convert another tool's prompt to a task, and list what could not be converted.

    Existing files are never replaced.
    """
    draft = read_foreign(source, node)
    path = task_path(name or slugified(draft.name) or source.name.partition(".")[0])
    if path.exists():
        raise UsageError(f"{path} already exists and was not changed; choose another name with --name")
    text = EDITOR + draft.text(path.stem)
    try:
        loaded = load_text(text, path)
        faults = run_cases(loaded)
    except SpecError as error:
        faults = list(error.diagnostics)
    if faults:
        wrong = SpecError(faults)
        wrong.add_note(f"{source} can't be converted as it is; the errors above refer to the task that it would become")
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
