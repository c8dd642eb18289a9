"""Open a source of rows, scan it once before any paid request, and select the rows to process."""

from __future__ import annotations

import glob
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from distask.data.compression import kind_of
from distask.data.objects import is_object, object_files
from distask.data.readers import DEFAULT_OPTIONS, READERS, ReadOptions, reader_of
from distask.data.readers.hub import PREFIX, read_folder, read_hub
from distask.data.row import Row
from distask.diagnostics import did_you_mean, nearest
from distask.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

FAULTS_SHOWN = 10


class Input:
    """Rows that can be read many times.

    `offset` and `limit` apply first, then the shard (i, k) takes every k-th row from the i-th, then `sample` draws from
    those and keeps their order. `first` is the place of the first row in the complete input. `stand_in` takes a needed
    column and a row that lacks it, and names what is read instead, or returns None. `transform` takes a selected row
    that can be read, and returns the row to yield instead, or None to leave it out; a scan sees the rows as they are.
    `placed` rows keep the index that they have.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Iterator[Row]],
        *,
        files: Collection[Path] = (),
        remote: bool = False,
        limit: int | None = None,
        offset: int = 0,
        sample: int | None = None,
        seed: int = 0,
        shard: tuple[int, int] | None = None,
        first: int = 0,
        columns_needed: Collection[str] = (),
        stand_in: Callable[[str, Mapping[str, Any]], str | None] | None = None,
        on_bad_row: Literal["stop", "skip"] = "stop",
        notes: Mapping[str, None] | None = None,
        transform: Callable[[Row], Row | None] | None = None,
        placed: bool = False,
    ) -> None:
        self.name = name
        self.count: int | None = None
        self.columns: list[str] | None = None
        self.missing: dict[str, tuple[int, str]] = {}
        """Needed column to how many rows lack it, and where the first one is."""
        self.nulls: dict[str, tuple[int, str]] = {}
        """Needed column to how many rows have null in it, and where the first one is."""
        self.stand_ins: dict[str, str] = {}
        """Needed column that rows lack to what is read instead, from the first such row."""
        self.skipped = 0
        self._read = read
        self._files = files
        self._remote = remote
        self._limit, self._offset, self._shard, self._first = limit, offset, shard, first
        self._sample, self._seed = sample, seed
        self._chosen: set[int] | None = None
        self._needed, self._stand_in = columns_needed, stand_in
        self._on_bad_row = on_bad_row
        self._states: list[tuple[int, int]] = []
        self._notes = {} if notes is None else notes
        self._transform, self._placed = transform, placed

    @property
    def notes(self) -> list[str]:
        """Notes for the user about how the rows are read, from the rows read so far."""
        stand_ins = (
            f"{self.name} has no column `{name}`: {what} is read instead" for name, what in self.stand_ins.items()
        )
        return [*stand_ins, *self._notes]

    def __iter__(self) -> Iterator[Row]:
        sparse = self._chosen is not None or self._shard is not None
        for index, row in enumerate(self._selected()):
            if self._chosen is not None and index not in self._chosen:
                continue
            if sparse and row.cells is not None:  # a row must not keep its neighbours in memory
                row.cells = row.cells.copied()
            changed = row if self._transform is None or row.error is not None else self._transform(row)
            if changed is not None:
                yield changed

    def _selected(self) -> Iterator[Row]:
        self.skipped, taken = 0, 0
        for index, row in enumerate(self._read(), self._first):
            if not self._placed:
                row.index = index
            if row.error is not None and self._on_bad_row == "skip":
                self.skipped += 1
                continue
            if index < self._offset:
                continue
            if self._limit is not None and taken >= self._limit:
                return
            taken += 1
            if self._shard is None or (taken - 1) % self._shard[1] == self._shard[0] - 1:
                yield row

    def scan(self, look: Callable[[Row], None] | None = None) -> None:
        """Read all rows once; raises `InputError` listing what can't be read. A remote source is not read twice.

        `look` is called with each selected row that can be read.
        """
        if self._remote and self._sample is None:
            return
        self._states = [_state(f) for f in self._files]
        faults: list[str] = []
        columns: dict[str, None] = {}
        count = bad = 0
        before: Any = None
        for row in self._selected():
            count += 1
            if row.error is not None:
                bad += 1
                if len(faults) < FAULTS_SHOWN:
                    faults.append(str(row.error))
                continue
            if (keys := row.values.keys()) != before:
                columns.update(dict.fromkeys(keys))
                before = keys
            self._note_needs(row)
            if look is not None:
                look(row)
        if bad:
            more = [f"and {bad - len(faults):,} more lines that can't be read"] if bad > len(faults) else []
            raise InputError("\n".join([*faults, *more]))
        if not count:
            raise InputError(f"{self.name}: the input has no rows")
        self.columns = list(columns)
        if self._sample is not None and self._sample < count:
            self._chosen = set(random.Random(self._seed).sample(range(count), self._sample))  # noqa: S311
            count = self._sample
        self.count = count

    def _note_needs(self, row: Row) -> None:
        for name in self._needed:
            if row.values.get(name) is None:
                instead = None if self._stand_in is None else self._stand_in(name, row.values)
                if instead is not None:
                    self.stand_ins.setdefault(name, instead)
                    continue
                noted = self.nulls if name in row.values else self.missing
                seen, place = noted.get(name, (0, row.place))
                noted[name] = (seen + 1, place)

    def changed(self) -> bool:
        """Return whether a file changed since the scan."""
        try:
            return bool(self._states) and [_state(f) for f in self._files] != self._states
        except OSError:
            return True


def open_input(source: str, options: ReadOptions = DEFAULT_OPTIONS, **choice: Any) -> Input:
    """Open a source: a file, a glob, a `datasets` folder, `hf://…`, or `-` for JSON Lines on stdin.

    Args:
        source: the value of `--input`.
        options: how files are read.
        choice: `limit`, `offset`, `sample`, `seed`, `shard`, `columns_needed`, `stand_in`, `on_bad_row` and
            `transform`, see `Input`.

    Raises:
        InputError: the source does not exist, or its format is not supported.
    """
    if source.startswith(PREFIX):
        return Input(source, lambda: read_hub(source), remote=True, **choice)
    if source == "-":
        spool, read_lines = _spooled(), reader_of(".jsonl", options)
        return Input("<stdin>", lambda: told_faults(read_lines(spool, "<stdin>"), "<stdin>"), **choice)
    try:
        folder = Path(source.partition("@")[0])
        if (folder / "dataset_info.json").is_file() or (folder / "dataset_dict.json").is_file():
            return Input(source, lambda: read_folder(source), **choice)
        files = source_files(source)
    except PermissionError as error:
        raise InputError(f"{source}: can't be opened: {error.strerror}") from None
    notes: dict[str, None] = {}
    readers = [(_reader(file, options, lambda note: notes.update({note: None})), file) for file in files]

    def read() -> Iterator[Row]:
        for reader, file in readers:
            yield from told_faults(reader(file, str(file)), str(file))

    remote = is_object(source)
    return Input(source, read, files=() if remote else files, remote=remote, notes=notes, **choice)


def source_files(source: str) -> list[Path]:
    """Return the files or objects that a source names, in order; raises `InputError` if there are none."""
    return object_files(source) if is_object(source) else _files(source)


class Nothing(Struct, frozen=True):
    """Rows without columns, for tasks that need no input. They take no memory, however many there are."""

    count: int

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return ({} for _ in range(self.count))


def rows_input(rows: Iterable[Mapping[str, Any]], **choice: Any) -> Input:
    """Open rows that are in memory, or `Nothing`."""
    kept: Iterable[dict[str, Any]] = rows if isinstance(rows, Nothing) else [dict(row) for row in rows]

    def read() -> Iterator[Row]:
        for number, values in enumerate(kept, 1):
            yield Row(values, "<rows>", number)

    return Input("<rows>", read, **choice)


class Selected(Struct, frozen=True):
    """Rows that were selected from an input and are kept in memory, each with its index and its place there."""

    name: str
    rows: list[Row]
    folder: Path | None = None
    """The folder whose files the rows may name."""
    notes: tuple[str, ...] = ()
    """How the rows were read."""

    def open(self, **choice: Any) -> Input:
        """Open them as an input, with the options of `Input`."""
        notes = dict.fromkeys(self.notes)
        return Input(self.name, lambda: map(replace, self.rows), placed=True, notes=notes, **choice)


def told_faults(rows: Iterable[Row], file: str) -> Iterator[Row]:
    """Yield the rows of a file; errors of the disk or the compressed stream become an `InputError` with the line."""
    number = 0
    try:
        for row in rows:
            number = row.line
            yield row
    except OSError as error:
        raise InputError(f"{file}:{number + 1}: {error}") from None


def _files(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        raise InputError(f"{source} is a folder; did you mean {path}/*.jsonl?")
    if path.is_file():
        return [path]
    if path.exists():
        raise InputError(f"{source} is not a regular file; pass its rows on stdin: --input -")
    if glob.has_magic(source):
        found = sorted(p for p in map(Path, glob.glob(source, recursive=True)) if p.is_file())  # noqa: PTH207
        if not found:
            raise InputError(f"{source}: no file matches")
        return found
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, beside)
    raise InputError(f"{source}: file not found" + (f"; did you mean {path.parent / close}?" if close else ""))


def _reader(file: Path, options: ReadOptions, notify: Callable[[str], None]) -> Callable[[Path, str], Iterator[Row]]:
    kind = kind_of(file)
    if kind not in READERS:
        raise InputError(f"{file}: unknown format `{kind}`; {did_you_mean(kind, READERS)}")
    return reader_of(kind, options, notify)


def _spooled() -> Path:
    """Copy stdin to a temporary file so that it can be read twice; deleted when the process ends."""
    import atexit
    import shutil

    with tempfile.NamedTemporaryFile(prefix="distask-", suffix=".jsonl", delete=False) as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    path = Path(file.name)
    atexit.register(path.unlink, missing_ok=True)
    return path


def _state(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns
