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
from distask.errors import UsageError
from distask.llm.config.resolve import Resolved, load_config
from distask.runner.column_checks import check_columns
from distask.runner.generations import Shape
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from distask.data.destination import Destination
    from distask.data.input import Input
    from distask.data.parts import Part
    from distask.data.row import Row
    from distask.runner.cluster.coordinator import Governor
    from distask.runner.engine.shared import Failed
    from distask.runner.record import Identity
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


class Job(Struct, frozen=True):
    """A run that is set up and not begun: `runner.run.run_job` does it, `runner.plan` shows what it would request."""

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
