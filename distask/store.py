"""Keep every completion, once, under the key of the request that it answers.

One SQLite file in WAL mode. It holds completions, and beside them what `ledger` knows of batches: no prompt, no key of
an API. A put returns when its group is committed, which is what came in one turn of the event loop. A thread does what
may take long, so that nothing else waits for it: many bytes, another process's commit, a disk of another machine, and
bringing the log of commits into the file. SQLite does not notice a bit that turns in a file, so each completion has a
checksum, and one that does not fit is as good as none.
"""

from __future__ import annotations

import asyncio
import errno
import queue
import sqlite3
import threading
import time
import zlib
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Self

import msgspec
from msgspec import Struct
from msgspec.structs import astuple, replace

from distask.errors import StoreError
from distask.llm.adaptation import Adaptation
from distask.llm.request import UNKNOWN_USAGE, Completion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

SCHEMA_VERSION = 4
FAULTS = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises; the latter where its own message holds bytes of a file that is damaged."""
WAL, ROLLBACK = "WAL", "TRUNCATE"
"""SQLite's journals: the first one needs memory that processes share, which no two machines have."""
BUSY_SECONDS = 60.0
"""How long another process's commit is waited for."""
GROUP = 2_000
"""The most completions that one commit holds."""
AT_ONCE = 100
"""The most completions that one statement inserts."""
AT_HAND = 1 << 20
"""Bytes that are committed in the event loop: under a millisecond's work for the most part."""
CHECKPOINT = 32 << 20
"""About how long the log of commits becomes, in bytes, before it is brought into the file."""
PAGE = 4096
"""Bytes that a completion adds to the log beside its own: the page of the index with its key."""

_TABLES = """
CREATE TABLE IF NOT EXISTS completions (
    key BLOB NOT NULL,
    max_tokens INTEGER NOT NULL,  -- the limit it was asked with; 0 for none
    completion BLOB NOT NULL,     -- JSON
    model TEXT NOT NULL,          -- as the server named it
    created REAL NOT NULL,        -- seconds since 1970
    checksum INTEGER,             -- CRC-32 of all of them but the time
    PRIMARY KEY (key, max_tokens)
) STRICT;
"""
# With a rowid, completions are appended in the order they come, and only their keys go to random places of the file:
# without, each of them dirties a page of its own.

_BATCHES = """
CREATE TABLE batches (
    number INTEGER PRIMARY KEY,
    mark TEXT NOT NULL UNIQUE,    -- in the batch's own metadata: by it the provider's list is searched
    endpoint TEXT NOT NULL,
    access TEXT NOT NULL,         -- JSON: how the endpoint is reached; names of variables, no key
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    route TEXT NOT NULL,
    requests INTEGER NOT NULL,
    price TEXT,                   -- JSON; NULL where nobody says
    input_file TEXT,
    id TEXT,                      -- the provider's; NULL until it is known to have it
    status TEXT NOT NULL,         -- the provider's word, or `submitting`
    done INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    fetched REAL                  -- when its results were put into the store
) STRICT;
"""
_BATCH_REQUESTS = """
CREATE TABLE batch_requests (
    key BLOB PRIMARY KEY,         -- of its first sample; in hexadecimal, its custom_id
    keys BLOB NOT NULL,           -- 16 bytes for each sample
    max_tokens INTEGER NOT NULL,
    batch INTEGER,                -- that it waits for; NULL once it is known to have failed
    tries INTEGER NOT NULL,
    failure TEXT                  -- JSON: how its last try ended
) STRICT, WITHOUT ROWID;
"""
_ADAPTATIONS = """
CREATE TABLE adaptations (      -- what models refuse; see `llm.adaptation`
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    route TEXT NOT NULL,
    action TEXT NOT NULL,
    parameter TEXT NOT NULL,
    new_name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (endpoint, model, route, parameter, value)
) STRICT;
"""
_OF_A_BATCH = "CREATE INDEX requests_of_batches ON batch_requests (batch);"


_COLUMNS_OF_ADAPTATIONS = ", ".join(Adaptation.__struct_fields__)
_JOINED = tuple(
    f"INSERT OR IGNORE INTO {table} SELECT * FROM other.{table}"  # noqa: S608
    for table in ("adaptations", "completions")
)
"""What brings another store's contents into this one."""

_ENCODER, _DECODER = msgspec.json.Encoder(), msgspec.json.Decoder(Completion)

_SELECT = "SELECT max_tokens, completion, CAST(model AS BLOB), checksum FROM completions WHERE key = ?"
_SELECT_SEVERAL = "SELECT key, max_tokens, completion, CAST(model AS BLOB), checksum FROM completions WHERE key IN "
_INSERT = "INSERT OR REPLACE INTO completions VALUES "
_ONE = "(?, ?, ?, ?, ?, ?)"


class StorePlace(Struct, frozen=True):
    """Where a store is kept, and how it is opened."""

    path: Path
    network: bool = False
    """Whether the disk is another machine's: WAL needs memory that its processes share, and is not used there."""
    earlier: Path | None = None
    """A store that is read where this one has no answer, and never written."""


class Store:
    """The completions of one store file, readable by its owner only."""

    def __init__(self, place: Path | StorePlace) -> None:
        """Open or make the store; `StoreError` where it is of a newer version, is no store, or can't be written."""
        place = place if isinstance(place, StorePlace) else StorePlace(place)
        self.path = path = place.path
        self.journal = ROLLBACK if place.network else WAL
        earlier = place.earlier if place.earlier is not None and place.earlier.exists() else None
        self._earlier = None if earlier is None else Store(StorePlace(earlier, place.network))
        self.damaged = 0
        """Completions that were found damaged so far, and not given."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600, exist_ok=True)
            self._connection = connect(path, self.journal)
            self._connection.execute("PRAGMA wal_autocheckpoint = 0")  # the thread's
            self._prepare(self._connection)
        except (*FAULTS, OSError) as error:
            raise StoreError(explained(path, error)) from error
        self._queue: queue.SimpleQueue[list[_Put] | None] = queue.SimpleQueue()
        self._gathered: list[_Put] = []
        self._ahead: dict[bytes, list[Any]] = {}
        self._under_way = 0  # puts that the thread has
        self._logged = 0  # bytes since the last checkpoint
        self._thread: threading.Thread | None = None

    def get(self, key: bytes, max_tokens: int | None = None) -> Completion | None:
        """The completion kept under `key` that serves a request with this limit, or None.

        One that ended by itself serves where it fits the limit; one that was cut serves where the limit is no higher
        than its own.
        """
        found = self._ahead.pop(key, None)
        if found is None:
            found = self._execute(_SELECT, (key,))
        for limit, data, model, checksum in found:
            if checksum is None or checksum != _checksum(key, limit, data, model):
                self.damaged += 1
                continue
            completion = _decode(data)
            if _serves(completion, limit or None, max_tokens):
                return completion
        return None if self._earlier is None else self._earlier.get(key, max_tokens)

    def look_ahead(self, keys: Sequence[bytes]) -> None:
        """Read at once what is kept under these keys: the next `get` of each takes half as long.

        Nothing may be awaited between this and those: what is kept meanwhile would not be seen.
        """
        self._ahead = {key: [] for key in keys}
        for key, *record in self._execute(f"{_SELECT_SEVERAL} ({', '.join('?' * len(keys))})", keys):
            if key in self._ahead:
                self._ahead[key].append(record)
            else:  # of a page that is damaged
                self.damaged += 1

    def _execute(self, statement: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except FAULTS as error:
            raise StoreError(explained(self.path, error)) from error

    async def put(self, completions: Iterable[tuple[bytes, Completion]], max_tokens: int | None = None) -> None:
        """Keep completions under their keys; returns when they are on the disk.

        Raises:
            StoreError: they can't be kept.
        """
        now = time.time()
        records = [_record(key, max_tokens or 0, completion, now) for key, completion in completions]
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        if not self._gathered:
            loop.call_soon(self._hand_over)
        self._gathered.append(_Put(records, loop, done))
        await done

    def _hand_over(self) -> None:
        """Commit what came in this turn of the loop, here or by the thread."""
        group, self._gathered = self._gathered, []
        size = sum(len(record[2]) for put in group for record in put.records)
        if self._under_way or size > AT_HAND or self.journal != WAL or not self._commit_at_hand(group):
            self._under_way += len(group)
            self._give(group)
            return
        self._logged += size + PAGE * sum(len(put.records) for put in group)
        if self._logged > CHECKPOINT:
            self._logged = 0
            self._give([])

    def _commit_at_hand(self, group: Sequence[_Put]) -> bool:
        """Whether the group is settled: another process that writes at this moment is not waited for here."""
        failure = None
        try:
            self._connection.execute("PRAGMA busy_timeout = 0")
            try:
                _commit(self._connection, group)
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
        except FAULTS as error:
            if _code(error) == sqlite3.SQLITE_BUSY:
                return False
            failure = StoreError(explained(self.path, error))
        _tell(group, failure)
        return True

    def _give(self, group: list[_Put]) -> None:
        """Let the thread commit a group, or, where there is none, bring the log into the file."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="distask-store", daemon=True)
            self._thread.start()
        self._queue.put(group)

    def adaptations(self) -> list[Adaptation]:
        """How requests are changed for what models refused in earlier runs, in the order in which it was learned."""
        found = self._execute(f"SELECT {_COLUMNS_OF_ADAPTATIONS} FROM adaptations ORDER BY rowid", ())  # noqa: S608
        known = [Adaptation(*row) for row in found]
        earlier = [] if self._earlier is None else self._earlier.adaptations()
        return [*(each for each in earlier if each not in known), *known]

    def keep_adaptation(self, adaptation: Adaptation) -> None:
        """Keep what a model refuses; where the file can't be written now, the next run learns it again."""
        with suppress(*FAULTS):
            self._connection.execute(
                f"INSERT OR REPLACE INTO adaptations ({_COLUMNS_OF_ADAPTATIONS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                astuple(adaptation),
            )

    def count(self) -> int:
        """How many completions there are."""
        return int(self._connection.execute("SELECT count(*) FROM completions").fetchone()[0])

    def close(self) -> None:
        """Wait for what is being written, and close the file."""
        if self._gathered:  # of a loop that has ended
            self._hand_over()
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None
        self._connection.close()
        if self._earlier is not None:
            self._earlier.close()

    def take_in(self, other: Path) -> None:
        """Copy what another store has and this one has not."""
        Store(other).close()  # of this version, and whole
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
                f"(format {version}, this one reads up to {SCHEMA_VERSION}); "
                "update distask, or name another store with --store"
            )
            raise StoreError(message)
        if version < SCHEMA_VERSION:
            _migrate(connection)

    def _write(self) -> None:
        try:
            with closing(connect(self.path, self.journal)) as connection:
                while (group := self._next_group()) is not None:
                    failure = None
                    try:
                        if group:
                            _commit(connection, group)
                        else:
                            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                    except FAULTS as error:
                        failure = StoreError(explained(self.path, error))
                    self._settle(group, failure)
        except FAULTS as error:
            failure = StoreError(explained(self.path, error))
            while (group := self._next_group()) is not None:
                self._settle(group, failure)

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
        """Tell each waiting put how its group ended, one wake-up of the loop for all of them."""
        if not group:
            return

        def tell() -> None:
            self._under_way -= len(group)
            _tell(group, failure)

        with suppress(RuntimeError):  # the loop was closed: nobody waits
            group[0].loop.call_soon_threadsafe(tell)


class _Put:
    """Records on their way to the disk, and whom to tell."""

    __slots__ = ("done", "loop", "records")

    def __init__(self, records: list[Any], loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
        self.records = records
        self.loop = loop
        self.done = done


def _insert(connection: sqlite3.Connection, records: Sequence[Sequence[Any]]) -> None:
    """Insert records with one statement: after each, Python's lock is waited for, which a busy loop holds for long."""
    connection.execute(_INSERT + ", ".join([_ONE] * len(records)), [value for record in records for value in record])


def _commit(connection: sqlite3.Connection, group: Sequence[_Put]) -> None:
    records = [record for put in group for record in put.records]
    try:
        if len(records) <= AT_ONCE:
            _insert(connection, records)  # commits by itself
        else:
            connection.execute("BEGIN IMMEDIATE")
            for start in range(0, len(records), AT_ONCE):
                _insert(connection, records[start : start + AT_ONCE])
            connection.execute("COMMIT")
    except FAULTS:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _tell(group: Sequence[_Put], failure: StoreError | None) -> None:
    """Tell each waiting put, in its loop."""
    for put in group:
        if put.done.done():
            continue
        with suppress(RuntimeError):  # the loop was closed: nobody waits
            if failure is None:
                put.done.set_result(None)
            else:
                put.done.set_exception(failure)


def _serves(completion: Completion, asked: int | None, limit: int | None) -> bool:
    if completion.finish_reason == "length":
        return asked == limit or (asked is not None and limit is not None and limit <= asked)
    length = completion.usage.output_tokens
    return asked == limit or limit is None or length is None or length <= limit


def _record(key: bytes, limit: int, completion: Completion, now: float) -> tuple[Any, ...]:
    data = _encode(completion)
    return key, limit, data, completion.model, now, _checksum(key, limit, data, completion.model.encode())


def _checksum(key: bytes, limit: int, data: bytes, model: bytes) -> int | None:
    """What a record's checksum must be; None where its values have not even their types any more."""
    if not (isinstance(limit, int) and isinstance(data, bytes) and isinstance(model, bytes)):
        return None
    return zlib.crc32(b"%b%d %b%b" % (key, limit, data, model))


def _encode(completion: Completion) -> bytes:
    usage = completion.usage
    if usage.is_brief and usage is not UNKNOWN_USAGE:  # msgspec writes the defaults of what it encodes as an array
        completion = replace(completion, usage=(usage.input_tokens, usage.output_tokens))
    return _ENCODER.encode(completion)


def _decode(data: bytes) -> Completion:
    return _DECODER.decode(data)


def connect(path: Path, journal: str = WAL) -> sqlite3.Connection:
    """A connection to a store's file; nothing of it is waited for longer than `BUSY_SECONDS`."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the file to this version in one step: a process that is killed within leaves the old one."""
    connection.execute("BEGIN IMMEDIATE")  # another process may be making it at this moment
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    connection.execute(_TABLES)
    if version == 1:
        connection.create_function("checksum_of", 4, _checksum, deterministic=True)
        connection.execute("ALTER TABLE completions ADD COLUMN checksum INTEGER")
        connection.execute(
            "UPDATE completions SET checksum = checksum_of(key, max_tokens, completion, CAST(model AS BLOB))"
        )
    if version < 4:
        connection.execute(_ADAPTATIONS)
    if version < 3:
        for statement in (_BATCHES, _BATCH_REQUESTS, _OF_A_BATCH):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def explained(path: Path, error: Exception) -> str:
    """What the user can do about a fault of the store's file."""
    words, code = str(error), _code(error)
    damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or isinstance(error, UnicodeDecodeError)
    if damaged or "no such" in words:
        mend = "move it away, or name another with --store"
        return f"{path}: this is no store of distask, or it is damaged ({words}); {mend}"
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC:
        return f"{path}: the disk is full; free some space and run the same command again, nothing is lost"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{path}: another process has held the store for {BUSY_SECONDS:.0f} s; wait for it, or use --store"
    if code == sqlite3.SQLITE_IOERR:
        mend = "is the disk full, or broken? when it is mended, run the same command again, nothing is lost"
        return f"{path}: the store can't be read or written ({words}); {mend}"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"{path}: the store can't be written ({words}); let it be, or name another with --store"
    return f"{path}: the store can't be used ({words}); move it away, or name another with --store"


def join(into: Path, other: Path) -> int:
    """Put another store's completions into a store that lacks them; how many those were."""
    if not other.is_file():
        raise StoreError(f"{other}: there is no such store")
    with Store(other), Store(into), closing(connect(into)) as connection:
        try:
            connection.execute("ATTACH DATABASE ? AS other", (str(other),))
            return [connection.execute(statement).rowcount for statement in _JOINED][-1]
        except sqlite3.Error as error:
            raise StoreError(explained(into, error)) from error


def _code(error: Exception) -> int:
    """The sort of an error of SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
