"""Run a single task: each input row becomes output rows from the generations of one request."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from distask.errors import RowError
from distask.runner.engine.calls import Pending
from distask.runner.engine.engine import PendingRow
from distask.runner.engine.requests import Requests, RowRequest
from distask.runner.generations import MODEL_COLUMN, output_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distask.data.row import Row
    from distask.runner.engine.calls import Calls
    from distask.runner.engine.engine import OutputRow
    from distask.runner.engine.requests import Target
    from distask.runner.generations import Generation, Shape


class OneTask:
    """The engine's work for each row of a single task.

    Args:
        calls: the task's calls.
        target: the model and endpoint that they use.
        shape: how generations become rows.
    """

    def __init__(self, calls: Calls, target: Target, shape: Shape) -> None:
        self._calls = calls
        self._shape = shape
        self._requests = Requests(calls.task, target)

    def begin(self, rows: Sequence[Row]) -> Iterator[list[OutputRow] | PendingRow]:
        """Yield the output rows, or pending rows where replies are not in the store."""
        wanted = [self._asked(row) for row in rows]
        found = iter(self._calls.find([asked for asked in wanted if isinstance(asked, RowRequest)]))
        for row, asked in zip(rows, wanted, strict=True):
            if isinstance(asked, RowError):
                yield self._end(row, self._calls.refused(asked))
                continue
            begun = self._calls.begin(row.values, row.index, asked, next(found))
            if isinstance(begun, Pending):
                yield PendingRow(partial(self._finish, row, begun), asked.size)
            else:
                yield self._end(row, begun)

    def _asked(self, row: Row) -> RowRequest | RowError:
        if row.error is not None:
            return RowError("bad_row", str(row.error))
        try:
            return self._requests.of(row.values, row.index)
        except RowError as error:
            return error

    async def _finish(self, row: Row, pending: Pending) -> list[OutputRow]:
        return self._end(row, await self._calls.finish(pending))

    def _end(self, row: Row, generations: Sequence[Generation]) -> list[OutputRow]:
        shape = self._shape
        self._calls.count(lambda: row.place, generations)
        made = output_rows(self._calls.task, shape, row.index, generations)
        if made and (MODEL_COLUMN in row.values or shape.metadata_column in row.values):
            taken = [c for c in (shape.metadata_column, MODEL_COLUMN) if c in row.values]
            row, made = taken_over(row, made, taken, shape.metadata_column)
        return [shape.written(row, new) for new in made] if shape.only_outputs else [(row, new) for new in made]


def taken_over(
    row: Row, new: list[dict[str, Any]], taken: Sequence[str], metadata_column: str
) -> tuple[Row, list[dict[str, Any]]]:
    """Merge the metadata and the model name of an earlier task into the new metadata."""
    earlier = flat_metadata(row.values.get(metadata_column))
    if MODEL_COLUMN in taken:
        earlier["input_model_name"] = row.values[MODEL_COLUMN]
    kept = {name: value for name, value in row.values.items() if name not in taken}

    def joined(made: Any) -> Any:
        return [{**earlier, **m} for m in made] if isinstance(made, list) else {**earlier, **made}

    rows = [{**columns, metadata_column: joined(columns[metadata_column])} for columns in new]
    return replace(row, values=kept, raw=None), rows


def flat_metadata(metadata: Any) -> dict[str, Any]:
    """Return earlier metadata as one mapping; for grouped generations, as a mapping to lists."""
    if isinstance(metadata, dict):
        return dict(metadata)
    if not isinstance(metadata, list) or not all(isinstance(each, dict) for each in metadata):
        return {}
    return {
        key: [each.get(key) for each in metadata] for key in dict.fromkeys(key for each in metadata for key in each)
    }
