"""Run a job in this process, on one event loop, and write its record."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from distask.batch_ledger import Ledger
from distask.data.writers import open_output
from distask.errors import RowError, RunError, UsageError
from distask.formatting import several
from distask.llm.prices import known_of
from distask.llm.tokens import estimate_tokens
from distask.llm.tracing import run_span
from distask.run_ledger import recorded
from distask.runner.batch.collect import BatchContext, gather, refuse_to_ask_twice
from distask.runner.batch.deferred import NullWriter
from distask.runner.engine.calls import Calls
from distask.runner.engine.engine import Engine
from distask.runner.engine.loop import run_loop
from distask.runner.engine.one_task import OneTask
from distask.runner.engine.segments import run_pipeline
from distask.runner.engine.shared import Shared
from distask.runner.engine.step_calls import Targets
from distask.runner.generations import output_schemas
from distask.runner.job import Result
from distask.runner.provenance.section import provenance_of, without_paths
from distask.runner.record import claim, describe_run, record_path, refuse_to_replace, write_record
from distask.runner.stats import MOST_RUNS, Stats
from distask.runner.targets import budget_of, fallback, target, targets_of
from distask.task.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from distask.data.input import Input
    from distask.data.readers.blocks import Block
    from distask.data.row import Row
    from distask.data.writers import Writer
    from distask.runner.batch.deferred import Deferred
    from distask.runner.engine.shared import Failed
    from distask.runner.job import Job
    from distask.store import Store
    from distask.task.task import Task


PLACES_KEPT = 3
CHARACTERS_PER_TOKEN = 2
"""Rows with fewer characters than this per context token are not rendered, since they are almost never too long."""


class LongRows:
    """Counts rows that are too long; `context` is the model's context in tokens, None if unknown."""

    def __init__(self, task: Task, context: int | None) -> None:
        self.context = context
        self.count = 0
        self._task = task
        self._places: list[str] = []

    def block(self, block: Block) -> None:
        """Count the rows of a block whose chats are too long."""
        assert self.context is not None
        if len(block.data) < self.context * CHARACTERS_PER_TOKEN:
            return
        for number in range(len(block.values)):
            if len(block.raw(number)) >= self.context * CHARACTERS_PER_TOKEN:
                self.row(block.row(number))

    def row(self, row: Row) -> None:
        """Count the row if its chat is too long."""
        assert self.context is not None
        if _characters(row) < self.context * CHARACTERS_PER_TOKEN:
            return
        try:
            tokens = estimate_tokens(self._task.format_input(row.values, row.index))
        except RowError:
            return
        if tokens > self.context:
            self.count += 1
            if len(self._places) < PLACES_KEPT:
                self._places.append(f"{row.place} (about {tokens:,} tokens)")

    def describe(self) -> str:
        """Return the warning for the user."""
        more = f" and {self.count - len(self._places):,} more" if self.count > len(self._places) else ""
        rows = "1 row is" if self.count == 1 else f"{self.count:,} rows are"
        return (
            f"{rows} longer than the model's context of {self.context:,} tokens, and will probably fail: "
            f"{', '.join(self._places)}{more}"
        )


def _characters(row: Row) -> int:
    if row.raw is not None:
        return len(row.raw)
    return sum(len(value) for value in row.values.values() if isinstance(value, str))


class ReplySource(Protocol):
    """Gets all replies of a job into the store; returns the answers for the run that follows."""

    def __call__(
        self,
        context: BatchContext,
        job: Job,
        collect: Callable[[Deferred], object],
        observe: Callable[[Stats], None] | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> Deferred:
        """See `distask.runner.batch.collect.gather`."""


def run_here(
    job: Job,
    observe: Callable[[Stats], None] | None = None,
    notify: Callable[[str], None] | None = None,
    bring: ReplySource | None = None,
) -> Result:
    """Run a job in this process; see `run.run`. With `bring`, which gets the replies, sends no requests itself."""
    with run_span(job.task.name, job.llm.config.model):
        return _run(job, observe, notify, bring)


def _run(
    job: Job,
    observe: Callable[[Stats], None] | None,
    notify: Callable[[str], None] | None,
    bring: ReplySource | None,
) -> Result:
    with ExitStack() as until_sent:
        return _run_recorded(job, until_sent, observe, notify, bring)


def _run_recorded(
    job: Job,
    until_sent: ExitStack,
    observe: Callable[[Stats], None] | None,
    notify: Callable[[str], None] | None,
    bring: ReplySource | None,
) -> Result:
    """Run a job; `until_sent` ends when its output is complete and has been sent."""
    rows = examine(job, notify)
    earlier_notes = rows.notes if notify is not None else []
    path, far = job.output_path(), job.destination()
    stats = Stats(total=rows.count, layout=[], most_runs=None if job.selection.shard else MOST_RUNS)
    writer = ListWriter() if job.output is None else _open_output(job, path)
    try:
        with job.open_store() or nullcontext() as store:
            if store is not None:
                until_sent.enter_context(recorded(store, job.identity(), path, targets_of(job)))
            with replies(
                job, rows, store, stats, observe, notify, bring or (gather if job.batch else None)
            ) as deferred:
                failures = run_rows(job, rows, writer, store, stats, observe, notify, deferred)
            damaged = 0 if store is None else store.damaged
    except BaseException as error:
        writer.abort()
        if isinstance(error, RunError):
            error.stats, error.partial = stats, writer.partial
        raise
    notes = [*writer.notes, *(note for note in rows.notes if note not in earlier_notes)]
    if damaged:
        were = "was" if damaged == 1 else "were"
        notes.append(f"{several(damaged, 'reply')} in the store {were} damaged and had to be requested again")
    if rows.changed():
        notes.append(f"{rows.name} changed during the run; run again to process the current rows")
    address = None
    if path is not None:
        provenance = provenance_of(job, rows, stats, path)
        _write_record(job, path, writer.checksum, rows, provenance, stats, failures)
        if far is not None:
            address = far.send(record_path(path), described(job, provenance, stats))
    rows_made, indexes = (writer.rows, writer.indexes) if isinstance(writer, ListWriter) else (None, None)
    return Result(stats, path, rows_made, failures, notes, indexes, address)


def _looked_through(job: Job, notify: Callable[[str], None] | None) -> Input:
    """Scan the input; warns about rows that are too long for the model."""
    if isinstance(job.task, Pipeline):
        return job.open_input()
    long_rows = LongRows(job.task, known_of(job.llm).context)
    rows = job.open_input(long_rows if long_rows.context else None)
    if notify is not None and long_rows.count:
        notify(long_rows.describe())
    return rows


def examine(job: Job, notify: Callable[[str], None] | None = None) -> Input:
    """Check the data and the output before the first request.

    Raises:
        UsageError: the data is wrong, or the output can't be replaced.
    """
    rows = _looked_through(job, notify)
    if notify is not None:
        for note in rows.notes:
            notify(note)
    path, far = job.output_path(), job.destination()
    if far is not None:
        far.check(overwrite=job.overwrite)
    if path is not None:
        refuse_to_replace(path, job.identity(), overwrite=job.overwrite)
    if isinstance(job.task, Pipeline) and job.segment is None:
        job.task.prepare(notify)
    return rows


def check_prices(job: Job) -> None:
    """Raise `UsageError` if the job has a cost limit and a price that it needs is unknown; sends nothing."""
    if job.max_cost is None:
        return
    stats = Stats()
    if isinstance(job.task, Pipeline):
        targets = Targets(job.llm, Shared(stats, budget_of(job.max_cost, stats)), need_key=False)
        for wanted in job.task.asked:
            targets.of(*wanted)
        return
    first = target(job.llm)
    budget_of(job.max_cost, stats, first, fallback(job.task, job.llm, first))


@contextmanager
def replies(
    job: Job,
    rows: Input,
    store: Store | None,
    stats: Stats,
    observe: Callable[[Stats], None] | None,
    notify: Callable[[str], None] | None,
    bring: ReplySource | None,
) -> Iterator[Deferred | None]:
    """Yield what answers a run instead of the endpoint: None for a normal run, batch results for a batch run.

    Raises:
        UsageError: the config has no batches, or requests of a normal run are in batches.
        Left: batches are in progress.
    """
    if bring is not None and job.llm.config.provider not in ("openai", "azure"):
        raise UsageError(f"batches need a server; {job.llm.config.provider} is not a server. Choose another config")
    if bring is not None and store is None:
        raise UsageError("batches need the store; remove --no-store")
    if store is None:
        yield None
        return
    notify_once = None if notify is None else cache(notify)  # each batch round has its own client
    with Ledger(store.path, store.journal) as ledger:
        if bring is None:
            refuse_to_ask_twice(ledger, job)
            yield None
            return
        deferred = bring(
            BatchContext(store, ledger, stats, job.llm),
            job,
            lambda deferred: run_rows(job, rows, NullWriter(), store, Stats(), notify=notify_once, deferred=deferred),
            observe,
            notify,
        )
        yield deferred
        stats.stored = max(0, stats.stored - stats.completions)
        ledger.forget(deferred.failed)


def run_rows(
    job: Job,
    rows: Input,
    writer: Writer,
    store: Store | None,
    stats: Stats,
    observe: Callable[[Stats], None] | None = None,
    notify: Callable[[str], None] | None = None,
    deferred: Deferred | None = None,
) -> list[Failed]:
    """Process all rows once; returns the first failures. With `deferred` calls, sends no requests."""

    async def work() -> list[Failed]:
        if isinstance(job.task, Pipeline):
            return await run_pipeline(job, job.task, rows, writer, store, stats, observe, notify, deferred)
        concurrency = job.llm.config.limits.concurrency
        endpoint_target = target(job.llm, notify)
        last = fallback(job.task, job.llm, endpoint_target)
        stats.priced |= endpoint_target.price is not None
        budget = budget_of(job.max_cost, stats, endpoint_target, last, leased=job.governor is not None)
        shared = Shared(stats, budget)
        shared.deferred = deferred
        calls = Calls(job.task, job.shape.num_generations, endpoint_target, store, shared, fallback=last)
        watch = observe if job.governor is None else job.governor.watching(shared, observe)
        engine = Engine(OneTask(calls, endpoint_target, job.shape), shared, concurrency=concurrency, observe=watch)
        await engine.run(rows, writer)
        return shared.failures

    try:
        return run_loop(work)
    finally:
        stats.skipped = rows.skipped
        stats.end()


def _open_output(job: Job, path: Path | None) -> Writer:
    if path is None:
        return open_output("-")
    if job.carries_rows:
        from distask.runner.cluster.carried import CarriedWriter

        return CarriedWriter(path)
    if job.writes_folder:
        from distask.data.writers.parts import PartsWriter

        writer = PartsWriter(path, output_schemas(job.task, job.shape))
        claim(path, job.identity(), None)
        return writer
    return open_output(
        str(path),
        lambda checksum: claim(path, job.identity(), checksum),
        escape_formulas=job.escape_formulas,
        schemas=output_schemas(job.task, job.shape),
    )


def _write_record(
    job: Job,
    path: Path,
    checksum: str | None,
    rows: Input,
    provenance: dict[str, Any],
    stats: Stats,
    failures: Sequence[Failed],
) -> None:
    write_record(
        path,
        identity=job.identity(),
        checksum=checksum,
        spec=_spec(job),
        settings={**_settings(job), "price": _price(job)},
        columns={"input": rows.columns, "metadata": job.shape.metadata_column},
        provenance=provenance,
        stats=stats,
        failures=failures,
    )


def described(job: Job, provenance: dict[str, Any], stats: Stats) -> dict[str, Any]:
    """Describe a run for readers on other machines."""
    public = without_paths(provenance)
    return describe_run(job.identity(), _spec(job), _settings(job), job.llm.generation, public, stats)


def _spec(job: Job) -> dict[str, Any]:
    return job.task.spec.model_dump(exclude_unset=True, by_alias=True)


def _settings(job: Job) -> dict[str, Any]:
    return {
        "params": job.task.params,
        "seed": job.task.seed,
        "num_generations": job.shape.num_generations,
        "group_generations": job.shape.grouped,
        "config": {key: {"value": value, "from": origin} for key, value, origin in job.llm.show()},
    }


def _price(job: Job) -> dict[str, Any] | None:
    price = known_of(job.llm, batch=job.batch).price
    return None if price is None else price.model_dump(exclude_defaults=True)


class ListWriter:
    """A writer for the Python API that keeps rows in a list."""

    partial: Path | None = None
    checksum: str | None = None

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.indexes: list[int] = []
        self.notes: list[str] = []

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Keep a row."""
        self.rows.append({**row.values, **new})
        self.indexes.append(row.index)

    def commit(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""
