"""Check the data against a task before the first request: missing columns, name conflicts and wrong types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distask.data.readers.delimiter import delimiter_hint
from distask.diagnostics import nearest
from distask.errors import InputError, RowError
from distask.runner.generations import MODEL_COLUMN
from distask.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distask.data.input import Input
    from distask.data.row import Row
    from distask.task.pipeline import Pipeline

FAULTY_ROWS = 20
"""Maximum number of rows with wrong types to report."""


def check_columns(task: Task | Pipeline, rows: Input, metadata_column: str) -> None:
    """Raise `InputError` if the data lacks a column that the task needs, or already has one that it adds."""
    faults = missing_columns(task, rows)
    faults += [
        f"{rows.name}: the data already has a column `{name}`, which the task {task.name} adds; {_way(task, name)}"
        for name in task.added_columns
        if name in (rows.columns or ())
    ]
    if metadata_column in task.added_columns or MODEL_COLUMN in task.added_columns:
        faults.append(f"the task {task.name} has an output with the name of the metadata column; rename one of them")
    if faults:
        raise InputError("\n".join(faults))


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
