"""The command line: what each command takes; the rest of a command is imported when it is called."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.main import get_command

from distask.cli import options as o
from distask.cli.help import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

EPILOG = """\
\b
To begin:
  distask tasks                                          what there is
  distask dry-run text-generation -i rows.jsonl          what would be sent
  distask run text-generation -i rows.jsonl -c offline   a rehearsal, no model
"""

app = typer.Typer(
    name="distask",
    help="Make and judge datasets with LLMs, from tasks that are YAML files.",
    epilog=EPILOG,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_MISUSE = typer.BadParameter.__mro__[2]
"""The root of what typer says about wrong arguments: click's, or typer's own copy of it, by typer's version."""


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"distask {version('distask')}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


@app.command(cls=Command, short_help="Run a task over rows.")
def run(
    context: typer.Context,
    spec: o.Spec,
    source: o.Source = None,
    rows: o.RowCount = None,
    param: o.Param = None,
    num_generations: o.NumGenerations = None,
    group_generations: o.Group = None,
    seed: o.Seed = 0,
    output: o.Output = None,
    overwrite: o.Overwrite = False,
    metadata_column: o.MetadataColumn = "distask_metadata",
    config: o.Config = None,
    model: o.Model = None,
    base_url: o.BaseUrl = None,
    set_: o.Set = None,
    concurrency: o.Concurrency = None,
    limit: o.Limit = None,
    offset: o.Offset = 0,
    shard: o.Shard = None,
    sample: o.Sample = None,
    on_bad_row: o.OnBadRow = o.BadRow.STOP,
    store: o.Store = None,
    no_store: o.NoStore = False,
    allow_code: o.AllowCode = False,
    allow_path: o.AllowPath = None,
    quiet: o.Quiet = False,
    verbose: o.Verbose = False,
    json_: o.Json = False,
    show_config: o.ShowConfig = False,
) -> None:
    """Run a task over rows, and write them with what the model said.

    What was asked before, with the same store, is not asked again: to go on after a stop, to add rows, to raise n
    or to change a parser, run again.
    """
    choice = o.Choice.of(locals())
    from distask.cli.run import run_command, show_config_command

    if show_config:
        show_config_command(choice, as_json=json_)
    else:
        raise typer.Exit(run_command(choice, _typed(context), quiet=quiet, verbose=verbose, as_json=json_))


@app.command("dry-run", cls=Command, short_help="Show what a run would send and ask for.")
def dry_run(
    spec: o.Spec,
    source: o.Source = None,
    rows: o.RowCount = None,
    param: o.Param = None,
    num_generations: o.NumGenerations = None,
    seed: o.Seed = 0,
    chats: Annotated[
        int, typer.Option("--limit", min=0, metavar="N", help="How many chats are shown; all rows are counted. [3]")
    ] = 3,
    output: o.Output = None,
    config: o.Config = None,
    model: o.Model = None,
    base_url: o.BaseUrl = None,
    set_: o.Set = None,
    offset: o.Offset = 0,
    shard: o.Shard = None,
    sample: o.Sample = None,
    on_bad_row: o.OnBadRow = o.BadRow.STOP,
    store: o.Store = None,
    no_store: o.NoStore = False,
    allow_path: o.AllowPath = None,
    verbose: o.Verbose = False,
    json_: o.Json = False,
) -> None:
    """Show the chats that a run would send, and count what it would ask for. It asks no model and needs no key."""
    from distask.cli.dry_run import dry_run_command

    dry_run_command(o.Choice.of(locals()), chats, whole=verbose, as_json=json_)


@app.command(cls=Command)
def tasks(
    action: Annotated[
        str | None, typer.Argument(metavar="[show]", help="Print a task's file, to read it or to start from it.")
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Which task `show` prints.")] = None,
) -> None:
    """List the built-in tasks, or print one."""
    from distask.cli.tasks import tasks_command

    tasks_command(action, name)


@app.command(cls=Command, short_help="Say every error of every spec.")
def validate(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC...", help="Task files, or built-in tasks' names.")],
    source: Annotated[
        str | None, typer.Option("--input", "-i", metavar="DATA", help="Check this data's columns and types too.")
    ] = None,
    param: o.Param = None,
    form: Annotated[str, typer.Option("--format", metavar="text|json|github", help="How errors are told.")] = "text",
) -> None:
    """Say every error of every spec, with its place and its mend; asks no model."""
    from distask.cli.validate import validate_command

    validate_command(specs, source, form, param)


@app.command(cls=Command)
def schema(
    config: Annotated[bool, typer.Option("--config", help="Of an LLM config instead of a task.")] = False,
) -> None:
    """Print the JSON Schema of a task, for editors."""
    from distask.cli.schema import schema_command

    schema_command(of_config=config)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives its exit code. Every error is a message, never a bare traceback."""
    given = tuple(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what the terminal's encoding lacks is shown as an escape
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(given)
    finally:
        _flush()


def _run(given: Sequence[str]) -> int:
    try:
        command: Any = get_command(app)
        with command.make_context("distask", list(given), obj=given) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except (KeyboardInterrupt, typer.Abort):
        with contextlib.suppress(OSError):
            sys.stderr.write("\ninterrupted\n")
        return 130
    except BrokenPipeError:  # whoever read our output has had enough
        return 141
    except Exception as error:  # noqa: BLE001 - the last one to see it
        return _told(error)
    return 0


def _told(error: Exception) -> int:
    from distask.cli import console
    from distask.errors import DistaskError

    if isinstance(error, DistaskError):
        return console.tell_error(error)
    if isinstance(error, _MISUSE):
        return console.tell_misuse(error)
    return console.tell_bug(error)


def _typed(context: typer.Context) -> list[str]:
    """The arguments as they were typed."""
    return list(sys.argv[1:] if context.obj is None else context.obj)


def _flush() -> None:
    """Flush stdout; where nobody reads it any more, point it to nowhere, so that Python's own last flush is silent."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
