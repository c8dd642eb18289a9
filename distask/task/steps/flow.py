"""Take a row through steps: a generator that asks for replies as it needs them, and knows neither model nor loop.

It yields an `Ask`, and is sent what came of it; or a `Fork`, rows that go on side by side, and is sent what became of
each. Who drives it (a run, a golden case, a rehearsal) decides where replies come from.
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
    """What one reply, or one group of replies, gives a row."""

    columns: dict[str, Any]
    metadata: dict[str, Any]
    model: str | None
    failed: bool


class Ask(Struct, frozen=True):
    """A task to be asked for a row; what is sent back is a list of `Made`."""

    step: str
    """The step's name."""
    task: Task
    values: Mapping[str, Any]
    index: int | str
    """What drawn values hang on."""
    lineage: Lineage
    place: str
    num_generations: int
    grouped: bool
    llm: StepLLM
    """Whom the step asks, and how, its templates filled in; what it leaves open is as the run has it."""
    defaults: LLM
    """What the specs say of generation: the step's task, and those around it."""


class Fork(Struct, frozen=True):
    """Rows that go on side by side; what is sent back is a list of rows for each."""

    flows: Sequence[Flow]


class Fault(Struct, frozen=True):
    """A row that a step can't be done for, without a model having been asked; nothing is sent back."""

    step: str
    place: str
    error: RowError


class Work(Struct, frozen=True):
    """A function that may take long, to be called beside the rest; what is sent back is what it returns."""

    call: Callable[[], Any]


Flow = Generator[Ask | Fork | Fault | Work, Any, list[Item]]


class Count(Struct):
    """What one step did to the rows."""

    name: str
    kind: str
    depth: int = 0
    """How many loops and tasks it is in."""
    most: int | None = 0
    """Replies that a row of the run needs of it at the most; None where that hangs on the rows."""
    came: int = 0
    went: int = 0
    asked: int = 0
    """Rows for which a model was asked."""
    failed: int = 0
    skipped: int = 0
    """Rows that passed by: `when` is false for them, or an earlier step failed."""
    reasons: Counter[str] = field(default_factory=Counter)


class Step(Protocol):
    """A step that rows go through one by one."""

    count: Count

    def flow(self, item: Item) -> Flow:
        """The rows that one row becomes."""


def through(steps: Sequence[Step], item: Item) -> Flow:
    """Take a row through steps, one after the other."""
    for index, step in enumerate(steps):
        try:
            item.spent.step()
        except RowError as error:  # it goes through no more steps
            if item.failed:
                return [item]
            step.count.failed += 1
            return (yield from fail(step.count.name, item, error))
        step.count.came += 1
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
        done = yield Fork([through(rest, each) for each in made])
        return [each for several in done for each in several]
    return [item]


def fail(step: str, item: Item, error: RowError) -> Flow:
    """Say that a step can't be done for a row; it goes on with what it has."""
    yield Fault(step, item.place, error)
    item.failed = True
    item.metadata[f"error_{step}"] = {"kind": error.kind, "message": error.message}
    return [item]


def just(items: list[Item]) -> Flow:
    """Rows that need nothing more."""
    return items
    yield  # makes it a generator
