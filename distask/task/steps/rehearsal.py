"""Run rows through a task of steps with given or simulated replies, without a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from distask.errors import RowError
from distask.task.aggregate import aggregated
from distask.task.steps.flow import Ask, Fault, Fork, Made, Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from distask.llm.request import Completion
    from distask.task.pipeline import Pipeline
    from distask.task.steps.flow import Flow
    from distask.task.steps.item import Item

Replies = Callable[[Ask], "Sequence[str | Completion]"]
"""Returns the replies for an `Ask`, one per generation."""
OnError = Callable[[str, RowError], None]
"""Called for each step that fails for a row."""


def rehearse(
    pipeline: Pipeline,
    rows: Iterable[Mapping[str, Any]],
    replies: Replies,
    on_error: OnError = lambda _step, _error: None,
    *,
    simulated: bool = False,
) -> list[Item]:
    """The resulting rows. The pipeline can't be used again, because its steps and barriers keep state.

    With `simulated`, no local model is loaded.
    """
    items = [pipeline.item(values, index, f"row {index + 1}") for index, values in enumerate(rows)]
    for number, segment in enumerate(pipeline.segments):
        items = [each for item in items for each in _driven(pipeline.flow(number, item), replies, on_error)]
        barrier = segment.barrier
        if barrier is not None:
            if simulated:
                barrier.simulate()
            for item in items:
                barrier.count.came += 1
                barrier.look(item.values)
            items = [barrier.joined([items[n] for n in numbers]) for numbers in barrier.order()]
            barrier.count.went += len(items)
            barrier.close()
    return items


def _driven(flow: Flow, replies: Replies, on_error: OnError) -> list[Item]:
    sent: Any = None
    while True:
        try:
            wanted = flow.send(sent)
        except StopIteration as end:
            items: list[Item] = end.value
            return items
        if isinstance(wanted, Fork):
            sent = [_driven(each, replies, on_error) for each in wanted.flows]
        elif isinstance(wanted, Work):
            sent = wanted.call()
        elif isinstance(wanted, Fault):
            on_error(wanted.step, wanted.error)
            sent = None
        else:
            sent = _answered(wanted, replies, on_error)


def _answered(ask: Ask, replies: Replies, on_error: OnError) -> list[Made]:
    """The results of the replies, in the same form as in a run."""
    task, step = ask.task, ask.step
    made: list[Made] = []
    try:
        task.format_input(ask.values, ask.index)
        task.keywords(ask.values, ask.index)
    except RowError as error:
        on_error(step, error)
        made = [_failed(ask, error)] * ask.num_generations
    else:
        for reply in replies(ask):
            try:
                parsed = task.parse_reply(reply, ask.values, ask.index)
            except RowError as error:
                on_error(step, error)
                made.append(_failed(ask, error))
            else:
                if parsed.error is not None:
                    on_error(step, parsed.error)
                metadata = {} if parsed.error is None else _error_metadata(ask, parsed.error)
                made.append(Made(parsed.columns, metadata, None, failed=False))
    if not ask.grouped:
        drop = task.spec.on_invalid.then == "drop"
        return [each for each in made if not (drop and each.metadata)]
    lists = {name: [each.columns.get(name) for each in made] for name in task.output_columns}
    failed = all(each.failed for each in made)
    return [Made({**lists, **aggregated(task.aggregates, lists)}, {}, None, failed)]


def _error_metadata(ask: Ask, error: RowError) -> dict[str, Any]:
    return {f"error_{ask.step}": {"kind": error.kind, "message": error.message}}


def _failed(ask: Ask, error: RowError) -> Made:
    return Made(dict(ask.task.null_output()), _error_metadata(ask, error), None, failed=True)
