"""Price the runs of a stress test, run them through the engine and the store, and write their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from distask.data.row import Row
from distask.judging.stress.measure import Judged
from distask.runner.plan.task_plan import plan
from distask.runner.run import run_job
from distask.task.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from distask.judging.stress.variants import Tests, Variant
    from distask.runner.engine.shared import Failed
    from distask.runner.job import Job, Result
    from distask.runner.stats import Stats

VARIANT_COLUMN, ROW_COLUMN = "stress", "stress_row"
"""Columns that are added to the rows of all runs: the bias, and the index of the row in the input."""


class Price(Struct):
    """What a run would request."""

    name: str
    rows: int
    unchanged: int
    """Rows that the change leaves as they are; they are not sent."""
    replies: int
    """Replies that it needs."""
    stored: int
    """Replies of these that are in the store, or that an earlier run of this test requests."""
    missing: int
    about: bool
    """Whether the numbers are extrapolated, as for a task of steps."""
    cost_usd: dict[str, float | None] | None
    """USD as `least`, `expected` and `most`; None without a price."""


def price(tests: Tests) -> list[Price]:
    """Return what each run would request; renders every row, so that errors in rows and templates are raised here.

    Raises:
        UsageError: a row or a template is wrong.
    """
    if isinstance(tests.base.job.task, Pipeline):
        base_of_steps = _price_steps(tests.base)
        return [base_of_steps, *(_price_steps(variant, base_of_steps) for variant in tests.variants)]
    base = plan(tests.base.job, 0)
    found = [_priced(tests.base, base)]
    for variant in tests.variants:
        made = plan(variant.job, 0)
        if variant.shares:  # its first replies are requested for the base
            made.stored += base.missing
            made.estimate.missing -= base.estimate.missing
        found.append(_priced(variant, made))
    return found


def _priced(variant: Variant, made: Any) -> Price:
    costs = made.estimate.costs()
    return Price(
        variant.name, made.rows, _unchanged(variant), made.completions, made.stored, made.missing, False, costs
    )  # fmt: skip


def _price_steps(variant: Variant, base: Price | None = None) -> Price:
    from distask.runner.plan.step_plan import plan_steps

    made = plan_steps(variant.job, 0)
    left = (made.rows - made.done) / made.rows if made.rows else 0.0
    replies = round(made.expected)
    missing = round(made.expected * left)
    if variant.shares and base is not None:
        missing = max(0, missing - base.missing)
    most = made.cost()
    costs = None if most is None else {"least": None, "expected": None, "most": most * left}
    return Price(
        variant.name, made.rows, _unchanged(variant), replies, replies - missing, missing, missing > 0, costs
    )  # fmt: skip


def _unchanged(variant: Variant) -> int:
    return 0 if variant.change is None else len(variant.change.unchanged)


class Asked(Struct, frozen=True):
    """The rows of a run."""

    variant: Variant
    rows: dict[int, Judged]
    stats: Stats
    failures: list[Failed]
    notes: list[str]


def ask(
    variant: Variant,
    *,
    max_cost: float | None,
    observe: Callable[[Stats], None] | None = None,
    notify: Callable[[str], None] | None = None,
) -> Asked:
    """Run a variant; replies that are in the store are not requested again.

    Args:
        variant: what to run.
        max_cost: what is left of the cost limit, in USD.
        observe: called with the counts while it runs.
        notify: called with each message for the user.

    Raises:
        RunError: the endpoint, the store or the cost limit ended the run.
    """
    job = variant.job
    task = job.task.again() if isinstance(job.task, Pipeline) else job.task
    result = run_job(replace(job, task=task, max_cost=max_cost), observe, notify)
    return Asked(variant, _by_row(job, result), result.stats, result.failures, result.notes)


def _by_row(job: Job, result: Result) -> dict[int, Judged]:
    """Return the rows of a run by their index in the input."""
    made: dict[int, Judged] = {}
    column, error = job.shape.metadata_column, f"error_{job.task.name}"
    for index, row in zip(result.indexes or (), result.rows or (), strict=True):
        judged = made.setdefault(index, Judged([], []))
        judged.samples.append(row)
        judged.failed.append(error in (row.get(column) or {}))
    return made


def write_rows(path: Path, runs: Sequence[Asked], identity: Mapping[str, Any]) -> None:
    """Write the rows of all runs, each with the bias and the index of the row, as one dataset.

    Raises:
        UsageError: the file can't be written.
    """
    from distask.data.writers import open_output
    from distask.runner.generations import output_schemas
    from distask.runner.record import claim

    job = runs[0].variant.job
    schemas = {ROW_COLUMN: {"type": "integer"}, **output_schemas(job.task, job.shape)}
    writer = open_output(str(path), lambda sha256: claim(path, dict(identity), sha256), schemas=schemas)
    try:
        for run in runs:
            for index, judged in run.rows.items():
                for values in judged.samples:
                    writer.write(Row({VARIANT_COLUMN: run.variant.name, ROW_COLUMN: index, **values}, str(path), 0), {})
        writer.commit()
    except BaseException:
        writer.abort()
        raise
