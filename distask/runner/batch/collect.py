"""Get a run's replies through a batch API, within a day and usually at half the price.

`gather` fills the store with every reply that a run needs. The run then reads them from the store and sends no
requests. It can be interrupted at any time: the ledger tracks submitted batches, and the same command resumes.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from distask.batch_ledger import SUBMITTING, Ledger
from distask.errors import EndpointError, RunError, UsageError
from distask.llm.batch_api.client import Batches
from distask.llm.batch_api.lines import url_of
from distask.llm.client import endpoint_of
from distask.llm.config.resolve import load_config
from distask.llm.prices import known_of
from distask.llm.request import CallFailed, Failure
from distask.runner.batch.deferred import Deferred, Money
from distask.runner.batch.parts import Part, Parts, access_of, is_old_azure
from distask.runner.batch.results import Results
from distask.runner.engine.budget import CostReached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distask.batch_ledger import Record
    from distask.llm.batch_api.client import Batch
    from distask.llm.config.resolve import Resolved
    from distask.runner.job import Job
    from distask.runner.stats import Stats
    from distask.store import Store

EXPIRED = Failure("expired", "the batch's time ended before this request's turn", "retry")
NO_RESULT = Failure("no_result", "the batch came back without a result for this request", "retry")
ERRORS_SHOWN = 3
MOST_PARTS = 20
"""Maximum number of files to write before sending them; other requests wait for the next pass over the rows."""


class Left(RunError):  # noqa: N818 - not an error
    """The run stopped waiting for its batches, which are still in progress."""

    exit_code = 130


class QueueFull(EndpointError):  # noqa: N818 - not a fault
    """The provider does not accept a batch of this size at the moment."""


class BatchContext:
    """Submits and fetches the batches of one store, for any endpoint.

    Args:
        store: stores the results.
        ledger: tracks the batches.
        stats: counts the results.
        llm: the config for its own endpoint; other endpoints use the settings in their ledger records.
    """

    def __init__(self, store: Store, ledger: Ledger, stats: Stats, llm: Resolved | None = None) -> None:
        self.store, self.ledger, self.stats = store, ledger, stats
        self._llm = llm
        self._open: dict[str, Batches] = {}

    def api(self, record: Record) -> Batches:
        """Return the batch API client for a record's endpoint."""
        if record.endpoint not in self._open:
            llm = self._llm
            if llm is None or llm.endpoint() != record.endpoint:
                llm = load_config(None, contents=record.access)
            self._open[record.endpoint] = Batches(endpoint_of(llm), llm.config.limits.timeout)
        return self._open[record.endpoint]

    def close(self) -> None:
        """Close all connections."""
        for api in self._open.values():
            api.close()

    def recover(self) -> None:
        """Find batches that were being submitted when a process ended; drop those that were never created."""
        for record in self.ledger.records(open_only=True):
            if record.status != SUBMITTING or record.id is not None:
                continue
            found = self.api(record).find(record.mark)
            if found is not None:
                self._note(record, found)
                continue
            if record.input_file is not None:
                self.api(record).delete(record.input_file)
            self.ledger.drop(record.number)

    def submit(self, parts: list[tuple[Record, Path]]) -> None:
        """Upload request files and create their batches; on an error, drops the batches that were not created."""
        for place, (record, path) in enumerate(parts):
            api, file = self.api(record), None
            try:
                file = api.upload(path)
                self.ledger.uploaded(record.number, file)
                path.unlink()
                url = url_of(record.route, azure=is_old_azure(record.access))
                self._note(record, api.create(file, url, record.mark, record.task))
            except CallFailed as error:
                unknown = file is not None and error.failure.scope == "retry"
                for lost, _ in parts[place + unknown :]:
                    self.ledger.drop(lost.number)
                raise EndpointError(_explained(error.failure)) from None

    def look(self, record: Record) -> tuple[Record, Batch]:
        """Get the current status of a batch."""
        assert record.id is not None
        batch = self.api(record).get(record.id)
        return self._note(record, batch), batch

    def end(self, record: Record, batch: Batch) -> RunError | None:
        """Fetch a batch that has ended; returns the error that ends the run, if any."""
        if batch.status == "failed":  # the provider did not start it
            self.ledger.release(record.number)
            if batch.input_file is not None:
                self.api(record).delete(batch.input_file)
            words = "; ".join(error.message for error in batch.errors[:ERRORS_SHOWN]) or "no reason given"
            full = batch.errors and all(error.scope == "retry" for error in batch.errors)
            return (QueueFull if full else EndpointError)(f"the provider rejected batch {record.id}: {words}")
        results = self._fetch(record, batch)
        if results.fatal is not None:
            return EndpointError(_explained(results.fatal))
        if batch.status == "cancelled":
            return RunError(f"batch {record.id} was cancelled; replies received before that are in the store")
        return None

    def _fetch(self, record: Record, batch: Batch) -> Results:
        """Store the results of a batch and delete its files at the provider."""
        api = self.api(record)
        parameters = () if self._llm is None else (*self._llm.generation, "response_format", "tools")
        results = Results(self.store, self.ledger, self.stats, parameters)
        with tempfile.TemporaryDirectory(dir=self.store.path.parent, prefix="results-") as folder:
            files = [Path(folder) / str(place) for place in range(len(batch.result_files))]
            try:
                for file, path in zip(batch.result_files, files, strict=True):
                    api.download(file, path)
            except CallFailed as error:
                if self.ledger.record(record.number).fetched is not None:  # another process fetched and deleted them
                    return results
                raise EndpointError(_explained(error.failure)) from None
            results.read(files, [record], api.situation)
        unanswered = {"expired": EXPIRED, "completed": NO_RESULT}.get(batch.status)
        if unanswered is None:
            results.answers |= {e.key: None for e in self.ledger.waiting(record.number) if e.key not in results.answers}
        self.ledger.settle(record.number, results.answers, unanswered or NO_RESULT)
        for ours in filter(None, (batch.input_file, *batch.result_files)):
            api.delete(ours)
        return results

    def cancel(self, record: Record) -> Batch | None:
        """Cancel a batch at the provider; returns None and drops the batch if the provider never had it."""
        if record.id is None:
            self.ledger.drop(record.number)
            return None
        batch = self.api(record).cancel(record.id)
        self._note(record, batch)
        return batch

    def _note(self, record: Record, batch: Batch) -> Record:
        self.ledger.update_status(record.number, id=batch.id, status=batch.status, done=batch.done, failed=batch.failed)
        return self.ledger.record(record.number)


class Rounds:
    """Collects, submits, waits for and fetches one run's batches until the store has every reply.

    Args:
        context: submits and fetches batches.
        llm: the run's config.
        task: the task's name.
        collect: processes all rows with the given object instead of the endpoint.
        wait: whether to wait for batches; if not, raises `Left` while some are in progress.
        limit: what may be spent; None for no limit.
        observe: called regularly with the counts.
        notify: called with messages for the user.
    """

    def __init__(
        self,
        context: BatchContext,
        llm: Resolved,
        task: str,
        collect: Callable[[Deferred], object],
        *,
        wait: bool = True,
        limit: Money | None = None,
        observe: Callable[[Stats], None] | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._context, self._llm, self._task = context, llm, task
        self._collect, self._wait, self._limit = collect, wait, limit
        self._observe, self._tell = observe, notify or (lambda _: None)
        self._most: int | None = None
        self._noted: set[str] = set()

    def gather(self) -> Deferred:
        """Fill the store; returns the final failures, which the run that follows uses as answers."""
        try:
            while (last := self._round()) is None:
                pass
        except KeyboardInterrupt:
            raise Left(self._where()) from None
        except CallFailed as error:
            raise EndpointError(_explained(error.failure)) from None
        return Deferred(self._context.ledger, None, unwritten=last.unwritten)

    def _round(self) -> Deferred | None:
        """Submit missing requests and fetch finished batches; returns a result once nothing is left to do."""
        with submitting(self._context.store.path) as folder:
            self._context.recover()
            if self._limit is not None:
                self._limit.begin()
            made: list[tuple[Record, Path]] = []

            def full(part: Part) -> None:
                assert part.path is not None
                made.append((enter(self._context.ledger, self._task, part), part.path))

            parts = Parts(
                lambda number: folder / f"{number}.jsonl", full, most=self._most, room=MOST_PARTS, notify=self._note
            )
            deferred = Deferred(self._context.ledger, parts, self._limit)
            self._collect(deferred)
            parts.close()
            self._context.submit(made)
        waiting = deferred.waiting | {record.number for record, _ in made}
        if not waiting:
            if deferred.left:
                raise CostReached("the next request may cost more than --max-cost leaves")
            return deferred
        self._fetch_all(waiting)
        return None

    def _note(self, line: str) -> None:
        """Show a message once, even if it comes up in every round."""
        if line not in self._noted:
            self._noted.add(line)
            self._tell(line)

    def _fetch_all(self, numbers: set[int]) -> None:
        """Fetch each batch as it ends; raises an error only after all finished batches are in the store."""
        fatal: RunError | None = None
        while True:
            numbers &= {record.number for record in self._context.ledger.records(open_only=True)}
            self._show(numbers)
            fetched = False
            for record in self._records(numbers):
                ended, why = self._fetched(record)
                fetched |= ended
                fatal = fatal or why
            numbers &= {record.number for record in self._context.ledger.records(open_only=True)}
            self._show(numbers)
            if fatal is not None:
                raise fatal
            if not numbers:
                self._context.stats.batches = ()
                return
            if not self._wait:
                if fetched:
                    return
                raise Left(self._where())
            time.sleep(self._llm.config.limits.batch_poll)

    def _fetched(self, record: Record) -> tuple[bool, RunError | None]:
        """Fetch a batch if it has ended; returns whether it did, and the error that ends the run, if any."""
        try:
            record, batch = self._context.look(record)
        except CallFailed as error:
            if error.failure.scope != "retry":
                raise
            self._tell(f"batch {record.id}: {error.failure.message}; retrying")
            return False, None
        if not batch.ended:
            return False, None
        why = self._context.end(record, batch)
        if isinstance(why, QueueFull) and record.requests > 1:
            self._most = max(1, record.requests // 2)
            self._tell(f"{why}; the next batches are half as large")
            return True, None
        return True, why

    def _records(self, numbers: set[int]) -> list[Record]:
        return [record for record in self._context.ledger.records(open_only=True) if record.number in numbers]

    def _show(self, numbers: set[int]) -> None:
        self._context.stats.batches = tuple(self._records(numbers))
        if self._observe is not None:
            self._observe(self._context.stats)

    def _where(self) -> str:
        batches = self._context.stats.batches
        requests, done = sum(b.requests for b in batches), sum(b.done for b in batches)
        several = "1 batch is" if len(batches) == 1 else f"{len(batches)} batches are"
        return f"{several} in progress, {done:,} of {requests:,} requests done" if batches else "interrupted"


@contextlib.contextmanager
def submitting(store: Path) -> Iterator[Path]:
    """Create a folder for request files and lock the store, so that no other process submits batches from it."""
    from filelock import FileLock, Timeout

    lock = FileLock(store.with_name(f"{store.name}.batch.lock"), mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        parts = "another run is submitting batches from this store; wait for it to finish, then run again"
        raise UsageError(f"{store}: {parts}") from None
    folder = store.with_name(f"{store.name}.batch")
    try:
        shutil.rmtree(folder, ignore_errors=True)  # left by a killed run
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def gather(
    context: BatchContext,
    job: Job,
    collect: Callable[[Deferred], object],
    observe: Callable[[Stats], None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> Deferred:
    """Get all replies of a job into the store through batches; returns the answers for the run that follows.

    Args:
        context: submits and fetches batches.
        job: the job.
        collect: processes all rows with the given object instead of the endpoint.
        observe: called regularly with the counts.
        notify: called with messages for the user.

    Raises:
        Left: batches are in progress, and the job does not wait for them.
        RunError: the run can't continue.
    """
    limit = None if job.max_cost is None else Money(job.max_cost, context.stats)
    try:
        rounds = Rounds(
            context, job.llm, job.task.name, collect, wait=job.wait, limit=limit, observe=observe, notify=notify
        )
        return rounds.gather()
    finally:
        context.close()


def enter(ledger: Ledger, task: str, part: Part, status: str = SUBMITTING) -> Record:
    """Add a part's requests to the ledger; no other run sends them after that."""
    price = known_of(part.llm, batch=True).price
    return ledger.submit(
        part.entries,
        endpoint=part.endpoint,
        access=access_of(part.llm),
        task=task,
        model=part.model,
        route=part.route,
        price=None if price is None else price.model_dump(exclude_defaults=True),
        status=status,
    )


def refuse_to_ask_twice(ledger: Ledger, job: Job) -> None:
    """Raise `UsageError` if requests of this task and model are in batches: a normal run would pay for them twice."""
    this = (job.task.name, job.llm.endpoint(), job.llm.config.model)
    waiting = [r for r in ledger.records(open_only=True) if (r.task, r.endpoint, r.model) == this]
    if waiting:
        requests = sum(record.requests for record in waiting)
        raise UsageError(
            f"{requests:,} requests of this task are in batches and would be paid for twice; no requests were sent.\n"
            "Add --batch to get their replies, or cancel them with distask batch cancel. "
            "To list them, run distask batch status."
        )


def _explained(failure: Failure) -> str:
    return failure.message if failure.hint is None else f"{failure.message}\n{failure.hint}"
