"""Run a task over rows, on this machine or on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distask.data.readers import ReadOptions
from distask.data.readers.delimiter import parse_delimiter
from distask.runner.generations import METADATA_COLUMN
from distask.runner.job import Job, Result, Selection, resolve, shape_of
from distask.task.load import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from distask.llm.config.resolve import Resolved
    from distask.runner.stats import Stats
    from distask.task.pipeline import Pipeline
    from distask.task.task import Task


def run(
    task: Task | Pipeline | str | Path,
    rows: str | Path | Iterable[Mapping[str, Any]],
    *,
    llm: Resolved | Mapping[str, Any] | str | Path | None = None,
    output: str | Path | None = None,
    num_generations: int | None = None,
    group_generations: bool | None = None,
    selection: Selection | None = None,
    store: str | Path | Literal[False] | None = None,
    metadata_column: str = METADATA_COLUMN,
    overwrite: bool = False,
    private: bool = False,
    on_bad_row: Literal["stop", "skip"] = "stop",
    on_nan: Literal["stop", "null"] = "stop",
    delimiter: str | None = None,
    max_cost: float | None = None,
    batch: bool = False,
    wait: bool = True,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    observe: Callable[[Stats], None] | None = None,
) -> Result:
    """Run a task over rows; what was asked before, with the same store, is not asked again.

    Args:
        task: a task, or what `distask.load` takes: a file or a built-in task's name.
        rows: what `--input` takes (a file, a glob, a folder, `hf://owner/name@split`), or the rows themselves.
        llm: a config: its file or built-in name, its keys, or one that is resolved. None takes the environment's.
        output: `.jsonl`, `.csv`, `.parquet`, also in an object store (`s3://…`); `hf://owner/name`, a dataset of the
            Hub; `folder/`, a folder of `datasets`; "-" for stdout; None returns the rows.
        num_generations: replies for each row, instead of the spec's.
        group_generations: one row with lists instead of a row each, instead of the spec's.
        selection: which rows are done; all of them where it is left out.
        store: the store's file; None takes `.distask/store.db` beside the output; False keeps nothing.
        metadata_column: what the metadata column is called.
        overwrite: whether an output of another run is replaced.
        private: whether a dataset that is made on the Hub is private.
        on_bad_row: "stop" raises at a row that can't be read, before any call; "skip" leaves it out and counts it.
        on_nan: NaN, Infinity and -Infinity in JSON, which Python's `json.dumps` writes: "stop" makes their row one that
            can't be read; "null" reads them as null, and writes null.
        delimiter: what separates the columns of CSV; None finds it.
        max_cost: USD that may be spent; the run ends before a call that might pass it. Needs the model's price.
        batch: whether replies come by the endpoint's Batches, in a day and mostly for half the price.
        wait: whether batches are waited for; else `RunError` is raised while they are under way. Run again to go on.
        engine: "ray" does it over the nodes of a Ray cluster; the output is then a folder of parts.
        workers: parts at a time, with Ray; the cluster's CPUs where it is left out.
        observe: called about ten times a second, and at the end, with the counts.

    Raises:
        UsageError: the spec, the config, the data or the output is wrong; nothing was asked.
        RunError: the endpoint, the store or the output ended the run; what was paid for is in the store, and
            what is done is in `OUT.partial`. Run again to go on.
    """
    if isinstance(task, str | Path):
        task = load(task)
    job = Job(
        task=task,
        llm=resolve(llm, task),
        source=rows,
        output=None if output is None else str(output),
        shape=shape_of(task, num_generations, group_generations, metadata_column),
        selection=selection or Selection(),
        store=store,
        overwrite=overwrite,
        private=private,
        on_bad_row=on_bad_row,
        reading=ReadOptions(on_nan, None if delimiter is None else parse_delimiter(delimiter)),
        max_cost=max_cost,
        batch=batch,
        wait=wait,
        engine=engine,
        workers=workers,
    )
    return run_job(job, observe)


def run_job(
    job: Job, observe: Callable[[Stats], None] | None = None, notify: Callable[[str], None] | None = None
) -> Result:
    """Do a job; see `run` for what it raises. `notify` is called once with each sentence that the user should know."""
    if job.engine == "ray":
        from distask.runner.cluster.ray import run_on_ray

        return run_on_ray(job, observe, notify)
    from distask.runner.local import run_here

    return run_here(job, observe, notify)
