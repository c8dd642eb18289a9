"""Describe what a store holds: its runs, models, completions, bytes and cost."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from distask.errors import StoreError, UsageError
from distask.llm.config.model import Price
from distask.llm.prices import cost_of_usage
from distask.llm.request import UNKNOWN_USAGE, Usage
from distask.run_ledger import RunRecord, read_runs
from distask.store_file import BUSY_SECONDS, FAULTS, SCHEMA_VERSION, explained

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READ_ROWS = 1_000
"""Completions fetched at a time."""
WITH_SOURCES = 5
"""First format of the store that records runs and sources."""
WITH_BATCHES = 3
"""First format of the store that records batches."""


class Source(Struct):
    """The completions that one run of a task requested from one model, with their totals."""

    task: str | None
    """None if a version that recorded no runs stored them."""
    endpoint: str | None
    model: str
    run: RunRecord | None
    """None if no run requested them: a preview, `distask batch fetch`, or a version that recorded no runs."""
    price: Price | None = None
    used: float | None = None
    """When a run last used one of them, in seconds since 1970; None if that is unknown."""
    completions: int = 0
    bytes: int = 0
    """Of the completions alone, without keys, indexes and free pages."""
    cost: float = 0.0
    """USD, of those whose cost is known."""
    unpriced: int = 0
    """Completions whose cost is unknown."""
    first: float | None = None
    """When the first one was stored, in seconds since 1970."""
    last: float | None = None


class Contents(Struct):
    """What a store holds."""

    file_bytes: int
    """Of the file and its write-ahead log."""
    free_bytes: int
    """Of pages in the file that new completions will fill."""
    sources: list[Source] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    open_batches: int = 0
    damaged: int = 0
    """Completions that can't be read."""
    records_runs: bool = True
    """Whether the store records runs; one of an older version does so after its next run."""


class _Brief(Struct):
    """The part of a completion that the cost depends on; the rest is skipped."""

    usage: Usage = UNKNOWN_USAGE


_BRIEF = msgspec.json.Decoder(_Brief)


def read_contents(path: Path) -> Contents:
    """Scan a store once, without changing it; takes a few microseconds per completion.

    Raises:
        StoreError: the file is not a store, is damaged or has a newer format.
        UsageError: it does not exist.
    """
    with opened_read_only(path) as (connection, version):
        log = path.with_name(path.name + "-wal")
        page, free = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "freelist_count")
        )
        made = Contents(path.stat().st_size + (log.stat().st_size if log.exists() else 0), page * free)
        made.records_runs = version >= WITH_SOURCES
        known: dict[Any, Source] = {}
        if made.records_runs:
            made.runs = read_runs(connection)
            known = _sources(connection, made.runs)
        if version >= WITH_BATCHES:
            made.open_batches = int(
                connection.execute("SELECT count(*) FROM batches WHERE fetched IS NULL").fetchone()[0]
            )
        _count(connection, made, known)
        return made


def _sources(connection: sqlite3.Connection, runs: list[RunRecord]) -> dict[Any, Source]:
    by_id = {run.id: run for run in runs}
    found = connection.execute("SELECT number, run, task, endpoint, model, price, used FROM sources")
    return {
        number: Source(
            task, endpoint, model, by_id.get(run), None if price is None else Price(**json.loads(price)), used
        )
        for number, run, task, endpoint, model, price, used in found
    }


def _count(connection: sqlite3.Connection, made: Contents, known: dict[Any, Source]) -> None:
    column = "source" if made.records_runs else "NULL"
    cursor = connection.execute(f"SELECT {column}, completion, created, CAST(model AS BLOB) FROM completions")  # noqa: S608
    while rows := cursor.fetchmany(READ_ROWS):
        for number, completion, created, model in rows:
            source = known.get(number)
            if source is None:
                served = model.decode("utf-8", "replace")
                source = known.setdefault((number, served), Source(None, None, served, None))
            source.completions += 1
            source.bytes += len(completion)
            source.first = created if source.first is None else min(source.first, created)
            source.last = created if source.last is None else max(source.last, created)
            try:
                cost = cost_of_usage(source.price, _BRIEF.decode(completion).usage)
            except (msgspec.MsgspecError, TypeError):
                made.damaged += 1
                continue
            if cost is None:
                source.unpriced += 1
            else:
                source.cost += cost
    made.sources = [source for source in known.values() if source.completions]


@contextmanager
def opened_read_only(path: Path) -> Iterator[tuple[sqlite3.Connection, int]]:
    """Yield a read-only connection to a store and the version of its format; nothing is migrated.

    Raises:
        StoreError: the file is not a store, is damaged or has a newer format.
        UsageError: it does not exist.
    """
    check_exists(path)
    try:
        address = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > SCHEMA_VERSION:
                raise StoreError(f"{path}: a newer distask wrote this store (format {version}); update distask")
            connection.execute("SELECT 1 FROM completions LIMIT 1").fetchone()
            yield connection, version
    except FAULTS as error:
        raise StoreError(explained(path, error)) from error


def check_exists(path: Path) -> None:
    """Raise `UsageError` if the file is missing."""
    if not path.is_file():
        raise UsageError(f"{path}: the store does not exist; set the run's store with --store")
