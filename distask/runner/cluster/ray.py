"""Run a job on a Ray cluster: one engine per part of the input, with the same rows as a local run.

The input, the spec and the output are on shared storage. Ray moves no rows: a node reads its part from there and keeps
its completions in the part's store in the output folder. A part that restarts on another node requests only the
replies that were in flight when the first node was lost. To resume after the driver was killed, run again.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from distask.data.hub_copy import Shard, copy_hub
from distask.data.parts import Span, count, cut
from distask.data.readers.hub import PREFIX
from distask.errors import DistaskError, OutputBusy, RunError, UsageError
from distask.runner.cluster.carried import CarriedPart, Passed, pass_barrier
from distask.runner.cluster.coordinator import Coordinator, Governor, Instructions, Stopped, summed
from distask.runner.cluster.outputs import Outcome, Outputs, marked, whole
from distask.runner.cluster.selection import CountedPart, sample_parts, select_parts
from distask.runner.engine.budget import CostReached
from distask.runner.engine.engine import Interrupted
from distask.runner.engine.segments import check_generations
from distask.runner.engine.shared import FAILURES_KEPT
from distask.runner.job import Result, is_remote
from distask.runner.local import check_prices, described, examine, run_here
from distask.runner.provenance.section import provenance_of
from distask.runner.stats import Stats
from distask.task.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from distask.data.parts import Counted
    from distask.runner.engine.leased_budget import Demand
    from distask.runner.job import Job

AnyPart = CountedPart | CarriedPart
PartKey = tuple[int, int]
"""Number of the segment and of the part."""

POLL_SECONDS = 0.5
"""Interval at which the driver gets the counts from the coordinator."""
FAULTS_SHOWN = 3
BUSY_SECONDS = 60.0
"""How long a part waits for another worker that writes the same file."""


def run_on_ray(
    job: Job, observe: Callable[[Stats], None] | None = None, notify: Callable[[str], None] | None = None
) -> Result:
    """Run a job on the Ray cluster at `RAY_ADDRESS`, or on a new local one.

    Args:
        job: the job; its output is a folder. `workers` parts run at a time; the default is the number of CPUs.
        observe: called with the total counts about twice a second.
        notify: called with messages for the user.

    Raises:
        UsageError: the job is wrong; no requests were sent.
        RunError: the run ended early; run again to resume.
    """
    ray = _ray()
    outputs = _checked(job)
    say = notify or (lambda _: None)
    if isinstance(job.task, Pipeline):
        job.task.prepare(say)
    with _connected(ray):
        most = job.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        selected = _parts(ray, _copied(ray, job, outputs, say))
        parts: Sequence[AnyPart] = sample_parts(selected, job.selection, job.task.seed)
        segments = len(job.task.segments) if isinstance(job.task, Pipeline) else 1
        _examine(ray, [_job_of(job, part, outputs, 0) for part in selected])
        outputs.prepare(selected)
        coordinator = _coordinator(ray, job.max_cost)
        input_rows, outcomes, counts = sum(part.rows for part in parts), list[Outcome](), list[Stats]()
        for segment in range(segments):
            jobs = [_job_of(job, part, outputs, segment) for part in parts]
            say(f"{len(parts):,} parts on {len(ray.nodes()):,} nodes, {min(most, len(parts)):,} at a time")
            run = _Run(ray, jobs, min(most, len(parts)), observe, coordinator, input_rows)
            last = run.go()
            outcomes += last
            if segment < segments - 1:
                parts, count = _passed(ray, job, outputs, segment, parts)
                outputs.prepare(parts, segment + 1)
                counts.append(count)
    return _result(job, outputs, parts, outcomes, last, counts, run.stats)


class _Run:
    """The parts of one run."""

    def __init__(
        self,
        ray: Any,
        jobs: Sequence[Job],
        workers: int,
        observe: Callable[[Stats], None] | None,
        coordinator: Any,
        total: int,
    ) -> None:
        self._ray = ray
        self._jobs = jobs
        self._workers = workers
        self._observe = observe
        self._total = total
        self._outcomes: dict[int, Outcome] = {}
        self._fault: BaseException | None = None
        self._interrupts = 0
        self._coordinator = coordinator
        self.stats = Stats(total=self._total)

    def go(self) -> list[Outcome]:
        """Run all parts; raises the error that ended the run."""
        thread = threading.Thread(target=self._collect, name="distask-ray", daemon=True)
        with self._signals():
            thread.start()
            while thread.is_alive() and self._interrupts < 2:
                thread.join(POLL_SECONDS)
                self._look()
        self.stats.end()
        reason = self._reason()
        if reason is not None:
            error = Interrupted("interrupted") if self._interrupts else self._error(reason)
            error.stats = self.stats
            raise error
        return [self._outcomes[number] for number in sorted(self._outcomes)]

    def _collect(self) -> None:
        from ray import data

        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        try:
            items = [{"job": pickle.dumps(job)} for job in self._jobs]
            done = data.from_items(items, override_num_blocks=len(items)).map(
                cast("Any", PartRunner),
                fn_constructor_args=(self._coordinator,),
                concurrency=(1, self._workers),
                num_cpus=1,
            )
            for row in done.iter_rows():
                outcome: Outcome = pickle.loads(row["outcome"])  # noqa: S301 - from our own worker
                self._outcomes[outcome.number] = outcome
        except BaseException as error:  # noqa: BLE001 - reported by the driver's main thread
            self._fault = error

    def _look(self) -> None:
        try:
            seen: Stats = self._ray.get(self._coordinator.progress.remote(), timeout=POLL_SECONDS * 10)
        except Exception:  # noqa: BLE001 - a busy coordinator is retried
            return
        seen.total, seen.started = self._total, self.stats.started
        self.stats = seen
        if self._observe is not None:
            self._observe(seen)

    def _error(self, reason: str) -> RunError:
        reached = self._jobs[0].max_cost is not None and self._ray.get(self._coordinator.cost_reached.remote())
        return CostReached(reason) if reached else RunError(reason)

    def _reason(self) -> str | None:
        if self._interrupts:
            return "interrupted"
        errors = [o.error for o in self._outcomes.values() if o.error is not None]
        if errors:
            return errors[0]
        if self._fault is not None:
            return f"Ray: {_cause(self._fault)}"
        if len(self._outcomes) < len(self._jobs):
            return f"Ray returned {len(self._outcomes)} of {len(self._jobs)} parts; run again to do the others"
        return None

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let Ctrl-C stop the engines after the calls in flight; a second Ctrl-C exits immediately."""

        def stop(*_: object) -> None:
            self._interrupts += 1
            self._coordinator.stop.remote("interrupted")

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _cause(error: BaseException) -> str:
    """Return the root cause of a Ray error as one line."""
    while (cause := error.__cause__ or getattr(error, "cause", None)) is not None:
        error = cause
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class PartRunner:
    """Runs parts on a cluster worker, one after the other."""

    def __init__(self, coordinator: Any) -> None:
        self._coordinator = coordinator

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Run the part in `item["job"]`; returns its result under `"outcome"`."""
        job: Job = pickle.loads(item["job"])  # noqa: S301 - our own
        return {"outcome": pickle.dumps(self._outcome(job))}

    def _outcome(self, job: Job) -> Outcome:
        number, member = job.source.number, uuid.uuid4().hex
        key = job.segment or 0, number
        if (earlier := marked(job)) is not None:
            self._report(member, key, earlier)
            return earlier
        seen = Stats()
        line = _RayLine(self._coordinator, member, key)
        try:
            job = replace(job, llm=job.llm.with_secrets(os.environ), governor=Governor(line))
            result = _unless_busy(job)
        except Stopped as error:
            seen = error.stats or seen
            outcome = Outcome(number, seen, error=str(error))
        except Exception as error:  # noqa: BLE001 - the driver reports it; Ray would hide the message
            seen = getattr(error, "stats", None) or seen
            why = str(error) if isinstance(error, DistaskError) else f"{type(error).__name__}: {error}"
            outcome = Outcome(number, seen, error=why)
            self._coordinator.stop.remote(why)
        else:
            outcome = whole(job, number, result)
        self._report(member, key, outcome)
        return outcome

    def _report(self, member: str, key: PartKey, outcome: Outcome) -> None:
        import ray

        ray.get(self._coordinator.leave.remote(member, key, outcome.stats))


def _unless_busy(job: Job) -> Result:
    """Run a job; waits if a worker that is being killed still holds the output."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return run_here(job)
        except OutputBusy:
            if time.monotonic() >= until:
                raise
            time.sleep(1)


class _RayLine:
    """A governor's connection to the coordinator actor."""

    def __init__(self, coordinator: Any, member: str, part: PartKey) -> None:
        self._coordinator, self._member, self._part = coordinator, member, part
        self._reference: Any = None

    def send(self, stats: Stats, demand: Demand | None = None) -> None:
        self._reference = self._coordinator.beat.remote(self._member, self._part, stats, demand)

    def answer(self) -> Instructions | None:
        import ray

        ready, _ = ray.wait([self._reference], timeout=0)
        return ray.get(ready[0]) if ready else None


def _coordinator(ray: Any, max_cost: float | None) -> Any:
    """Start the coordinator actor on the driver's node; if that node is lost, the run ends anyway."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, max_concurrency=64, scheduling_strategy=here)(Coordinator).remote(max_cost=max_cost)


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError("--engine ray needs Ray: pip install 'distask[ray]'") from None
    return ray


@contextmanager
def _connected(ray: Any) -> Iterator[None]:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray").setLevel(logging.ERROR)
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def _checked(job: Job) -> Outputs:
    """Check the job and prepare its output folder; raises `UsageError` for options that a cluster does not support."""
    chosen = job.selection
    if not isinstance(job.source, str | Path) or str(job.source) == "-":
        raise UsageError("--engine ray needs input files on shared storage: set --input to a file or a glob")
    if chosen.shard is not None:
        raise UsageError("--engine ray splits the input itself; remove --shard")
    for option, value in (("--limit", chosen.limit), ("--sample", chosen.sample)):
        if value is not None and job.on_bad_row == "skip":
            raise UsageError(f"--engine ray can't combine {option} with --on-bad-row skip; remove one of them")
    if isinstance(job.task, Pipeline):
        check_generations(job.task, job.shape)
    if job.batch:
        raise UsageError("--engine ray and --batch can't be combined; remove one of them")
    check_prices(job)
    if job.output is None or job.output == "-" or is_remote(job.output):
        raise UsageError("--engine ray needs an output folder on shared storage: set --output FOLDER")
    outputs = Outputs(Path(job.output).absolute())
    outputs.check(overwrite=job.overwrite)
    return outputs


def _copied(ray: Any, job: Job, outputs: Outputs, say: Callable[[str], None]) -> Job:
    """Copy a dataset of the Hub to the output folder, since parts can't start in the middle of a stream."""
    source, chosen = str(job.source), job.selection
    if not source.startswith(PREFIX):
        return job
    rows = None if chosen.limit is None else chosen.offset + chosen.limit

    def run(shards: Sequence[Shard]) -> None:
        say(f"copying {source} to {outputs.inputs}")
        copying = ray.remote(num_cpus=1, max_retries=5)(_copy)
        faults = [fault for fault in ray.get([copying.remote(shard) for shard in shards]) if fault is not None]
        if faults:
            raise UsageError(faults[0])

    return replace(job, source=copy_hub(source, outputs.inputs, rows, run))


def _copy(shard: Shard) -> str | None:
    try:
        shard.copy()
    except (DistaskError, OSError) as error:
        return str(error)
    return None


def _parts(ray: Any, job: Job) -> list[CountedPart]:
    """Return the parts that contain selected rows."""
    found = cut(str(Path(job.source).absolute()))
    counting = ray.remote(num_cpus=1, max_retries=5)(count)
    counts: list[Counted] = ray.get([counting.remote(part, job.reading) for part in found])
    chosen = select_parts(found, counts, job.selection)
    if not chosen:
        raise UsageError(f"{job.source}: the input has no rows")
    return chosen


def _job_of(job: Job, part: AnyPart, outputs: Outputs, segment: int) -> Job:
    """Return the job of one part; only a pipeline with several segments has a number of one."""
    several = isinstance(job.task, Pipeline) and len(job.task.segments) > 1
    made = replace(
        job,
        source=part,
        engine="local",
        llm=job.llm.without_secrets(),
        segment=segment if several else None,
        store=False if job.store is False else outputs.store(part.number, segment),
        selection=replace(job.selection, limit=None if job.selection.limit is None else part.selected, sample=None),
    )
    carried = made.carries_rows
    return replace(made, output=str(outputs.carried(part.number, segment) if carried else outputs.part(part.number)))


def _passed(
    ray: Any, job: Job, outputs: Outputs, segment: int, parts: Sequence[AnyPart]
) -> tuple[list[CarriedPart], Stats]:
    """Run the step after a segment, which waits for all rows, on one node; returns the parts of the next segment."""
    files = [outputs.carried(part.number, segment) for part in parts]
    folders = tuple(sorted({str(folder) for part in parts for folder in part.parents()}))
    passing = ray.remote(num_cpus=1, max_retries=5)(_pass)
    passed = ray.get(passing.remote(pickle.dumps(job.task), segment, files, outputs.passed(segment + 1)))
    if isinstance(passed, str):
        raise RunError(passed)
    made, index = [], 0
    for number, (file, rows, checksum) in enumerate(passed.files):
        name = f"{job.source} (segment {segment + 2}, part {number})"
        made.append(CarriedPart(name, number, (Span(file),), index, None, rows, rows, checksum, folders))
        index += rows
    return made, Stats(steps=passed.counts)


def _pass(task: bytes, segment: int, files: Sequence[Path], folder: Path) -> Passed | str:
    try:
        return pass_barrier(pickle.loads(task), segment, files, folder)  # noqa: S301 - our own
    except (DistaskError, OSError) as error:
        return str(error)


def _examine(ray: Any, jobs: Sequence[Job]) -> None:
    """Scan all parts before any of them sends requests; raises `UsageError` with the first errors."""
    examining = ray.remote(num_cpus=1, max_retries=5)(_faults)
    found = [fault for fault in ray.get([examining.remote(pickle.dumps(job)) for job in jobs]) if fault is not None]
    if found:
        shown = list(dict.fromkeys(found))[:FAULTS_SHOWN]
        more = f"\n{len(found)} of {len(jobs)} parts have errors" if len(found) > len(shown) else ""
        raise UsageError("\n".join(shown) + more)


def _faults(sent: bytes) -> str | None:
    job: Job = pickle.loads(sent)  # noqa: S301 - our own
    try:
        job.llm.with_secrets(os.environ)
        if marked(job) is None:
            examine(job)
    except DistaskError as error:
        return str(error)
    return None


def _result(
    job: Job,
    outputs: Outputs,
    parts: Sequence[AnyPart],
    outcomes: Sequence[Outcome],
    last: Sequence[Outcome],
    counts: Sequence[Stats],
    seen: Stats,
) -> Result:
    """Write the manifest; `last` are the outcomes of `parts`, and `counts` those of the steps between segments."""
    stats = summed([*(o.stats for o in outcomes), *counts])
    stats.total, stats.started = seen.total, seen.started
    stats.end()
    failures = [failed for outcome in outcomes for failed in outcome.failures][:FAILURES_KEPT]
    notes = list(dict.fromkeys(note for outcome in outcomes for note in outcome.notes))
    record = {
        **described(job, provenance_of(job, None, stats, Path(str(job.output))), stats),
        "parts": [
            {
                "file": outputs.part(part.number).name,
                "first_row": part.index,
                "rows": part.rows,
                "rows_out": outcome.stats.rows_out,
                "bytes": outcome.bytes,
                "checksum": outcome.checksum,
            }
            for part, outcome in zip(parts, last, strict=True)
        ],
    }
    outputs.finish(parts, record)
    return Result(stats, Path(str(job.output)), None, failures, notes)
