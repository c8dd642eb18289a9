"""Run a pipeline segment by segment, with a temporary file for the rows between segments.

Rows wait only at a barrier, which needs all of them. Waiting rows and their keys are on disk.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from itertools import pairwise
from typing import TYPE_CHECKING

from distask.errors import UsageError
from distask.runner.engine.engine import Engine
from distask.runner.engine.shared import Shared
from distask.runner.engine.spool import Spool
from distask.runner.engine.step_calls import StepCalls, Targets
from distask.runner.engine.steps import Steps
from distask.runner.targets import budget_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from distask.data.row import Row
    from distask.data.writers import Writer
    from distask.runner.batch.deferred import Deferred
    from distask.runner.engine.shared import Failed
    from distask.runner.generations import Shape
    from distask.runner.job import Job
    from distask.runner.stats import Stats
    from distask.store import Store
    from distask.task.pipeline import Pipeline


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
    waiting: list[Spool] = []
    """Barriers that come one after the other, with the rows that wait for the first of them."""
    with ExitStack() as spools:
        for number, segment in enumerate(pipeline.segments):
            if job.segment not in (None, number):
                continue
            last = segment.barrier is None
            sink: Writer | Spool = writer
            if segment.barrier is not None and job.segment is None:
                sink = Spool(segment.barrier)
                spools.callback(sink.abort)
            if waiting and isinstance(sink, Spool) and not segment.steps:
                waiting.append(sink)
                continue
            coming = _passed(waiting, shared) if waiting else rows
            work = Steps(pipeline, number, asking, shape, shared)
            engine = Engine(work, shared, concurrency=concurrency, observe=watch, first=number == 0, last=last)
            await engine.run(coming, sink)
            if job.segment is not None:  # the engine leaves clients open for the next segment
                await asyncio.gather(*(client.close() for client in shared.clients), return_exceptions=True)
            if work.left_out:
                break
            waiting = [sink] if isinstance(sink, Spool) else []
    return shared.failures


def check_generations(pipeline: Pipeline, shape: Shape) -> None:
    """Raise `UsageError` if generations would be grouped although a step of the pipeline waits for all rows."""
    if shape.grouped and shape.num_generations > 1 and len(pipeline.segments) > 1:
        raise UsageError(
            f"the task {pipeline.name} has a step that waits for all rows, so generations can't be grouped; "
            "set --no-group-generations"
        )


def _passed(waiting: Sequence[Spool], shared: Shared) -> Iterator[Row]:
    """Yield the rows that pass all of these barriers."""
    for first, second in pairwise(waiting):
        first.pass_to(second, lambda: shared.error is not None)
        if shared.error is not None:
            return
    yield from waiting[-1].rows()
