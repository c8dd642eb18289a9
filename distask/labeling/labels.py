"""Keep a person's verdicts in a labels file: append and sync one line per verdict, and read the verdicts that count.

A line is an ordinary row: the input columns, the answered columns, and the column `label` with who, when and how the
row was chosen. Lines are only appended. For one item, annotator and repeat number, the last line counts; a withdrawn
line removes the verdict.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct

from distask.data.readers.jsonl import read_jsonl
from distask.data.writers.base import json_bytes, sync_folder, unwritable
from distask.diagnostics import did_you_mean
from distask.errors import InputError, OutputBusy, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

LABEL_COLUMN = "label"
"""The column with the facts about a verdict."""
INPUT_LABEL_COLUMN = "input_label"
"""The name in a labels file of an input column `label`."""

Key = tuple[str, str, int]
"""Item, annotator, and repeat number: 0 if the item was shown for the first time."""


class Verdict(Struct, frozen=True):
    """A line of a labels file."""

    values: dict[str, Any]
    """The input columns and the answered columns."""
    label: dict[str, Any]
    """Annotator, item, time, and how the row was chosen; empty in a file made by hand."""
    place: str
    """`file:line`."""

    @property
    def key(self) -> Key:
        """What the verdict is about, and whose it is."""
        return self.label["item"], self.label["annotator"], self.label.get("repeat", 0)

    @property
    def is_withdrawn(self) -> bool:
        """Whether it removes an earlier verdict."""
        return bool(self.label.get("withdrawn"))

    @property
    def is_skipped(self) -> bool:
        """Whether the person gave no answer."""
        return bool(self.label.get("skipped"))


def item_key(inputs: Mapping[str, Any]) -> str:
    """Return a short hash of a row's input columns, whatever their order: 16 hexadecimal digits."""
    return hashlib.blake2b(json_bytes(_ordered(inputs)), digest_size=8).hexdigest()


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value, key=str)}
    return [_ordered(item) for item in value] if isinstance(value, list) else value


def now() -> str:
    """Return the current time in UTC: 2026-11-29T05:10:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def read_verdicts(path: Path, answered: Collection[str]) -> Iterator[Verdict]:
    """Yield every line of a labels file.

    A line without `label`, from a file made by hand, gets the file's name as its annotator, and the hash of all columns
    but `answered` as its item.

    Raises:
        InputError: the file can't be read, or is not a labels file; the message names the line.
    """
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    for row in read_jsonl(path, str(path)):
        if row.error is not None:
            raise row.error
        yield _verdict(row.values, row.place, path, answered)


def _verdict(values: dict[str, Any], place: str, path: Path, answered: Collection[str]) -> Verdict:
    label = values.pop(LABEL_COLUMN, None)
    for column in answered:
        if column not in values:
            hint = did_you_mean(column, values) or "the line has no columns"
            raise InputError(f"{place}: the column `{column}`, which the task asks for, is missing; {hint}")
    if label is None:
        inputs = {name: value for name, value in values.items() if name not in answered}
        label = {"item": item_key(inputs), "annotator": path.name.removesuffix(".jsonl")}
    if not isinstance(label, dict) or not all(isinstance(label.get(name), str) for name in ("item", "annotator")):
        raise InputError(
            f"{place}: the column `{LABEL_COLUMN}` is not a label of `distask label`, which is an object with "
            "`annotator` and `item`; rename your own column"
        )
    return Verdict(values, label, place)


def final_verdicts(verdicts: Iterable[Verdict]) -> dict[Key, Verdict]:
    """Return the verdicts that count: the last of each key, without those that were withdrawn."""
    kept: dict[Key, Verdict] = {}
    for verdict in verdicts:
        kept.pop(verdict.key, None)  # the order is that of the last lines
        if not verdict.is_withdrawn:
            kept[verdict.key] = verdict
    return kept


class LabelsFile:
    """A labels file that is open for one person; another process that opens it gets `OutputBusy`.

    Args:
        path: the file; it is created with the first verdict.
        answered: the columns that the task asks for.
        notify: called with a sentence for the user if the file was repaired.

    Raises:
        OutputBusy: another process writes this file.
        InputError: the file exists and is not a labels file of these columns.
        UsageError: its folder does not exist or can't be written.
    """

    def __init__(self, path: Path, answered: Collection[str], notify: Callable[[str], None] = lambda _: None) -> None:
        self.path = path
        self._lock = _locked(path)
        try:
            self._repair(notify)
            self.verdicts = final_verdicts(read_verdicts(path, answered)) if path.exists() else {}
            self._descriptor: int | None = None
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._lock.release()

    def append(self, values: Mapping[str, Any], label: Mapping[str, Any]) -> Verdict:
        """Append a line; it is on the disk when this returns. Raises `OutputError` and leaves no part of the line."""
        line = json_bytes({**values, LABEL_COLUMN: label}) + b"\n"
        try:
            descriptor = self._opened()
            before = os.lseek(descriptor, 0, os.SEEK_END)
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, before)
                raise
        except OSError as error:
            raise unwritable(str(self.path), error) from None
        verdict = Verdict(dict(values), dict(label), str(self.path))
        self.verdicts.pop(verdict.key, None)
        if not verdict.is_withdrawn:
            self.verdicts[verdict.key] = verdict
        return verdict

    def _opened(self) -> int:
        if self._descriptor is None:
            is_new = not self.path.exists()
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            if is_new:
                sync_folder(self.path.parent)
        return self._descriptor

    def _repair(self, notify: Callable[[str], None]) -> None:
        """Complete or remove a last line without its line end; it was never confirmed to the person."""
        if not self.path.exists():
            return
        try:
            with self.path.open("rb+") as file:
                start = _start_of_last_line(file)
                file.seek(start)
                tail = file.read()
                if not tail:
                    return
                if _is_object(tail):  # an editor that leaves out the last line end
                    file.write(b"\n")
                    return
                file.truncate(start)
        except OSError as error:
            raise UsageError(f"{self.path}: can't be opened for writing: {error.strerror}") from None
        notify(f"{self.path}: the last line was incomplete, after a crash; it was removed, and its item comes again")


def _locked(path: Path) -> Any:
    from filelock import FileLock, Timeout

    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file with --output")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the folder {path.parent} does not exist; create it or choose another with --output")
    folder = path.parent / ".distask"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = FileLock(folder / f"{path.name}.lock", mode=0o600, thread_local=False)
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputBusy(
            f"{path}: another `distask label` is writing this file; stop it, or give each person a file with --output"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: can't be written: {error.strerror}") from None
    return lock


def _start_of_last_line(file: Any) -> int:
    """Return where the bytes after the last line end begin."""
    place: int = file.seek(0, os.SEEK_END)
    while place:
        begin = max(0, place - (1 << 16))
        file.seek(begin)
        found: int = file.read(place - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        place = begin
    return 0


def _is_object(line: bytes) -> bool:
    import orjson

    try:
        return isinstance(orjson.loads(line), dict)
    except ValueError:
        return False


def merge(into: LabelsFile, paths: Iterable[Path], answered: Collection[str]) -> int:
    """Append the lines of other labels files that `into` lacks, in their order; returns how many.

    All files are read before the first line is written.

    Raises:
        InputError: a file is not a labels file of these columns, or has no `label` column.
    """
    have = {_identity(v) for v in read_verdicts(into.path, answered)} if into.path.exists() else set()
    new: list[Verdict] = []
    for path in paths:
        for verdict in read_verdicts(path, answered):
            if "at" not in verdict.label:
                raise InputError(
                    f"{verdict.place}: the column `{LABEL_COLUMN}` is missing; a file made by hand can't be merged"
                )
            if (identity := _identity(verdict)) not in have:
                have.add(identity)
                new.append(verdict)
    for verdict in new:
        into.append(verdict.values, verdict.label)
    return len(new)


def _identity(verdict: Verdict) -> bytes:
    return hashlib.blake2b(json_bytes([_ordered(verdict.values), _ordered(verdict.label)]), digest_size=16).digest()
