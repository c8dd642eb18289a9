"""Set a run up, do it, and say how it ended: from a task, a source and an LLM to a result.

All that can be wrong is told here before the first call: the data against the task, the config, the output, the store.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from distask.data import open_input, open_output, rows_input
from distask.data.destination import destination
from distask.data.objects import is_object
from distask.errors import RunError, UsageError
from distask.llm.client import build_client
from distask.llm.config import Resolved, load_config
from distask.llm.prices import known_of
from distask.runner.budget import Budget
from distask.runner.calls import Calls
from distask.runner.columns import check_columns
from distask.runner.engine import Engine
from distask.runner.generations import METADATA_COLUMN, Shape
from distask.runner.length import LongRows
from distask.runner.one_task import OneTask
from distask.runner.record import claim, record_path, refuse_to_replace, told, write_record
from distask.runner.requests import Target, merged
from distask.runner.shared import Shared
from distask.runner.stats import Stats
from distask.store import Store, store_path
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from distask.data.destination import Destination
    from distask.data.input import Input
    from distask.data.row import Row
    from distask.data.writers import Writer
    from distask.runner.record import Identity
    from distask.runner.shared import Failed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of the input are done: `offset` and `limit` first, then the shard, then the sample."""

    limit: int | None = None
    offset: int = 0
    sample: int | None = None
    shard: tuple[int, int] | None = None
    """(i, k): every k-th row, from the i-th, i from 1."""


@dataclass(frozen=True, slots=True)
class Result:
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
    task: Task | str | Path,
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
    max_cost: float | None = None,
    observe: Callable[[Stats], None] | None = None,
) -> Result:
    """Run a task over rows; what was asked before, with the same store, is not asked again.

    Args:
        task: a task, or what `Task.load` takes: a file or a built-in task's name.
        rows: what `--input` takes (a file, a glob, a folder, `hf://owner/name@split`), or the rows themselves.
        llm: a config: its file or built-in name, its keys, or one that is resolved. None takes the environment's.
        output: `.jsonl`, `.csv`, `.parquet`, also in an object store (`s3://…`); `hf://owner/name`, a dataset of the
            Hub; "-" for stdout; None returns the rows.
        num_generations: replies for each row, instead of the spec's.
        group_generations: one row with lists instead of a row each, instead of the spec's.
        selection: which rows are done; all of them where it is left out.
        store: the store's file; None takes `.distask/store.db` beside the output; False keeps nothing.
        metadata_column: what the metadata column is called.
        overwrite: whether an output of another run is replaced.
        private: whether a dataset that is made on the Hub is private.
        on_bad_row: "stop" raises at a row that can't be read, before any call; "skip" leaves it out and counts it.
        max_cost: USD that may be spent; the run ends before a call that might pass it. Needs the model's price.
        observe: called about ten times a second, and at the end, with the counts.

    Raises:
        UsageError: the spec, the config, the data or the output is wrong; nothing was asked.
        RunError: the endpoint, the store or the output ended the run; what was paid for is in the store, and
            what is done is in `OUT.partial`. Run again to go on.
    """
    if not isinstance(task, Task):
        task = Task.load(task)
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
        max_cost=max_cost,
    )
    return job.run(observe)


@dataclass(frozen=True, slots=True)
class Job:
    """A run that is set up, not begun: `run` does it, `distask.runner.plan` says what it would ask."""

    task: Task
    llm: Resolved
    source: Any
    output: str | None
    shape: Shape
    selection: Selection
    store: str | Path | Literal[False] | None = None
    overwrite: bool = False
    private: bool = False
    on_bad_row: Literal["stop", "skip"] = "stop"
    max_cost: float | None = None
    """USD that may be spent."""

    def run(self, observe: Callable[[Stats], None] | None = None, tell: Callable[[str], None] | None = None) -> Result:
        """Do it; see `run` for what it raises. `tell` is given, once each, sentences that the user should know."""
        long_rows = LongRows(self.task, known_of(self.llm).context)
        rows = self.open_input(long_rows.look if long_rows.context else None)
        if tell is not None and long_rows.count:
            tell(long_rows.told())
        path, far = self._output_path(), self._destination()
        if far is not None:
            far.check(overwrite=self.overwrite)
        if path is not None:
            refuse_to_replace(path, self.identity(), overwrite=self.overwrite)
        stats = Stats(total=rows.count)
        writer = Collected() if self.output is None else self._open_output(path)
        try:
            with self.open_store() or nullcontext() as store:
                failures = self._go(rows, writer, store, stats, observe, tell)
                damaged = 0 if store is None else store.damaged
        except BaseException as error:
            writer.abort()
            if isinstance(error, RunError):
                error.stats, error.partial = stats, writer.partial
            raise
        notes = list(writer.notes)
        if damaged:
            notes.append(f"{damaged:,} replies in the store were damaged, and were asked for again")
        if rows.changed():
            notes.append(f"{rows.name} was changed while the run went on; run again to do the rows as they are now")
        if path is not None:
            self._write_record(path, writer.sha256, rows, stats, failures)
        address = None if far is None or path is None else far.send(record_path(path), self._told(stats))
        rows_made = writer.rows if isinstance(writer, Collected) else None
        return Result(stats, path, rows_made, failures, notes, address)

    def _go(
        self,
        rows: Input,
        writer: Writer,
        store: Store | None,
        stats: Stats,
        observe: Callable[[Stats], None] | None,
        tell: Callable[[str], None] | None,
    ) -> list[Failed]:
        async def work() -> list[Failed]:
            concurrency = self.llm.config.limits.concurrency
            whom, last = target(self.llm, tell), fallback(self.task, self.llm)
            stats.priced = whom.price is not None
            shared = Shared(stats, concurrency, budget_of(self.max_cost, stats, whom, last))
            calls = Calls(
                self.task,
                self.shape.num_generations,
                whom,
                store,
                shared,
                fallback=last,
            )
            engine = Engine(OneTask(calls, whom, self.shape), shared, concurrency=concurrency, observe=observe)
            await engine.run(rows, writer)
            return shared.failures

        try:
            return run_loop(work)
        finally:
            stats.skipped = rows.skipped
            stats.end()

    def _open_output(self, path: Path | None) -> Writer:
        if path is None:
            return open_output("-")
        return open_output(str(path), lambda sha256: claim(path, self.identity(), sha256))

    def _write_record(
        self, path: Path, sha256: str | None, rows: Input, stats: Stats, failures: Sequence[Failed]
    ) -> None:
        write_record(
            path,
            identity=self.identity(),
            sha256=sha256,
            spec=self._spec(),
            settings={**self._settings(), "price": self._price()},
            columns={"input": rows.columns, "metadata": self.shape.metadata_column},
            stats=stats,
            failures=failures,
        )

    def _told(self, stats: Stats) -> dict[str, Any]:
        return told(self.identity(), self._spec(), self._settings(), self.llm.generation, stats)

    def _spec(self) -> dict[str, Any]:
        return self.task.spec.model_dump(exclude_unset=True, by_alias=True)

    def _settings(self) -> dict[str, Any]:
        return {
            "params": self.task.params,
            "seed": self.task.seed,
            "num_generations": self.shape.num_generations,
            "group_generations": self.shape.grouped,
            "config": {key: {"value": value, "from": origin} for key, value, origin in self.llm.show()},
        }

    def _price(self) -> dict[str, Any] | None:
        price = known_of(self.llm).price
        return None if price is None else price.model_dump()

    def _destination(self) -> Destination | None:
        return destination(self.output, private=self.private)

    def _output_path(self) -> Path | None:
        """The file that is written; None for stdout, and for rows that the caller gets."""
        far = self._destination()
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
                limit=chosen.limit,
                offset=chosen.offset,
                sample=chosen.sample,
                seed=self.task.seed,
                shard=chosen.shard,
                columns_needed=needed,
                on_bad_row=self.on_bad_row,
            )
            if not is_remote(str(self.source)):
                self.task.allow(Path(self.source).parent)
        else:
            rows = rows_input(
                self.source,
                limit=chosen.limit,
                offset=chosen.offset,
                sample=chosen.sample,
                seed=self.task.seed,
                shard=chosen.shard,
                columns_needed=needed,
            )
        rows.scan(look)
        check_columns(self.task, rows, self.shape.metadata_column)
        return rows

    def open_store(self) -> Store | None:
        """Where completions are kept; None for nowhere: `--no-store`, and replies of the offline provider."""
        path = self._store_path()
        return None if path is None else Store(path)

    def open_existing_store(self) -> Store | None:
        """The store where there is one already: a plan makes none."""
        path = self._store_path()
        return Store(path) if path is not None and path.exists() else None

    def _store_path(self) -> Path | None:
        if self.store is False or self.llm.config.provider == "offline":
            return None
        if self.store is not None:
            return Path(self.store)
        path = self._output_path()
        return store_path(Path("rows") if path is None or self._destination() is not None else path)

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


def _source_name(source: Any) -> str:
    if not isinstance(source, str | Path):
        return "<rows>"
    return str(source) if is_remote(str(source)) else str(Path(source).resolve())


def is_remote(source: str) -> bool:
    """Whether a source is no path of this machine: the Hub, or stdin."""
    return source == "-" or source.startswith("hf://") or is_object(source)


class Collected:
    """Rows out for the Python API: kept in a list."""

    partial: Path | None = None
    sha256: str | None = None

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.notes: list[str] = []

    def write(self, row: Row, new: Mapping[str, Any]) -> None:
        """Keep a row."""
        self.rows.append({**row.values, **new})

    def commit(self) -> None:
        """Nothing is left to do."""

    def abort(self) -> None:
        """Nothing is left to do."""


def resolve(llm: Resolved | Mapping[str, Any] | str | Path | None, task: Task, **changes: Any) -> Resolved:
    """The LLM config of a run, from what `run` takes for one."""
    if isinstance(llm, Resolved):
        return llm
    if isinstance(llm, Mapping):
        return load_config(None, contents=dict(llm), spec_llm=task.spec.llm, environ=os.environ, **changes)
    return load_config(None if llm is None else str(llm), spec_llm=task.spec.llm, environ=os.environ, **changes)


def shape_of(task: Task, num_generations: int | None, grouped: bool | None, metadata_column: str) -> Shape:
    """How generations become rows: the spec's way, but for what the run sets."""
    spec = task.spec
    if grouped is False and task.aggregates:
        raise UsageError(
            f"the task {task.name} makes `{task.aggregates[0].column}` of a row's generations, which needs them "
            "grouped: leave --no-group-generations out"
        )
    return Shape(
        spec.num_generations if num_generations is None else num_generations,
        spec.group_generations if grouped is None else grouped,
        metadata_column,
    )


def target(llm: Resolved, tell: Callable[[str], None] | None = None) -> Target:
    """Whom a config says to ask; `tell` is given what the user should know of the server."""
    offline = llm.config.provider == "offline"
    model = llm.config.model or "(the first one that the server lists)"
    price = None if offline else known_of(llm).price
    return Target(build_client(llm, tell), llm.endpoint(), model, llm.generation, keep=not offline, price=price)


def budget_of(max_cost: float | None, stats: Stats, *targets: Target | None) -> Budget | None:
    """What a run may spend; raises `UsageError` where nobody knows what a token costs."""
    if max_cost is None:
        return None
    for whom in targets:
        if whom is not None and whom.price is None and whom.keep:
            raise UsageError(
                f"--max-cost needs to know what {whom.model} costs at {whom.endpoint}: USD for a million tokens, "
                "--set price.input=0.40 --set price.output=1.60, or `price` in the config"
            )
    return Budget(max_cost, stats)


def fallback(task: Task, llm: Resolved) -> Target | None:
    """Whom the spec says to ask last: another model of the same endpoint, or a built-in config's."""
    wanted = task.spec.on_invalid.fallback
    if wanted is None:
        return None
    if isinstance(wanted, str):
        return target(load_config(wanted, environ=os.environ))
    first = target(llm)
    return Target(
        first.client,
        first.endpoint,
        wanted.model or first.model,
        merged(first.generation, wanted.keywords()),
        keep=first.keep,
        price=known_of(replace(llm, config=llm.config.model_copy(update={"model": wanted.model or first.model}))).price,
    )


def run_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end, also where a loop is running already (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()
