"""`distask batch`: show, fetch or cancel the batches in a store."""

from __future__ import annotations

import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace
from rich.text import Text

from distask.batch_ledger import SUBMITTING, Ledger
from distask.cli import options as o  # noqa: TC001 - typer reads it
from distask.cli.display.console import err, out, plain
from distask.cli.events.emit import Events
from distask.errors import EndpointError, UsageError
from distask.formatting import duration, money, several
from distask.llm.request import CallFailed
from distask.runner.batch.collect import BatchContext
from distask.runner.stats import Stats
from distask.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.batch_ledger import Record


class Action(Enum):
    """What to do with batches."""

    STATUS = "status"
    FETCH = "fetch"
    CANCEL = "cancel"


def command(
    action: Annotated[
        Action,
        typer.Argument(
            metavar="status|fetch|cancel",
            help="Show the status of batches, store the results of those that have ended, or cancel them.",
        ),
    ],
    batches: Annotated[
        list[str] | None, typer.Argument(metavar="[BATCH...]", help="Batch IDs. [all that are not fetched]")
    ] = None,
    store: Annotated[
        Path,
        typer.Option("--store", metavar="FILE", help="Store of the run. [.distask/store.db]"),
    ] = Path(".distask") / "store.db",
    json_: o.Json = False,
) -> None:
    """Show the batches that runs have submitted, fetch their results, or cancel them.

    To write the rows, repeat the command that submitted them: `distask run … --batch`.
    """
    if not store.exists():
        raise UsageError(f"{store}: the store does not exist; set the run's store with --store")
    stats = Stats()
    with Store(store) as opened, Ledger(store) as ledger:
        chosen = _chosen(ledger.records(), batches or [])
        context = BatchContext(opened, ledger, stats)
        try:
            records = [_done(context, record, action) for record in chosen]
        except CallFailed as error:
            raise EndpointError(error.failure.message) from None
        finally:
            context.close()
    if json_:
        replies, cost = stats.completions, stats.cost_usd or 0.0
        Events("batch").result(batches=[_as_json(record) for record in records], replies=replies, cost_usd=cost)
    elif not records:
        err().print(plain("no batches in this store"))
    else:
        _print_records(records, stats, action)


def _chosen(records: Sequence[Record], names: Sequence[str]) -> list[Record]:
    """The named batches; by default all that are not fetched, or the last one if all are."""
    known = {record.id: record for record in records}
    lost = [name for name in names if name not in known]
    if lost:
        raise UsageError(f"{lost[0]}: no such batch in this store; distask batch status lists its batches")
    if names:
        return [known[name] for name in names]
    return [record for record in records if record.fetched is None] or list(records[-1:])


def _done(context: BatchContext, record: Record, action: Action) -> Record:
    if record.fetched is not None:
        return record
    if record.id is None:
        if action is Action.CANCEL:
            context.cancel(record)
            return replace(record, status="forgotten")
        return record
    record, batch = context.look(record)
    if action is Action.CANCEL and not batch.ended:
        cancelled = context.cancel(record)
        return record if cancelled is None else replace(record, status=cancelled.status)
    if action is Action.FETCH and batch.ended:
        context.end(record, batch)
        record = context.ledger.record(record.number)
    return record


def _as_json(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "task": record.task,
        "model": record.model,
        "endpoint": record.endpoint,
        "status": record.status,
        "requests": {"total": record.requests, "done": record.done, "failed": record.failed},
        "created": record.created,
        "fetched": record.fetched,
    }


def _print_records(records: Sequence[Record], stats: Stats, action: Action) -> None:
    console = out()
    for record in records:
        parts = [f"{record.done:,} of {several(record.requests, 'request')} done"]
        parts += [f"{record.failed:,} failed"] if record.failed else []
        parts += ["results are in the store"] if record.fetched is not None else []
        parts += [f"{duration(max(0.0, time.time() - record.created))} old"]
        name = record.id or f"({record.status})"
        status = record.status.replace("_", " ")
        console.print(
            Text.assemble(
                plain(f"{name}  "), plain(f"{status:<12}"), ("  ", ""), plain(f"{record.task} · {record.model}", "dim")
            )
        )
        console.print(plain(f"    {', '.join(parts)}"))
    if stats.completions:
        spent = f", {money(stats.cost)}" if stats.cost else ""
        console.print(plain(f"{several(stats.completions, 'reply')} added to the store{spent}"))
    console.print(plain(_next(records, action), "dim"))


def _next(records: Sequence[Record], action: Action) -> str:
    if any(record.status == SUBMITTING for record in records):
        return "a run was stopped while submitting a batch; repeat its command to check whether the provider has it"
    if action is Action.CANCEL:
        return (
            "replies from before the cancellation are billed; distask batch fetch stores them once the batch has ended"
        )
    if all(record.fetched is not None for record in records):
        return "to write the rows, repeat the command that submitted them: distask run … --batch"
    return "to fetch batches that have ended, run distask batch fetch or repeat the command that submitted them"
