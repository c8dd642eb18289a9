"""The store's SQLite file: its tables, upgrades from older formats, connections, and errors in words."""

from __future__ import annotations

import errno
import sqlite3
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION = 5
FAULTS = (sqlite3.Error, UnicodeDecodeError)
"""Exceptions that SQLite raises; `UnicodeDecodeError` if its message includes bytes of a damaged file."""
WAL, ROLLBACK = "WAL", "TRUNCATE"
"""SQLite journal modes. WAL needs shared memory, so it does not work across machines."""
BUSY_SECONDS = 60.0
"""How long to wait for another process's commit."""

_TABLES = """
CREATE TABLE IF NOT EXISTS completions (
    key BLOB NOT NULL,
    max_tokens INTEGER NOT NULL,  -- the limit of the request; 0 for none
    completion BLOB NOT NULL,     -- JSON
    model TEXT NOT NULL,          -- the name that the server gave
    created REAL NOT NULL,        -- seconds since 1970
    checksum INTEGER,             -- CRC-32 of all columns but `created`
    PRIMARY KEY (key, max_tokens)
) STRICT;
"""
# With a rowid, completions are appended in order and only their keys are written to random pages. Without one, each
# completion would dirty a page of its own.

_BATCHES = """
CREATE TABLE batches (
    number INTEGER PRIMARY KEY,
    mark TEXT NOT NULL UNIQUE,    -- in the batch's metadata, to find it in the provider's list
    endpoint TEXT NOT NULL,
    access TEXT NOT NULL,         -- JSON: how the endpoint is reached; names of variables, no key
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    route TEXT NOT NULL,
    requests INTEGER NOT NULL,
    price TEXT,                   -- JSON; NULL if unknown
    input_file TEXT,
    id TEXT,                      -- the provider's; NULL until it confirms the batch
    status TEXT NOT NULL,         -- the provider's status, or `submitting`
    done INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    fetched REAL                  -- when its results were stored
) STRICT;
"""
_BATCH_REQUESTS = """
CREATE TABLE batch_requests (
    key BLOB PRIMARY KEY,         -- of its first sample; its custom_id, in hexadecimal
    keys BLOB NOT NULL,           -- 16 bytes for each sample
    max_tokens INTEGER NOT NULL,
    batch INTEGER,                -- the batch that has it; NULL once it failed
    tries INTEGER NOT NULL,
    failure TEXT                  -- JSON: how its last attempt ended
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
_RUNS = """
CREATE TABLE runs (             -- see `run_ledger`
    id BLOB PRIMARY KEY,        -- hash of the identity and the output
    task TEXT NOT NULL,
    identity BLOB NOT NULL,     -- hash: params may quote prompts
    output TEXT,                -- absolute path; NULL for stdout and for rows returned to the caller
    targets TEXT,               -- JSON: the endpoints and models it may use; NULL if any
    running INTEGER NOT NULL,   -- processes that have begun it and have not ended it
    started REAL NOT NULL,
    finished REAL               -- NULL while it is unfinished
) STRICT, WITHOUT ROWID;
"""
_SOURCES = """
CREATE TABLE sources (          -- where completions come from
    number INTEGER PRIMARY KEY,
    run BLOB NOT NULL,          -- its id; empty if no run requested them
    task TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,        -- as it was requested
    price TEXT,                 -- JSON; NULL if unknown
    used REAL NOT NULL,         -- when a run last used one of them
    UNIQUE (run, task, endpoint, model)
) STRICT;
"""
_SOURCE = "ALTER TABLE completions ADD COLUMN source INTEGER"
"""The number of a completion's source; NULL if a version before 5 stored it. Adding a column rewrites no rows."""
_OF_A_BATCH = "CREATE INDEX requests_of_batches ON batch_requests (batch);"


def connect(path: Path, journal: str = WAL) -> sqlite3.Connection:
    """Connect to a store file; waits at most `BUSY_SECONDS` for locks."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Migrate the file to this version in one transaction; a process killed halfway leaves the old version."""
    connection.execute("BEGIN IMMEDIATE")  # another process may be migrating it
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    connection.execute(_TABLES)
    if version == 1:
        connection.create_function("checksum_of", 4, completion_checksum, deterministic=True)
        connection.execute("ALTER TABLE completions ADD COLUMN checksum INTEGER")
        connection.execute(
            "UPDATE completions SET checksum = checksum_of(key, max_tokens, completion, CAST(model AS BLOB))"
        )
    if version < 4:
        connection.execute(_ADAPTATIONS)
    if version < 3:
        for statement in (_BATCHES, _BATCH_REQUESTS, _OF_A_BATCH):
            connection.execute(statement)
    if version < 5:
        for statement in (_RUNS, _SOURCES, _SOURCE):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def explained(path: Path, error: Exception) -> str:
    """Describe an error of the store's file and how to fix it."""
    words, code = str(error), error_code(error)
    damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or isinstance(error, UnicodeDecodeError)
    if damaged or "no such" in words:
        hint = "move the file away or choose another store with --store"
        return f"{path}: this is not a distask store, or it is damaged ({words}); {hint}"
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC:
        return f"{path}: the disk is full; free some space and run the same command again. No data is lost"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"{path}: another process has held the store for {BUSY_SECONDS:.0f} s; wait for it or use --store"
    if code == sqlite3.SQLITE_IOERR:
        hint = "check that the disk is not full or broken, then run the same command again. No data is lost"
        return f"{path}: the store can't be read or written ({words}); {hint}"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return f"{path}: the store can't be written ({words}); make it writable or choose another store with --store"
    return f"{path}: the store can't be used ({words}); move it away or choose another store with --store"


def completion_checksum(key: bytes, limit: int, data: bytes, model: bytes) -> int | None:
    """Compute a record's checksum; None if its values have the wrong types."""
    if not (isinstance(limit, int) and isinstance(data, bytes) and isinstance(model, bytes)):
        return None
    return zlib.crc32(b"%b%d %b%b" % (key, limit, data, model))


def error_code(error: Exception) -> int:
    """Return the primary SQLite error code."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
