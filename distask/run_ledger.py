"""Track the runs that use a store, so that pruning it keeps what an unfinished run needs.

A run is recorded before it looks up its first reply, and is unfinished until its output is complete and has been sent.
A killed run stays unfinished until the same run completes or is abandoned. The keys that it still needs are not known
before its rows are rendered, but a key includes the endpoint and the model. So a run is recorded with its targets.
"""

from __future__ import annotations

import json
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from distask.errors import StoreError
from distask.llm.request import digest
from distask.store_file import FAULTS, connect, explained

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from distask.store import Store

Target = tuple[str, str]
"""An endpoint and a model, as they are in the keys of requests."""


class RunRecord(Struct, frozen=True):
    """A run in the ledger; `store` describes the columns."""

    id: bytes
    task: str
    identity: bytes
    output: str | None
    targets: frozenset[Target] | None
    """None if the run may use any target."""
    running: int
    started: float
    finished: float | None


@contextmanager
def recorded(
    store: Store, identity: Mapping[str, Any], output: Path | None, targets: Collection[Target] | None
) -> Iterator[None]:
    """Record a run as unfinished; it is finished if the block ends without an exception.

    The block may close the store. An output is locked by its run, so one process at a time can be running it. Runs
    without an output file may run at the same time: they are finished when all of them are.

    Raises:
        StoreError: the run can't be recorded; no requests were sent.
    """
    path, journal = store.path, store.journal
    message = hash_identity(identity)
    place = None if output is None else str(output.resolve())
    key = digest(message + (place or "").encode())
    among = None if targets is None else json.dumps(sorted(targets))
    others = place is None
    try:
        with closing(connect(path, journal)) as connection:
            connection.execute(
                "INSERT INTO runs (id, task, identity, output, targets, running, started) VALUES (?, ?, ?, ?, ?, 1, ?) "
                "ON CONFLICT (id) DO UPDATE SET targets = excluded.targets, started = excluded.started, "
                "finished = NULL, running = CASE WHEN ? THEN running + 1 ELSE 1 END",
                (key, str(identity.get("task", "")), message, place, among, time.time(), others),
            )
    except FAULTS as error:
        raise StoreError(explained(path, error)) from error
    store.run = key
    complete = False
    try:
        yield
        complete = True
    finally:
        with (
            suppress(*FAULTS),
            closing(connect(path, journal)) as connection,
        ):  # else it stays unfinished, which is safe
            connection.execute(
                "UPDATE runs SET running = max(running - 1, 0), "
                "finished = CASE WHEN ? AND running <= 1 THEN ? ELSE finished END WHERE id = ?",
                (complete, time.time(), key),
            )


def hash_identity(identity: Mapping[str, Any]) -> bytes:
    """Return the 16-byte hash of a run's identity, which is the same for the identity in its `OUT.run.json`."""
    return digest(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str))


def read_runs(connection: sqlite3.Connection) -> list[RunRecord]:
    """Return the runs in a store, in the order in which they last started."""
    found = connection.execute(
        "SELECT id, task, identity, output, targets, running, started, finished FROM runs ORDER BY started"
    )
    return [
        RunRecord(key, task, identity, output, _targets(targets), running, started, finished)
        for key, task, identity, output, targets, running, started, finished in found
    ]


def _targets(message: str | None) -> frozenset[Target] | None:
    return None if message is None else frozenset((endpoint, model) for endpoint, model in json.loads(message))
