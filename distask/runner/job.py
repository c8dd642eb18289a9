"""Define a job: a task, a source and an LLM config. `local` runs it; `plan` estimates it.

Errors in the data, the config, the output and the store are reported before the first request.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from distask.data.destination import destination
from distask.data.documents import missing_hint
from distask.data.input import Selected, open_input, rows_input
from distask.data.objects import is_object
from distask.data.readers import DEFAULT_OPTIONS, ReadOptions
from distask.data.readers.csv import delimiter_hint
from distask.diagnostics import did_you_mean, nearest
from distask.errors import InputError, RowError, UsageError
from distask.formatting import several
from distask.llm.config.resolve import OFFLINE, Resolved, load_config
from distask.runner.generations import MODEL_COLUMN, Shape
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from distask.data.destination import Destination
    from distask.data.input import Input, Look
    from distask.data.parts import Part
    from distask.data.row import Row
    from distask.runner.cluster.coordinator import Governor
    from distask.runner.engine.shared import Failed
    from distask.runner.record import Identity
    from distask.runner.stats import Stats
    from distask.store import Store, StorePlace
    from distask.task.pipeline import Pipeline


class Selection(Struct, frozen=True):
    """The input rows to process: `offset` and `limit` apply first, then the shard, then the sample."""

    limit: int | None = None
    offset: int = 0
    sample: int | None = None
    shard: tuple[int, int] | None = None
    """(i, k): every k-th row, starting at the i-th; i starts at 1."""


class Result(Struct, frozen=True):
    """The result of a run."""

    stats: Stats
    output: Path | None
    """The output file; None if the rows are in `rows` or went to stdout."""
    rows: list[dict[str, Any]] | None
    """The rows, if the run had no output."""
    failures: list[Failed] = field(default_factory=list)
    """The first failed generations (at most 100)."""
    notes: list[str] = field(default_factory=list)
    """Messages for the user."""
    indexes: list[int] | None = None
    """The index in the input of each of `rows`."""
    address: str | None = None
    """Where the output was uploaded: a dataset on the Hub or an object store URL."""

    @property
    def exit_code(self) -> int:
        """0 if every generation succeeded, 3 if some failed."""
        return 3 if self.stats.failed else 0


class Job(Struct, frozen=True):
    """A run that is ready to start: `runner.run.run_job` runs it, `runner.plan` shows what it would request."""

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
    """Whether to prefix CSV texts that a spreadsheet would run as formulas with `'`."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    reading: ReadOptions = DEFAULT_OPTIONS
    """How to read files."""
    max_cost: float | None = None
    """Cost limit in USD."""
    batch: bool = False
    """Whether to use the endpoint's batch API."""
    wait: bool = True
    """Whether to wait for batches."""
    engine: Literal["local", "ray"] = "local"
    """Where to run: in this process or on a Ray cluster."""
    workers: int | None = None
    """Number of concurrent parts, with Ray."""
    segment: int | None = None
    """The segment of the pipeline to run; None for all. A cluster runs them one after the other."""
    governor: Governor | None = None
    """Keeps this part of a larger run within its share of the limits."""
    transform: Callable[[Row], Row | None] | None = None
    """Changes each selected row before it is used, or leaves it out; see `distask.data.input.Input`."""

    def __post_init__(self) -> None:
        """Apply the config's prompt size limit to the task."""
        self.task.limit_prompts(self.llm.config.limits.prompt_characters)

    def destination(self) -> Destination | None:
        """Return where to upload the output; None for local output and for Ray, whose parts write the folder."""
        return None if self.engine == "ray" else destination(self.output, private=self.private)

    @property
    def writes_folder(self) -> bool:
        """Whether the output is a folder of Parquet parts on this machine."""
        output = self.output
        return self.engine == "local" and output is not None and output.endswith("/") and not is_remote(output)

    @property
    def carries_rows(self) -> bool:
        """Whether the output is rows for the next segment of the pipeline."""
        return self.segment is not None and not isinstance(self.task, Task) and not self.task.is_last(self.segment)

    def output_path(self) -> Path | None:
        """Return the file or folder to write; None for stdout and for rows returned to the caller."""
        far = self.destination()
        if far is not None:
            return far.local
        return None if self.output is None or self.output == "-" else Path(self.output)

    def open_input(self, look: Look | None = None) -> Input:
        """Open the input, scan it once, pass the rows to `look` and check the columns against the task."""
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
                transform=self.transform,
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
            for folder in part.parents():
                self.task.allow(folder)
        elif isinstance(self.source, Selected):
            rows = self.source.open(columns_needed=needed, stand_in=self.task.stand_in, transform=self.transform)
            if self.source.folder is not None:
                self.task.allow(self.source.folder)
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
                transform=self.transform,
            )
        rows.scan(look)
        check_columns(self.task, rows, self.shape)
        check_draws(self.task, rows)
        return rows

    def with_selected_rows(self) -> Job:
        """Read the selected rows into memory; returns a job over them, which keeps their indexes and places."""
        rows, source = self.open_input(), self.source
        is_local = isinstance(source, str | Path) and not is_remote(str(source))
        kept = list(rows)
        skipped = [f"{several(rows.skipped, 'unreadable row')} skipped"] if rows.skipped else []
        selected = Selected(rows.name, kept, Path(source).parent if is_local else None, (*rows.notes, *skipped))
        return replace(self, source=selected, selection=Selection())

    def open_store(self) -> Store | None:
        """Open the store; None with `--no-store`, for the offline provider and for a task that calls no model."""
        path = self._store_path()
        return None if path is None else _opened(path)

    def open_existing_store(self) -> Store | None:
        """Open the store if it exists; a plan does not create one."""
        path = self._store_path()
        try:
            return _opened(path) if isinstance(path, Path) and path.exists() else None
        except PermissionError:  # no access to the folder
            return None

    def store_file(self) -> Path | StorePlace | Literal[False] | None:
        """Return the store's file as a value for `store`, to use the same store with another output."""
        return False if self.store is False else self._store_path()

    def _store_path(self) -> Path | StorePlace | None:
        if self.store is False or self.llm.config.provider == "offline" or not self.task.calls_model:
            return None
        if self.store is not None and not isinstance(self.store, str | Path):
            return self.store
        if self.store is not None:
            return Path(self.store)
        path = self.output_path()
        elsewhere = path is None or self.writes_folder or self.destination() is not None
        return store_path(Path("rows") if elsewhere or path is None else path)

    def identity(self) -> Identity:
        """Return what identifies this run; a run with the same identity may replace its output (see `Identity`)."""
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
    """Return the default store of an output."""
    return output.parent / ".distask" / "store.db"


def _opened(path: Path | StorePlace) -> Store:
    from distask.store import Store

    return Store(path)


def is_remote(source: str) -> bool:
    """Whether a source is not a local path: the Hub, an object store or stdin."""
    return source == "-" or source.startswith("hf://") or is_object(source)


def resolve(llm: Resolved | Mapping[str, Any] | str | Path | None, task: Task | Pipeline, **changes: Any) -> Resolved:
    """Resolve the `llm` argument of `run` to a config."""
    if isinstance(llm, Resolved):
        return llm
    if llm is None and not task.calls_model:
        llm = OFFLINE
    if isinstance(llm, Mapping):
        return load_config(None, contents=dict(llm), spec_llm=task.spec.llm, environ=os.environ, **changes)
    source = None if llm is None else str(llm)
    if source is None and not task.calls_model:
        source = OFFLINE
    return load_config(source, spec_llm=task.spec.llm, environ=os.environ, **changes)


def shape_of(
    task: Task | Pipeline,
    num_generations: int | None,
    grouped: bool | None,
    metadata_column: str,
    only_outputs: bool | None = None,
    keep: Sequence[str] = (),
) -> Shape:
    """Return how generations become rows; the run's options override the spec."""
    spec = task.spec
    if grouped is False and isinstance(task, Task) and task.aggregates:
        raise UsageError(
            f"the task {task.name} needs grouped generations to compute `{task.aggregates[0].column}`; "
            "remove --no-group-generations"
        )
    only_outputs = spec.only_outputs if only_outputs is None else only_outputs
    if only_outputs and not task.output_columns:
        raise UsageError(f"the task {task.name} declares no outputs, so --only-outputs would write nothing; remove it")
    return Shape(
        spec.num_generations if num_generations is None else num_generations,
        spec.group_generations if grouped is None else grouped,
        metadata_column,
        only_outputs,
        _kept(task, keep, metadata_column, only_outputs=only_outputs),
    )


def _kept(task: Task | Pipeline, keep: Sequence[str], metadata_column: str, *, only_outputs: bool) -> tuple[str, ...]:
    """Return the columns of the input to write with the outputs; raises `UsageError`."""
    for name in keep:
        if not only_outputs:
            raise UsageError(f"--keep {name}: the run writes all columns; remove --keep, or add --only-outputs")
        if name in task.added_columns:
            raise UsageError(
                f"--keep {name}: the task {task.name} writes a column with this name; remove --keep {name}"
            )
        if name in (metadata_column, MODEL_COLUMN):
            raise UsageError(f"--keep {name}: the metadata can't be kept alone; use --all-columns")
    return tuple(dict.fromkeys(keep))


FAULTY_ROWS = 20
"""Maximum number of rows with wrong types to report."""


def check_columns(task: Task | Pipeline, rows: Input, shape: Shape) -> None:
    """Raise `InputError` if the data lacks a column that the task needs, or already has one that it adds."""
    faults = missing_columns(task, rows)
    faults += [
        f"{rows.name}: the input has no column `{name}` for --keep; {did_you_mean(name, rows.columns)}"
        for name in shape.keep
        if rows.columns is not None and name not in rows.columns
    ]
    faults += [
        f"{rows.name}: the data already has a column `{name}`, which the task {task.name} adds; {_way(task, name)}"
        for name in task.added_columns
        if name in (rows.columns or ()) and not shape.only_outputs
    ]
    if shape.metadata_column in task.added_columns or MODEL_COLUMN in task.added_columns:
        faults.append(f"the task {task.name} has an output with the name of the metadata column; rename one of them")
    if faults:
        raise InputError("\n".join(faults))


def check_draws(task: Task | Pipeline, rows: Input) -> None:
    """Raise `InputError` if there are more rows than options of a draw that uses each only once."""
    most = task.draws.most_rows
    if most is not None and rows.end > most:
        raise InputError(
            f"{rows.name}: the task {task.name} draws each option only once, which is enough for {most:,} rows, and the"
            f" last row is number {rows.end:,}; add options, or set `sampling: balanced`"
        )


def missing_columns(task: Task | Pipeline, rows: Input) -> list[str]:
    """Return an error for each column that the task needs and scanned rows lack."""
    return [
        f"{place}: column `{name}` is missing{_elsewhere(count)}; "
        f"the task {task.name} needs it{_did_you_mean(name, rows, place)}"
        for name, (count, place) in rows.missing.items()
    ]


def _way(task: Task | Pipeline, name: str) -> str:
    if isinstance(task, Task) or name in task.output_columns:
        return f"rename the output: --set output_mappings.{name}=NEW"
    return f"rename the output in its step: `output_mappings: {{{name}: new_{name}}}`"


def _elsewhere(count: int) -> str:
    return f" here and in {count - 1:,} more rows" if count > 1 else ""


def _did_you_mean(name: str, rows: Input, place: str) -> str:
    known = [c for c in rows.columns or () if c != name]
    if (hint := missing_hint(name, place.rpartition(":")[0])) is not None:
        return f" ({hint})"
    names = ", ".join(f"`{c}`" for c in known)
    if (hint := delimiter_hint(place.rpartition(":")[0], known)) is not None:
        return f" (the data has {names}; {hint})"
    close = nearest(name, known)
    if close is not None:
        return f" (is it `{close}`? --set input_mappings.{name}={close})"
    return f" (the data has {names})" if known else ""


def faulty_rows(task: Task, rows: Iterable[Row]) -> list[tuple[Row, str]]:
    """Return the first rows that the task can't render, with the reasons."""
    found: list[tuple[Row, str]] = []
    for row in rows:
        try:
            task.format_input(row.values, row.index)
        except RowError as error:
            found.append((row, error.message))
            if len(found) == FAULTY_ROWS:
                break
    return found
