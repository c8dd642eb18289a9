"""Take rows to output rows, many at a time, in their order.

One event loop. Reading waits while the window of rows is full, which is bounded in rows and in bytes, so memory is
bounded by the window; a row that is finished before its turn waits in it. What is done to a row is its `Work`; the
engine knows no task.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from distask.data.row import weight
from distask.errors import DistaskError, OutputError, RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence

    from distask.data.row import Row
    from distask.data.writers import Writer
    from distask.runner.engine.shared import Shared
    from distask.runner.stats import Stats

WINDOW = 64
"""Rows in the window, for each call that may be in flight: a call of 64 times the usual length holds nothing up."""
READ_AHEAD = 2
"""Rows being asked for, for each call that may be in flight."""
MOST_BYTES = 128 << 20
"""Bytes of the rows in the window with their requests and replies, beyond which no row is begun."""
READ_BATCH_ROWS = 32
"""Rows that are read at a time, in a thread, and begun before the loop sees to anything else."""
READ_BATCH_BYTES = 4 << 20
"""About how many bytes they hold at the most, where rows are large."""
DRAIN_SECONDS = 10.0
"""How long Ctrl-C waits for what is in flight."""
TICK_SECONDS = 0.1
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a run in order: Ctrl-C, a scheduler's, that of a terminal that was closed."""

OutputRow = tuple["Row", dict[str, Any]]
"""A row to be written: the row it comes from, and the columns that are added to it."""


class PendingRow(Struct, frozen=True):
    """The output rows of an input row that has something to wait for."""

    finish: Callable[[], Coroutine[Any, Any, list[OutputRow]]]
    size: int
    """Bytes that are held meanwhile beside the row."""


class Work(Protocol):
    """What is done to rows."""

    def begin(self, rows: Sequence[Row]) -> Iterable[list[OutputRow] | PendingRow]:
        """The output rows of each input row, or what gives them later; called in the order of the rows."""


class Interrupted(RunError):  # noqa: N818 - it was; nothing went wrong
    """The run was stopped from outside; what was paid for is in the store."""

    exit_code = 130
    kind = "interrupted"


class _Slot(Struct):
    """A row's place in the window."""

    size: int
    """Bytes of the row, and of all that is held for it."""
    done: bool = False
    rows: list[OutputRow] = field(default_factory=list)


class Engine:
    """One run over rows.

    Args:
        work: what is done to each row.
        shared: the run's counts and its end.
        concurrency: calls that may be in flight at the most.
        observe: called about ten times a second, and at the end, with the counts.
        first: whether its rows are those of the run; else they come from an engine before it.
        last: whether its rows out are those of the run; else they go to an engine after it.
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
        self._breath = 1  # until it is known how large rows are
        self._active: set[asyncio.Task[None]] = set()
        self._room: asyncio.Future[None] | None = None
        self._interrupts = 0
        self._commit: asyncio.Future[None] | None = None
        shared.on_halt = self._wake

    async def run(self, rows: Iterable[Row], writer: Writer) -> None:
        """Do all rows.

        The output is whole under its name after it; or the reason why not is raised, and `OUT.partial` holds what
        is done.
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
            self._tell()
        if shared.error is not None and not whole:
            writer.abort()
            raise shared.error

    async def _do(self, rows: Iterable[Row], writer: Writer) -> None:
        try:
            await self._feed(rows, writer)
            await self._drain(writer)
            self._flush(writer)
        except Exception as error:  # noqa: BLE001 - whatever it is: what is under way is paid for, and is kept
            self._shared.halt(self._of_the_run(error))
            await self._drain(writer)
            if not isinstance(error, OutputError):
                self._flush(writer)

    def _of_the_run(self, error: Exception) -> Exception:
        """A file that can be read no more after rows of it were asked for is no wrong usage."""
        self._shared.count_calls()
        if isinstance(error, UsageError) and self._stats.calls:
            return RunError(str(error))
        return error

    async def _committed(self, writer: Writer) -> bool:
        """Make the output whole; a table may take long. Whether it is: a second interrupt waits for it no longer.

        A first one has nothing left to stop. The thread is one that the end of the process does not wait for.
        """
        ended: Future[None] = Future()
        ended.set_running_or_notify_cancel()

        def commit() -> None:
            try:
                writer.commit()
            except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
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
                self._begin(some)
                self._flush(writer)
                await asyncio.sleep(0)
                if self._full():
                    await self._wait_for_room(writer)

    def _begin(self, rows: Sequence[Row]) -> None:
        """Only a row with something to wait for becomes a task of the loop."""
        loop, held = asyncio.get_running_loop(), self._held
        for row, begun in zip(rows, self._work.begin(rows), strict=True):
            slot = _Slot(row.size)
            self._window.append(slot)
            if isinstance(begun, PendingRow):
                slot.size += begun.size
                task = loop.create_task(self._finish(slot, row, begun))
                self._active.add(task)
                task.add_done_callback(self._row_ended)
            else:
                self._end(slot, row, begun)
            self._held += slot.size
        self._breath = min(max(1, READ_BATCH_BYTES * len(rows) // max(1, self._held - held)), READ_BATCH_ROWS)

    async def _finish(self, slot: _Slot, row: Row, later: PendingRow) -> None:
        try:
            made = await later.finish()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the run, not the loop
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
        """Wait until a good part of the rows under way is done, so that rows are begun some at a time."""
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
        """Wait for the rows under way: to their end, or after an interrupt for some seconds."""
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
        """Write the rows whose turn it is; once the run has an error, every row that is done."""
        window = self._window
        while window and (window[0].done or self._shared.error is not None):
            slot = window.popleft()
            self._held -= slot.size
            if slot.done:
                for row, new in slot.rows:
                    writer.write(row, new)
                self._stats.rows += self._first
                self._stats.rows_out += len(slot.rows) if self._last else 0
                if self._first and self._last:
                    self._stats.lay(len(slot.rows))

    # Ends from outside

    def _interrupt(self) -> None:
        self._interrupts += 1
        self._stats.stopping = True
        self._tell()  # first, while in flight is only what was sent
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
            if signal.getsignal(number) == signal.SIG_IGN:  # as nohup does, and a shell to what is in its background
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
            self._tell()

    def _tell(self) -> None:
        self._shared.count_calls()
        if self._observe is not None:
            self._observe(self._stats)


async def _batches(rows: Iterable[Row]) -> AsyncIterator[list[Row]]:
    """Read in a thread, so that a slow disk or a far server holds up nothing else."""
    iterator = iter(rows)
    while batch := await asyncio.to_thread(_read_batch, iterator):
        yield batch


def _read_batch(rows: Iterator[Row]) -> list[Row]:
    taken, size = [], 0
    for row in itertools.islice(rows, READ_BATCH_ROWS):
        taken.append(row)
        size += row.size
        if size >= READ_BATCH_BYTES:
            break
    return taken
