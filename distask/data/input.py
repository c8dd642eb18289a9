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
from distask.data.documents import check_packages
from distask.data.documents.folders import documents_in
from distask.data.file_counts import FileCounts
from distask.data.objects import is_object, object_files
from distask.data.readers import DEFAULT_OPTIONS, READERS, ReadOptions, is_lines, reader_of
from distask.data.readers.blocks import BlockIndex, read_blocks
from distask.data.readers.hub import PREFIX, read_folder, read_hub
from distask.data.row import Row
from distask.diagnostics import did_you_mean, nearest
from distask.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from typing import Protocol

    from distask.data.readers import Reader
    from distask.data.readers.blocks import Block

    class Look(Protocol):
        """Looks at each selected row during a scan, one by one or in blocks."""

        def row(self, row: Row) -> None:
            """Look at one row."""

        def block(self, block: Block) -> None:
            """Look at the rows of a block."""


FAULTS_SHOWN = 10


class Input:
    """Rows that can be read many times.

    `offset` and `limit` apply first, then the shard (i, k) takes every k-th row from the i-th, then `sample` draws from
    those and keeps their order. `drawn` are the places of sampled rows among the selected rows, if the sample was drawn
    elsewhere. `first` is the place of the first row in the complete input. `stand_in` takes a needed column and a row
    that lacks it, and names what is read instead, or returns None. `transform` takes a selected row that can be read,
    and returns the row to yield instead, or None to leave it out; a scan sees the rows as they are. `placed` rows keep
    their index. `read_blocks` reads the same rows as `read`, as blocks of valid rows where possible, which is faster.
    `files` are local; `objects` are those of an object store.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Iterator[Row]],
        *,
        read_blocks: Callable[[], Iterator[Block | Row]] | None = None,
        files: Collection[Path] = (),
        objects: Collection[Path] = (),
        remote: bool = False,
        limit: int | None = None,
        offset: int = 0,
        sample: int | None = None,
        seed: int = 0,
        drawn: Collection[int] | None = None,
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
        self.end = first
        """The position after that of the last row read, before shards and samples are selected."""
        self._counted_files = files or objects
        self.counted = FileCounts(self._counted_files)
        """The rows of each file, as they were yielded last."""
        self._read, self._read_blocks = read, read_blocks
        self._files = files
        self._remote = remote
        self._limit, self._offset, self._shard, self._first = limit, offset, shard, first
        self._sample, self._seed, self._drawn = sample, seed, drawn
        self._chosen: set[int] | None = None
        self._index, self._scanned = BlockIndex(), 0
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
        self.counted = counted = FileCounts(self._counted_files)
        for row in self._rows():
            counted.add(row.file)
            yield row

    def _rows(self) -> Iterator[Row]:
        if self._chosen is not None and self._index.holds(self._scanned):
            try:
                yield from self._index.rows(sorted(self._chosen))
            except OSError as error:
                raise InputError(f"{self.name}: {error}") from None
            return
        if self._chosen is None and self._shard is None and self._transform is None:
            yield from self._selected()
            return
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
        for item in self._select((self._read_blocks or self._read)()):
            if isinstance(item, Row):
                yield item
            else:
                yield from item.rows()

    def _select(self, items: Iterator[Block | Row]) -> Iterator[Block | Row]:
        """Yield the selected rows; a block keeps only its selected rows."""
        self.skipped, taken, index = 0, 0, self._first
        for item in items:
            if isinstance(item, Row):
                if not self._placed:
                    item.index = index
                index += 1
                if item.error is not None and self._on_bad_row == "skip":
                    self.skipped += 1
                    continue
                if item.index < self._offset:
                    continue
                if self._limit is not None and taken >= self._limit:
                    return
                taken, self.end = taken + 1, index
                if self._shard is None or (taken - 1) % self._shard[1] == self._shard[0] - 1:
                    yield item
                continue
            item.index = index
            start, stop = max(0, self._offset - index), len(item.values)
            index += stop
            if start >= stop:
                continue
            if self._limit is not None:
                stop = min(stop, start + self._limit - taken)
                if start >= stop:
                    return
            number, step = self._shard or (1, 1)
            first = start + (number - 1 - taken) % step
            taken, self.end = taken + stop - start, item.index + stop
            if first < stop:
                yield item.selected(first, stop, step)

    def scan(self, look: Look | None = None) -> None:
        """Read all rows once; raises `InputError` listing what can't be read. A remote source is not read twice.

        `look` is called with each selected row that can be read, or each block of them.
        """
        if self._remote and self._sample is None:
            return
        self._states = [_state(f) for f in self._files]
        self._index = BlockIndex()
        found = _Found(look)
        for item in self._select((self._read_blocks or self._read)()):
            if isinstance(item, Row):
                found.row(item)
                if item.error is None:
                    self._note_needs(item)
            else:
                self._index.add(item, found.count)
                found.block(item)
                for name in self._needed:
                    if type(None) in item.kinds(name):
                        self._note_needs_of(item, name)
        found.check(self.name)
        self.columns = list(found.columns)
        self.count = self._scanned = found.count
        if self._sample is not None:
            self.draw(self._sample, self._seed)
        if self._drawn is not None:
            self._chosen, self.count = set(self._drawn), len(self._drawn)

    def draw(self, sample: int, seed: int) -> None:
        """Keep only `sample` of the scanned rows, drawn at random; all of them if there are no more."""
        assert self.count is not None
        if sample < self.count:
            drawn = draw_places(self.count, sample, seed)
            kept = None if self._chosen is None else sorted(self._chosen)
            self._chosen = set(drawn if kept is None else (kept[place] for place in drawn))
            self.count = sample

    def _note_needs(self, row: Row) -> None:
        for name in self._needed:
            if row.values.get(name) is None:
                self._note_need(name, row.values, row.place)

    def _note_needs_of(self, block: Block, name: str) -> None:
        for number, values in enumerate(block.values):
            if values.get(name) is None:
                self._note_need(name, values, block.place(number))

    def _note_need(self, name: str, values: Mapping[str, Any], place: str) -> None:
        instead = None if self._stand_in is None else self._stand_in(name, values)
        if instead is not None:
            self.stand_ins.setdefault(name, instead)
            return
        noted = self.nulls if name in values else self.missing
        seen, first = noted.get(name, (0, place))
        noted[name] = (seen + 1, first)

    def changed(self) -> bool:
        """Return whether a file changed since the scan."""
        try:
            return bool(self._states) and [_state(f) for f in self._files] != self._states
        except OSError:
            return True


def draw_places(count: int, sample: int, seed: int) -> list[int]:
    """Return `sample` different places of `count`, in random order, or all of them if there are no more."""
    return random.Random(seed).sample(range(count), min(sample, count))  # noqa: S311


class _Found:
    """What a scan has found so far."""

    def __init__(self, look: Look | None) -> None:
        self.count = 0
        self.columns: dict[str, None] = {}
        self._look = look
        self._faults: list[str] = []
        self._bad = 0
        self._names: set[str] = set()
        self._before: Any = None

    def row(self, row: Row) -> None:
        self.count += 1
        if row.error is not None:
            self._bad += 1
            if len(self._faults) < FAULTS_SHOWN:
                self._faults.append(str(row.error))
            return
        if (keys := row.values.keys()) != self._before:
            self.columns.update(dict.fromkeys(keys))
            self._names.update(keys)
            self._before = keys
        if self._look is not None:
            self._look.row(row)

    def block(self, block: Block) -> None:
        self.count += len(block.values)
        self._names.update(*block.values)
        if len(self._names) > len(self.columns):
            for values in block.values:
                self.columns.update(dict.fromkeys(values))
        if self._look is not None:
            self._look.block(block)

    def check(self, name: str) -> None:
        """Raise `InputError` if a row can't be read, or there are none."""
        if self._bad:
            left = self._bad - len(self._faults)
            more = [f"and {left:,} more lines that can't be read"] if left else []
            raise InputError("\n".join([*self._faults, *more]))
        if not self.count:
            raise InputError(f"{name}: the input has no rows")


def open_input(source: str, options: ReadOptions = DEFAULT_OPTIONS, **choice: Any) -> Input:
    """Open a source: a file, a glob, a folder of documents or of `datasets`, `hf://…`, or `-` for JSON Lines on stdin.

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
        return Input(
            "<stdin>",
            lambda: with_read_errors(read_lines(spool, "<stdin>"), "<stdin>"),
            read_blocks=lambda: _blocks(spool, "<stdin>", options, read_lines),
            **choice,
        )
    notes: dict[str, None] = {}

    def note(message: str) -> None:
        notes[message] = None

    try:
        folder = Path(source.partition("@")[0])
        if (folder / "dataset_info.json").is_file() or (folder / "dataset_dict.json").is_file():
            return Input(source, lambda: read_folder(source), **choice)
        files = source_files(source, note)
    except PermissionError as error:
        raise InputError(f"{source}: can't be opened: {error.strerror}") from None
    first = {kind_of(file): file for file in reversed(files)}
    readers = {kind: _reader(kind, file, options, note) for kind, file in first.items()}

    def read() -> Iterator[Row]:
        for file in files:
            yield from with_read_errors(readers[kind_of(file)](file, str(file)), str(file))

    def blocks() -> Iterator[Block | Row]:
        for file in files:
            reader = readers[kind_of(file)]
            if is_lines(file):
                yield from _blocks(file, str(file), options, reader)
            else:
                yield from with_read_errors(reader(file, str(file)), str(file))

    remote = is_object(source)
    local, objects = ((), files) if remote else (files, ())
    return Input(source, read, read_blocks=blocks, files=local, objects=objects, remote=remote, notes=notes, **choice)


def _blocks(path: Path, file: str, options: ReadOptions, read: Reader) -> Iterator[Block | Row]:
    """Yield a file of JSON Lines in blocks; after an error of the disk, find its line with `read`."""
    try:
        yield from read_blocks(path, file, on_nan=options.on_nan)
    except OSError as error:
        for _ in with_read_errors(read(path, file), file):
            pass
        raise InputError(f"{file}: {error}") from None


def source_files(source: str, notify: Callable[[str], None] | None = None) -> list[Path]:
    """Return the files or objects that a source names, in order; raises `InputError` if there are none.

    `notify` is called with a sentence about files of a folder that are ignored.
    """
    return object_files(source) if is_object(source) else _files(source, notify)


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


def with_read_errors(rows: Iterable[Row], file: str) -> Iterator[Row]:
    """Yield the rows of a file; errors of the disk or the compressed stream become an `InputError` with the line."""
    number = 0
    try:
        for row in rows:
            number = row.line
            yield row
    except OSError as error:
        raise InputError(f"{file}:{number + 1}: {error}") from None


def _files(source: str, notify: Callable[[str], None] | None) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        if parts := [*sorted(path.glob("part-*.parquet")), *sorted(path.glob("part-*.jsonl"))]:
            return parts
        return documents_in(path, notify)
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


def _reader(
    kind: str, file: Path, options: ReadOptions, notify: Callable[[str], None]
) -> Callable[[Path, str], Iterator[Row]]:
    if kind not in READERS:
        raise InputError(f"{file}: unknown format `{kind}`; {did_you_mean(kind, READERS)}")
    check_packages(kind, str(file))
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
