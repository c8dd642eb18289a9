"""`distask merge`: merge the outputs of `--shard` runs into one output."""

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
    output: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .jsonl, .csv or .parquet.")],
    shards: Annotated[
        list[Path], typer.Argument(metavar="SHARD...", help="Outputs of `distask run --shard I/K`, in any order.")
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an OUT from another run.")] = False,
    from_store: Annotated[
        list[Path] | None,
        typer.Option("--from-store", metavar="FILE", help="Store of a shard to merge; can be repeated."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="FILE", help="Store to merge them into. [.distask/store.db next to OUT]"),
    ] = None,
    json_: o.Json = False,
) -> None:
    """Merge the outputs of shards in the order of the input, with the record of the complete run.

    Shards that are missing, duplicated, changed or from different runs are refused. Afterwards, `distask run` without
    --shard accepts OUT as its own output.
    """
    if store is not None and not from_store:
        raise UsageError("--store has no stores to merge; name them with --from-store FILE")
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
        console.print(plain(f"{several(replies, 'reply')} added to {store or store_path(output)}"))
    console.print(plain(str(output)))
