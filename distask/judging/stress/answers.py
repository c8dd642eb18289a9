"""Find the columns that hold the judged answers, read them, and write changed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from distask.data.row import untabled
from distask.diagnostics import did_you_mean
from distask.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from distask.task.pipeline import Pipeline
    from distask.task.task import Task

_LISTS = ("generations", "responses", "answers", "completions", "candidates", "outputs", "texts")
_TEXTS = (
    *("generation", "response", "answer", "completion", "candidate", "output", "prediction", "reply"),
    *("text", "summary", "translation"),
)
_NOT_JUDGED = frozenset({"instruction", "prompt", "question", "query", "input", "reference", "context", "document"})


class Answers(Struct, frozen=True):
    """Where the answers are: in a column of texts, in a column of lists, or in several columns of texts."""

    columns: tuple[str, ...]
    listed: bool = False
    """Whether the column is declared to hold lists."""

    @property
    def are_several(self) -> bool:
        """Whether a row has several answers, whose order can be reversed."""
        return self.listed or len(self.columns) > 1

    def read(self, values: Mapping[str, Any], place: str = "") -> list[str] | None:
        """Return the answers of a row; None if one is null.

        Raises:
            InputError: an answer is not text.
        """
        found: list[Any] = [values.get(column) for column in self.columns]
        if len(self.columns) == 1:
            value = untabled(found[0]) if self.listed else found[0]
            found = list(value) if isinstance(value, list) else [value]
        if any(answer is None for answer in found) or not found:
            return None
        if not all(isinstance(answer, str) for answer in found):
            raise InputError(
                f"{place}: the answers in `{'`, `'.join(self.columns)}` are not texts, so they can't be changed; name "
                "another column with --answer, or test only consistency: --bias consistency"
            )
        return found

    def write(self, values: dict[str, Any], answers: Sequence[str]) -> dict[str, Any]:
        """Return the row with other answers."""
        if len(self.columns) > 1:
            return {**values, **dict(zip(self.columns, answers, strict=True))}
        column = self.columns[0]
        is_list = self.listed or isinstance(values.get(column), list)
        return {**values, column: list(answers) if is_list else answers[0]}


def find_answers(
    task: Task | Pipeline,
    named: Sequence[str] = (),
    *,
    sides: tuple[str, str] | str | None = None,
    entries: str | None = None,
) -> Answers | None:
    """Return where the answers are, or None if that is not clear from the task.

    Args:
        task: the judge's task.
        named: the columns that the user names: inputs of the task, or their columns in the data.
        sides: where a comparison has its two answers, as far as the task shows.
        entries: the list for whose entries the task gives a verdict each.

    Raises:
        UsageError: the task has no such input.
    """
    if named:
        return _of(task, tuple(_column(task, name) for name in named))
    if isinstance(sides, tuple):
        return Answers(sides)
    if (found := sides or entries) is not None:
        return Answers((found,), listed=True)
    for name in (*_LISTS, *_TEXTS):
        if name in task.input_columns:
            return _of(task, (task.dataset_name(name),))
    left = [name for name, column in task.input_columns.items() if column.required and name not in _NOT_JUDGED]
    left = left or [name for name, column in task.input_columns.items() if column.required]
    return _of(task, (task.dataset_name(left[0]),)) if len(left) == 1 else None


def _of(task: Task | Pipeline, columns: tuple[str, ...]) -> Answers:
    types = {task.dataset_name(name): column.type or "" for name, column in task.input_columns.items()}
    return Answers(columns, listed=len(columns) == 1 and types[columns[0]].startswith("list"))


def _column(task: Task | Pipeline, name: str) -> str:
    known = {task.dataset_name(own): own for own in task.input_columns}
    if name in known:
        return name
    if name in task.input_columns:
        return task.dataset_name(name)
    raise UsageError(f"--answer {name}: the task {task.name} has no such input; {did_you_mean(name, known)}")
