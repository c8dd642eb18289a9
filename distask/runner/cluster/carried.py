"""Keep the rows between the segments of a pipeline on shared storage, and run the steps that need all rows.

Each part of a segment writes a file of carried rows. One machine passes all of them to the barrier, as a local run
does, and writes the rows that continue to the parts of the next segment.
"""

from __future__ import annotations

import pickle
import struct
from array import array
from bisect import bisect_right
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from distask.data.cells import Cells
from distask.data.input import Input
from distask.data.parts import Part
from distask.data.readers import DEFAULT_OPTIONS
from distask.data.writers.base import PartialFile
from distask.errors import InputError
from distask.runner.engine.steps import CarriedRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from distask.data.readers import ReadOptions
    from distask.data.row import Row
    from distask.task.pipeline import Pipeline
    from distask.task.steps.flow import Count

SMALLEST_PART = 256
"""Rows of a part of a later segment; a part with fewer rows would cost more than it saves."""
_LENGTH = struct.Struct("=Q")


class CarriedWriter:
    """Writes carried rows: for each, the length of its pickle and the pickle. Schemas are written once, before use."""

    def __init__(self, path: Path) -> None:
        self._file = PartialFile(path)
        self.partial: Path | None = self._file.partial
        self.checksum: str | None = None
        self.notes: list[str] = []
        self.count = 0
        self._schemas: list[Any] = []

    def write(self, row: Row, _new: Mapping[str, Any]) -> None:
        """Write a row."""
        assert isinstance(row, CarriedRow)
        packed, cells = None, row.cells
        if cells is not None:
            number = next((n for n, schema in enumerate(self._schemas) if schema is cells.schema), len(self._schemas))
            if number == len(self._schemas):
                self._schemas.append(cells.schema)
                self._write(cells.schema)
            packed = number, cells.packed()
        self._write((replace(row, cells=None), packed))
        self.count += 1

    def _write(self, value: Any) -> None:
        data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        self._file.write(_LENGTH.pack(len(data)) + data)

    def commit(self) -> None:
        """Rename the file to its final name."""
        self.checksum = self._file.commit()

    def abort(self) -> None:
        """Keep the partial file."""
        self._file.abort()


class _CarriedFile:
    """Reads carried rows in order, then any of them again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._schemas: list[Any] = []
        self.places = array("Q")
        """Where the pickle of each row starts."""

    def rows(self) -> Iterator[CarriedRow]:
        """Yield all rows."""
        while head := self._file.read(_LENGTH.size):
            place = self._file.tell()
            value = pickle.loads(self._file.read(_LENGTH.unpack(head)[0]))  # noqa: S301 - written by our own workers
            if isinstance(value, tuple):
                self.places.append(place)
                yield self._row(value)
            else:
                self._schemas.append(value)

    def read(self, number: int) -> CarriedRow:
        """Return a row that was read before."""
        self._file.seek(self.places[number] - _LENGTH.size)
        (length,) = _LENGTH.unpack(self._file.read(_LENGTH.size))
        return self._row(pickle.loads(self._file.read(length)))  # noqa: S301 - written by our own workers

    def _row(self, value: Any) -> CarriedRow:
        row: CarriedRow
        row, packed = value
        if packed is not None:
            schema, data = packed
            row.cells = Cells.unpacked(self._schemas[schema], data)
        return row


class CarriedPart(Part, frozen=True):
    """A part of a later segment: a file of carried rows."""

    rows: int = 0
    selected: int = 0
    checksum: str = ""
    folders: tuple[str, ...] = ()
    """Folders of the input, in which rows may name files."""

    def state(self) -> list[Any]:
        """Return the checksum of the rows, which come out alike when they are written again."""
        return [self.checksum]

    def parents(self) -> set[Path]:
        """Return the folders in which rows may name files."""
        return set(map(Path, self.folders))

    def open(self, options: ReadOptions = DEFAULT_OPTIONS, **choice: Any) -> Input:  # noqa: ARG002 - rows are chosen
        """Open the part; its rows were checked when they were read first."""
        return _CarriedInput(self.name, Path(self.spans[0].file), self.rows)


class _CarriedInput(Input):
    def __init__(self, name: str, file: Path, rows: int) -> None:
        super().__init__(name, lambda: iter(()), remote=True)
        self._file, self.count = file, rows

    def __iter__(self) -> Iterator[Row]:
        try:
            with self._file.open("rb") as opened:
                yield from _CarriedFile(opened).rows()
        except (OSError, EOFError, pickle.UnpicklingError, struct.error) as error:
            raise InputError(f"{self._file}: {error}") from None


class Passed(Struct, frozen=True):
    """What passed a barrier."""

    files: list[tuple[str, int, str]]
    """The parts of the next segment: file, number of rows, checksum."""
    counts: list[Count]
    """The counts of all steps; only the barrier's are not zero."""


def pass_barrier(pipeline: Pipeline, segment: int, files: Sequence[Path], folder: Path) -> Passed:
    """Pass the rows of all parts of a segment to the barrier after it, and write those that continue to a folder.

    Raises:
        OutputError: the rows can't be written.
    """
    pipeline = pipeline.again()
    barrier = pipeline.segments[segment].barrier
    assert barrier is not None
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        opened.callback(barrier.close)
        sources, firsts, total = [], list[int](), 0
        for file in files:
            source = _CarriedFile(opened.enter_context(file.open("rb")))
            firsts.append(total)
            for row in source.rows():
                assert row.item is not None
                barrier.count.came += 1
                barrier.look(row.item.values)
                total += 1
            sources.append(source)
        size = max(SMALLEST_PART, -(-total // max(1, len(files))))
        writers = [CarriedWriter(folder / "part-00000.rows")]
        for numbers in barrier.order():
            if writers[-1].count == size:
                writers[-1].commit()
                writers.append(CarriedWriter(folder / f"part-{len(writers):05d}.rows"))
            several = [_read(sources, firsts, number) for number in numbers]
            items = [row.item for row in several if row.item is not None]
            barrier.count.went += 1
            writers[-1].write(replace(several[0], item=barrier.joined(items)), {})
        writers[-1].commit()
    made = [folder / f"part-{number:05d}.rows" for number in range(len(writers))]
    files_made = [(str(file), w.count, str(w.checksum)) for file, w in zip(made, writers, strict=True)]
    return Passed(files_made, pipeline.counts)


def _read(sources: Sequence[_CarriedFile], firsts: Sequence[int], number: int) -> CarriedRow:
    source = bisect_right(firsts, number) - 1
    while not len(sources[source].places):
        source -= 1
    return sources[source].read(number - firsts[source])
