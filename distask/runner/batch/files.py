"""Export requests as batch files and import results, for batches that run elsewhere, such as `vllm run-batch`.

An export writes the requests that a run would send now. The `custom_id` of a result is the key of its request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from distask.batch_ledger import IMPORTING, Ledger
from distask.errors import EndpointError, InputError, UsageError
from distask.llm.pacing.failure_rules import Situation
from distask.llm.request import Failure
from distask.runner.batch.collect import enter, submitting
from distask.runner.batch.deferred import WAITS, Deferred, NullWriter
from distask.runner.batch.parts import Part, Parts
from distask.runner.batch.results import Results
from distask.runner.local import run_rows
from distask.runner.stats import Stats

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from distask.batch_ledger import Record
    from distask.runner.batch.collect import BatchContext
    from distask.runner.job import Job

MISSING = Failure("no_result", "the results have no line for this request", "row")


class Exported(Struct):
    """Summary of an export."""

    files: list[tuple[Path, int]] = field(default_factory=list)
    """Each file with its number of requests."""
    rows: int = 0
    stored: int = 0
    """Number of replies that the store already has."""
    waiting: int = 0
    """Number of batches that contain requests of this run; these requests are not exported."""
    failures: Counter[str] = field(default_factory=lambda: Stats().failures)
    """Number of rows without a valid request, by kind of error."""
    notes: list[str] = field(default_factory=list)
    """Messages for the user about the data and the requests."""


def export(job: Job, output: Path) -> Exported:
    """Write the requests of a job that the store has no replies for, in files that respect the config's limits.

    Raises:
        UsageError: the model is not set, a file already exists, or the spec or the data is wrong.
    """
    check_exchange(job)
    rows = job.open_input()
    made, stats = Exported(), Stats(total=rows.count)

    def place(number: int) -> Path:
        path = output if number == 0 else output.with_name(f"{output.stem}-{number + 1}{output.suffix}")
        if path.exists() and not job.overwrite:
            raise UsageError(f"{path} already exists; choose another file with --output or replace it with --overwrite")
        return path.with_name(path.name + ".partial")

    def full(part: Part) -> None:
        assert part.path is not None
        path = part.path.with_name(part.path.name.removesuffix(".partial"))
        made.files.append((path, len(part.entries)))

    place(0)
    store = job.open_store()
    assert store is not None
    with store, Ledger(store.path) as ledger:
        parts = Parts(place, full, notify=made.notes.append)
        deferred = Deferred(ledger, parts)
        run_rows(job, rows, NullWriter(), store, stats, deferred=deferred)
        parts.close()
    for path, _ in made.files:
        path.with_name(path.name + ".partial").replace(path)
    made.rows, made.stored, made.waiting = stats.rows, stats.stored, len(deferred.waiting)
    made.failures = stats.failures
    made.notes += rows.notes
    del made.failures[WAITS.kind]
    return made


def take_in(
    context: BatchContext,
    job: Job,
    collect: Callable[[Deferred], object],
    observe: Callable[[Stats], None] | None = None,  # noqa: ARG001 - interface of `ReplySource`
    notify: Callable[[str], None] | None = None,
    *,
    files: Sequence[Path],
) -> Deferred:
    """Import results from files into the store, for `run_here`; a row without a result fails.

    Raises:
        InputError: a file does not exist, or no line answers a request of this job.
        EndpointError: all requests failed for the same reason.
    """
    check_exchange(job)
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: file not found")
    ledger, results = context.ledger, Results(context.store, context.ledger, context.stats)
    with submitting(context.store.path):
        for record in ledger.records(open_only=True):
            if record.status == IMPORTING:  # left by a killed process
                ledger.drop(record.number)
        records: list[Record] = []
        parts = Parts(lambda _: None, lambda part: records.append(enter(ledger, job.task.name, part, IMPORTING)))
        collect(Deferred(ledger, parts))
        parts.close()
        try:
            results.read(files, records, Situation())
            for record in records:
                ledger.settle(record.number, results.answers, MISSING)
        finally:
            for record in records:
                ledger.drop(record.number)
    if results.fatal is not None:
        raise EndpointError(results.fatal.message)
    if results.strangers and not results.answers and records:
        raise InputError(
            f"{', '.join(map(str, files))}: no line answers a request of this run; "
            "use the same SPEC, --input, --model and --base-url as in the export"
        )
    if results.strangers and notify is not None:
        notify(f"{results.strangers:,} result lines don't match an open request of this run")
    return Deferred(ledger, None)


def check_exchange(job: Job) -> None:
    """Raise `UsageError` if the config does not support batch files."""
    if job.llm.config.provider not in ("openai", "azure"):
        raise UsageError(f"batch files need a server; {job.llm.config.provider} is not a server. Choose another config")
    if job.llm.config.model is None:
        raise UsageError("a batch file needs a model name: set --model NAME, or `model` in the config")
