"""`distask run`: do the job, show how it goes, say how it ended."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from distask.cli.console import err, out, plain, tell_error
from distask.cli.progress import Progress, duration, short
from distask.cli.setup import job_of
from distask.errors import RunError
from distask.runner.engine import Interrupted

if TYPE_CHECKING:
    from rich.console import Console

    from distask.cli.options import Choice
    from distask.llm.config import Resolved
    from distask.runner.job import Job, Result

FAILURES_SHOWN = 3


def run_command(choice: Choice, *, show_config: bool, quiet: bool, as_json: bool) -> None:
    """Run; ends the program with the run's exit code."""
    job = job_of(choice)
    if show_config:
        _show_config(job.llm)
        return
    console = err()
    if not quiet:
        console.print(plain(f"{job.task.name} · {job.llm.config.model} · {job.output}", "dim"))
    try:
        with Progress(quiet=quiet) as progress:
            result = job.run(progress)
    except RunError as error:
        raise typer.Exit(_stopped(error, console)) from None
    if as_json:
        print(json.dumps(_as_json(result)), file=sys.stderr if job.output == "-" else sys.stdout)
    elif not quiet:
        _summary(job, result, console)
    raise typer.Exit(result.exit_code)


def _show_config(llm: Resolved) -> None:
    console = out()
    for key, value, origin in llm.show():
        console.print(Text.assemble(plain(f"{key}: {value}"), ("    # ", "dim"), plain(origin, "dim")))


def _stopped(error: RunError, console: Console) -> int:
    stats = error.stats
    if not isinstance(error, Interrupted):
        tell_error(error)
    if stats is not None:
        total = "" if stats.total is None else f" of {stats.total:,}"
        console.print(plain(f"stopped after {stats.rows:,}{total} rows; every reply that came is kept"))
    if error.partial is not None:
        console.print(plain(f"the rows so far: {error.partial}"))
    console.print(Text.assemble("to go on: ", plain(shlex.join(["distask", *sys.argv[1:]]), "bold")))
    return error.exit_code


def _summary(job: Job, result: Result, console: Console) -> None:
    stats = result.stats
    good = stats.generations - stats.failed
    console.print(
        Text.assemble(
            (f"{good:,} of {stats.generations:,} generations good", "green" if good == stats.generations else "yellow"),
            f" · {stats.rows:,} rows in, {stats.rows_out:,} out · {duration(stats.seconds)}",
        )
    )
    asked = f"{stats.completions:,} replies asked for, {stats.stored:,} from the store"
    tokens = f"{short(stats.input_tokens)} → {short(stats.output_tokens)} tokens"
    console.print(plain(f"{asked} · {tokens} · {stats.calls:,} calls, {stats.retries:,} retries", "dim"))
    for words, count in (
        ("replies were cut at max_tokens", stats.cut),
        ("invalid replies were asked for again", stats.invalid_retries),
        ("generations were dropped", stats.dropped),
        ("input rows could not be read and were skipped", stats.skipped),
    ):
        if count:
            console.print(plain(f"{count:,} {words}", "yellow"))
    for note in result.notes:
        console.print(plain(note, "yellow"))
    if stats.failed:
        _tell_failures(job, result, console)
    if result.output is not None:
        console.print(Text.assemble("→ ", plain(str(result.output), "bold")))


def _tell_failures(job: Job, result: Result, console: Console) -> None:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in result.stats.failures.most_common())
    console.print(plain(f"{result.stats.failed:,} generations failed: {kinds}", "red"))
    for failed in result.failures[:FAILURES_SHOWN]:
        message = failed.message if len(failed.message) <= 200 else failed.message[:199] + "…"
        console.print(plain(f"  {failed.place}: {message}"))
    if result.stats.failed > FAILURES_SHOWN:
        where = f"{job.shape.metadata_column}.error_{job.task.name}"
        console.print(plain(f"  … each has its reason in {where}"))


def _as_json(result: Result) -> dict[str, object]:
    return {
        "output": None if result.output is None else str(result.output),
        **result.stats.to_json(),
        "notes": result.notes,
        "first_failures": [
            {"place": f.place, "sample": f.sample, "kind": f.kind, "message": f.message} for f in result.failures
        ],
    }
