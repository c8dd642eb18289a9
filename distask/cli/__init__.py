"""The command line, one file a command; a command's imports are made when it is called."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from distask.cli import options as o

app = typer.Typer(
    name="distask",
    help="Make and judge datasets with LLMs, from tasks that are YAML files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"distask {version('distask')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Make and judge datasets with LLMs, from tasks that are YAML files."""


@app.command()
def run(
    spec: o.Spec,
    source: o.Source = None,
    output: o.Output = None,
    config: o.Config = None,
    model: o.Model = None,
    base_url: o.BaseUrl = None,
    param: o.Param = None,
    set_: o.Set = None,
    num_generations: o.NumGenerations = None,
    group_generations: o.Group = None,
    limit: o.Limit = None,
    offset: o.Offset = 0,
    sample: o.Sample = None,
    shard: o.Shard = None,
    rows: o.RowCount = None,
    seed: o.Seed = 0,
    concurrency: o.Concurrency = None,
    store: o.Store = None,
    no_store: o.NoStore = False,
    metadata_column: o.MetadataColumn = "distask_metadata",
    allow_code: o.AllowCode = False,
    allow_path: o.AllowPath = None,
    on_bad_row: o.OnBadRow = "stop",
    overwrite: o.Overwrite = False,
    show_config: o.ShowConfig = False,
    quiet: o.Quiet = False,
    json_: o.Json = False,
) -> None:
    """Run a task over rows, and write them with what the model said.

    What was asked before, with the same store, is not asked again: to go on after a stop, to add rows, to raise n
    or to change a parser, run again.
    """
    from distask.cli.run import run_command

    run_command(o.Choice(**_chosen(locals())), show_config=show_config, quiet=quiet, as_json=json_)


@app.command("dry-run")
def dry_run(
    spec: o.Spec,
    source: o.Source = None,
    limit: Annotated[int, typer.Option(min=1, help="How many chats are shown.")] = 3,
    output: o.Output = None,
    config: o.Config = None,
    model: o.Model = None,
    base_url: o.BaseUrl = None,
    param: o.Param = None,
    set_: o.Set = None,
    num_generations: o.NumGenerations = None,
    offset: o.Offset = 0,
    sample: o.Sample = None,
    shard: o.Shard = None,
    rows: o.RowCount = None,
    seed: o.Seed = 0,
    store: o.Store = None,
    allow_code: o.AllowCode = False,
    allow_path: o.AllowPath = None,
    json_: o.Json = False,
) -> None:
    """Show the chats that a run would send, and count what it would ask; calls no model."""
    from distask.cli.dry_run import dry_run_command

    dry_run_command(o.Choice(**_chosen({**locals(), "limit": None})), chats=limit, as_json=json_)


@app.command()
def tasks(
    action: Annotated[str, typer.Argument(metavar="[show]", help="`show NAME` prints a task's file.")] = "list",
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The task's name.")] = None,
) -> None:
    """List the built-in tasks, or print one."""
    from distask.cli.tasks import tasks_command

    tasks_command(action, name)


@app.command()
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


@app.command()
def schema(
    config: Annotated[bool, typer.Option("--config", help="Of an LLM config instead of a task.")] = False,
) -> None:
    """Print the JSON Schema of a task, for editors."""
    from distask.cli.schema import schema_command

    schema_command(of_config=config)


def _chosen(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in o.Choice.__dataclass_fields__}


def main() -> None:
    """Run the command line; every error of ours is a message and an exit code, never a traceback."""
    from distask.errors import DistaskError

    code: int | None = 0
    try:
        code = app(standalone_mode=False)
    except DistaskError as error:
        from distask.cli.console import tell_error

        code = tell_error(error)
    except (KeyboardInterrupt, EOFError):
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:  # noqa: BLE001 - the last one to see it
        if type(error).__module__.startswith(("click.", "typer.")):
            code = o.tell_usage(error)
        else:
            from distask.cli.console import tell_bug

            code = tell_bug(error)
    sys.exit(code or 0)
