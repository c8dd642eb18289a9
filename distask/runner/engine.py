"""Take rows to output rows: render, look in the store, ask for what is missing, read the replies, write in order.

One event loop. Reading waits while the window of rows is full, so memory is bounded by the window; a row that is
finished before its turn waits in it. Which failure ends what was decided in `llm.retry`; what becomes of an invalid
reply is the spec's `on_invalid`.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from distask.errors import DistaskError, EndpointError, OutputError, RowError, RunError, StoreError
from distask.llm.request import CallFailed, Completion, Failure
from distask.runner.generations import MODEL_COLUMN, Generation, Shape, output_rows, total
from distask.runner.requests import Asked, Requests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from distask.data.row import Row
    from distask.data.writers import Writer
    from distask.llm.request import Message, Request
    from distask.runner.requests import Target
    from distask.runner.stats import Stats
    from distask.store import Store
    from distask.task.task import Task

WINDOW = 64
"""Rows in the window, for each call that may be in flight: a call of 64 times the usual length holds nothing up."""
READ_AHEAD = 2
"""Rows being asked for, for each call that may be in flight."""
BATCH = 64
"""Rows that are read at a time, in a thread."""
BREATH = 32
"""Rows that are begun before the loop sees to anything else."""
DRAIN_SECONDS = 10.0
"""How long Ctrl-C waits for what is in flight."""
TICK_SECONDS = 0.1
FAILURES_KEPT = 100

FEEDBACK = "That reply can't be used: {error}. Reply again, to the same request, in the format it asks for."
"""What the model is told with `on_invalid: {feedback: true}`."""


class Interrupted(RunError):  # noqa: N818 - it was; nothing went wrong
    """The run was stopped from outside; what was paid for is in the store."""

    exit_code = 130


@dataclass(frozen=True, slots=True)
class Failed:
    """A generation that failed, for the summary."""

    place: str
    sample: int
    kind: str
    message: str


@dataclass(slots=True)
class _Slot:
    """A row's place in the window."""

    row: Row
    index: int
    done: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)


class Engine:
    """One run of a task over rows.

    Args:
        task: what is done to each row.
        shape: how many generations, and how they become rows.
        target: whom to ask.
        store: where completions are kept, None for nowhere.
        stats: the counts to keep.
        fallback: whom to ask last where no reply can be used (`on_invalid.fallback`).
        concurrency: calls that may be in flight at the most.
        observe: called about ten times a second, and at the end, with the stats.
    """

    def __init__(
        self,
        task: Task,
        shape: Shape,
        target: Target,
        store: Store | None,
        stats: Stats,
        *,
        fallback: Target | None = None,
        concurrency: int = 256,
        observe: Callable[[Stats], None] | None = None,
    ) -> None:
        self.failures: list[Failed] = []
        self._task = task
        self._shape = shape
        self._target = target
        self._fallback = fallback
        self._store = store if target.keep else None
        self._stats = stats
        self._observe = observe
        self._samples = range(shape.num_generations)
        self._requests = Requests(task, target)
        self._window: deque[_Slot] = deque()
        self._window_size = max(WINDOW * concurrency, 256)
        self._most_active = max(READ_AHEAD * concurrency, 32)
        self._unkept = asyncio.Semaphore(concurrency)  # a kill can cost no more calls than may be in flight
        self._active: set[asyncio.Task[None]] = set()
        self._shared: dict[bytes, asyncio.Future[dict[int, Completion | Failure]]] = {}
        self._room: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._interrupts = 0

    async def run(self, rows: Iterable[Row], writer: Writer) -> None:
        """Do all rows.

        The output is whole under its name after it; or the reason why not is raised, and `OUT.partial` holds what
        is done.
        """
        ticker = asyncio.create_task(self._tick())
        release = self._catch_signals()
        try:
            await self._feed(rows, writer)
            await self._drain(writer)
            self._flush(writer)
            if self._error is None:
                await asyncio.to_thread(writer.commit)
        except (OutputError, DistaskError) as error:
            self._halt(error)
        finally:
            release()
            ticker.cancel()
            for task in self._active:
                task.cancel()
            await asyncio.gather(ticker, *self._active, return_exceptions=True)
            await asyncio.gather(*(t.client.close() for t in self._targets()), return_exceptions=True)
            self._tell()
        if self._error is not None:
            writer.abort()
            raise self._error

    def _targets(self) -> list[Target]:
        return [self._target] if self._fallback is None else [self._target, self._fallback]

    # Rows in, in order

    async def _feed(self, rows: Iterable[Row], writer: Writer) -> None:
        index = 0
        async for batch in _batches(rows):
            for row in batch:
                if self._error is not None:
                    return
                slot = _Slot(row, index)
                self._window.append(slot)
                self._begin(slot)
                index += 1
                if index % BREATH == 0:
                    self._flush(writer)
                    await asyncio.sleep(0)
                if self._full():
                    await self._wait_for_room(writer)

    def _full(self) -> bool:
        return len(self._active) >= self._most_active or len(self._window) >= self._window_size

    async def _wait_for_room(self, writer: Writer) -> None:
        """Wait until a good part of the rows under way is done, so that rows are begun some at a time."""
        while self._error is None:
            self._flush(writer)
            if len(self._active) <= self._most_active * 3 // 4 and len(self._window) < self._window_size:
                return
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _row_ended(self, task: asyncio.Task[None]) -> None:
        self._active.discard(task)
        if self._room is not None and not self._room.done():
            head_done = bool(self._window) and self._window[0].done
            if head_done or len(self._active) <= self._most_active * 3 // 4:
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
            if self._error is None:
                self._flush(writer)

    def _flush(self, writer: Writer) -> None:
        """Write the rows whose turn it is; once the run has an error, every row that is done."""
        window = self._window
        while window and (window[0].done or self._error is not None):
            slot = window.popleft()
            if slot.done:
                self._write(writer, slot)

    def _write(self, writer: Writer, slot: _Slot) -> None:
        row = slot.row
        if slot.rows and (taken := [c for c in (self._shape.metadata_column, MODEL_COLUMN) if c in row.values]):
            row, slot.rows = _taken_over(row, slot.rows, taken, self._shape.metadata_column)
        for new in slot.rows:
            writer.write(row, new)
        self._stats.rows += 1
        self._stats.rows_out += len(slot.rows)

    # One row

    def _begin(self, slot: _Slot) -> None:
        """Render the row and look in the store; only a row with something to ask becomes a task of the loop."""
        if slot.row.error is not None:
            self._fail(slot, RowError("bad_row", str(slot.row.error)), None)
            return
        try:
            asked = self._requests.of(slot.row.values, slot.index)
        except RowError as error:
            self._fail(slot, error, None)
            return
        found = {s: c for s in self._samples if (c := self._stored(asked, s)) is not None}
        self._stats.stored += len(found)
        if len(found) == len(self._samples):
            generations = [self._read(slot, asked.request, found[s]) for s in self._samples]
            if not self._asks_again() or all(g.error is None for g in generations):
                self._end(slot, generations)
                return
        task = asyncio.get_running_loop().create_task(self._do(slot, asked, found))
        self._active.add(task)
        task.add_done_callback(self._row_ended)

    def _stored(self, asked: Asked, sample: int, attempt: int = 0) -> Completion | None:
        if self._store is None:
            return None
        return self._store.get(asked.key(sample, attempt), asked.request.max_tokens)

    async def _do(self, slot: _Slot, asked: Asked, found: dict[int, Completion]) -> None:
        try:
            missing = [s for s in self._samples if s not in found]
            answers: dict[int, Completion | Failure] = {**found, **(await self._answers(asked, missing))}
            generations = await _together([partial(self._generate, slot, asked, s, answers[s]) for s in self._samples])
            self._end(slot, generations)
        except CallFailed as error:  # the run's own: a row's are answers
            failure = error.failure
            self._halt(EndpointError(failure.message if failure.mend is None else f"{failure.message}\n{failure.mend}"))
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the run, not the loop
            self._halt(error)

    async def _answers(self, asked: Asked, missing: list[int]) -> dict[int, Completion | Failure]:
        if not missing:
            return {}
        if not asked.cold:
            return await self._ask(self._target, asked, missing)
        first = self._shared.get(asked.fingerprint)
        if first is not None:
            answers = await asyncio.shield(first)
            self._stats.stored += len(missing)
            return answers
        self._shared[asked.fingerprint] = future = asyncio.ensure_future(self._ask(self._target, asked, missing))
        try:
            return await future
        finally:
            del self._shared[asked.fingerprint]

    async def _generate(self, slot: _Slot, asked: Asked, sample: int, answer: Completion | Failure) -> Generation:
        """Read a sample's reply; ask again, and then the fallback, where it is invalid and the spec says so."""
        if isinstance(answer, Failure):
            return self._unanswered(asked.request, answer)
        generation = self._read(slot, asked.request, answer)
        policy = self._task.spec.on_invalid
        for attempt in range(1, policy.retry + 1):
            if generation.error is None:
                return generation
            request = asked.request
            if policy.feedback:
                request = replace(request, messages=_with_feedback(request.messages, generation))
            again = asked.again(request)
            generation = await self._once_more(slot, self._target, again, sample, attempt, generation)
        if generation.error is not None and self._fallback is not None:
            request = self._fallback.request(
                asked.request.messages, self._task.keywords(slot.row.values, slot.index), asked.request.example
            )
            again = asked.again(request)
            generation = await self._once_more(slot, self._fallback, again, sample, 0, generation)
        return generation

    async def _once_more(
        self, slot: _Slot, target: Target, asked: Asked, sample: int, attempt: int, before: Generation
    ) -> Generation:
        answer: Completion | Failure | None = self._stored(asked, sample, attempt)
        if answer is None:
            answer = (await self._ask(target, asked, [sample], attempt))[sample]
            self._stats.invalid_retries += 1
        else:
            self._stats.stored += 1
        if isinstance(answer, Failure):  # the reply from before says more
            return before
        generation = self._read(slot, asked.request, answer)
        generation.usage = total(before.usage, generation.usage)
        return generation

    async def _ask(
        self, target: Target, asked: Asked, samples: Sequence[int], attempt: int = 0
    ) -> dict[int, Completion | Failure]:
        """A completion, or the row's failure, for each of `samples`; what the server leaves out is asked for again."""
        answers: dict[int, Completion | Failure] = {}
        pending = list(samples)
        while pending:
            calls = [partial(self._call, target, asked, group, attempt) for group in target.client.groups(pending)]
            for part in await _together(calls):
                answers |= part
            pending = [s for s in pending if s not in answers]
        return answers

    async def _call(
        self, target: Target, asked: Asked, samples: Sequence[int], attempt: int
    ) -> dict[int, Completion | Failure]:
        """One call: what came back is in the store before anyone counts it as done."""
        async with self._unkept:
            try:
                completions = await target.client.ask(asked.request, samples)
            except CallFailed as error:
                if error.failure.scope == "run":
                    raise
                return dict.fromkeys(samples, error.failure)
            self._stats.paid(completions)
            answers = dict(zip(samples, completions, strict=False))
            if self._store is not None and target.keep:
                try:
                    kept = [(asked.key(sample, attempt), completion) for sample, completion in answers.items()]
                    await self._store.put(kept, asked.request.max_tokens)
                except StoreError as error:  # the reply still goes to the output
                    self._halt(error)
            return {**answers}

    # What becomes of it

    def _asks_again(self) -> bool:
        return self._task.spec.on_invalid.retry > 0 or self._fallback is not None

    def _read(self, slot: _Slot, request: Request, completion: Completion) -> Generation:
        generation = Generation(request.model, request.messages, completion, usage=completion.usage)
        try:
            generation.columns = self._task.format_output(completion, slot.row.values, slot.index)
        except RowError as error:
            generation.error = error
        return generation

    def _unanswered(self, request: Request, failure: Failure) -> Generation:
        return Generation(request.model, request.messages, error=RowError(failure.kind, failure.message))

    def _fail(self, slot: _Slot, error: RowError, messages: list[Message] | None) -> None:
        self._end(slot, [Generation(self._target.model, messages, error=error) for _ in self._samples])

    def _end(self, slot: _Slot, generations: Sequence[Generation]) -> None:
        stats, then = self._stats, self._task.spec.on_invalid.then
        for sample, generation in enumerate(generations):
            stats.generations += 1
            if generation.completion is not None and generation.completion.finish_reason == "length":
                stats.cut += 1
            if (error := generation.error) is None:
                continue
            stats.failures[error.kind] += 1
            if len(self.failures) < FAILURES_KEPT:
                self.failures.append(Failed(slot.row.place, sample, error.kind, error.message))
            if then == "drop":
                stats.dropped += 1
            elif then == "fail" and generation.completion is not None:
                self._halt(RunError(f"{slot.row.place}: {error.message} (the spec says `on_invalid: {{then: fail}}`)"))
        slot.rows = output_rows(self._task, self._shape, slot.index, generations)
        slot.done = True

    # Ends from outside

    def _halt(self, error: BaseException) -> None:
        """Begin nothing more; the first reason stands."""
        if self._error is None:
            self._error = error
            for target in self._targets():
                target.client.stop(Failure("stopped", str(error), "run"))
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _interrupt(self) -> None:
        self._interrupts += 1
        self._halt(Interrupted("interrupted"))
        if self._interrupts > 1:
            for task in self._active:
                task.cancel()

    def _catch_signals(self) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        caught: list[signal.Signals] = []
        for number in (signal.SIGINT, signal.SIGTERM):
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
        clients = [target.client for target in self._targets()]
        self._stats.calls = sum(c.calls for c in clients)
        self._stats.retries = sum(c.retries for c in clients)
        self._stats.in_flight = sum(c.in_flight for c in clients)
        self._stats.ceiling = sum(c.ceiling for c in clients)
        if self._observe is not None:
            self._observe(self._stats)


async def _batches(rows: Iterable[Row]) -> AsyncIterator[list[Row]]:
    """Read in a thread, so that a slow disk or a far server holds up nothing else."""
    iterator = iter(rows)
    while batch := await asyncio.to_thread(lambda: list(itertools.islice(iterator, BATCH))):
        yield batch


async def _together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of all; one alone costs no task. Where one raises, the others are still waited for: they are paid."""
    if len(calls) == 1:
        return [await calls[0]()]
    results = await asyncio.gather(*(call() for call in calls), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def _with_feedback(messages: list[Message], generation: Generation) -> list[Message]:
    assert generation.completion is not None
    assert generation.error is not None
    return [
        *messages,
        {"role": "assistant", "content": generation.completion.text or ""},
        {"role": "user", "content": FEEDBACK.format(error=generation.error.message)},
    ]


def _taken_over(
    row: Row, new: list[dict[str, Any]], taken: Sequence[str], metadata_column: str
) -> tuple[Row, list[dict[str, Any]]]:
    """A row that an earlier task made: its metadata is joined to the new one, its model's name goes in there too."""
    before = row.values.get(metadata_column)
    earlier = dict(before) if isinstance(before, dict) else {}
    if MODEL_COLUMN in taken:
        earlier["input_model_name"] = row.values[MODEL_COLUMN]
    kept = {name: value for name, value in row.values.items() if name not in taken}

    def joined(made: Any) -> Any:
        return [{**earlier, **m} for m in made] if isinstance(made, list) else {**earlier, **made}

    rows = [{**columns, metadata_column: joined(columns[metadata_column])} for columns in new]
    return replace(row, values=kept, raw=None), rows
