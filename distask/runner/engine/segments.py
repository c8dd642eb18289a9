"""Run a pipeline segment by segment, with a temporary file for the rows between segments.

Rows wait only at a barrier, which needs all of them. Waiting rows and their keys are on disk.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sqlite3
import struct
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from distask.data.cells import Cells
from distask.errors import OutputError, UsageError
from distask.runner.engine.engine import Engine
from distask.runner.engine.shared import Shared
from distask.runner.engine.step_calls import StepCalls, Targets
from distask.runner.engine.steps import CarriedRow, Steps
from distask.runner.targets import budget_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from distask.data.row import Row
    from distask.data.writers import Writer
    from distask.runner.batch.deferred import Deferred
    from distask.runner.engine.shared import Failed
    from distask.runner.generations import Shape
    from distask.runner.job import Job
    from distask.runner.stats import Stats
    from distask.store import Store
    from distask.task.pipeline import Pipeline
    from distask.task.steps.barriers import Barrier

_BOUNDS = struct.Struct("=QQ")


async def run_pipeline(
    job: Job,
    pipeline: Pipeline,
    rows: Iterable[Row],
    writer: Writer,
    store: Store | None,
    stats: Stats,
    observe: Callable[[Stats], None] | None,
    notify: Callable[[str], None] | None,
    deferred: Deferred | None = None,
) -> list[Failed]:
    """Run all rows through all segments; returns the first failures and raises errors that end the run.

    With `deferred` calls, stops after a segment in which rows wait for a batch: the next segment's rows are not known.
    """
    shape, concurrency = job.shape, job.llm.config.limits.concurrency
    check_generations(pipeline, shape)
    pipeline = pipeline.again()
    shared = Shared(stats, budget_of(job.max_cost, stats, leased=job.governor is not None))
    shared.deferred = deferred
    stats.steps = pipeline.counts
    targets = Targets(job.llm, shared, notify)
    for wanted in pipeline.asked:
        targets.of(*wanted)
    asking = StepCalls(targets, store, shared)
    watch = observe if job.governor is None else job.governor.watching(shared, observe)
    coming: Iterable[Row] = rows
    with ExitStack() as spools:
        for number, segment in enumerate(pipeline.segments):
            if job.segment not in (None, number):
                continue
            last = segment.barrier is None
            sink: Writer | Spool = writer
            if segment.barrier is not None and job.segment is None:
                sink = Spool(segment.barrier)
                spools.callback(sink.abort)
            work = Steps(pipeline, number, asking, shape, shared)
            engine = Engine(work, shared, concurrency=concurrency, observe=watch, first=number == 0, last=last)
            await engine.run(coming, sink)
            if job.segment is not None:  # the engine leaves clients open for the next segment
                await asyncio.gather(*(client.close() for client in shared.clients), return_exceptions=True)
            if work.left_out:
                break
            if isinstance(sink, Spool):
                coming = sink.rows()
    return shared.failures


def check_generations(pipeline: Pipeline, shape: Shape) -> None:
    """Raise `UsageError` if generations would be grouped although a step of the pipeline waits for all rows."""
    if shape.grouped and shape.num_generations > 1 and len(pipeline.segments) > 1:
        raise UsageError(
            f"the task {pipeline.name} has a step that waits for all rows, so generations can't be grouped; "
            "set --no-group-generations"
        )


SHARED_CHARACTERS = 1_024
"""Texts from this length on are stored once if rows in sequence share them, as chunks share their document."""
_SHARED_TEXTS = 16
"""Number of such texts to remember."""


class _Place(NamedTuple):
    """Where a long text is in a file."""

    start: int
    length: int
    """Bytes."""
    is_text: bool


def _is_long(value: Any) -> bool:
    return type(value) in (str, bytes) and len(value) >= SHARED_CHARACTERS


def _changed(row: CarriedRow, change: Callable[[Any], Any]) -> CarriedRow:
    """Return a row with a function applied to its bytes and to its values at the top level, without its cells."""

    def values_of(values: dict[str, Any]) -> dict[str, Any]:
        made = {name: change(value) for name, value in values.items()}
        return made if any(made[name] is not value for name, value in values.items()) else values

    item = row.item
    assert item is not None
    item = replace(item, values=values_of(item.values), frames=tuple(map(values_of, item.frames)))
    return replace(row, values=values_of(row.values), raw=change(row.raw), cells=None, item=item)


class Spool:
    """Stores rows that wait for a barrier in private temporary files, which are deleted at the end."""

    partial: Path | None = None
    checksum: str | None = None

    def __init__(self, barrier: Barrier) -> None:
        self.notes: list[str] = []
        self._barrier = barrier
        self._rows = tempfile.TemporaryFile(prefix="distask-")  # noqa: SIM115 - closed by `abort`
        self._places = tempfile.TemporaryFile(prefix="distask-")  # noqa: SIM115 - closed by `abort`
        """The start and the end of each row in `_rows`."""
        self._written: dict[int, tuple[str | bytes, _Place]] = {}
        """The identity of a long text to the text and its place in the file, for the last texts."""
        self._texts: dict[_Place, str | bytes] = {}
        """The place of a long text to the text, for the last texts that were read."""
        self._schemas: list[Any] = []
        """Arrow schemas of the sources, each stored once because it may be as large as a row."""

    def write(self, row: Row, _new: Mapping[str, Any]) -> None:
        """Store a row and pass it to the barrier."""
        assert isinstance(row, CarriedRow)
        assert row.item is not None
        with self._explaining_errors():
            packed = self._packed(row.cells)
            data = pickle.dumps((self._without_texts(row), packed), protocol=pickle.HIGHEST_PROTOCOL)
            start = self._rows.tell()
            self._rows.write(data)
            self._places.write(_BOUNDS.pack(start, start + len(data)))
            self._barrier.count.came += 1
            self._barrier.look(row.item)

    def rows(self) -> Iterator[Row]:
        """Return the rows that pass the barrier, in its order."""
        with self._explaining_errors():
            self._rows.flush()
            self._places.flush()
            for numbers in self._barrier.order():
                several = [self._read(number) for number in numbers]
                items = [row.item for row in several if row.item is not None]
                self._barrier.count.went += 1
                yield replace(several[0], item=self._barrier.joined(items))

    def commit(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Close and delete the files."""
        self._rows.close()
        self._places.close()
        self._barrier.close()

    @contextmanager
    def _explaining_errors(self) -> Iterator[None]:
        """Raise `OutputError` if the rows or their keys can't be written."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            folder = tempfile.gettempdir()
            message = f"can't write rows for the step {self._barrier.count.name} to {folder}: "
            message += getattr(error, "strerror", None) or str(error)
            raise OutputError(f"{message}; free some space or set TMPDIR to another folder") from None

    def _read(self, number: int) -> CarriedRow:
        bounds = os.pread(self._places.fileno(), _BOUNDS.size, number * _BOUNDS.size)
        start, end = _BOUNDS.unpack(bounds)
        row: CarriedRow
        row, packed = pickle.loads(os.pread(self._rows.fileno(), end - start, start))  # noqa: S301 - written by this process
        row = self._with_texts(row)
        if packed is not None:
            schema, data = packed
            row.cells = Cells.unpacked(self._schemas[schema], data)
        return row

    def _without_texts(self, row: CarriedRow) -> CarriedRow:
        """Return the row with places instead of long texts."""
        return _changed(row, lambda value: self._share(value) if _is_long(value) else value)

    def _with_texts(self, row: CarriedRow) -> CarriedRow:
        """Return the row with its long texts; equal places give the same object."""
        return _changed(row, lambda value: self._shared(value) if type(value) is _Place else value)

    def _share(self, text: str | bytes) -> _Place:
        """Write a text, unless it was just written, and return its place."""
        known = self._written.get(id(text))
        if known is None:
            data = text.encode(errors="surrogatepass") if isinstance(text, str) else text
            place = _Place(self._rows.tell(), len(data), isinstance(text, str))
            self._rows.write(data)
            known = self._written[id(text)] = text, place
            if len(self._written) > _SHARED_TEXTS:
                del self._written[next(iter(self._written))]
        return known[1]

    def _shared(self, place: _Place) -> str | bytes:
        """Read a text that rows share."""
        text = self._texts.get(place)
        if text is None:
            data = os.pread(self._rows.fileno(), place.length, place.start)
            text = self._texts[place] = data.decode(errors="surrogatepass") if place.is_text else data
            if len(self._texts) > _SHARED_TEXTS:
                del self._texts[next(iter(self._texts))]
        return text

    def _packed(self, cells: Cells | None) -> tuple[int, bytes] | None:
        """Return a row's Arrow values with the number of their schema."""
        if cells is None:
            return None
        number = next((n for n, schema in enumerate(self._schemas) if schema is cells.schema), len(self._schemas))
        if number == len(self._schemas):
            self._schemas.append(cells.schema)
        return number, cells.packed()
