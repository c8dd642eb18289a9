"""A run that is set up and not begun: a task, a source and an LLM are a job, which `local` does and `plan` reckons.

All that can be wrong is told before the first call: the data against the task, the config, the output, the store.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

from distask.data.destination import destination
from distask.data.input import open_input, rows_input
from distask.data.objects import is_object
from distask.data.readers import DEFAULT_OPTIONS, ReadOptions
from distask.data.readers.delimiter import parse_delimiter
from distask.errors import UsageError
from distask.llm.config import Resolved, load_config
from distask.runner.columns import check_columns
from distask.runner.generations import METADATA_COLUMN, Shape
from distask.task.load import load
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from distask.data.destination import Destination
    from distask.data.input import Input
    from distask.data.parts import Part
    from distask.data.row import Row
    from distask.runner.cluster.coordinator import Governor
    from distask.runner.record import Identity
    from distask.runner.shared import Failed
    from distask.runner.stats import Stats
    from distask.store import Store, StorePlace
    from distask.task.pipeline import Pipeline


class Selection(Struct, frozen=True):
    """Which rows of the input are done: `offset` and `limit` first, then the shard, then the sample."""

    limit: int | None = None
    offset: int = 0
    sample: int | None = None
    shard: tuple[int, int] | None = None
    """(i, k): every k-th row, from the i-th, i from 1."""


class Result(Struct, frozen=True):
    """How a run ended."""

    stats: Stats
    output: Path | None
    """Where the rows are; None where they are in `rows`, or went to stdout."""
    rows: list[dict[str, Any]] | None
    """The rows, where no output was named."""
    failures: list[Failed] = field(default_factory=list)
    """The first failed generations (100 at the most)."""
    notes: list[str] = field(default_factory=list)
    """What else the user should know."""
    address: str | None = None
    """Where the output was sent: a dataset of the Hub, an object."""

    @property
    def exit_code(self) -> int:
        """0 where every generation is good, 3 where some failed."""
        return 3 if self.stats.failed else 0


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
    return job.run(observe)


class Job(Struct, frozen=True):
    """A run that is set up, not begun: `run` does it, `distask.runner.plan` says what it would ask."""

    task: Task | Pipeline
    llm: Resolved
    source: Any
    output: str | None
    shape: Shape
    selection: Selection
    store: str | Path | StorePlace | Literal[False] | None = None
    overwrite: bool = False
    private: bool = False
    escape_formulas: bool = False
    """Whether texts of a CSV that a spreadsheet would run begin with `'`."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    reading: ReadOptions = DEFAULT_OPTIONS
    """How files are read."""
    max_cost: float | None = None
    """USD that may be spent."""
    batch: bool = False
    """Whether replies come by batches."""
    wait: bool = True
    """Whether batches are waited for."""
    engine: Literal["local", "ray"] = "local"
    """Where it is done: here, or over the nodes of a Ray cluster."""
    workers: int | None = None
    """Parts at a time, with Ray."""
    governor: Governor | None = None
    """Who keeps it within its share of the limits, where it is a part of a larger run."""

    def __post_init__(self) -> None:
        """Bound the task's prompts by the config."""
        self.task.limit_prompts(self.llm.config.limits.prompt_characters)

    def run(self, observe: Callable[[Stats], None] | None = None, tell: Callable[[str], None] | None = None) -> Result:
        """Do it; see `run` for what it raises. `tell` is given, once each, sentences that the user should know."""
        if self.engine == "ray":
            from distask.runner.cluster.ray import run_on_ray

            return run_on_ray(self, observe, tell)
        from distask.llm.tracing import run_span  # a plan loads neither an event loop nor a client
        from distask.runner.local import run_here

        with run_span(self.task.name, self.llm.config.model):
            return run_here(self, observe, tell)

    def destination(self) -> Destination | None:
        """The place that the output is sent to, None for none; a folder of Ray's is filled by its parts."""
        return None if self.engine == "ray" else destination(self.output, private=self.private)

    def output_path(self) -> Path | None:
        """The file that is written; None for stdout, and for rows that the caller gets."""
        far = self.destination()
        if far is not None:
            return far.local
        return None if self.output is None or self.output == "-" else Path(self.output)

    def open_input(self, look: Callable[[Row], None] | None = None) -> Input:
        """The rows, read through once, each looked at, and checked against the task."""
        chosen = self.selection
        needed = self.task.missing_columns(())
        if isinstance(self.source, str | Path):
            rows = open_input(
                str(self.source),
                self.reading,
                limit=chosen.limit,
                offset=chosen.offset,
                sample=chosen.sample,
                seed=self.task.seed,
                shard=chosen.shard,
                columns_needed=needed,
                stand_in=self.task.stand_in,
                on_bad_row=self.on_bad_row,
            )
            if not is_remote(str(self.source)):
                self.task.allow(Path(self.source).parent)
        elif (part := _part(self.source)) is not None:
            rows = part.open(
                self.reading,
                limit=chosen.limit,
                offset=chosen.offset,
                columns_needed=needed,
                stand_in=self.task.stand_in,
                on_bad_row=self.on_bad_row,
            )
            for span in part.spans:
                self.task.allow(Path(span.file).parent)
        else:
            rows = rows_input(
                self.source,
                limit=chosen.limit,
                offset=chosen.offset,
                sample=chosen.sample,
                seed=self.task.seed,
                shard=chosen.shard,
                columns_needed=needed,
                stand_in=self.task.stand_in,
            )
        rows.scan(look)
        check_columns(self.task, rows, self.shape.metadata_column)
        return rows

    def open_store(self) -> Store | None:
        """Where completions are kept; None for nowhere: `--no-store`, and replies of the offline provider."""
        path = self._store_path()
        return None if path is None else _opened(path)

    def open_existing_store(self) -> Store | None:
        """The store where there is one already: a plan makes none."""
        path = self._store_path()
        try:
            return _opened(path) if isinstance(path, Path) and path.exists() else None
        except PermissionError:  # of a folder that can't be searched
            return None

    def store_file(self) -> Path | StorePlace | Literal[False] | None:
        """The store's file, as `store` takes it: another output of this job would have the same one."""
        return False if self.store is False else self._store_path()

    def _store_path(self) -> Path | StorePlace | None:
        if self.store is False or self.llm.config.provider == "offline":
            return None
        if self.store is not None and not isinstance(self.store, str | Path):
            return self.store
        if self.store is not None:
            return Path(self.store)
        path = self.output_path()
        return store_path(Path("rows") if path is None or self.destination() is not None else path)

    def identity(self) -> Identity:
        """What makes another run the same one, whose output this one may replace: see `Identity`."""
        return {
            "task": self.task.name,
            "spec": str(self.task.path.resolve()),
            "params": self.task.params,
            "input": _source_name(self.source),
            "offset": self.selection.offset,
            "shard": list(self.selection.shard) if self.selection.shard else None,
            "model": self.llm.config.model,
            "endpoint": self.llm.endpoint(),
        }


def _part(source: Any) -> Part | None:
    from distask.data.parts import Part

    return source if isinstance(source, Part) else None


def _source_name(source: Any) -> str:
    if not isinstance(source, str | Path):
        part = _part(source)
        return "<rows>" if part is None else part.name
    return str(source) if is_remote(str(source)) else str(Path(source).resolve())


def store_path(output: Path) -> Path:
    """Where the store of an output is kept unless another is named."""
    return output.parent / ".distask" / "store.db"


def _opened(path: Path | StorePlace) -> Store:
    from distask.store import Store

    return Store(path)


def is_remote(source: str) -> bool:
    """Whether a source is no path of this machine: the Hub, or stdin."""
    return source == "-" or source.startswith("hf://") or is_object(source)


def resolve(llm: Resolved | Mapping[str, Any] | str | Path | None, task: Task | Pipeline, **changes: Any) -> Resolved:
    """The LLM config of a run, from what `run` takes for one."""
    if isinstance(llm, Resolved):
        return llm
    if isinstance(llm, Mapping):
        return load_config(None, contents=dict(llm), spec_llm=task.spec.llm, environ=os.environ, **changes)
    return load_config(None if llm is None else str(llm), spec_llm=task.spec.llm, environ=os.environ, **changes)


def shape_of(task: Task | Pipeline, num_generations: int | None, grouped: bool | None, metadata_column: str) -> Shape:
    """How generations become rows: the spec's way, but for what the run sets."""
    spec = task.spec
    if grouped is False and isinstance(task, Task) and task.aggregates:
        raise UsageError(
            f"the task {task.name} makes `{task.aggregates[0].column}` of a row's generations, which needs them "
            "grouped: leave --no-group-generations out"
        )
    return Shape(
        spec.num_generations if num_generations is None else num_generations,
        spec.group_generations if grouped is None else grouped,
        metadata_column,
    )
