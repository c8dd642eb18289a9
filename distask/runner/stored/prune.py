"""Delete completions from a store, except those that an unfinished run or an open batch may need.

A key includes the endpoint and the model, so an unfinished run can only need completions of its own targets. It may
need any of those, since its rows are not rendered here. Each transaction deletes few completions and reads again which
runs are unfinished. So a run can start at any time, and a kill leaves a store with fewer completions.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from distask.data.writers.base import lock_path
from distask.errors import StoreError, UsageError
from distask.run_ledger import RunRecord, hash_identity, read_runs
from distask.runner.cluster.outputs import EARLIER
from distask.runner.stored.contents import check_exists
from distask.store import Store, StorePlace
from distask.store_file import FAULTS, ROLLBACK, WAL, connect, explained

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence

AT_ONCE = 20_000
"""Row ids per transaction; others can write between two of them."""
LOG_PAGES = 8192
"""Size of the write-ahead log at which its pages are copied into the file."""


class Choice(Struct, frozen=True):
    """Which completions to delete: those that meet all conditions that are set."""

    older_than: float | None = None
    """Seconds since they were stored, and since a run last used any of their source."""
    run: bytes | None = None
    """Id of the run that requested them."""
    model: str | None = None
    """As it was requested; for completions of an older version, as the server named it."""
    abandon: tuple[RunRecord, ...] = ()
    """Unfinished runs that need nothing any more."""


class Pruned(Struct):
    """What a choice deletes, or deleted."""

    completions: int = 0
    bytes: int = 0
    """Of the completions alone."""
    kept: int = 0
    """Completions that meet the conditions, but may be needed."""
    reasons: list[str] = field(default_factory=list)
    """The unfinished runs, open batches and partial outputs that may need them."""
    freed: int = 0
    """Bytes by which the file shrank."""
    reusable: int = 0
    """Bytes of free pages that remain in the file."""


class _Needs(Struct):
    """What must be kept at the moment."""

    targets: set[tuple[str, str]] = field(default_factory=set)
    everything: bool = False
    unknown: bool = False
    """Whether completions of unknown sources may be needed."""
    reasons: list[str] = field(default_factory=list)


def find_run(path: Path, output: Path) -> RunRecord:
    """Return the run that made an output, from the path of the output or of its `OUT.run.json`.

    Raises:
        UsageError: the store has no such run.
    """
    out = output.with_name(output.name.removesuffix(".run.json"))
    with _opened(path) as connection:
        runs = read_runs(connection)
    same = [run for run in runs if run.output == str(out.resolve())]
    if not same and (identity := _identity(output)) is not None:  # the folder was moved
        same = [r for r in runs if r.identity == identity and r.output is not None and Path(r.output).name == out.name]
    if not same:
        raise UsageError(
            f"{output}: the store {path} has no run with this output; name its store with --store. "
            "Older versions did not record runs: prune their replies with --older-than or --model"
        )
    return same[-1]


def find_unfinished(path: Path, name: str) -> list[RunRecord]:
    """Return the unfinished runs with this output, or with this task if they have no output.

    Raises:
        UsageError: there is none.
    """
    with _opened(path) as connection:
        runs = [run for run in read_runs(connection) if run.finished is None]
    place = str(Path(name).resolve())
    found = [run for run in runs if run.output == place or (run.output is None and run.task == name)]
    if not found:
        known = "; ".join(describe(run) for run in runs) or "none"
        raise UsageError(f"{name}: the store {path} has no unfinished run with this output. Unfinished runs: {known}")
    return found


def preview(path: Path, choice: Choice) -> Pruned:
    """Count what a choice would delete, without deleting it."""
    with _opened(path) as connection:
        return _counted(connection, path, choice)


def prune(path: Path, choice: Choice, observe: Callable[[int], None] | None = None) -> Pruned:
    """Delete what a choice names and give the space back; `observe` is called with the number deleted so far.

    The file shrinks only if no other process has it open. Otherwise new completions use the free space.

    Raises:
        StoreError: the store can't be read or written.
        UsageError: a run to abandon is running.
    """
    with _not_running(choice.abandon), _opened(path) as connection:
        size = _size(path)
        done = _counted(connection, path, choice)
        done.completions = done.bytes = 0
        with _transaction(connection):
            connection.executemany(
                "UPDATE runs SET finished = ?, running = 0 WHERE id = ? AND finished IS NULL",
                [(time.time(), run.id) for run in choice.abandon],
            )
        last = connection.execute("SELECT max(rowid) FROM completions").fetchone()[0] or 0
        for start in range(0, last + 1, AT_ONCE):
            with _transaction(connection):
                where, values = _condition(connection, choice, _needs(connection, path, ()))
                span = (start, start + AT_ONCE - 1)
                count, size_of = connection.execute(
                    f"SELECT count(*), coalesce(sum(length(completion)), 0) FROM completions "  # noqa: S608
                    f"WHERE rowid BETWEEN ? AND ? AND {where}",
                    (*span, *values),
                ).fetchone()
                if count:
                    connection.execute(
                        f"DELETE FROM completions WHERE rowid BETWEEN ? AND ? AND {where}",  # noqa: S608
                        (*span, *values),
                    )
            done.completions += count
            done.bytes += size_of
            if observe is not None and count:
                observe(done.completions)
        _forget_sources(connection)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    shrink(path)
    with _opened(path) as connection:
        page, free = (
            int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "freelist_count")
        )
        done.reusable = page * free
    done.freed = max(0, size - _size(path))
    return done


def shrink(path: Path) -> bool:
    """Rewrite the file without its free pages, unless another process has it open; returns whether it did.

    SQLite rewrites it in one transaction: after a kill, the next process that opens it restores the previous state.
    """
    try:
        journal = _journal(path)
        with closing(connect(path, journal)) as connection:
            if not connection.execute("PRAGMA freelist_count").fetchone()[0]:
                return True
            connection.execute("PRAGMA busy_timeout = 0")
            if journal == WAL:
                # Only the last connection can leave WAL mode, and a file in this mode stays locked by its readers.
                connection.execute("PRAGMA locking_mode = EXCLUSIVE")
                if connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0] != "delete":
                    return False
            elif connection.execute("SELECT 1 FROM runs WHERE running > 0 AND finished IS NULL").fetchone():
                return False
            try:
                connection.execute("VACUUM")
            finally:
                connection.execute("PRAGMA locking_mode = NORMAL")
                connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone()  # releases the lock
                connection.execute(f"PRAGMA journal_mode = {journal}")
    except FAULTS as error:
        words = str(error)
        if "locked" in words or "busy" in words or "full" in words:
            return False
        raise StoreError(explained(path, error)) from error
    return True


def describe(run: RunRecord) -> str:
    """Describe an unfinished run for people."""
    where = run.output or "without an output file"
    return (
        f"the unfinished run of {run.task} ({where}, started {time.strftime('%Y-%m-%d', time.localtime(run.started))})"
    )


def _counted(connection: sqlite3.Connection, path: Path, choice: Choice) -> Pruned:
    needs = _needs(connection, path, choice.abandon)
    where, values = _condition(connection, choice, needs)
    count, size = connection.execute(
        f"SELECT count(*), coalesce(sum(length(completion)), 0) FROM completions WHERE {where}",  # noqa: S608
        values,
    ).fetchone()
    where, values = _condition(connection, choice, _Needs())
    everything = connection.execute(f"SELECT count(*) FROM completions WHERE {where}", values).fetchone()[0]  # noqa: S608
    kept = everything - count
    return Pruned(count, size, kept, needs.reasons if kept else [])


def _condition(connection: sqlite3.Connection, choice: Choice, needs: _Needs) -> tuple[str, Sequence[Any]]:
    """Return an SQL condition on completions, and its values."""
    if needs.everything:
        return "0", ()
    cutoff = None if choice.older_than is None else time.time() - choice.older_than
    numbers = [
        number
        for number, run, endpoint, model, used in connection.execute(
            "SELECT number, run, endpoint, model, used FROM sources"
        )
        if (endpoint, model) not in needs.targets
        and (choice.run is None or run == choice.run)
        and (choice.model is None or model == choice.model)
        and (cutoff is None or used < cutoff)
    ]
    values: list[Any] = []
    which = f"source IN ({', '.join(map(str, numbers))})"
    if choice.run is None and not needs.unknown:
        own = "source IS NULL" if choice.model is None else "source IS NULL AND model = ?"
        values += [] if choice.model is None else [choice.model]
        which = f"({which} OR ({own}))"
    if cutoff is not None:
        which += " AND created < ?"
        values.append(cutoff)
    return which, values


def _needs(connection: sqlite3.Connection, path: Path, abandoned: Sequence[RunRecord]) -> _Needs:
    """Return what unfinished runs, open batches and partial outputs may need."""
    needs = _Needs()
    runs = read_runs(connection)
    for run in runs:
        if run.finished is not None or run.id in {each.id for each in abandoned}:
            continue
        needs.reasons.append(describe(run))
        needs.unknown = True
        if run.targets is None:
            needs.everything = True
        else:
            needs.targets |= run.targets
    for endpoint, model, task in connection.execute(
        "SELECT DISTINCT endpoint, model, task FROM batches WHERE fetched IS NULL"
    ):
        needs.reasons.append(f"an open batch of {task} ({model})")
        needs.unknown = True
        needs.targets.add((endpoint, model))
    known = {run.output for run in runs}
    for partial in _partial_outputs(path):
        if str(partial.resolve()).removesuffix(".partial") not in known:
            needs.reasons.append(f"{partial}, which may be of an unfinished run of an older version")
            needs.unknown = True
    return needs


def _partial_outputs(path: Path) -> list[Path]:
    """Return the partial outputs for which this store is the default store: older versions recorded no runs."""
    if path.resolve().parent.name != ".distask":
        return []
    return sorted(path.parent.parent.glob("*.partial"))


def _forget_sources(connection: sqlite3.Connection) -> None:
    """Delete the sources of finished runs that have no completions left, and the runs that had only such sources."""
    with _transaction(connection):
        empty = (
            "SELECT number FROM sources WHERE number NOT IN "
            "(SELECT DISTINCT source FROM completions WHERE source IS NOT NULL) "
            "AND run IN (SELECT id FROM runs WHERE finished IS NOT NULL)"
        )
        numbers = [number for (number,) in connection.execute(empty)]
        if not numbers:
            return
        listed = ", ".join(map(str, numbers))
        runs = [run for (run,) in connection.execute(f"SELECT DISTINCT run FROM sources WHERE number IN ({listed})")]  # noqa: S608
        connection.execute(f"DELETE FROM sources WHERE number IN ({listed})")  # noqa: S608
        connection.executemany(
            "DELETE FROM runs WHERE id = ? AND id NOT IN (SELECT run FROM sources)", [(run,) for run in runs]
        )


@contextmanager
def _not_running(runs: Sequence[RunRecord]) -> Iterator[None]:
    """Hold the locks of the runs' outputs, so that none of them starts; raises `UsageError` if one is running."""
    from filelock import FileLock, Timeout

    with ExitStack() as locks:
        for output in (Path(run.output) for run in runs if run.output is not None):
            lock = lock_path(output)
            if lock.exists():
                try:
                    locks.enter_context(FileLock(lock, mode=0o600, thread_local=False).acquire(timeout=0))
                except Timeout:
                    raise UsageError(f"{output}: its run is still running; stop it first") from None
        yield


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to a store, which is migrated if an older version wrote it; keeps its journal mode."""
    check_exists(path)
    if path.name == EARLIER:
        raise UsageError(
            f"{path}: the parts of a cluster output read this store, so it can't be pruned; "
            f"delete the folder {path.parent} when the output is complete"
        )
    try:
        journal = _journal(path)
        Store(StorePlace(path, network=journal != WAL)).close()
        with closing(connect(path, journal)) as connection:
            connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
            yield connection
    except FAULTS as error:
        raise StoreError(explained(path, error)) from error


def _journal(path: Path) -> str:
    """Return the journal mode of a store; only a store on a network disk has no write-ahead log."""
    with path.open("rb") as file:
        header = file.read(20)
    return ROLLBACK if len(header) == 20 and header[18] == 1 else WAL


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _size(path: Path) -> int:
    log = path.with_name(path.name + "-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _identity(record: Path) -> bytes | None:
    try:
        found = json.loads(record.read_bytes())["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return hash_identity(found) if isinstance(found, dict) else None
