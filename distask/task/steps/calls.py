"""Steps that run tasks: a task of a single call, and the start and end of a task of steps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.errors import RowError, UsageError
from distask.spec.language.steps import StepLLM
from distask.task.steps.flow import Ask, Count, Fork, fail, just, through
from distask.task.steps.item import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distask.spec.language.model import LLM
    from distask.spec.load import LoadedSpec
    from distask.task.chat.messages import ChatInput
    from distask.task.column_types import ColumnType
    from distask.task.draws import Draws
    from distask.task.steps.flow import Flow, Made, Step
    from distask.task.steps.item import Item
    from distask.task.steps.scope import Value
    from distask.task.task import Task

JUDGE_TAG = "judge"
"""The tag of tasks that score or compare."""
MOST_TASKS = 256
"""Maximum tasks to cache if params depend on the row."""


class CalledTask(Struct, frozen=True):
    """A task of a single call that a step runs, for the record of a run."""

    step: str
    """The step's name, which the metadata uses."""
    loaded: LoadedSpec
    """The task, with the step's column names."""
    params: Mapping[str, Any]
    """The values of its params; those that depend on the row as they are written."""
    judges: bool
    """Whether the task, or a task of steps around it, has the tag `judge`."""


class CutText(Struct, frozen=True):
    """A `chunk` step, for the record of a run."""

    step: str
    column: str
    """The column with the text."""
    columns: Mapping[str, str]
    """The columns in `CHUNK_COLUMNS`, and their names in the data."""


class Asked(Struct, frozen=True):
    """The request settings of a step."""

    task: Callable[[Item], Task]
    """The task with its params; raises `RowError`."""
    added: tuple[str, ...]
    """The columns that it adds."""
    num_generations: int
    grouped: bool
    llm: Value | StepLLM
    defaults: LLM
    own_model: bool
    """Whether the step sets its own model, which is then recorded in the metadata."""
    handles_failure: bool
    """Whether its `when` depends on the row, so that it also decides about failed rows."""
    again: bool
    """Whether an earlier step uses a task with the same name; if so, drawn values differ."""


class Call:
    """Runs a task of a single call."""

    def __init__(self, count: Count, asked: Asked) -> None:
        self.count = count
        self._asked = asked

    def flow(self, item: Item) -> Flow:
        """The row with the task's columns; one row per reply if replies are not grouped."""
        asked, name = self._asked, self.count.name
        if item.failed and not asked.handles_failure:
            self.count.skipped += 1
            return [_with_nulls(item, asked.added)]
        try:
            task = asked.task(item)
            llm = asked.llm if isinstance(asked.llm, StepLLM) else made_llm(asked.llm(item))
        except RowError as error:
            self.count.failed += 1
            return (yield from fail(name, _with_nulls(item, asked.added), error))
        self.count.asked += 1
        made: list[Made] = yield Ask(
            name,
            task,
            item.values,
            self._index(item),
            item.lineage,
            item.place,
            asked.num_generations,
            asked.grouped,
            llm,
            asked.defaults,
        )
        self.count.failed += all(each.failed for each in made) and bool(made)
        item.lineage.asked = True
        if asked.num_generations == 1 or asked.grouped:
            return [self._take(item, each) for each in made]
        return [
            self._take(item.child(dict(item.values), name, number, dict(item.metadata)), each)
            for number, each in enumerate(made)
        ]

    def _index(self, item: Item) -> int | str:
        """The index for draws: the row's position, as for the task alone, unless loops or other steps share it."""
        if not item.turns and not self._asked.again:
            index = item.lineage.index
            return int(index) if index.isdigit() else index
        return "/".join([item.lineage.index, self.count.name, *map(str, item.turns)])

    def _take(self, item: Item, made: Made) -> Item:
        item.values = {**item.values, **made.columns}
        item.metadata |= made.metadata
        if self._asked.own_model:
            item.metadata[f"model_{self.count.name}"] = made.model
        item.model = made.model or item.model
        item.failed = made.failed
        return item


def _check(frame: Frame, values: Mapping[str, Any]) -> None:
    """Raise `RowError` if a required column is null or missing, or a column has the wrong type."""
    for name, kind, required, unchecked in frame.inputs:
        chat = frame.chat_input(name) if required else None
        value = values.get(name) if chat is None else chat.read(values)
        if type(value) in unchecked:
            continue
        if value is None and required:
            raise RowError("null_input", f"the column `{kind.name}` is null")
        try:
            if value is not None:
                kind.read(value)
        except ValueError as error:
            raise RowError("wrong_type", str(error)) from None


def _with_nulls(item: Item, names: Sequence[str]) -> Item:
    item.values = {**item.values, **{name: None for name in names if name not in item.values}}
    return item


def made_llm(written: Mapping[str, Any]) -> StepLLM:
    """The `llm` settings of a step, rendered; raises `RowError`."""
    given = {key: value for key, value in written.items() if value is not None}
    for key in ("config", "model"):
        if key in given and not isinstance(given[key], str):
            raise RowError("llm", f"`{key}` must be a name, not {json.dumps(given[key], default=str):.60}")
    return StepLLM.model_validate(given)


class Tasks:
    """Tasks whose params depend on the row: one for each combination of values."""

    def __init__(self, params: Value, make: Callable[[Mapping[str, Any]], Task]) -> None:
        self._params = params
        self._make = make
        self._made: dict[str, Task] = {}

    def __call__(self, item: Item) -> Task:
        """The task for a row; raises `RowError` if its params are invalid."""
        params = self._params(item)
        key = json.dumps(params, sort_keys=True, default=repr)
        task = self._made.get(key)
        if task is None:
            try:
                task = self._make(params)
            except UsageError as error:
                raise RowError("params", str(error)) from None
            if len(self._made) >= MOST_TASKS:
                self._made.pop(next(iter(self._made)))
            self._made[key] = task
        return task


class Frame(Struct, frozen=True):
    """How columns map between a task of steps and the outer row."""

    mapped: Mapping[str, str]
    """Inner column to outer column."""
    inputs: tuple[tuple[str, ColumnType, bool, frozenset[type]], ...]
    """The input columns: inner name, type, whether it is required, and Python types whose values need no check."""
    defaults: Mapping[str, Any]
    """Default values of optional inner columns."""
    draws: Draws
    drawn: tuple[str, ...]
    outputs: Mapping[str, tuple[str, ColumnType]] | None
    """Inner column to its outer name and type; None to keep every column that the steps add."""
    renamed: Mapping[str, str]
    """Inner column to its outer name, if there are no outputs."""
    chat_input: Callable[[str], ChatInput | None]
    """The input of a step's task that reads a chat from a column."""


class Enter:
    """Begins a task of steps: sets up its column names and drawn values."""

    def __init__(self, count: Count, frame: Frame) -> None:
        self.count = Count(count.name, count.kind)
        self._task = count
        self._frame = frame

    def flow(self, item: Item) -> Flow:
        """The row as seen by the task's steps."""
        self._task.came += 1
        frame, around = self._frame, item.values
        item.frames = (*item.frames, around)
        values = {**around, **{inside: around.get(outside) for inside, outside in frame.mapped.items()}}
        for name, default in frame.defaults.items():
            if values.get(name) is None:
                values[name] = default
        item.values = {**values, **dict.fromkeys(frame.drawn)}
        try:
            if frame.drawn:
                index = "/".join([item.lineage.index, *map(str, item.turns)])
                item.values |= frame.draws.of(int(index) if index.isdigit() else index, values)
            if not item.failed:
                _check(frame, values)
        except RowError as error:
            self._task.failed += 1
            return (yield from fail(self._task.name, item, error))
        return [item]


class Leave:
    """Ends a task of steps: adds its columns to the outer row."""

    def __init__(self, count: Count, frame: Frame) -> None:
        self.count = Count(count.name, count.kind)
        self._task = count
        self._frame = frame
        self._own = (*frame.drawn, *frame.mapped, *frame.defaults)

    def direct(self, item: Item) -> list[Item] | None:
        """See `flow`; None if an output has the wrong type."""
        frame, around, inside = self._frame, item.frames[-1], item.values
        if frame.outputs is not None:
            rejected = item.rejected == len(item.frames)
            try:
                made = {
                    outside: None if rejected or (value := inside.get(name)) is None else column.read(value)
                    for name, (outside, column) in frame.outputs.items()
                }
            except ValueError:
                return None
            item.values = {**around, **made}
            item.rejected = None if rejected else item.rejected
        elif self._own or frame.renamed:
            own = {*frame.drawn, *(n for n in self._own if n not in around)}
            item.values = {frame.renamed.get(n, n): value for n, value in inside.items() if n not in own}
        item.frames = item.frames[:-1]
        self._task.went += 1
        return [item]

    def flow(self, item: Item) -> Flow:
        """The outer row with the task's outputs; with every column that the steps left, if it has no outputs."""
        self._task.went += 1
        frame, inside = self._frame, item.values
        around = item.frames[-1]
        rejected = item.rejected == len(item.frames)
        item.frames = item.frames[:-1]
        assert frame.outputs is not None
        made, wrong = {}, None
        for name, (outside, column) in frame.outputs.items():
            value = None if rejected else inside.get(name)
            try:
                made[outside] = None if value is None else column.read(value)
            except ValueError as error:
                made[outside], wrong = None, RowError("type", str(error))
        item.values = {**around, **made}
        item.rejected = None if rejected else item.rejected
        if wrong is not None and not item.failed:
            self._task.failed += 1
            return (yield from fail(self._task.name, item, wrong))
        return [item]


class Several:
    """Runs a task of steps several times per row, giving one row each, or one row with lists."""

    def __init__(self, count: Count, steps: Sequence[Step], num_generations: int, *, grouped: bool) -> None:
        self.count = count
        self._steps = steps
        self._num_generations = num_generations
        self._grouped = grouped

    def flow(self, item: Item) -> Flow:
        """The resulting rows."""
        if self._num_generations == 1:
            return (yield from through(self._steps, item))
        around = dict(item.values)
        metadata = {} if self._grouped else item.metadata
        children = [
            item.child(dict(around), self.count.name, number, dict(metadata)) for number in range(self._num_generations)
        ]
        done = yield Fork([through(self._steps, child) for child in children])
        made = [each for several in done for each in several]
        if not self._grouped:
            return made
        item.lineage.asked = True
        names = dict.fromkeys(
            n for each in made for n, v in each.values.items() if n not in around or v is not around[n]
        )
        item.values = {**around, **{name: [each.values.get(name) for each in made] for name in names}}
        item.metadata |= side_by_side([each.metadata for each in made])
        item.model = next((each.model for each in reversed(made) if each.model is not None), item.model)
        item.failed = bool(made) and all(each.failed for each in made)
        return (yield from just([item]))
