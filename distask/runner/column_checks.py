"""Hold data against a task, before anything is asked: what it lacks, what it has already, what has a wrong type."""

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
"""Rows of a wrong type that are told, at the most."""


def check_columns(task: Task | Pipeline, rows: Input, metadata_column: str) -> None:
    """Raise `InputError` where the data lacks a column that the task needs, or has one that it would add."""
    faults = [
        f"{place}: column `{name}` is missing here{_elsewhere(count)}; "
        f"the task {task.name} needs it{_did_you_mean(name, rows, place)}"
        for name, (count, place) in rows.missing.items()
    ]
    faults += [
        f"{rows.name}: the data has a column `{name}` already, which the task {task.name} would add; {_way(task, name)}"
        for name in task.added_columns
        if name in (rows.columns or ())
    ]
    if metadata_column in task.added_columns or MODEL_COLUMN in task.added_columns:
        faults.append(f"the task {task.name} has an output that is called like the metadata column; rename one")
    if faults:
        raise InputError("\n".join(faults))


def _way(task: Task | Pipeline, name: str) -> str:
    if isinstance(task, Task) or name in task.output_columns:
        return f"give it another name: --set output_mappings.{name}=NEW"
    return f"give it another name in its step: `output_mappings: {{{name}: new_{name}}}`"


def _elsewhere(count: int) -> str:
    return f" and in {count - 1:,} rows more" if count > 1 else ""


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
    """The first rows that the task can't render, and why."""
    found: list[tuple[Row, str]] = []
    for row in rows:
        try:
            task.format_input(row.values, row.index)
        except RowError as error:
            found.append((row, error.message))
            if len(found) == FAULTY_ROWS:
                break
    return found
