"""Run a row through steps, as a generator that requests replies as needed and is independent of models and event loops.

It yields an `Ask` and receives the results, or a `Fork` of rows that continue in parallel and receives the rows from
each. The caller (a run, a test case or a rehearsal) decides where replies come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from distask.errors import RowError
from distask.task.steps.item import Item

if TYPE_CHECKING:
    from distask.spec.language.model import LLM
    from distask.spec.language.steps import StepLLM
    from distask.task.steps.item import Lineage
    from distask.task.task import Task


class Made(Struct, frozen=True):
    """The result of one reply, or of one group of replies."""

    columns: dict[str, Any]
    metadata: dict[str, Any]
    model: str | None
    failed: bool


class Ask(Struct, frozen=True):
    """A request to run a task for a row; the generator receives a list of `Made`."""

    step: str
    """The step's name."""
    task: Task
    values: Mapping[str, Any]
    index: int | str
    """The row index for drawn values."""
    lineage: Lineage
    place: str
    num_generations: int
    grouped: bool
    llm: StepLLM
    """The step's model and generation settings, rendered; anything unset comes from the run."""
    defaults: LLM
    """Generation settings in the specs: of the step's task, and of outer tasks."""


class Fork(Struct, frozen=True):
    """Rows that continue in parallel; the generator receives a list of rows for each."""

    flows: Sequence[Flow]


class Fault(Struct, frozen=True):
    """A step failed for a row without a request to a model; the generator receives nothing."""

    step: str
    place: str
    error: RowError


class Work(Struct, frozen=True):
    """A slow function to call in the background; the generator receives its result."""

    call: Callable[[], Any]


Flow = Generator[Ask | Fork | Fault | Work, Any, list[Item]]


class Count(Struct):
    """The row counts of one step."""

    name: str
    kind: str
    depth: int = 0
    """The number of loops and tasks around it."""
    most: int | None = 0
    """Maximum replies that the step needs per input row; None if that depends on the rows."""
    came: int = 0
    went: int = 0
    asked: int = 0
    """Rows for which a request was sent."""
    failed: int = 0
    skipped: int = 0
    """Rows that skipped the step, because `when` is false or an earlier step failed."""
    reasons: Counter[str] = field(default_factory=Counter)


class Step(Protocol):
    """A step that processes rows one by one."""

    count: Count

    def flow(self, item: Item) -> Flow:
        """The rows that the step returns for one row."""


class DirectStep(Step, Protocol):
    """A step that usually needs no requests, and then works without a generator, which is faster for many rows."""

    def direct(self, item: Item) -> list[Item] | None:
        """Return the rows for one row; None if only `flow` can, and nothing was changed."""


def through(steps: Sequence[Step], item: Item) -> Flow:
    """Run a row through steps in sequence."""
    for index, step in enumerate(steps):
        try:
            item.spent.step()
        except RowError as error:  # skips the remaining steps
            if item.failed:
                return [item]
            step.count.failed += 1
            return (yield from fail(step.count.name, item, error))
        step.count.came += 1
        direct = getattr(step, "direct", None)
        made = None if direct is None else direct(item)
        if made is None:
            made = yield from step.flow(item)
        step.count.went += len(made)
        if not made:
            return []
        if len(made) == 1:
            item = made[0]
            continue
        rest = steps[index + 1 :]
        if not rest:
            return made
        if all(hasattr(each, "direct") for each in rest):
            return (yield from _through_together(rest, made))
        done = yield Fork([through(rest, each) for each in made])
        return [each for several in done for each in several]
    return [item]


def _through_together(steps: Sequence[Any], items: list[Item]) -> Flow:
    """Run rows from the same input row through `DirectStep`s, all rows through one step after the other."""
    spent = items[0].spent
    for index, step in enumerate(steps):
        if not spent.has_room(len(items)):  # one of them will fail
            done: list[Item] = []
            for item in items:
                done += yield from through(steps[index:], item)
            return done
        spent.steps += len(items)
        step.count.came += len(items)
        after: list[Item] = []
        direct = step.direct
        for item in items:
            made = direct(item)
            if made is None:
                made = yield from step.flow(item)
            after += made
        step.count.went += len(after)
        if not after:
            return after
        items = after
    return items


def fail(step: str, item: Item, error: RowError) -> Flow:
    """Report that a step failed for a row, which continues unchanged."""
    yield Fault(step, item.place, error)
    item.failed = True
    item.metadata[f"error_{step}"] = {"kind": error.kind, "message": error.message}
    return [item]


def just(items: list[Item]) -> Flow:
    """A flow that returns rows immediately."""
    return items
    yield  # makes it a generator
