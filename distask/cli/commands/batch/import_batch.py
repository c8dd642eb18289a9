"""`distask import-batch`: write rows from the results of a batch file."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated

import typer

from distask.cli import options as o
from distask.cli.display import summary
from distask.cli.display.console import err, plain
from distask.cli.display.progress import Progress
from distask.cli.events.emit import Events
from distask.cli.job import job_of
from distask.runner.batch.files import take_in
from distask.runner.local import run_here


@o.takes(*o.INPUT, *o.OUTPUT, *o.LLM, *o.ROWS, "store", *o.ALLOW)
def command(
    choice: o.Choice,
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS...", help="Result files: OpenAI outputs and errors, or vllm run-batch outputs."
        ),
    ],
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
    json_: o.Json = False,
) -> None:
    """Add a batch's results to the store, and write the rows that a run would write. It sends no requests.

    Use the SPEC, input, model and endpoint that the requests were written with. A row without a result is null and
    holds the reason: `distask run` requests it, `distask export-batch` writes its request again.
    """
    job = job_of(choice, asks=False, reads=True)
    bring = partial(take_in, files=results)
    if json_:
        events = Events("import-batch", sys.stderr if choice.output == "-" else sys.stdout)
        result = run_here(job, events.progress(), lambda sentence: events.emit("note", message=sentence), bring)
        events.result(result.exit_code, **summary.as_json(job, result))
        raise typer.Exit(result.exit_code)
    console = err()
    with Progress(console, quiet=quiet) as progress:
        notify = None if quiet else lambda sentence: console.print(plain(sentence, "yellow"))
        result = run_here(job, progress, notify, bring)
    summary.print_summary(job, result, console, quiet=quiet, verbose=verbose > 0)
    raise typer.Exit(result.exit_code)
