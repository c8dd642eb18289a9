"""Process many rows concurrently and write the output in input order.

The engine uses one event loop. Finished rows are buffered in a window until every earlier row is written. The window
is limited in rows and bytes, which bounds memory: reading pauses while it is full. The `Work` object processes the
rows, so the engine does not depend on the task.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from distask.data.row import weight
from distask.errors import DistaskError, OutputError, RunError, UsageError
from distask.runner.stats import SAMPLED_ROWS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence

    from distask.data.row import Row
    from distask.data.writers import Writer
    from distask.runner.engine.shared import Shared
    from distask.runner.stats import Stats

WINDOW = 64
"""Rows in the window per concurrent call: a call may take 64 times as long as usual without blocking others."""
READ_AHEAD = 2
"""Active rows per concurrent call."""
MOST_BYTES = 128 << 20
"""Maximum bytes of rows, requests and replies in the window; no row starts beyond that."""
READ_BATCH_ROWS = 1_024
"""Maximum number of rows to read at a time, in a thread: each batch wakes the thread and the event loop."""
READ_BATCH_SECONDS = 0.01
"""How long to read before the first rows of a batch start, if the source is slow."""
BATCH_BYTES = 4 << 20
"""Approximate maximum bytes per batch of rows that are read or started."""
START_ROWS = 32
"""Maximum number of rows to start in one turn of the event loop, so that calls in flight are not held up."""
READY_ROWS = 256
"""The same while no row needs a call: the store finds the replies of many rows together faster."""
DRAIN_SECONDS = 10.0
"""How long Ctrl-C waits for calls in flight."""
TICK_SECONDS = 0.1
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that stop a run cleanly: Ctrl-C, termination by a scheduler, a closed terminal."""

OutputRow = tuple["Row", dict[str, Any]]
"""A row to write: the input row and the columns added to it."""


class PendingRow(Struct, frozen=True):
    """An input row whose output rows are not ready yet."""

    finish: Callable[[], Coroutine[Any, Any, list[OutputRow]]]
    size: int
    """Bytes held in the meantime, in addition to the row."""


class Work(Protocol):
    """Processes rows."""

    def begin(self, rows: Sequence[Row]) -> Iterable[list[OutputRow] | PendingRow]:
        """Return the output rows of each input row, or a pending row; called in input order."""


class Interrupted(RunError):  # noqa: N818 - not an error
    """The run was interrupted; replies received so far are in the store."""

    exit_code = 130
    kind = "interrupted"


class _Slot(Struct):
    """A row's place in the window."""

    size: int
    """Bytes of the row and of everything held for it."""
    done: bool = False
    rows: list[OutputRow] = field(default_factory=list)


class Engine:
    """Runs work over rows.

    Args:
        work: processes each row.
        shared: the run's shared state.
        concurrency: maximum number of concurrent calls.
        observe: called with the counts about ten times a second, and at the end.
        first: whether it reads the run's input; if not, its rows come from another engine.
        last: whether it writes the run's output; if not, its rows go to another engine.
    """

    def __init__(
        self,
        work: Work,
        shared: Shared,
        *,
        concurrency: int = 256,
        observe: Callable[[Stats], None] | None = None,
        first: bool = True,
        last: bool = True,
    ) -> None:
        self._work = work
        self._first, self._last = first, last
        self._shared = shared
        self._stats = shared.stats
        self._observe = observe
        self._window: deque[_Slot] = deque()
        self._window_size = max(WINDOW * concurrency, 256)
        self._most_active = max(READ_AHEAD * concurrency, 32)
        self._held = 0
        self._written = 0
        self._breath = 1  # until the size of rows is known
        self._active: set[asyncio.Task[None]] = set()
        self._room: asyncio.Future[None] | None = None
        self._interrupts = 0
        self._commit: asyncio.Future[None] | None = None
        shared.on_halt = self._wake

    async def run(self, rows: Iterable[Row], writer: Writer) -> None:
        """Process all rows.

        On success, the output is complete under its final name. Otherwise, raises the error, and `OUT.partial` has the
        finished rows.
        """
        shared = self._shared
        ticker = asyncio.create_task(self._tick())
        release = self._catch_signals()
        whole = False
        try:
            await self._do(rows, writer)
            if shared.error is None:
                whole = await self._committed(writer)
        except DistaskError as error:
            shared.halt(error)
        finally:
            release()
            ticker.cancel()
            for task in self._active:
                task.cancel()
            await asyncio.gather(ticker, *self._active, return_exceptions=True)
            if self._last or shared.error is not None:
                await asyncio.gather(*(client.close() for client in shared.clients), return_exceptions=True)
            self._notify()
        if shared.error is not None and not whole:
            writer.abort()
            raise shared.error

    async def _do(self, rows: Iterable[Row], writer: Writer) -> None:
        try:
            await self._feed(rows, writer)
            await self._drain(writer)
            self._flush(writer)
        except Exception as error:  # noqa: BLE001 - keep replies in flight: they are paid for
            self._shared.halt(self._of_the_run(error))
            await self._drain(writer)
            if not isinstance(error, OutputError):
                self._flush(writer)

    def _of_the_run(self, error: Exception) -> Exception:
        """Turn a usage error after the first call into a run error: the input failed during the run."""
        self._shared.count_calls()
        if isinstance(error, UsageError) and self._stats.calls:
            return RunError(str(error))
        return error

    async def _committed(self, writer: Writer) -> bool:
        """Complete the output, which may take long for a table; returns False after a second interrupt.

        The first interrupt has no effect here. The process can exit without waiting for the thread.
        """
        ended: Future[None] = Future()
        ended.set_running_or_notify_cancel()

        def commit() -> None:
            try:
                writer.commit()
            except BaseException as error:  # noqa: BLE001 - raised by the await
                ended.set_exception(error)
            else:
                ended.set_result(None)

        threading.Thread(target=commit, name="distask-commit", daemon=True).start()
        self._commit = asyncio.wrap_future(ended)
        try:
            await self._commit
        except asyncio.CancelledError:
            if self._interrupts > 1:
                return False
            raise
        return True

    # Rows in, in order

    async def _feed(self, rows: Iterable[Row], writer: Writer) -> None:
        async for batch in _batches(rows):
            begun = 0
            while begun < len(batch):
                if self._shared.error is not None:
                    return
                some = batch[begun : begun + self._breath]
                begun += len(some)
                self._begin(some, writer)
                self._flush(writer)
                await asyncio.sleep(0)
                if self._full():
                    await self._wait_for_room(writer)

    def _begin(self, rows: Sequence[Row], writer: Writer) -> None:
        """Start rows; writes those that are ready and have no earlier row to wait for."""
        size, window, most = 0, self._window, READY_ROWS
        written: list[OutputRow] = []
        for row, begun in zip(rows, self._work.begin(rows), strict=True):
            if window or isinstance(begun, PendingRow):
                size += self._add(row, begun)
                most = START_ROWS
            else:
                size += row.size
                self._write(begun, writer)
                written = begun
        if written:  # weighing each one would cost as much as writing it
            size += len(rows) * sum(weight(new) for _, new in written)
        self._breath = min(max(1, BATCH_BYTES * len(rows) // max(1, size)), most)

    def _add(self, row: Row, begun: list[OutputRow] | PendingRow) -> int:
        """Put a row into the window and return its size; creates a task only for a pending row."""
        slot = _Slot(row.size)
        self._window.append(slot)
        if isinstance(begun, PendingRow):
            slot.size += begun.size
            task = asyncio.get_running_loop().create_task(self._finish(slot, row, begun))
            self._active.add(task)
            task.add_done_callback(self._row_ended)
        else:
            self._end(slot, row, begun)
        self._held += slot.size
        return slot.size

    async def _finish(self, slot: _Slot, row: Row, later: PendingRow) -> None:
        try:
            made = await later.finish()
        except Exception as error:  # noqa: BLE001 - any error ends the run, not the loop
            self._shared.halt(error)
            return
        self._held -= slot.size
        self._end(slot, row, made)
        self._held += slot.size

    def _end(self, slot: _Slot, row: Row, made: list[OutputRow]) -> None:
        slot.rows, slot.done = made, True
        slot.size = row.size + sum(weight(new) for _, new in made)

    def _full(self) -> bool:
        return (
            len(self._active) >= self._most_active or len(self._window) >= self._window_size or self._held >= MOST_BYTES
        )

    async def _wait_for_room(self, writer: Writer) -> None:
        """Wait until a quarter of the active rows are done, so that rows start in groups."""
        while self._shared.error is None:
            self._flush(writer)
            if len(self._active) <= self._most_active * 3 // 4 and not self._full():
                return
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _row_ended(self, task: asyncio.Task[None]) -> None:
        self._active.discard(task)
        head_done = bool(self._window) and self._window[0].done
        if head_done or len(self._active) <= self._most_active * 3 // 4:
            self._wake()

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def _drain(self, writer: Writer) -> None:
        """Wait for the active rows to finish; after an interrupt, waits at most `DRAIN_SECONDS`."""
        loop = asyncio.get_running_loop()
        until: float | None = None
        while self._active:
            if self._interrupts > 1:
                return
            if self._interrupts and until is None:
                until = loop.time() + DRAIN_SECONDS
            if until is not None and loop.time() >= until:
                return
            await asyncio.wait(self._active, timeout=TICK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if self._shared.error is None:
                self._flush(writer)

    def _flush(self, writer: Writer) -> None:
        """Write finished rows in order; after an error, writes every finished row."""
        window = self._window
        while window and (window[0].done or self._shared.error is not None):
            slot = window.popleft()
            self._held -= slot.size
            if slot.done:
                self._write(slot.rows, writer)

    def _write(self, made: Sequence[OutputRow], writer: Writer) -> None:
        """Write and count the output rows of the next input row."""
        write, stats = writer.write, self._stats
        for row, new in made:
            write(row, new)
        stats.rows += self._first
        if self._last:
            stats.rows_out += len(made)
            if self._written % SAMPLED_ROWS == 0:
                for row, new in made:
                    stats.sample_output(row.size, new)
            if self._first and stats.layout is not None:
                stats.lay(len(made))
        self._written += 1

    # Interrupts

    def _interrupt(self) -> None:
        self._interrupts += 1
        self._stats.stopping = True
        self._notify()  # before the halt changes the calls in flight
        self._shared.halt(Interrupted("interrupted"))
        if self._interrupts > 1:
            for task in self._active:
                task.cancel()
            if self._commit is not None:
                self._commit.cancel()

    def _catch_signals(self) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        caught: list[signal.Signals] = []
        for number in STOPS:
            if signal.getsignal(number) == signal.SIG_IGN:  # nohup, or a background job of a shell
                continue
            try:
                loop.add_signal_handler(number, self._interrupt)
            except (NotImplementedError, RuntimeError, ValueError):  # not the main thread; Windows
                break
            caught.append(number)

        def release() -> None:
            for number in caught:
                loop.remove_signal_handler(number)

        return release

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._notify()

    def _notify(self) -> None:
        self._shared.count_calls()
        if self._observe is not None:
            self._observe(self._stats)


async def _batches(rows: Iterable[Row]) -> AsyncIterator[list[Row]]:
    """Read in a thread, so that a slow disk or a remote server does not block the event loop."""
    iterator = iter(rows)
    while True:
        batch, error = await asyncio.to_thread(_read_batch, iterator)
        if batch:
            yield batch
        if error is not None:
            raise error
        if not batch:
            return


def _read_batch(rows: Iterator[Row]) -> tuple[list[Row], Exception | None]:
    """Return the next rows, and the error that ended them early."""
    taken: list[Row] = []
    size, until = 0, time.monotonic() + READ_BATCH_SECONDS
    try:
        for row in itertools.islice(rows, READ_BATCH_ROWS):
            taken.append(row)
            size += row.size
            if size >= BATCH_BYTES or (len(taken) % START_ROWS == 0 and time.monotonic() > until):
                break
    except Exception as error:  # noqa: BLE001 - raised after the rows before it
        return taken, error
    return taken, None
