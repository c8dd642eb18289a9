"""Run a task over rows, on this machine or on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distask.data.readers import ReadOptions
from distask.data.readers.csv import parse_delimiter
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
    pages: bool = False,
    max_cost: float | None = None,
    batch: bool = False,
    wait: bool = True,
    engine: Literal["local", "ray"] = "local",
    workers: int | None = None,
    observe: Callable[[Stats], None] | None = None,
) -> Result:
    """Run a task over rows; replies that are in the store are not requested again.

    Args:
        task: a task, or an argument for `distask.load`: a file or the name of a built-in task.
        rows: a value for `--input` (a file, a glob, a folder, `hf://owner/name@split`), or the rows themselves; files
            may be documents.
        llm: a config: a file, a built-in name, a mapping or a resolved config. None uses the environment.
        output: a `.jsonl`, `.csv` or `.parquet` file, also in an object store (`s3://…`); `hf://owner/name` for a
            dataset on the Hub; `folder/` for a folder of `datasets`; "-" for stdout; None returns the rows.
        num_generations: number of replies per row; overrides the spec.
        group_generations: whether to write one row with lists instead of one row per generation; overrides the spec.
        selection: which rows to process; None for all rows.
        store: the store's file; None uses `.distask/store.db` next to the output; False stores nothing.
        metadata_column: name of the metadata column.
        overwrite: whether to replace the output of another run.
        private: whether to make a new dataset on the Hub private.
        on_bad_row: "stop" raises an error for an unreadable row before any call; "skip" leaves it out and counts it.
        on_nan: how to read NaN, Infinity and -Infinity in JSON (Python's `json.dumps` writes them): "stop" makes the
            row unreadable; "null" reads them as null and writes null.
        delimiter: column separator of CSV files; None detects it.
        pages: whether each page of a document is a row, with its image if it is a PDF.
        max_cost: cost limit in USD; the run ends before a call that may exceed it. Needs the model's price.
        batch: whether to use the endpoint's batch API, which takes up to a day and usually costs half as much.
        wait: whether to wait for batches; if not, raises `RunError` while they are in progress. Run again to resume.
        engine: "ray" runs on a Ray cluster; the output is then a folder of parts.
        workers: number of concurrent parts with Ray; the default is the number of CPUs in the cluster.
        observe: called with the counts about ten times a second, and at the end.

    Raises:
        UsageError: the spec, the config, the data or the output is wrong; no requests were sent.
        RunError: the endpoint, the store or the output ended the run. Replies received so far are in the store, and
            finished rows are in `OUT.partial`. Run again to resume.
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
        reading=ReadOptions(on_nan, None if delimiter is None else parse_delimiter(delimiter), pages),
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
    """Run a job; raises the same errors as `run`. `notify` is called once with each message for the user."""
    if job.engine == "ray":
        from distask.runner.cluster.ray import run_on_ray

        return run_on_ray(job, observe, notify)
    from distask.runner.local import run_here

    return run_here(job, observe, notify)
