"""Build output rows from the generations of an input row: one row each, or one row with lists.

A generation is the outcome of one sample: its columns, or the reason why there are none. The shapes are those of
distilabel's tasks.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from distask.llm.request import Usage
from distask.task.aggregate import aggregated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distask.data.row import Row
    from distask.errors import RowError
    from distask.llm.request import Completion, Message
    from distask.task.pipeline import Pipeline
    from distask.task.task import Task

MODEL_COLUMN = "model_name"
METADATA_COLUMN = "distask_metadata"


class Generation(Struct):
    """The outcome of one sample of a row."""

    model: str
    """The requested model."""
    messages: list[Message] | None = None
    """The chat that was sent; None if it could not be rendered."""
    completion: Completion | None = None
    """The last reply; None if there was no reply."""
    columns: dict[str, Any] | None = None
    """The output columns; None if the generation failed."""
    error: RowError | None = None
    """Why it failed; if there are columns, why some entries of aligned lists are null."""
    usage: Usage = field(default_factory=Usage)
    """The total usage, including retried replies."""
    paid: bool = False
    """Whether this run requested any of its replies; if not, all of them were in the store."""


class Shape(Struct, frozen=True):
    """How generations become rows."""

    num_generations: int = 1
    grouped: bool = False
    metadata_column: str = METADATA_COLUMN
    only_outputs: bool = False
    """Whether to write only the task's outputs, and no row that failed."""
    keep: tuple[str, ...] = ()
    """Columns of the input to write as well, if only outputs are written."""

    def written(self, row: Row, new: dict[str, Any]) -> tuple[Row, dict[str, Any]]:
        """The row and the new columns to write; nulls are left out of a row that holds only outputs."""
        if not self.only_outputs:
            return row, new
        own = (self.metadata_column, MODEL_COLUMN)
        made = {name: value for name, value in new.items() if name not in own and value is not None}
        if not row.values and row.raw is None and row.cells is None:
            return row, made
        kept = {name: row.values[name] for name in self.keep if name in row.values}
        cells = None if row.cells is None or not kept else row.cells.renamed({name: name for name in kept})
        return replace(row, values=kept, raw=None, cells=cells), made


def output_rows(task: Task, shape: Shape, index: int, generations: Sequence[Generation]) -> list[dict[str, Any]]:
    """Build the columns added to input row `index`: a dict per output row, or no dict if all were dropped."""
    kept = list(enumerate(generations))
    if shape.only_outputs or task.spec.on_invalid.then == "drop":
        kept = [(sample, g) for sample, g in kept if g.error is None]
    if not kept:
        return []
    if not shape.grouped:
        return [
            {
                **(task.null_output() if g.columns is None else g.columns),
                shape.metadata_column: metadata(task, shape, index, sample, g),
                MODEL_COLUMN: g.model,
            }
            for sample, g in kept
        ]
    columns = [task.null_output() if g.columns is None else g.columns for g in generations]
    lists = {name: [c[name] for c in columns] for name in task.output_columns}
    return [
        {
            **lists,
            **aggregated(task.aggregates, lists),
            shape.metadata_column: [metadata(task, shape, index, s, g) for s, g in enumerate(generations)],
            MODEL_COLUMN: generations[0].model,
        }
    ]


def metadata(task: Task, shape: Shape, index: int, sample: int, generation: Generation) -> dict[str, Any]:
    """Build the metadata of one generation."""
    name, spec, completion = task.name, task.spec, generation.completion
    raw_input, raw_output, statistics_key, error_key = _keys(name)
    made: dict[str, Any] = {}
    if spec.add_raw_input:
        made[raw_input] = generation.messages
    if spec.add_raw_output:
        made[raw_output] = completion.text if completion else None
    made[statistics_key] = statistics(generation.usage)
    if generation.error is not None:
        made[error_key] = {"kind": generation.error.kind, "message": generation.error.message}
    if completion is not None:
        if spec.add_raw_output:
            if reasoning := task.reasoning_of(completion):
                made[f"reasoning_{name}"] = reasoning
            if completion.refusal:
                made[f"refusal_{name}"] = completion.refusal
            if completion.tool_calls:
                made[f"tool_calls_{name}"] = completion.tool_calls
            if completion.logprobs:
                made[f"logprobs_{name}"] = completion.logprobs
        if completion.finish_reason != "stop":
            made["finish_reason"] = completion.finish_reason
        if completion.model and completion.model != generation.model:
            made["served_model"] = completion.model
    if shape.num_generations > 1:
        made |= {"row": index, "sample": sample}
    return made


@cache
def _keys(name: str) -> tuple[str, str, str, str]:
    return f"raw_input_{name}", f"raw_output_{name}", f"statistics_{name}", f"error_{name}"


def statistics(usage: Usage) -> dict[str, int | float | None]:
    """Convert a usage for the metadata; leaves out parts that are zero, and the cost if the server did not send it."""
    made: dict[str, int | float | None] = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    if usage.is_brief:
        return made
    for part in ("cached_tokens", "cache_write_tokens", "reasoning_tokens"):
        if count := getattr(usage, part):
            made[part] = count
    if usage.cost is not None:
        made["cost_usd"] = usage.cost
    return made


def output_schemas(task: Task | Pipeline, shape: Shape) -> dict[str, Any]:
    """Return the JSON Schemas of all added columns, without nulls; they set the column types of a table."""
    from distask.task.task import Task

    grouped = shape.grouped and (isinstance(task, Task) or shape.num_generations > 1)
    if shape.only_outputs:
        return task.output_schemas(grouped=grouped)
    schemas = {**task.output_schemas(grouped=grouped), MODEL_COLUMN: {"type": "string"}}
    if isinstance(task, Task):
        metadata_of_one = _metadata_schema(task, shape)
        schemas[shape.metadata_column] = {"type": "array", "items": metadata_of_one} if grouped else metadata_of_one
    return schemas


def _metadata_schema(task: Task, shape: Shape) -> dict[str, Any]:
    """Return the JSON Schema of `metadata`, including the keys of failed and truncated generations."""
    text, count = {"type": "string"}, {"type": "integer"}

    def mapping(properties: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object", "properties": properties}

    name, parts = task.name, dict[str, Any]()
    if task.spec.add_raw_input:
        parts[f"raw_input_{name}"] = {"type": "array", "items": mapping({"role": text, "content": text})}
    if task.spec.add_raw_output:
        parts[f"raw_output_{name}"] = text
    parts[f"statistics_{name}"] = mapping({"input_tokens": count, "output_tokens": count})
    parts[f"error_{name}"] = mapping({"kind": text, "message": text})
    parts["finish_reason"] = text
    if shape.num_generations > 1:
        parts |= {"row": count, "sample": count}
    return mapping(parts)


def total(first: Usage, second: Usage) -> Usage:
    """Add two usages; tokens are unknown if both are unknown, the cost if either is unknown."""
    return Usage(
        _sum(first.input_tokens, second.input_tokens),
        _sum(first.output_tokens, second.output_tokens),
        first.cached_tokens + second.cached_tokens,
        first.cache_write_tokens + second.cache_write_tokens,
        first.reasoning_tokens + second.reasoning_tokens,
        None if first.cost is None or second.cost is None else first.cost + second.cost,
    )


def _sum(first: int | None, second: int | None) -> int | None:
    if first is None or second is None:
        return first if second is None else second
    return first + second
