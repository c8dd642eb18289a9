"""The command line: which commands there are; each is a file of its own here, imported when it is called."""

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
To begin:
  distask tasks                                          what there is
  distask dry-run text-generation -i rows.jsonl          what would be sent
  distask run text-generation -i rows.jsonl -c offline   a rehearsal, no model
"""

COMMANDS = {
    "init": "Write a task to begin with.",
    "import": "Make a task of another tool's prompt.",
    "run": "Run a task over rows.",
    "dry-run": "Show what a run would send and ask for.",
    "merge": "Put the outputs of shards together.",
    "batch": "Look at batches, fetch them, or cancel them.",
    "export-batch": "Write what a run would ask as a batch file.",
    "import-batch": "Read a batch's results, and write rows with them.",
    "check": "Ask an endpoint what it can do.",
    "preview": "Ask for a few rows, and show all that came.",
    "test": "Hold specs against their own cases.",
    "validate": "Say every error of every spec.",
    "tasks": "List the built-in tasks, or print one.",
    "report": "Make a page of a result, or of what changed between two.",
    "schema": "Print the JSON Schema of a task, for editors.",
    "completion": "Print a script that completes in your shell.",
}
"""A command's line in the help; the command itself is the function `command` in the module of its name."""

app = typer.Typer(
    name="distask",
    cls=Group.of(COMMANDS),
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
        typer.echo(f"distask {__version__}")
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


def script() -> NoReturn:
    """The program `distask`: the command line of this process, which ends with it."""
    process.begin()
    process.end(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives its exit code. Every error is a message, never a bare traceback."""
    given = tuple(sys.argv[1:] if arguments is None else arguments)
    _open_standard_files()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what the terminal's encoding lacks is shown as an escape
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
    except BrokenPipeError:  # whoever read our output has had enough
        return 141
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(given)
    except Exception as error:  # noqa: BLE001 - the last one to see it
        return _told(error, given)
    return 0


def _interrupted(given: Sequence[str]) -> int:
    from distask.cli.events import emit

    with contextlib.suppress(OSError):
        if (told := emit.wanted(given)) is not None:
            told.error("interrupted", "interrupted", 130)
        else:
            sys.stderr.write("\ninterrupted\n")
    return 130


def _told(error: Exception, given: Sequence[str]) -> int:
    """Tell an error, in words or as an event; the exit code."""
    from distask.cli import usage_errors
    from distask.cli.display import console
    from distask.cli.events import emit
    from distask.errors import DistaskError

    error = _explained(error)
    told = emit.wanted(given)
    if isinstance(error, DistaskError):
        return console.report_error(error) if told is None else told.failed(error)
    if isinstance(error, _MISUSE):
        return usage_errors.report_usage_error(error) if told is None else usage_errors.as_event(error, told)
    return console.report_bug(error) if told is None else told.bug(error)


def _explained(error: Exception) -> Exception:
    """A fault of the disk or of a folder as an error of ours; any other error as it is."""
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
    """Open what was closed of stdin, stdout and stderr: else the next file that is opened gets its number and text."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _flushed(code: int, given: Sequence[str]) -> int:
    """Write out what stdout and stderr still hold; let go what can't be written: Python's own last flush is not silent.

    The exit code: `code`, or 1 where a result is lost that was to be on stdout.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream is sys.stdout and not isinstance(error, BrokenPipeError):
                code = code or _told(error, given)
    return code
