"""Get a run's replies by batches: at half the price, within a day.

`gather` fills the store with all that a run needs; the run itself is then a plain one, and asks nothing. It can be left
at any moment: what is with the provider is in the ledger, and the same command comes back to it.
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
"""Files that are written before any is sent: more requests wait for the next time that the rows are gone through."""


class Left(RunError):  # noqa: N818 - nothing went wrong
    """Batches are under way and are not waited for any more."""

    exit_code = 130


class QueueFull(EndpointError):  # noqa: N818 - the fault is nobody's
    """The provider takes no batch of this size for now."""


class BatchContext:
    """Where batches of any endpoint are sent from and fetched to, for one store.

    Args:
        store: where results go.
        ledger: what is under way.
        stats: where results are counted.
        llm: the config whose endpoints are reached; those of other records are reached as the record says.
    """

    def __init__(self, store: Store, ledger: Ledger, stats: Stats, llm: Resolved | None = None) -> None:
        self.store, self.ledger, self.stats = store, ledger, stats
        self._llm = llm
        self._open: dict[str, Batches] = {}

    def api(self, record: Record) -> Batches:
        """Files and Batches of a record's endpoint."""
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
        """Find the batches that were being submitted when a process ended; forget those that did not come to be."""
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
        """Send files of requests, and begin their batches; those that can't be are forgotten before it is raised."""
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
                raise EndpointError(_told(error.failure)) from None

    def look(self, record: Record) -> tuple[Record, Batch]:
        """How a batch is now."""
        assert record.id is not None
        batch = self.api(record).get(record.id)
        return self._note(record, batch), batch

    def end(self, record: Record, batch: Batch) -> RunError | None:
        """Fetch a batch that has ended; gives what ends the run that it is of, where something does."""
        if batch.status == "failed":  # the provider did not begin it
            self.ledger.release(record.number)
            if batch.input_file is not None:
                self.api(record).delete(batch.input_file)
            words = "; ".join(error.message for error in batch.errors[:ERRORS_SHOWN]) or "no reason given"
            full = batch.errors and all(error.scope == "retry" for error in batch.errors)
            return (QueueFull if full else EndpointError)(f"batch {record.id} was refused: {words}")
        results = self._fetch(record, batch)
        if results.fatal is not None:
            return EndpointError(_told(results.fatal))
        if batch.status == "cancelled":
            return RunError(f"batch {record.id} was cancelled; what it had answered is in the store")
        return None

    def _fetch(self, record: Record, batch: Batch) -> Results:
        """Put the results of a batch into the store, and delete its files at the provider."""
        api = self.api(record)
        parameters = () if self._llm is None else (*self._llm.generation, "response_format", "tools")
        results = Results(self.store, self.ledger, self.stats, parameters)
        with tempfile.TemporaryDirectory(dir=self.store.path.parent, prefix="results-") as folder:
            files = [Path(folder) / str(place) for place in range(len(batch.result_files))]
            try:
                for file, path in zip(batch.result_files, files, strict=True):
                    api.download(file, path)
            except CallFailed as error:
                if self.ledger.record(record.number).fetched is not None:  # by another process, which deleted them
                    return results
                raise EndpointError(_told(error.failure)) from None
            results.read(files, [record], api.situation)
        unanswered = {"expired": EXPIRED, "completed": NO_RESULT}.get(batch.status)
        if unanswered is None:
            results.answers |= {e.key: None for e in self.ledger.waiting(record.number) if e.key not in results.answers}
        self.ledger.settle(record.number, results.answers, unanswered or NO_RESULT)
        for ours in filter(None, (batch.input_file, *batch.result_files)):
            api.delete(ours)
        return results

    def cancel(self, record: Record) -> Batch | None:
        """Ask the provider to end a batch; None where it never had it, and it is forgotten."""
        if record.id is None:
            self.ledger.drop(record.number)
            return None
        batch = self.api(record).cancel(record.id)
        self._note(record, batch)
        return batch

    def _note(self, record: Record, batch: Batch) -> Record:
        self.ledger.told(record.number, id=batch.id, status=batch.status, done=batch.done, failed=batch.failed)
        return self.ledger.record(record.number)


class Rounds:
    """One run's batches: written down, submitted, waited for, fetched, until the store has every reply.

    Args:
        desk: where they are sent from.
        llm: the run's config.
        task: the task's name.
        collect: goes through all rows, with this in the place of the endpoint.
        wait: whether to wait; else `Left` is raised where not all is back.
        limit: what may be submitted; None for all.
        observe: called now and then with the counts.
        notify: given sentences that the user should know.
    """

    def __init__(
        self,
        desk: BatchContext,
        llm: Resolved,
        task: str,
        collect: Callable[[Deferred], object],
        *,
        wait: bool = True,
        limit: Money | None = None,
        observe: Callable[[Stats], None] | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._desk, self._llm, self._task = desk, llm, task
        self._collect, self._wait, self._limit = collect, wait, limit
        self._observe, self._tell = observe, notify or (lambda _: None)
        self._most: int | None = None
        self._noted: set[str] = set()

    def gather(self) -> Deferred:
        """What answers the run that follows: nothing but the failures that are final."""
        try:
            while (last := self._round()) is None:
                pass
        except KeyboardInterrupt:
            raise Left(self._where()) from None
        except CallFailed as error:
            raise EndpointError(_told(error.failure)) from None
        return Deferred(self._desk.ledger, None, unwritten=last.unwritten)

    def _round(self) -> Deferred | None:
        """Submit what is missing, and fetch what is ready; the last round, which finds nothing to do, is given back."""
        with submitting(self._desk.store.path) as folder:
            self._desk.recover()
            if self._limit is not None:
                self._limit.begin()
            made: list[tuple[Record, Path]] = []

            def full(part: Part) -> None:
                assert part.path is not None
                made.append((enter(self._desk.ledger, self._task, part), part.path))

            parts = Parts(
                lambda number: folder / f"{number}.jsonl", full, most=self._most, room=MOST_PARTS, notify=self._note
            )
            deferred = Deferred(self._desk.ledger, parts, self._limit)
            self._collect(deferred)
            parts.close()
            self._desk.submit(made)
        waiting = deferred.waiting | {record.number for record, _ in made}
        if not waiting:
            if deferred.left:
                raise CostReached("the next request may cost more than --max-cost leaves")
            return deferred
        self._fetch_all(waiting)
        return None

    def _note(self, line: str) -> None:
        """Pass on a line that may come in every round."""
        if line not in self._noted:
            self._noted.add(line)
            self._tell(line)

    def _fetch_all(self, numbers: set[int]) -> None:
        """Fetch each batch as it ends; the run ends after all that are ready are in the store."""
        fatal: RunError | None = None
        while True:
            numbers &= {record.number for record in self._desk.ledger.records(open_only=True)}
            self._show(numbers)
            fetched = False
            for record in self._records(numbers):
                ended, why = self._fetched(record)
                fetched |= ended
                fatal = fatal or why
            numbers &= {record.number for record in self._desk.ledger.records(open_only=True)}
            self._show(numbers)
            if fatal is not None:
                raise fatal
            if not numbers:
                self._desk.stats.batches = ()
                return
            if not self._wait:
                if fetched:
                    return
                raise Left(self._where())
            time.sleep(self._llm.config.limits.batch_poll)

    def _fetched(self, record: Record) -> tuple[bool, RunError | None]:
        """Whether a batch has ended and is fetched, and what that means for the run."""
        try:
            record, batch = self._desk.look(record)
        except CallFailed as error:
            if error.failure.scope != "retry":
                raise
            self._tell(f"batch {record.id}: {error.failure.message}; looking again")
            return False, None
        if not batch.ended:
            return False, None
        why = self._desk.end(record, batch)
        if isinstance(why, QueueFull) and record.requests > 1:
            self._most = max(1, record.requests // 2)
            self._tell(f"{why}; batches are half as large from here on")
            return True, None
        return True, why

    def _records(self, numbers: set[int]) -> list[Record]:
        return [record for record in self._desk.ledger.records(open_only=True) if record.number in numbers]

    def _show(self, numbers: set[int]) -> None:
        self._desk.stats.batches = tuple(self._records(numbers))
        if self._observe is not None:
            self._observe(self._desk.stats)

    def _where(self) -> str:
        batches = self._desk.stats.batches
        requests, done = sum(b.requests for b in batches), sum(b.done for b in batches)
        several = "a batch is" if len(batches) == 1 else f"{len(batches)} batches are"
        return f"{several} with the provider, {done:,} of {requests:,} requests done" if batches else "interrupted"


@contextlib.contextmanager
def submitting(store: Path) -> Iterator[Path]:
    """A folder for files of requests; while it is there, no other process puts requests of this store into batches."""
    from filelock import FileLock, Timeout

    lock = FileLock(store.with_name(f"{store.name}.batch.lock"), mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        said = "another run is submitting batches from this store; run again when it has"
        raise UsageError(f"{store}: {said}") from None
    folder = store.with_name(f"{store.name}.batch")
    try:
        shutil.rmtree(folder, ignore_errors=True)  # what a killed run left
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def gather(
    desk: BatchContext,
    job: Job,
    collect: Callable[[Deferred], object],
    observe: Callable[[Stats], None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> Deferred:
    """Bring all replies of a job into the store; gives what answers the run that follows.

    Args:
        desk: where batches are sent from.
        job: what is done.
        collect: goes through all rows, with this in the place of the endpoint.
        observe: called now and then with the counts.
        notify: given sentences that the user should know.

    Raises:
        Left: batches are under way, and not waited for.
        RunError: why it can't go on.
    """
    limit = None if job.max_cost is None else Money(job.max_cost, desk.stats)
    try:
        rounds = Rounds(
            desk, job.llm, job.task.name, collect, wait=job.wait, limit=limit, observe=observe, notify=notify
        )
        return rounds.gather()
    finally:
        desk.close()


def enter(ledger: Ledger, task: str, part: Part, status: str = SUBMITTING) -> Record:
    """Put a part's requests into the ledger: no other run asks them from then on."""
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
    """Raise `UsageError` where requests of this task and model wait in batches: a plain run would pay them twice."""
    this = (job.task.name, job.llm.endpoint(), job.llm.config.model)
    waiting = [r for r in ledger.records(open_only=True) if (r.task, r.endpoint, r.model) == this]
    if waiting:
        requests = sum(record.requests for record in waiting)
        raise UsageError(
            f"{requests:,} requests of this task are in batches, and would be paid twice; nothing was asked.\n"
            "Add --batch to get their replies, or end them: distask batch cancel; distask batch status tells of them."
        )


def _told(failure: Failure) -> str:
    return failure.message if failure.mend is None else f"{failure.message}\n{failure.mend}"
