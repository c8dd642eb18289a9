"""`distask run`: run the task, show its progress and print a summary."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from distask.cli import logs
from distask.cli import options as o
from distask.cli.display import summary
from distask.cli.display.console import err, out, plain
from distask.cli.display.progress import Progress
from distask.cli.events import emit
from distask.cli.events.emit import Events
from distask.cli.job import job_of, task_and_llm
from distask.errors import RunError
from distask.runner.run import run_job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.llm.config.resolve import Resolved
    from distask.runner.job import Job


@o.takes(*o.INPUT, *o.OUTPUT, *o.LLM, *o.ROWS, *o.STORE, *o.ALLOW, *o.RUN)
def command(
    choice: o.Choice,
    context: typer.Context,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
    json_: o.Json = False,
    show_config: o.ShowConfig = False,
) -> None:
    """Run a task over rows and write them with the model's replies.

    Replies in the store are not requested again: to resume an interrupted run, add rows, raise n or change a parser,
    run the command again.
    """
    if show_config:
        _show_config(choice, as_json=json_)
    else:
        raise typer.Exit(_run(choice, _typed(context), quiet=quiet, verbose=verbose > 0))


def _typed(context: typer.Context) -> list[str]:
    """The arguments as the user typed them."""
    return list(sys.argv[1:] if context.obj is None else context.obj)


def _run(choice: o.Choice, typed: Sequence[str], *, quiet: bool, verbose: bool) -> int:
    """Run the job; returns the exit code.

    Args:
        choice: the shared options.
        typed: the arguments as the user typed them, for the command that resumes the run.
        quiet: print only errors.
        verbose: print every failure and the config.
    """
    job = job_of(choice)
    try:
        if (events := emit.wanted(typed)) is not None:
            return _run_with_events(job, events)
        return _run_in_words(job, quiet=quiet, verbose=verbose)
    except RunError as error:
        error.add_note(summary.way_on(job, error, typed))
        raise


def _run_in_words(job: Job, *, quiet: bool, verbose: bool) -> int:
    console = err()
    logs.through(console)
    if not quiet:
        console.print(plain(f"{job.task.name} · {_model_of(job)} · {job.output}", "dim"))
    if verbose:
        _print_config(_config(job.llm), console)
    with Progress(console, quiet=quiet, live=False if _rows_are_seen(job) else None) as progress:
        result = run_job(job, progress, None if quiet else lambda sentence: console.print(plain(sentence, "yellow")))
    summary.print_summary(job, result, console, quiet=quiet, verbose=verbose)
    return result.exit_code


def _model_of(job: Job) -> str | None:
    """The model of a run, as its first line shows it."""
    return job.llm.config.model if job.task.calls_model else "no model"


def _run_with_events(job: Job, events: Events) -> int:
    model = job.llm.config.model if job.task.calls_model else None
    events.emit("started", task=job.task.name, model=model, output=job.output)
    result = run_job(job, events.progress(), lambda sentence: events.emit("note", message=sentence))
    events.result(result.exit_code, **summary.as_json(job, result))
    return result.exit_code


def _show_config(choice: o.Choice, *, as_json: bool) -> None:
    """Print the config that a run would use, and where each value comes from."""
    _, llm = task_and_llm(choice, asks=False)
    rows = _config(llm)
    if as_json:
        shown = {key: {"value": value, "from": origin} for key, value, origin in rows}
        Events("run").result(config=shown)
    else:
        _print_config(rows, out())


def _config(llm: Resolved) -> list[tuple[str, Any, str]]:
    hidden = "(hidden)" if os.environ.get(llm.config.api_key_env or "", "").strip() else "(not set)"
    return [(key, hidden if key == "api_key" else value, origin) for key, value, origin in llm.show()]


def _print_config(rows: Sequence[tuple[str, Any, str]], console: Any) -> None:
    for key, value, origin in rows:
        console.print(Text.assemble(plain(f"{key}: {value}"), ("    # ", "dim"), plain(origin, "dim")))


def _rows_are_seen(job: Job) -> bool:
    """Whether rows go to the terminal that would show progress."""
    return job.output == "-" and sys.stdout.isatty()
