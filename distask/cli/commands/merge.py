"""`distask merge`: the outputs of `--shard` runs, as the output of the whole run."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads it
from typing import Annotated

import typer

from distask.cli import options as o  # noqa: TC001 - typer reads it
from distask.cli.display.console import err, plain
from distask.cli.events.emit import Events
from distask.errors import UsageError
from distask.formatting import several
from distask.runner.job import store_path
from distask.runner.merge import merge
from distask.store import join


def command(
    output: Annotated[Path, typer.Argument(metavar="OUT", help="What is written: .jsonl, .csv or .parquet.")],
    shards: Annotated[
        list[Path], typer.Argument(metavar="SHARD...", help="What `distask run --shard I/K` wrote, in any order.")
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an OUT that is not this run's own.")] = False,
    from_store: Annotated[
        list[Path] | None,
        typer.Option("--from-store", metavar="FILE", help="A shard's store, to be put into one; as often as you like."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="FILE", help="What they are put into. [.distask/store.db beside OUT]"),
    ] = None,
    json_: o.Json = False,
) -> None:
    """Put the outputs of shards together, in the order of the input, with the record of the whole run.

    Shards that are missing, doubled, changed, or of different runs are refused. Afterwards `distask run` without
    --shard knows OUT for its own.
    """
    if store is not None and not from_store:
        raise UsageError("--store names what stores are put into; say which with --from-store FILE")
    record = merge(output, shards, overwrite=overwrite)
    replies = sum(join(store or store_path(output), other) for other in from_store or ())
    counts = record["counts"]
    if json_:
        rows, rows_out = counts["rows"], counts["rows_out"]
        Events("merge").result(output=str(output), shards=len(shards), rows=rows, rows_out=rows_out, replies=replies)
        return
    console = err()
    console.print(plain(f"{several(len(shards), 'shard')}: {counts['rows']:,} rows in, {counts['rows_out']:,} out"))
    if from_store:
        console.print(plain(f"{several(replies, 'reply')} put into {store or store_path(output)}"))
    console.print(plain(str(output)))
