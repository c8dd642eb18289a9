"""Run a pipeline: each row moves through the steps independently, as soon as its replies arrive."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from distask.data.row import Row, identical
from distask.errors import RowError
from distask.runner.engine.calls import together
from distask.runner.engine.engine import PendingRow
from distask.runner.engine.one_task import flat_metadata
from distask.runner.engine.requests import Occurrences
from distask.runner.generations import MODEL_COLUMN
from distask.task.draws import SAMPLE
from distask.task.steps.flow import Ask, Fork, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence

    from distask.runner.engine.engine import OutputRow
    from distask.runner.engine.shared import Shared
    from distask.runner.engine.step_calls import MadeLater, StepCalls
    from distask.runner.generations import Shape
    from distask.task.pipeline import Pipeline
    from distask.task.steps.flow import Flow
    from distask.task.steps.item import Item

_LEFT_OUT = object()
"""Sent to a flow that can't continue in this run."""
_MISSING = object()


class CarriedRow(Row):
    """A row between two segments, with its current state."""

    item: Item | None = None
    sample: int = 0


class _Waiting(Struct, frozen=True):
    """A flow that waits for replies."""

    flow: Flow
    later: Callable[[], Coroutine[Any, Any, Any]]
    size: int = 0
    """Bytes of the current requests."""


class Steps:
    """The engine's work for each row of one segment.

    Args:
        pipeline: the task.
        segment: the segment's number.
        asking: answers the requests of steps.
        shape: how many generations each row has, and how they become rows.
        shared: the run's shared state.
    """

    def __init__(self, pipeline: Pipeline, segment: int, asking: StepCalls, shape: Shape, shared: Shared) -> None:
        self._pipeline = pipeline
        self._segment = segment
        self._first = segment == 0
        self._last = segment == len(pipeline.segments) - 1
        self._asking = asking
        self._shape = shape
        self._shared = shared
        self._equal = Occurrences()
        self._last_bare: tuple[Row, Row] | None = None
        """The last row without columns, next to the row that it was made of: rows that are made of one row share it."""
        self.left_out = 0
        """Number of rows that can't continue because they wait for a batch."""

    def begin(self, rows: Sequence[Row]) -> Iterator[list[OutputRow] | PendingRow]:
        """Return the output rows, or pending rows where replies are not in the store."""
        return map(self._begun, rows)

    def _begun(self, row: Row) -> list[OutputRow] | PendingRow:
        if row.error is not None:
            return self._refused(row, RowError("bad_row", str(row.error)))
        if isinstance(row, CarriedRow) and row.item is not None:
            items = [(row.sample, row.item)]
        else:
            row, items = self._entered(row)
        if len(items) == 1:
            ((sample, item),) = items
            state = self._advance(self._pipeline.flow(self._segment, item), None)
            if isinstance(state, _Waiting):
                return PendingRow(partial(self._finish, row, [(sample, state)]), state.size)
            return self._end(row, [(sample, state)])
        begun = [(sample, self._advance(self._pipeline.flow(self._segment, item), None)) for sample, item in items]
        if any(isinstance(state, _Waiting) for _, state in begun):
            held = sum(state.size for _, state in begun if isinstance(state, _Waiting))
            return PendingRow(partial(self._finish, row, begun), held)
        return self._end(row, [(sample, state) for sample, state in begun if not isinstance(state, _Waiting)])

    async def _finish(self, row: Row, begun: Sequence[tuple[int, Any]]) -> list[OutputRow]:
        done = await together([partial(self._to_its_end, state) for _, state in begun])
        return self._end(row, [(sample, items) for (sample, _), items in zip(begun, done, strict=True)])

    # Rows enter the first segment and leave the last

    def _entered(self, row: Row) -> tuple[Row, list[tuple[int, Item]]]:
        """Return the row and an item for each generation; the metadata keeps that of an earlier task."""
        metadata_column = self._shape.metadata_column
        earlier: dict[str, Any] = {}
        if metadata_column in row.values or MODEL_COLUMN in row.values:
            taken = [name for name in (metadata_column, MODEL_COLUMN) if name in row.values]
            earlier = flat_metadata(row.values.get(metadata_column))
            if MODEL_COLUMN in taken:
                earlier["input_model_name"] = row.values[MODEL_COLUMN]
            row = replace(row, values={n: v for n, v in row.values.items() if n not in taken}, raw=None)
        identity = self._pipeline.identity(row.values)
        item = self._pipeline.item(row.values, row.index, row.place, self._equal.next(identity), identity)
        item.metadata = dict(earlier)
        if self._shape.num_generations == 1:
            return row, [(0, item)]
        more = range(1, self._shape.num_generations)
        return row, [(0, item), *((n, item.child(dict(row.values), SAMPLE, n, dict(earlier))) for n in more)]

    def _end(self, row: Row, done: Sequence[tuple[int, list[Item] | None]]) -> list[OutputRow]:
        made = [(sample, items) for sample, items in done if items is not None]
        if len(made) < len(done):
            self.left_out += 1
            return []
        if not self._last:
            return [(_carrying(row, item, sample), {}) for sample, items in made for item in items]
        if self._shape.only_outputs:
            made = [(sample, [item for item in items if not item.failed]) for sample, items in made]
        if self._shape.grouped and self._shape.num_generations > 1:
            return [self._shape.written(*out) for out in self._grouped(row, made)]
        outs = [self._out(row, item, sample) for sample, items in made for item in items]
        return [self._shape.written(*out) for out in outs] if self._shape.only_outputs else outs

    def _out(self, row: Row, item: Item, sample: int) -> OutputRow:
        shape, own, values, metadata = self._shape, row.values, item.values, item.metadata
        if shape.num_generations > 1:
            metadata = {**metadata, "row": row.index, "sample": sample}
        if shape.only_outputs:
            kept = row if shape.keep or row.cells is not None else self._bare(row, item)
            new = {name: values.get(name) for name in self._pipeline.output_columns}
        elif _keeps(values, own):
            kept, new = row, {name: value for name, value in values.items() if name not in own}
        else:
            kept, new = self._bare(row, item), values.copy()
        new[shape.metadata_column] = metadata
        new[MODEL_COLUMN] = item.model
        return kept, new

    def _bare(self, row: Row, item: Item) -> Row:
        """Return a row without columns, for steps that changed some; its cells are those that they did not change."""
        cells, own, values = row.cells, row.values, item.values
        if cells is not None:
            origins = {name: item.origins.get(name, name) for name in values}
            cells = cells.renamed({n: of for n, of in origins.items() if of in own and identical(own[of], values[n])})
            return replace(row, values={}, raw=None, cells=cells)
        if self._last_bare is None or self._last_bare[0] is not row:
            self._last_bare = row, replace(row, values={}, raw=None)
        return self._last_bare[1]

    def _grouped(self, row: Row, made: Sequence[tuple[int, list[Item]]]) -> list[OutputRow]:
        """Build one row from all generations, with lists as output columns."""
        rows = [(sample, item) for sample, items in made for item in items]
        if not rows:
            return []
        outs = [self._out(row, item, sample)[1] for sample, item in rows]
        names = dict.fromkeys(name for out in outs for name in out if name != MODEL_COLUMN)
        model = next((out[MODEL_COLUMN] for out in reversed(outs) if out[MODEL_COLUMN] is not None), None)
        return [(row, {**{name: [out.get(name) for out in outs] for name in names}, MODEL_COLUMN: model})]

    def _refused(self, row: Row, error: RowError) -> list[OutputRow]:
        self._shared.stats.generations += 1
        self._shared.failed(row.place, 0, error.kind, error.message)
        parts = {f"error_{self._pipeline.name}": {"kind": error.kind, "message": error.message}}
        new = {**self._pipeline.null_output(), self._shape.metadata_column: parts, MODEL_COLUMN: None}
        return [(row, new)] if self._last and not self._shape.only_outputs else []

    # Flows

    def _advance(self, flow: Flow, sent: Any) -> list[Item] | _Waiting | None:
        """Advance a flow as far as replies are available; forked rows advance in order.

        Returns None if the row waits for a batch.
        """
        while True:
            if sent is _LEFT_OUT:
                flow.close()
                return None
            try:
                wanted = flow.send(sent)
            except StopIteration as end:
                items: list[Item] = end.value
                return items
            if isinstance(wanted, Ask):
                begun = self._asking.begin(wanted, first=self._first)
                if begun is not None and not isinstance(begun, list):
                    return _Waiting(flow, partial(_or_left_out, begun), begun.size)
                sent = _LEFT_OUT if begun is None else begun
            elif isinstance(wanted, Fork):
                parts = [self._advance(each, None) for each in wanted.flows]
                if any(isinstance(part, _Waiting) for part in parts):
                    held = sum(part.size for part in parts if isinstance(part, _Waiting))
                    return _Waiting(flow, partial(self._side_by_side, parts), held)
                sent = _LEFT_OUT if any(part is None for part in parts) else parts
            elif isinstance(wanted, Work):
                return _Waiting(flow, partial(asyncio.to_thread, wanted.call))
            else:
                self._shared.stats.generations += 1
                error = wanted.error
                self._shared.failed(f"{wanted.place}, step {wanted.step}", 0, error.kind, error.message)
                sent = None

    async def _side_by_side(self, parts: Sequence[list[Item] | _Waiting | None]) -> Any:
        done = await together([partial(self._to_its_end, part) for part in parts])
        return _LEFT_OUT if any(items is None for items in done) else done

    async def _to_its_end(self, state: list[Item] | _Waiting | None) -> list[Item] | None:
        while isinstance(state, _Waiting):
            state = self._advance(state.flow, await state.later())
        return state


async def _or_left_out(later: MadeLater) -> Any:
    made = await later.finish()
    return _LEFT_OUT if made is None else made


def _carrying(row: Row, item: Item, sample: int) -> CarriedRow:
    return CarriedRow(
        row.values, row.file, row.line, row.raw, index=row.index, cells=row.cells, item=item, sample=sample
    )


def _keeps(values: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Return whether all of a row's own columns are unchanged in `values`."""
    for name, value in own.items():  # noqa: SIM110 - `all` with a generator would take three times as long
        if values.get(name, _MISSING) is not value:
            return False
    return True
