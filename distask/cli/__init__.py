"""The command line: the list of commands. Each has its own module, imported when the command is called."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.main import get_command

from distask.cli import process
from distask.cli.display.help import Group, help_width
from distask.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

EPILOG = """\
\b
Get started:
  distask tasks                                          list built-in tasks
  distask dry-run text-generation -i rows.jsonl          show what would be sent
  distask run text-generation -i rows.jsonl -c offline   try it without a model
"""

COMMANDS = {
    "specs.init": "Write a starter task.",
    "specs.import_": "Convert another tool's prompt to a task.",
    "run": "Run a task over rows.",
    "dry_run": "Show what a run would send.",
    "merge": "Merge the outputs of shards.",
    "store": "Show what a store holds, or prune it.",
    "batch.batch": "Show, fetch or cancel batches.",
    "batch.export_batch": "Write a run's requests to a batch file.",
    "batch.import_batch": "Write rows from the results of a batch file.",
    "check": "Check the endpoint, the key and the model.",
    "preview": "Run a few rows and show chats, replies and columns.",
    "specs.test": "Run the test cases in task specs.",
    "specs.validate": "Check task specs and report every error.",
    "specs.tasks": "List the built-in tasks, or show one.",
    "report": "Write an HTML page about a result, or compare two.",
    "trace": "Show the prompts, input row and document that a row comes from.",
    "judging.agree": "Measure how far a judge agrees with people.",
    "judging.stress": "Measure what changes a judge's verdict and should not.",
    "judging.label": "Answer a task's questions yourself, on a local page.",
    "specs.schema": "Print the JSON Schema of a task, for editors.",
    "completion": "Print a completion script for your shell.",
}
"""Module in `cli.commands` whose function `command` is the command, and its line in the help."""

app = typer.Typer(
    name="distask",
    cls=Group.of(COMMANDS),
    help="Generate and evaluate datasets with LLM tasks declared in YAML.",
    epilog=EPILOG,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_MISUSE = typer.BadParameter.__mro__[2]
"""Base class of usage errors: click's, or typer's own copy of it, depending on the typer version."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"distask {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def script() -> NoReturn:
    """Run the program `distask` and end the process."""
    process.begin()
    process.end(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Every error becomes a message, never a bare traceback."""
    given = tuple(sys.argv[1:] if arguments is None else arguments)
    _open_standard_files()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # escape characters that the encoding lacks
            stream.reconfigure(errors="backslashreplace")
    return _flushed(_run(given), given)


def _run(given: Sequence[str]) -> int:
    try:
        command: Any = get_command(app)
        if os.environ.get("_DISTASK_COMPLETE"):
            from distask.cli.commands.completion import answer

            answer(command, given)
        with command.make_context("distask", list(given), obj=given, terminal_width=help_width()) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:  # the reader of our output has closed it
        return 141
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(given)
    except Exception as error:  # noqa: BLE001 - the last resort
        return _report(error, given)
    return 0


def _interrupted(given: Sequence[str]) -> int:
    from distask.cli.events import emit

    with contextlib.suppress(OSError):
        if (events := emit.wanted(given)) is not None:
            events.error("interrupted", "interrupted", 130)
        else:
            sys.stderr.write("\ninterrupted\n")
    return 130


def _report(error: Exception, given: Sequence[str]) -> int:
    """Report an error as text or as an event; returns the exit code."""
    from distask.cli import usage_errors
    from distask.cli.display import console
    from distask.cli.events import emit
    from distask.errors import DistaskError

    error = _explained(error)
    events = emit.wanted(given)
    if isinstance(error, DistaskError):
        return console.report_error(error) if events is None else events.failed(error)
    if isinstance(error, _MISUSE):
        return usage_errors.report_usage_error(error) if events is None else usage_errors.as_event(error, events)
    return console.report_bug(error) if events is None else events.bug(error)


def _explained(error: Exception) -> Exception:
    """Return a disk or folder error as a distask error, and any other error unchanged."""
    from distask.errors import OutputError, UsageError

    if not isinstance(error, OSError):
        return error
    if error.errno in _OF_THE_DISK:
        return OutputError(f"{error.filename or 'stdout'}: can't be written: {error.strerror}")
    if isinstance(error, PermissionError) and error.filename is not None:
        return UsageError(f"{error.filename}: {(error.strerror or '').lower()}")
    if isinstance(error, FileNotFoundError) and error.filename is None:  # of os.getcwd
        return UsageError("the current folder no longer exists; change to another one")
    return error


_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def _open_standard_files() -> None:
    """Open closed standard streams: otherwise the next opened file gets their number and their text."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _flushed(code: int, given: Sequence[str]) -> int:
    """Flush stdout and stderr, and drop what can't be written: Python's own last flush is not silent.

    Returns `code`, or 1 if a result for stdout was lost.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream is sys.stdout and not isinstance(error, BrokenPipeError):
                code = code or _report(error, given)
    return code
