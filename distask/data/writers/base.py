"""Define the writer protocol and the file that all writers fill: `OUT.partial`, renamed to `OUT` when complete."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from distask.data.checksums import checksum_of, new_checksum, text_of
from distask.errors import OutputBusy, OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from filelock import FileLock

    from distask.data.row import Row

    OnWhole = Callable[[str], None]

_WRITE_BYTES = 1 << 16
"""Bytes to write at a time."""


class Writer(Protocol):
    """Write rows."""

    partial: Path | None
    """The file that holds the rows written so far."""
    checksum: str | None
    """The checksum of the output, once it is complete; see `data.checksums`."""
    notes: list[str]
    """Notes for the user about the result."""

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Write an input row, followed by new columns."""

    def commit(self) -> None:
        """Complete the output and give it its name."""

    def abort(self) -> None:
        """Keep what is written in `partial`."""


class PartialFile:
    """A file that is written under another name, locked against other runs, and renamed when complete."""

    def __init__(self, path: Path, on_whole: OnWhole | None = None) -> None:
        self._on_whole = on_whole
        self.path = path.resolve() if path.is_symlink() else path
        self.partial = self.path.with_name(self.path.name + ".partial")
        if self.path.is_dir():
            raise UsageError(f"{path} is a folder; name a file")
        if not self.path.parent.is_dir():
            raise UsageError(
                f"{path}: the folder {self.path.parent} does not exist; create it or choose another with --output"
            )
        self._lock = output_lock(self.path, path)
        try:
            self._file = self.partial.open("wb", buffering=_WRITE_BYTES)
        except OSError as error:
            self._lock.release()
            raise UsageError(f"{path}: can't be written: {error.strerror}") from None
        self._checksum = new_checksum()
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self.size = 0
        """Bytes written so far."""

    def write(self, data: bytes) -> None:
        """Write data, together with what follows, and add it to the checksum."""
        self._waiting.append(data)
        self._waiting_size += len(data)
        self.size += len(data)
        if self._waiting_size >= _WRITE_BYTES:
            try:
                self._write_waiting()
            except OSError as error:
                raise self.explained(error) from None

    def _write_waiting(self) -> None:
        """Write what waits, all at once: calls for each row would take longer than its bytes. Raises `OSError`."""
        data = b"".join(self._waiting)
        self._waiting, self._waiting_size = [], 0
        self._file.write(data)
        self._checksum.update(data)

    def commit(self, made: Path | None = None) -> str:
        """Sync, rename, sync the folder; return the output's checksum. `made` is another file to rename instead."""
        try:
            self.flush()
            if made is None:
                os.fsync(self._file.fileno())
                checksum = text_of(self._checksum)
            else:
                with made.open("rb+") as file:
                    os.fsync(file.fileno())
                checksum = checksum_of(made)
            self._file.close()
            if self._on_whole is not None:
                self._on_whole(checksum)
            (made or self.partial).replace(self.path)
            if made is not None:
                self.partial.unlink()
            sync_folder(self.path.parent)
        except OSError as error:
            raise self.explained(error) from None
        self._lock.release()
        return checksum

    def flush(self) -> None:
        """Make everything written visible to other readers of `partial`; raises `OSError`."""
        self._write_waiting()
        self._file.flush()

    def abort(self) -> None:
        """Close the file and keep it, unless it is empty."""
        with contextlib.suppress(OSError):  # a full disk was already reported
            if not self._file.closed:
                self._write_waiting()
            self._file.close()
            if self.partial.stat().st_size == 0:  # it does not exist if the rows were renamed
                self.partial.unlink()
        self._lock.release()

    def keep_rows(self) -> Path:
        """Rename the complete rows (JSON Lines), which were flushed, to an unused name and return the path."""
        self._file.close()
        number, rows = 1, self.path.with_name(f"{self.path.name}.jsonl")
        while rows.exists():
            number += 1
            rows = self.path.with_name(f"{self.path.name}.{number}.jsonl")
        self.partial.rename(rows)
        return rows

    def explained(self, error: OSError) -> OutputError:
        """Return an error that explains a disk error to the user."""
        return unwritable(str(self.path), error)


def lock_path(output: Path) -> Path:
    """Return the path of the lock that a run holds while it writes an output."""
    return output.parent / ".distask" / f"{output.name}.lock"


def output_lock(output: Path, named: Path | None = None) -> FileLock:
    """Lock an output against other runs; `named` is its name in errors.

    Raises:
        UsageError: the folder of the output can't be written.
        OutputBusy: another run is writing the output.
    """
    from filelock import FileLock, Timeout

    name, folder = named or output, output.parent / ".distask"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = FileLock(lock_path(output), mode=0o600, thread_local=False)
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputBusy(f"{name}: another run is writing this file; wait for it, or name another file") from None
    except OSError as error:
        raise UsageError(f"{name}: can't be written: {error.strerror}") from None
    return lock


def unwritable(name: str, error: OSError) -> OutputError:
    """Return an error that explains why `name` can't be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "the disk is full. Free some space, then run the same command to resume; no paid reply is lost"
        return OutputError(f"{name}: {hint}")
    return OutputError(f"{name}: can't be written: {error.strerror or error}")


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def json_bytes(value: Any) -> bytes:
    """Return a value as UTF-8 JSON: numbers of any size, bytes as base64, NaN as null, lone surrogates replaced."""
    try:
        return orjson.dumps(value, default=plain_value)
    except (TypeError, ValueError):
        text = json.dumps(_clean(value), ensure_ascii=False, default=plain_value, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def plain_value(value: Any) -> Any:
    """Return a value that JSON does not have as text: bytes as base64."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _clean(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124
        return None
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items()}
    return [_clean(v) for v in value] if isinstance(value, list | tuple) else value
