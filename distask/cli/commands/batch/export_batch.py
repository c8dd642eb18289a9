"""`distask export-batch`: write a run's requests to a batch file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace
from rich.text import Text

from distask.cli import options as o
from distask.cli.display.console import out, plain
from distask.cli.events.emit import Events
from distask.cli.job import default_output, job_of
from distask.formatting import several
from distask.runner.batch.files import export

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distask.runner.batch.files import Exported


@o.takes(*o.INPUT, *o.LLM, *o.ROWS, "store", "allow_path")
def command(
    choice: o.Choice,
    requests: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Batch file to write. [TASK.DATA.requests.jsonl]"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing FILE.")] = False,
    json_: o.Json = False,
) -> None:
    """Write the requests that have no reply in the store, for OpenAI's Batch API or `vllm run-batch`.

    It sends no requests and needs no key. `distask import-batch`, with the same SPEC, input and model, reads results.
    """
    made = export(
        job_of(replace(choice, overwrite=overwrite), asks=False), requests or _default(choice.spec, choice.source)
    )
    if json_:
        files = [{"file": str(path), "requests": count} for path, count in made.files]
        counts = {"rows": made.rows, "stored": made.stored, "waiting": made.waiting}
        Events("export-batch").result(files=files, failures=dict(made.failures), notes=made.notes, **counts)
        return
    for name, text in _lines(made):
        out().print(Text.assemble((f"{name:<9}", "dim"), plain(text)))


def _default(spec: str, source: str | None) -> Path:
    return Path(default_output(Path(spec).stem, source)).with_suffix(".requests.jsonl")


def _lines(made: Exported) -> Iterator[tuple[str, str]]:
    yield "rows", f"{made.rows:,}"
    yield from (("note", note) for note in made.notes)
    if made.stored:
        yield "replies", f"{made.stored:,} already in the store, not requested"
    if made.waiting:
        yield "waiting", f"requests already in {several(made.waiting, 'batch')} are not written"
    for kind, count in made.failures.most_common():
        yield "fail", f"{several(count, 'generation')} can't be requested ({kind})"
    for path, count in made.files:
        yield "written", f"{several(count, 'request')} to {path}"
    if not made.files:
        yield "written", "nothing: no requests are needed"
