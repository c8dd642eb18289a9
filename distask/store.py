"""Cache completions in a SQLite file, keyed by request.

The file uses WAL mode. It holds completions and the batch ledger (see `batch_ledger`), but no prompts and no API keys.
A put returns once its group is committed; a group is everything that arrived in one turn of the event loop. A thread
does slow work so that the event loop does not block: large commits, waits for other processes, network disks and WAL
checkpoints. SQLite does not detect flipped bits, so each completion has a checksum. A completion with a wrong checksum
is ignored.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Self

import msgspec
from msgspec import Struct
from msgspec.structs import astuple, replace

from distask.errors import StoreError
from distask.llm.adaptation import Adaptation
from distask.llm.request import UNKNOWN_USAGE, Completion
from distask.store_file import (
    BUSY_SECONDS,
    FAULTS,
    ROLLBACK,
    SCHEMA_VERSION,
    WAL,
    completion_checksum,
    connect,
    error_code,
    explained,
    migrate,
)
from distask.store_window import COLUMNS, Window, is_intact

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

    from distask.store_window import Record

GROUP = 2_000
"""Maximum number of completions per commit."""
AT_ONCE = 100
"""Maximum number of completions per INSERT statement."""
LOOKED_UP_AT_ONCE = 500
"""Maximum number of keys per SELECT statement; SQLite may support no more than 999."""
AT_HAND = 1 << 20
"""Maximum bytes to commit in the event loop; this usually takes less than a millisecond."""
CHECKPOINT = 32 << 20
"""Approximate bytes added to the WAL that trigger a checkpoint."""
LONGEST_LOG = 4 * CHECKPOINT
"""WAL size in bytes from which commits wait for a checkpoint: only then SQLite can start the WAL from its beginning."""
PAGE = 4096
"""Bytes that each completion adds to the WAL in addition to its own size: the index page with its key."""

_COLUMNS_OF_ADAPTATIONS = ", ".join(Adaptation.__struct_fields__)
_JOIN_SOURCES = (
    "INSERT OR IGNORE INTO sources (run, task, endpoint, model, price, used) "
    "SELECT run, task, endpoint, model, price, used FROM other.sources"
)
_JOIN_COMPLETIONS = (
    "INSERT OR IGNORE INTO completions "
    "SELECT theirs.key, max_tokens, completion, theirs.model, created, checksum, own.number "
    "FROM other.completions AS theirs LEFT JOIN other.sources AS source ON source.number = theirs.source "
    "LEFT JOIN main.sources AS own ON own.run = source.run AND own.task = source.task "
    "AND own.endpoint = source.endpoint AND own.model = source.model"
)
_JOINED = (
    "INSERT OR IGNORE INTO adaptations SELECT * FROM other.adaptations",
    "INSERT OR IGNORE INTO runs SELECT * FROM other.runs",
    _JOIN_SOURCES,
    _JOIN_COMPLETIONS,
)
"""Statements that copy the contents of another store into this one."""

_ENCODER, _DECODER = msgspec.json.Encoder(), msgspec.json.Decoder(Completion)

_SELECT = f"SELECT {COLUMNS} FROM completions WHERE key"  # noqa: S608
_INSERT = "INSERT OR REPLACE INTO completions VALUES "
_ONE = "(?, ?, ?, ?, ?, ?, ?)"


class StorePlace(Struct, frozen=True):
    """A store's path and how to open it."""

    path: Path
    network: bool = False
    """Whether the file is on a network disk, where WAL mode can't be used."""
    earlier: Path | None = None
    """A read-only store to use for keys that this store does not have."""


class Store:
    """The completions in one store file, which only its owner can read."""

    def __init__(self, place: Path | StorePlace) -> None:
        """Open or create the store; raises `StoreError` if it has a newer format, is not a store or is not writable."""
        place = place if isinstance(place, StorePlace) else StorePlace(place)
        self.path = path = place.path
        self.journal = ROLLBACK if place.network else WAL
        earlier = place.earlier if place.earlier is not None and place.earlier.exists() else None
        self._earlier = None if earlier is None else Store(StorePlace(earlier, place.network))
        self.run: bytes | None = None
        """The id of the run that uses the store, if one does (see `run_ledger`)."""
        self._used: set[int | None] = set()
        self.damaged = 0
        """Number of damaged completions found and ignored so far."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600, exist_ok=True)
            self._connection = connect(path, self.journal)
            self._connection.execute("PRAGMA wal_autocheckpoint = 0")  # the thread runs checkpoints
            self._prepare(self._connection)
        except (*FAULTS, OSError) as error:
            raise StoreError(explained(path, error)) from error
        self._queue: queue.SimpleQueue[list[_Put] | None] = queue.SimpleQueue()
        self._gathered: list[_Put] = []
        self._window = Window(self._connection)
        self._under_way = 0  # puts queued in the thread
        self._logged = 0  # bytes since the last checkpoint
        self._log_size = 0  # bytes of the WAL at the last checkpoint
        self._thread: threading.Thread | None = None

    def get(self, key: bytes, max_tokens: int | None = None) -> Completion | None:
        """Return the completion stored under `key` that is valid for this limit, or None.

        A completion that ended normally is valid if it fits the limit. A truncated completion is valid if the limit is
        not higher than its own. If several are valid, the one that was requested with this limit is returned.
        """
        found = self._choose(key, self._execute(f"{_SELECT} = ?", (key,)), max_tokens)
        return found if found is not None or self._earlier is None else self._earlier.get(key, max_tokens)

    def get_many(self, keys: Sequence[bytes], max_tokens: int | None = None) -> list[Completion | None]:
        """Return what `get` returns for each of these keys, several times as fast."""
        taken = self._window.take(keys, max_tokens or 0)
        found = {record[0]: _decode(record[2]) for record in taken}
        self._used.update({record[5] for record in taken})
        rest = [key for key in keys if key not in found] if found else keys
        for start in range(0, len(rest), LOOKED_UP_AT_ONCE):
            found |= self._look_up(rest[start : start + LOOKED_UP_AT_ONCE], max_tokens)
        if self._earlier is not None and (rest := [key for key in rest if key not in found]):
            earlier = zip(rest, self._earlier.get_many(rest, max_tokens), strict=True)
            found |= {key: completion for key, completion in earlier if completion is not None}
        return list(map(found.get, keys))

    def _look_up(self, keys: Sequence[bytes], max_tokens: int | None) -> dict[bytes, Completion]:
        records: list[Record] = self._execute(f"{_SELECT} IN ({', '.join('?' * len(keys))})", keys)
        by_key: dict[bytes, list[Record]] = {key: [] for key in keys}
        for record in records:
            if record[0] in by_key:
                by_key[record[0]].append(record)
            else:  # from a damaged page
                self.damaged += 1
        self._window.found(records)
        chosen = ((key, self._choose(key, those, max_tokens)) for key, those in by_key.items())
        return {key: completion for key, completion in chosen if completion is not None}

    def _choose(self, key: bytes, records: list[Record], max_tokens: int | None) -> Completion | None:
        """Return the first valid completion of those found under `key`; a damaged index may find other keys."""
        if len(records) > 1:
            records.sort(key=lambda record: record[1] != (max_tokens or 0))
        for record in records:
            if not is_intact(record, key):
                self.damaged += 1
                continue
            completion = _decode(record[2])
            if _serves(completion, record[1] or None, max_tokens):
                self._used.add(record[5])
                return completion
        return None

    def _execute(self, statement: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except FAULTS as error:
            raise StoreError(explained(self.path, error)) from error

    def source(self, task: str, endpoint: str, model: str, price: Any = None) -> int | None:
        """Return the number for `put` of completions that this run requests; None if the file can't be written now.

        `price` is a mapping that JSON can represent: USD per million tokens.
        """
        message = (self.run or b"", task, endpoint, model, price and json.dumps(price), time.time())
        with suppress(*FAULTS):
            row = self._connection.execute(
                "INSERT INTO sources (run, task, endpoint, model, price, used) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT "
                "(run, task, endpoint, model) DO UPDATE SET price = excluded.price, used = excluded.used "
                "RETURNING number",
                message,
            ).fetchall()
            self._used.add(row[0][0])
            return int(row[0][0])
        return None

    async def put(
        self,
        completions: Iterable[tuple[bytes, Completion]],
        max_tokens: int | None = None,
        source: int | None = None,
    ) -> None:
        """Store completions under their keys; returns once they are on disk.

        Raises:
            StoreError: the completions can't be stored.
        """
        now = time.time()
        records = [_record(key, max_tokens or 0, completion, now, source) for key, completion in completions]
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if not self._gathered:
            loop.call_soon(self._hand_over)
        self._gathered.append(_Put(records, loop, done))
        await done

    def _hand_over(self) -> None:
        """Commit the puts of this turn of the event loop, here or in the thread."""
        group, self._gathered = self._gathered, []
        size = sum(len(record[2]) for put in group for record in put.records)
        if self._under_way or size > AT_HAND or self.journal != WAL or not self._commit_at_hand(group):
            self._under_way += len(group)
            self._give(group)
            return
        self._logged += _logged_size(group)
        if self._logged > CHECKPOINT:
            self._logged = 0
            group = []
            if self._log_size > LONGEST_LOG:
                loop = asyncio.get_running_loop()
                group = [_Put([], loop, loop.create_future())]
            self._under_way += len(group)
            self._give(group)

    def _commit_at_hand(self, group: Sequence[_Put]) -> bool:
        """Try to commit without waiting for other processes; returns whether the group is settled."""
        failure = None
        try:
            self._connection.execute("PRAGMA busy_timeout = 0")
            try:
                _commit(self._connection, group)
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
        except FAULTS as error:
            if error_code(error) == sqlite3.SQLITE_BUSY:
                return False
            failure = StoreError(explained(self.path, error))
        _notify(group, failure)
        return True

    def _give(self, group: list[_Put]) -> None:
        """Let the thread commit a group. It runs a checkpoint first if the group is empty or has an empty put."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="distask-store", daemon=True)
            self._thread.start()
        self._queue.put(group)

    def adaptations(self) -> list[Adaptation]:
        """Return the request changes learned from refusals in earlier runs, oldest first."""
        found = self._execute(f"SELECT {_COLUMNS_OF_ADAPTATIONS} FROM adaptations ORDER BY rowid", ())  # noqa: S608
        known = [Adaptation(*row) for row in found]
        earlier = [] if self._earlier is None else self._earlier.adaptations()
        return [*(each for each in earlier if each not in known), *known]

    def keep_adaptation(self, adaptation: Adaptation) -> None:
        """Store what a model refuses; if the file can't be written now, the next run learns it again."""
        with suppress(*FAULTS):
            self._connection.execute(
                f"INSERT OR REPLACE INTO adaptations ({_COLUMNS_OF_ADAPTATIONS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                astuple(adaptation),
            )

    def count(self) -> int:
        """Return the number of completions."""
        return int(self._connection.execute("SELECT count(*) FROM completions").fetchone()[0])

    def close(self) -> None:
        """Wait for pending writes and close the file."""
        if self._gathered:  # from a loop that has ended
            self._hand_over()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._note_use()
        self._connection.close()
        if self._earlier is not None:
            self._earlier.close()

    def _note_use(self) -> None:
        """Record which sources the run used, once, so that a look-up costs no write."""
        used = [(time.time(), number) for number in self._used if number is not None]
        if used and self.run is not None:
            with suppress(*FAULTS):
                self._connection.executemany("UPDATE sources SET used = ? WHERE number = ?", used)

    def take_in(self, other: Path) -> None:
        """Copy the entries of another store that this store lacks."""
        Store(other).close()  # migrates it and checks that it can be opened
        try:
            self._connection.execute("ATTACH ? AS other", (str(other),))
            for statement in _JOINED:
                self._connection.execute(statement)
            self._connection.execute("DETACH other")
        except sqlite3.Error as error:
            raise StoreError(explained(self.path, error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, connection: sqlite3.Connection) -> None:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            message = (
                f"{self.path}: this store was written by a newer distask "
                f"(format {version}; this version supports up to {SCHEMA_VERSION}); "
                "update distask or choose another store with --store"
            )
            raise StoreError(message)
        if version < SCHEMA_VERSION:
            migrate(connection)

    def _write(self) -> None:
        try:
            logged = 0
            with closing(connect(self.path, self.journal)) as connection:
                connection.execute("PRAGMA wal_autocheckpoint = 0")
                while (group := self._next_group()) is not None:
                    failure = None
                    if logged > CHECKPOINT or not all(put.records for put in group) or not group:
                        logged = 0
                        self._run_checkpoint(connection)
                    try:
                        _commit(connection, group)
                        logged += _logged_size(group)
                    except FAULTS as error:
                        failure = StoreError(explained(self.path, error))
                    self._settle(group, failure)
        except FAULTS as error:
            failure = StoreError(explained(self.path, error))
            while (group := self._next_group()) is not None:
                self._settle(group, failure)

    def _run_checkpoint(self, connection: sqlite3.Connection) -> None:
        """Copy the WAL to the file as far as readers allow; errors are those of the next commit."""
        with suppress(*FAULTS):
            _, pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._log_size = PAGE * max(0, pages)

    def _next_group(self) -> list[_Put] | None:
        group = self._queue.get()
        if group is None:
            return None
        while sum(len(put.records) for put in group) < GROUP:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            group = group + more
        return group

    def _settle(self, group: Sequence[_Put], failure: StoreError | None) -> None:
        """Resolve all waiting puts of a group with one wake-up of the event loop."""
        if not group:
            return

        def notify() -> None:
            self._under_way -= len(group)
            _notify(group, failure)

        with suppress(RuntimeError):  # the loop is closed, so nothing waits
            group[0].loop.call_soon_threadsafe(notify)


def _logged_size(group: Sequence[_Put]) -> int:
    """Return about how many bytes a commit adds to the WAL."""
    return sum(len(record[2]) + PAGE for put in group for record in put.records)


class _Put:
    """Records to write and the future that waits for them."""

    __slots__ = ("done", "loop", "records")

    def __init__(self, records: list[Any], loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
        self.records = records
        self.loop = loop
        self.done = done


def _insert(connection: sqlite3.Connection, records: Sequence[Sequence[Any]]) -> None:
    """Insert records with one statement; each statement waits for the GIL, which a busy event loop holds for long."""
    connection.execute(_INSERT + ", ".join([_ONE] * len(records)), [value for record in records for value in record])


def _commit(connection: sqlite3.Connection, group: Sequence[_Put]) -> None:
    records = [record for put in group for record in put.records]
    if not records:
        return
    try:
        if len(records) <= AT_ONCE:
            _insert(connection, records)  # autocommit
        else:
            connection.execute("BEGIN IMMEDIATE")
            for start in range(0, len(records), AT_ONCE):
                _insert(connection, records[start : start + AT_ONCE])
            connection.execute("COMMIT")
    except FAULTS:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _notify(group: Sequence[_Put], failure: StoreError | None) -> None:
    """Resolve each waiting put; call this in the event loop."""
    for put in group:
        if put.done.done():
            continue
        with suppress(RuntimeError):  # the loop is closed, so nothing waits
            if failure is None:
                put.done.set_result(None)
            else:
                put.done.set_exception(failure)


def _serves(completion: Completion, asked: int | None, limit: int | None) -> bool:
    if completion.finish_reason == "length":
        return asked == limit or (asked is not None and limit is not None and limit <= asked)
    length = completion.usage.output_tokens
    return asked == limit or limit is None or length is None or length <= limit


def _record(key: bytes, limit: int, completion: Completion, now: float, source: int | None) -> tuple[Any, ...]:
    data = _encode(completion)
    return (
        key,
        limit,
        data,
        completion.model,
        now,
        completion_checksum(key, limit, data, completion.model.encode()),
        source,
    )


def _encode(completion: Completion) -> bytes:
    usage = completion.usage
    if usage.is_brief and usage is not UNKNOWN_USAGE:  # msgspec includes defaults in arrays
        completion = replace(completion, usage=(usage.input_tokens, usage.output_tokens))
    return _ENCODER.encode(completion)


def _decode(data: bytes) -> Completion:
    return _DECODER.decode(data)


def join(into: Path, other: Path) -> int:
    """Copy the completions that a store lacks from another store; returns how many were copied."""
    if not other.is_file():
        raise StoreError(f"{other}: store not found")
    with Store(other), Store(into), closing(connect(into)) as connection:
        try:
            connection.execute("ATTACH DATABASE ? AS other", (str(other),))
            return [connection.execute(statement).rowcount for statement in _JOINED][-1]
        except sqlite3.Error as error:
            raise StoreError(explained(into, error)) from error
