"""Track provider batches: which batches exist, which requests are in them and how requests failed.

The ledger is kept in the store file. A request is identified by the key of its first sample. While it is in a batch,
no other run with the same store sends it.
"""

from __future__ import annotations

import json
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct
from msgspec.structs import asdict

from distask.errors import StoreError
from distask.llm.request import Failure
from distask.store_file import FAULTS, WAL, connect, explained

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from distask.llm.request import Route

SUBMITTING = "submitting"
"""Status of a batch that the provider may not have yet."""
IMPORTING = "importing"
"""Status of a batch without a provider: its results are read from files."""
KEY_BYTES = 16
SHORT = Failure("short", "the server sent fewer completions than n asked for", "retry")
"""Failure stored for a request whose later samples are still missing."""


class Entry(Struct, frozen=True):
    """A request that is in a batch, or that was in one and failed."""

    key: bytes
    """Key of its first sample."""
    keys: tuple[bytes, ...]
    """Keys of all its samples."""
    max_tokens: int | None
    tries: int
    """Number of batches that it was in."""
    batch: int | None = None
    failure: Failure | None = None

    @property
    def waits(self) -> bool:
        """Whether it is in a batch that has not been fetched."""
        return self.batch is not None


class Record(Struct, frozen=True):
    """A batch in the ledger; `store` describes the columns."""

    number: int
    mark: str
    endpoint: str
    access: dict[str, Any]
    task: str
    model: str
    route: Route
    requests: int
    price: dict[str, float] | None
    input_file: str | None
    id: str | None
    status: str
    done: int
    failed: int
    created: float
    fetched: float | None


_COLUMNS = ", ".join(Record.__struct_fields__)


class Ledger:
    """The batches in one store file."""

    def __init__(self, path: Path, journal: str = WAL) -> None:
        """Open the ledger with the journal mode of its store, which must have been opened before."""
        self.path = path
        with self._explaining_errors():
            self._connection = connect(path, journal)

    def entry(self, key: bytes) -> Entry | None:
        """Return the request whose first sample has this key."""
        with self._explaining_errors():
            found = self._connection.execute(
                "SELECT keys, max_tokens, tries, batch, failure FROM batch_requests WHERE key = ?", (key,)
            ).fetchone()
        return None if found is None else _entry(key, *found)

    def submit(
        self,
        entries: Iterable[Entry],
        *,
        endpoint: str,
        access: dict[str, Any],
        task: str,
        model: str,
        route: Route,
        price: dict[str, float] | None,
        status: str = SUBMITTING,
    ) -> Record:
        """Record a new batch of these requests before anything is sent to the provider.

        Raises:
            StoreError: one of the requests is in another batch.
        """
        entries = list(entries)
        mark = uuid.uuid4().hex
        with self._explaining_errors(), self._transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO batches (mark, endpoint, access, task, model, route, requests, price, status, created) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    mark,
                    endpoint,
                    json.dumps(access),
                    task,
                    model,
                    route,
                    len(entries),
                    None if price is None else json.dumps(price),
                    status,
                    time.time(),
                ),
            )
            number = cursor.lastrowid
            assert number is not None
            changed = connection.executemany(
                "INSERT INTO batch_requests (key, keys, max_tokens, batch, tries) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (key) DO UPDATE SET keys = excluded.keys, max_tokens = excluded.max_tokens, "
                "batch = excluded.batch, tries = excluded.tries, failure = NULL WHERE batch_requests.batch IS NULL",
                [(e.key, b"".join(e.keys), e.max_tokens or 0, number, e.tries) for e in entries],
            ).rowcount
            if changed != len(entries):
                raise StoreError(f"{self.path}: another run just put the same requests into a batch; run again")
        return self.record(number)

    def uploaded(self, number: int, input_file: str) -> None:
        """Store the ID of a batch's uploaded input file."""
        self._set(number, input_file=input_file)

    def update_status(self, number: int, *, id: str, status: str, done: int, failed: int) -> None:  # noqa: A002 - the column
        """Store the provider's status of a batch."""
        self._set(number, id=id, status=status, done=done, failed=failed)

    def settle(self, number: int, answers: dict[bytes, int | Failure | None], unanswered: Failure) -> None:
        """Record that a batch's results are in the store, and how its other requests ended.

        Args:
            number: the batch.
            answers: maps the key of a request's first sample to the number of its completions, to its failure, or to
                None to send it as if it had never been sent.
            unanswered: the failure of requests that are not in `answers`.
        """
        with self._explaining_errors(), self._transaction() as connection:
            for entry in self.waiting(number):
                answer = answers.get(entry.key, unanswered)
                if isinstance(answer, Failure):
                    connection.execute(
                        "UPDATE batch_requests SET batch = NULL, failure = ? WHERE key = ?",
                        (json.dumps(asdict(answer)), entry.key),
                    )
                    continue
                connection.execute("DELETE FROM batch_requests WHERE key = ?", (entry.key,))
                if answer is not None and answer < len(entry.keys):
                    rest = entry.keys[answer:]
                    connection.execute(
                        "INSERT OR REPLACE INTO batch_requests (key, keys, max_tokens, tries, failure) "
                        "VALUES (?, ?, ?, ?, ?)",
                        (rest[0], b"".join(rest), entry.max_tokens or 0, entry.tries, json.dumps(asdict(SHORT))),
                    )
            connection.execute("UPDATE batches SET fetched = ? WHERE number = ?", (time.time(), number))

    def release(self, number: int) -> None:
        """Release the requests of a batch that answered none of them, so that they can be sent in another one."""
        with self._explaining_errors(), self._transaction() as connection:
            connection.execute(
                "UPDATE batch_requests SET batch = NULL, tries = tries - 1 WHERE batch = ? AND tries > 1", (number,)
            )
            connection.execute("DELETE FROM batch_requests WHERE batch = ?", (number,))
            connection.execute("UPDATE batches SET fetched = ? WHERE number = ?", (time.time(), number))

    def drop(self, number: int) -> None:
        """Delete a batch that was never created, and its requests."""
        self.release(number)
        with self._explaining_errors():
            self._connection.execute("DELETE FROM batches WHERE number = ?", (number,))

    def forget(self, keys: Iterable[bytes]) -> None:
        """Delete failures whose rows are written, so that the next run retries the requests."""
        with self._explaining_errors(), self._transaction() as connection:
            connection.executemany(
                "DELETE FROM batch_requests WHERE key = ? AND batch IS NULL", [(key,) for key in keys]
            )

    def waiting(self, number: int) -> list[Entry]:
        """Return the requests of a batch."""
        with self._explaining_errors():
            found = self._connection.execute(
                "SELECT key, keys, max_tokens, tries, batch, failure FROM batch_requests WHERE batch = ?", (number,)
            ).fetchall()
        return [_entry(*row) for row in found]

    def record(self, number: int) -> Record:
        """Return one batch."""
        return next(record for record in self.records() if record.number == number)

    def records(self, *, open_only: bool = False) -> list[Record]:
        """Return the batches, oldest first; with `open_only`, those whose results are not in the store yet."""
        where = " WHERE fetched IS NULL" if open_only else ""
        with self._explaining_errors():
            found = self._connection.execute(f"SELECT {_COLUMNS} FROM batches{where} ORDER BY number").fetchall()  # noqa: S608
        return [_record(row) for row in found]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set(self, number: int, **columns: Any) -> None:
        named = ", ".join(f"{name} = ?" for name in columns)
        with self._explaining_errors():
            self._connection.execute(f"UPDATE batches SET {named} WHERE number = ?", (*columns.values(), number))  # noqa: S608

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    @contextmanager
    def _explaining_errors(self) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            raise StoreError(explained(self.path, error)) from error


def _entry(key: bytes, keys: bytes, max_tokens: int, tries: int, batch: int | None, failure: str | None) -> Entry:
    failed = None if failure is None else Failure(**json.loads(failure))
    return Entry(key, _split(keys), max_tokens or None, tries, batch, failed)


def _split(keys: bytes) -> tuple[bytes, ...]:
    return tuple(keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES))


def _record(row: tuple[Any, ...]) -> Record:
    values = dict(zip(Record.__struct_fields__, row, strict=True))
    values["access"] = json.loads(values["access"])
    values["price"] = None if values["price"] is None else json.loads(values["price"])
    return Record(**values)
